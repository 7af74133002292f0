"""Session: one instance of the protocol over one transport, for the application.

What it is.  The public face: it opens and accepts streams, asks for the round trip, and ends the
session in one of three ways: ``drain`` finishes what is open, ``aclose`` flushes what was sent, ``abort``
does neither; each says goodbye (:mod:`~muxado_py.session.closing`).  What carries the bytes is the driver below it.

The rule.  What a method here says about the wire (``NEVER_SENT``, "refused", "handed off") is a
promise that callers retry on; the core keeps it, and nothing here may weaken it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from anyio import TypedAttributeProvider, move_on_after
from anyio.abc import SocketAttribute

from ..arguments import check_seconds, check_whole, octets
from ..errors import (
    ErrorCode,
    MuxadoError,
    PeerTimeoutError,
    Retry,
    SessionClosedError,
    check_code,
)
from .bridge import abort, bridge, socket_pair
from .closing import abort_session, close_session, drain_session, go_away
from .driver import Driver
from .glimpse import streams_of
from .listener import NetListener
from .statistics import of_session
from .stream import Stream

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from ..config import Config
    from ..links.link import LinkFactory
    from ..scheduler import Priority
    from .statistics import SessionStatistics

__all__ = ("Session",)


class Session(TypedAttributeProvider):
    """One instance of the protocol over one transport; made by ``client``, ``server``, ``connect``
    or ``listen``, never directly.

    Either side opens streams with :meth:`open_stream` and takes the peer's with
    :meth:`accept_stream`, or as a dialer and a listener with :meth:`net_dial` and
    :meth:`net_listener`.

    It belongs to the event loop, and so to the thread, that it was made in, and its streams with it.  Calls
    from elsewhere raise a :exc:`RuntimeError`: all that may wait, the first time, and all that close.  The calls
    of a stream that never wait, and those made while the session's own loop is at work, may not.
    """

    def __init__(self, make_link: LinkFactory, config: Config, *, is_client: bool) -> None:
        self._config = config
        self._typed = config.typed_streams
        self._is_client = is_client
        self._driver = Driver(make_link, config, is_client=is_client)
        self.run = self._driver.run
        """The coroutine function that drives the session; its scope runs it."""

    def __repr__(self) -> str:
        side = "client" if self._is_client else "server"
        return f"<muxado_py.Session {side} {id(self):#x}{' closed' if self.closed else ''}>"

    # What it is.

    @property
    def config(self) -> Config:
        """The settings it was made with."""
        return self._config

    @property
    def closed(self) -> bool:
        """Whether the session is over: no stream can be opened any more, and none comes.

        Its transport may not be closed yet, see :meth:`wait`; and streams that had come before the
        peer ended it can still be accepted.
        """
        return self._driver.ended.is_set()

    @property
    def is_muxado_py(self) -> bool | None:
        """Whether the peer is a muxado_py too; None until its first frame says so."""
        return self._driver.connection.is_muxado_py

    @property
    def heard(self) -> bool:
        """Whether the peer has shown that it speaks this wire; :meth:`wait_for_peer` waits for that."""
        return self._driver.connection.heard

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The typed attributes of the transport, TLS ones too, but no raw socket."""
        attributes: dict[Any, Callable[[], Any]] = {**self._driver.link.extra_attributes}
        attributes.pop(SocketAttribute.raw_socket, None)
        attributes.update(self._driver.stream_attributes)
        return attributes

    def statistics(self) -> SessionStatistics:
        """A snapshot of what the session holds and has done, and of its path; also after its end.

        Costs two calls of the kernel over TCP on Linux.  Never waits.
        """
        return of_session(self._driver)

    def streams(self) -> tuple[Stream, ...]:
        """The streams that the application opened or accepted and has not closed, in no order; also after its end.

        A stream that ended by other means than its close is among them until all that came on it was received.
        Streams that wait for :meth:`accept_stream` are not, nor is what carries heartbeats.

        :returns: objects of their own, that equal the application's and do all that those do.  They hold nothing
            open: a stream is reset when the application drops its own, whoever has one of these.

        Never waits.
        """
        return streams_of(self._driver)

    # Streams.

    async def open_stream(
        self,
        *,
        priority: Priority | None = None,
        stream_type: int | None = None,
        metadata: Mapping[str, bytes] | None = None,
    ) -> Stream:
        """Open a stream to the peer.

        The peer learns of it with the next flush; bytes sent before that travel in the same frame.

        :param priority: its place among this session's streams, told to a muxado_py peer too.
        :param stream_type: 0 to 0xFFFFFFFE; required with ``Config(typed_streams=True)``, and not
            allowed without, but on the muxado1 wire, whose SYN has a place for it.
        :param metadata: pairs that the peer has as :attr:`.Stream.metadata` when it accepts the stream: keys of
            visible ASCII, 4,096 bytes in all with 3 for each pair.  Only a muxado_py on the muxado wire
            understands them: until the peer's first frame has told what it is, this call waits for it,
            ``Config.recognize_timeout`` at most.  An empty mapping says nothing, and can be said to every peer.
        :raises TypeError: if ``priority`` is no :class:`Priority`, ``stream_type`` no int, or ``metadata`` no
            mapping of ``str`` to ``bytes``.
        :raises ValueError: if ``stream_type`` is out of range, missing or not allowed, or if ``metadata`` is too
            long or has a key that cannot be.
        :raises NotImplementedError: if there is ``metadata``, and the peer is no muxado_py, or the wire another.
        :raises GoneAwayError: if this side or the peer is going away.
        :raises StreamLimitError: if as many streams are open as the peer takes, or the ids are used
            up.
        :raises PeerTimeoutError: if there is ``metadata``, and the peer did not say in time what it is.
        :raises SessionError: if the session is over.  All errors of the session are also ``OSError``, with
            ``retry`` ``NEVER_SENT``.

        Cancellation: no stream is opened.
        """
        driver = self._driver
        if driver.checkpoint_due():
            await driver.backend_checkpoint()
        if stream_type is not None or self._typed:
            self._check_type(stream_type)
        if metadata and driver.connection.is_muxado_py is None:
            # What is wrong already is said at once.
            driver.connection.check_opening(priority, metadata)
            await self._until_recognized()
        # As open_stream_nowait, without the call that each stream would pay.
        state = driver.connection.open(priority, stream_type, metadata)
        driver.wrote()
        return Stream(driver, state)

    def open_stream_nowait(
        self,
        *,
        priority: Priority | None = None,
        stream_type: int | None = None,
        metadata: Mapping[str, bytes] | None = None,
    ) -> Stream:
        """Like ``open_stream``, without a checkpoint.

        :raises NotImplementedError: if there is ``metadata``, and also while it is not known what the peer is: see
            :attr:`is_muxado_py`.
        """
        driver = self._driver
        driver.check_here()
        if stream_type is not None or self._typed:
            self._check_type(stream_type)
        state = driver.connection.open(priority, stream_type, metadata)
        driver.wrote()  # its SYN goes when this turn ends, in one frame with what is sent until then
        return Stream(driver, state)

    async def _until_recognized(self) -> None:
        """Wait until it is known what the peer is; no stream was opened yet."""
        try:
            await self.wait_for_peer()
        except MuxadoError as exc:
            exc.retry = Retry.NEVER_SENT
            raise

    def _check_type(self, stream_type: int | None) -> None:
        if stream_type is None:
            raise ValueError("stream_type is required in a session with typed_streams")
        if not (self._typed or self._driver.connection.traits.types_in_syn):
            raise ValueError(
                f"stream_type {stream_type!r} needs Config(typed_streams=True) on both sides"
            )
        check_whole("stream_type", stream_type, 0, 0xFFFF_FFFE)

    async def accept_stream(self) -> Stream:
        """Wait for the next stream that the peer opens.

        Once it returned, the stream is ours: the peer is never told that it was refused.

        :raises SessionError: if the session is over.  Streams that had come before the peer or
            the transport ended it are given first, with their bytes, until this side closes the session.
        :raises ~anyio.ClosedResourceError: if the listener of the session was closed.

        Cancellation: no stream is lost; the next call gets it.
        """
        return Stream(self._driver, await self._driver.acceptors.accept())

    async def net_dial(
        self,
        *address: object,
        priority: Priority | None = None,
        stream_type: int | None = None,
        metadata: Mapping[str, bytes] | None = None,
    ) -> Stream:
        """``open_stream`` in the shape of a dial function; any address is taken and ignored.

        :raises OSError: at once, if the session is over, going away or full.

        Cancellation: no stream is opened.
        """
        return await self.open_stream(priority=priority, stream_type=stream_type, metadata=metadata)

    async def dial_socket(
        self,
        *address: object,
        priority: Priority | None = None,
        stream_type: int | None = None,
        metadata: Mapping[str, bytes] | None = None,
    ) -> socket.socket:
        """``net_dial``, with a real, blocking, connected socket that leads to the new stream.

        For code that wants a file descriptor: ``http.client``, ``requests``, ``select``, ``ssl``, a
        subprocess.  The caller owns the socket and closes it; use it in a worker thread, a blocking
        call in the event loop's thread would wait for itself.  It ends with the session.

        :raises OSError: at once, if the session is over, going away or full.

        Cancellation: nothing is left open.
        """
        inner, outer = socket_pair()
        try:
            tasks = await self._driver.tasks()
            stream = await self.net_dial(
                *address, priority=priority, stream_type=stream_type, metadata=metadata
            )
        except BaseException:
            outer.close()
            await abort(inner)
            raise
        tasks.start_soon(bridge, inner, stream)
        return outer

    def net_listener(self) -> NetListener:
        """The peer's streams as an ``anyio.abc.Listener``: what takes a listener takes this."""
        return NetListener(self._driver)

    # The session.

    async def wait_for_peer(self, timeout: float | None = None) -> None:
        """Wait until the peer has shown that it speaks this wire, by its first valid frame.

        A connection alone shows nothing: a balancer without a backend accepts, and so does a process that
        hangs.  A muxado_py says hello at once on the muxado wire; on the others, and with Go and Rust
        peers, a peer that has nothing to say may rightly be silent.

        :param timeout: seconds to wait at most; default ``Config.recognize_timeout``.
        :raises PeerTimeoutError: if it said nothing in time (the session stays).
        :raises SessionError: if the session is over, or ends before.

        Cancellation: safe; ask again whenever you like.
        """
        driver = self._driver
        if timeout is not None:
            check_seconds("timeout", timeout)
        seconds = self._config.recognize_timeout if timeout is None else timeout
        await driver.checkpoint()
        with move_on_after(seconds):
            await driver.wait_until(lambda: driver.connection.heard)
        driver.check()
        if not driver.connection.heard:
            raise PeerTimeoutError(
                f"the peer said nothing in {seconds:g} s: is it a multiplexer, and of the "
                f"{self._config.wire} wire?",
                code=ErrorCode.NO_ERROR,
                remote=True,
            )

    async def ping(self, timeout: float | None = None) -> float:
        """The round trip to the peer, from the moment the ping leaves the queue.

        :param timeout: seconds to wait at most; default ``Config.heartbeat_timeout``.
        :raises PeerTimeoutError: if there was no answer in time (the session stays).
        :raises SessionError: if the session ends before.
        :raises MuxadoError: if nobody answers: on the muxado wire a peer that is no muxado_py,
            unless ``typed_streams`` is on; on smux every peer.

        Cancellation: safe; a late answer is ignored.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        self._driver.check_here()
        return await self._driver.pings.ping(timeout)

    def stop_accepting(self) -> None:
        """Refuse the streams that wait for ``accept_stream`` and those that come."""
        self._driver.check_here()
        self._driver.stop_accepting()

    def go_away(self, code: int = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """Take no more streams of the peer; those that wait for ``accept_stream`` are refused.

        With code 0 the streams that are open go on, and so does whoever waits in :meth:`accept_stream`,
        :meth:`wait` or the listener's ``serve``, until the session is over.  A muxado_py peer closes it
        after the last stream, on the muxado wires.

        Any other code says that something is broken, and ends the session at once, on both sides and on
        every wire: nothing more is flushed, as with :meth:`abort`.

        :param code: 32 bits; :class:`ErrorCode` has names for some.  smux cannot say it.
        :param debug: a text for the peer's logs, in bytes, cut to 1 KiB; only the muxado wire has it.
        :raises TypeError: if ``code`` is no int, or ``debug`` no bytes.
        :raises ValueError: if ``code`` does not fit into 32 bits.
        """
        check_code(code)
        go_away(self._driver, code, octets(debug))

    async def drain(self, timeout: float = 30.0) -> None:
        """End gracefully: no new streams, finish the open ones, close.

        The peer is told in two steps, a round trip apart, so that no stream that was on its way is
        refused by surprise; what still waits for ``accept_stream`` after that is refused.

        :param timeout: seconds for all of it, the close included.  The last quarter of it, but no more
            than ``Config.close_timeout``, is kept for the close: streams still open then are cut off.
        :raises UndeliveredError: if bytes that ``send`` took did not arrive by then.

        Cancellation: the session is closed at once.
        """
        check_seconds("timeout", timeout)
        await drain_session(self._driver, timeout)

    async def aclose(self) -> None:
        """Flush what was sent, say goodbye, await the peer's end, close the transport.

        Streams still open end.  All of it is bounded by ``Config.close_timeout`` seconds, and a quarter
        of a second more for the goodbye; with a peer that takes what it is sent, and ends when we
        do, it is over as soon as that has happened.  docs/how-to.md, "What closing promises", has all of it.

        :raises UndeliveredError: if bytes that ``send`` took did not arrive by then; or if the session
            had ended before, and with it streams with such bytes that have not raised an error.

        Cancellation: the rest of the flush is given up; the session is closed all the same.
        """
        await close_session(self._driver)

    def abort(self) -> None:
        """Close without waiting: nothing more is flushed; a goodbye is still tried."""
        abort_session(self._driver)

    async def wait(self) -> None:
        """Wait until the session is over and its transport closed.

        :raises SessionError: if it ended otherwise than by ``aclose``, ``drain``, ``abort`` or the
            peer's goodbye.

        Cancellation: safe.
        """
        self._driver.check_here()
        await self._driver.transport_closed.wait()
        with suppress(SessionClosedError):
            self._driver.check()

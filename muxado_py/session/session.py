"""Session: one instance of the protocol over one transport, for the application.

What it is.  The public face: it opens streams (:mod:`.stream_opener`) and accepts them, asks for the round trip, and ends the
session in one of three ways: ``drain`` finishes what is open, ``aclose`` flushes what was sent, ``abort``
does neither; each says goodbye (:mod:`~muxado_py.session.closing`).  What carries the bytes is the driver below it.

The rule.  What a method here says about the wire (``NEVER_SENT``, "refused", "handed off") is a
promise that callers retry on; the core keeps it, and nothing here may weaken it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from anyio.abc import SocketAttribute

from ..arguments import check_seconds, octets
from ..errors import (
    ErrorCode,
    SessionClosedError,
    check_code,
)
from .closing import abort_session, close_session, drain_session, go_away
from .glimpse import streams_of
from .listener import NetListener
from .statistics import of_session
from .stream import Stream
from .stream_opener import StreamOpener

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..config import Config
    from ..links.link import LinkFactory
    from .statistics import SessionStatistics

__all__ = ("Session",)


class Session(StreamOpener):
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
        super().__init__(make_link, config, is_client=is_client)
        self._is_client = is_client
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
    def going_away(self) -> bool:
        """Whether this side can open no stream any more: either side is going away, the session is over, or its stream
        ids are used up.

        Streams that are open go on until it is ``closed``.
        """
        return self._driver.connection.opening.why_never() is not None

    @property
    def open_streams(self) -> int:
        """How many streams the session has that this side opened; one that is closed counts until the peer knows."""
        return self._driver.connection.local_streams

    @property
    def refused_streams(self) -> int:
        """How many streams of this side the peer has refused, from the first on; not those that its GOAWAY alone was for."""
        return self._driver.connection.refused_streams

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The typed attributes of the transport, TLS ones too, but no raw socket."""
        attributes: dict[Any, Callable[[], Any]] = {**self._driver.link.extra_attributes}
        attributes.pop(SocketAttribute.raw_socket, None)
        attributes.update(self._driver.stream_attributes)
        return attributes

    def has_stream(self, stream: Stream) -> bool:
        """Whether ``stream`` is, or was, one of this session's."""
        return stream.belongs_to(self._driver)

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

    async def accept_stream(self) -> Stream:
        """Wait for the next stream that the peer opens.

        Once it returned, the stream is ours: the peer is never told that it was refused.

        :raises SessionError: if the session is over.  Streams that had come before the peer or
            the transport ended it are given first, with their bytes, until this side closes the session.
        :raises ~anyio.ClosedResourceError: if the listener of the session was closed.

        Cancellation: no stream is lost; the next call gets it.
        """
        return Stream(self._driver, await self._driver.acceptors.accept())

    def net_listener(self) -> NetListener:
        """The peer's streams as an ``anyio.abc.Listener``: what takes a listener takes this."""
        return NetListener(self._driver)

    # The session.

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

    async def wait_going_away(self) -> None:
        """Wait until either side goes away, or the session is over; see :attr:`going_away`.

        Cancellation: safe.
        """
        self._driver.check_here()
        await self._driver.leaving.wait()

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

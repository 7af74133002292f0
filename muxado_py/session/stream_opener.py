"""Stream opener: the half of a session that opens streams, and knows whether there is a peer that will take them.

What it is.  What every user of a session starts with: a stream to the peer, as a call, in the shape of a dial function or as a
socket.  What a stream says about itself before its first byte (priority, type, metadata) is checked here; how many may be
open, and who waits, is the matter of :mod:`.slots` and the connection.

The rule.  Whatever is raised here, nothing of the stream has left: ``NEVER_SENT``.

The trap.  Only a muxado_py understands metadata, and it is known what the peer is when its first frame has come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import TypedAttributeProvider, move_on_after

from ..arguments import check_seconds, check_whole
from ..errors import ErrorCode, MuxadoError, PeerTimeoutError, Retry
from .bridge import abort, bridge, socket_pair
from .driver import Driver
from .stream import Stream

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from ..config import Config
    from ..links.link import LinkFactory
    from ..scheduler import Priority

__all__ = ("StreamOpener", "tell")


def tell(stream: Stream, metadata: Mapping[str, bytes]) -> bool:
    """Say ``metadata`` of a stream that was opened a moment ago, in place of what it was opened with, if the peer understands that.

    :param stream: nothing was awaited since it was opened: its SYN has not gone.
    :returns: whether it does.
    """
    return stream._driver.connection.opening.tell(stream._state, metadata)


class StreamOpener(TypedAttributeProvider):
    """What :class:`.Session` opens streams with."""

    def __init__(self, make_link: LinkFactory, config: Config, *, is_client: bool) -> None:
        self._config = config
        self._typed = config.typed_streams
        self._driver = Driver(make_link, config, is_client=is_client)
        self.slots = self._driver.slots
        """Who waits in it for a slot; a pool waits in those of all its sessions, see :mod:`.slots`."""

    # The peer.

    @property
    def is_muxado_py(self) -> bool | None:
        """Whether the peer is a muxado_py too; None until its first frame says so."""
        return self._driver.connection.is_muxado_py

    @property
    def heard(self) -> bool:
        """Whether the peer has shown that it speaks this wire; :meth:`wait_for_peer` waits for that."""
        return self._driver.connection.heard

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

    # Streams.

    async def open_stream(
        self,
        *,
        priority: Priority | None = None,
        stream_type: int | None = None,
        metadata: Mapping[str, bytes] | None = None,
        timeout: float | None = 0.0,
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
        :param timeout: seconds to wait for a slot, at most, where as many streams are open as may: by the limit of the
            peer, or of this side; on yamux also where 256 wait for the peer's acknowledgement, and before a
            muxado_py has told its limit (in ``Config.recognize_timeout``) where 100 are open.  None waits without
            end.  Who has waited longest is first, also before those who do not wait.
        :raises TypeError: if ``priority`` is no :class:`Priority`, ``stream_type`` no int, or ``metadata`` no
            mapping of ``str`` to ``bytes``.
        :raises ValueError: if ``stream_type`` is out of range, missing or not allowed, or if ``metadata`` is too
            long or has a key that cannot be.
        :raises NotImplementedError: if there is ``metadata``, and the peer is no muxado_py, or the wire another.
        :raises GoneAwayError: if this side or the peer is going away.
        :raises StreamLimitError: if as many streams are open as the peer takes, after ``timeout``; at once if the ids
            are used up.
        :raises PeerTimeoutError: if there is ``metadata``, and the peer did not say in time what it is.
        :raises SessionError: if the session is over, or ends meanwhile.  All errors of the session are also
            ``OSError``, with ``retry`` ``NEVER_SENT``.

        Cancellation: no stream is opened; the next one who waits gets the slot.
        """
        driver = self._driver
        if driver.checkpoint_due():
            await driver.backend_checkpoint()
        if stream_type is not None or self._typed:
            self._check_type(stream_type)
        if metadata and driver.connection.is_muxado_py is None:
            # What is wrong already is said at once.
            driver.connection.opening.check(priority, metadata, waits=timeout != 0)
            await self._until_recognized()
        if timeout is not None and timeout != 0:
            check_seconds("timeout", timeout)
        if timeout == 0 or driver.slots.is_free:
            # As open_stream_nowait, without the call that each stream would pay.
            state = driver.connection.open(priority, stream_type, metadata)
        else:
            state = await driver.slots.open(timeout, priority, stream_type, metadata)
        driver.wrote()
        return Stream(driver, state)

    def open_stream_nowait(
        self,
        *,
        priority: Priority | None = None,
        stream_type: int | None = None,
        metadata: Mapping[str, bytes] | None = None,
    ) -> Stream:
        """Like ``open_stream``, without a checkpoint and without waiting.

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

    def open_stream_at_once(
        self, priority: Priority | None, metadata: Mapping[str, bytes] | None
    ) -> Stream | None:
        """Like ``open_stream``, without a checkpoint; None where that may wait, or has another reason to open none.

        :raises: what ``open_stream_nowait`` raises of its arguments.
        """
        driver = self._driver
        driver.check_here()
        if self._typed or not driver.slots.is_free:
            return None
        if metadata and driver.connection.is_muxado_py is None:
            return None
        state = driver.connection.open(priority, None, metadata)
        driver.wrote()
        return Stream(driver, state)

    async def net_dial(
        self,
        *address: object,
        priority: Priority | None = None,
        stream_type: int | None = None,
        metadata: Mapping[str, bytes] | None = None,
        timeout: float | None = 0.0,
    ) -> Stream:
        """``open_stream`` in the shape of a dial function; any address is taken and ignored.

        :raises OSError: if the session is over, going away or, after ``timeout`` seconds, full.

        Cancellation: no stream is opened.
        """
        return await self.open_stream(
            priority=priority, stream_type=stream_type, metadata=metadata, timeout=timeout
        )

    async def dial_socket(
        self,
        *address: object,
        priority: Priority | None = None,
        stream_type: int | None = None,
        metadata: Mapping[str, bytes] | None = None,
        timeout: float | None = 0.0,
    ) -> socket.socket:
        """``net_dial``, with a real, blocking, connected socket that leads to the new stream.

        For code that wants a file descriptor: ``http.client``, ``requests``, ``select``, ``ssl``, a
        subprocess.  The caller owns the socket and closes it; use it in a worker thread, a blocking
        call in the event loop's thread would wait for itself.  It ends with the session.

        :raises OSError: if the session is over, going away or, after ``timeout`` seconds, full.

        Cancellation: nothing is left open.
        """
        inner, outer = socket_pair()
        try:
            tasks = await self._driver.tasks()
            stream = await self.net_dial(
                *address,
                priority=priority,
                stream_type=stream_type,
                metadata=metadata,
                timeout=timeout,
            )
        except BaseException:
            outer.close()
            await abort(inner)
            raise
        tasks.start_soon(bridge, inner, stream)
        return outer

    # What is needed first.

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

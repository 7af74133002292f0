"""Ending: how an application ends its stream, one way or both, and whether it may say elsewhere what it said there.

What it is.  The part of :class:`~muxado_py.Stream` that ends it.  What becomes of a stream in each state stands in
:mod:`~muxado_py.protocol.end_table`.

The rule.  The application's end is done in the call, without waiting, and then it stands: a cancellation that comes with it
changes nothing.

The trap.  A verdict is about what may still go out as well.  A stream of which nothing has left says ``NEVER_SENT``
while it is open, and goes out a moment later; who wants to send its bytes elsewhere must have reset it before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import BusyResourceError, EndOfStream
from anyio.abc import ByteStream

from ..errors import ErrorCode
from ..protocol.stream_state import Owner
from .stream_errors import (
    abort_stream,
    check_finishable,
    check_refusable,
    check_reset_code,
    dropped,
)
from .waking import check_idle_sender, until_peer_closed, wake_all

if TYPE_CHECKING:
    from types import TracebackType

    from ..errors import Retry
    from ..protocol.stream_state import StreamState
    from .driver import Driver

__all__ = ("EndingStream",)

_RELEASED = Owner.RELEASED


class EndingStream(ByteStream):
    """The ends of a :class:`~muxado_py.Stream`."""

    __slots__ = ("_driver", "_state")

    _driver: Driver
    _state: StreamState

    def __del__(self) -> None:
        if self._state.owner is not _RELEASED:
            dropped(self, self._driver, self._state)

    @property
    def retry(self) -> Retry:
        """May what was sent on this stream be sent again, as it stands now?  Also where nothing has failed: after a
        deadline, a cancellation, a close or a reset of this side.  Never waits.

        ``NEVER_SENT`` as long as no byte of it was given to the transport.  While the stream is open, or was closed with
        :meth:`aclose`, it may still go out: :meth:`reset` it first, and what this says then is final.  ``REFUSED`` once the peer has refused it; ``PROCESSED`` once the peer has sent a byte; else
        ``UNKNOWN``, as of all streams that the peer opened.
        """
        return self._driver.connection.verdict_of(self._state)

    # One direction.

    @property
    def can_half_close(self) -> bool:
        """Whether ``send_eof`` is possible: not on smux, unless ``Config(half_close=True)``."""
        return self._driver.can_half_close

    async def send_eof(self) -> None:
        """Half close: the peer receives the end after the last byte; receiving goes on.

        A second call does nothing.

        :raises ~anyio.BrokenResourceError: if the stream or the session is over.
        :raises ~anyio.ClosedResourceError: if this side closed the stream.
        :raises ~anyio.BusyResourceError: if another task is sending.
        :raises NotImplementedError: on a wire whose peers can lose data by it (smux), unless
            ``Config(half_close=True)``.

        Cancellation: the end is sent all the same.
        """
        due = self._driver.checkpoint_due()  # first, for it raises in another loop
        self.send_eof_nowait()
        if due:
            await self._driver.backend_checkpoint()

    def send_eof_nowait(self) -> None:
        """Like ``send_eof``, without a checkpoint."""
        if self._state.write_waiter is not None:
            check_idle_sender(self._state)
        if self._state.finishing and not self._state.released:
            return
        check_finishable(self._driver, self._state)
        self._driver.connection.finish(self._state)
        self._driver.process_events()

    # Both.

    async def wait_peer_closed(self) -> None:
        """After :exc:`~anyio.EndOfStream`: wait until the peer takes nothing on this stream any more either.

        A half close of the peer may be the first part of its full close.  A muxado peer is asked, every
        ``Config.probe_interval``; on yamux it may say it after minutes; an end without half close is both.
        Returns too when the stream was reset or closed, when this side's end was sent as well, or the session is over.

        :raises ~anyio.BusyResourceError: if another task is receiving.

        Cancellation: safe.
        """
        if self._state.read_waiter is not None:
            raise BusyResourceError("receiving from")
        await until_peer_closed(self._driver, self._state)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the stream; reset it if the block was left by an exception before ``send_eof``.

        What was sent until then is a part of something, and must not look like the whole.  The end
        of the *peer's* bytes (:exc:`~anyio.EndOfStream`) is no such exception.
        """
        whole = self._state.finishing or exc is None or isinstance(exc, EndOfStream)
        if whole:
            await self.aclose()
        else:
            self.reset()

    async def aclose(self) -> None:
        """Close both ways: what was sent still goes out, and the peer's further sends fail.

        Does not wait for the flush, which has ``Config.linger_timeout`` seconds.  Blocked calls of
        other tasks on this stream raise :exc:`~anyio.ClosedResourceError`.

        Cancellation: the stream is closed all the same.
        """
        due = self._driver.checkpoint_due()  # first, for it raises in another loop
        self.close()
        if due:
            await self._driver.backend_checkpoint()

    def close(self) -> None:
        """Like ``aclose``, without a checkpoint."""
        state, driver = self._state, self._driver
        if state.owner is not _RELEASED:
            driver.connection.close(state)
            driver.process_events()
            if state.read_waiter is not None or state.write_waiter is not None:
                wake_all(state)

    def reset(self, code: int = ErrorCode.STREAM_CANCELLED) -> None:
        """Abort both directions at once: unsent bytes are dropped, the peer is told ``code``.

        A stream of which nothing was sent yet leaves no trace.  On a closed stream that still has
        bytes to flush it stops the flush; after that it does nothing.

        :raises TypeError: if ``code`` is no int.
        :raises ValueError: if it does not fit into 32 bits; and for the codes that tell the peer its
            application was never asked (``STREAM_REFUSED``, ``ACCEPT_QUEUE_FULL``): it would send again
            what you have seen.
        """
        check_reset_code(code)
        abort_stream(self._driver, self._state, code)

    def refuse(self) -> None:
        """End a stream of the peer's of which nothing was done: the peer may send all of it again elsewhere.

        For a server that stops, or has too much to do; it may have looked at what the peer sent, all of it or the
        beginning.  The peer's calls raise :exc:`StreamRefusedError`, with the verdict ``REFUSED``.  On a stream that is
        over it does nothing.

        :raises ValueError: if anything was sent on it, an end too, or if this side opened it.
        :raises NotImplementedError: unless the peer is a muxado_py on the muxado wire: only that believes it of
            an accepted stream.
        """
        check_refusable(self._driver.connection, self._state)
        abort_stream(self._driver, self._state, ErrorCode.STREAM_REFUSED)

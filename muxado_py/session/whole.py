"""Whole: all that the peer sends on a stream, up to its end, for whoever has no use for a part of it.

Where data comes from and goes to.  From the core's stream, as in ``receive``, in one call instead of one for each piece and
one more that raises for the end.  A short message is there with its end when its reader runs, so most calls wait once
and read once.

The rule.  What is longer than the caller takes is found out when more than that is here, and is left where it is: its sender
stands still for want of credit.

The trap.  Bytes that came before a failure are no whole, and an end behind which the stream was thrown away is none either;
:func:`~muxado_py.session.stream_errors.why_no_bytes` knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import BusyResourceError, EndOfStream

from ..protocol.stream_state import RecvState
from ..protocol.timers import NEVER
from ..runtime.checkpoints import Callback
from .stream_errors import why_no_bytes
from .waking import giving_way

if TYPE_CHECKING:
    from collections.abc import Callable

    from .alarms import Alarms
    from .stream import Stream

__all__ = (
    "alarms_of",
    "first_byte",
    "give_up",
    "has_come",
    "has_failed",
    "let_go",
    "receive_whole",
    "unread_whole",
    "until_come",
    "unwatch_end",
    "watch_end",
    "watch_failure",
)

# An enumeration looks for its members in two classes.
_OPEN, _FIN_RECEIVED = RecvState.OPEN, RecvState.FIN_RECEIVED


def alarms_of(stream: Stream) -> Alarms:
    """Those of its session."""
    return stream._driver.alarms


def first_byte(stream: Stream) -> int | None:
    """The first of the bytes that are unread; None without one."""
    state = stream._state
    return state.recv_first[0] if state.unread else None


def has_come(stream: Stream, nbytes: float) -> bool:
    """Whether all that the peer sends is here, or so many bytes of it, or no more can come."""
    state = stream._state
    return state.recv_state is not _OPEN or state.unread >= nbytes or state.failure is not None


def has_failed(stream: Stream) -> bool:
    """Whether it has ended otherwise than in order, or its session."""
    return stream._state.failure is not None


def unread_whole(stream: Stream) -> bytes | None:
    """All that is unread, which stays where it is; None unless it is the rest of all that the peer sends."""
    state = stream._state
    if state.recv_state is not _FIN_RECEIVED:
        return None
    return b"".join((state.recv_first, *(state.recv_rest or ()))) if state.unread else b""


async def until_come(stream: Stream, nbytes: int) -> None:
    """Wait for :func:`has_come`, and receive nothing: the stream can still be refused.

    :param nbytes: no more than the peer may send without being given credit.

    Cancellation: safe.
    """
    state, driver = stream._state, stream._driver
    nbytes = min(nbytes, state.max_recv_window)
    try:
        while not has_come(stream, nbytes):
            state.read_waiter = waiter = driver.new_waiter()
            await waiter
    finally:
        state.read_waiter = None


async def receive_whole(stream: Stream, max_bytes: int) -> bytes | None:
    """Wait for all that the peer sends.

    :param max_bytes: the most to take.
    :returns: the bytes; None if they are more, of which some may have been received.
    :raises: what :meth:`.Stream.receive` raises, but for :exc:`~anyio.EndOfStream`.

    Cancellation: what was received is lost.
    """
    state, driver = stream._state, stream._driver
    if state.read_waiter is not None:
        raise BusyResourceError("receiving from")
    if driver.checkpoint_due():
        await giving_way(driver, state)
    pieces: list[bytes] = []
    while True:
        if not state.unread and state.recv_state is _OPEN and state.failure is None:
            try:
                state.read_waiter = waiter = driver.new_waiter()
                await waiter
            finally:
                state.read_waiter = None
        elif state.unread:
            if state.unread > max_bytes:
                return None
            data = driver.connection.read(state, max_bytes)
            if driver.events.pending:
                driver.process_events()
            if state.recv_state is _FIN_RECEIVED and not (pieces or state.unread):
                return data
            max_bytes -= len(data)
            pieces.append(data)
        else:
            end = why_no_bytes(state)
            if type(end) is EndOfStream:
                return b"".join(pieces)
            raise end


def give_up(stream: Stream) -> None:
    """It was waited long enough: reset the stream, unless all is here, and whoever waits for it is woken already."""
    if not has_come(stream, NEVER):
        stream.reset()


def let_go(stream: Stream) -> None:
    """All that was of interest was received: close the stream, and send no more of what it still has to send."""
    if stream._state.unsent:
        stream.reset()
    else:
        stream.close()


def watch_end(stream: Stream, ended: Callable[[], object]) -> None:
    """After all was received: call ``ended`` if the stream fails, until it is closed here or :func:`unwatch_end`."""
    state = stream._state
    if state.failure is not None:
        ended()
    else:
        state.read_waiter = Callback(ended)


def watch_failure(stream: Stream, failed: Callable[[], object]) -> None:
    """Call ``failed`` if the stream fails, until :func:`unwatch_end`; until then nothing can be received."""
    state = stream._state

    def look() -> None:
        if state.failure is not None:
            failed()

    state.read_waiter = Callback(look)
    look()


def unwatch_end(stream: Stream) -> None:
    """Nobody wants to know any more."""
    stream._state.read_waiter = None

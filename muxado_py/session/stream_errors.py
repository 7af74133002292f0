"""Stream errors: what a stream's calls answer when they cannot do what they are asked.

What it is.  Why there is nothing to receive, why nothing can be sent, which resets and refusals are none, and what
to say of a stream that nobody ended.  :class:`~muxado_py.Stream` asks when the quick way is barred; so
nothing here costs a call that goes well.

The rule.  An error says what came, what stands against it, and what to do.

The trap.  The peer believes what it is told: a code that promises that no application saw the stream must never
follow one that did.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from anyio import EndOfStream, WouldBlock

from ..errors import ErrorCode, Retry, StreamClosedError, check_code, code_name
from ..protocol.stream_state import Owner, RecvState
from .waking import wake_all

if TYPE_CHECKING:
    from ..protocol.connection import Connection
    from ..protocol.stream_state import StreamState
    from .driver import Driver

__all__ = (
    "abort_stream",
    "check_finishable",
    "check_refusable",
    "check_reset_code",
    "check_sendable",
    "dropped",
    "why_no_bytes",
)

_FIN_RECEIVED, _RELEASED = RecvState.FIN_RECEIVED, Owner.RELEASED


def why_no_bytes(state: StreamState) -> Exception:
    """What to raise where everything that came was received."""
    whole = state.recv_state is _FIN_RECEIVED
    if state.failure is not None and not (whole and state.owner is not _RELEASED):
        return state.error()
    return EndOfStream() if whole else WouldBlock()


def check_sendable(state: StreamState) -> None:
    """Raise the error that stands, if nothing can be sent."""
    if state.failure is not None:
        raise state.error()
    if state.finishing:
        raise StreamClosedError(
            "send after send_eof: this direction of the stream is finished",
            code=ErrorCode.STREAM_CLOSED,
            # Without an id the stream is still to be sent, so "never sent" would be a lie.
            retry=Retry.UNKNOWN if state.id is None else state.verdict(),
        )


def check_finishable(driver: Driver, state: StreamState) -> None:
    """Raise the error that stands, if nothing can be sent, or where an end of one direction is none."""
    if not driver.can_half_close:
        raise NotImplementedError(
            f"send_eof is unsafe on the {driver.config.wire} wire, whose peers can lose what they have not read: "
            "close the stream, or set Config(half_close=True) if yours cannot"
        )
    check_sendable(state)


def check_reset_code(code: int) -> None:
    """:raises ValueError: for the codes that say more than a reset."""
    check_code(code)
    if code in (ErrorCode.STREAM_REFUSED, ErrorCode.ACCEPT_QUEUE_FULL):
        raise ValueError(
            f"a stream cannot be reset with {code_name(code)}: the peer takes that code for a "
            "promise that no application saw the stream; use STREAM_CANCELLED or a code of yours"
        )


def check_refusable(connection: Connection, state: StreamState) -> None:
    """:raises ValueError: if an application here has answered it, or this side opened it.
    :raises NotImplementedError: if the peer would not believe it.
    """
    answered = state.unsent or state.finishing or state.sent
    if state.local or answered:
        raise ValueError(
            "only an accepted stream on which nothing was sent yet can be refused; reset it"
        )
    if not connection.is_muxado_py:
        raise NotImplementedError("this peer believes no refusal of an accepted stream; reset it")


def abort_stream(driver: Driver, state: StreamState, code: int) -> None:
    """End both directions at once, and tell the peer ``code``."""
    driver.connection.reset(state, code)
    driver.process_events()
    wake_all(state)


def dropped(stream: object, driver: Driver, state: StreamState) -> None:
    """Nobody has this stream any more, and nobody closed it: the session's loop does what is to be done.

    Of one that is open nobody knows whether what was sent is the whole: a FIN could be a lie.
    """
    if driver.ended.is_set():
        return
    is_open = state.failure is None and not (state.fin_sent and state.fin_received)
    driver.stream_dropped(state)  # first, for a warning may be an error
    if is_open:
        text = (
            f"{stream!r} was dropped unclosed: close or reset it, or use it in an async with block"
        )
        warnings.warn(text, ResourceWarning, stacklevel=2, source=stream)

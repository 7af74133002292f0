"""Call exchange: one attempt of a plain call, on the stream that was opened for it.

Where data comes from and goes to.  The request and its end go into the stream at once; nobody waits for room, because whoever
calls holds the request anyway.  Then the whole answer is awaited.

The rules.  However it ends, the stream is over: closed if it was answered, else reset.  And whoever takes only short answers
takes an error all the same: its first byte says which of the two bounds there is.

The traps.  A server may answer before it has all of the request; then the rest of it is of no use to anybody.  And what is
cancelled in the moment in which its time is over stays cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import ClosedResourceError

from ..errors import ErrorCode, Retry
from ..session.whole import (
    alarms_of,
    first_byte,
    give_up,
    has_come,
    let_go,
    receive_whole,
    until_come,
)
from .call_errors import AnswerError
from .call_frames import MAX_ERROR, PLAIN, error_too_long, read_answer

if TYPE_CHECKING:
    from ..session.stream import Stream

__all__ = ("exchange",)

JOIN_BELOW = 4096
"""Requests of fewer bytes are copied behind their first byte, which costs less than another write."""


async def exchange(
    stream: Stream, payload: bytes, max_answer: int, deadline: float | None = None
) -> bytes:
    """Send the request, and wait for the answer.

    :param deadline: when to stop waiting, by the loop's clock; None for never.
    :raises MuxadoError: if there is none; the stream is over then.
    :raises TimeoutError: if there was none by then; the stream is reset.

    Cancellation: the stream is reset.
    """
    alarm = None
    if deadline is not None:
        alarms = alarms_of(stream)
        alarm = alarms.set(deadline, give_up, stream)
    try:
        if len(payload) < JOIN_BELOW:
            stream.send_whole_nowait(PLAIN + payload)
        else:
            stream.send_whole_nowait(PLAIN)
            stream.send_whole_nowait(payload)
        stream.send_eof_nowait()
        most = max_answer + 1
        is_error = False
        if most < MAX_ERROR:  # or an error that may be is within it
            if not has_come(stream, 1):
                await until_come(stream, 1)
            if is_error := bool(first_byte(stream)):
                most = MAX_ERROR
        answer = await receive_whole(stream, most)
        if answer is None:
            if is_error:
                raise error_too_long()
            raise AnswerError(
                f"the answer has more than {max_answer} bytes: ask for less, or call with max_answer=...",
                code=ErrorCode.STREAM_CANCELLED,
                retry=Retry.PROCESSED,
            )
    except BaseException as exc:
        stream.reset()
        timed_out = alarm is not None and alarms.call_off(alarm)
        if timed_out and isinstance(exc, ClosedResourceError):
            raise TimeoutError from None
        raise
    if alarm is not None:
        alarms.call_off(alarm)
    let_go(stream)
    return read_answer(answer)

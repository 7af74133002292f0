"""Call frames: how a request and its answer stand in the bytes of a stream; ``docs/calls.md`` has the format.

Where data comes from and goes to.  What :mod:`~muxado_py.service.calls` sends and :mod:`~muxado_py.service.call_server`
receives, and back.  How long a request or an answer is says the end of its stream; so a plain one costs one byte.

The rule.  The last thing of an answer is its status: an answer without one has broken off, whatever ended the stream.

The traps.  Only an answer is as long as whoever called takes; an error is told also to who takes no byte, so what is received of
one is bounded here.  And a deadline is a moment, and two machines have two clocks: what travels is the time that is left.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from ..arguments import check_seconds
from ..errors import ErrorCode, Retry
from ..protocol.opening import metadata_room, prepared
from .call_errors import MAX_DETAILS, AnswerError, CallError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = (
    "ATTEMPT",
    "END",
    "MAX_ERROR",
    "OK",
    "PLAIN",
    "STREAMED",
    "TIME_LEFT",
    "call_metadata",
    "check_call",
    "error_answer",
    "error_too_long",
    "read_answer",
    "read_time_left",
)

PLAIN, STREAMED = b"\0", b"\1"
"""What a request begins with."""

OK = b"\0"
"""What an answer begins with that is none of an error: its status."""

END = b"\xff\xff\xff\xff"
"""What stands in the place of a length behind the last piece of an answer; its status follows."""

MAX_ERROR = 3 + 0xFFFF + MAX_DETAILS
"""Bytes of an answer that is an error: its status, the length of the text, the text and the details."""

TIME_LEFT, ATTEMPT = "time-left", "attempt"
"""Keys of metadata."""

OWN_METADATA = 64
"""Bytes of the metadata of a stream, at most, that the call's own pairs take, in whichever attempt."""

MAX_TIME_LEFT = 10.0**9
"""Seconds; who has more has no deadline."""

MAX_DIGITS = 12
"""Of the milliseconds that are left."""

_match_number = re.compile(rb"[0-9]{1,%d}" % MAX_DIGITS).fullmatch


def error_answer(error: CallError) -> bytes:
    """What says so instead of an answer."""
    text = error.text.encode("utf-8", "replace")
    return bytes((error.status,)) + len(text).to_bytes(2, "big") + text + error.details


def read_answer(answer: bytes) -> bytes:
    """What the other side answered.

    :raises CallError: if that is an error.
    :raises AnswerError: if it is none, or an error that is too long.
    """
    if not answer:
        raise AnswerError(
            "the peer closed the stream without an answer: does it serve_calls?",
            code=ErrorCode.NO_ERROR,
            retry=Retry.UNKNOWN,
            remote=True,
        )
    if not answer[0]:
        return answer[1:]
    size = int.from_bytes(answer[1:3], "big")
    if len(answer) < 3 + size:
        raise AnswerError(
            f"the peer's answer is none: it begins with {answer[:8]!r}; does it serve_calls?",
            code=ErrorCode.NO_ERROR,
            retry=Retry.PROCESSED,
            remote=True,
        )
    text = answer[3 : 3 + size].decode("utf-8", "replace")
    details = answer[3 + size :]
    if len(details) > MAX_DETAILS:
        raise error_too_long()
    raise CallError(answer[0], text, details, remote=True)


def error_too_long() -> AnswerError:
    """What whoever called is told of such an error, or of as many bytes behind another status."""
    return AnswerError(
        f"the status of the answer has details of more than {MAX_DETAILS} bytes",
        code=ErrorCode.STREAM_CANCELLED,
        retry=Retry.PROCESSED,
        remote=True,
    )


def call_metadata(
    metadata: Mapping[str, bytes] | None, time_left: float | None, attempt: int
) -> Mapping[str, bytes] | None:
    """What goes with the SYN of a call.

    :param time_left: seconds; None for no deadline.
    :param attempt: 1 for the first.
    """
    own: Mapping[str, bytes] = {}
    if time_left is not None and time_left <= MAX_TIME_LEFT:
        # Never less than is left: the peer would give up first, and its words be told in place of a CallTimeoutError.
        own = _time_left(math.ceil(max(0.0, time_left) * 1000))
    if attempt > 1:
        own = {**own, ATTEMPT: b"%d" % attempt}
    if not own:
        return metadata
    return {**metadata, **own} if metadata else own


@lru_cache(maxsize=64)  # most calls say the same
def _time_left(milliseconds: int) -> Mapping[str, bytes]:
    return prepared({TIME_LEFT: b"%d" % milliseconds})


def check_call(timeout: object, metadata: Mapping[str, bytes] | None) -> None:
    """Whether a call can be made so, and also sent again, when it says more of itself.

    :raises TypeError: if ``timeout`` is no number, or ``metadata`` no mapping of ``str`` to ``bytes``.
    :raises ValueError: if ``timeout`` is below 0, a key is none or one of the call's own, or all is too long.
    """
    if timeout is not None:
        check_seconds("timeout", timeout)
    if metadata:
        room = metadata_room(metadata)
        if room < OWN_METADATA:
            raise ValueError(
                f"metadata of a call must leave {OWN_METADATA} bytes for the call's own, got {room} left: say less"
            )
        for key in (TIME_LEFT, ATTEMPT):
            if key in metadata:
                raise ValueError(f"metadata[{key!r}] is the call's own: use another key")


def read_time_left(metadata: Mapping[str, bytes]) -> float | None:
    """The seconds that whoever called has said to have left; None if that is nothing, or no number."""
    value = metadata.get(TIME_LEFT)
    return None if value is None else _seconds(value[: MAX_DIGITS + 1])


@lru_cache(maxsize=64)
def _seconds(value: bytes) -> float | None:
    return int(value) / 1000 if _match_number(value) else None

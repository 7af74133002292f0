"""Call errors: what whoever calls is told when there is no answer, and what a handler says instead of one.

What it is.  The statuses of calls, and the exceptions with which a call may end beside those of its stream::

    MuxadoError
    ├── CallError             the other side's handler answered with an error
    ├── CallTimeoutError      (TimeoutError) the deadline is over
    ├── AnswerError           what came is no answer, or too long for one
    └── RetryBudgetError      (ConnectionRefusedError) safe to send again, and not worth while now

Why in this tree.  Whoever decides about sending again asks ``retry``, and finds it whatever happened.

The rule.  What the other side wrote goes into a message only escaped.  And what an answer says is passed on by nobody but
who means to: a handler that calls others, and lets their error out, has failed itself.

The trap.  The verdict of a :class:`RetryBudgetError` is the truth, that it would be safe; so the type says what the verdict
cannot, that whoever sends it again all the same multiplies the load.
"""

from __future__ import annotations

from enum import IntEnum

from ..arguments import check_text, check_whole
from ..errors import ErrorCode, MuxadoError, Retry, escaped

__all__ = (
    "MAX_DETAILS",
    "AnswerError",
    "CallError",
    "CallStatus",
    "CallTimeoutError",
    "RetryBudgetError",
    "no_answer_in",
    "not_worth_while",
)

MAX_TEXT = 1024
"""Characters of the text of an error."""

MAX_DETAILS = 64 * 1024
"""Bytes of the details of an error: it is received whatever ``max_answer`` is, so it has a bound of its own."""


class CallStatus(IntEnum):
    """How a call ended, with the numbers and the meanings of gRPC's status codes; an application may have its own
    from 32 to 255."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class CallError(MuxadoError):
    """A call was answered with an error: raised by a handler, and where it was called (``remote``).

    :param status: 1 to 255; :class:`CallStatus` has names for some.
    :param text: for people, 1,024 characters at most.
    :param details: for programs: whatever both sides agree on, 65,536 bytes at most.
    :raises TypeError: if ``status`` is no int, ``text`` no str or ``details`` no bytes.
    :raises ValueError: if ``status`` is out of its range, or ``details`` too long.
    :ivar retry: always ``PROCESSED``.
    """

    status: int
    text: str
    details: bytes

    def __init__(
        self, status: int, text: str = "", details: bytes = b"", *, remote: bool = False
    ) -> None:
        check_whole("status", status, 1, 255)
        check_text("text", text)
        if not isinstance(details, bytes):
            raise TypeError(f"details must be bytes, got {details!r:.80}")
        if len(details) > MAX_DETAILS:
            raise ValueError(f"details have at most {MAX_DETAILS} bytes, got {len(details)}")
        name = CallStatus(status).name if status in _KNOWN else "status"
        message = f"{name}({status}): {escaped(text[:MAX_TEXT]) or 'no reason given'}"
        super().__init__(message, code=ErrorCode.NO_ERROR, retry=Retry.PROCESSED, remote=remote)
        self.status = status
        self.text = text[:MAX_TEXT]
        self.details = details

    def __reduce__(self) -> tuple[object, ...]:
        return CallError, (self.status, self.text, self.details), self.__dict__


_KNOWN = frozenset(CallStatus)


class CallTimeoutError(MuxadoError, TimeoutError):
    """A call had no answer in its time.

    :ivar retry: that of all its attempts: ``NEVER_SENT`` if no byte of any left, ``REFUSED`` if those that left were
        refused, ``PROCESSED`` if an answer had begun; else ``UNKNOWN``: it may have been executed, or be at it.
    """


class AnswerError(MuxadoError):
    """What came is longer than ``max_answer``, an error longer than one may be, or not what ``serve_calls`` answers.

    :ivar retry: ``PROCESSED`` if any byte came, else ``UNKNOWN``.
    """


class RetryBudgetError(MuxadoError, ConnectionRefusedError):
    """A call failed that could be sent again, but so many others do that it was not: do not send it again above.

    ``__cause__`` is how the last attempt ended; None if there was none, because most calls are refused.

    :ivar retry: that of all its attempts.
    """


def no_answer_in(timeout: float, verdict: Retry, why_not: str = "") -> CallTimeoutError:
    """The error of a call whose ``timeout`` seconds are over.

    :param verdict: of all its attempts.
    :param why_not: why there was no stream for it, as the end of the sentence.
    """
    text = f"no answer in {timeout:g} s, and {_IN_WORDS[verdict]}{why_not}"
    return CallTimeoutError(text, code=ErrorCode.STREAM_CANCELLED, retry=verdict)


def not_worth_while(what: str = "calls") -> RetryBudgetError:
    """The error of one that was not sent."""
    text = (
        f"most {what} are refused, so this one was not sent: do not send it again at once, either "
        "(RetryPolicy.sent_per_accepted)"
    )
    return RetryBudgetError(text, code=ErrorCode.STREAM_REFUSED, retry=Retry.NEVER_SENT)


_IN_WORDS = {
    Retry.NEVER_SENT: "nothing of the call was sent",
    Retry.REFUSED: "nobody took it",
    Retry.UNKNOWN: "it may have been executed",
    Retry.PROCESSED: "it was being answered",
}

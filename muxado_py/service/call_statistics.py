"""Call statistics: what became of the calls of one pool, or of one caller, summed up as they end.

The rule.  Sums only, of which there is a fixed number: no caller and no peer can make them grow.

The trap.  A call that failed is told apart by its verdict and not by its error: what counts for whoever watches is whether it
may have been executed.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from ..errors import MuxadoError, Retry
from .call_errors import CallError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("CALL_BUCKETS", "OUTCOMES", "CallCounters", "CallOutcome", "CallStatistics")

CALL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds of a call, at most; Prometheus' own, and two below."""

CallOutcome: TypeAlias = Literal[
    "answered", "error", "never sent", "refused", "unknown", "processed", "given up"
]
OUTCOMES: tuple[CallOutcome, ...] = (
    "answered",
    "error",
    "never sent",
    "refused",
    "unknown",
    "processed",
    "given up",
)
"""How a call ends: with an answer, with an error of its handler, with one of the verdicts, or by a cancellation."""

_OF_VERDICT: dict[Retry, CallOutcome] = {
    Retry.NEVER_SENT: "never sent",
    Retry.REFUSED: "refused",
    Retry.UNKNOWN: "unknown",
    Retry.PROCESSED: "processed",
}


class CallStatistics(NamedTuple):
    """What became of calls, from the first on; streamed calls are not among them."""

    outcomes: Mapping[CallOutcome, int]
    """How many ended in each way; a cancelled one, or one with a wrong argument, is "given up"."""
    attempts: int
    """Streams that were opened for them: the calls, what was sent again, and hedges."""
    seconds: float
    """That all of them took together."""
    buckets: tuple[int, ...]
    """How many took at most each of :data:`CALL_BUCKETS`, and longer: each call is in one."""
    budget: int
    """Calls that may be sent again now."""

    @property
    def ended(self) -> int:
        """Calls that have ended."""
        return sum(self.buckets)


class CallCounters:
    """Sums up calls.

    :ivar attempts: counted by whoever opens streams.
    """

    __slots__ = ("_buckets", "_outcomes", "_seconds", "attempts")

    def __init__(self) -> None:
        self._outcomes: dict[CallOutcome, int] = dict.fromkeys(OUTCOMES, 0)
        self._buckets = [0] * (len(CALL_BUCKETS) + 1)
        self._seconds = 0.0
        self.attempts = 0

    def ended(self, failure: BaseException | None, seconds: float) -> None:
        """A call has ended, after so long; ``failure`` is what it raised."""
        if failure is None:
            outcome: CallOutcome = "answered"
        elif isinstance(failure, CallError):
            outcome = "error"
        elif isinstance(failure, MuxadoError):
            outcome = _OF_VERDICT[failure.retry]
        else:
            outcome = "given up"
        self._outcomes[outcome] += 1
        self._buckets[bisect_left(CALL_BUCKETS, seconds)] += 1
        self._seconds += seconds

    def statistics(self, budget: int) -> CallStatistics:
        """A snapshot."""
        return CallStatistics(
            dict(self._outcomes), self.attempts, self._seconds, tuple(self._buckets), budget
        )

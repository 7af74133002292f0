"""Limits: how many handlers of calls run at once, and how that number finds itself.

What it is.  A server that begins with everything that comes, and has more to do than it can, is late with all of it: then
its answers reach nobody, and what it can do at its best is done for nothing.  How many handlers it may have at once
nobody knows beforehand, but that they are late shows: those calls that have a deadline tell it.

The rule.  By Little's law the number at once is the rate times the time that each takes.  Calls should take half of the time
that their callers had left.  So where they take longer, the limit is lowered by about the same ratio (a gradient, as in
Netflix' concurrency-limits), by three tenths at a time at most, or by a half where many are cut off; where it was reached, and
they do not, it is raised by its root.  Only what began after the last change is judged: what was late before would be held against the new limit.

The trap.  Calls that are slow by nature look like a server that is too slow.  They are no quicker the fewer there are at once,
so what was lowered for them is undone: the rate tells, which falls with the limit if nobody stands in anybody's way.  It tells
nothing where many are cut off by their deadline, for those take the same whatever stands in their way: then they are late, and
what was thought of their nature is forgotten.  For a machine that has other things to do makes the rate fall too, at times, and
what was lowered with reason is undone.  That a call was cut
off is told by whoever cut it off: one that waits for an event until shortly before its deadline, and is answered, is not late.
Whether its deadline did it, or its caller left for another reason, the time that it took tells, nearly: a caller's own
deadline is a moment earlier.  And who has no deadline says nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..arguments import check_seconds, check_whole

__all__ = ("CallLimits", "ConcurrencyLimit")

MIN_SAMPLES = 10
MIN_WINDOW = 0.1
"""Calls, and seconds, after which the limit is judged."""

MAX_CUT_OFF = 0.25
"""The part of the calls that is cut off from which on the time that they take says nothing of their nature."""

MOST_OF_TIME = 0.9
"""The part of what it had that a call has taken if its deadline cut it off: a caller's is a moment earlier.  Who leaves before
that has other reasons."""

LEAST_STEP = 0.7
LEAST_STEP_LATE = 0.5
"""What the limit is lowered to, at least, in parts of what it was; the latter where so many are cut off."""

TOLERANCE = 1.1
"""How much longer than they should calls may take before the limit is lowered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """How much a server of calls begins with at once, and how long the rest may wait.

    :raises TypeError: if a field is no number.
    :raises ValueError: if a field is out of its range, naming the field and the value.
    """

    max_concurrent: int = 1024
    """Handlers at once, at most; fewer while calls that have a deadline take too much of it.  As many as one session
    has streams."""

    max_queue: int = 1024
    """Calls that wait for a handler; the one that has waited longest is refused for one more."""

    max_wait: float = 60.0
    """Seconds that a call may wait; one that has a deadline waits no longer than half of what was left of it.  For those that have more,
    or no deadline, they count from the last one of these that had waited and began: a thousand that come at once are no overload,
    however slow the machine.  In an overload, where the newest goes first, it is a fifth of either."""

    def __post_init__(self) -> None:
        check_whole("max_concurrent", self.max_concurrent, 1, 1_000_000)
        check_whole("max_queue", self.max_queue, 0, 1_000_000)
        check_seconds("max_wait", self.max_wait)


class ConcurrencyLimit:
    """How many may run at once; without a clock of its own.

    :param most: what it begins with, and never goes beyond.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit = most
        self._natural = 0.0  # seconds that calls take by nature, as far as that is known
        self._lowered_from: tuple[int, float, float] | None = None
        """The limit before, the rate that must be left if it was lowered with reason, and what calls took."""
        self._begin(0.0)

    def _begin(self, now: float) -> None:
        self._since = now
        self._samples = self._cut_off = 0
        self._taken = self._left = 0.0
        self._peak = 0

    def began(self, running: int) -> None:
        """One more runs: so many in all."""
        if running > self._peak:
            self._peak = running

    def ended(self, began: float, now: float, time_left: float, *, cut_off: bool) -> None:
        """A call that had a deadline is done.

        :param began: when its handler began.
        :param time_left: seconds that it had then.
        :param cut_off: whether it was ended, so that there is no answer: by its deadline, if most of its time was over, and else
            because nobody waits for it any more.
        """
        if began < self._since:
            return
        taken = now - began
        self._samples += 1
        self._cut_off += cut_off and taken > MOST_OF_TIME * time_left
        self._taken += taken
        self._left += time_left
        if self._samples >= MIN_SAMPLES and now - self._since >= MIN_WINDOW:
            self._judge(now)

    def _judge(self, now: float) -> None:
        taken, left = self._taken / self._samples, self._left / self._samples
        reached = min(self.limit, self._peak)
        rate = reached / max(taken, 1e-9)
        lowered_from, self._lowered_from = self._lowered_from, None
        are_late = self._cut_off >= MAX_CUT_OFF * self._samples
        self._natural = 0.0 if are_late else 0.999 * self._natural  # what a server does may change
        should = max(0.5 * left, min(0.9 * left, self._natural))
        if lowered_from is not None and rate < lowered_from[1] and not are_late:
            self.limit, _, self._natural = lowered_from
        elif taken > should * TOLERANCE:
            least = LEAST_STEP_LATE if are_late else LEAST_STEP
            step = max(least, min(0.85, should / taken))
            if not are_late:
                self._lowered_from = self.limit, rate * (1 + step) / 2, taken
            self.limit = max(1, int(reached * step))
        elif self._peak >= self.limit:
            self.limit = min(self._most, self.limit + max(1, math.isqrt(self.limit)))
        self._begin(now)

"""Clock: virtual time, and what is to happen in it.

The rule.  Nothing in a simulation looks at another clock or draws from another source of chance, so a
seed replays exactly.

The trap.  Time must go on by itself: a loop that looks again and again until something happens would
look for ever.  So each turn of a loop costs :data:`TURN`.
"""

from __future__ import annotations

import heapq
import math
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("TURN", "Clock", "wakes_at")

TURN = 5e-6
"""Seconds that a turn of an event loop takes."""

Happening = tuple[float, int, "Callable[..., object]", tuple[Any, ...]]


class Clock:
    """The time of one run, and what is due.

    :ivar now: seconds.
    """

    current: Clock | None = None
    """That of the run under way."""

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = count()
        self._due: list[Happening] = []

    def later(self, seconds: float, act: Callable[..., object], *arguments: Any) -> None:
        """Call ``act`` when ``seconds`` have gone by."""
        self.at(self.now + seconds, act, *arguments)

    def at(self, when: float, act: Callable[..., object], *arguments: Any) -> None:
        """Call ``act`` then; what is to be called at the same moment is called in the order in which it was told."""
        heapq.heappush(self._due, (when, next(self._numbers), act, arguments))

    def next_due(self) -> float:
        """When something happens next."""
        return self._due[0][0] if self._due else math.inf

    def let_happen(self) -> None:
        """Everything that is due by now, in its order."""
        while self._due and self._due[0][0] <= self.now:
            _, _, act, arguments = heapq.heappop(self._due)
            act(*arguments)

    def advance(self, to: float) -> None:
        self.now = max(self.now, to)

    @contextmanager
    def in_charge(self) -> Iterator[None]:
        """This is the clock of the run."""
        before, Clock.current = Clock.current, self
        try:
            yield
        finally:
            Clock.current = before


def wakes_at(now: float, due: float) -> float:
    """When a loop wakes for a timer: the kernel counts in milliseconds, and is never early."""
    if math.isinf(due):
        return due
    return max(now, now + math.ceil((due - now) * 1e3) * 1e-3)

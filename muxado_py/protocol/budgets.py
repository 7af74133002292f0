"""Budgets: how much of what costs us little but adds up we take from a peer.

What it is.  A token bucket.  Each kind of frame that a peer can send for nothing (pings, empty frames,
streams reset before anybody accepted them, resets it provokes) has one; the core spends from it, and time
gives tokens back.  It needs no timer: what came back is reckoned when a token is spent.

The rule.  A budget bounds a *rate*, so a legitimate peer never meets it: the defaults allow 256 such
frames a second for ever and 1,024 at once.  One hard-coded count broke real users of another
library within days (hyper's h2, #935 to #950).

The trap.  A frame that is expensive for us must be bounded by what it costs (memory, streams), not
by a budget: a budget only keeps the *cheap* from adding up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Budget",)


class Budget:
    """A token bucket that starts full.

    :param size: tokens it holds at most.
    :param rate: tokens that come back per second.
    :param clock: the time in seconds; while it stands still, nothing comes back.
    """

    __slots__ = ("_clock", "_left", "_rate", "_size", "_spent_at")

    def __init__(self, size: int, rate: float, clock: Callable[[], float]) -> None:
        self._size = float(size)
        self._rate = rate
        self._clock = clock
        self._left = self._size
        self._spent_at = clock()

    def spend(self) -> bool:
        """Take one token; False if there was none."""
        now = self._clock()
        left = min(self._size, self._left + (now - self._spent_at) * self._rate)
        self._spent_at = now
        enough = left >= 1.0
        self._left = left - 1.0 if enough else left
        return enough

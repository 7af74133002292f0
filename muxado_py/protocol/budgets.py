"""Budgets: how much of what costs us little but adds up we take from a peer.

What it is.  A token bucket without a clock.  Each kind of frame that a peer can send for nothing
(pings, empty frames, streams reset before anybody accepted them, resets it provokes) has one; the
core spends from it, the session gives tokens back as time passes.

The rule.  A budget bounds a *rate*, so a legitimate peer never meets it: the defaults allow 256 such
frames a second for ever and 1,024 at once.  One hard-coded count broke real users of another
library within days (hyper's h2, #935 to #950).

The trap.  A frame that is expensive for us must be bounded by what it costs (memory, streams), not
by a budget: a budget only keeps the *cheap* from adding up.
"""

from __future__ import annotations

__all__ = ("Budget",)


class Budget:
    """A token bucket that starts full.

    :param size: tokens it holds at most.
    :param rate: tokens that come back per second.
    """

    __slots__ = ("_rate", "_size", "left")

    def __init__(self, size: int, rate: float) -> None:
        self._size = float(size)
        self._rate = rate
        self.left = self._size

    def spend(self) -> bool:
        """Take one token; False if there was none."""
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True

    def refill(self, seconds: float) -> None:
        """``seconds`` have passed."""
        self.left = min(self._size, self.left + seconds * self._rate)

"""Vigil: staying awake for what comes at once.

What it is.  A process that waits is put to sleep, and to wake it costs more than all of a small message does.
The sender pays for it: to a reader that is a little quicker, and so sleeps between two reads, it spends
a good part of its time on waking.

So a session that has just sent or received something keeps its event loop awake for a moment, if things have
been coming that quickly.  The loop goes on as always: it looks for events without waiting for them, and
whatever else has something to do has its turns.

Where data comes from and goes to.  The link says when it sent and when it received; the answer is whether
to look again.

What it buys.  One message or one short stream at a time is much quicker, with less CPU, for sleeping costs CPU
too (``docs/measurements.md``).

The rule.  It is for what comes in :attr:`Config.stay_awake` seconds, on one machine or in one rack.  Whoever
waits longer sleeps, after one vigil in vain.  Each that was in vain doubles how many times something has to
come quickly until the next, and one that ended well halves it again: where most of them would be in vain,
few are kept.

The trap.  With one processor, or one that this process may use, whoever is waited for cannot run while this
side stays awake.
"""

from __future__ import annotations

import os
import sys

__all__ = ("Vigil", "may_stay_awake")

MOST_DOUBT = 1024
"""How many times something has to come quickly before another vigil, at most."""

LONG_AGO = float("-inf")


class Vigil:
    """Whether to stay awake, for one link.

    :param seconds: for how long at most.
    """

    __slots__ = ("_doubt", "_quick", "_seconds", "_since")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since = LONG_AGO  # when something went or came last
        self._quick = 0  # how many times in a row something came in time
        self._doubt = 1  # how many it takes

    def sent(self, now: float) -> bool:
        """Something was sent; whether to stay awake."""
        self._since = now
        return self._quick >= self._doubt

    def received(self, now: float) -> bool:
        """Something came; whether to stay awake."""
        if now - self._since > self._seconds:
            self._quick = 0
        elif self._quick < self._doubt:
            self._quick += 1
        elif self._doubt > 1:
            self._doubt //= 2
        self._since = now
        return self._quick >= self._doubt

    def goes_on(self, now: float) -> bool:
        """Whether to look once more."""
        if now - self._since <= self._seconds:
            return True
        self._since = LONG_AGO
        self._quick = 0
        self._doubt = min(2 * self._doubt, MOST_DOUBT)
        return False


def may_stay_awake() -> bool:
    """Whether somebody else can run meanwhile."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0)) > 1
    return (os.cpu_count() or 1) > 1

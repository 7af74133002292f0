"""Vigil: staying awake for what comes at once.

What it is.  A process that waits is put to sleep, and to be woken costs more than all of a small message
does: on two cores of a virtual machine a byte there and back takes two processes that block 56 us, and two
that look again and again 20.  The one who pays is who sends: of sixteen bulk streams to a reader that was a
little quicker than they, and so slept between two reads, the sender spent a fifth of its time on waking it.

So a session that has just sent or received something keeps its event loop awake for a moment, if things have
been coming that quickly.  The loop goes on as always: it looks for events without waiting for them, and
whatever else has something to do has its turns.

Where data comes from and goes to.  The link says when it sent and when it received; the answer is whether
to look again.

What it buys.  Beside the fastest Go peer of the same run (smux), one message at a time from 0.83 to 2.6 of
its rate and an open-echo-close at a time from 0.99 to 2.4, with less CPU, for sleeping costs as well: 73 to
45 us a message with both ends.  Sixteen bulk streams went from 1.2 to 1.8 when a reader was quicker than its
sender; since views are handed on they make 2.1 either way.

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

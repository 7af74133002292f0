"""BusyPoll: whether to look for events without sleeping, for a moment.

A process that waits is put to sleep, and to wake it costs more than all of a small message does.  The sender pays for
it: to a reader that is a little quicker, and so sleeps between two reads, it spends a good part of its time on waking.
So a session that has just sent or received something keeps its event loop awake for a moment, if things have
been coming that quickly.  The loop goes on as always: it takes its events, and runs whatever else is ready.
``docs/measurements.md`` says what this buys.

The rule.  A poll lasts :attr:`Config.stay_awake` seconds at most.  When nothing came in that time, the poll was in
vain, and the process sleeps.  Each poll in vain doubles how many times in a row something has to come quickly
before the next; each that ended well halves that number.  So where most would be in vain, few are tried.

The trap.  With one processor, or one that this process may use, the peer cannot run while this side polls: see
:func:`may_busy_poll`.
"""

from __future__ import annotations

import os
import sys

__all__ = ("BusyPoll", "may_busy_poll")

MAX_THRESHOLD = 1024
"""How many times in a row something has to come quickly before another poll, at most."""

LONG_AGO = float("-inf")


class BusyPoll:
    """Decides for one link.

    :param seconds: how long a poll lasts at most.
    """

    __slots__ = ("_in_a_row", "_seconds", "_since", "_threshold")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since = LONG_AGO  # when something was sent or received last
        self._in_a_row = 0  # how many times something came in time
        self._threshold = 1  # how many it takes

    def sent(self, now: float) -> bool:
        """Something was sent; whether to poll."""
        self._since = now
        return self._in_a_row >= self._threshold

    def received(self, now: float) -> bool:
        """Something came; whether to poll."""
        if now - self._since > self._seconds:
            self._in_a_row = 0
        elif self._in_a_row < self._threshold:
            self._in_a_row += 1
        elif self._threshold > 1:
            self._threshold //= 2
        self._since = now
        return self._in_a_row >= self._threshold

    def goes_on(self, now: float) -> bool:
        """Whether to poll once more."""
        if now - self._since <= self._seconds:
            return True
        self._since = LONG_AGO
        self._in_a_row = 0
        self._threshold = min(2 * self._threshold, MAX_THRESHOLD)
        return False


def may_busy_poll() -> bool:
    """Whether another process can run meanwhile."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0)) > 1
    return (os.cpu_count() or 1) > 1

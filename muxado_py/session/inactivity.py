"""Inactivity: for how long nothing happened, while this side could have noticed.

A session ends when its peer says nothing for long, or when its transport takes nothing.  What counts is not the time
that went by: a process that was stopped or busy, or whose machine was, has heard nothing because it did not listen.

The rule.  When a look comes late, the time by which it is late does not count: while nothing looked, nothing was read.
The time until the look was due does count.  So on a machine on which every look is late, a peer that is truly silent
is found out after as many looks as anywhere.

The trap.  Looks must be frequent within the time that is waited for.  With a single one at its end, a process that
was stopped in between would count all of the time, and would have listened for none of it.
"""

from __future__ import annotations

__all__ = ("LOOKS_PER_TIMEOUT", "Inactivity")

LOOKS_PER_TIMEOUT = 4
"""How often to look in the time that is waited for, at least."""


class Inactivity:
    """How long something has not happened.

    :param now: the loop's clock, in seconds; counted from then.
    """

    __slots__ = ("_since",)

    def __init__(self, now: float) -> None:
        self._since = now

    def happened(self, at: float) -> None:
        """It happened then."""
        if at > self._since:
            self._since = at

    def overslept(self, due: float, now: float) -> None:
        """Nothing looked from ``due`` to ``now``."""
        since = max(self._since, due)
        if now > since:
            self._since += now - since

    def seconds(self, now: float) -> float:
        """Since it happened, without what was overslept."""
        return now - self._since

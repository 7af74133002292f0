"""Patience: for how long nothing happened, while this side could have noticed.

What it is.  A session ends when its peer says nothing for long, or when its transport takes nothing.  What
counts is not the time that went by: a process that was stopped, or busy for two seconds, or whose machine
was, has heard nothing because it did not listen.

Where data comes from and goes to.  The timekeeper says when something happened, and how late it came to
look; :meth:`Patience.seconds` is what is left.

The rule.  Of a look-around that comes late, the time by which it is late does not count, for as long as
nobody looked nobody read.  The time until then does: on a machine on which every one comes late, a peer
that is truly silent is found out after as many of them as anywhere.

The trap.  Looks have to be frequent beside the time that is waited for.  With a single one at its end, a
process that was stopped in between would count all of the time as patience and have heard nothing of it.
"""

from __future__ import annotations

__all__ = ("LOOKS", "Patience")

LOOKS = 4
"""How often to look in the time that is waited for, at least."""


class Patience:
    """How long something has not happened.

    :param now: the loop's clock, in seconds; it happened then, as far as this is concerned.
    """

    __slots__ = ("_since",)

    def __init__(self, now: float) -> None:
        self._since = now

    def happened(self, at: float) -> None:
        """It happened then."""
        if at > self._since:
            self._since = at

    def overslept(self, due: float, now: float) -> None:
        """Nobody looked from ``due`` to ``now``."""
        since = max(self._since, due)
        if now > since:
            self._since += now - since

    def seconds(self, now: float) -> float:
        """Since it happened, without what was overslept."""
        return now - self._since

"""Deadlines: what may stay for a while and must go after it, to the moment.

What it is.  Some things end because nothing happened for long: a stream that nobody accepts, one whose
peer never finishes.  A :class:`Deadlines` keeps those of one kind.  All of them may stay equally long, so
the order in which they came is the order in which they are due, and no heap is needed.

Where data comes from and goes to.  The core adds and discards.  The session asks ``next_due`` when to look
again, and takes what is due with ``expired``.  While it sleeps, the :class:`Alarm` says whether something
came that is due before it meant to wake.

The rule.  Whatever is added is discarded when its reason is gone; ``expired`` only finds what was not.

The trap.  An event loop's timer may fire a hair too early, and its clock need not have moved when it
does: what is due within ``TICK`` counts as due, or one would look again and again at the same moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("NEVER", "TICK", "Alarm", "Deadlines")

Item = TypeVar("Item")

NEVER = float("inf")

TICK = 1e-6
"""Seconds."""


class Alarm:
    """When the session looks around next, and what brings that forward.

    :param brought_forward: called when something came that is due before that.
    """

    __slots__ = ("_brought_forward", "at")

    def __init__(self, brought_forward: Callable[[], None]) -> None:
        self._brought_forward = brought_forward
        self.at = NEVER
        """The session says so before it sleeps."""

    def by(self, due: float) -> None:
        """Something is due then."""
        if due < self.at:
            self.at = due
            self._brought_forward()


class Deadlines(dict[Item, float]):
    """What is here, in the order in which it came, with the moment at which it is due.

    A dict, because ``in`` and the question whether anything is here are asked for each frame.

    :param seconds: how long anything may stay.
    :param clock: the time in seconds; with one that stands still, only ``expired`` moves on.
    """

    __slots__ = ("_alarm", "_clock", "_seconds")

    def __init__(self, seconds: float, clock: Callable[[], float], alarm: Alarm) -> None:
        self._seconds = seconds
        self._clock = clock
        self._alarm = alarm

    def add(self, item: Item) -> None:
        """``item`` is here from now on; if it was, its time runs on."""
        due = self._clock() + self._seconds
        if not self:
            self._alarm.by(due)
        # Not ``in`` first: of what is made from a dict it is a call of Python's machinery.
        self.setdefault(item, due)

    def discard(self, item: Item) -> bool:
        """``item`` is gone; whether it was here."""
        return self.pop(item, None) is not None

    def oldest(self) -> Item | None:
        """What came first of what is here."""
        return next(iter(self), None)

    @property
    def next_due(self) -> float:
        """When the first of them is due; ``NEVER`` if none is here."""
        return next(iter(self.values()), NEVER)

    def expired(self, now: float) -> list[Item]:
        """Take out what is due."""
        gone = []
        for item, due in self.items():
            if due > now + TICK:
                break
            gone.append(item)
        for item in gone:
            del self[item]
        return gone

"""Aging: what may stay for a while and must go after it, without a clock.

What it is.  Where a moment is enough and need not be the same for all (a stream that is held until its
peer surely knows it), nobody looks at a clock.  The session calls ``age`` in regular steps, and what was
here for two of them is old: it stayed for one to two steps, whatever their length.  What has a time-out
that somebody set has :mod:`~muxado_py.protocol.deadlines`.

The rule.  Whatever is added is discarded when its reason is gone; ``age`` only finds what was not.

The trap.  A step must be half of the time that may pass: what came just before a step has seen a
whole one only after the second.
"""

from __future__ import annotations

from typing import TypeVar

__all__ = ("Aging",)

Item = TypeVar("Item")


class Aging(dict[Item, int]):
    """What is here, in the order in which it came, with the number of the step in which it came.

    A dict, because ``in`` and the question whether anything is here are asked for each frame.
    """

    __slots__ = ("_step",)

    def __init__(self) -> None:
        self._step = 0

    def add(self, item: Item) -> None:
        """``item`` is here from now on; if it was, its age stays."""
        self.setdefault(item, self._step)

    def discard(self, item: Item) -> bool:
        """``item`` is gone; whether it was here."""
        return self.pop(item, None) is not None

    def age(self) -> list[Item]:
        """A step has passed: take out what was here for a whole one before."""
        gone = []
        for item, came in self.items():
            if came >= self._step:
                break
            gone.append(item)
        for item in gone:
            del self[item]
        self._step += 1
        return gone

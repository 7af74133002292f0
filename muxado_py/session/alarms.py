"""Alarms: what is done about a stream at some moment, unless it is called off before.

What it is.  For whoever has little to wait for beside the stream and need not be cancelled for it: a cancel scope with a
deadline costs eight times as much (``docs/measurements.md``).  Each session has one heap of them and one of its timers, which
is armed for the first.

The rule.  Whoever sets an alarm calls it off, however it went: what is armed holds its stream.

The traps.  What was called off may stay in the heap for a while, of which it is no more than about a half; so it lets go of what it
would have done.  And the timer stays armed for the first that was: it may find nothing that is due.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ..protocol.timers import CLOCK_TOLERANCE, MAX_STALE_TIMERS, NEVER, Timer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protocol.timers import Timers

__all__ = ("Alarm", "Alarms")

Subject = TypeVar("Subject")

Alarm: TypeAlias = "list[Any]"
"""Made by :meth:`Alarms.set`, for :meth:`Alarms.call_off`, once: when it is due, a number that no other has, what is done then, and to what.  It is the heap's
entry itself: one more object would cost as much as all the rest."""

_ACT, _SUBJECT = 2, 3


class Alarms:
    """The alarms of one session; :func:`~muxado_py.session.whole.alarms_of` has them.

    :param armed: called after the session's timers have changed.
    """

    __slots__ = ("_armed", "_first", "_heap", "_numbers", "_stale", "_timer")

    def __init__(self, timers: Timers, armed: Callable[[], object]) -> None:
        self._timer = Timer(timers, self._ring)
        self._armed = armed
        self._heap: list[Alarm] = []
        self._numbers = count()  # what is due at the same moment rings in the order of setting
        self._stale = 0  # how many entries were called off
        self._first = NEVER  # what the timer is armed for

    def __len__(self) -> int:
        """How many entries the heap has."""
        return len(self._heap)

    def set(self, when: float, act: Callable[[Subject], object], subject: Subject) -> Alarm:
        """Call ``act(subject)`` at that moment of the loop's clock; it must neither raise nor wait.

        If that has passed, soon.
        """
        alarm: Alarm = [when, next(self._numbers), act, subject]
        heappush(self._heap, alarm)
        if when < self._first:
            self._first = when
            self._timer.arm(when)
            self._armed()
        return alarm

    def call_off(self, alarm: Alarm) -> bool:
        """Nothing is to be done any more; whether it was done already."""
        if alarm[_ACT] is None:
            return True
        alarm[_ACT] = alarm[_SUBJECT] = None
        self._stale = stale = self._stale + 1
        if 2 * stale > len(self._heap) + MAX_STALE_TIMERS:
            self._heap[:] = [one for one in self._heap if one[_ACT] is not None]
            heapify(self._heap)
            self._stale = 0
        return False

    def _ring(self, now: float) -> None:
        heap = self._heap
        due = []
        while heap and (heap[0][_ACT] is None or heap[0][0] <= now + CLOCK_TOLERANCE):
            alarm = heappop(heap)
            if alarm[_ACT] is None:
                self._stale -= 1
            else:
                due.append(alarm)
        self._first = NEVER
        if heap:
            self._first = heap[0][0]
            self._timer.arm(self._first)
        for alarm in due:
            act, subject = alarm[_ACT], alarm[_SUBJECT]
            if act is not None:  # or what another did has called it off
                alarm[_ACT] = alarm[_SUBJECT] = None
                act(subject)

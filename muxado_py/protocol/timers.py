"""Timers: what is due at which moment, on one heap that asks no clock whether it is.

What it is.  Whatever happens in a session because time passed is a :class:`Timer` of its connection's one
:class:`Timers`: what ends streams and what asks about them (:mod:`~muxado_py.protocol.timeouts`), what finds out
that the peer or the transport is dead, what says that this side lives.

Where data comes from and goes to.  The core and the session arm timers.  The session has one task for all of
them: it sleeps until ``next_deadline`` and calls ``expire``, and each timer that is due calls what it is for.
``earlier`` is called when one is armed that is due before what that task knows of.

The rule.  Nothing that happens for every stream or frame touches the heap.  Streams that may stay equally long are
due in the order in which they came: they wait in :class:`Deadlines`, and only the first of them has a timer; or in
:class:`Generations`, where a moment is enough.

Which clock.  All deadlines, budgets and windows go by the event loop's clock, ``anyio.current_time``, which the
connection is given; where it stands still, as in a test, nothing is ever due but what ``expire`` says.  What is
*measured* (round trips, how long a flush takes) goes by ``time.perf_counter``, because uvloop reads its clock once
in a turn of the loop, in whole milliseconds.  The two never meet.

The trap.  An event loop's timer may fire a hair too early, and its clock need not have moved when it
does: what is due within ``CLOCK_TOLERANCE`` counts as due, or one would look again and again at the same moment.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "AT_ONCE",
    "CLOCK_TOLERANCE",
    "COARSE",
    "MAX_STALE_TIMERS",
    "NEVER",
    "Deadlines",
    "Generations",
    "Interval",
    "Timer",
    "Timers",
)

Item = TypeVar("Item")

NEVER = float("inf")

AT_ONCE = -NEVER

CLOCK_TOLERANCE = 1e-6
"""Seconds."""

COARSE = 0.001
"""Seconds by which a span may be shorter than a clock says that counts whole milliseconds, as uvloop's does."""

MAX_STALE_TIMERS = 16
"""Entries of the heap that may be out of date, however few there are."""


class Timer:
    """Something that may be due at some moment; it belongs to ``timers``.

    :ivar act: called with the time once it is due; whoever has the timer may say later what that is.
    """

    __slots__ = ("_timers", "act", "deadline", "entry", "was_due")

    def __init__(self, timers: Timers, act: Callable[[float], object] = lambda _now: None) -> None:
        self._timers = timers
        self.act = act
        self.deadline = NEVER
        """When it is due; ``NEVER`` if it is not armed."""
        self.was_due = NEVER
        """While it acts, when it was due: for whoever wants to know how late that is."""
        self.entry: Entry | None = None
        """Where it stands in the heap, for :class:`Timers` alone; perhaps at an earlier moment."""

    def arm(self, when: float) -> None:
        """It is due then, and no longer at another moment."""
        self._timers.arm(self, when)

    def disarm(self) -> None:
        """It is due no more."""
        self._timers.disarm(self)

    def fire(self, now: float) -> None:
        """It was due."""
        self.act(now)


Entry = tuple[float, int, Timer]


class Timers:
    """The timers of one connection.

    :param clock: the time in seconds, for those that are armed for so many seconds from now.
    :param earlier: called when the next deadline comes before the one that ``next_deadline`` said.
    """

    __slots__ = ("_earlier", "_heap", "_numbers", "_stale", "clock", "expected")

    def __init__(self, clock: Callable[[], float], earlier: Callable[[], None]) -> None:
        self.clock = clock
        self._earlier = earlier
        self._heap: list[Entry] = []
        self._numbers = count()  # timers that are due at the same moment act in the order of arming
        self._stale = 0  # entries that are no timer's any more, or those of disarmed ones
        self.expected = NEVER
        """What ``next_deadline`` said, or an earlier deadline that came since."""

    def __len__(self) -> int:
        """How many entries the heap has: one for each that is armed, and no more than about as many out of date."""
        return len(self._heap)

    def arm(self, timer: Timer, when: float) -> None:
        """See :meth:`Timer.arm`.  Later than before it costs nothing: the entry is moved when its time has come."""
        if when == NEVER:
            return self.disarm(timer)
        entry, was_armed = timer.entry, timer.deadline < NEVER
        timer.deadline = when
        if entry is None or when < entry[0]:
            if entry is not None and was_armed:
                self._stale += 1
            timer.entry = entry = (when, next(self._numbers), timer)
            heappush(self._heap, entry)
            if 2 * self._stale > len(self._heap) + MAX_STALE_TIMERS:
                self._bound()
        elif not was_armed:
            self._stale -= 1
        if when < self.expected:
            self.expected = when
            self._earlier()
        return None

    def disarm(self, timer: Timer) -> None:
        """See :meth:`Timer.disarm`."""
        if timer.deadline < NEVER:
            timer.deadline = NEVER
            if timer.entry is not None:
                self._stale += 1
                if 2 * self._stale > len(self._heap) + MAX_STALE_TIMERS:
                    self._bound()

    def next_deadline(self) -> float:
        """When to call ``expire`` next; ``NEVER`` if nothing is armed."""
        first = self._first()
        self.expected = NEVER if first is None else first[0]
        return self.expected

    def expire(self, now: float) -> None:
        """Let all act that is due; what that arms waits for the next call, even if it is due."""
        due = []
        while (first := self._first()) is not None and first[0] <= now + CLOCK_TOLERANCE:
            heappop(self._heap)
            first[2].entry = None
            due.append(first[2])
        for timer in due:
            if timer.deadline <= now + CLOCK_TOLERANCE:  # or another that was due has moved it
                timer.was_due = timer.deadline
                self.disarm(timer)
                timer.fire(now)

    def _first(self) -> Entry | None:
        """The entry that is due first, once what is out of date before it is gone."""
        heap = self._heap
        while heap:
            first = heap[0]
            when, _, timer = first
            if first is not timer.entry:
                heappop(heap)
                self._stale -= 1
            elif timer.deadline == when:
                return first
            elif timer.deadline == NEVER:
                heappop(heap)
                timer.entry = None
                self._stale -= 1
            else:
                timer.entry = (timer.deadline, next(self._numbers), timer)
                heapreplace(heap, timer.entry)
        return None

    def _bound(self) -> None:
        """Throw away what is out of date: it is more than a half."""
        heap = self._heap
        kept = []
        for entry in heap:
            timer = entry[2]
            if entry is timer.entry:
                if timer.deadline < NEVER:
                    kept.append(entry)
                else:
                    timer.entry = None
        heapify(kept)
        heap[:] = kept
        self._stale = 0


class Interval(Timer):
    """Due once in so many seconds, from ``begin`` on, for as long as ``act`` says that it still has a reason.

    :param seconds: how many.
    """

    __slots__ = ("seconds",)

    def __init__(
        self, timers: Timers, seconds: float, act: Callable[[float], bool] = lambda _now: False
    ) -> None:
        super().__init__(timers, act)
        self.seconds = seconds

    def begin(self) -> None:
        """There is a reason; it is due as many seconds from now, if it was not armed."""
        if self.deadline == NEVER:
            self.arm(self._timers.clock() + self.seconds)

    def fire(self, now: float) -> None:
        if self.act(now):
            self.arm(now + self.seconds)


class Deadlines(dict[Item, float]):
    """What may stay for ``seconds`` and must go after them, to the moment: what is here, in the order in which it
    came, with its deadline.

    Whatever is added is discarded when its reason is gone; ``expired`` is called with what was not.  The timer of one
    that was discarded stays armed, which costs a turn at most, and nothing for each of thousands.

    A dict, because ``in`` and the question whether anything is here are asked for each frame.
    """

    __slots__ = ("_clock", "_seconds", "_timer", "expired")

    def __init__(self, timers: Timers, seconds: float) -> None:
        self._clock = timers.clock
        self._seconds = seconds
        self._timer = Timer(timers, self._expire)
        self.expired: Callable[[Item], object] = lambda _item: None
        """What happens to one whose time has passed, and which is here no more."""

    def add(self, item: Item) -> None:
        """``item`` is here from now on; if it was, its time runs on."""
        due = self._clock() + self._seconds
        if due < self._timer.deadline:
            self._timer.arm(due)
        # Not ``in`` first: of what is made from a dict it is a call of Python's machinery.
        self.setdefault(item, due)

    def discard(self, item: Item) -> bool:
        """``item`` is gone; whether it was here."""
        return self.pop(item, None) is not None

    def oldest(self) -> Item | None:
        """What came first of what is here."""
        return next(iter(self), None)

    def _expire(self, now: float) -> None:
        gone = []
        for item, due in self.items():
            if due > now + CLOCK_TOLERANCE:
                self._timer.arm(due)
                break
            gone.append(item)
        for item in gone:
            del self[item]
        for item in gone:
            self.expired(item)


class Generations(dict[Item, int]):
    """What must stay for ``seconds`` at least, and for not much longer: what is here, in the order in which it came,
    with the number of the step in which it did.

    Steps are as long.  What was here for a whole one is old: alone it stays for one step, among others for two at
    most, and a thousand of them in a second cost a turn of the loop for each step and no look at a clock.  The first
    step is taken at once, in the loop's next turn: a clock that is read once in a turn may lag by the whole of
    it, so that seconds from now might already have passed.  And a step is longer by ``COARSE``.
    """

    __slots__ = ("_step", "_steps", "aged")

    def __init__(self, timers: Timers, seconds: float) -> None:
        self._step = 0
        self._steps = Interval(timers, seconds + COARSE, self._take_step)
        self.aged: Callable[[Item], object] = lambda _item: None
        """What happens to one that is old, and which is here no more."""

    def add(self, item: Item) -> None:
        """``item`` is here from now on; if it was, its age stays."""
        self.setdefault(item, self._step)
        if self._steps.deadline == NEVER:
            self._steps.arm(AT_ONCE)

    def discard(self, item: Item) -> bool:
        """``item`` is gone; whether it was here."""
        return self.pop(item, None) is not None

    def age(self) -> None:
        """A step has passed."""
        gone = []
        for item, came in self.items():
            if came >= self._step:
                break
            gone.append(item)
        self._step += 1
        for item in gone:
            del self[item]
        for item in gone:
            self.aged(item)

    def _take_step(self, _now: float) -> bool:
        self.age()
        return len(self) > 0

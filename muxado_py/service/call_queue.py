"""Call queue: which calls a server begins with, which wait, and which are refused.

Where data comes from and goes to.  Whoever has a call asks for a place; :mod:`~muxado_py.service.limits` says how many there
are.  Who has none waits here, and is told later that it has one, or that there will be none: then whoever called is
refused, and may ask another server at once.

The rules.  Who has a deadline waits for half of it at most: it is to be answered, too.  While nobody waits for too long, who
came first goes first.  From the moment at which somebody has, and until nobody waits any more, there is an overload: then
who came last goes first, and the others are refused soon.  Of calls that all wait every one would be late; so
some are on time (CoDel with adaptive LIFO; Maurer, "Fail at Scale", ACM Queue 2015, with the deadline in the place of its
milliseconds: a thousand calls that come at once are no overload).  And who has much time, or no deadline, is not late where this
is slow: it waits for as long as others of its kind get their places, in an overload too.

A handler that computes and never waits needs no place for long, and yet stops all others.  So there is a bound, too, for how
long the event loop may be at it in one turn: then calls wait for the next turn, and new ones can come in
meanwhile; else the loop's own queue would be the one in which they are late, and in that who came first goes first.  How many are
woken in a turn follows from how long the last one took.  Behind them come some turns without handlers: what has come
gets here, and what was answered gets out, in more than one, and each would have waited for a handler.  And how long a turn
took is known only then: trio runs in any order what is ready, so the next turn may be looked at before the handlers had this one.

The trap.  Who is told that it has a place and is cancelled before it runs has to give it back.
"""

from __future__ import annotations

import math
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from ..runtime.checkpoints import current_backend, next_turn, wake
from ..session.whole import alarms_of, unwatch_end, watch_failure
from .limits import ConcurrencyLimit

if TYPE_CHECKING:
    from ..runtime.checkpoints import Awaited
    from ..session.stream import Stream
    from .limits import CallLimits

__all__ = ("CallQueue",)

WAIT_SHARE = 0.5
"""How much of the time that is left a call may wait."""

OVERLOAD_SHARE = 0.2
"""How much of that it may wait in an overload."""

TURN = 0.005
"""Seconds for which the event loop may be at handlers until it looks for new calls."""

LOOKS = 3
"""Turns of the loop between two with handlers, where somebody waits: from a socket to a stream, to its task, and to here."""


class _Place:
    """One who waits."""

    __slots__ = ("given", "has_time", "overload_until", "waiter")

    def __init__(self, overload_until: float, has_time: bool, waiter: Awaited) -> None:
        self.overload_until = overload_until
        """How long it may wait if there is an overload."""
        self.has_time = has_time
        """Whether half of its time is more than any call may wait in vain."""
        self.waiter = waiter
        self.given: bool | None = None
        """Whether it has its place now; None while it waits."""


class CallQueue:
    """The places of one server.

    :ivar running: how many are taken.
    """

    def __init__(self, limits: CallLimits) -> None:
        backend = current_backend()
        self.now = backend.time
        self._new_waiter = backend.new_waiter
        self._next_turn = next_turn()
        self._limits = limits
        self._limit = ConcurrencyLimit(limits.max_concurrent)
        self.running = 0
        self._waiting: deque[_Place] = deque()  # who came last is last
        self._overloaded = False  # since somebody waited for too long, and until nobody waits
        self._given_at = -math.inf  # when one who waited and has time was given a place
        self._turn_since: float | None = None  # when handlers began in this turn of the loop
        self._batch = 8  # how many are woken in a turn

    @property
    def limit(self) -> int:
        """How many places there are now."""
        return self._limit.limit

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def enter(self) -> float | None:
        """Take a place, if one is free and nobody waits: when that was; else None."""
        now = self.now()
        if self._turn_since is None:
            self._expect_turn(now)
        elif now - self._turn_since > TURN:
            return None
        if self._waiting or self.running >= self._limit.limit:
            return None
        return self._take(now)

    async def wait(self, stream: Stream, time_left: float) -> float | None:
        """Wait for a place: when it was given; None if there is none, or whoever called has gone.

        :param stream: its call; nothing of it is received.
        :param time_left: seconds until the deadline of the call.

        Cancellation: the place goes to the next.
        """
        now, waiting, max_wait = self.now(), self._waiting, self._limits.max_wait
        until = now + time_left * WAIT_SHARE
        seconds = min(max_wait, until - now)
        if not (self._limits.max_queue and seconds > 0):
            return None
        self._expire(now)
        if len(waiting) >= self._limits.max_queue:
            self._overloaded = True
            self._tell(waiting.popleft(), given=False)
        place = _Place(now + seconds * OVERLOAD_SHARE, until - now > max_wait, self._new_waiter())
        waiting.append(place)
        self._expect_turn(now)
        alarms = alarms_of(stream)
        try:
            watch_failure(stream, partial(self._gone, place))
            while seconds > 0:
                # No cancel scope, of which an alarm costs an eighth: in an overload most calls are refused after this wait.
                alarm = alarms.set(now + seconds, wake, place.waiter)
                try:
                    await place.waiter
                finally:
                    alarms.call_off(alarm)
                if place.given is not None:
                    break
                now = self.now()
                seconds = min(self._given_at + max_wait, until) - now
                place.waiter = self._new_waiter()
        except BaseException:
            if place.given:
                self.leave()
            raise
        finally:
            unwatch_end(stream)
            if place.given is None:
                waiting.remove(place)
        if place.given is None:
            self._overloaded = bool(waiting)
        return self.now() if place.given else None

    def _gone(self, place: _Place) -> None:
        """Whoever called waits no more, or its session is over: then no alarm rings any more, either."""
        if place.given is None:
            self._waiting.remove(place)
            self._tell(place, given=False)
            if not self._waiting:
                self._overloaded = False

    def leave(self) -> None:
        """A place is free again."""
        self.running -= 1
        if self._waiting:
            self._expect_turn(self.now())

    def done(self, began: float, time_left: float | None, *, cut_off: bool) -> None:
        """As :meth:`leave`, after a handler that had so many seconds when it began.

        :param cut_off: whether it was ended, by its deadline or because whoever called has gone.
        """
        if time_left is not None:
            self._limit.ended(began, self.now(), time_left, cut_off=cut_off)
        self.leave()

    def _take(self, now: float) -> float:
        self.running += 1
        self._limit.began(self.running)
        return now

    def _expect_turn(self, now: float) -> None:
        """This turn of the loop is one with handlers in it, and the next one will be looked at."""
        if self._turn_since is None:
            self._turn_since = now
            self._next_turn(self._turn_over)

    def _turn_over(self, looks: int = LOOKS) -> None:
        """The loop has had a look at what came: who waits has a turn, after so many more."""
        if looks and self._waiting:
            self._next_turn(partial(self._turn_over, looks - 1))
            return
        now, since = self.now(), self._turn_since
        self._turn_since = None
        if not self._waiting:
            return
        if since is not None:
            ratio = TURN / max(now - since, 1e-6)
            self._batch = max(1, int(self._batch * min(2.0, max(0.5, ratio))))
            self._batch = min(self._batch, self._limits.max_concurrent)
        self._expire(now)
        woken = 0
        while self._waiting and woken < self._batch and self.running < self._limit.limit:
            place = self._waiting.pop() if self._overloaded else self._waiting.popleft()
            self._take(now)
            self._tell(place, given=True)
            if place.has_time:
                self._given_at = now
            woken += 1
        if not self._waiting:
            self._overloaded = False
        if woken:
            self._expect_turn(now)

    def _expire(self, now: float) -> None:
        """Who has waited too long for an overload is refused."""
        goes_on = self._given_at + self._limits.max_wait * OVERLOAD_SHARE >= now
        while self._overloaded and self._waiting:
            first = self._waiting[0]
            if first.overload_until >= now or (first.has_time and goes_on):
                return
            self._tell(self._waiting.popleft(), given=False)

    @staticmethod
    def _tell(place: _Place, *, given: bool) -> None:
        place.given = given
        wake(place.waiter)

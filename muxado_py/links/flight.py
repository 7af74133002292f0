"""Flight: how much may be on its way at once, so that the network's own queue stays short.

What it is.  TCP sends until a queue on the path overflows, and whatever is sent then waits behind that
queue, on this connection as on any other.  Held to a little more than the path carries in a round trip,
bulk is nearly as fast, and a message beside it arrives sooner than on a TCP connection of its own
(``docs/measurements.md``).

Where data comes from and goes to.  The link asks before it hands over bulk, and gets so many bytes, or
none, and then asks again a moment later.  What waits meanwhile waits in the scheduler, where it can be
overtaken.  The kernel says how long a round trip is and was at its best, what was acknowledged, and what
is on its way: a :class:`PathSource`, which only Linux has, for TCP.

The rule.  Without a sign of a queue there is no cap: a session that the application does not fill, a
start, a path that is faster than it is asked to be, loopback, where a round trip is too short to be
timed by an event loop.  When the round trip has swollen for two steps while more waited to be sent,
what is on its way is held to 1.2 times the rate of the last steps times the shortest round trip.
The fifth is what finds out that the path became faster: the rate grows by as much in each step.

The constants suit cubic.  Under BBR the cap is let go more often, on a busy machine.

The trap.  The queue may be somebody else's, or the path longer than it was.  A cap would then give way
to others until nothing is left, for each step measures less than the one before.  So a cap that does not
make the round trip short again, or under which the rate falls, is let go, for longer each time.  And
a queue that always stands a little hides the true round trip, of which the kernel forgets what
is older than five minutes: every ten seconds the path is let run empty for a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Flight", "PathFigures", "PathSource")

GAIN = 1.2
"""The cap, in products of rate and round trip."""
BREATH = 0.75
"""The same, while the path runs empty."""
BREATH_EVERY = 10.0
"""Seconds; BBR's."""

WAIT = 0.001
"""Seconds until a link that was given nothing asks again: as short as event loops count.  The path
must not run empty in between, so what it carries in this time comes on top of the cap."""

LEAST_PORTION = 4 * 1024
ANY = 2**31
"""Portions under a small cap, and without one."""

SHORTEST = 0.002
"""Seconds of a round trip below which there is no cap; its queue is shorter than ``WAIT``."""
LOOK_AGAIN = 1.0
"""Seconds between two looks at such a path."""

STEP = 0.025
"""Seconds over which a rate is measured at least; else it is a round trip.  Acknowledgements come in
lumps, and a shorter time would see more of them than there are."""
STEPS = 8
"""The rate is the second best of so many.  A moment in which a machine is busy elsewhere shows as a
step that is too slow, and then one that is too fast; neither is the path."""
GAP = 3
"""A rate is none if the time between two looks was so many steps: nobody sent."""

SWOLLEN, SWOLLEN_BY = 1.6, 0.002
"""A round trip is swollen above so many of the shortest, and so many seconds.  The cap makes it about
1.2."""
TO_HOLD, TO_LET_GO = 2, 10
"""Steps with a swollen round trip before there is a cap, and before it has failed: more than a rate is
remembered for."""
FALLEN = 0.75
"""A rate below this part of the best under the same cap is the end of it, too."""

IDLE = 1.0
"""Seconds without bulk after which a cap is forgotten."""
FREE, MOST_FREE = 2.0, 64.0
"""Seconds without a cap after one that failed: twice as long each time, from the first to the second."""


class PathFigures(NamedTuple):
    """What is known of the path at one moment."""

    round_trip: float
    """Seconds, as it is now."""
    least_round_trip: float
    """Seconds, at its best in the last minutes."""
    acknowledged: int
    """Bytes, since the connection began."""
    retransmits: int
    """Segments that were sent again, since the connection began."""


class PathSource(Protocol):
    """Who knows the path."""

    def look(self) -> PathFigures:
        """The figures of this moment."""

    def queued(self) -> int:
        """Bytes that were handed over and are not acknowledged."""


class Flight:
    """Caps the bytes in flight of one connection; see the module essay.

    :param clock: the time in seconds, fine enough for a millisecond.
    :ivar cap: bytes; 0 while there is none.
    :ivar portion: how much to hand over at once, in bytes: about what the path takes in :data:`WAIT`, for
        what the kernel has not sent yet cannot be overtaken either.
    """

    __slots__ = (
        "_asked",
        "_best",
        "_breath_due",
        "_breathing",
        "_clock",
        "_due",
        "_free",
        "_free_until",
        "_held_since",
        "_last",
        "_overdrawn",
        "_path",
        "_pressed",
        "_rates",
        "_swollen",
        "cap",
        "portion",
    )

    def __init__(self, path: PathSource, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self.cap = 0
        self.portion = ANY
        self._due = 0.0  # the next look
        self._last = float("-inf"), 0  # when the last one was, and what was acknowledged by then
        self._asked = 0.0
        self._rates: list[float] = []  # bytes per second, in the last steps
        self._swollen = 0  # steps in a row
        self._pressed = False  # whether the cap held anything back in this step
        self._overdrawn = False
        self._best = 0.0  # rate since the cap began
        self._held_since = 0.0
        self._breath_due = 0.0
        self._breathing = False
        self._free = FREE
        self._free_until = 0.0

    def limit(self, budget: int, *, pressing: bool = False) -> int:
        """How much of ``budget`` may be handed over now; 0: ask again after :data:`WAIT`.

        :param pressing: whether something was written since; then one frame may go above the cap, for
            the scheduler gives the most urgent one.
        """
        now = self._clock()
        if self.cap and now - self._asked > IDLE:
            self._let_go()
        self._asked = now
        if now >= self._due:
            self._look(now)
        if not self.cap:
            return budget
        room = self.cap - self._path.queued()
        if room >= budget:
            return budget
        self._pressed = True
        if room > 0:
            self._overdrawn = False
            return room
        if pressing and not self._overdrawn:
            self._overdrawn = True
            return 1
        return 0

    def _look(self, now: float) -> None:
        figures = self._path.look()
        least = figures.least_round_trip
        if least < SHORTEST:
            self._let_go()
            self._due = now + LOOK_AGAIN
            return
        step = max(least, STEP)
        self._due = now + step
        (then, before), self._last = self._last, (now, figures.acknowledged)
        if now - then > GAP * step:
            self._swollen = 0
            return
        rate = (figures.acknowledged - before) / (now - then)
        swollen = figures.round_trip > SWOLLEN * least + SWOLLEN_BY
        self._swollen = self._swollen + 1 if swollen or not rate else 0
        if self.cap:
            self._keep_holding(now, rate, least)
        else:
            self._rates = [*self._rates[1 - TO_HOLD :], rate]
            if rate and self._swollen >= TO_HOLD and now >= self._free_until:
                self._hold(now, least)

    def _hold(self, now: float, least: float) -> None:
        self._held_since = now
        self._breath_due = now + BREATH_EVERY
        self._swollen = 0
        self._best = 0.0
        self._set_cap(GAIN, least)

    def _keep_holding(self, now: float, rate: float, least: float) -> None:
        if self._pressed and not self._breathing:
            self._rates = [*self._rates[1 - STEPS :], rate]
        self._pressed = False
        if self._swollen >= TO_LET_GO or self._rate < FALLEN * self._best:
            self._free_until = now + self._free
            self._free = min(2 * self._free, MOST_FREE)
            self._let_go()
            return
        if now - self._held_since > BREATH_EVERY:
            self._free = FREE
        self._breathing = now >= self._breath_due
        if self._breathing:
            self._breath_due = now + BREATH_EVERY
        self._set_cap(BREATH if self._breathing else GAIN, least)

    def _set_cap(self, gain: float, least: float) -> None:
        self._best = max(self._best, self._rate)
        self.cap = int(self._rate * (gain * least + WAIT))
        self.portion = max(LEAST_PORTION, int(self._rate * WAIT))

    @property
    def _rate(self) -> float:
        return sorted(self._rates)[-2]

    def _let_go(self) -> None:
        self.cap = 0
        self.portion = ANY
        self._swollen = 0
        self._rates.clear()

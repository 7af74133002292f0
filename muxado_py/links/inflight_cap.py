"""InflightCap: how much may be in flight at once, so that the network's own queue stays short.

TCP sends until a queue on the path overflows, and whatever is sent then waits behind that queue, on this connection as
on any other.  Held to a little more than the path carries in a round trip, bulk is nearly as fast, and a message
beside it arrives sooner than on a TCP connection of its own (``docs/measurements.md``).

Where data comes from and goes to.  The link asks before it hands over bulk, and gets so many bytes, or none, and then
asks again a moment later.  What waits meanwhile waits in the scheduler, where it can be overtaken.  The round trip,
its shortest, what was acknowledged and what is in flight come from a :class:`~muxado_py.links.tcp_info.PathSource`,
which only Linux has, for TCP.

The rule.  Without a sign of a queue there is no cap: not for a session that the application does not fill, nor on a
path that is faster than what it is asked to carry, nor on loopback, where a round trip is too short for the timers of
an event loop.  When the round trip has shown a queue for two steps while more waited to be sent, the bytes in flight
are held to :data:`CAP_GAIN` times the bandwidth-delay product: the rate of the last steps times the shortest round
trip.  The part above 1 finds out when the path becomes faster: the rate grows by as much in each step.

A kernel that paces, as BBR does, keeps the path's queue short by itself, and a long one of its own: what it was given
and has not sent, which it needs in its start-up (:mod:`~muxado_py.links.tcp_info`) and which stands before a message all
the same.  So there the sign is what it holds: more than the path carries in a round trip that would be one.  And the
cap is lower there, for the kernel needs no queue to send from but what leaves between two looks of ours, and a
connection of its own would find next to none on the path.  The sign comes in the start-up, where the rate still grows: the cap
leaves room for that, and none for what BBR sends into a full queue then, loses, and sends again.

The traps.  A process that waits for a processor does not ask, the path runs dry meanwhile, and what fills it again queues.
Such a step measures the machine: it may show that the path carries more, and it never counts against a cap.  The queue
may be that of other connections, or the path longer than it was.  A cap would then yield to others until nothing is
left, for each step measures less than the one before.  So a cap that does not make the round trip short again, or under
which the rate falls, ends, and each time it takes longer until the next.  And a queue that always stands a little hides
the true round trip, of which the kernel forgets what is older than five minutes: so now and then the path runs empty for
a step, which BBR calls ProbeRTT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .tcp_info import PathSource

__all__ = ("InflightCap",)

CAP_GAIN = 1.2
"""The cap, in bandwidth-delay products."""
PACED_CAP_GAIN, PACED_SLACK = 1.05, 0.002
"""Where the kernel paces: one product and so many seconds of the path's rate, but at least the first, and at most
:data:`CAP_GAIN`."""
STARTUP_CAP_GAIN, STARTUP_GROWTH = 2.0, 1.25
"""There while each step still has so many times the best rate before it, as in BBR's start-up, whose figure the second is."""
PROBE_RTT_GAIN = 0.75
"""The same, while the path runs empty."""
PROBE_RTT_INTERVAL = 10.0
"""Seconds; BBR's."""

RETRY_DELAY = 0.001
"""Seconds until a link that was given nothing asks again: as short as event loops count.  The path
must not run empty in between, so what it carries in this time comes on top of the cap."""

MIN_QUANTUM = 4 * 1024
NO_QUANTUM = 2**31
"""Bytes handed over at once: under a small cap at least, and without a cap."""

MIN_CAPPED_RTT = 0.002
"""Seconds of a round trip below which there is no cap; its queue is shorter than :data:`RETRY_DELAY`."""
SHORT_PATH_INTERVAL = 1.0
"""Seconds between two looks at such a path."""

MIN_STEP = 0.025
"""Seconds over which a rate is measured at least; else it is a round trip.  Acknowledgements come in
lumps, and a shorter time would see more of them than there are."""
RATE_STEPS = 8
"""The rate is the second best of so many.  A moment in which a machine is busy elsewhere shows as a
step that is too slow, and then one that is too fast; neither is the path."""
MAX_STEP_GAP = 3
"""A rate is none if the time between two looks was so many steps: nothing was sent."""

QUEUE_RTT_RATIO, QUEUE_RTT_EXCESS = 1.6, 0.002
"""A round trip shows a queue above so many of the shortest, and so many seconds.  The cap makes it about
1.2."""
STEPS_TO_CAP, STEPS_TO_UNCAP = 2, 10
"""Steps that show a queue before there is a cap, and before it has failed: more than a rate is
remembered for."""
MIN_RATE_RATIO = 0.75
"""A rate below this part of the best under the same cap ends the cap, too."""

IDLE_RESET = 1.0
"""Seconds without bulk after which a cap is forgotten."""
FIRST_UNCAPPED, MAX_UNCAPPED = 2.0, 64.0
"""Seconds without a cap after one that failed: twice as long each time, from the first to the second."""


class InflightCap:
    """Caps the bytes in flight of one connection; see the module essay.

    :param clock: the time in seconds, fine enough for a millisecond.
    :param paced: whether the kernel sends by a rate.
    :ivar cap: bytes; 0 while there is none.
    :ivar quantum: how much to hand over at once, in bytes: about what the path takes in :data:`RETRY_DELAY`,
        for what the kernel has not sent yet cannot be overtaken either.
    """

    __slots__ = (
        "_asked_at",
        "_best_rate",
        "_capped_since",
        "_clock",
        "_filling",
        "_last_sample",
        "_limited",
        "_overdrawn",
        "_paced",
        "_path",
        "_probe_rtt_at",
        "_probing_rtt",
        "_queue_steps",
        "_ran_dry",
        "_rates",
        "_sample_at",
        "_uncapped_for",
        "_uncapped_until",
        "cap",
        "quantum",
    )

    def __init__(
        self, path: PathSource, clock: Callable[[], float], *, paced: bool = False
    ) -> None:
        self._path = path
        self._clock = clock
        self._paced = paced
        self.cap = 0
        self.quantum = NO_QUANTUM
        self._sample_at = 0.0  # when the next step ends
        self._last_sample = float("-inf"), 0  # when, and what was acknowledged by then
        self._asked_at = 0.0
        self._rates: list[float] = []  # bytes per second, in the last steps
        self._queue_steps = 0  # steps in a row that showed a queue
        self._limited = False  # whether the cap held anything back in this step
        self._overdrawn = False  # whether an urgent frame has gone above the cap
        self._best_rate = 0.0  # since the cap began
        self._capped_since = 0.0
        self._filling = 0.0  # bytes in flight that fill the path; 0 without a cap
        self._ran_dry = False  # whether there were fewer in this step
        self._probe_rtt_at = 0.0
        self._probing_rtt = False
        self._uncapped_for = FIRST_UNCAPPED
        self._uncapped_until = 0.0

    def allow(self, budget: int, *, urgent: bool = False) -> int:
        """How much of ``budget`` may be handed over now; 0: ask again after :data:`RETRY_DELAY`.

        :param urgent: whether something was written since; then one frame may go above the cap, for
            the scheduler gives the most urgent one.
        """
        now = self._clock()
        if self.cap and now - self._asked_at > IDLE_RESET:
            self._end_cap()
        self._asked_at = now
        if self.cap and self._path.in_flight() < self._filling:
            self._ran_dry = True  # of the step that may end now
        if now >= self._sample_at:
            self._sample(now)
        if not self.cap:
            return budget
        room = self.cap - self._path.in_flight()
        if room >= budget:
            return budget
        self._limited = True
        if room > 0:
            self._overdrawn = False
            return room
        if urgent and not self._overdrawn:
            self._overdrawn = True
            return 1
        return 0

    def _sample(self, now: float) -> None:
        figures = self._path.figures()
        least = figures.least_round_trip
        if least < MIN_CAPPED_RTT:
            self._end_cap()
            self._sample_at = now + SHORT_PATH_INTERVAL
            return
        step = max(least, MIN_STEP)
        self._sample_at = now + step
        (then, before), self._last_sample = self._last_sample, (now, figures.acknowledged)
        if now - then > MAX_STEP_GAP * step:
            self._queue_steps = 0
            return
        rate = (figures.acknowledged - before) / (now - then)
        longest = QUEUE_RTT_RATIO * least + QUEUE_RTT_EXCESS
        queue = figures.round_trip > longest
        if self._paced and not self.cap:
            queue = queue or self._path.in_flight() > longest * rate
        if rate and not queue:
            self._queue_steps = 0
        elif not self._ran_dry:  # what fills the path again comes at once, and queues
            self._queue_steps += 1
        if self.cap:
            self._update_cap(now, rate, least)
        else:
            self._rates = [*self._rates[1 - STEPS_TO_CAP :], rate]
            if rate and self._queue_steps >= STEPS_TO_CAP and now >= self._uncapped_until:
                self._begin_cap(now, least)

    def _begin_cap(self, now: float, least: float) -> None:
        self._capped_since = now
        self._probe_rtt_at = now + PROBE_RTT_INTERVAL
        self._queue_steps = 0
        self._best_rate = 0.0
        before, rate = self._rates
        self._set_cap(self._gain(rate, before, least), least)

    def _update_cap(self, now: float, rate: float, least: float) -> None:
        gain = self._gain(rate, max(self._rates), least)
        # A step in which the cap held nothing back measures the application; one that probes measures the probe.
        # One in which the path ran dry may show that it carries more, and never that it carries less.
        if self._limited and not self._probing_rtt and not (self._ran_dry and rate < self._rate):
            self._rates = [*self._rates[1 - RATE_STEPS :], rate]
        self._limited = self._ran_dry = False
        if self._queue_steps >= STEPS_TO_UNCAP or self._rate < MIN_RATE_RATIO * self._best_rate:
            self._uncapped_until = now + self._uncapped_for
            self._uncapped_for = min(2 * self._uncapped_for, MAX_UNCAPPED)
            self._end_cap()
            return
        if now - self._capped_since > PROBE_RTT_INTERVAL:
            self._uncapped_for = FIRST_UNCAPPED
        self._probing_rtt = now >= self._probe_rtt_at
        if self._probing_rtt:
            self._probe_rtt_at = now + PROBE_RTT_INTERVAL
        self._set_cap(PROBE_RTT_GAIN if self._probing_rtt else gain, least)

    def _gain(self, rate: float, before: float, least: float) -> float:
        """After a step with this rate; ``before`` is the best of those before it."""
        if not self._paced:
            return CAP_GAIN
        if rate > STARTUP_GROWTH * before:
            return STARTUP_CAP_GAIN
        return max(PACED_CAP_GAIN, min(CAP_GAIN, 1 + PACED_SLACK / least))

    def _set_cap(self, gain: float, least: float) -> None:
        self._best_rate = max(self._best_rate, self._rate)
        # The second best of a rate that grows is that of a step before.
        rate = max(self._rates) if gain == STARTUP_CAP_GAIN else self._rate
        self.cap = int(rate * (gain * least + RETRY_DELAY))
        self._filling = rate * least
        self.quantum = max(MIN_QUANTUM, int(rate * RETRY_DELAY))

    @property
    def _rate(self) -> float:
        return sorted(self._rates)[-2]

    def _end_cap(self) -> None:
        self.cap = 0
        self.quantum = NO_QUANTUM
        self._filling = 0.0
        self._ran_dry = False
        self._queue_steps = 0
        self._rates.clear()

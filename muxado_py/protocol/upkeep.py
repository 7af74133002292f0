"""Upkeep: what a connection does because time passed, without a clock of its own.

Where it is called from.  The session has the timer: it sleeps until ``next_due`` and calls ``look``, which
ends or releases what has waited too long.

The rule.  A time-out takes what it says: each waiting stream has its own
:mod:`deadline <muxado_py.protocol.deadlines>`, and nothing is looked at that nobody waits for.

The trap.  What ends here was not ended by the peer, and most often the peer does not know: each
method says so on the wire, as far as the wire can.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from ..errors import ErrorCode
from ..frames import UNLIMITED
from .deadlines import TICK

if TYPE_CHECKING:
    from ..config import Config
    from ..frames import Wire
    from .closing import Closing
    from .inbound import Inbound
    from .outbound import Outbound
    from .state import StreamState
    from .table import StreamTable

__all__ = ("Upkeep",)

PROBES = 64
"""How many stalled streams are asked about in a second: a quarter of the empty frames that
``Config.control_rate`` takes, for a probe is one to the peer."""


class Upkeep:
    """The chores of one connection."""

    def __init__(
        self,
        wire: Wire,
        table: StreamTable,
        outbound: Outbound,
        inbound: Inbound,
        closing: Closing,
        config: Config,
    ) -> None:
        self._wire = wire
        self._table = table
        self._out = outbound
        self._in = inbound
        self._closing = closing
        self._asked = 0  # the id of the stream that was asked about last
        traits = wire.traits
        # Whether a FIN ends both directions, and no window stops who does not know it.
        self._runs_on = (
            traits.initial_window == UNLIMITED and not traits.half_close and not config.half_close
        )
        # What was sent after the peer's FIN, when this was looked at, and how often it had become more.
        self._sending_on: dict[StreamState, tuple[int, int]] = {}
        self._most_asked = max(1, int(config.probe_interval * PROBES))
        self._probe_interval = config.probe_interval
        self._probe_due = 0.0
        self._deadlines = (
            table.lingering,
            table.draining,
            table.unacknowledged,
            table.stalled,
            table.unaccepted,
        )

    @property
    def holds(self) -> bool:
        """Whether streams wait for ``let_go``."""
        return len(self._out.control.held) > 0

    def let_go(self) -> None:
        """The wire's delay has passed: streams that are held may be sent on again."""
        self._out.let_go()

    @property
    def next_due(self) -> float:
        """When to ``look`` next; earlier, if the :class:`~muxado_py.protocol.deadlines.Alarm` says so."""
        return min(self._probe_due, *(one.next_due for one in self._deadlines))

    def look(self, now: float) -> None:
        """End or release what has waited too long."""
        if now >= self._probe_due - TICK:
            self._probe_due = now + self._probe_interval
            self.look_for_stalled()
            self.give_up_unread()
            if self._wire.traits.initial_window == UNLIMITED:
                self._in.look_for_stuck(now)
            self._in.answer_goodbye()
        table = self._table
        if table.unacknowledged:
            self._out.forgive_silence(now)
        if table.lingering:
            self.reset_lingering(now)
        if table.unaccepted:
            self.refuse_unaccepted(now)
        if table.draining:
            self.give_up_draining(now)
        if table.stalled:
            self.give_up_stalled(now)

    def elapsed(self, seconds: float) -> None:
        """Time passed: what a peer may do in bursts fills up again."""
        for budget in self._in.budgets:
            budget.refill(seconds)

    def refuse_unaccepted(self, now: float) -> None:
        """Refuse what nobody accepted in ``Config.accept_timeout``."""
        for stream in self._table.unaccepted.expired(now):
            self._in.refuse(stream, ErrorCode.STREAM_REFUSED)

    def forgive_silence(self, now: float) -> None:
        """See :meth:`Outbound.forgive_silence`."""
        self._out.forgive_silence(now)

    def reset_lingering(self, now: float) -> None:
        """Reset what is closed and was not flushed in ``Config.linger_timeout``."""
        for stream in self._table.lingering.expired(now):
            if not stream.finished_here:
                self._closing.reset(stream, ErrorCode.STREAM_CANCELLED)

    def give_up_draining(self, now: float) -> None:
        """Give up what was closed here and not finished there in ``Config.discard_timeout``."""
        for stream in self._table.draining.expired(now):
            self._out.give_up(stream)

    def look_for_stalled(self) -> None:
        """``Config.probe_interval`` has passed: ask about stalled streams, or begin to count their time."""
        if not self._table.live:
            return
        if self._wire.traits.resets_unknown:
            self.ask_stalled()
        else:
            self.note_stalled()

    def ask_stalled(self) -> None:
        """``Config.probe_interval`` has passed: ask about streams that are blocked after the peer's FIN, or
        whose application wants to know.

        Such a peer may have closed the stream altogether; only a frame tells, where there is one.
        """
        asked = dict.fromkeys(self._stalled())
        if self._wire.traits.resets_unknown:
            asked.update((one, None) for one in self._table.watched if one.id in self._table.live)
        ids = sorted(stream.id or 0 for stream in asked)
        turn = bisect_right(ids, self._asked)
        for stream_id in (ids[turn:] + ids[:turn])[: self._most_asked]:
            self._out.control.frame(self._wire.probe(stream_id))
            self._asked = stream_id

    def note_stalled(self) -> None:
        """The same where nobody can be asked: their time runs from now on."""
        stalled, still = self._table.stalled, dict.fromkeys(self._stalled())
        for stream in [one for one in stalled if one not in still]:
            stalled.discard(stream)  # what waited was taken back
        for stream in still:
            stalled.add(stream)

    def give_up_stalled(self, now: float) -> None:
        """End what was stalled for ``Config.stall_timeout``."""
        self.note_stalled()
        for stream in self._table.stalled.expired(now):
            self._in.give_up_stalled(stream)

    def give_up_unread(self) -> None:
        """``Config.probe_interval`` has passed: who was sending then to a peer that had closed the stream, and
        still is, would go on for ever where no window stops it."""
        if not self._runs_on:
            return
        before, self._sending_on = self._sending_on, {}
        for stream in tuple(self._table.live.values()):
            if stream.finished_there and not stream.finished_here:
                sent = stream.sent
                last, times = before.get(stream, (sent, 0))
                times = times + 1 if sent > last else 0
                if times == 2:
                    self._in.give_up_stalled(stream)
                else:
                    self._sending_on[stream] = sent, times

    def _stalled(self) -> list[StreamState]:
        """Streams that are blocked by their window after the peer's FIN."""
        return [
            stream
            for stream in self._table.live.values()
            if stream.finished_there and stream.unsent and stream.credit <= 0
        ]

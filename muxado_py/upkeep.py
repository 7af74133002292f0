"""Upkeep: what a connection does because time passed, without a clock of its own.

Where it is called from.  The session has the clock; in steps that ``Config`` and the wire name it calls
these methods, which look at what has been waiting and end or release what waited too long.

The rule.  Nothing here looks at the time: :class:`~muxado_py.aging.Aging` tells what was here for a
whole step.

The trap.  What ends here was not ended by the peer, and most often the peer does not know: each
method says so on the wire, as far as the wire can.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from .errors import ErrorCode

if TYPE_CHECKING:
    from .closing import Closing
    from .config import Config
    from .frames import Wire
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
        self._most_asked = max(1, int(config.probe_interval * PROBES))

    @property
    def holds(self) -> bool:
        """Whether streams wait for ``let_go``."""
        return len(self._out.control.held) > 0

    def let_go(self) -> None:
        """The wire's delay has passed: streams that are held may be sent on again."""
        self._out.let_go()

    def elapsed(self, seconds: float) -> None:
        """Time passed: what a peer may do in bursts fills up again."""
        for budget in self._in.budgets:
            budget.refill(seconds)

    def refuse_unaccepted(self) -> None:
        """Half of ``Config.accept_timeout`` has passed."""
        for stream in self._table.unaccepted.age():
            self._in.refuse(stream, ErrorCode.STREAM_REFUSED)

    def forgive_silence(self) -> None:
        """A moment has passed: see :meth:`Outbound.forgive_silence`."""
        self._out.forgive_silence()

    def reset_flushing(self) -> None:
        """Half of ``Config.linger_timeout`` has passed: who was flushing then and still is, is reset."""
        for stream in self._table.flushing():
            if stream.lingers:
                self._closing.reset(stream, ErrorCode.STREAM_CANCELLED)
            stream.lingers = True

    def give_up_draining(self) -> None:
        """Half of ``Config.discard_timeout`` has passed."""
        for stream in self._table.draining.age():
            self._out.give_up(stream)

    def ask_stalled(self) -> None:
        """``Config.probe_interval`` has passed: ask about streams that are blocked after the peer's FIN, or
        whose application wants to know.

        Such a peer may have closed the stream altogether; only a frame tells, where there is one.
        """
        asked = dict.fromkeys(self._stalled())
        if self._wire.traits.resets_unknown:
            asked.update((one, None) for one in self._table.live.values() if one.watched)
        ids = sorted(stream.id or 0 for stream in asked)
        turn = bisect_right(ids, self._asked)
        for stream_id in (ids[turn:] + ids[:turn])[: self._most_asked]:
            self._out.control.frame(self._wire.probe(stream_id))
            self._asked = stream_id

    def give_up_stalled(self) -> None:
        """Half of ``Config.stall_timeout`` has passed; where ``ask_stalled`` can ask, that decides."""
        if self._wire.traits.resets_unknown:
            return
        stalled, still = self._table.stalled, dict.fromkeys(self._stalled())
        for stream in [one for one in stalled if one not in still]:
            stalled.discard(stream)  # what waited was taken back
        for stream in stalled.age():
            del still[stream]
            self._in.give_up_stalled(stream)
        for stream in still:
            stalled.add(stream)

    def _stalled(self) -> list[StreamState]:
        """Streams that are blocked by their window after the peer's FIN."""
        return [
            stream
            for stream in self._table.live.values()
            if stream.finished_there and stream.unsent and stream.credit <= 0
        ]

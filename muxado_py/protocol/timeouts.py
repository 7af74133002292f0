"""Timeouts: what a connection gives up, refuses or asks about because time passed.

Where it is called from.  Each method here, and a few of others, is what a
:class:`timer <muxado_py.protocol.timers.Timers>` does when it is due; this module says which.  Whoever begins to wait
arms it, in the place where the waiting begins.  With ``age_delays`` a test takes a step by itself, without a clock.

The rule.  A time-out takes what it says: each waiting stream has its own deadline, and nothing is looked at
that nobody waits for.  Looks are for what no single frame shows, and go on while there is anything to look at.

The trap.  What ends here was not ended by the peer, and most often the peer does not know: each
method says so on the wire, as far as the wire can.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from ..errors import ErrorCode, Failure, StreamResetError
from ..frames import UNLIMITED
from .end_table import Event

if TYPE_CHECKING:
    from ..config import Config
    from ..frames import Wire
    from .gates import Gates
    from .stream_ends import StreamEnds
    from .stream_state import StreamState
    from .stream_table import StreamTable

__all__ = ("Timeouts",)

PROBES_PER_SECOND = 64
"""How many stalled streams are asked about in a second: a quarter of the empty frames that
``Config.control_rate`` takes, for a probe is one to the peer."""


class Timeouts:
    """What the timers of one connection do."""

    def __init__(
        self,
        wire: Wire,
        table: StreamTable,
        gates: Gates,
        stream_ends: StreamEnds,
        config: Config,
    ) -> None:
        self._wire = wire
        self._table = table
        self._gates = gates
        self._stream_ends = stream_ends
        self._asked = 0  # the id of the stream that was asked about last
        traits = wire.traits
        # Whether a FIN ends both directions, and no window stops who does not know it.
        self._runs_on = (
            traits.initial_window == UNLIMITED and not traits.half_close and not config.half_close
        )
        # What was sent after the peer's FIN, when this was looked at, and how often it had become more.
        self._sending_on: dict[StreamState, tuple[int, int]] = {}
        self._most_asked = max(1, int(config.probe_interval * PROBES_PER_SECOND))
        table.looks.act = self.look
        table.lingering.expired = self._reset_lingering
        table.discarding.expired = stream_ends.reset_abandoned
        table.unacknowledged.expired = gates.expire_unacknowledged
        table.stalled.expired = self._give_up_stalled
        table.backlog.unaccepted.expired = self._refuse_unaccepted

    @property
    def has_delayed(self) -> bool:
        """Whether streams wait for ``age_delays``."""
        return len(self._gates.control.delayed) > 0

    def age_delays(self) -> None:
        """A step of the wire's delay has passed: streams that were delayed for a whole one may be sent on again."""
        self._gates.control.delayed.age()

    def _refuse_unaccepted(self, stream: StreamState) -> None:
        """Nobody accepted it in ``Config.accept_timeout``."""
        self._stream_ends.refuse(stream, ErrorCode.STREAM_REFUSED)

    def _reset_lingering(self, stream: StreamState) -> None:
        """It is closed, and was not flushed in ``Config.linger_timeout``."""
        if not stream.fin_sent:
            self._stream_ends.reset(stream, ErrorCode.STREAM_CANCELLED)

    def _give_up_stalled(self, stream: StreamState) -> None:
        """It was stalled for ``Config.stall_timeout``, unless what waited was taken back since the last look."""
        if _is_stalled(stream):
            self._end_stalled(stream)

    def _end_stalled(self, stream: StreamState) -> None:
        message = f"the peer of stream {stream.id} has finished, and reads nothing any more"
        failure = Failure(StreamResetError, message, ErrorCode.STREAM_CLOSED, True)
        self._stream_ends.end(stream, Event.STALLED, failure)

    def look(self, _now: float) -> bool:
        """``Config.probe_interval`` has passed: look at streams that the peer has finished, and this side has not.

        :returns: whether there will be any.
        """
        if self._wire.traits.resets_unknown:
            self.ask_stalled()
        else:
            self.note_stalled()
        self.give_up_unread()
        table = self._table
        asks = len(table.awaiting_peer_close) > 0 and self._wire.traits.resets_unknown
        return asks or any(
            stream.fin_received and not stream.fin_sent for stream in table.live.values()
        )

    def ask_stalled(self) -> None:
        """Ask about streams that are blocked after the peer's FIN, or whose application wants to know.

        Such a peer may have closed the stream altogether; only a frame tells, where there is one.
        """
        asked = dict.fromkeys(self._stalled())
        if self._wire.traits.resets_unknown:
            asked.update(
                (one, None) for one in self._table.awaiting_peer_close if one.id in self._table.live
            )
        ids = sorted(stream.id or 0 for stream in asked)
        turn = bisect_right(ids, self._asked)
        for stream_id in (ids[turn:] + ids[:turn])[: self._most_asked]:
            self._gates.control.frame(self._wire.probe(stream_id))
            self._asked = stream_id

    def note_stalled(self) -> None:
        """The same where nobody can be asked: their time runs from now on."""
        stalled, still = self._table.stalled, dict.fromkeys(self._stalled())
        for stream in [one for one in stalled if one not in still]:
            stalled.discard(stream)  # what waited was taken back
        for stream in still:
            stalled.add(stream)

    def give_up_unread(self) -> None:
        """Who was sending then to a peer that had closed the stream, and still is, would go on for ever where no
        window stops it."""
        if not self._runs_on:
            return
        before, self._sending_on = self._sending_on, {}
        for stream in tuple(self._table.live.values()):
            if stream.fin_received and not stream.fin_sent:
                sent = stream.sent
                last, times = before.get(stream, (sent, 0))
                times = times + 1 if sent > last else 0
                if times == 2:
                    self._end_stalled(stream)
                else:
                    self._sending_on[stream] = sent, times

    def _stalled(self) -> list[StreamState]:
        return [stream for stream in self._table.live.values() if _is_stalled(stream)]


def _is_stalled(stream: StreamState) -> bool:
    """Whether it is blocked by its window after the peer's FIN."""
    return stream.fin_received and stream.unsent > 0 and stream.send_window <= 0

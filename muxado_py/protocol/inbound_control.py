"""Inbound control: what the peer says besides data and ends: credit, priorities, pings, and what it is.

Where data comes from and goes to.  The decoder calls these methods by way of
:class:`~muxado_py.protocol.inbound.Inbound`, which has them as its own.  Credit opens gates; all else changes what
is known of the peer, or of one stream.

The rule.  A frame of a stream that is not known is nothing, for it may have crossed our RST.

The trap.  Credit is a promise of the peer's, and its sum is what it says, not what it meant: one that passes
2^31-1, or is of no bytes, ends the stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ErrorCode
from ..scheduler import Priority
from . import send_half
from .send_half import MAX_WINDOW

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..frames import Wire
    from .events import Events
    from .flow_control import FlowControl
    from .gates import Gates
    from .intake import Intake
    from .stream_ends import StreamEnds
    from .stream_state import StreamState
    from .stream_table import StreamTable

__all__ = ("InboundControl",)


class InboundControl:
    """The frames of one connection's peer that carry no data and end nothing."""

    __slots__ = (
        "_events",
        "_flow",
        "_gates",
        "_intake",
        "_live",
        "_stream_ends",
        "_table",
        "_wire",
    )

    def __init__(
        self,
        wire: Wire,
        table: StreamTable,
        gates: Gates,
        flow: FlowControl,
        intake: Intake,
        stream_ends: StreamEnds,
        events: Events,
    ) -> None:
        self._wire = wire
        self._table = table
        self._live = table.live
        self._gates = gates
        self._flow = flow
        self._intake = intake
        self._stream_ends = stream_ends
        self._events = events

    # Of a stream.

    def acknowledged(self, stream_id: int, at_hand_off: bool) -> None:
        stream = self._live.get(stream_id)
        if stream is not None and stream.local:
            self._gates.hear(stream)
            if at_hand_off:
                self._flow.acknowledges = True

    def credited(self, stream_id: int, nbytes: int) -> None:
        stream = self._live.get(stream_id)
        if stream is None:
            return
        if not stream.peer_spoke:
            self._gates.hear(stream)
        if not nbytes:
            return self._stream_ends.fault(stream, ErrorCode.PROTOCOL_ERROR, "credit of 0 bytes")
        starved = stream.send_window <= 0
        if not send_half.add_credit(stream, nbytes):
            return self._stream_ends.fault(
                stream, ErrorCode.FLOW_CONTROL_ERROR, "its credit passed 2^31-1 bytes"
            )
        if starved or (self._gates.blocked and self._gates.unblock(stream)):
            self._wake(stream)
        return None

    def consumed(self, stream_id: int, total: int, window: int) -> None:
        stream = self._live.get(stream_id)
        if stream is None:
            return
        if not stream.peer_spoke:
            self._gates.hear(stream)
        starved = stream.send_window <= 0
        if not send_half.update_window(stream, total, window):
            return self._stream_ends.fault(
                stream,
                ErrorCode.FLOW_CONTROL_ERROR,
                f"an update for {total} bytes read, that were not sent, or a window of {window}",
            )
        if starved:
            self._wake(stream)
        return None

    def _wake(self, stream: StreamState) -> None:
        """``stream`` had no room to send, and may have some now."""
        if self._table.stalled:
            self._table.stalled.discard(stream)
        self._gates.wake(stream, stream.sendable)

    def widened(self, stream_id: int, window: int) -> None:
        stream = self._live.get(stream_id)
        if stream is not None and stream.peer_max_window < window <= MAX_WINDOW:
            stream.peer_max_window = window

    def prioritized(self, stream_id: int, urgency: int, weight: int) -> None:
        stream = self._live.get(stream_id)
        if stream is not None and urgency <= 7:
            stream.priority = Priority(urgency, weight)
            self._gates.scheduler.moved(stream)

    # Of the session.

    def recognized(self, is_muxado_py: bool) -> None:
        self._events.note_session()
        self._flow.recognized(is_muxado_py)

    def settings(self, values: Mapping[int, int]) -> None:
        if self._flow.knows_settings:
            self._intake.noise()  # settings touch every stream, so they are taken once
        else:
            self._events.note_session()  # for those who wait for a slot
            self._flow.settings(values)

    def pinged(self, payload: bytes) -> None:
        self._intake.spend(self._intake.pings, "too many pings")
        self._gates.control.frame(self._wire.pong(payload))
        self._intake.check_replies()

    def ponged(self, payload: bytes) -> None:
        asked = self._gates.control.awaited_pings
        if payload not in asked:
            return self._intake.noise()
        asked.discard(payload)
        self._events.pongs.append(payload)
        self._events.note_session()
        return None

"""Admission: which of the streams that the peer opens are taken, and which are refused.

Where data comes from and goes to.  The inbound side calls ``opened`` for each SYN.  A stream that is taken goes
into the backlog, and the session is told; ``handed_off`` is called when the application took it.

The rule.  What is refused is refused here, before anything is made or kept, by a reset that says so: no
application saw the stream, so its opener may try again.

The traps.  Streams that were closed here count until the peer can know: one that opens and does not read
would have us keep their ends for it.  And heartbeats are no application's streams: Go ends a session that
refuses or delays them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ErrorCode
from ..scheduler import DEFAULT_PRIORITY
from .heartbeat_streams import HEARTBEAT_TYPE
from .intake import Violation
from .stream_table import IdUse

if TYPE_CHECKING:
    from ..config import Config
    from ..frames import Wire
    from .events import Events
    from .flow_control import FlowControl
    from .gates import Gates
    from .heartbeat_streams import Heartbeats
    from .intake import Intake
    from .session_ends import SessionEnds
    from .stream_ends import StreamEnds
    from .stream_state import StreamState
    from .stream_table import StreamTable

__all__ = ("Admission",)


class Admission:
    """How one connection takes the peer's streams."""

    __slots__ = (
        "_acknowledges",
        "_backlog",
        "_delays",
        "_events",
        "_fins",
        "_flow",
        "_gates",
        "_heartbeats",
        "_intake",
        "_live",
        "_max_backlog",
        "_max_streams",
        "_session_ends",
        "_stream_ends",
        "_table",
        "_traits",
        "_typed",
        "_wire",
        "awaits_types",
    )

    def __init__(
        self,
        wire: Wire,
        table: StreamTable,
        gates: Gates,
        flow: FlowControl,
        intake: Intake,
        stream_ends: StreamEnds,
        session_ends: SessionEnds,
        heartbeats: Heartbeats,
        events: Events,
        config: Config,
    ) -> None:
        self._wire = wire
        self._traits = wire.traits
        self._table = table
        self._gates = gates
        self._flow = flow
        self._intake = intake
        self._stream_ends = stream_ends
        self._session_ends = session_ends
        self._heartbeats = heartbeats
        self._events = events
        self.awaits_types = config.typed_streams and not wire.traits.types_in_syn
        """Whether a stream's type comes as its first four bytes."""
        self._typed = self.awaits_types or wire.traits.types_in_syn
        self._live = table.live
        self._backlog = table.backlog
        self._fins = gates.control.fins
        self._delays = wire.traits.syn_delay > 0
        self._acknowledges = wire.traits.max_unacknowledged is not None
        self._max_streams = config.max_streams
        self._max_backlog = config.accept_backlog

    def opened(self, stream_id: int, stream_type: int | None = None, metadata: bytes = b"") -> None:
        table = self._table
        if stream_id == table.ledger.highest + 2:
            table.ledger.highest = stream_id  # the next in order, as nearly all are
        elif not self._is_new(stream_id):
            return None
        if self._delays:
            self._gates.control.delay(stream_id)
        most, beats = self._max_streams, False
        if self._typed:
            # Heartbeats wait for no application, and some peers end a session that refuses theirs.
            beats = stream_type == HEARTBEAT_TYPE
            if beats and self._heartbeats.are_too_many:
                return self._stream_ends.reply_reset(stream_id, ErrorCode.STREAM_REFUSED)
            # One more where it may yet turn out to carry heartbeats.
            most += beats or (self.awaits_types and not table.heartbeats)
        if (table.peer_open >= most or not self._session_ends.accepting) and not beats:
            return self._stream_ends.reply_reset(stream_id, ErrorCode.STREAM_REFUSED)
        # As many again may be closed here and wait for a peer that does not read to be told.
        untold = table.peer_live + len(self._fins)
        if untold >= 2 * most and untold - len(table.discarding) >= 2 * most:
            return self._stream_ends.reply_reset(stream_id, ErrorCode.STREAM_REFUSED)
        if self._backlog.size >= self._max_backlog and not beats:
            return self._stream_ends.reply_reset(stream_id, ErrorCode.ACCEPT_QUEUE_FULL)
        stream = self._flow.new_stream(stream_id, DEFAULT_PRIORITY)
        stream.stream_type = stream_type
        if metadata:
            stream.metadata = metadata
        table.open_peer(stream_id, stream)
        if beats:
            self._heartbeats.take(stream)
        elif not self.awaits_types:
            self._offer(stream)
        return None

    def _is_new(self, stream_id: int) -> bool:
        """Whether an id out of order may be that of a new stream; if not, it is dealt with here."""
        table = self._table
        if not (stream_id ^ table.next_id) & 1:
            raise Violation(
                ErrorCode.PROTOCOL_ERROR,
                f"a SYN for stream {stream_id}, whose parity is ours; are both ends "
                f"{'clients' if stream_id & 1 else 'servers'}?",
            )
        use = table.ledger.use(stream_id)
        if use is IdUse.USED or stream_id in self._live:
            if not self._traits.duplicate_syn:
                text = f"a second SYN for stream {stream_id}"
                raise Violation(ErrorCode.PROTOCOL_ERROR, text)
            self._intake.noise()
            return False
        if use is IdUse.FORGOTTEN:
            if self._delays:
                self._gates.control.delay(stream_id)
            self._stream_ends.reply_reset(stream_id, ErrorCode.STREAM_REFUSED)
        return use is IdUse.NEW

    def _offer(self, stream: StreamState) -> None:
        self._backlog.add(stream)
        self._events.offered = self._events.pending = True
        if self._acknowledges:
            self._backlog.unaccepted.add(stream)

    def handed_off(self, stream: StreamState) -> None:
        """The application has just taken ``stream``, and the wire still mentions it."""
        if self._acknowledges and stream.id is not None:
            self._gates.control.frame(self._wire.ack(stream.id))
            self._intake.check_replies()
        # Not at the SYN: a refusal must be the first that the peer hears of a stream.
        if self._flow.is_muxado_py is False:
            self._flow.raise_window(stream)

    def typed(self, stream: StreamState, stream_type: int) -> None:
        """A stream that was taken without its type has it now."""
        stream.stream_type = stream_type
        beats = stream_type == HEARTBEAT_TYPE
        if beats and not self._heartbeats.are_too_many:
            self._heartbeats.take(stream)
            self._events.note_readable(stream)
        elif beats or self._table.peer_open > self._max_streams:
            self._stream_ends.refuse(stream, ErrorCode.STREAM_REFUSED)
        elif self._backlog.size >= self._max_backlog:
            self._stream_ends.refuse(stream, ErrorCode.ACCEPT_QUEUE_FULL)
        else:
            self._offer(stream)

"""Inbound: the protocol's rules for what a peer sends.

Where data comes from and goes to.  The wire's decoder calls the methods of :class:`Inbound` in the
order of the bytes; they change streams, note events for the session, and queue replies with the
outbound side.  Nothing here raises on what a peer sent.

The rule for each frame: header, then stream, then window, and only then is anything made or kept.

What is tolerated, because real peers do it: a second FIN, frames for streams we no longer know, SYNs
out of id order, a WNDINC for every read, data that crosses our RST.

The trap.  A stream that this side has closed may still be known, because its bytes have to be flushed
or its peer has to finish: what comes on it is counted as received, credited where that is due, and
never kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ..errors import ErrorCode
from .intake import Violation
from .overflow import Overflow
from .peer_resets import PeerResets
from .recv_half import VIEW_FROM, append, consume, read, read_without_credit
from .stream_state import Owner, RecvState, SendState
from .timers import NEVER, Interval

if TYPE_CHECKING:
    from ..config import Config
    from ..frames import Receiver, Wire
    from .admission import Admission
    from .events import Events
    from .flow_control import FlowControl
    from .gates import Gates
    from .inbound_control import InboundControl
    from .intake import Intake
    from .session_ends import SessionEnds
    from .stream_ends import StreamEnds
    from .stream_state import StreamState
    from .stream_table import StreamTable

__all__ = ("Inbound",)

TINY_PAYLOAD = 16
"""Payloads shorter than this cost more than they carry."""

_RECEIVING, _FIN_RECEIVED = RecvState.OPEN, RecvState.FIN_RECEIVED
_FIN_SENT = SendState.FIN_SENT
_RELEASED = Owner.RELEASED


class Inbound:
    """The inbound side of one connection: a :class:`~muxado_py.frames.Receiver`."""

    __slots__ = (
        "_acknowledges",
        "_admission",
        "_control",
        "_decoder",
        "_delays",
        "_events",
        "_flow",
        "_fullness",
        "_gates",
        "_intake",
        "_live",
        "_looks",
        "_max_tiny",
        "_may_be_full",
        "_overflow",
        "_session_ends",
        "_session_window",
        "_stream_ends",
        "_table",
        "_traits",
        "_types",
        "_wire",
        "acknowledged",
        "consumed",
        "credited",
        "going_away",
        "noise",
        "opened",
        "paused",
        "pinged",
        "ponged",
        "prioritized",
        "recognized",
        "session_credited",
        "settings",
        "was_reset",
        "widened",
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
        admission: Admission,
        control: InboundControl,
        events: Events,
        config: Config,
    ) -> None:
        self._wire = wire
        self._traits = wire.traits
        self._table = table
        self._live = table.live
        self._gates = gates
        self._control = gates.control
        self._flow = flow
        self._stream_ends = stream_ends
        self._session_ends = session_ends
        self._admission = admission
        self._events = events
        self._acknowledges = wire.traits.max_unacknowledged is not None
        self._delays = wire.traits.syn_delay > 0
        self._types = admission.awaits_types
        self._session_window = config.session_window
        self._overflow = Overflow(wire, table, flow, intake, stream_ends, config)
        self._fullness = Interval(table.timers, config.probe_interval, self.look_for_stuck)
        self._may_be_full = self._overflow.may_be_full
        self._looks = table.looks
        self._max_tiny = max(1024, config.stream_window // 4)
        self._intake = intake
        self.paused = False
        """Whether nothing more is decoded for now; for good, once the connection is over."""
        intake.pause = self._pause
        resets = PeerResets(wire, table, gates, flow, intake, stream_ends, session_ends)
        # Frames that are dealt with elsewhere, without a step between.
        self.opened = admission.opened
        self.noise = intake.noise
        self.was_reset = resets.was_reset
        self.going_away = session_ends.going_away
        self.acknowledged = control.acknowledged
        self.credited = control.credited
        self.consumed = control.consumed
        self.widened = control.widened
        self.prioritized = control.prioritized
        self.recognized = control.recognized
        self.settings = control.settings
        self.session_credited = gates.credit_session
        self.pinged = control.pinged
        self.ponged = control.ponged
        self.decode_through(self)

    def _pause(self) -> None:
        self.paused = self._events.unsettled = True

    def decode_through(self, receiver: Receiver) -> None:
        """Let the decoder call ``receiver``, which hands all on to here; before the first byte."""
        self._decoder = self._wire.decoder(receiver)

    def receive(self, data: bytes | memoryview) -> None:
        """The transport received ``data``; whatever it does wrong ends here, and no further."""
        try:
            self._decoder.feed(data)
        except Violation as exc:
            self._session_ends.break_off(exc.code, exc.message)

    def violated(self, code: int, message: str) -> NoReturn:
        """The bytes break the format; nothing after them can be trusted."""
        raise Violation(code, message)

    @property
    def midway(self) -> bool:
        """Whether what was received so far ends inside a frame."""
        return self._decoder.midway

    def go_on(self) -> None:
        """Decode what came during a pause, if its reasons are gone."""
        ended = self._events.failure is not None
        if self.paused and not (ended or self._intake.replies_pile_up or self._overflow.is_full):
            self.paused = False
            self._events.unsettled = self._events.go_away is not None
            self._events.pending = True  # whoever reads the transport may go on
            self.receive(b"")

    def decode_rest(self) -> None:
        """The transport has ended: what came during a pause is here already, so no bound keeps it out."""
        while self.paused and self._events.failure is None:
            self.paused = False
            self.receive(b"")

    # Data.

    def data(self, stream_id: int, chunk: bytes | memoryview, pending: int) -> None:
        stream = self._live.get(stream_id)
        size = len(chunk)
        flow = self._flow
        flow.received += size
        if stream is None:
            return self._stray_data(stream_id, size, pending)
        if not stream.peer_spoke:
            # As Gates.hear, without the call that each stream would pay.
            stream.peer_spoke = True
            if self._acknowledges:
                self._gates.acknowledged(stream)
        if self._delays:
            self._gates.peer_spoke_on(stream_id)
        if stream.recv_state is not _RECEIVING:
            return self._late_data(stream, size, pending)
        # A call of its own would cost as much as all of this.
        allowed = stream.recv_window - size
        if allowed < pending:
            return self._stream_ends.fault(
                stream, ErrorCode.FLOW_CONTROL_ERROR, "more data than its window allowed"
            )
        stream.recv_window = allowed
        if allowed < stream.unseen_credit:
            flow.tuner.crossed(stream)
        if not size:
            return None if pending else self._intake.noise()
        stream.peer_sent_data = True
        if stream.owner is _RELEASED:
            return self._stream_ends.discard(stream, size)
        if size < TINY_PAYLOAD and not pending:
            stream.tiny_frames += 1
            # They count for a stream until it is read, so the bound follows its window.
            most = self._max_tiny + stream.grown // 4
            if stream.tiny_frames > most:
                return self._stream_ends.fault(
                    stream,
                    ErrorCode.ENHANCE_YOUR_CALM,
                    f"more than {most} frames of under {TINY_PAYLOAD} bytes unread",
                )
        if stream.unread or size >= VIEW_FROM:
            append(stream, chunk)
        else:  # as append, without the call that each message would pay
            stream.recv_first = chunk if type(chunk) is bytes else bytes(chunk)
            stream.unread = size
        flow.unread += size
        if self._types and stream.stream_type is None and not stream.local:
            self._read_type(stream)
        elif not stream.in_readable:
            stream.in_readable = self._events.pending = True
            self._events.readable.append(stream)
            if self._may_be_full and self._fullness.deadline == NEVER:
                self._fullness.begin()
        if flow.received > flow.mark:
            flow.look()
            if flow.unread > self._session_window:
                self._overflow.relieve()
        return None

    def _late_data(self, stream: StreamState, size: int, pending: int) -> None:
        """Data behind the FIN; a FIN of Go's smux has overtaken data of its own stream (v1.5.24 to 28)."""
        if self._traits.has_reset or stream.owner is not _RELEASED:
            return self._stream_ends.fault(stream, ErrorCode.STREAM_CLOSED, "data after its FIN")
        # Nobody reads it, and the peer may still read what is flushed.
        assert stream.id is not None
        return self._stray_data(stream.id, size, pending)

    def _stray_data(self, stream_id: int, size: int, pending: int) -> None:
        """Data for a stream that is over here, or never was."""
        if self._traits.resets_unknown and not pending:
            self._stream_ends.reply_reset(stream_id, ErrorCode.STREAM_CLOSED)
        elif not (size or pending):
            self._intake.noise()
        self._flow.look()

    def _read_type(self, stream: StreamState) -> None:
        """A typed stream is offered once its four bytes are here."""
        if self._may_be_full:
            self._fullness.begin()
        if stream.unread >= 4:
            # Its credit goes with that of the next read: a refusal must be the first that the peer hears.
            self._flow.unread -= 4
            self._admission.typed(stream, int.from_bytes(read_without_credit(stream, 4), "big"))

    def look_for_stuck(self, now: float) -> bool:
        """``Config.probe_interval`` has passed, on a wire without windows."""
        self._overflow.look(now)
        self.go_on()
        return self._flow.unread > 0

    def read(self, stream: StreamState, nbytes: int) -> bytes:
        """Up to ``nbytes`` that arrived, ``b""`` if there are none, and the credit that reading frees."""
        if not stream.unread:
            # And no credit, which a peer that is not recognized yet may learn of otherwise.
            return b""
        flow = self._flow
        if nbytes < stream.unread or stream.recv_rest is not None:
            chunk = read(stream, nbytes)
        else:  # as read, without the call that each message would pay
            first = stream.recv_first
            chunk = first if type(first) is bytes else bytes(first)
            stream.recv_first = b""
            stream.unread = stream.tiny_frames = 0
        size = len(chunk)
        flow.unread -= size
        if self._table.ended_unread and not stream.unread:
            self._table.ended_unread.pop(stream, None)
        pressed = flow.received - flow.unread >= flow.due and flow.look()
        if stream.recv_state is _RECEIVING and stream.failure is None:
            if pressed:
                flow.credit_partly(stream, size)
            else:
                credit = consume(stream, size)
                if credit:
                    self._control.credit(stream, flow.tuner.credit(stream, credit))
        if self.paused:
            self.go_on()
        return chunk

    def finished(self, stream_id: int) -> None:
        stream = self._live.get(stream_id)
        if stream is None or stream.recv_state is not _RECEIVING:
            return
        if not stream.peer_spoke:
            self._gates.hear(stream)
        if self._delays:
            self._gates.peer_spoke_on(stream_id)
        if self._types and stream.stream_type is None and not stream.local:
            self._stream_ends.fault(
                stream, ErrorCode.PROTOCOL_ERROR, "a typed stream without a type"
            )
            return
        # Event.PEER_FIN, without the call.
        stream.recv_state = _FIN_RECEIVED
        if stream.grown:
            self._table.give_back(stream)
        if stream.send_state is _FIN_SENT:
            self._gates.retire(stream)
        elif self._looks.deadline == NEVER:
            self._looks.begin()
        events = self._events
        if not (stream.owner is _RELEASED or stream.in_readable):
            stream.in_readable = events.pending = True
            events.readable.append(stream)
        if events.go_away is not None:
            self._session_ends.close_if_idle()

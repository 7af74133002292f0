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

from typing import TYPE_CHECKING

from ..errors import ErrorCode, Failure, StreamResetError
from ..frames import UNLIMITED
from ..scheduler import Priority
from .arrivals import Arrivals
from .overflow import Overflow
from .sending import MAX_WINDOW
from .timers import NEVER, Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..config import Config
    from ..frames import Receiver, Wire
    from .events import Events
    from .outbound import Outbound
    from .state import StreamState
    from .table import StreamTable

__all__ = ("Inbound",)

TINY = 16
"""Payloads shorter than this cost more than they carry."""


class Inbound(Arrivals):
    """The inbound side of one connection: a :class:`~muxado_py.frames.Receiver`."""

    __slots__ = (
        "_decoder",
        "_fullness",
        "_looks",
        "_max_tiny",
        "_may_be_full",
        "_overflowing",
        "_session_window",
        "receive",
    )

    def __init__(
        self,
        wire: Wire,
        table: StreamTable,
        outbound: Outbound,
        events: Events,
        config: Config,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(wire, table, outbound, events, config, clock)
        self._session_window = config.session_window
        self._overflowing = Overflow(table, config.full_timeout)
        self._fullness = Interval(table.timers, config.probe_interval, self.look_for_stuck)
        self._may_be_full = self._traits.initial_window == UNLIMITED
        self._looks = table.looks
        self._max_tiny = max(1024, config.stream_window // 4)
        self.decode_through(self)

    def decode_through(self, receiver: Receiver) -> None:
        """Let the decoder call ``receiver``, which hands all on to here; before the first byte."""
        self._decoder = self._wire.decoder(receiver)
        self.receive = self._decoder.feed
        """Called with what the transport received."""

    @property
    def midway(self) -> bool:
        """Whether what was received so far ends inside a frame."""
        return self._decoder.midway

    def go_on(self) -> None:
        """Decode what came during a pause, if its reasons are gone."""
        if self.paused and self.may_go_on:
            self.paused = False
            self._events.noted = True  # whoever reads the transport may go on
            self._decoder.feed(b"")

    def decode_rest(self) -> None:
        """The transport has ended: what came during a pause is here already, so no bound keeps it out."""
        while self.paused and self._events.ended is None:
            self.paused = False
            self._decoder.feed(b"")

    # Data.

    def data(self, stream_id: int, chunk: bytes | memoryview, pending: int) -> None:
        stream = self._live.get(stream_id)
        size = len(chunk)
        peer = self.peer
        peer.received += size
        if stream is None:
            return self._stray_data(stream_id, size, pending)
        if not stream.heard:
            stream.heard = True
            if self._acknowledges:
                self._out.acknowledged(stream)
        if self._holds:
            self._out.heard_of(stream_id)
        if stream.finished_there:
            return self._late_data(stream, size, pending)
        # A call of its own would cost as much as all of this.
        allowed = stream.allowed - size
        if allowed < pending:
            return self._provoked_reset(
                stream, ErrorCode.FLOW_CONTROL_ERROR, "more data than its window allowed"
            )
        stream.allowed = allowed
        if allowed < stream.edge:
            peer.tuner.crossed(stream)
        if not size:
            return None if pending else self.noise()
        stream.answered = True
        if stream.released:
            return self._discard(stream, size)
        if size < TINY and not pending:
            stream.tiny += 1
            # They count for a stream until it is read, so the bound follows its window.
            most = self._max_tiny + stream.grown // 4
            if stream.tiny > most:
                return self._provoked_reset(
                    stream,
                    ErrorCode.ENHANCE_YOUR_CALM,
                    f"more than {most} frames of under {TINY} bytes unread",
                )
        stream.append(chunk)
        peer.unread += size
        if self._typed and stream.stream_type is None and not stream.local:
            self._read_type(stream)
        elif not stream.wake_read:
            stream.wake_read = self._events.noted = True
            self._events.readable.append(stream)
            if self._may_be_full and self._fullness.deadline == NEVER:
                self._fullness.begin()
        if peer.received > peer.mark:
            peer.look()
            if peer.unread > self._session_window:
                self._overflow()
        return None

    def _late_data(self, stream: StreamState, size: int, pending: int) -> None:
        """Data behind the FIN; a FIN of Go's smux has overtaken data of its own stream (v1.5.24 to 28)."""
        if self._traits.has_reset or not stream.released:
            return self._provoked_reset(stream, ErrorCode.STREAM_CLOSED, "data after its FIN")
        # Nobody reads it, and the peer may still read what is flushed.
        assert stream.id is not None
        return self._stray_data(stream.id, size, pending)

    def _stray_data(self, stream_id: int, size: int, pending: int) -> None:
        """Data for a stream that is over here, or never was."""
        if self._traits.resets_unknown and not pending:
            self._reply_reset(stream_id, ErrorCode.STREAM_CLOSED)
        elif not (size or pending):
            self.noise()
        self.peer.look()

    def _discard(self, stream: StreamState, size: int) -> None:
        """Data for a stream that the application has closed."""
        stream.unread_lost = True
        self.peer.look()
        if self._traits.drains_closed:
            stream.discarded += size
            if stream.discarded <= self._config.discard_limit + stream.grown:
                self._credit_dropped(stream, size)
            elif stream.finished_here:
                self._out.give_up(stream)
            # Else what was written before the close still goes out; the peer gets no more credit.

    def _read_type(self, stream: StreamState) -> None:
        """A typed stream is offered once its four bytes are here."""
        if self._may_be_full:
            self._fullness.begin()
        if stream.unread >= 4:
            # Its credit goes with that of the next read: a refusal must be the first that the peer hears.
            self.peer.unread -= 4
            self.typed(stream, int.from_bytes(stream.read_owing(4), "big"))

    def _overflow(self) -> None:
        """The session holds too much.

        Without windows the peer is stopped by not being read; else the stream that holds most pays.
        """
        if self._traits.initial_window != UNLIMITED:
            self._end_unread(self._overflowing.most())
            return
        while self.peer.unread > self._session_window:
            stuck = self._overflowing.most_stuck()
            if stuck is None:
                self.paused = True
                break
            self._end_unread(stuck)

    def look_for_stuck(self, now: float) -> bool:
        """``Config.probe_interval`` has passed, on a wire without windows."""
        self._overflowing.look(now)
        while self._is_full and (stuck := self._overflowing.most_stuck()) is not None:
            self._end_unread(stuck)
        self.go_on()
        return self.peer.unread > 0

    def _end_unread(self, stream: StreamState) -> None:
        """``stream`` pays for all; that its application does not read is no fault of the peer."""
        assert stream.id is not None
        if stream.id in self._live:
            self._reply_reset(stream.id, ErrorCode.ENHANCE_YOUR_CALM)
        text = (
            f"stream {stream.id} was reset: it held most of the session's {self._session_window} "
            "unread bytes; read it, or raise session_window"
        )
        stream.finished_there = False
        failure = Failure(StreamResetError, text, ErrorCode.ENHANCE_YOUR_CALM, False)
        self.end_stream(stream, failure)
        self.drop_unread(stream)

    def read(self, stream: StreamState, nbytes: int) -> bytes:
        """Up to ``nbytes`` that arrived, ``b""`` if there are none, and the credit that reading frees."""
        if not stream.unread:
            # And no credit, which a peer that is not recognized yet may learn of otherwise.
            return b""
        peer = self.peer
        chunk = stream.read(nbytes)
        size = len(chunk)
        peer.unread -= size
        if self._table.left_behind and not stream.unread:
            self._table.left_behind.pop(stream, None)
        pressed = peer.received - peer.unread >= peer.due and peer.look()
        if not stream.finished_there and stream.failure is None and stream.id is not None:
            if pressed:
                peer.dole(stream, size)
            else:
                credit = stream.consume(size)
                if credit:
                    self._out.control.credit(stream, peer.tuner.credit(stream, credit))
        if self.paused:
            self.go_on()
        return chunk

    def _credit_dropped(self, stream: StreamState, nbytes: int) -> None:
        """``nbytes`` of ``stream`` were thrown away; nobody was fast, so no window grows."""
        credit = stream.consume(nbytes)
        if credit:
            self._out.control.credit(stream, credit)

    def drain(self, stream: StreamState) -> None:
        """The application closed ``stream``, whose peer has not finished: keep it until then."""
        dropped = self.drop_unread(stream)
        stream.discarded += dropped
        self._credit_dropped(stream, dropped)
        if stream.finished_here:
            self._out.drain(stream)

    def finished(self, stream_id: int) -> None:
        stream = self._live.get(stream_id)
        if stream is None or stream.finished_there:
            return
        if not stream.heard:
            self._hear(stream)
        if self._holds:
            self._out.heard_of(stream_id)
        stream.finished_there = True
        if stream.grown:
            self._table.give_back(stream)
        if self._typed and stream.stream_type is None and not stream.local:
            self._provoked_reset(stream, ErrorCode.PROTOCOL_ERROR, "a typed stream without a type")
            return
        if stream.finished_here:
            self._out.retire(stream)
        elif self._looks.deadline == NEVER:
            self._looks.begin()
        events = self._events
        if not (stream.released or stream.wake_read):
            stream.wake_read = events.noted = True
            events.readable.append(stream)
        if events.go_away is not None:
            self.close_if_idle()

    # Credit and priority.

    def credited(self, stream_id: int, nbytes: int) -> None:
        stream = self._live.get(stream_id)
        if stream is None:
            return
        if not stream.heard:
            self._hear(stream)
        if not nbytes:
            return self._provoked_reset(stream, ErrorCode.PROTOCOL_ERROR, "credit of 0 bytes")
        starved = stream.credit <= 0
        if not stream.add_credit(nbytes):
            return self._provoked_reset(
                stream, ErrorCode.FLOW_CONTROL_ERROR, "its credit passed 2^31-1 bytes"
            )
        if starved or (self._out.blocked and self._out.unblock(stream)):
            self._wake(stream)
        return None

    def widened(self, stream_id: int, window: int) -> None:
        stream = self._live.get(stream_id)
        if stream is not None and stream.peer_window < window <= MAX_WINDOW:
            stream.peer_window = window

    def consumed(self, stream_id: int, total: int, window: int) -> None:
        stream = self._live.get(stream_id)
        if stream is None:
            return
        if not stream.heard:
            self._hear(stream)
        starved = stream.credit <= 0
        if not stream.update_credit(total, window):
            return self._provoked_reset(
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
        self._out.wake(stream, stream.sendable)

    def prioritized(self, stream_id: int, urgency: int, weight: int) -> None:
        stream = self._live.get(stream_id)
        if stream is not None and urgency <= 7:
            stream.priority = Priority(urgency, weight)
            self._out.scheduler.moved(stream)

    # The session.

    def session_credited(self, limit: int) -> None:
        self._out.credit_session(limit)

    def recognized(self, is_muxado_py: bool) -> None:
        self._events.of_session()
        self.peer.recognized(is_muxado_py)
        self.speaks_at_hand_off = self._acknowledges or not is_muxado_py

    def settings(self, values: Mapping[int, int]) -> None:
        if self.peer.told:
            return self.noise()  # settings touch every stream, so they are taken once
        self.peer.settings(values)
        self.note_limits()
        return None

    def pinged(self, payload: bytes) -> None:
        if not self._pings.spend():
            return self.violated(ErrorCode.ENHANCE_YOUR_CALM, "too many pings")
        self._out.control.frame(self._wire.pong(payload))
        self.check_queue()
        return None

    def ponged(self, payload: bytes) -> None:
        asked = self._out.control.asked
        if payload not in asked:
            return self.noise()
        asked.discard(payload)
        self._events.pongs.append(payload)
        self._events.of_session()
        return None

"""Stream ends: what is done when a stream ends, by the table of :mod:`~muxado_py.protocol.end_table`.

Where data comes from and goes to.  The connection ends streams on the application's behalf, the inbound side
because of a frame, time and the session for their own reasons.  A stream that ends is released or woken, what
lies in it is kept or thrown away, and the gates queue what the peer must be told.

The rule.  What was written before a close still goes out, and what comes in after it is never kept.

The traps.  A refusal is sent only for streams that no application saw: callers of :mod:`~muxado_py.errors` send
again on the strength of it.  And a stream that is closed here may stay known, because its bytes have to be
flushed or because its peer has to finish; only so many are *discarded* at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import (
    ErrorCode,
    Failure,
    Retry,
    StreamClosedError,
    StreamResetError,
    code_name,
)
from .end_table import Event, Reads, Says, Stays, ends_on
from .stream_state import DROPPED, Owner, RecvState, SendState

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Config
    from ..frames import Wire
    from .end_table import End
    from .events import Events
    from .flow_control import FlowControl
    from .gates import Gates
    from .intake import Intake
    from .stream_state import StreamState
    from .stream_table import StreamTable

__all__ = ("StreamEnds",)


class StreamEnds:
    """The ends of one connection's streams."""

    __slots__ = (
        "_control",
        "_delays",
        "_discard_limit",
        "_discards",
        "_ends",
        "_events",
        "_fin",
        "_flow",
        "_gates",
        "_has_reset",
        "_intake",
        "_max_discarding",
        "_on_close",
        "_table",
        "settle",
    )

    def __init__(
        self,
        wire: Wire,
        table: StreamTable,
        gates: Gates,
        flow: FlowControl,
        intake: Intake,
        events: Events,
        config: Config,
    ) -> None:
        traits = wire.traits
        self._fin = wire.fin
        self._has_reset = traits.has_reset
        self._delays = traits.syn_delay > 0 or traits.fin_delay > 0
        self._table = table
        self._gates = gates
        self._control = gates.control
        self._flow = flow
        self._intake = intake
        self._events = events
        self._discard_limit = config.discard_limit
        self._max_discarding = max(1, config.max_streams)
        self._ends = ends_on(traits)
        self._on_close = self._ends[Event.CLOSE]
        self._discards = self._on_close[_FIN_SENT][_RECEIVING].stays is Stays.DISCARDS
        self.settle: Callable[[], None] = _nothing_to_settle
        """Called when the application has ended a stream: it may be what the session waits for, or what kept
        it from reading.  The connection sets it."""

    # The application.

    def finish(self, stream: StreamState) -> None:
        """Half close: a FIN follows what was written; a second call does nothing."""
        if self._ends[Event.FINISH][stream.send_state][stream.recv_state].says is _FIN:
            self._queue_fin(stream)

    def _queue_fin(self, stream: StreamState) -> None:
        """Behind what was written; at once, if nothing of that is left."""
        if not (stream.unsent or self._delays or stream.id is None):
            control = self._control
            control.fins.append(self._fin(stream.id))
            control.has_frames = True
            self.fin_was_cut(stream)
            return
        stream.send_state = _FIN_QUEUED
        if self._delays:
            self._gates.wake(stream, 0)
        if stream.owner is _RELEASED:
            self._table.lingering.add(stream)

    def fin_was_cut(self, stream: StreamState) -> None:
        """Our FIN is in a frame."""
        gates = self._gates
        gates.fins_sent += 1
        stream.send_state = _FIN_SENT
        if stream.recv_state is _FIN_RECEIVED:
            gates.retire(stream)
            if stream in self._table.awaiting_peer_close:
                self._events.note_readable(stream)  # there is nothing to wait for any more
        elif stream.owner is not _RELEASED:
            gates.scheduler.remove(stream)
        elif self._discards:
            self._discard_rest(stream)
        else:
            gates.retire(stream)
            if stream.discarded_unread:
                self._report_loss(stream, self._on_close[_FIN_SENT][_RECEIVING])

    def close(self, stream: StreamState) -> None:
        """Full close: what was written still goes out, and what comes in is thrown away."""
        if stream.owner is not _RELEASED:
            stream.owner = _RELEASED
            if not stream.local:
                self._table.peer_open -= 1
        if stream.failure is not None:
            if stream.unread:
                self._flow.discard_unread(stream)
                self.settle()
            return
        if stream.unread or self._discards:
            self._discard_unread(stream)
        stream.failure = _CLOSED_HERE
        if stream.local and stream.id is not None:
            # Without an id it is still to be sent, so "never sent" would be a lie.
            stream.retry = _PROCESSED if stream.peer_sent_data else stream.verdict()
        # The table says so too; each stream comes here, and to look there would cost each of them.
        if stream.send_state is not _FIN_SENT:
            self._queue_fin(stream)
        else:
            self._leave(stream, self._on_close[_FIN_SENT][stream.recv_state])
        if self._events.unsettled:
            self.settle()

    def reset(self, stream: StreamState, code: int) -> None:
        """Abort both directions; a stream whose SYN has not gone leaves no trace on the wire."""
        alive = stream.id in self._table.live
        end = self._ends[Event.RESET][stream.send_state][stream.recv_state]
        self._table.application_done(stream)
        self._gates.discard_unsent(stream)
        stream.fail(_RESET_HERE)
        if not alive or end.says is Says.RST:
            self._gates.retire(stream)
            self._flow.discard_unread(stream)
            if alive and stream.id is not None:
                self._control.reset(stream.id, code)
        else:
            self._discard_unread(stream)
            if end.says is _FIN:
                self._queue_fin(stream)
            else:
                self._leave(stream, end)
        self._events.note_failed(stream)
        self.settle()

    def drop(self, stream: StreamState) -> None:
        """Nobody has ``stream`` any more, and nobody ended it: what was written still goes out, and then a
        reset, for nobody said that it is the whole.  Where there is no reset it is closed.

        A reset withdraws what the peer has not accepted.  So one that was opened here, and on which nothing has
        come, stays for ``Config.linger_timeout``.
        """
        if stream.failure is not None or stream.finishing or not self._has_reset:
            self.close(stream)
            return
        unanswered = stream.local and not stream.peer_sent_data
        if not (stream.unsent or unanswered):
            self.reset(stream, ErrorCode.STREAM_CANCELLED)
            return
        self._table.application_done(stream)
        self._flow.discard_unread(stream)
        stream.failure = DROPPED
        if not unanswered:
            stream.send_state = _FIN_QUEUED  # in the place of the FIN goes the reset
        self._table.lingering.add(stream)
        self.settle()

    def _leave(self, stream: StreamState, end: End) -> None:
        """Our FIN was sent before, and now the application has no part in ``stream`` any more."""
        if end.stays is Stays.DISCARDS:
            self._discard_rest(stream)
        elif end.stays is Stays.FORGOTTEN:
            self._gates.retire(stream)
            self._report_loss(stream, end)

    def _report_loss(self, stream: StreamState, end: End) -> None:
        """Say that bytes of the peer were thrown away, if they were."""
        if stream.discarded_unread and end.says is Says.RST_IF_LOST and stream.id is not None:
            self._control.reset(stream.id, ErrorCode.STREAM_CANCELLED)

    # What still comes on a stream that is closed here.

    def _discard_unread(self, stream: StreamState) -> None:
        """What was not read; where the peer may go on until it has finished, it has room to."""
        dropped = self._flow.discard_unread(stream)
        if stream.recv_state is not _RECEIVING or not self._discards:
            stream.discarded_unread = stream.discarded_unread or dropped > 0
        elif stream.id is not None:
            stream.discarded += dropped
            self._flow.credit_discarded(stream, dropped)

    def discard(self, stream: StreamState, size: int) -> None:
        """Data of ``size`` came, which nobody will read."""
        stream.discarded_unread = True
        self._flow.look()
        if self._discards:
            stream.discarded += size
            if stream.discarded <= self._discard_limit + stream.grown:
                self._flow.credit_discarded(stream, size)
            elif stream.send_state is _FIN_SENT:
                self.reset_abandoned(stream)
            # Else what was written before the close still goes out; the peer gets no more credit.

    def _discard_rest(self, stream: StreamState) -> None:
        self._gates.scheduler.remove(stream)
        discarding = self._table.discarding
        discarding.add(stream)
        self._table.lingering.discard(stream)
        if len(discarding) > self._max_discarding:
            self.reset_abandoned(discarding.oldest() or stream)

    def reset_abandoned(self, stream: StreamState) -> None:
        """The peer has not finished a closed stream in time, or sends too much on it."""
        end = self._ends[Event.GIVEN_UP][stream.send_state][stream.recv_state]
        self._gates.retire(stream)
        if end.says is Says.RST and stream.id is not None:
            self._control.reset(stream.id, ErrorCode.STREAM_CANCELLED)

    # The peer, time and the session.

    def end(
        self,
        stream: StreamState,
        event: Event,
        failure: Failure,
        *,
        code: int = ErrorCode.STREAM_CANCELLED,
        refused: bool = False,
        kept: bool = False,
    ) -> None:
        """``stream`` is over for the wire.

        :param failure: what the application is told.
        :param code: what the peer is told.
        :param refused: whether the peer said, credibly, that its application never saw it.
        :param kept: whether it may still be accepted: nobody else is told of its end.
        """
        end = self._ends[event][stream.send_state][stream.recv_state]
        if end.says is Says.RST and not kept and stream.id in self._table.live:
            assert stream.id is not None
            self.reply_reset(stream.id, code)
        if end.reads is Reads.ERROR or end.reads is Reads.REST_THEN_ERROR:
            stream.recv_state = RecvState.TORN
        self._gates.discard_unsent(stream)
        stream.fail(failure, refused=refused)
        if stream.owner < _APPLICATION and not kept:
            self._table.withdraw(stream)
        if stream.owner is _RELEASED or end.reads is Reads.ERROR:
            self._flow.discard_unread(stream)
        if stream.owner is not _RELEASED:
            self._events.note_failed(stream)
        # Last: the scheduler may be an application's, and raise.
        self._gates.retire(stream)

    def fault(self, stream: StreamState, code: ErrorCode, why: str) -> None:
        """The peer broke a rule of one stream: reset it, and count.

        :raises Violation: if it was once too often.
        """
        message = f"stream {stream.id} was reset, {code_name(code)}: {why}"
        failure = Failure(StreamResetError, message, code, False)
        self.end(stream, Event.FAULT, failure, code=code)
        self._intake.spend(self._intake.faults, f"too many faulty streams, the last: {why}")

    def refuse(self, stream: StreamState, code: ErrorCode) -> None:
        """No application has accepted ``stream``, and none will."""
        self.end(stream, Event.REFUSED, _REFUSED_HERE, code=code)

    def reply_reset(self, stream_id: int, code: int) -> None:
        """Tell the peer that a stream is over, because of what it did."""
        self._control.reset(stream_id, code)
        self._intake.check_replies()


def _nothing_to_settle() -> None:
    pass


_RECEIVING, _FIN_RECEIVED = RecvState.OPEN, RecvState.FIN_RECEIVED
_FIN_QUEUED, _FIN_SENT = SendState.FIN_QUEUED, SendState.FIN_SENT
_APPLICATION, _RELEASED = Owner.APPLICATION, Owner.RELEASED
_FIN = Says.FIN
_PROCESSED = Retry.PROCESSED
_CLOSED_HERE = Failure(StreamClosedError, "you closed this stream", ErrorCode.STREAM_CLOSED, False)
_RESET_HERE = Failure(StreamClosedError, "you reset this stream", ErrorCode.STREAM_RESET, False)
_REFUSED_HERE = Failure(
    StreamClosedError, "this stream was refused", ErrorCode.STREAM_REFUSED, False
)

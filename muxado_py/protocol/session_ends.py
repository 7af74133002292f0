"""Session ends: how a session goes away, is broken off and ends, and every stream with it.

How a session ends::

    open -- GOAWAY of either side --> going away -- no stream is left --> ended
    open, going away -- a violation, an end of the transport, a reason of ours --> ended

While it goes away streams that are open go on, and no new ones come.  The first reason of the end stands.

Where data comes from and goes to.  The inbound side says what the peer's GOAWAY said, the connection when the
transport or this side ends.  Streams end by :mod:`~muxado_py.protocol.stream_ends`, a goodbye waits in the gates, and
``Events.failure`` tells the session.

The rule.  A fault of one stream ends that stream; only what makes the rest of the bytes meaningless, or
costs us without end, ends the session.

The trap.  A stream that the application has is never said to be above a GOAWAY's last id, and what came
whole before the end is still accepted and read: a goodbye destroys nothing that came before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import (
    ErrorCode,
    Failure,
    GoneAwayError,
    ProtocolError,
    SessionClosedError,
    StreamRefusedError,
    TransportError,
    code_name,
    escaped,
)
from .end_table import Event
from .events import GoAway
from .losses import Losses
from .stream_state import Owner
from .timers import Interval

if TYPE_CHECKING:
    from ..config import Config
    from ..frames import Wire
    from .events import Events
    from .flow_control import FlowControl
    from .gates import Gates
    from .intake import Intake
    from .stream_ends import StreamEnds
    from .stream_state import StreamState
    from .stream_table import StreamTable

__all__ = ("CLOSED_BY_PEER", "SessionEnds")


class SessionEnds:
    """The end of one connection."""

    __slots__ = (
        "_events",
        "_flow",
        "_gates",
        "_goaway_answer",
        "_intake",
        "_opened_by_then",
        "_stream_ends",
        "_table",
        "_traits",
        "_was_idle",
        "_wire",
        "accepting",
        "last_id",
        "leaving",
        "losses",
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
        config: Config,
    ) -> None:
        self._wire = wire
        self._traits = wire.traits
        self._table = table
        self._gates = gates
        self._flow = flow
        self._intake = intake
        self._stream_ends = stream_ends
        self._events = events
        self.leaving = False
        """Whether this side said that it is going away: it opens and takes no more streams."""
        self.accepting = True
        """Whether the application takes streams at all."""
        self.last_id = wire.max_id
        """The last id of our latest GOAWAY."""
        lead = 4 if config.typed_streams and not wire.traits.types_in_syn else 0
        self.losses = Losses(wire, gates.control.unwanted, lead)
        """What was written and in no frame when the session ended."""
        self._opened_by_then = -1  # the highest id of the peer's when it said GOAWAY
        self._was_idle = False  # whether no stream was left at the last look
        # From the peer's GOAWAY on.
        self._goaway_answer = Interval(table.timers, config.probe_interval, self.answer_goaway)

    # This side.

    def stop_accepting(self) -> None:
        """Refuse the streams that wait and those that come."""
        self.accepting = False
        for stream in self._table:
            if stream.owner < Owner.APPLICATION and stream.id is not None:
                self._stream_ends.refuse(stream, ErrorCode.STREAM_REFUSED)
        for stream in tuple(self._table.backlog):  # what a goodbye left
            self._table.withdraw(stream)
            self._flow.discard_unread(stream)

    def announce(self) -> None:
        """The first half of a drain: open and take no more, but refuse nothing that is on its way."""
        self.leaving = True
        self._events.note_session()  # for those who wait for a slot
        if self._traits.early_goaway:
            self._say_goodbye(self._wire.max_id, ErrorCode.NO_ERROR, b"")

    def go_away(self, code: int, debug: bytes) -> None:
        """Take no more streams; those that wait are refused, whatever their id."""
        self.leaving = True
        self._events.note_session()
        self.last_id = min(self.last_id, self._table.backlog.handed_off_id)
        self.stop_accepting()
        self._say_goodbye(self.last_id, code, debug)

    def _say_goodbye(self, last_id: int, code: int, debug: bytes) -> None:
        """Queue a GOAWAY behind the streams that were opened before it.

        A peer that it finds without streams closes at once; it must know of them by then.
        """
        frame = self._wire.go_away(last_id, code, debug)
        if frame:
            self._gates.goodbyes.append(frame)

    # The peer.

    def going_away(self, last_id: int, code: int, debug: bytes) -> None:
        """The peer takes no new streams."""
        if self._events.go_away is not None:
            self._intake.spend(self._intake.noises, "too many GOAWAYs")
        else:
            self._opened_by_then = self._table.ledger.highest
            self._was_idle = not self._table.live
            self._goaway_answer.begin()
        self._events.go_away = GoAway(last_id, code, debug)
        self._events.unsettled = True
        self._events.note_session()
        text = escaped(debug.decode("utf-8", "replace")) or "no reason given"
        failure = Failure(GoneAwayError, f"the peer is going away: {text}", code, True)
        for stream in self._table:
            if stream in self._table.heartbeats:
                pass
            elif stream.local and stream.id is None:
                if stream.released:
                    # No call on it will ever say so; whoever closes the session is told.
                    self.losses.note(stream, beats=False)
                self._stream_ends.end(stream, Event.GONE_AWAY, failure)
            elif stream.local and self._flow.is_muxado_py and (stream.id or 0) > last_id:
                refused = Failure(
                    StreamRefusedError,
                    f"the peer went away without taking stream {stream.id}: {text}",
                    ErrorCode.STREAM_REFUSED,
                    True,
                )
                # What a muxado_py peer says of its last id holds whatever it sent before.
                stream.peer_spoke = False
                self._stream_ends.end(stream, Event.GONE_AWAY, refused, refused=True)
        if code != ErrorCode.NO_ERROR:
            message = f"the peer ended the session, {code_name(code)}: {text}"
            self.end(Failure(ProtocolError, message, code, True))
        self.close_if_idle()

    def close_if_idle(self) -> None:
        """A peer that went away waits for nothing but the last stream; we say goodbye too.

        Not where a GOAWAY comes last anyway, or is sent by peers that go on opening streams.
        """
        if self._events.go_away is None or not self._traits.early_goaway:
            return
        if self._table.is_idle and not self._events.failure:
            self._say_goodbye(self._table.backlog.handed_off_id, ErrorCode.NO_ERROR, b"")
            self.end(CLOSED_BY_PEER)

    def answer_goaway(self, _now: float) -> bool:
        """``Config.probe_interval`` has passed: where ``close_if_idle`` says nothing, say it late.

        Some peers wait for a GOAWAY in answer to theirs before they close; one that has opened a stream
        since is none of them.
        """
        table = self._table
        if self._events.failure is not None:
            return False
        if table.live or table.ledger.highest != self._opened_by_then:
            self._was_idle = False
        elif self._was_idle:
            self._say_goodbye(table.backlog.handed_off_id, ErrorCode.NO_ERROR, b"")
            self.end(CLOSED_BY_PEER)
        else:
            self._was_idle = True
        return self._events.failure is None

    def transport_ended(self, cause: str, midway: bool) -> None:
        """Foreseen after a GOAWAY, else an error on every stream.

        Where peers say no goodbye, an end with no stream open is one.

        :param cause: what the transport said, if it failed.
        :param midway: whether it ended inside a frame.
        """
        foreseen = self._events.go_away is not None
        if self._traits.silent_end and not (cause or midway):
            beats = self._table.heartbeats
            foreseen = foreseen or all(
                one.released or (one.owner is Owner.OFFERED and one.fin_received) or one in beats
                for one in self._table
            )
        if foreseen:
            self.end(CLOSED_BY_PEER)
            return
        where = " in the middle of a frame" if midway else ""
        message = f"the transport ended{where} without a goodbye of the peer"
        if cause:
            message += f": {cause}"
        self.end(Failure(TransportError, message, ErrorCode.PEER_EOF, True))

    # Either.

    def break_off(self, code: int, message: str) -> None:
        """The peer broke the protocol, or an abuse has no smaller remedy: GOAWAY, and the end."""
        if self._events.failure is None:
            self._say_goodbye(self._table.backlog.handed_off_id, code, message.encode())
            self.end(Failure(ProtocolError, f"the peer broke the protocol: {message}", code, False))

    def end(self, failure: Failure) -> None:
        """The connection is over for the reason given, and every stream with it."""
        self._intake.pause()
        if self._events.failure is None:
            self._events.failure = failure
            self._events.note_session()
            mistake: Exception | None = None
            for stream in self._table:
                try:
                    self._end_stream(stream, failure)
                except Exception as exc:  # noqa: BLE001 - of an application's scheduler: the others end all the same
                    mistake = mistake or exc
            if mistake is not None:
                raise mistake

    def _end_stream(self, stream: StreamState, failure: Failure) -> None:
        self.losses.note(stream, beats=stream in self._table.heartbeats)
        # What came before the peer's end is not undone by it, accepted or not; and a reset would say that nobody
        # will ever see it.
        kept = failure.remote and stream.owner is Owner.OFFERED
        code = ErrorCode.SESSION_CLOSED
        self._stream_ends.end(stream, Event.SESSION_END, failure, code=code, kept=kept)


CLOSED_BY_PEER = Failure(
    SessionClosedError, "the peer closed the session", ErrorCode.NO_ERROR, True
)

"""Endings: how streams and the session end, when it is not the application that ends them.

Where data comes from and goes to.  The inbound side calls these methods when a frame ends something
or breaks a rule, and the connection when time or the transport does.  They change streams, note
events, and queue resets and goodbyes with the outbound side.

The rule.  A fault of one stream ends that stream; only what makes the rest of the bytes meaningless, or
costs us without end, ends the session.

The trap.  Two promises rest on this file: a refusal is sent only for streams that the application
never saw, and a stream that the application has is never said to be above a GOAWAY's last id.
Callers of :mod:`~muxado_py.errors` retry on the strength of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import (
    ErrorCode,
    Failure,
    GoneAwayError,
    ProtocolError,
    SessionClosedError,
    StreamClosedError,
    StreamLimitError,
    StreamRefusedError,
    StreamResetError,
    code_name,
    escaped,
)
from ..frames import UNLIMITED
from .budgets import Budget
from .events import GoAway
from .losses import Losses
from .peer import Peer
from .timers import Interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Config
    from ..frames import Wire
    from .events import Events
    from .outbound import Outbound
    from .state import StreamState
    from .table import StreamTable

__all__ = ("CLOSED_BY_PEER", "Endings")


class Endings:
    """What the inbound side of a connection is made from, and how it ends things."""

    __slots__ = (
        "_config",
        "_early_resets",
        "_events",
        "_many",
        "_noise",
        "_opened_by_then",
        "_out",
        "_pings",
        "_provoked",
        "_quiet",
        "_table",
        "_traits",
        "_wire",
        "farewell",
        "last_id",
        "leaving",
        "losses",
        "paused",
        "peer",
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
        self._wire = wire
        self._traits = wire.traits
        self._table = table
        self._out = outbound
        self._events = events
        self._config = config
        self.paused = False
        """Whether nothing more is decoded for now; for good, once the connection is over."""
        self.leaving = False
        """Whether this side said that it is going away: it opens and takes no more streams."""
        self.last_id = wire.max_id
        """The last id of our latest GOAWAY."""
        lead = 4 if config.typed_streams and not wire.traits.types_in_syn else 0
        self.losses = Losses(wire, lead)
        """What was written and in no frame when the session ended."""
        self._opened_by_then = -1  # the highest id of the peer's when it said GOAWAY
        self._quiet = False  # whether no stream was left at the last look
        self.farewell = Interval(table.timers, config.probe_interval, self.answer_goodbye)
        """From the peer's GOAWAY on."""
        self.peer = Peer(wire, table, outbound, config, clock)
        self.note_limits()
        self._pings, self._noise, self._early_resets, self._provoked = (
            Budget(config.control_budget, config.control_rate, clock) for _ in range(4)
        )

    # Pauses.

    @property
    def may_go_on(self) -> bool:
        """Whether the reasons for a pause are gone."""
        if self._events.ended is not None:
            return False
        return not (self._replies_pile_up or self._is_full)

    @property
    def _replies_pile_up(self) -> bool:
        return self._out.control.queued >= self._config.max_control_frames

    @property
    def _is_full(self) -> bool:
        """Whether a session without windows holds all it may: the one way to stop its peer."""
        unlimited = self._traits.initial_window == UNLIMITED
        return unlimited and self.peer.unread >= self._config.session_window

    def check_queue(self) -> None:
        """Stop reading while the peer does not take our replies (CVE-2024-32984)."""
        if self._replies_pile_up:
            self.paused = True

    # Streams.

    def why_no_stream(self) -> Failure | None:
        """Why this side may open no stream now; None if it may."""
        events, table = self._events, self._table
        if events.ended is not None:
            return events.ended
        if events.go_away is not None:
            code = ErrorCode.REMOTE_GONE_AWAY
            return Failure(GoneAwayError, "the peer is going away", code, True)
        if self.leaving:
            code = ErrorCode.SESSION_CLOSED
            return Failure(GoneAwayError, "this side is going away", code, False)
        if table.local_open + table.peer_live >= self._many and (failure := self._too_many()):
            return failure
        if not table.has_ids():
            text = "the stream ids of this session are used up; open a new session"
            return Failure(StreamLimitError, text, ErrorCode.STREAMS_EXHAUSTED, False)
        return None

    def why_no_heartbeats(self) -> Failure | None:
        """The same for a stream that is to carry heartbeats.

        A GOAWAY of either side does not matter: a peer that takes no streams any more refuses it, and is
        alive.
        """
        if self._events.ended is not None or self._table.has_ids():
            return self._events.ended
        text = "the stream ids of this session are used up"
        return Failure(StreamLimitError, text, ErrorCode.STREAMS_EXHAUSTED, False)

    def note_limits(self) -> None:
        """The peer may have told its limit: with how many streams open in all the first limit may be near."""
        most, told = self._config.max_open_streams, self.peer.stream_limit
        own = (self._traits.most_streams or UNLIMITED) if most is None else most
        self._many = own if told is None else min(own, told)

    def _too_many(self) -> Failure | None:
        """Which limit stands against one more stream."""
        limit = self.peer.stream_limit
        if limit is not None and self._table.local_open >= limit:
            text = f"the peer's limit of open streams, {limit}, is reached; close some first"
            return Failure(StreamLimitError, text, ErrorCode.STREAM_REFUSED, True)
        here = self._too_many_here()
        if here is None:
            return None
        return Failure(StreamLimitError, here, ErrorCode.STREAM_REFUSED, False)

    def _too_many_here(self) -> str | None:
        """Which limit of this side's does, in words."""
        table, most = self._table, self._config.max_open_streams
        if most is not None:
            if table.local_open < most:
                return None
            return f"Config.max_open_streams, {most}, is reached; close some streams first"
        most = self._traits.most_streams
        if most is None or self.peer.is_muxado_py is not False:
            return None
        if table.local_open + table.peer_live < most:
            return None
        return (
            f"{most} streams are open in all, and there are peers that end the session at one more; "
            "close some first, or set Config(max_open_streams=...) if yours takes more"
        )

    def end_stream(
        self, stream: StreamState, failure: Failure, *, refused: bool = False, kept: bool = False
    ) -> None:
        """``stream`` is over for the wire; what arrived before stays readable.

        :param kept: whether it may still be accepted.
        """
        self._out.drop_unsent(stream)
        stream.fail(failure, refused=refused)
        self._out.retire(stream)
        if not (stream.local or stream.handed_off or kept):
            self._table.withdraw(stream)
        if stream.released:
            self.drop_unread(stream)
        else:
            self._events.both(stream)

    def refuse(self, stream: StreamState, code: ErrorCode) -> None:
        """No application has accepted ``stream``, and none will."""
        assert stream.id is not None
        self._reply_reset(stream.id, code)
        self.end_stream(stream, _REFUSED_HERE)

    def give_up_stalled(self, stream: StreamState) -> None:
        """The peer finished ``stream``, and takes nothing of what it is sent either."""
        assert stream.id is not None
        self._reply_reset(stream.id, ErrorCode.STREAM_CANCELLED)
        message = f"the peer of stream {stream.id} has finished, and reads nothing any more"
        code = ErrorCode.STREAM_CLOSED
        self.end_stream(stream, Failure(StreamResetError, message, code, True))

    def drop_unread(self, stream: StreamState) -> int:
        """Throw away what the application did not read; how many bytes that were."""
        dropped = stream.drop_unread()
        if dropped:
            self.peer.unread -= dropped
            self._table.left_behind.pop(stream, None)
            self.peer.look()
        return dropped

    def _was_refused(self, stream: StreamState, code: int) -> bool:
        """Whether a RST of the peer says, credibly, that its application never saw ``stream``."""
        if not stream.local or stream.heard:
            return False
        if self._traits.reset_codes:
            return code in (ErrorCode.STREAM_REFUSED, ErrorCode.ACCEPT_QUEUE_FULL)
        # After our FIN the peer's application may have had the stream without a word to us.
        return self.peer.acknowledges and not stream.finished_here

    def was_reset(self, stream_id: int, code: int) -> None:
        """The peer ended a stream."""
        self.losses.unwanted.append(stream_id)
        stream = self._table.live.get(stream_id)
        if stream is None:
            return
        refused = self._was_refused(stream, code)
        kind = StreamRefusedError if refused else StreamResetError
        message = f"the peer {'refused' if refused else 'reset'} stream {stream_id}"
        if self._traits.reset_codes or code:
            message += f": {code_name(code)}"
        self.end_stream(stream, Failure(kind, message, code, True), refused=refused)
        if refused and code == ErrorCode.ACCEPT_QUEUE_FULL and not self.peer.is_muxado_py:
            # Go keeps a stream that it refused in its table until somebody resets it.
            self._reply_reset(stream_id, ErrorCode.STREAM_CANCELLED)
        if not stream.local and not stream.handed_off and not self._early_resets.spend():
            self.violated(
                ErrorCode.ENHANCE_YOUR_CALM, "too many streams reset before they were accepted"
            )
        self.close_if_idle()

    def _provoked_reset(self, stream: StreamState, code: ErrorCode, why: str) -> None:
        """The peer broke a rule of one stream: reset it, and count.

        What was whole before is still read, and then the error: a FIN that came first says nothing of
        a stream whose peer went on, or whose bytes were thrown away.
        """
        assert stream.id is not None
        if stream.id in self._table.live:
            self._reply_reset(stream.id, code)
        message = f"stream {stream.id} was reset, {code_name(code)}: {why}"
        stream.finished_there = False
        self.end_stream(stream, Failure(StreamResetError, message, code, False))
        if not self._provoked.spend():
            self.violated(ErrorCode.ENHANCE_YOUR_CALM, f"too many faulty streams, the last: {why}")

    def _reply_reset(self, stream_id: int, code: int) -> None:
        self._out.control.reset(stream_id, code)
        self.check_queue()

    # The session.

    def noise(self) -> None:
        """A frame that means nothing arrived."""
        if not self._noise.spend():
            self.violated(ErrorCode.ENHANCE_YOUR_CALM, "too many empty or unknown frames")

    def going_away(self, last_id: int, code: int, debug: bytes) -> None:
        """The peer takes no new streams."""
        if self._events.go_away is not None and not self._noise.spend():
            return self.violated(ErrorCode.ENHANCE_YOUR_CALM, "too many GOAWAYs")
        if self._events.go_away is None:
            self._opened_by_then = self._table.ledger.highest
            self._quiet = not self._table.live
            self.farewell.begin()
        self._events.go_away = GoAway(last_id, code, debug)
        text = escaped(debug.decode("utf-8", "replace")) or "no reason given"
        failure = Failure(GoneAwayError, f"the peer is going away: {text}", code, True)
        for stream in self._table:
            if stream in self._table.heartbeats:
                pass
            elif stream.local and stream.id is None:
                self.end_stream(stream, failure)
            elif stream.local and self.peer.is_muxado_py and (stream.id or 0) > last_id:
                refused = Failure(
                    StreamRefusedError,
                    f"the peer went away without taking stream {stream.id}: {text}",
                    ErrorCode.STREAM_REFUSED,
                    True,
                )
                # What a muxado_py peer says of its last id holds whatever it sent before.
                stream.heard = False
                self.end_stream(stream, refused, refused=True)
        if code != ErrorCode.NO_ERROR:
            message = f"the peer ended the session, {code_name(code)}: {text}"
            self.end(Failure(ProtocolError, message, code, True))
        self.close_if_idle()
        return None

    def close_if_idle(self) -> None:
        """A peer that went away waits for nothing but the last stream; we say goodbye too.

        Not where a GOAWAY comes last anyway, or is sent by peers that go on opening streams.
        """
        if self._events.go_away is None or not self._traits.early_goaway:
            return
        if self._table.is_idle and not self._events.ended:
            self._out.go_away(self._table.handed_off_id, ErrorCode.NO_ERROR, b"")
            self.end(CLOSED_BY_PEER)

    def answer_goodbye(self, _now: float) -> bool:
        """``Config.probe_interval`` has passed: where ``close_if_idle`` says nothing, say it late.

        Some peers wait for a GOAWAY in answer to theirs before they close; one that has opened a stream
        since is none of them.
        """
        table = self._table
        if self._events.ended is not None:
            return False
        if table.live or table.ledger.highest != self._opened_by_then:
            self._quiet = False
        elif self._quiet:
            self._out.go_away(table.handed_off_id, ErrorCode.NO_ERROR, b"")
            self.end(CLOSED_BY_PEER)
        else:
            self._quiet = True
        return self._events.ended is None

    def violated(self, code: int, message: str) -> None:
        """The peer broke the protocol, or an abuse has no smaller remedy: GOAWAY, and the end."""
        if self._events.ended is None:
            self._out.go_away(self._table.handed_off_id, code, message.encode())
            self.end(Failure(ProtocolError, f"the peer broke the protocol: {message}", code, False))

    def end(self, failure: Failure) -> None:
        """The connection is over for the reason given, and every stream with it."""
        self.paused = True
        if self._events.ended is None:
            self._events.ended = failure
            self._events.of_session()
            for stream in self._table:
                self.losses.note(stream, beats=stream in self._table.heartbeats)
                # What came before the peer's end is not undone by it, accepted or not.
                kept = failure.remote and stream.waits
                if not kept:  # or a reset would say that nobody will ever see it
                    self._cut_off(stream)
                self.end_stream(stream, failure, kept=kept)

    def _cut_off(self, stream: StreamState) -> None:
        """Let a peer to whom the end of the transport ends every stream know of one that is cut off.

        Not of one that is finished: a reset could destroy what its application has not read.
        """
        silent = self._traits.silent_end and self._traits.has_reset
        if silent and stream.id is not None and not stream.finished_here:
            self._out.control.reset(stream.id, ErrorCode.SESSION_CLOSED)


_REFUSED_HERE = Failure(
    StreamClosedError, "this stream was refused", ErrorCode.STREAM_REFUSED, False
)
CLOSED_BY_PEER = Failure(
    SessionClosedError, "the peer closed the session", ErrorCode.NO_ERROR, True
)

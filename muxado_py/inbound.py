"""Inbound: the protocol's rules for what a peer sends.

Where data comes from and goes to.  The wire's decoder calls the methods of :class:`Inbound` in the
order of the bytes; they change streams, note events for the session, and queue replies with the
outbound side.  Nothing here raises on what a peer sent.

The rule for each frame: header, then stream, then window, and only then is anything made or kept.  A
fault of one stream resets that stream; only what makes the rest of the bytes meaningless, or costs us
without end, ends the session.

What is tolerated, because real peers do it: a second FIN, frames for streams we no longer know, SYNs
out of id order, a WNDINC for every read, data that crosses our RST.

The trap.  Two promises rest on this file: codes 5 and 9 are sent only for streams that the
application never saw, and a stream that the application has is never said to be above a GOAWAY's
last id.  Callers of :mod:`~muxado_py.errors` retry on the strength of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .budgets import Budget
from .errors import (
    ErrorCode,
    Failure,
    GoneAwayError,
    ProtocolError,
    SessionClosedError,
    StreamClosedError,
    StreamRefusedError,
    StreamResetError,
    code_name,
)
from .events import GoAway
from .halves import StreamState
from .peer import Peer
from .scheduler import DEFAULT_PRIORITY, Priority
from .table import IdUse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .config import Config
    from .events import Events
    from .frames import Wire
    from .outbound import Outbound
    from .table import StreamTable

__all__ = ("HEARTBEAT_TYPE", "Inbound")

HEARTBEAT_TYPE = 0xFFFF_FFFF
"""The type of the streams that carry Go's heartbeats (ngrok/muxado-go, ``heartbeat.go``)."""

TINY = 16
"""Payloads shorter than this cost more than they carry."""


class Inbound:
    """The inbound side of one connection: a :class:`~muxado_py.frames.Receiver`."""

    def __init__(
        self,
        wire: Wire,
        table: StreamTable,
        outbound: Outbound,
        events: Events,
        config: Config,
    ) -> None:
        self._wire = wire
        self._table = table
        self._out = outbound
        self._events = events
        self._config = config
        self.paused = False
        self.accepting = True
        """Whether the application takes streams at all."""
        self.last_id = wire.max_id
        """The last id of our latest GOAWAY."""
        self.peer = Peer(wire, table, outbound, config)
        # Tiny frames count for a stream until it is read, so the bound follows its window.
        self._max_tiny = max(1024, config.stream_window // 4)
        self._pings, self._noise, self._early_resets, self._provoked = self.budgets = tuple(
            Budget(config.control_budget, config.control_rate) for _ in range(4)
        )

    # Opening.

    def opened(self, stream_id: int) -> None:
        table = self._table
        if table.is_local(stream_id):
            return self.violated(
                ErrorCode.PROTOCOL_ERROR,
                f"a SYN for stream {stream_id}, whose parity is ours; are both ends "
                f"{'clients' if stream_id & 1 else 'servers'}?",
            )
        use = table.ledger.use(stream_id)
        if use is IdUse.USED or stream_id in table.live:
            return self.violated(ErrorCode.PROTOCOL_ERROR, f"a second SYN for stream {stream_id}")
        if use is IdUse.FORGOTTEN or not self.accepting:
            return self._reply_reset(stream_id, ErrorCode.STREAM_REFUSED)
        if table.peer_open >= self._config.max_streams:
            return self._reply_reset(stream_id, ErrorCode.STREAM_REFUSED)
        if table.backlog_size >= self._config.accept_backlog:
            return self._reply_reset(stream_id, ErrorCode.ACCEPT_QUEUE_FULL)
        stream = StreamState(stream_id, DEFAULT_PRIORITY, *self.peer.make_halves())
        table.open_peer(stream_id, stream)
        self._out.admit(stream)
        self.peer.raise_window(stream)
        if not self._config.typed_streams:
            self._offer(stream)
        return None

    def _offer(self, stream: StreamState) -> None:
        self._table.offer(stream)
        self._events.offered = self._events.noted = True

    def accepted(self, stream_id: int) -> None:
        stream = self._table.live.get(stream_id)
        if stream is not None:
            stream.heard = True

    # Data.

    def data(self, stream_id: int, chunk: bytes, pending: int) -> None:
        stream = self._table.live.get(stream_id)
        size = len(chunk)
        self.peer.received += size
        if stream is None:
            if not pending:
                self._reply_reset(stream_id, ErrorCode.STREAM_CLOSED)
            self.peer.credit_session()
            return
        stream.heard = True
        recv = stream.recv
        if recv.finished:
            return self._provoked_reset(stream, ErrorCode.STREAM_CLOSED, "data after its FIN")
        if not recv.window.receive(size, pending):
            return self._provoked_reset(
                stream, ErrorCode.FLOW_CONTROL_ERROR, "more data than its window allowed"
            )
        if size < TINY and not pending:
            if not size:
                return self.noise()
            recv.tiny += 1
            if recv.tiny > self._max_tiny:
                return self._provoked_reset(
                    stream,
                    ErrorCode.ENHANCE_YOUR_CALM,
                    f"more than {self._max_tiny} frames of under {TINY} bytes unread",
                )
        if not size:
            return None
        stream.answered = True
        if stream.released:
            stream.unread_lost = True
            self.peer.credit_session()
            return None
        recv.append(chunk)
        self.peer.unread += size
        if self._config.typed_streams and stream.stream_type is None and not stream.local:
            self._read_type(stream)
        else:
            self._events.readers(stream)
        if self.peer.unread > self._config.session_window:
            self._shed()
        return None

    def _read_type(self, stream: StreamState) -> None:
        """A typed stream is offered once its four bytes are here."""
        if stream.recv.unread >= 4:
            stream.stream_type = int.from_bytes(self.read(stream, 4), "big")
            if stream.stream_type == HEARTBEAT_TYPE:
                stream.handed_off = True
                self._events.heartbeats.append(stream)
                self._events.readers(stream)
            elif self._table.backlog_size >= self._config.accept_backlog:
                self.refuse(stream, ErrorCode.ACCEPT_QUEUE_FULL)
            else:
                self._offer(stream)

    def refuse(self, stream: StreamState, code: ErrorCode) -> None:
        """No application has accepted ``stream``, and none will."""
        assert stream.id is not None
        self._reply_reset(stream.id, code)
        self.end_stream(stream, _REFUSED_HERE)

    def _shed(self) -> None:
        """The session holds too much: the stream that holds most pays for it."""
        table = self._table
        stream = max((*table.live.values(), *table.left_behind), key=lambda one: one.recv.unread)
        # A stream the wire is through with loses its tail here, and must not read as complete.
        stream.recv.finished = False
        self._provoked_reset(
            stream,
            ErrorCode.ENHANCE_YOUR_CALM,
            f"it held most of the session's {self._config.session_window} unread bytes",
        )

    def read(self, stream: StreamState, nbytes: int) -> bytes:
        """Up to ``nbytes`` for the application, and the credit that reading them frees."""
        chunk = stream.recv.read(nbytes)
        self.peer.unread -= len(chunk)
        if self._table.left_behind and not stream.recv.unread:
            self._table.left_behind.pop(stream, None)
        if not stream.recv.finished and stream.failure is None and stream.id is not None:
            credit = stream.recv.window.consume(len(chunk))
            if credit:
                self._out.credit(stream.id, credit)
        self.peer.credit_session()
        return chunk

    def drop_unread(self, stream: StreamState) -> int:
        """Throw away what the application did not read; how many bytes that were."""
        dropped = stream.recv.drop()
        self.peer.unread -= dropped
        self._table.left_behind.pop(stream, None)
        self.peer.credit_session()
        return dropped

    # Ends.

    def finished(self, stream_id: int) -> None:
        stream = self._table.live.get(stream_id)
        if stream is None or stream.recv.finished:
            return
        stream.heard = True
        stream.recv.finished = True
        if stream.stream_type is None and self._config.typed_streams and not stream.local:
            self._provoked_reset(stream, ErrorCode.PROTOCOL_ERROR, "a typed stream without a type")
            return
        if stream.send.finished:
            self._out.retire(stream)
        self._events.readers(stream)
        self.close_if_idle()

    def was_reset(self, stream_id: int, code: int) -> None:
        stream = self._table.live.get(stream_id)
        if stream is None:
            return
        refusal = code in (ErrorCode.STREAM_REFUSED, ErrorCode.ACCEPT_QUEUE_FULL)
        refused = refusal and stream.local and not stream.heard
        if refused:
            kind: type[StreamRefusedError | StreamResetError] = StreamRefusedError
            message = f"the peer refused stream {stream_id}: {code_name(code)}"
        else:
            kind = StreamResetError
            message = f"the peer reset stream {stream_id}: {code_name(code)}"
        self.end_stream(stream, Failure(kind, message, code, True), refused=refused)
        if code == ErrorCode.ACCEPT_QUEUE_FULL and not self.peer.is_muxado_py:
            # Go keeps a stream that it refused in its table until somebody resets it.
            self._reply_reset(stream_id, ErrorCode.STREAM_CANCELLED)
        if not stream.local and not stream.handed_off and not self._early_resets.spend():
            self.violated(
                ErrorCode.ENHANCE_YOUR_CALM, "too many streams reset before they were accepted"
            )
        self.close_if_idle()

    def end_stream(self, stream: StreamState, failure: Failure, *, refused: bool = False) -> None:
        """``stream`` is over for the wire; what arrived before stays readable."""
        stream.fail(failure, refused=refused)
        self._out.retire(stream)
        if not stream.local and not stream.handed_off:
            self._table.withdraw(stream)
        if stream.released:
            self.drop_unread(stream)
        else:
            self._events.both(stream)

    def _provoked_reset(self, stream: StreamState, code: ErrorCode, why: str) -> None:
        """The peer broke a rule of one stream: reset it, and count."""
        assert stream.id is not None
        if stream.id in self._table.live:
            self._reply_reset(stream.id, code)
        message = f"stream {stream.id} was reset, {code_name(code)}: {why}"
        self.end_stream(stream, Failure(StreamResetError, message, code, False))
        self.drop_unread(stream)
        if not self._provoked.spend():
            self.violated(ErrorCode.ENHANCE_YOUR_CALM, f"too many faulty streams, the last: {why}")

    def _reply_reset(self, stream_id: int, code: int) -> None:
        self._out.reset(stream_id, code)
        self._check_queue()

    def _check_queue(self) -> None:
        """Stop reading while the peer does not take our replies (CVE-2024-32984)."""
        if self._out.queued >= self._config.max_control_frames:
            self.paused = True

    # Credit, priority and the session.

    def credited(self, stream_id: int, nbytes: int) -> None:
        stream = self._table.live.get(stream_id)
        if stream is None:
            return
        stream.heard = True
        if not nbytes:
            return self._provoked_reset(stream, ErrorCode.PROTOCOL_ERROR, "credit of 0 bytes")
        if not stream.send.window.credit(nbytes):
            return self._provoked_reset(
                stream, ErrorCode.FLOW_CONTROL_ERROR, "its credit passed 2^31-1 bytes"
            )
        self._out.wake(stream, stream.send.sendable)
        return None

    def prioritized(self, stream_id: int, urgency: int, weight: int) -> None:
        stream = self._table.live.get(stream_id)
        if stream is not None and urgency <= 7:
            stream.priority = Priority(urgency, weight)
            self._out.scheduler.set_priority(stream, stream.priority)

    def session_credited(self, limit: int) -> None:
        self._out.credit_session(limit)

    def recognized(self, is_muxado_py: bool) -> None:
        self._events.noted = True
        self.peer.recognized(is_muxado_py)

    def settings(self, values: Mapping[int, int]) -> None:
        if self.peer.told:
            return self.noise()  # settings touch every stream, so they are taken once
        self.peer.settings(values)
        return None

    def pinged(self, payload: bytes) -> None:
        if not self._pings.spend():
            return self.violated(ErrorCode.ENHANCE_YOUR_CALM, "too many pings")
        self._out.control(self._wire.pong(payload))
        self._check_queue()
        return None

    def ponged(self, payload: bytes) -> None:
        self._events.pongs.append(payload)
        self._events.noted = True

    def noise(self) -> None:
        if not self._noise.spend():
            self.violated(ErrorCode.ENHANCE_YOUR_CALM, "too many empty or unknown frames")

    def going_away(self, last_id: int, code: int, debug: bytes) -> None:
        if self._events.go_away is not None and not self._noise.spend():
            return self.violated(ErrorCode.ENHANCE_YOUR_CALM, "too many GOAWAYs")
        self._events.go_away = GoAway(last_id, code, debug)
        text = debug.decode("utf-8", "replace") or "no reason given"
        failure = Failure(GoneAwayError, f"the peer is going away: {text}", code, True)
        for stream in self._table:
            if stream.local and stream.id is None:
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
        """A peer that went away waits for nothing but the last stream; we say goodbye too."""
        if self._events.go_away is not None and not self._table.live and not self._events.ended:
            self._out.go_away(self._table.handed_off_id, ErrorCode.NO_ERROR, b"")
            self.end(CLOSED_BY_PEER)

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
            self._events.noted = True
            for stream in self._table:
                self.end_stream(stream, failure)


_REFUSED_HERE = Failure(
    StreamClosedError, "this stream was refused", ErrorCode.STREAM_REFUSED, False
)
CLOSED_BY_PEER = Failure(
    SessionClosedError, "the peer closed the session", ErrorCode.NO_ERROR, True
)

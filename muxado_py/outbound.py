"""Outbound: what goes to the transport next, cut into frames as late as possible.

Where data comes from and goes to.  Commands of the application and replies of the inbound side come
in; ``data_to_send`` gives the next frames, control first, then data of the streams the scheduler
picks, one pick for each frame.  What has left for the transport can no longer be prioritized, so the
caller asks for little at a time.

The rules.  Control frames go before all data, from queues with a bound: credit and resets for one
stream coalesce, the rest is counted by ``queued``.  A stream's SYN, data and FIN keep their place in
the stream.  The id is given when the SYN is cut, so that ids on the wire rise whatever the
scheduler prefers (Go's GOAWAY names the last SYN it saw, not the highest).

The trap.  SYN and FIN never share a frame: a Go acceptor could not answer such a stream, because its
write window is closed by that frame (ngrok/muxado-go, ``stream.go``).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

from .errors import ErrorCode
from .scheduler import DEFAULT_PRIORITY, make_scheduler

if TYPE_CHECKING:
    from .config import Config
    from .events import Events
    from .frames import Wire
    from .halves import StreamState
    from .scheduler import Priority
    from .table import StreamTable

__all__ = ("Outbound",)

SHARED_FRAME = 16 * 1024
"""The longest DATA frame while another stream waits: 2.6 ms at 50 Mbit/s."""


class Outbound:
    """The outbound side of one connection."""

    __slots__ = (
        "_blocked",
        "_control",
        "_credits",
        "_events",
        "_goodbyes",
        "_low_water",
        "_max_frame",
        "_pings",
        "_priorities",
        "_resets",
        "_table",
        "_wire",
        "extended",
        "scheduler",
        "sent",
        "session_limit",
    )

    def __init__(self, wire: Wire, table: StreamTable, events: Events, config: Config) -> None:
        self._wire = wire
        self._table = table
        self._events = events
        self._low_water = config.send_buffer // 2
        self._max_frame = min(config.max_frame, wire.max_payload)
        self.scheduler = make_scheduler(config.scheduler)
        self.extended = False
        """Whether the peer is a muxado_py, that understands priorities."""
        self.sent = 0
        """Payload bytes cut into frames so far."""
        self.session_limit: int | None = None
        """The total payload that a muxado_py peer takes, once it said so."""
        self._control: deque[bytes] = deque()
        self._goodbyes: list[bytes] = []
        self._pings: deque[bytes] = deque()
        self._priorities: dict[int, Priority] = {}
        self._credits: dict[int, int] = {}
        self._resets: dict[int, int] = {}
        self._blocked: dict[StreamState, None] = {}  # streams that wait for session credit

    # Control frames.

    @property
    def queued(self) -> int:
        """Replies that wait, of the kinds that a peer can provoke without end."""
        return len(self._control) + len(self._resets)

    def control(self, frame: bytes) -> None:
        self._control.append(frame)

    def go_away(self, last_id: int, code: int, debug: bytes) -> None:
        """Queue a GOAWAY behind the streams that were opened before it.

        A peer that it finds without streams closes at once; it must know of them by then.
        """
        self._goodbyes.append(self._wire.go_away(last_id, code, debug))

    def ping(self, payload: bytes) -> None:
        self._pings.append(payload)

    def credit(self, stream_id: int, nbytes: int) -> None:
        self._credits[stream_id] = self._credits.get(stream_id, 0) + nbytes

    def reset(self, stream_id: int, code: int) -> None:
        """Queue a RST; the first code given for a stream stands."""
        self._resets.setdefault(stream_id, code)
        self._credits.pop(stream_id, None)
        self._priorities.pop(stream_id, None)

    def tell_priority(self, stream: StreamState) -> None:
        """Queue the stream's priority for a peer that understands it."""
        if self.extended and stream.id is not None:
            self._priorities[stream.id] = stream.priority

    def _take_control(self, out: list[bytes | memoryview]) -> None:
        wire = self._wire
        if self._control:
            out.extend(self._control)
            self._control.clear()
        if self._pings:
            out.extend(map(wire.ping, self._pings))
            self._events.pings_sent.extend(self._pings)
            self._events.noted = True
            self._pings.clear()
        if self._priorities:
            for stream_id, priority in self._priorities.items():
                out.append(wire.priority(stream_id, priority.urgency, priority.weight))
            self._priorities.clear()
        if self._credits:
            out.extend(wire.credit(*pair) for pair in self._credits.items())
            self._credits.clear()
        if self._resets:
            out.extend(wire.reset(*pair) for pair in self._resets.items())
            self._resets.clear()

    # Streams.

    def open(self, stream: StreamState) -> None:
        """A stream of ours begins: its SYN is ready to go."""
        self.scheduler.add(stream, stream.priority)
        self.scheduler.mark_ready(stream, 0)

    def admit(self, stream: StreamState) -> None:
        """A stream of the peer begins: it has nothing to send yet."""
        self.scheduler.add(stream, stream.priority)

    def wake(self, stream: StreamState, nbytes: int) -> None:
        """``stream`` has ``nbytes`` more to send than before, of bytes or of credit, or a FIN."""
        if stream.id is None or stream.send.sendable or stream.send.due_fin:
            self.scheduler.mark_ready(stream, nbytes)

    def retire(self, stream: StreamState) -> None:
        """Nothing more of ``stream`` is sent."""
        self.scheduler.remove(stream)
        self._table.forget(stream)
        self._blocked.pop(stream, None)
        if stream.id is not None:
            self._credits.pop(stream.id, None)
            self._priorities.pop(stream.id, None)

    def has_output(self) -> bool:
        """Whether to ask ``data_to_send``; it gives nothing if the session has no room."""
        if self._control or self._pings or self._priorities or self._credits or self._resets:
            return True
        return len(self.scheduler) > 0 or len(self._goodbyes) > 0

    def data_to_send(self, budget: int) -> list[bytes | memoryview]:
        """The next frames in pieces: all control frames, and data until ``budget`` bytes are passed.

        A budget of 0 gives control frames alone.
        """
        out: list[bytes | memoryview] = []
        self._take_control(out)
        pop = self.scheduler.pop
        while budget > 0:
            stream = cast("StreamState | None", pop())
            if stream is None:
                break
            budget -= self._cut(stream, out, budget)
        if self._goodbyes and not self._table.waiting:
            out.extend(self._goodbyes)
            self._goodbyes.clear()
        return out

    def credit_session(self, limit: int) -> None:
        """A muxado_py peer takes payload up to this total since the session began."""
        if limit > (self.session_limit or 0):
            self.session_limit = limit
            blocked, self._blocked = self._blocked, {}
            for stream in blocked:
                self.wake(stream, stream.send.sendable)

    def _room(self) -> int:
        """Payload bytes that the peer takes in this session before it says more."""
        if self.session_limit is None:
            return self._max_frame
        return max(0, min(self._max_frame, self.session_limit - self.sent))

    def _cut(self, stream: StreamState, out: list[bytes | memoryview], budget: int) -> int:
        """Cut one frame of ``stream``, which the scheduler picked; how many bytes it has.

        A lone stream gets long frames, to save work, but none longer than the transport is ready
        for: on a narrow link they would stand before a message that comes a moment later.
        """
        send = stream.send
        longest = SHARED_FRAME if len(self.scheduler) or budget < SHARED_FRAME else budget
        nbytes = min(send.sendable, longest, self._room())
        syn = stream.id is None
        if syn:
            self._table.give_id(stream)
        assert stream.id is not None
        fin = send.finishing and not send.finished and nbytes == send.buffered and not syn
        if not (nbytes or syn or fin):
            # The session has no room for its bytes, or they were taken back since it was ready.
            if send.sendable:
                self._blocked[stream] = None
            self.scheduler.served(stream, 0, False)
            return 0
        out.append(self._wire.data_header(stream.id, nbytes, syn, fin))
        if nbytes:
            send.take(nbytes, out)
            send.window.take(nbytes)
            self.sent += nbytes
        if syn and self.extended and stream.priority != DEFAULT_PRIORITY:
            priority = stream.priority
            out.append(self._wire.priority(stream.id, priority.urgency, priority.weight))
        self.scheduler.served(stream, nbytes, not fin and (send.sendable > 0 or send.due_fin))
        if fin:
            self._finish(stream)
        if stream.writer_waits and send.buffered <= self._low_water:
            stream.writer_waits = False
            self._events.writers(stream)
        return nbytes + 8

    def _finish(self, stream: StreamState) -> None:
        """The FIN of ``stream`` was just cut."""
        stream.send.finished = True
        self.scheduler.remove(stream)
        if stream.recv.finished:
            self.retire(stream)
        elif stream.released:
            # Late data for an id we no longer know is answered with a RST of its own.
            self.retire(stream)
            if stream.unread_lost and stream.id is not None:
                self.reset(stream.id, ErrorCode.STREAM_CANCELLED)

"""Control queue: the frames that go before all data, in queues with a bound.

Where data comes from and goes to.  The rules queue replies, credit, resets, pings and priorities here;
``take`` hands over the frames of all that is due, when the next flush is cut.

The rules.  Credit and resets for one stream coalesce.  What a peer can provoke without end counts in
``queued``, and its reading stops at a bound; the rest is bounded by the number of streams, and pings by the number
of those who wait for an answer.

The trap.  On some wires a stream is *delayed*: nothing may be sent on it for a moment, because its
opener does not know it itself (xtaci/smux stores a stream only after it has written the SYN), or
because a FIN would overtake the reader of the data before it.  What is delayed must not count as due, or
the writer would spin until the delay is over.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .timers import Generations

if TYPE_CHECKING:
    from ..frames import Wire
    from ..scheduler import Priority
    from .events import Events
    from .stream_state import StreamState
    from .timers import Timers

__all__ = ("ControlQueue",)

MAX_UNWANTED_STREAMS = 256
"""Resets that are remembered: those that came while the last flush was under way matter."""


class ControlQueue:
    """The control frames of one connection that have not gone yet."""

    __slots__ = (
        "_credits",
        "_delayed_credits",
        "_delayed_resets",
        "_events",
        "_frames",
        "_pings",
        "_priorities",
        "_resets",
        "_session_limit",
        "_wire",
        "awaited_pings",
        "delayed",
        "fins",
        "has_extensions",
        "has_frames",
        "unwanted",
    )

    def __init__(self, wire: Wire, events: Events, timers: Timers) -> None:
        delay = max(wire.traits.syn_delay, wire.traits.fin_delay)
        self._wire = wire
        self._events = events
        self.has_extensions = False
        """Whether the peer is a muxado_py, that understands priorities."""
        self.has_frames = False
        """Whether ``take`` may have anything to hand over.  What is queued is noted, too: a read looks
        there to find out whether it owes the peer credit."""
        self.fins: list[bytes] = []
        """FINs of streams that have nothing else to send; whoever adds one sets ``has_frames``."""
        self.awaited_pings: set[bytes] = set()
        """Payloads of pings that left, and whose answer somebody waits for."""
        self.delayed: Generations[int] = Generations(timers, delay)
        """Ids of streams that nothing may be sent on yet."""
        self.unwanted: deque[int] = deque(maxlen=MAX_UNWANTED_STREAMS)
        """Ids of streams that either side reset: nobody wants what was on its way, be it the end that stands for
        a reset where the wire has none."""
        self._frames: deque[bytes] = deque()
        self._pings: deque[bytes] = deque()
        self._priorities: dict[int, Priority] = {}
        self._credits: dict[StreamState, int] = {}
        self._session_limit = 0  # of a CREDIT that waits; 0 if none does
        self._resets: dict[int, int] = {}
        self._delayed_credits: dict[StreamState, int] = {}
        self._delayed_resets: dict[int, int] = {}

    @property
    def queued(self) -> int:
        """Replies that wait, of the kinds that a peer can provoke without end."""
        return len(self._frames) + len(self._resets) + len(self._delayed_resets)

    def frame(self, frame: bytes) -> None:
        """Queue a frame as it is; ``b""`` is none."""
        if frame:
            self._frames.append(frame)
            self.has_frames = self._events.pending = True

    def ping(self, payload: bytes) -> None:
        self._pings.append(payload)
        self.has_frames = self._events.pending = True

    def forget_ping(self, payload: bytes) -> None:
        """Nobody waits for its answer any more; if it has not gone, it never will."""
        self.awaited_pings.discard(payload)
        if payload in self._pings:
            self._pings.remove(payload)

    def credit(self, stream: StreamState, nbytes: int) -> None:
        """Queue credit for a stream that has an id."""
        credits = self._credits
        if self.delayed and stream.id in self.delayed:
            credits = self._delayed_credits
        credits[stream] = credits.get(stream, 0) + nbytes
        self.has_frames = self._events.pending = True

    def session_credit(self, limit: int) -> None:
        """Queue the session's credit; a later one takes the place of one that waits."""
        self._session_limit = limit
        self.has_frames = self._events.pending = True

    def reset(self, stream_id: int, code: int) -> None:
        """Queue a RST; the first code given for a stream stands."""
        resets = self._delayed_resets if stream_id in self.delayed else self._resets
        resets.setdefault(stream_id, code)
        if not self._wire.traits.has_reset:
            self.unwanted.append(stream_id)
        self.has_frames = self._events.pending = True

    def priority(self, stream: StreamState) -> None:
        """Queue the stream's priority, for a peer that understands it."""
        if self.has_extensions and stream.id is not None:
            self._priorities[stream.id] = stream.priority
            self.has_frames = self._events.pending = True

    def forget(self, stream: StreamState) -> None:
        """Nothing but a RST is sent on ``stream`` any more."""
        if self._credits:
            self._credits.pop(stream, None)
        if self._delayed_credits:
            self._delayed_credits.pop(stream, None)
        if self._priorities and stream.id is not None:
            self._priorities.pop(stream.id, None)

    def delay(self, stream_id: int) -> None:
        """Send nothing on a stream for the wire's delay."""
        self.delayed.add(stream_id)

    def end_delay(self, stream_id: int, stream: StreamState | None) -> None:
        """The delay of a stream is over: what waited for it is due."""
        if stream_id in self._delayed_resets:
            self.reset(stream_id, self._delayed_resets.pop(stream_id))
        if stream is not None and stream in self._delayed_credits:
            self.credit(stream, self._delayed_credits.pop(stream))

    def take(self, out: list[bytes | memoryview]) -> None:
        """Move every frame that is due to ``out``."""
        self.has_frames = False
        wire = self._wire
        if self._frames:
            out.extend(self._frames)
            self._frames.clear()
        if self.fins:  # behind the acknowledgements of their streams
            out += self.fins
            self.fins.clear()
        if self._pings:
            out.extend(map(wire.ping, self._pings))
            self._events.pings_sent.extend(self._pings)
            self.awaited_pings.update(self._pings)
            self._events.note_session()
            self._pings.clear()
        if self._priorities:
            for stream_id, priority in self._priorities.items():
                out.append(wire.priority(stream_id, priority.urgency, priority.weight))
            self._priorities.clear()
        if self._session_limit:
            out.append(wire.session_credit(self._session_limit))
            self._session_limit = 0
        if self._credits:
            for stream, nbytes in self._credits.items():
                assert stream.id is not None
                out.append(wire.credit(stream.id, nbytes, stream.announced, stream.max_recv_window))
            self._credits.clear()
        if self._resets:
            out.extend(wire.reset(*pair) for pair in self._resets.items())
            self._resets.clear()

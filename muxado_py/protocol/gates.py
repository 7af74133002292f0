"""Gates: which streams may send now, how much, and what the others wait for.

Where data comes from and goes to.  Commands of the application and the inbound side say what happened to a
stream: bytes were written, credit came, it is finished.  The scheduler is told which streams are ready; when
one's turn has come, :class:`~muxado_py.protocol.outbound.Outbound` cuts its frame.

The gates of a stream, in the order in which it meets them:

============================  ==============================================  =========================
gate                          what opens it                                   where
============================  ==============================================  =========================
unacknowledged SYNs (yamux)   the peer acknowledges another stream            ``may_open``, ``await_ack``
a delay (smux)                a moment passed, or the peer was heard on it    ``delayed``, ``peer_spoke_on``
its send window               the peer's application read                     ``StreamState.send_window``
its share of the session's    the peer's application read, of any stream      ``session_share``, ``block``
============================  ==============================================  =========================

The rule.  A stream is ready or it waits at exactly one gate; one that is over does neither.

The trap.  Nobody asks a stream that waits.  What opens a gate has to ``wake`` it, or the stream waits for good.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from ..frames import UNLIMITED
from ..scheduler import make_scheduler
from . import send_half
from .control_queue import ControlQueue
from .send_half import write
from .shares import ASSUMED_STREAMS, LEAST_FLOOR, Shares
from .stream_state import SendState

if TYPE_CHECKING:
    from ..config import Config
    from ..frames import Wire
    from .events import Events
    from .stream_state import StreamState
    from .stream_table import StreamTable

__all__ = ("Gates",)

_FIN_QUEUED = SendState.FIN_QUEUED


class Gates:
    """Who may send on one connection."""

    __slots__ = (
        "_acknowledges",
        "_awaiting_ack",
        "_below_floor",
        "_buffer",
        "_delays",
        "_look_at",
        "_mark_ready",
        "_max_unacknowledged",
        "_most_unsent",
        "_shares",
        "_table",
        "blocked",
        "control",
        "fins_sent",
        "full_window_until",
        "goodbyes",
        "low_water",
        "max_unsent",
        "min_unsent",
        "scheduler",
        "sent",
        "session_limit",
        "written",
    )

    def __init__(self, wire: Wire, table: StreamTable, events: Events, config: Config) -> None:
        self._table = table
        self._delays = wire.traits.syn_delay > 0 or wire.traits.fin_delay > 0
        limit = wire.traits.max_unacknowledged
        self._acknowledges = limit is not None
        self._max_unacknowledged = limit or 0
        self.control = ControlQueue(wire, events, table.timers)
        self.control.delayed.aged = self._end_delay
        self.scheduler = make_scheduler(config.scheduler)
        self._mark_ready = self.scheduler.mark_ready
        self.session_limit = UNLIMITED
        """The total payload that a muxado_py peer takes, once it said so."""
        self.full_window_until = UNLIMITED
        """Up to this total every stream may use its whole window."""
        self.sent = 0
        """Payload bytes cut into frames so far."""
        self.fins_sent = 0
        """FINs cut so far.  A reader that got all bytes and no FIN does not know that they are all."""
        self.goodbyes: list[bytes] = []
        """GOAWAYs that wait for what has to go before them."""
        self.blocked: dict[StreamState, None] = {}
        """Streams that have their share of the session: until more of it is free, or they are read."""
        self._below_floor: dict[
            StreamState, None
        ] = {}  # those of them that lack some of their floor
        self._shares: Shares | None = None  # of the peer's session, once it was told
        self.written = 0
        """Payload bytes that streams were given to send, less those that were taken back."""
        self._most_unsent = self.max_unsent = config.send_buffer
        """How much of that may wait on one stream, as of the last look."""
        self.min_unsent = min(LEAST_FLOOR, self._most_unsent)
        """How much may in any case: until there, nobody need look."""
        self.low_water = self.max_unsent // 2
        """And how much when there is room again."""
        self._buffer = Shares(config.session_send_buffer, config.max_streams + ASSUMED_STREAMS)
        self._look_at = 0  # how much must have been written when ``max_unsent`` may be another
        # Those whose SYN waits for acknowledgements.
        self._awaiting_ack: OrderedDict[StreamState, None] = OrderedDict()

    # The session's room.

    def divide(self, room: int | None, streams: int) -> None:
        """A muxado_py said how much its session takes unread; ``streams`` can be open in all."""
        self._buffer = Shares(self._buffer.room, streams)
        if room:
            self._shares = Shares(room, streams)
            self._set_ease()

    def credit_session(self, limit: int) -> None:
        """A muxado_py peer takes payload up to this total since the session began."""
        if limit <= self.session_limit != UNLIMITED:
            return
        self.session_limit = limit
        self._set_ease()
        if self._below_floor:
            self._wake_all(self._below_floor)
        # Each would be looked at; so not before there is something for all of them.
        if self.blocked and self.sent <= self.full_window_until:
            self._wake_all(self.blocked)

    def _set_ease(self) -> None:
        shares = self._shares
        if self.session_limit != UNLIMITED:
            self.full_window_until = self.session_limit - (0 if shares is None else shares.ease)

    def session_share(self, stream: StreamState) -> int:
        """How much of the session's room ``stream`` may use now."""
        free = max(0, self.session_limit - self.sent)
        if self._shares is None:
            return free
        held = stream.peer_max_window - stream.send_window
        return self._shares.left(stream.peer_max_window, held, free, len(self._table.live))

    def block(self, stream: StreamState) -> None:
        """``stream`` has something to send and may use no more of the session's room."""
        self.blocked[stream] = None
        if self._shares is None or stream.peer_max_window - stream.send_window < self._shares.floor:
            self._below_floor[stream] = None

    def unblock(self, stream: StreamState) -> bool:
        """``stream`` got credit of its own; whether it was blocked."""
        self._below_floor.pop(stream, None)
        return self.blocked.pop(stream, 0) is None

    def _wake_all(self, streams: dict[StreamState, None]) -> None:
        for stream in tuple(streams):
            self.unblock(stream)
            self.wake(stream, stream.sendable)

    def write(self, stream: StreamState, data: bytes) -> None:
        """Queue ``data``; the caller looks at ``room``, where more than ``min_unsent`` waits, to know when to stop."""
        if stream.unsent:
            size = write(stream, data)
        else:  # as write, without the call that each message would pay
            stream.send_first = data
            stream.unsent = size = len(data)
        self.written += size
        if self._delays:
            self.wake(stream, size)
        elif stream.send_window > 0 or stream.id is None:
            self._mark_ready(stream, size)

    def room(self, stream: StreamState) -> int:
        """How much more may wait on ``stream``; below 0 if too much does."""
        if self.written > self._look_at:
            self.share_out()
        return self.max_unsent - stream.unsent

    def share_out(self) -> None:
        """How much may wait on one stream, where so much waits on all."""
        buffer = self._buffer
        self.max_unsent = buffer.window(self._most_unsent, buffer.room - self.written + self.sent)
        self.low_water = self.max_unsent // 2
        self._look_at = self.written + buffer.room // 64

    def unwrite(self, stream: StreamState, nbytes: int) -> int:
        """Take back up to ``nbytes`` of what was written last and is in no frame yet."""
        taken = send_half.unwrite(stream, nbytes)
        self.written -= taken
        if stream.fin_is_next:
            # What held the FIN up is gone, and with it what would have woken the stream.
            self.wake(stream, 0)
        return taken

    def discard_unsent(self, stream: StreamState) -> None:
        """Nothing that waits on ``stream`` will be sent."""
        self.written -= stream.unsent
        send_half.discard_unsent(stream)

    def wake(self, stream: StreamState, nbytes: int) -> None:
        """``stream`` has ``nbytes`` more to send than before, of bytes or of credit, or a FIN."""
        if self._delays and stream.id in self.control.delayed:
            return
        sendable = stream.unsent and stream.send_window > 0
        fin = stream.send_state is _FIN_QUEUED and not stream.unsent
        if sendable or fin or stream.id is None:
            self._mark_ready(stream, nbytes)

    def retire(self, stream: StreamState) -> None:
        """Nothing more of ``stream`` is sent, but for a RST; what waits for it alone may go."""
        self.scheduler.remove(stream)
        self._table.forget(stream)
        if self.blocked:
            self.unblock(stream)
        self.control.forget(stream)
        if self._acknowledges:
            if stream in self._awaiting_ack:
                del self._awaiting_ack[stream]
            elif stream.id is None:
                self._open_next()  # it may have had its turn, and leaves it to another
            self.acknowledged(stream)

    # Streams whose SYN waits until the peer has acknowledged others.

    def may_open(self) -> bool:
        """Whether the peer takes one more stream before it acknowledges others; only where it does."""
        return len(self._table.unacknowledged) < self._max_unacknowledged

    def await_ack(self, stream: StreamState) -> None:
        """It does not: the SYN of ``stream`` waits."""
        self._awaiting_ack[stream] = None

    def hear(self, stream: StreamState) -> None:
        """The first frame of the peer on ``stream``."""
        stream.peer_spoke = True
        if self._acknowledges:
            self.acknowledged(stream)

    def acknowledged(self, stream: StreamState) -> None:
        """The peer was heard on ``stream``, or need not be any more: another one may be opened."""
        if self._table.unacknowledged.discard(stream):
            self._open_next()

    def expire_unacknowledged(self, stream: StreamState) -> None:
        """A finished stream that the peer was not heard on for a moment counts no longer.

        Peers that accept one late never acknowledge it (hashicorp/yamux, ``stream.go``:
        the state is ``streamRemoteClose`` by then).
        """
        if stream.fin_sent:
            self._open_next()
        else:
            self._table.unacknowledged.add(stream)

    def _open_next(self) -> None:
        if self._awaiting_ack:
            stream, _ = self._awaiting_ack.popitem(last=False)
            self.wake(stream, 0)
        elif self._table.slot_freed is not None:
            self._table.slot_freed()

    # Streams that are delayed.

    def peer_spoke_on(self, stream_id: int) -> None:
        """The peer sent something on a stream, so it knows it: the delay is over."""
        if self.control.delayed.discard(stream_id):
            self._end_delay(stream_id)

    def _end_delay(self, stream_id: int) -> None:
        stream = self._table.live.get(stream_id)
        self.control.end_delay(stream_id, stream)
        if stream is not None:
            stream.delay_over = True
            self.wake(stream, stream.sendable)

"""Outbound: what goes to the transport next, cut into frames as late as possible.

Where data comes from and goes to.  Commands of the application and replies of the inbound side come
in; ``data_to_send`` gives the next frames, control first, then data of the streams the scheduler
picks, one pick for each frame.  What has left for the transport can no longer be prioritized, so the
caller asks for little at a time.

The rules.  A stream's SYN, data and FIN keep their place in the stream.  The id is given when the SYN
is cut, so that ids on the wire rise whatever the scheduler prefers (Go's GOAWAY names the last SYN it
saw, not the highest).

How it is quick.  Most frames are a short piece of an open stream, and ``_cut`` is just that; whatever
else a frame may be, ``_cut_other`` looks for.

The trap.  SYN and FIN never share a frame: a Go acceptor could not answer such a stream, because its
write window is closed by that frame (ngrok/muxado-go, ``stream.go``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ErrorCode
from ..scheduler import DEFAULT_PRIORITY
from .recv_half import consume
from .send_half import take
from .stream_state import DROPPED, SendState

if TYPE_CHECKING:
    from ..config import Config
    from ..frames import Wire
    from .events import Events
    from .flow_control import FlowControl
    from .gates import Gates
    from .stream_ends import StreamEnds
    from .stream_state import StreamState
    from .stream_table import StreamTable

__all__ = ("Outbound",)

MAX_SHARED_FRAME = 16 * 1024
"""The longest DATA frame while another stream waits, where the transport is ready for as much."""

MIN_SHARED_FRAME = 4 * 1024
"""The same where it is ready for less: 0.7 ms at 50 Mbit/s."""

FRAMES_PER_FLUSH = 4
"""Where the transport is ready for more at once than this many such frames, they are longer: what waits
behind a flush waits for the whole of it, and both sides pay for each frame."""

_OPEN, _FIN_QUEUED = SendState.OPEN, SendState.FIN_QUEUED


class Outbound:
    """The frames of one connection's outbound side."""

    __slots__ = (
        "_acknowledges",
        "_budget",
        "_control",
        "_data_header",
        "_delays",
        "_events",
        "_flow",
        "_gates",
        "_goodbyes",
        "_max_frame",
        "_most_plain",
        "_pieces",
        "_plain",
        "_scheduler",
        "_send_buffer",
        "_shared",
        "_stream_ends",
        "_table",
        "_traits",
        "_wire",
    )

    def __init__(
        self,
        wire: Wire,
        table: StreamTable,
        gates: Gates,
        flow: FlowControl,
        stream_ends: StreamEnds,
        events: Events,
        config: Config,
    ) -> None:
        self._wire = wire
        self._traits = wire.traits
        self._table = table
        self._gates = gates
        self._control = gates.control
        self._scheduler = gates.scheduler
        self._goodbyes = gates.goodbyes
        self._flow = flow
        self._stream_ends = stream_ends
        self._events = events
        self._delays = wire.traits.syn_delay > 0 or wire.traits.fin_delay > 0
        self._max_frame = min(config.max_frame, wire.max_payload)
        # The longest piece that goes as it is, without a thought of what else waits.
        self._plain = self._most_plain = (
            0 if self._delays else min(MAX_SHARED_FRAME, self._max_frame)
        )
        self._data_header = wire.data_header
        self._acknowledges = wire.traits.max_unacknowledged is not None
        self._send_buffer = config.send_buffer
        self._pieces: list[bytes | memoryview] = []  # of the flush that is being cut
        self._budget = -1  # of the last flush; how long its frames may be follows from it
        self._shared = MAX_SHARED_FRAME  # the longest frame of a flush beside other streams

    @property
    def _may_say_goodbye(self) -> bool:
        """Whether what a GOAWAY has to stay behind has gone."""
        table = self._table
        return not table.unopened and (self._traits.early_goaway or table.is_idle)

    def has_output(self) -> bool:
        """Whether to ask ``data_to_send``; it gives nothing if the session has no room."""
        if self._control.has_frames or len(self._scheduler) > 0:
            return True
        return bool(self._goodbyes) and self._may_say_goodbye

    def data_to_send(self, budget: int) -> list[bytes | memoryview]:
        """The next frames in pieces: all control frames, and data until ``budget`` bytes are passed.

        A budget of 0 gives control frames alone.
        """
        out = self._pieces = []
        if self._control.has_frames:
            self._control.take(out)
        if budget != self._budget:
            self._budget = budget
            self._shared = max(
                budget // FRAMES_PER_FLUSH, min(MAX_SHARED_FRAME, budget), MIN_SHARED_FRAME
            )
            self._plain = min(self._most_plain, self._shared)
        self._scheduler.serve(self._cut, budget)
        if self._gates.max_unsent < self._send_buffer:
            self._gates.share_out()
        if self._goodbyes and self._may_say_goodbye:
            out.extend(self._goodbyes)
            self._goodbyes.clear()
        self._pieces = []  # a view of the last piece would keep all that was written with it
        return out

    def _cut(self, stream: StreamState, budget: int) -> tuple[int, bool]:
        """Cut one frame of ``stream``, whose turn it is: see :data:`~muxado_py.scheduler.Send`."""
        gates = self._gates
        nbytes = stream.unsent
        if nbytes > stream.send_window:
            nbytes = stream.send_window
        if (
            not 0 < nbytes <= self._plain
            or stream.id is None
            or stream.send_state is not _OPEN
            or gates.sent + nbytes > gates.full_window_until
        ):
            return self._cut_other(stream, budget, nbytes if nbytes > 0 else 0)  # noqa: FURB136
        out = self._pieces
        out.append(self._data_header(stream.id, nbytes, False))
        gates.sent += nbytes
        if nbytes == stream.unsent and stream.send_rest is None:
            # As take, without the call that each message would pay.
            out.append(stream.send_first)
            stream.send_first = b""
            stream.unsent = 0
            stream.send_window -= nbytes
        else:
            take(stream, nbytes, out)
        if stream.wants_writable and stream.unsent <= gates.low_water:
            stream.wants_writable = False
            self._events.note_writable(stream)
        return nbytes, stream.unsent > 0 and stream.send_window > 0

    def _cut_other(self, stream: StreamState, budget: int, nbytes: int) -> tuple[int, bool]:
        """The same for a frame that is long, begins or ends a stream, or may have to wait.

        :param nbytes: how many it has to send and credit for.
        """
        out, gates = self._pieces, self._gates
        if nbytes > self._plain or gates.sent + nbytes > gates.full_window_until:
            nbytes = self._how_long(stream, nbytes, budget)
        syn = stream.id is None
        if syn and self._acknowledges and not gates.may_open():
            gates.await_ack(stream)
            return 0, False
        fin = stream.send_state is _FIN_QUEUED and nbytes == stream.unsent
        if fin and syn:
            # A short stream goes at once, but to a peer that needs a moment, or if it stays for its answer.
            fin = not self._delays and stream.failure is None
        elif fin:
            if stream.failure is DROPPED:
                return self._cut_last(stream, nbytes)
            if self._traits.fin_delay and stream.fin_received:
                # Its reader gets a moment before the FIN.
                fin = self._may_finish(stream, nbytes)
        if not (nbytes or syn or fin):
            # The session has no room for its bytes, or they were taken back since it was ready.
            if stream.sendable:
                gates.block(stream)
            return 0, False
        joined = fin and self._traits.fin_with_data
        if stream.id is None:
            # Not a SYN with bytes: no peer but ours was ever seen to send one that is a FIN, too.
            joined = joined and nbytes > 0 and stream.metadata != b""
            out.append(self._opening(stream, nbytes, joined))
        elif nbytes or joined:
            out.append(self._data_header(stream.id, nbytes, joined))
        if nbytes:
            take(stream, nbytes, out)
            gates.sent += nbytes
        if syn and (self._flow.announces_windows or stream.priority is not DEFAULT_PRIORITY):
            self._introduce(stream)
        if fin and not joined:
            assert stream.id is not None
            out.append(self._wire.fin(stream.id))
        # Most frames leave a stream empty, which is told without asking its window.
        more = (
            not fin
            and (stream.unsent > 0 or stream.send_state is not _OPEN)
            and (stream.sendable > 0 or stream.fin_is_next)
        )
        if self._delays:
            stream.delay_over = stream.delay_over and not nbytes
            more = more and stream.id not in self._control.delayed
        if fin:
            self._stream_ends.fin_was_cut(stream)
        if stream.wants_writable and stream.unsent <= gates.low_water:
            stream.wants_writable = False
            self._events.note_writable(stream)
        if syn and stream.metadata:
            nbytes += len(stream.metadata)  # a flush is as long as all that is in it
        return nbytes, more

    def _cut_last(self, stream: StreamState, nbytes: int) -> tuple[int, bool]:
        """The last bytes of a stream that nobody has any more, and the reset that ends it."""
        out = self._pieces
        assert stream.id is not None
        if nbytes:
            out.append(self._data_header(stream.id, nbytes, False))
            take(stream, nbytes, out)
            self._gates.sent += nbytes
        self._gates.retire(stream)
        out.append(self._wire.reset(stream.id, ErrorCode.STREAM_CANCELLED))
        return nbytes, False

    def _how_long(self, stream: StreamState, nbytes: int, budget: int) -> int:
        """How many of ``nbytes`` the next frame takes.

        A lone stream gets long frames, to save work, but none longer than the transport is ready
        for: on a narrow link they would stand before a message that comes a moment later.  Beside
        others it gets a share.
        """
        nbytes = min(nbytes, self._max_frame)
        gates = self._gates
        if gates.sent + nbytes > gates.full_window_until:
            nbytes = min(nbytes, gates.session_share(stream))
        if nbytes <= self._shared:
            return nbytes
        lone = not len(self._scheduler) and budget >= self._shared
        return min(nbytes, budget if lone else self._shared)

    def _opening(self, stream: StreamState, nbytes: int, fin: bool) -> bytes:
        """The SYN of ``stream``, which gives it its id, up to its first ``nbytes``.

        :param fin: whether they are the last; only if there are some, and not in the SYN.
        """
        self._table.give_id(stream)
        assert stream.id is not None
        if self._acknowledges:
            self._table.unacknowledged.add(stream)
        if stream.metadata:
            begin = self._wire.opening(stream.id, stream.metadata)
            return begin + self._data_header(stream.id, nbytes, fin) if nbytes else begin
        priority, wanted = stream.priority, None
        if priority is not DEFAULT_PRIORITY and priority != DEFAULT_PRIORITY:
            wanted = (priority.urgency, priority.weight)
        return self._wire.syn(stream.id, nbytes, wanted, stream.stream_type)

    def _introduce(self, stream: StreamState) -> None:
        """Right behind the SYN goes what the peer should know of the stream, if it understands it."""
        assert stream.id is not None
        priority = stream.priority
        unusual = priority is not DEFAULT_PRIORITY and priority != DEFAULT_PRIORITY
        if unusual and self._control.has_extensions:
            self._pieces.append(self._wire.priority(stream.id, priority.urgency, priority.weight))
        if self._flow.announces_windows and (credit := consume(stream, 0)):
            self._pieces.append(self._wire.credit(stream.id, credit, 0, stream.max_recv_window))

    def _may_finish(self, stream: StreamState, nbytes: int) -> bool:
        """Whether the FIN may go with the next ``nbytes``, or must give their reader a moment."""
        if stream.delay_over and not nbytes:
            return True
        stream.delay_over = False
        assert stream.id is not None
        self._control.delay(stream.id)
        return False

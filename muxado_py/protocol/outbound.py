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
from .ready import Readiness
from .state import DROPPED

if TYPE_CHECKING:
    from ..config import Config
    from ..frames import Wire
    from .events import Events
    from .state import StreamState
    from .table import StreamTable

__all__ = ("Outbound",)

SHARED_FRAME = 16 * 1024
"""The longest DATA frame while another stream waits, where the transport is ready for as much."""

LEAST_FRAME = 4 * 1024
"""The same where it is ready for less: 0.7 ms at 50 Mbit/s."""

SHARES = 4
"""Where the transport is ready for more at once than this many such frames, they are longer: what waits
behind a flush waits for the whole of it, and both sides pay for each frame."""


class Outbound(Readiness):
    """The outbound side of one connection."""

    __slots__ = (
        "_budget",
        "_data_header",
        "_goodbyes",
        "_max_frame",
        "_most_plain",
        "_pieces",
        "_plain",
        "_shared",
        "announces_windows",
    )

    def __init__(self, wire: Wire, table: StreamTable, events: Events, config: Config) -> None:
        super().__init__(wire, table, events, config)
        self._max_frame = min(config.max_frame, wire.max_payload)
        # The longest piece that goes as it is, without a thought of what else waits.
        self._plain = self._most_plain = 0 if self._holds else min(SHARED_FRAME, self._max_frame)
        self._data_header = wire.data_header
        self.announces_windows = not wire.traits.recognizes
        """Whether the peer learns of a window above the assumed one by credit on each stream."""
        self._pieces: list[bytes | memoryview] = []  # of the flush that is being cut
        self._budget = -1  # of the last flush; how long its frames may be follows from it
        self._shared = SHARED_FRAME  # the longest frame of a flush beside other streams
        self._goodbyes: list[bytes] = []

    def go_away(self, last_id: int, code: int, debug: bytes) -> None:
        """Queue a GOAWAY behind the streams that were opened before it.

        A peer that it finds without streams closes at once; it must know of them by then.
        """
        frame = self._wire.go_away(last_id, code, debug)
        if frame:
            self._goodbyes.append(frame)

    @property
    def _may_say_goodbye(self) -> bool:
        """Whether what a GOAWAY has to stay behind has gone."""
        table = self._table
        return not table.waiting and (self._traits.early_goaway or table.is_idle)

    def has_output(self) -> bool:
        """Whether to ask ``data_to_send``; it gives nothing if the session has no room."""
        if self.control.due or len(self.scheduler) > 0:
            return True
        return len(self._goodbyes) > 0 and self._may_say_goodbye

    def data_to_send(self, budget: int) -> list[bytes | memoryview]:
        """The next frames in pieces: all control frames, and data until ``budget`` bytes are passed.

        A budget of 0 gives control frames alone.
        """
        out = self._pieces = []
        if self.control.due:
            self.control.take(out)
        if budget != self._budget:
            self._budget = budget
            self._shared = max(budget // SHARES, min(SHARED_FRAME, budget), LEAST_FRAME)
            self._plain = min(self._most_plain, self._shared)
        self.scheduler.serve(self._cut, budget)
        if self.share < self._most:
            self._share_out()
        if self._goodbyes and self._may_say_goodbye:
            out.extend(self._goodbyes)
            self._goodbyes.clear()
        self._pieces = []  # a view of the last piece would keep all that was written with it
        return out

    def _cut(self, stream: StreamState, budget: int) -> tuple[int, bool]:
        """Cut one frame of ``stream``, whose turn it is: see :data:`~muxado_py.scheduler.Send`."""
        nbytes = stream.unsent
        if nbytes > stream.credit:
            nbytes = stream.credit
        if (
            not 0 < nbytes <= self._plain
            or stream.id is None
            or stream.finishing
            or self.sent + nbytes > self.ease
        ):
            return self._cut_other(stream, budget, nbytes if nbytes > 0 else 0)  # noqa: FURB136
        out = self._pieces
        out.append(self._data_header(stream.id, nbytes, False))
        stream.take(nbytes, out)
        self.sent += nbytes
        if stream.writer_waits and stream.unsent <= self.low_water:
            stream.writer_waits = False
            self._events.writers(stream)
        return nbytes, stream.unsent > 0 and stream.credit > 0

    def _cut_other(self, stream: StreamState, budget: int, nbytes: int) -> tuple[int, bool]:
        """The same for a frame that is long, begins or ends a stream, or may have to wait.

        :param nbytes: how many it has to send and credit for.
        """
        out = self._pieces
        if nbytes > self._plain or self.sent + nbytes > self.ease:
            nbytes = self._how_long(stream, nbytes, budget)
        syn = stream.id is None
        if syn and self._acknowledges and not self._may_open():
            self._unopened[stream] = None
            return 0, False
        fin = stream.finishing and not stream.finished_here and nbytes == stream.unsent and not syn
        if fin:
            if stream.failure is DROPPED:
                return self._cut_last(stream, nbytes)
            if self._traits.finish_delay and stream.finished_there:
                fin = self._may_finish(stream, nbytes)
        if not (nbytes or syn or fin):
            # The session has no room for its bytes, or they were taken back since it was ready.
            if stream.sendable:
                self.block(stream)
            return 0, False
        joined = fin and self._traits.fin_with_data
        if stream.id is None:
            out.append(self._opening(stream, nbytes))
        elif nbytes or joined:
            out.append(self._data_header(stream.id, nbytes, joined))
        if nbytes:
            stream.take(nbytes, out)
            self.sent += nbytes
        if syn and (self.announces_windows or stream.priority is not DEFAULT_PRIORITY):
            self._introduce(stream)
        if fin and not joined:
            assert stream.id is not None
            out.append(self._wire.fin(stream.id))
        # Most frames leave a stream empty, which is told without asking its window.
        more = (
            not fin
            and (stream.unsent > 0 or stream.finishing)
            and (stream.sendable > 0 or stream.due_fin)
        )
        if self._holds:
            stream.settled = stream.settled and not nbytes
            more = more and stream.id not in self.control.held
        if fin:
            self._finish(stream)
        if stream.writer_waits and stream.unsent <= self.low_water:
            stream.writer_waits = False
            self._events.writers(stream)
        return nbytes, more

    def _cut_last(self, stream: StreamState, nbytes: int) -> tuple[int, bool]:
        """The last bytes of a stream that nobody has any more, and the reset that ends it."""
        out = self._pieces
        assert stream.id is not None
        if nbytes:
            out.append(self._data_header(stream.id, nbytes, False))
            stream.take(nbytes, out)
            self.sent += nbytes
        self.retire(stream)
        out.append(self._wire.reset(stream.id, ErrorCode.STREAM_CANCELLED))
        return nbytes, False

    def _how_long(self, stream: StreamState, nbytes: int, budget: int) -> int:
        """How many of ``nbytes`` the next frame takes.

        A lone stream gets long frames, to save work, but none longer than the transport is ready
        for: on a narrow link they would stand before a message that comes a moment later.  Beside
        others it gets a share.
        """
        nbytes = min(nbytes, self._max_frame)
        if self.sent + nbytes > self.ease:
            nbytes = min(nbytes, self.left_for(stream))
        if nbytes <= self._shared:
            return nbytes
        lone = not len(self.scheduler) and budget >= self._shared
        return min(nbytes, budget if lone else self._shared)

    def _may_open(self) -> bool:
        """Whether the peer takes one more stream before it acknowledges others."""
        limit = self._traits.max_unacknowledged
        return limit is None or len(self._table.unacknowledged) < limit

    def _opening(self, stream: StreamState, nbytes: int) -> bytes:
        """The SYN of ``stream``, which gives it its id, up to its first ``nbytes``."""
        self._table.give_id(stream)
        assert stream.id is not None
        if self._acknowledges:
            self._table.unacknowledged.add(stream)
        priority, wanted = stream.priority, None
        if priority is not DEFAULT_PRIORITY and priority != DEFAULT_PRIORITY:
            wanted = (priority.urgency, priority.weight)
        return self._wire.syn(stream.id, nbytes, wanted, stream.stream_type)

    def _introduce(self, stream: StreamState) -> None:
        """Right behind the SYN goes what the peer should know of the stream, if it understands it."""
        assert stream.id is not None
        priority = stream.priority
        unusual = priority is not DEFAULT_PRIORITY and priority != DEFAULT_PRIORITY
        if unusual and self.control.extended:
            self._pieces.append(self._wire.priority(stream.id, priority.urgency, priority.weight))
        if self.announces_windows and (credit := stream.consume(0)):
            self._pieces.append(self._wire.credit(stream.id, credit, 0, stream.window))

    def _may_finish(self, stream: StreamState, nbytes: int) -> bool:
        """Whether the FIN may go with the next ``nbytes``, or must give their reader a moment."""
        if stream.settled and not nbytes:
            return True
        stream.settled = False
        assert stream.id is not None
        self.control.hold(stream.id)
        return False

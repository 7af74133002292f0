"""The stream table: which streams live, and which ids were used.

Where data comes from and goes to.  The inbound side puts the peer's streams here and finds streams
by id; the outbound side gives ids to ours, at the moment their SYN is cut into a frame, so that
SYN order on the wire is id order.

The rule.  A stream is in ``live`` while the wire may still mention it, and counts in ``peer_open``
until the application is done with it: the first alone would let a peer open and reset streams
faster than handlers end.

The trap.  Go peers send their SYNs out of id order (the SYN goes with the first write), so "higher
than the last" does not tell a new id from a used one.  The gaps are remembered as ranges, of which
a bounded number is kept; an id of a forgotten gap is refused, which is always safe.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from .accept_backlog import AcceptBacklog
from .stream_state import Owner
from .timers import Deadlines, Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..config import Config
    from .stream_state import StreamState
    from .timers import Timers

__all__ = ("IdLedger", "IdUse", "StreamTable")

MAX_ID_GAPS = 1024
"""Ranges of ids that a peer skipped; more are forgotten, and a SYN in one of those is refused."""

_APPLICATION, _RELEASED = Owner.APPLICATION, Owner.RELEASED


class Timed(Protocol):
    """What has deadlines of streams."""

    def __len__(self) -> int: ...

    def discard(self, item: StreamState, /) -> object: ...


class IdUse(Enum):
    """What a SYN's id turns out to be."""

    NEW = "new"
    USED = "used"
    FORGOTTEN = "forgotten"


class IdLedger:
    """Which of the peer's ids were used, in bounded memory.

    :param first: the first id of the peer's parity; the others follow in steps of two.
    """

    __slots__ = ("_forgotten", "_gaps", "highest")

    def __init__(self, first: int) -> None:
        self.highest = first - 2
        self._gaps: list[tuple[int, int]] = []  # skipped ids as (first, last), ascending
        self._forgotten = 0  # gaps up to here were given up

    def use(self, stream_id: int) -> IdUse:
        """Note that a SYN for ``stream_id``, which has the right parity, arrived."""
        if stream_id > self.highest:
            if stream_id > self.highest + 2:
                self._gaps.append((self.highest + 2, stream_id - 2))
                self._bound()
            self.highest = stream_id
            return IdUse.NEW
        if stream_id <= self._forgotten:
            return IdUse.FORGOTTEN
        index = bisect_right(self._gaps, (stream_id, self.highest)) - 1
        if index < 0 or not self._gaps[index][0] <= stream_id <= self._gaps[index][1]:
            return IdUse.USED
        low, high = self._gaps.pop(index)
        parts = [(low, stream_id - 2), (stream_id + 2, high)]
        self._gaps[index:index] = [part for part in parts if part[0] <= part[1]]
        self._bound()
        return IdUse.NEW

    def _bound(self) -> None:
        if len(self._gaps) > MAX_ID_GAPS:
            self._forgotten = self._gaps.pop(0)[1]


class StreamTable:
    """The streams of one session.

    :param first_local: the first id this side gives; ids are its parity, in steps of two.
    :param max_id: the highest id that may be given.
    :param config: for how long streams may stay where they should not.
    :param timers: of the connection.
    """

    __slots__ = (
        "_max_id",
        "awaiting_peer_close",
        "backlog",
        "discarding",
        "ended_unread",
        "grown",
        "heartbeats",
        "ledger",
        "lingering",
        "live",
        "local_open",
        "local_refused",
        "looks",
        "next_id",
        "peer_live",
        "peer_open",
        "reserved",
        "slot_freed",
        "stalled",
        "timed",
        "timers",
        "unacknowledged",
        "unopened",
    )

    def __init__(
        self,
        first_local: int,
        first_peer: int,
        max_id: int,
        config: Config,
        timers: Timers,
    ) -> None:
        self.timers = timers
        self.live: dict[int, StreamState] = {}
        """Streams that have an id and that the wire may still mention."""
        self.unopened: dict[StreamState, None] = {}
        """Streams of ours whose SYN is not cut yet; a dict for its order."""
        self.heartbeats: dict[StreamState, None] = {}
        """Streams in ``live`` or ``unopened``, of either side, that carry heartbeats: no application has them,
        and they count nowhere else."""
        self.ended_unread: dict[StreamState, None] = {}
        """Streams the wire is through with, that hold bytes the application has not read."""
        self.lingering: Deadlines[StreamState] = Deadlines(timers, config.linger_timeout)
        """Streams that are closed here and have bytes or their FIN to send."""
        self.discarding: Deadlines[StreamState] = Deadlines(timers, config.discard_timeout)
        """Streams we closed whose peer has not finished, on wires that keep them."""
        self.unacknowledged: Deadlines[StreamState] = Deadlines(timers, config.probe_interval)
        """Streams of ours that the peer was not heard on, on wires that bound their number."""
        self.stalled: Deadlines[StreamState] = Deadlines(timers, config.stall_timeout)
        """Streams that the peer finished, and takes nothing on, on wires that cannot ask why."""
        self.timed: list[Timed] = [self.stalled]
        """What else has deadlines of streams, until they are forgotten: their timers would hold them.  Those that wait
        in ``lingering`` or ``discarding`` are many, and are discarded without a step between; ``unacknowledged`` and
        the backlog's end before."""
        self.looks = Interval(timers, config.probe_interval)
        """Looks at streams that one side has finished, for as long as there are any."""
        self.awaiting_peer_close: dict[StreamState, None] = {}
        """Streams of which the application waits for the peer's full close, after its half close."""
        self.backlog = AcceptBacklog(timers, config.accept_timeout)
        """Streams of the peer that wait for ``accept``."""
        self.ledger = IdLedger(first_peer)
        self.next_id = first_local
        self.local_open = 0
        """Streams of ours in ``live`` or ``unopened``, and slots that are reserved for some."""
        self.local_refused = 0
        """Streams of ours that the peer has refused, in all."""
        self.reserved = 0
        """Slots that are kept for one who waited for it and has not opened its stream yet."""
        self.slot_freed: Callable[[], object] | None = None
        """Called when a stream of either side is over, while anybody waits for a slot."""
        self.peer_live = 0
        """Streams of the peer in ``live``."""
        self.peer_open = 0
        """Streams of the peer that our application is not done with."""
        self.grown = 0
        """Bytes that the windows of live streams have grown by."""
        self._max_id = max_id

    def __iter__(self) -> Iterator[StreamState]:
        """Every stream the session still cares for."""
        yield from tuple(self.live.values())
        yield from tuple(self.unopened)

    def open_local(self, stream: StreamState) -> None:
        self.unopened[stream] = None
        self.local_open += 1

    def has_ids(self) -> bool:
        """Whether an id is left for one more stream of ours."""
        return self.next_id + 2 * len(self.unopened) <= self._max_id

    def reserve(self) -> None:
        """Nobody gets one of the slots but he for whom it is kept."""
        self.reserved += 1
        self.local_open += 1

    def release(self) -> None:
        """It is kept no longer."""
        self.reserved -= 1
        self.local_open -= 1

    def give_id(self, stream: StreamState) -> None:
        """The SYN of ``stream`` is cut now."""
        del self.unopened[stream]
        stream.id = self.next_id
        self.live[stream.id] = stream
        self.next_id += 2

    def open_peer(self, stream_id: int, stream: StreamState) -> None:
        self.live[stream_id] = stream
        self.peer_live += 1
        self.peer_open += 1

    def withdraw(self, stream: StreamState) -> None:
        """``stream`` ended before the application accepted it."""
        offered = stream.owner is Owner.OFFERED
        self.application_done(stream)
        if offered:
            self.backlog.withdraw(stream)

    def application_streams(self) -> list[StreamState]:
        """Streams that the application has: open, or ended with bytes that it has not received."""
        return [
            stream
            for stream in (*self.live.values(), *self.unopened, *self.ended_unread)
            if stream.owner is _APPLICATION and stream not in self.heartbeats
        ]

    @property
    def is_idle(self) -> bool:
        """Whether no live stream carries anything but heartbeats; of these some wait for their SYN to go."""
        return len(self.live) <= sum(one.id is not None for one in self.heartbeats)

    def add_heartbeat(self, stream: StreamState) -> None:
        """``stream`` carries heartbeats: nothing else may depend on how many of these there are."""
        self.heartbeats[stream] = None
        if stream.local:
            self.local_open -= 1
        else:
            self.peer_live -= 1
            self.peer_open -= 1
        if self.slot_freed is not None:
            self.slot_freed()

    def remove_heartbeat(self, stream: StreamState) -> None:
        """``stream`` is over, or about to be, and counts like any other until it is."""
        if self.heartbeats.pop(stream, 0) is not None:
            return
        if stream.local:
            self.local_open += 1
        else:
            self.peer_live += 1
            self.peer_open += 1

    def forget(self, stream: StreamState) -> None:
        """The wire has no more to say of ``stream``."""
        if self.heartbeats:
            self.remove_heartbeat(stream)
        if stream.id is not None:
            known = self.live.pop(stream.id, None) is stream
        elif known := stream in self.unopened:
            del self.unopened[stream]
        if known and stream.local:
            self.local_open -= 1
        elif known:
            self.peer_live -= 1
        if self.slot_freed is not None:
            self.slot_freed()
        if self.lingering:
            self.lingering.pop(stream, 0)
        if self.discarding:
            self.discarding.pop(stream, 0)
        for waiting in self.timed:
            if waiting:
                waiting.discard(stream)
        if stream.grown:
            self.give_back(stream)
        if stream.unread:
            self.ended_unread[stream] = None

    def give_back(self, stream: StreamState) -> None:
        """The peer sends no more on ``stream``: what its window has grown by is free for others."""
        self.grown -= stream.grown
        stream.grown = 0

    def application_done(self, stream: StreamState) -> None:
        """The application is done with ``stream``."""
        if stream.owner is not _RELEASED:
            stream.owner = _RELEASED
            if not stream.local:
                self.peer_open -= 1

"""Heartbeat streams: streams of either side that carry Go's heartbeats, and no application's bytes.

What it is.  Where peers answer no pings, four bytes go on a stream of a type of its own and come back
(ngrok/muxado-go, ``heartbeat.go``).  Such a stream is one for the wire and none for anybody else: it counts in no
limit of applications, keeps no session from ending, and no GOAWAY stops it.

Where data comes from and goes to.  Ours are opened here, and the peer's taken here; the session's pings write and
read them.

The trap.  Go ends a session that refuses or delays its heartbeats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ErrorCode, Failure, Retry, StreamLimitError
from ..scheduler import DEFAULT_PRIORITY
from .stream_state import Owner

if TYPE_CHECKING:
    from ..frames import Wire
    from .events import Events
    from .flow_control import FlowControl
    from .gates import Gates
    from .stream_ends import StreamEnds
    from .stream_state import StreamState
    from .stream_table import StreamTable

__all__ = ("HEARTBEAT_TYPE", "Heartbeats")

HEARTBEAT_TYPE = 0xFFFF_FFFF
"""The type of such streams."""

MAX_HEARTBEAT_STREAMS = 4
"""Streams of heartbeats in all: one of either side, and some that ended and of which the other does not know.
They count in no other limit, so they need one."""


class Heartbeats:
    """The heartbeat streams of one connection."""

    __slots__ = ("_events", "_flow", "_gates", "_stream_ends", "_table", "_types_in_syn")

    def __init__(
        self,
        wire: Wire,
        table: StreamTable,
        gates: Gates,
        flow: FlowControl,
        stream_ends: StreamEnds,
        events: Events,
    ) -> None:
        self._types_in_syn = wire.traits.types_in_syn
        self._table = table
        self._gates = gates
        self._flow = flow
        self._stream_ends = stream_ends
        self._events = events

    def open(self) -> StreamState:
        """A new stream of ours.

        A GOAWAY of either side does not matter: a peer that takes no streams any more refuses it, and is
        alive.

        :raises StreamLimitError: if the ids are used up.
        :raises SessionError: if the session is over.
        """
        failure = self._events.failure
        if failure is None and not self._table.has_ids():
            text = "the stream ids of this session are used up"
            failure = Failure(StreamLimitError, text, ErrorCode.STREAMS_EXHAUSTED, False)
        if failure is not None:
            raise failure.error(Retry.NEVER_SENT)
        stream = self._flow.new_stream(None, DEFAULT_PRIORITY)
        stream.stream_type = HEARTBEAT_TYPE
        self._table.open_local(stream)
        self._table.add_heartbeat(stream)
        self._gates.scheduler.mark_ready(stream, 0)
        if not self._types_in_syn:
            self._gates.write(stream, HEARTBEAT_TYPE.to_bytes(4, "big"))
        return stream

    def end(self, stream: StreamState, code: int | None = None) -> None:
        """Close a stream of either side, or reset it with ``code``."""
        self._table.remove_heartbeat(stream)
        if code is None:
            self._stream_ends.close(stream)
        else:
            self._stream_ends.reset(stream, code)

    @property
    def are_too_many(self) -> bool:
        """Whether one more of the peer's is refused."""
        return len(self._table.heartbeats) >= MAX_HEARTBEAT_STREAMS

    def take(self, stream: StreamState) -> None:
        """Take the peer's for good, as an application does: a GOAWAY with a lower last id would end it."""
        assert stream.id is not None
        self._table.add_heartbeat(stream)
        stream.owner = Owner.APPLICATION
        backlog = self._table.backlog
        backlog.handed_off_id = max(backlog.handed_off_id, stream.id)
        self._events.heartbeats.append(stream)
        self._events.note_session()

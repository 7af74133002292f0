"""Events: what the IO layer has to look at after it gave the core something.

What it is.  Wake-ups, not data: bytes are pulled from the core by ``read``, and that call returns the
credit, so a window cannot be forgotten.  The core notes here which streams changed; the session
takes the notes and wakes whoever waits, whom it finds in the stream.

The rule.  A stream stands in a list at most once between two takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..errors import Failure
    from .stream_state import StreamState

__all__ = ("Events", "GoAway")


class GoAway(NamedTuple):
    """What a GOAWAY said."""

    last_id: int
    code: int
    debug: bytes


class Events:
    """Notes of one connection, in lists that the session empties."""

    __slots__ = (
        "failure",
        "go_away",
        "heartbeats",
        "offered",
        "pending",
        "pings_sent",
        "pongs",
        "readable",
        "session_changed",
        "unsettled",
        "writable",
    )

    def __init__(self) -> None:
        self.pending = False
        """Whether anything was noted, or queued for the peer, since the session last looked."""
        self.unsettled = False
        """Whether the peer is going away, or is not being read: the end of a stream may change that."""
        self.readable: list[StreamState] = []
        """Streams with something new to ``read``: bytes, the end, or a failure."""
        self.writable: list[StreamState] = []
        """Streams with room to ``write`` again, or a failure."""
        self.offered = False
        """A stream waits for ``accept``."""
        self.session_changed = False
        """Something was noted that is no stream's, which is rare: what stands below."""
        self.heartbeats: list[StreamState] = []
        """Heartbeat streams that a foreign peer opened; the application never sees them."""
        self.pings_sent: list[bytes] = []
        """Payloads of pings that left the queue."""
        self.pongs: list[bytes] = []
        """Payloads that came back."""
        self.go_away: GoAway | None = None
        """The peer's latest GOAWAY."""
        self.failure: Failure | None = None
        """Why the connection is over, once it is."""

    def note_session(self) -> None:
        """Note that the session has something to look at besides its streams."""
        self.session_changed = self.pending = True

    def note_readable(self, stream: StreamState) -> None:
        """Note that ``stream`` has something new to read."""
        if not stream.in_readable:
            stream.in_readable = self.pending = True
            self.readable.append(stream)

    def note_writable(self, stream: StreamState) -> None:
        """Note that ``stream`` can be written to again."""
        if not stream.in_writable:
            stream.in_writable = self.pending = True
            self.writable.append(stream)

    def note_failed(self, stream: StreamState) -> None:
        """Note that ``stream`` failed."""
        self.note_readable(stream)
        self.note_writable(stream)

"""Overflow: whose bytes go when a session holds more than it may.

What it is.  A muxado_py peer keeps to what the session takes, so this is for all others.  Where streams have
windows, the stream that holds most pays, at once: windows shrink as they are read
(:mod:`~muxado_py.protocol.flow_control`), so who holds a whole one is not being read.  Where there are none, only reading nothing
stops the peer, and that stops every stream; it is what holds back a peer that is faster than its readers, and
must not last for ever because of one that does not read.

The rule there.  The session is not read while it is full.  A stream whose application has read nothing for
``Config.full_timeout`` is *stuck*, and pays as soon as the session is full, so that others wait once.

The trap.  A stream that was not read in that time may be new: it is stuck only if it was seen holding bytes
before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ErrorCode, Failure, StreamResetError
from ..frames import UNLIMITED
from .end_table import Event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..config import Config
    from ..frames import Wire
    from .flow_control import FlowControl
    from .intake import Intake
    from .stream_ends import StreamEnds
    from .stream_state import StreamState
    from .stream_table import StreamTable

__all__ = ("Overflow",)


class Overflow:
    """What one session does when it holds too much."""

    __slots__ = (
        "_flow",
        "_intake",
        "_seen",
        "_session_window",
        "_stream_ends",
        "_stuck",
        "_table",
        "_timeout",
        "may_be_full",
    )

    def __init__(
        self,
        wire: Wire,
        table: StreamTable,
        flow: FlowControl,
        intake: Intake,
        stream_ends: StreamEnds,
        config: Config,
    ) -> None:
        self._table = table
        self._flow = flow
        self._intake = intake
        self._stream_ends = stream_ends
        self._session_window = config.session_window
        self._timeout = config.full_timeout
        self.may_be_full = wire.traits.initial_window == UNLIMITED
        """Whether no window stops the peer, so that not to be read is the one way to."""
        self._seen: dict[StreamState, tuple[int, float]] = {}  # how much was read, and since when
        self._stuck: dict[StreamState, int] = {}

    @property
    def is_full(self) -> bool:
        """Whether a session without windows holds all it may."""
        return self.may_be_full and self._flow.unread >= self._session_window

    def relieve(self) -> None:
        """The session holds too much: end the stream that holds most; where no window stops the peer, one that is
        stuck, or read no more."""
        if not self.may_be_full:
            self._end(max(self._holders(), key=_unread))
            return
        while self._flow.unread > self._session_window:
            stuck = self._most_stuck()
            if stuck is None:
                self._intake.pause()
                break
            self._end(stuck)

    def look(self, now: float) -> None:
        """End what is stuck, if the session is full."""
        self._note_holders(now)
        while self.is_full and (stuck := self._most_stuck()) is not None:
            self._end(stuck)

    def _end(self, stream: StreamState) -> None:
        """``stream`` pays for all; that its application does not read is no fault of the peer."""
        text = (
            f"stream {stream.id} was reset: it held most of the session's {self._session_window} "
            "unread bytes; read it, or raise session_window"
        )
        code = ErrorCode.ENHANCE_YOUR_CALM
        self._stream_ends.end(
            stream, Event.OVERFLOW, Failure(StreamResetError, text, code, False), code=code
        )

    def _note_holders(self, now: float) -> None:
        """Which streams hold bytes, and for how long none of them was read."""
        seen = {}
        self._stuck = {}
        for stream in self._holders():
            consumed, since = self._seen.get(stream, (-1, now))
            if consumed != stream.consumed:
                since = now
            seen[stream] = (stream.consumed, since)
            if now - since >= self._timeout:
                self._stuck[stream] = stream.consumed
        self._seen = seen

    def _most_stuck(self) -> StreamState | None:
        """The stream that holds most of those that are stuck, if any is; where no other is live, it makes nobody wait."""
        stuck = [one for one, consumed in self._stuck.items() if one.consumed == consumed]
        most = max(stuck, key=_unread, default=None)
        if most is None or not most.unread:
            return None
        live = self._table.live  # in which it is not, if the wire is through with it
        return most if len(live) > (most.id in live) else None

    def _holders(self) -> Iterable[StreamState]:
        table = self._table
        return [one for one in (*table.live.values(), *table.ended_unread) if one.unread]


def _unread(stream: StreamState) -> int:
    return stream.unread

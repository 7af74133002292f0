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

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .stream_state import StreamState
    from .stream_table import StreamTable

__all__ = ("Overflow",)


class Overflow:
    """Which stream of one session is to pay.

    :param full_timeout: see ``Config.full_timeout``.
    """

    __slots__ = ("_seen", "_stuck", "_table", "_timeout")

    def __init__(self, table: StreamTable, full_timeout: float) -> None:
        self._table = table
        self._timeout = full_timeout
        self._seen: dict[StreamState, tuple[int, float]] = {}  # how much was read, and since when
        self._stuck: dict[StreamState, int] = {}

    def look(self, now: float) -> None:
        """Note which streams hold bytes, and for how long none of them was read."""
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

    def most(self) -> StreamState:
        """The stream that holds most."""
        return max(self._holders(), key=_unread)

    def most_stuck(self) -> StreamState | None:
        """The same of those that are stuck, if any is; one that is alone makes nobody wait."""
        if len(self._table.live) < 2:
            return None
        stuck = [one for one, consumed in self._stuck.items() if one.consumed == consumed]
        most = max(stuck, key=_unread, default=None)
        return None if most is None or not most.unread else most

    def _holders(self) -> Iterable[StreamState]:
        table = self._table
        return [one for one in (*table.live.values(), *table.ended_unread) if one.unread]


def _unread(stream: StreamState) -> int:
    return stream.unread

"""Peer: what this side knows of the other, and what it has promised it.

What it is.  A session starts with what every implementation of the wire assumes.  The peer's first
frame says whether it is a muxado_py; if it is, both sides tell each other their windows, their
stream limits and how much they take in all.  If it is not, windows above the assumed size are given
as credit on each stream, which every implementation understands.

The rule.  A promise only grows.  A window or a limit that shrank while bytes were on their way would
make an honest peer a violator.

The trap.  Credit for the session must not leak.  It is announced as a total, made from what arrived
and what is unread, so that no way of throwing bytes away can forget to give it back (golang/go
#40423, #28204 and #54185 are sessions that hung because one did).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .frames import Setting
from .halves import RecvHalf, SendHalf
from .scheduler import DEFAULT_PRIORITY
from .windows import MAX_WINDOW

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .config import Config
    from .frames import Wire
    from .halves import StreamState
    from .outbound import Outbound
    from .table import StreamTable

__all__ = ("Peer",)


class Peer:
    """The other end of one connection."""

    def __init__(self, wire: Wire, table: StreamTable, outbound: Outbound, config: Config) -> None:
        self._wire = wire
        self._table = table
        self._out = outbound
        self._config = config
        self.is_muxado_py: bool | None = None
        """What its first frame said; None before it."""
        self.told = False
        """Whether a muxado_py told its settings."""
        self.stream_limit: int | None = None
        """How many streams it lets us have open, once it said so."""
        self.received = 0
        """Payload bytes it has sent."""
        self.unread = 0
        """Those of them that wait for the application."""
        self._window = config.initial_window  # what we may send on a new stream
        self._announced = 0  # the total payload it was told it may send

    def make_halves(self) -> tuple[SendHalf, RecvHalf]:
        """The two halves of a new stream, with the windows both sides assume."""
        recv = RecvHalf(self._config.initial_window, self._config.stream_window)
        if self.is_muxado_py:
            recv.window.told()
        return SendHalf(self._window), recv

    def raise_window(self, stream: StreamState) -> None:
        """Give a foreign peer's stream the credit that ``initial_window`` lacks of ours."""
        if self.is_muxado_py is False and stream.id is not None:
            credit = stream.recv.window.consume(0)
            if credit:
                self._out.credit(stream.id, credit)

    def recognized(self, is_muxado_py: bool) -> None:
        """Its first frame came."""
        self.is_muxado_py = self._out.extended = is_muxado_py
        if not is_muxado_py:
            for stream in self._table:
                self.raise_window(stream)
            return
        config = self._config
        values = {
            Setting.INITIAL_WINDOW: config.stream_window,
            Setting.MAX_STREAMS: config.max_streams,
        }
        self._out.control(self._wire.settings(values))
        self.credit_session()
        for stream in self._table:
            stream.recv.window.told()
            if stream.priority != DEFAULT_PRIORITY:
                self._out.tell_priority(stream)

    def settings(self, values: Mapping[int, int]) -> None:
        """A muxado_py told its :class:`~muxado_py.frames.Setting` values, which it does once."""
        self.told = True
        self.stream_limit = values.get(Setting.MAX_STREAMS)
        window = min(values.get(Setting.INITIAL_WINDOW, 0), MAX_WINDOW)
        if window > self._window:
            more = window - self._window
            self._window = window
            for stream in self._table:
                stream.send.window.credit(more)
                self._out.wake(stream, stream.send.sendable)

    def credit_session(self) -> None:
        """Tell a muxado_py how much more this session takes, a quarter of the bound at a time."""
        if self.is_muxado_py:
            limit = self.received - self.unread + self._config.session_window
            if limit - self._announced >= self._config.session_window // 4:
                self._announced = limit
                self._out.control(self._wire.session_credit(limit))

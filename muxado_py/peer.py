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

from .frames import UNLIMITED, Setting
from .scheduler import DEFAULT_PRIORITY
from .sending import MAX_WINDOW
from .state import StreamState
from .tuning import Tuner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .config import Config
    from .frames import Wire
    from .outbound import Outbound
    from .scheduler import Priority
    from .table import StreamTable

__all__ = ("Peer",)


class Peer:
    """The other end of one connection."""

    def __init__(
        self,
        wire: Wire,
        table: StreamTable,
        outbound: Outbound,
        config: Config,
        clock: Callable[[], float],
    ) -> None:
        self._wire = wire
        self._table = table
        self._out = outbound
        self._config = config
        self.is_muxado_py: bool | None = None if wire.traits.recognizes else False
        """What its first frame said; None before it."""
        self.acknowledges = False
        """Whether it showed that it acknowledges a stream when its application takes it, not later."""
        self.told = False
        """Whether a muxado_py told its settings."""
        self.stream_limit: int | None = None
        """How many streams it lets us have open, once it said so."""
        self.received = 0
        """Payload bytes it has sent."""
        self.unread = 0
        """Those of them that wait for the application."""
        assumed = wire.traits.initial_window or config.initial_window
        self._assumed_window = assumed  # what both sides may send on a new stream, untold
        self._window = assumed  # what we may send on one, as far as we were told
        self._stream_window = UNLIMITED if assumed == UNLIMITED else config.stream_window
        largest = min(wire.traits.largest_window, config.max_stream_window)
        self.tuner = Tuner(table, config, largest, clock)
        self._session_window = config.session_window
        self.credit_due = UNLIMITED
        """How many bytes must have arrived and be read or thrown away before the session gives it
        credit again; never, if it is no muxado_py."""

    def new_stream(self, stream_id: int | None, priority: Priority) -> StreamState:
        """A stream with the windows that both sides assume."""
        window = self._stream_window
        # A muxado_py knows the size from the settings; others assume what they always do.
        assumed = window if self.is_muxado_py else self._assumed_window
        return StreamState(stream_id, priority, self._window, assumed, window)

    def raise_window(self, stream: StreamState) -> None:
        """Give a foreign peer's stream the credit that ``initial_window`` lacks of ours."""
        if self.is_muxado_py is False and stream.id is not None:
            credit = stream.consume(0)
            if credit:
                self._out.control.credit(stream, credit)

    def recognized(self, is_muxado_py: bool) -> None:
        """Its first frame came."""
        self.is_muxado_py = self._out.control.extended = is_muxado_py
        if not is_muxado_py:
            self._out.announces_windows = True
            for stream in self._table:
                self.raise_window(stream)
            return
        config = self._config
        self.tuner.largest = config.max_stream_window
        values = {
            Setting.INITIAL_WINDOW: config.stream_window,
            Setting.MAX_STREAMS: config.max_streams,
        }
        self._out.control.frame(self._wire.settings(values))
        self.credit_due = 0
        self.credit_session()
        for stream in self._table:
            stream.told()
            if stream.priority != DEFAULT_PRIORITY:
                self._out.control.priority(stream)

    def settings(self, values: Mapping[int, int]) -> None:
        """A muxado_py told its :class:`~muxado_py.frames.Setting` values, which it does once."""
        self.told = True
        self.stream_limit = values.get(Setting.MAX_STREAMS)
        window = min(values.get(Setting.INITIAL_WINDOW, 0), MAX_WINDOW)
        if window > self._window:
            more = window - self._window
            self._window = window
            for stream in self._table:
                starved = stream.credit <= 0
                stream.add_credit(more)
                if starved:
                    self._out.wake(stream, stream.sendable)

    def credit_session(self) -> None:
        """Tell a muxado_py how much more this session takes, a quarter of the bound at a time."""
        done = self.received - self.unread
        if done >= self.credit_due:
            limit = done + self._session_window
            self.credit_due = done + max(1, self._session_window // 4)
            self._out.control.frame(self._wire.session_credit(limit))

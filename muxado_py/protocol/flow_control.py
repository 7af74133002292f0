"""Flow control: how much the peer may send, and what it was told.

What it is.  A session starts with what every implementation of the wire assumes.  The peer's first
frame says whether it is a muxado_py; if it is, both sides tell each other their windows, their
stream limits and how much they take in all.  If it is not, windows above the assumed size are given
as credit on each stream, which every implementation understands.

The rule.  A promise only grows.  A window or a limit that shrank while bytes were on their way would
make an honest peer a violator.

Where room is short.  The session is *pressed* once three sixteenths of what it takes are used.  A muxado_py
divides what is left among its streams itself (:mod:`~muxado_py.protocol.shares`); it goes by the credit that it
has, so all that was read is announced in small portions then.  With any other peer the windows are made
smaller here, by less credit than was read: who is not read keeps 256 KiB at most, who is read slowly comes
to hold little.

The trap.  Credit for the session must not leak.  It is announced as a total, made from what arrived
and what is unread, so that no way of throwing bytes away can forget to give it back (golang/go
#40423, #28204 and #54185 are sessions that hung because one did).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..frames import UNLIMITED, Setting
from ..scheduler import DEFAULT_PRIORITY
from . import recv_half, send_half
from .send_half import MAX_WINDOW
from .shares import ASSUMED_STREAMS, LEAST_FLOOR, Shares
from .stream_state import Owner, StreamState
from .tuning import Tuner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..config import Config
    from ..frames import Wire
    from ..scheduler import Priority
    from .gates import Gates
    from .stream_table import StreamTable

__all__ = ("FlowControl",)

CREDIT_FRACTION = 16
"""The session's credit is announced by this part of it, while there is enough."""


class FlowControl:
    """What one connection takes in, and has promised to take."""

    def __init__(
        self,
        wire: Wire,
        table: StreamTable,
        gates: Gates,
        config: Config,
        clock: Callable[[], float],
    ) -> None:
        self._wire = wire
        self._table = table
        self._gates = gates
        self._config = config
        self.is_muxado_py: bool | None = None if wire.traits.recognizes else False
        """What its first frame said; None before it."""
        self.announces_windows = not wire.traits.recognizes
        """Whether the peer learns of a window above the assumed one by credit on each stream."""
        self.acknowledges = False
        """Whether it showed that it acknowledges a stream when its application takes it, not later."""
        self.knows_settings = False
        """Whether a muxado_py told its settings."""
        self.stream_limit: int | None = None
        """How many streams it lets us have open, once it said so."""
        most = config.max_open_streams
        self.most_open = (wire.traits.most_streams or UNLIMITED) if most is None else most
        """With how many streams open in all the first limit of ours, or of the peer's, may be near."""
        # A muxado_py is told nothing; others learn of our windows, and that their stream was taken.
        self._acknowledged = wire.traits.max_unacknowledged is not None
        self.speaks_at_hand_off = True
        """Whether the peer may have to be told something when the application takes a stream."""
        self.received = 0
        """Payload bytes it has sent."""
        self.unread = 0
        """Those of them that wait for the application."""
        assumed = wire.traits.initial_window or config.initial_window
        self._assumed_window = assumed  # what both sides may send on a new stream, untold
        self._window = assumed  # what we may send on one, as far as we were told
        self._stream_window = UNLIMITED if assumed == UNLIMITED else config.stream_window
        largest = min(wire.traits.largest_window, config.max_stream_window)
        self.tuner = Tuner(table, config, largest, self._widened, clock)
        self._session_window = config.session_window
        self._shares = Shares(config.session_window, config.max_streams + ASSUMED_STREAMS)
        self._limit: int | None = None  # what a muxado_py was told that it may send in all
        self.pressed = False
        """Whether room is short."""
        self.due = UNLIMITED
        """How many bytes must have arrived and be read or thrown away before it is worth a look."""
        # Without windows none can shrink, and the session can only be full.
        room, shares = config.session_window, self._shares
        self._pressed_at = room if assumed == UNLIMITED else room - shares.ease
        self.mark = self._pressed_at
        """How many must have arrived at all."""

    def new_stream(self, stream_id: int | None, priority: Priority) -> StreamState:
        """A stream with the windows that both sides assume."""
        window = self._stream_window
        # A muxado_py knows the size from the settings; others assume what they always do.
        assumed = window if self.is_muxado_py else self._assumed_window
        return StreamState(stream_id, priority, self._window, assumed, window)

    def raise_window(self, stream: StreamState) -> None:
        """Give a foreign peer's stream the credit that ``initial_window`` lacks of ours."""
        if self.is_muxado_py is False and stream.id is not None:
            credit = recv_half.consume(stream, 0)
            if credit:
                self._gates.control.credit(stream, credit)

    def recognized(self, is_muxado_py: bool) -> None:
        """Its first frame came."""
        self.is_muxado_py = self._gates.control.has_extensions = is_muxado_py
        self.speaks_at_hand_off = self._acknowledged or not is_muxado_py
        if not is_muxado_py:
            self.announces_windows = True
            for stream in self._table:
                self.raise_window(stream)
            return
        config = self._config
        self.tuner.largest = config.max_stream_window
        values = {
            Setting.INITIAL_WINDOW: config.stream_window,
            Setting.MAX_STREAMS: config.max_streams,
            Setting.SESSION_WINDOW: min(config.session_window, 2**32 - 1),
        }
        self._gates.control.frame(self._wire.settings(values))
        self._limit = 0
        self.look()
        for stream in self._table:
            recv_half.credit_sent(stream)
            if stream.priority != DEFAULT_PRIORITY:
                self._gates.control.priority(stream)

    def settings(self, values: Mapping[int, int]) -> None:
        """A muxado_py told its :class:`~muxado_py.frames.Setting` values, which it does once."""
        self.knows_settings = True
        self.stream_limit = limit = values.get(Setting.MAX_STREAMS)
        if limit is not None:
            self.most_open = min(self.most_open, limit)
        streams = self._config.max_streams + (ASSUMED_STREAMS if limit is None else limit)
        self._gates.divide(values.get(Setting.SESSION_WINDOW), streams)
        window = min(values.get(Setting.INITIAL_WINDOW, 0), MAX_WINDOW)
        if window > self._window:
            more = window - self._window
            self._window = window
            for stream in self._table:
                starved = stream.send_window <= 0
                send_half.add_credit(stream, more)
                stream.peer_max_window += more
                if starved:
                    self._gates.wake(stream, stream.sendable)

    def _widened(self, stream: StreamState) -> None:
        """The window of ``stream`` has grown, and the credit that says so follows."""
        if self.is_muxado_py and stream.id is not None:
            self._gates.control.frame(self._wire.window(stream.id, stream.max_recv_window))

    # What is thrown away.

    def discard_unread(self, stream: StreamState) -> int:
        """Throw away what the application did not read; how many bytes that were."""
        dropped = recv_half.discard_unread(stream)
        if dropped:
            self.unread -= dropped
            self._table.ended_unread.pop(stream, None)
            self.look()
        return dropped

    def credit_discarded(self, stream: StreamState, nbytes: int) -> None:
        """``nbytes`` of ``stream`` were thrown away; nobody was fast, so no window grows."""
        credit = recv_half.consume(stream, nbytes)
        if credit:
            self._gates.control.credit(stream, credit)

    # Where room is short.

    def look(self) -> bool:
        """Give the session the credit that is due; whether it is pressed for room."""
        window, limit = self._session_window, self._limit
        if limit is None:
            used = self.unread
        else:
            limit = self._credit_session(limit)
            used = self.received + window - limit
        pressed = used > self._pressed_at * (3 if self.pressed else 4) // 4
        if pressed:
            self.due = self.mark = 0  # each read and each frame is looked at
        elif limit is None:
            self.due = UNLIMITED
            self.mark = self.received - self.unread + self._pressed_at
        else:
            self.due = limit - window + max(1, window // CREDIT_FRACTION)
            self.mark = limit - window + self._pressed_at
        if pressed != self.pressed:
            self.pressed = pressed
            if pressed and limit is not None:
                self._give_all()
        return pressed

    def _credit_session(self, limit: int) -> int:
        """Tell a muxado_py how much more this session takes; by little where little is left."""
        window = self._session_window
        more = self.received - self.unread + window - limit
        left = max(0, limit - self.received)
        if more >= max(
            1, min(window // CREDIT_FRACTION, LEAST_FLOOR if self.pressed else window, left // 4)
        ):
            limit = self._limit = limit + more
            self._gates.control.session_credit(limit)
        return limit

    def _give_all(self) -> None:
        """Announce all that was read, for the peer goes by it from now on."""
        for stream in self._table.live.values():
            if stream.owed_credit and stream.owner >= Owner.APPLICATION and not stream.fin_received:
                self.credit_partly(stream, 0)

    def credit_partly(self, stream: StreamState, nbytes: int) -> None:
        """``nbytes`` of ``stream`` were read while room is short."""
        window = stream.max_recv_window
        if window == UNLIMITED:
            recv_half.consume(stream, nbytes)  # there is no credit to give
            return
        if self._limit is None:
            free = self._session_window - self.unread
            window = self._shares.window(window, free, len(self._table.live))
        credit = recv_half.credit_partly(stream, nbytes, window, min(window, LEAST_FLOOR) // 2)
        if credit and self._limit is not None:
            credit = self.tuner.credit(stream, credit)
        if credit:
            self._gates.control.credit(stream, credit)

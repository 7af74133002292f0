"""Tuning: receive windows that grow to what the path and the reader can use.

What it is.  A sender moves at most one window in a round trip, so 256 KiB over 40 ms is 6.5 MB/s
whatever the link.  A :class:`Tuner` doubles the window of a stream when it alone held the stream
back.  Here are the rule, the round trip it needs, and the account of what was promised.

Where data comes from and goes to.  The inbound side says when credit is about to be announced, because
the application read, and when a byte came that the peer could send only after it had read such an
announcement.  The answer is how much to add to the credit; no wire needs a frame for it.

The round trip.  From the announcement to the first byte beyond what was allowed before it is one round
trip, or longer if the peer had not used all of it up yet.  So the least of these times errs upwards
only as far as nobody was held back, and needs no ping (smux has none, Go muxado answers none).

The rule.  Two windows read in less than 3.4 round trips: the window doubles.  (A clock that has not
moved meanwhile tells nothing.)  A peer that is held back takes two round trips for them, and the time
in which the path carries one: three when the window is the bandwidth-delay product, and then it moves
two thirds of what it could, because credit comes by the half.  One that is not held back fills half a
window in what would be measured as a round trip, so that it takes four: a stream of small messages
never grows, at any rate.  Growth ends between one and a half and three times the bandwidth-delay
product.  It is the reading that is timed, over several portions of credit, so a slow reader cannot
pass for a fast one, and a burst that crosses a portion means nothing (libp2p/go-yamux #136 is an epoch
of one portion, with the time it takes to send it).

The traps.  A promise cannot be taken back, so what all streams of a session were given beyond their
first windows is held to a half of ``Config.session_window``; a stream that is over gives its part
back.  And time is read when credit is due, once for half a window: on the way of each frame there is
one comparison of integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import recv_half
from .stream_state import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Config
    from .stream_state import StreamState
    from .stream_table import StreamTable

__all__ = ("Tuner",)

GROW_WINDOWS = 2
GROW_ROUND_TRIPS = 3.4

MIN_ROUND_TRIP = 0.002
"""Seconds: a round trip that is shorter counts as this.  On loopback a window of 256 KiB is read in less than
a millisecond, and then both processes stop for each other whenever one of them has its turn; a window of a few
milliseconds is faster.  And uvloop's clock, which moves in whole milliseconds, measures no round trip there."""


class Tuner:
    """Grows the receive windows of one session.

    :param largest: how large one may become, in bytes.
    :param widened: told of each stream whose window has grown.
    :param clock: the time in seconds; one that stands still makes no window grow.
    """

    __slots__ = ("_clock", "_share", "_table", "_widened", "largest", "round_trip")

    def __init__(
        self,
        table: StreamTable,
        config: Config,
        largest: int,
        widened: Callable[[StreamState], object],
        clock: Callable[[], float],
    ) -> None:
        self._table = table
        self._share = config.session_window // 2
        self._widened = widened
        self._clock = clock
        self.largest = largest
        self.round_trip = float("inf")
        """Seconds: the least time between an announcement and its effect so far."""

    def crossed(self, stream: StreamState) -> None:
        """The peer used credit that was news to it when it was last timed."""
        stream.unseen_credit = 0
        if stream.pace is not None:
            self.round_trip = min(self.round_trip, self._clock() - stream.pace.announced_at)

    def credit(self, stream: StreamState, nbytes: int) -> int:
        """How much credit to announce, where ``nbytes`` of it are due for what was read."""
        if stream.max_recv_window >= self.largest:
            return nbytes
        now = self._clock()
        pace = stream.pace
        if pace is None:
            stream.pace = pace = Pace(now, stream.consumed)
        elif stream.consumed - pace.consumed >= GROW_WINDOWS * stream.max_recv_window:
            if 0 < now - pace.since < GROW_ROUND_TRIPS * max(self.round_trip, MIN_ROUND_TRIP):
                nbytes += self._grow(stream)
            pace.since = now
            pace.consumed = stream.consumed
        if stream.unseen_credit == nbytes:
            pace.announced_at = now  # nothing else is on its way, so its effect can be told
        return nbytes

    def _grow(self, stream: StreamState) -> int:
        """Double the window as far as the bounds allow; by how many bytes."""
        more = min(
            stream.max_recv_window,
            self.largest - stream.max_recv_window,
            self._share - self._table.grown,
        )
        if more > 0:
            recv_half.grow_window(stream, more)
            self._table.grown += more
            self._widened(stream)
        return more

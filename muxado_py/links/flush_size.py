"""FlushSize: how much to hand to a transport at once, by what it takes in a millisecond.

What was handed over cannot be overtaken any more, so little is handed over; but each flush costs a turn of the loop.
The links ask before each flush, and say when the transport had taken it.

The traps.  A stream may have less to give than a flush may have: what is given then, and is not taken at once, is as good
as a full one, or a size that became too great would stay so.  A single flush does not tell.  A kernel with room for it takes it at once, whatever the path carries: a
size that doubled after each of these would be several milliseconds long on a narrow path.  And where the
loop is busy between two flushes, each has to last for that time as well: a path that waits for us
takes small flushes as quickly as it takes long ones.
"""

from __future__ import annotations

__all__ = ("FlushSize",)

FIRST_FLUSH = 16 * 1024
MIN_FLUSH = 4 * 1024
MAX_FLUSH = 256 * 1024
"""Bytes handed to the transport at once: before its rate is known, and at least and at most.  On loopback
a longer flush gains no throughput."""

FLUSH_TIME = 0.001
"""Seconds that a flush takes the transport, about: what waits behind it waits as long."""

SPAN_FLUSHES = 16
"""The size is changed after so many flushes, or after the time that so many should take."""

MAX_GROWTH = 4
"""How many times longer a flush may be than those before the change."""


class FlushSize:
    """How much to hand over at once; see the module essay.

    :param max_flush: bytes, however quick it is.
    """

    __slots__ = ("_busy", "_flushes", "_max", "_since", "now")

    def __init__(self, max_flush: int = MAX_FLUSH) -> None:
        self.now = FIRST_FLUSH
        self._max = max_flush
        self._since: float | None = None  # when the span began
        self._flushes = 0  # in it
        self._busy = 0.0  # seconds in which the transport had not yet taken a flush

    def taken(self, nbytes: int, began: float, ended: float) -> None:
        """The transport was given ``nbytes`` at one time, and had taken them at the other."""
        if nbytes < self.now and ended - began < FLUSH_TIME:  # there was no more to give
            self._since = None
            return
        if self._since is None:
            self._begin(began)
        assert self._since is not None
        self._flushes += 1
        self._busy += ended - began
        seconds = ended - self._since
        if self._flushes == SPAN_FLUSHES or seconds > SPAN_FLUSHES * FLUSH_TIME:
            self._adapt(seconds)
            self._begin(ended)

    def _begin(self, now: float) -> None:
        self._since = now
        self._flushes = 0
        self._busy = 0.0

    def _adapt(self, seconds: float) -> None:
        wanted = FLUSH_TIME * self._flushes + seconds - self._busy
        longer = MAX_GROWTH if wanted >= MAX_GROWTH * self._busy else wanted / self._busy
        self.now = int(max(MIN_FLUSH, min(longer * self.now, self._max)))

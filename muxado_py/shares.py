"""Shares: how one room is divided among streams, so that those that stand still leave some to the others.

What it is.  Three rooms are shared by all streams of a session: what the peer's session takes unread, what
ours holds unread of a peer that knows no such bound, and what waits here to be sent.  The arithmetic is the
same for all, and stands here.

The rule.  A half of the room is *reserved*: it is the sum of the *floors*, one for each stream that may be
open, and whatever the others hold, a stream may hold its floor.  The other half is the pool.  While most of
it is free a stream may hold its whole window; from there on windows shrink, to the floor when the pool is
used up.  So who comes late, or is read, goes on, and who is not read keeps what it has and gets no more.

Where it is from.  Switches with one memory for all ports have had such *dynamic thresholds* for long
(Choudhury and Hahne, 1998): a fixed part for each port wastes the memory when few are busy, and none lets
one port take all of it.

The trap.  The floor follows from how many streams there can be.  It is not made smaller than
:data:`LEAST`, so with very many streams in a small room it is a promise only to as many as fit.
"""

from __future__ import annotations

__all__ = ("ASSUMED_STREAMS", "LEAST", "Shares")

ASSUMED_STREAMS = 1_000
"""How many streams of ours a peer is thought to take, that has not said it: our own default."""

LEAST = 4 * 1024
"""Bytes: the least floor.  A stream that got less for each round trip would hardly move."""


class Shares:
    """The division of one room.

    :param room: its size in bytes.
    :param streams: how many streams may be open at once.
    """

    __slots__ = ("_shrinks", "floor", "reserve", "room")

    def __init__(self, room: int, streams: int) -> None:
        self.room = room
        self.reserve = room // 2
        """What only floors may use."""
        self.floor = max(LEAST, self.reserve // max(1, streams))
        """What each stream may hold in any case."""
        self._shrinks = max(1, (room - self.reserve) // 2)

    @property
    def ease(self) -> int:
        """With at least so much free no window shrinks."""
        return self.reserve + self._shrinks

    def window(self, window: int, free: int) -> int:
        """How much a stream may hold whose window is ``window``, where ``free`` bytes are left."""
        spare = free - self.reserve
        if spare >= self._shrinks or window <= self.floor:
            return window
        return self.floor + (window - self.floor) * max(0, spare) // self._shrinks

    def left(self, window: int, held: int, free: int) -> int:
        """How much more it may take, holding ``held``: what is spare, or what its floor lacks."""
        spare = min(self.window(window, free) - held, free - self.reserve)
        return max(0, min(free, max(spare, self.floor - held)))

"""Shares: how one room is divided among streams, so that those that stand still leave some to the others.

What it is.  Three rooms are shared by all streams of a session: what the peer's session takes unread, what
ours holds unread of a peer that knows no such bound, and what waits here to be sent.  The arithmetic is the
same for all, and stands here.

The rule.  A half of the room is *reserved*: it is the sum of the *floors*, one for each stream that may be
open, and whatever the others hold, a stream may hold its floor.  The other half is the pool.  While half of it
is free a stream may hold its whole window; from there on windows shrink, to the floor when the pool is used up.
What the open streams cost in memory (:data:`STREAM_COST`) counts as used: with many they shrink sooner, and
faster.  So who comes late, or is read, goes on, and who is not read keeps what it has and gets no more.

Where it is from.  Switches with one memory for all ports have had such *dynamic thresholds* for long
(Choudhury and Hahne, 1998): a fixed part for each port wastes the memory when few are busy, and none lets
one port take all of it.

The trap.  The floor follows from how many streams there can be.  It is not made smaller than
:data:`LEAST_FLOOR`, so with very many streams in a small room it is a promise only to as many as fit.
"""

from __future__ import annotations

__all__ = ("ASSUMED_STREAMS", "LEAST_FLOOR", "STREAM_COST", "Shares")

ASSUMED_STREAMS = 1_024
"""How many streams of ours a peer is thought to take, that has not said it: our own default."""

LEAST_FLOOR = 4 * 1024
"""Bytes: the least floor.  A stream that got less for each round trip would hardly move."""

STREAM_COST = 32 * 1024
"""Bytes of memory that an open stream costs besides those that it holds: the tasks and objects of whoever serves
it, and the pieces in its hands."""


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
        self.floor = max(LEAST_FLOOR, self.reserve // max(1, streams))
        """What each stream may hold in any case."""
        self._shrinks = max(1, (room - self.reserve) // 2)

    @property
    def ease(self) -> int:
        """With at least so much free no window shrinks."""
        return self.reserve + self._shrinks * 5 // 4

    def window(self, window: int, free: int, streams: int = 0) -> int:
        """How much a stream may hold whose window is ``window``, where ``free`` bytes are left.

        :param streams: how many are open, and cost memory.
        """
        spare = free - self.reserve
        cost = min(streams * STREAM_COST, self._shrinks * 7 // 8)
        # Never above ``ease``: nobody looks there, and both ends have to see a window shrink.
        shrinks = self._shrinks + cost // 4
        if spare >= shrinks or window <= self.floor:
            return window
        return self.floor + (window - self.floor) * max(0, spare - cost) // (shrinks - cost)

    def left(self, window: int, held: int, free: int, streams: int) -> int:
        """How much more it may take, holding ``held``: what is spare, or what its floor lacks."""
        spare = min(self.window(window, free, streams) - held, free - self.reserve)
        return max(0, min(free, max(spare, self.floor - held)))

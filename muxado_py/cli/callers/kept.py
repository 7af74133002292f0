"""Kept: what callers said and may have to say again, bounded for all of them.

What it is.  Until a caller is answered, the agent that has its request may prove not to have taken it; then the
next one gets the same bytes.  So they are kept, as long as they are few.

The rule.  Each caller is kept up to :data:`~muxado_py.cli.callers.heads.MOST_KEPT`, all together up to :data:`IN_ALL`.  Where
that is too little, the one that has said most is forgotten first: a long upload, which is the least likely to
be given to nobody.  A caller that is forgotten is served as before; it is only not led to a second agent.

The trap.  What no stream was given yet is not a copy but the request itself; it is never forgotten.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ("IN_ALL", "Kept", "Speaker")

IN_ALL = 8 * 1024 * 1024
"""Bytes that all callers of a gateway are kept with: 128 of the longest, 8 KiB for each of 1,000."""


class Speaker(Protocol):
    """Who is kept: a :class:`~muxado_py.cli.callers.caller.Caller`."""

    @property
    def said(self) -> bytes | bytearray:
        """What it said so far."""

    def forget(self) -> None:
        """Nobody will need that again."""


class Kept:
    """The callers of one gateway whose bytes are kept beside the stream that has them.

    :param room: bytes for all of them.
    """

    def __init__(self, room: int = IN_ALL) -> None:
        self._room = room
        self._sizes: dict[Speaker, int] = {}
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes kept now."""
        return self._size

    def keep(self, caller: Speaker) -> None:
        """``caller`` has said more; whoever said most makes room, if need be."""
        size = len(caller.said)
        self._size += size - self._sizes.get(caller, 0)
        self._sizes[caller] = size
        while self._size > self._room:
            max(self._sizes, key=self._sizes.__getitem__).forget()

    def drop(self, caller: Speaker) -> None:
        """``caller`` is kept no longer, or never was."""
        self._size -= self._sizes.pop(caller, 0)

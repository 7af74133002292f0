"""Blocks: memory that a transport fills and that streams read from, again and again.

What it is.  What comes in bulk is not copied out of the buffer that the transport filled: streams keep views of
it until the application reads, and that is the one copy.  Meanwhile the transport fills another block, and
the first is used again when nobody has a view of it any more.

Where data comes from and goes to.  The asyncio link offers ``to_fill`` to its transport and gives the core what
``filled`` returns.

What it buys.  With a copy for each frame, made when it arrived, bulk waited for its reader in thousands of
objects of 64 KiB.  In some processes the allocator gave their pages back and got them again, and the kernel's
zeroing of the pages took much of the reader's time.

The rules.  A stream keeps a view only of what is long (:data:`~muxado_py.protocol.receiving.LONG`): a view of one byte
would keep a block.  And at most :data:`MOST` blocks are lent; then what comes is copied, as it is when little
comes at a time.

The traps.  A block that has views cannot be resized, and that is how they are found out: nothing of ours may
keep one, and the transport still has its own when it says how much it has filled.  And it has to be a view
that it is given: asyncio's TLS fills slices, and a slice of a bytearray is a copy.
"""

from __future__ import annotations

from collections import deque

__all__ = ("Blocks",)

FIRST = 64 * 1024
SIZE = 256 * 1024
"""Bytes of the first block, and of all others: as much as a flush brings.  A connection that was never filled
has just the first.  With smaller ones the loop takes more turns for the same bytes."""

MUCH = 64 * 1024
"""Bytes of one read from which on views are worth while."""

MOST = 16
"""Blocks that may be lent: 4 MiB, with which a reader may be about a millisecond behind on loopback."""

CALM = 64
"""Reads of less than :data:`MUCH`, one after the other, after which lent blocks are forgotten."""


class Blocks:
    """The memory that one connection receives into."""

    __slots__ = ("_block", "_calm", "_lent", "_may_lend")

    def __init__(self) -> None:
        self._block = bytearray(FIRST)  # filled last, or to be filled next
        self._lent: deque[bytearray] = deque()
        self._may_lend = True
        self._calm = 1  # reads of little, one after the other; it begins with none that was much

    def to_fill(self) -> memoryview:
        """A block that nobody has a view of."""
        if not self._calm:
            self._turn()
        return memoryview(self._block)

    def filled(self, nbytes: int) -> bytes | memoryview:
        """The transport has filled so many bytes: themselves, or a view of them."""
        view = memoryview(self._block)[:nbytes]
        if nbytes < MUCH:
            if self._calm < CALM:
                self._calm += 1
            elif self._lent:
                self._lent.clear()
                self._may_lend = True
            return bytes(view)
        self._calm = 0
        return view if self._may_lend else bytes(view)

    def _turn(self) -> None:
        """Much came last: whoever wanted a view of it has one."""
        if not self._may_lend:
            self._may_lend = self._free() is not None
        elif _is_lent(self._block):
            self._lent.append(self._block)
            self._block = self._free() or bytearray(SIZE)
            self._may_lend = len(self._lent) < MOST
        elif len(self._block) < SIZE:
            self._block = bytearray(SIZE)

    def _free(self) -> bytearray | None:
        """A block that was lent and is not any more, the one that was lent first if it is."""
        for _ in range(len(self._lent)):
            block = self._lent.popleft()
            if _is_lent(block):
                self._lent.append(block)
            elif len(block) == SIZE:
                return block
        return None


def _is_lent(block: bytearray) -> bool:
    """Whether somebody has a view of it."""
    try:
        block.append(0)
    except BufferError:
        return True
    block.pop()
    return False

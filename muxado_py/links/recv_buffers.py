"""RecvBuffers: memory that a transport fills and that streams read from, again and again.

What comes in bulk is not copied out of the buffer that the transport filled: streams keep views of it until the
application reads, and that is the one copy.  Meanwhile the transport fills another buffer, and the first is used
again when there is no view of it any more.  With a copy for each frame, made when it arrived, bulk waited for its
reader in thousands of objects, and where the allocator returns their pages, the kernel's zeroing of the next ones
took much of the reader's time.

The rules.  A stream keeps a view only of what is long (:data:`~muxado_py.protocol.recv_half.VIEW_FROM`): a view of one byte
would keep a whole buffer.  And at most :data:`MAX_LENT` buffers are lent; then what comes is copied, as it is when
little comes at a time.

The trap.  That a buffer has views is found out by trying to resize it, see :func:`_is_lent`: nothing of ours may keep
a view longer than it needs, and the transport still has its own while it says how much it has filled.
"""

from __future__ import annotations

from collections import deque

__all__ = ("RecvBuffers",)

FIRST_SIZE = 64 * 1024
SIZE = 256 * 1024
"""Bytes of the first buffer, and of all others: as much as a flush brings.  A connection that was never filled
has just the first.  With smaller ones the loop takes more turns for the same bytes."""

MIN_VIEW = 64 * 1024
"""Bytes of one read from which on views are worth while."""

MAX_LENT = 16
"""Buffers that may be lent: 4 MiB, with which a reader may be about a millisecond behind on loopback."""

FORGET_AFTER = 64
"""Reads of less than :data:`MIN_VIEW`, one after the other, after which lent buffers are forgotten."""


class RecvBuffers:
    """The memory that one connection receives into."""

    __slots__ = ("_buffer", "_lent", "_may_lend", "_small_reads")

    def __init__(self) -> None:
        self._buffer = bytearray(FIRST_SIZE)  # filled last, or to be filled next
        self._lent: deque[bytearray] = deque()
        self._may_lend = True
        self._small_reads = 1  # in a row; not 0, which stands for a large read

    def next_buffer(self) -> memoryview:
        """A buffer without views.

        A view of it, and not the bytearray: asyncio's TLS fills slices, and a slice of a bytearray is a copy.
        """
        if not self._small_reads:
            self._switch()
        return memoryview(self._buffer)

    def filled(self, nbytes: int) -> bytes | memoryview:
        """The transport has filled so many bytes: a copy of them, or a view."""
        view = memoryview(self._buffer)[:nbytes]
        if nbytes < MIN_VIEW:
            if self._small_reads < FORGET_AFTER:
                self._small_reads += 1
            elif self._lent:
                self._lent.clear()
                self._may_lend = True
            return bytes(view)
        self._small_reads = 0
        return view if self._may_lend else bytes(view)

    def _switch(self) -> None:
        """The last read was large: by now every stream that wanted a view of it has one."""
        if not self._may_lend:
            self._may_lend = self._take_back() is not None
        elif _is_lent(self._buffer):
            self._lent.append(self._buffer)
            self._buffer = self._take_back() or bytearray(SIZE)
            self._may_lend = len(self._lent) < MAX_LENT
        elif len(self._buffer) < SIZE:
            self._buffer = bytearray(SIZE)

    def _take_back(self) -> bytearray | None:
        """A buffer that was lent and is not any more, the one that was lent first if it is."""
        for _ in range(len(self._lent)):
            buffer = self._lent.popleft()
            if _is_lent(buffer):
                self._lent.append(buffer)
            elif len(buffer) == SIZE:
                return buffer
        return None


def _is_lent(buffer: bytearray) -> bool:
    """Whether there is a view of it: a bytearray that has one cannot be resized."""
    try:
        buffer.append(0)
    except BufferError:
        return True
    buffer.pop()
    return False

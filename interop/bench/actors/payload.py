"""What is sent, and how the receiver knows that it is right.

Random blocks in turn, beginning at another one in each stream, so that bytes that were lost,
doubled, moved or swapped between streams are found out by comparing.  Both ends of a pair have the
same blocks; ``interop/go/bench/payload.go`` does the same in Go.

The trap.  Comparing must be cheap beside a gigabyte a second: ``startswith`` with a position is a
``memcmp`` without a copy, while comparing memoryviews goes byte by byte.
"""

from __future__ import annotations

from random import Random

__all__ = ("BLOCK", "BLOCKS", "Checker", "piece")

BLOCK = 64 * 1024
"""Bytes of one ``send`` of a bulk transfer."""

_COUNT = 5  # no divisor of a window

_RANDOM = Random(0)
BLOCKS = tuple(_RANDOM.randbytes(BLOCK) for _ in range(_COUNT))
_CYCLE = b"".join((*BLOCKS, BLOCKS[0]))
_LENGTH = _COUNT * BLOCK


def piece(turn: int, size: int) -> bytes:
    """Another small message for each turn."""
    at = turn * size % _LENGTH
    return _CYCLE[at : at + size]


class Checker:
    """Counts the bytes that are right, up to the first that is wrong."""

    def __init__(self) -> None:
        self.right = 0
        self._position = -1

    def feed(self, data: bytes) -> None:
        """Take the next bytes of a stream, the first of which says where in the cycle it begins."""
        if self._position < 0:
            self._position = data[0] * BLOCK
            data = data[1:]
        while len(data) > BLOCK:
            self._take(data[:BLOCK])
            data = data[BLOCK:]
        self._take(data)

    def _take(self, data: bytes) -> None:
        if _CYCLE.startswith(data, self._position):
            self.right += len(data)
            self._position = (self._position + len(data)) % _LENGTH
        else:
            self._position = len(_CYCLE) + 1  # nothing is right after a wrong byte

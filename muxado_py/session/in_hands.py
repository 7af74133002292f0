"""In hands: bytes that were taken from one side and not given to the other, of the whole process.

What it is.  Who copies between two streams, or between a stream and an app server, has a piece in its hands that
no window counts any more.  Pieces are as long as is good for throughput while few copy, and short where a thousand
stand still.

The rule.  Who copies says so for as long as it does, once for each direction, and asks how much to take each time.

The trap.  What was taken before others came is not given back, so the sum is met only when all have moved.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("IN_HANDS", "LEAST_AT_ONCE", "MOST_AT_ONCE", "at_once", "copying_both_ways")

MOST_AT_ONCE = 64 * 1024
LEAST_AT_ONCE = 4 * 1024
IN_HANDS = 2 * 1024 * 1024
"""Bytes that all directions of a process may have in hands; a thousand with 64 KiB each would be sixty times
that."""

_directions = 0


@contextmanager
def copying_both_ways() -> Iterator[None]:
    """Two directions more, until the block ends."""
    global _directions  # one process, one memory
    _directions += 2
    try:
        yield
    finally:
        _directions -= 2


def at_once() -> int:
    """How many bytes one direction may take now."""
    return max(LEAST_AT_ONCE, min(MOST_AT_ONCE, IN_HANDS // max(1, _directions)))

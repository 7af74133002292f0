"""The copy budget: bytes that were taken from one side and not given to the other, of the whole process.

A copy between two streams, or between a stream and an app server, has a piece in its hands that no window counts any
more.  Pieces are as long as is good for throughput while few copies run, and short where a thousand stand still.

The rule.  Each copy counts itself for as long as it runs, once for each direction, and asks how much to take each time.
A piece that was taken before others came is not given back, so the budget is met only when all have moved.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = (
    "COPY_BUDGET",
    "MAX_PIECE",
    "MIN_PIECE",
    "copying_both_ways",
    "count_both_ways",
    "piece_size",
)

MAX_PIECE = 64 * 1024
MIN_PIECE = 4 * 1024
COPY_BUDGET = 2 * 1024 * 1024
"""Bytes that all directions of a process may have in hands; a thousand with 64 KiB each would be sixty times
that."""

_directions = 0
_piece = MAX_PIECE


@contextmanager
def copying_both_ways() -> Iterator[None]:
    """Two directions more, until the block ends."""
    count_both_ways(1)
    try:
        yield
    finally:
        count_both_ways(-1)


def count_both_ways(copies: int) -> None:
    """So many copies more that run in both directions; for those that no block stands for."""
    global _directions, _piece  # one process, one memory
    _directions += 2 * copies
    # Which most callers of min() and max() would pay for.
    if _directions <= COPY_BUDGET // MAX_PIECE:
        _piece = MAX_PIECE
    else:
        _piece = max(MIN_PIECE, COPY_BUDGET // _directions)


def piece_size() -> int:
    """How many bytes one direction may take now."""
    return _piece

"""The memory that a transport fills: lent to streams, and used again when it is nobody's."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxado_py.links.blocks import CALM, FIRST, MOST, MUCH, SIZE, Blocks


def read(blocks: Blocks, data: bytes) -> bytes | memoryview:
    """The transport receives ``data``, and somebody takes what it was given."""
    buffer = blocks.to_fill()
    buffer[: len(data)] = data
    return blocks.filled(len(data))  # the transport still has its view


def block(blocks: Blocks) -> object:
    """What is filled next."""
    return blocks.to_fill().obj


def test_little_is_copied() -> None:
    blocks = Blocks()
    first = block(blocks)
    assert read(blocks, b"hello") == b"hello"
    assert type(read(blocks, bytes(MUCH - 1))) is bytes
    assert block(blocks) is first
    assert len(blocks.to_fill()) == FIRST


def test_who_was_filled_once_is_given_more() -> None:
    blocks = Blocks()
    read(blocks, bytes(FIRST))
    assert len(blocks.to_fill()) == SIZE


def test_a_block_that_nobody_kept_is_used_again() -> None:
    blocks = Blocks()
    read(blocks, bytes(FIRST))
    second = block(blocks)
    for _ in range(10):
        read(blocks, bytes(SIZE))
    assert block(blocks) is second


def test_a_block_is_not_filled_while_somebody_has_a_view_of_it() -> None:
    blocks = Blocks()
    read(blocks, bytes(FIRST))
    kept = read(blocks, b"a" * SIZE)
    part = kept[100:200]
    del kept
    for _ in range(5):
        read(blocks, b"b" * SIZE)
    assert part == b"a" * 100


def test_blocks_come_back_when_their_views_are_gone() -> None:
    blocks = Blocks()
    read(blocks, bytes(FIRST))
    used = set()
    for _ in range(50):
        used.add(id(block(blocks)))
        kept = [read(blocks, bytes(SIZE)) for _ in range(3)]
        del kept
    assert len(used) <= 4


def test_no_more_than_so_many_are_lent() -> None:
    blocks = Blocks()
    read(blocks, bytes(FIRST))
    kept = [read(blocks, random.randbytes(SIZE)) for _ in range(3 * MOST)]
    views = [one for one in kept if type(one) is memoryview]
    assert len(views) == MOST
    assert all(type(one) is bytes for one in kept[MOST:])
    del kept[0], views[0]
    read(blocks, bytes(SIZE))  # finds that one came back
    assert type(read(blocks, bytes(SIZE))) is memoryview


@pytest.mark.parametrize("many", [5, 2 * MOST])
def test_blocks_that_are_lent_are_forgotten_when_little_comes(many: int) -> None:
    blocks = Blocks()
    read(blocks, bytes(FIRST))
    kept = [read(blocks, bytes(SIZE)) for _ in range(many)]
    for _ in range(CALM):
        assert read(blocks, b"x") == b"x"
    assert blocks._lent
    assert read(blocks, b"x") == b"x"
    assert not blocks._lent
    assert type(read(blocks, bytes(SIZE))) is memoryview
    assert len(kept) == many


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 100, MUCH - 1, MUCH, MUCH + 1, SIZE]),
            st.integers(0, 255),
            st.booleans(),
            st.integers(0, 20),
        ),
        max_size=120,
    )
)
def test_what_was_kept_stays_as_it_was(reads: list[tuple[int, int, bool, int]]) -> None:
    blocks = Blocks()
    kept: list[tuple[bytes | memoryview, int, int]] = []
    for size, byte, keep, drop in reads:
        size = min(size, len(blocks.to_fill()))
        taken = read(blocks, bytes([byte]) * size)
        if keep:
            kept.append((taken, size, byte))
        del taken
        del kept[:drop]
        assert len(blocks._lent) <= MOST
    for taken, size, byte in kept:
        assert bytes(taken) == bytes([byte]) * size

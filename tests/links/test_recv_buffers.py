"""The memory that a transport fills: lent to streams, and used again when it is nobody's."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.links.recv_buffers import (
    FIRST_SIZE,
    FORGET_AFTER,
    MAX_LENT,
    MIN_VIEW,
    SIZE,
    RecvBuffers,
)

from ..helpers.pair import held

KIB = 1024
FEW = SIZE + 4 * KIB
"""Bytes that are held when none is lent: the buffer that is filled next."""


def read(buffers: RecvBuffers, data: bytes) -> bytes | memoryview:
    """The transport receives ``data``, and somebody takes what it was given."""
    buffer = buffers.next_buffer()
    buffer[: len(data)] = data
    return buffers.filled(len(data))  # the transport still has its view


def next_of(buffers: RecvBuffers) -> object:
    """What is filled next."""
    return buffers.next_buffer().obj


def test_little_is_copied() -> None:
    buffers = RecvBuffers()
    first = next_of(buffers)
    assert read(buffers, b"hello") == b"hello"
    assert type(read(buffers, bytes(MIN_VIEW - 1))) is bytes
    assert next_of(buffers) is first
    assert len(buffers.next_buffer()) == FIRST_SIZE


def test_who_was_filled_once_is_given_more() -> None:
    buffers = RecvBuffers()
    read(buffers, bytes(FIRST_SIZE))
    assert len(buffers.next_buffer()) == SIZE


def test_a_buffer_that_nobody_kept_is_used_again() -> None:
    buffers = RecvBuffers()
    read(buffers, bytes(FIRST_SIZE))
    second = next_of(buffers)
    for _ in range(10):
        read(buffers, bytes(SIZE))
    assert next_of(buffers) is second


def test_a_buffer_is_not_filled_while_somebody_has_a_view_of_it() -> None:
    buffers = RecvBuffers()
    read(buffers, bytes(FIRST_SIZE))
    kept = read(buffers, b"a" * SIZE)
    part = kept[100:200]
    del kept
    for _ in range(5):
        read(buffers, b"b" * SIZE)
    assert part == b"a" * 100


def test_buffers_come_back_when_their_views_are_gone() -> None:
    buffers = RecvBuffers()
    read(buffers, bytes(FIRST_SIZE))
    used = set()
    for _ in range(50):
        used.add(id(next_of(buffers)))
        kept = [read(buffers, bytes(SIZE)) for _ in range(3)]
        del kept
    assert len(used) <= 4


def test_no_more_than_so_many_are_lent() -> None:
    buffers = RecvBuffers()
    read(buffers, bytes(FIRST_SIZE))
    kept = [read(buffers, random.randbytes(SIZE)) for _ in range(3 * MAX_LENT)]
    views = [one for one in kept if type(one) is memoryview]
    assert len(views) == MAX_LENT
    assert all(type(one) is bytes for one in kept[MAX_LENT:])
    del kept[0], views[0]
    read(buffers, bytes(SIZE))  # finds that one came back
    assert type(read(buffers, bytes(SIZE))) is memoryview


@pytest.mark.parametrize("many", [5, 2 * MAX_LENT])
def test_buffers_that_are_lent_are_forgotten_when_little_comes(many: int) -> None:
    buffers = RecvBuffers()
    read(buffers, bytes(FIRST_SIZE))
    kept = [read(buffers, bytes(SIZE)) for _ in range(many)]
    for _ in range(FORGET_AFTER):
        assert read(buffers, b"x") == b"x"
    assert held(buffers) > FEW
    assert read(buffers, b"x") == b"x"
    assert held(buffers) < FEW
    assert type(read(buffers, bytes(SIZE))) is memoryview
    assert len(kept) == many


@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 100, MIN_VIEW - 1, MIN_VIEW, MIN_VIEW + 1, SIZE]),
            st.integers(0, 255),
            st.booleans(),
            st.integers(0, 20),
        ),
        max_size=120,
    )
)
def test_what_was_kept_stays_as_it_was(reads: list[tuple[int, int, bool, int]]) -> None:
    buffers = RecvBuffers()
    kept: list[tuple[bytes | memoryview, int, int]] = []
    for size, byte, keep, drop in reads:
        size = min(size, len(buffers.next_buffer()))
        taken = read(buffers, bytes([byte]) * size)
        if keep:
            kept.append((taken, size, byte))
        del taken
        del kept[:drop]
        assert held(buffers) < (MAX_LENT + 1) * SIZE + KIB, "one is filled, and so many are lent"
    for taken, size, byte in kept:
        assert bytes(taken) == bytes([byte]) * size

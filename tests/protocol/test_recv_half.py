"""What a stream receives: its bytes in order, and the credit that reading them gives back."""

from __future__ import annotations

import tracemalloc
from itertools import cycle, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.protocol import recv_half, send_half
from muxado_py.protocol.recv_half import VIEW_FROM

from ..helpers.streams import stream

# Bytes.


def test_one_chunk_is_handed_on_as_it_came() -> None:
    state = stream(recv_window=100)
    data = bytes(50)
    recv_half.append(state, data)
    assert state.unread == 50
    assert recv_half.read(state, 50) is data
    assert recv_half.read(state, 50) == b""


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(1, 40) | st.integers(4000, 9000)),
            st.tuples(st.just("read"), st.integers(1, 60) | st.integers(4000, 9000)),
        )
    )
)
def test_what_is_read_is_what_arrived(steps: list[tuple[str, int]]) -> None:
    state = stream(recv_window=0)
    arrived = bytearray()
    got = bytearray()
    for step, nbytes in steps:
        if step == "append":
            data = bytes((len(arrived) + i) % 251 for i in range(nbytes))
            recv_half.append(state, data)
            arrived += data
        else:
            piece = recv_half.read(state, nbytes)
            assert type(piece) is bytes
            assert len(piece) == min(nbytes, len(arrived) - len(got))
            got += piece
        assert state.unread == len(arrived) - len(got)
        assert arrived.startswith(got)


def test_drop_says_how_much_was_lost() -> None:
    state = stream(recv_window=100)
    recv_half.append(state, b"abc")
    recv_half.append(state, b"de")
    assert recv_half.discard_unread(state) == 5
    assert recv_half.discard_unread(state) == 0
    assert recv_half.read(state, 9) == b""


def test_a_flood_of_single_bytes_costs_its_bytes() -> None:
    state = stream(recv_window=0)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100_000):
            recv_half.append(state, b"x")
        assert tracemalloc.get_traced_memory()[0] - before < 200_000
    finally:
        tracemalloc.stop()
    assert state.unread == 100_000


def test_long_pieces_are_handed_on_as_they_came() -> None:
    state = stream(recv_window=0)
    pieces = [bytes([number]) * 10_000 for number in range(3)]
    for piece in pieces:
        recv_half.append(state, piece)
    assert [recv_half.read(state, 10_000) is piece for piece in pieces] == [True, True, True]
    assert state.unread == 0


@pytest.mark.parametrize("lengths", [(4095,), (4096,), (1, 4096), (4095, 1, 5000)])
def test_pieces_of_any_length_cost_little_more_than_their_bytes(lengths: tuple[int, ...]) -> None:
    state = stream(recv_window=0)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for length in islice(cycle(lengths), 1000):
            recv_half.append(state, bytes(length))
        assert tracemalloc.get_traced_memory()[0] - before < 1.2 * state.unread
    finally:
        tracemalloc.stop()


def test_reading_forgives_tiny_frames() -> None:
    state = stream(recv_window=0)
    recv_half.append(state, b"abcdef")
    state.tiny_frames = 6
    recv_half.read(state, 2)
    assert state.tiny_frames == 4
    recv_half.read(state, 9)
    assert state.tiny_frames == 0


# Credit.


def test_credit_comes_in_halves_of_the_window() -> None:
    state = stream(recv_window=10)
    state.recv_window -= 10
    assert recv_half.consume(state, 4) == 0
    assert recv_half.consume(state, 1) == 5
    assert recv_half.consume(state, 4) == 0
    assert recv_half.consume(state, 1) == 5
    assert state.recv_window == 10


def test_a_total_promises_no_more_than_the_credit_did() -> None:
    state = stream(recv_window=10)
    state.recv_window -= 10
    assert recv_half.consume(state, 6) == 6
    assert recv_half.consume(state, 3) == 0
    assert (state.consumed, state.announced) == (9, 6)
    # A peer that was told "6 read, and 10 beyond them" has sent 10 and may send 6.
    assert state.recv_window == 6


def test_a_window_above_the_initial_one_is_owed_from_the_start() -> None:
    state = stream(recv_window=10, max_recv_window=30)
    assert state.recv_window == 10
    assert recv_half.consume(state, 0) == 20
    assert state.recv_window == 30


def test_what_the_peer_learned_by_settings_is_not_owed_twice() -> None:
    state = stream(recv_window=10, max_recv_window=30)
    recv_half.credit_sent(state)
    assert state.recv_window == 30
    assert recv_half.consume(state, 0) == 0


def test_a_sender_that_stands_still_gets_what_is_owed() -> None:
    state = stream(recv_window=10)
    state.recv_window -= 6
    assert recv_half.consume(state, 6) == 6
    state.recv_window -= 4
    assert recv_half.consume(state, 3) == 0, "a byte is unread, so the reader is not done"
    assert recv_half.consume(state, 1) == 4


def test_a_sender_that_stands_still_for_a_slow_reader_gets_no_crumbs() -> None:
    state = stream(recv_window=10)
    state.recv_window -= 10
    assert [recv_half.consume(state, 1) for _ in range(10)] == [0, 0, 0, 0, 5, 0, 0, 0, 0, 5]


def test_a_sender_that_has_room_waits_for_half_a_window() -> None:
    state = stream(recv_window=10)
    for _ in range(4):
        state.recv_window -= 1
        assert recv_half.consume(state, 1) == 0


def test_a_window_that_grew_gives_credit_by_the_quarter() -> None:
    state = stream(recv_window=100)
    state.recv_window -= 60
    assert recv_half.consume(state, 60) == 60
    recv_half.grow_window(state, 100)
    assert (state.max_recv_window, state.recv_window, state.grown) == (200, 200, 100)
    state.recv_window -= 30
    state.unseen_credit = 0  # the rest of what was allowed is in use
    assert recv_half.consume(state, 30) == 0
    state.recv_window -= 20
    assert recv_half.consume(state, 20) == 50


@given(
    initial=st.integers(1, 100),
    more=st.integers(0, 300),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 200)), max_size=60),
)
def test_a_sender_never_overruns_and_never_starves(
    initial: int, more: int, steps: list[tuple[bool, int]]
) -> None:
    size = initial + more
    sender, receiver = (
        stream(send_window=initial),
        stream(recv_window=initial, max_recv_window=size),
    )
    unread = 0
    for send, nbytes in steps:
        if send:
            nbytes = min(nbytes, sender.send_window)
            sender.send_window -= nbytes
            receiver.recv_window -= nbytes
            unread += nbytes
        else:
            nbytes = min(nbytes, unread)
            unread -= nbytes
            assert send_half.add_credit(sender, recv_half.consume(receiver, nbytes))
        assert sender.send_window == receiver.recv_window >= 0
        assert receiver.recv_window + receiver.owed_credit + unread == size
        assert sender.send_window or unread, "nothing to read, and nothing may be sent"


# Views.


@pytest.mark.parametrize(
    "sizes",
    [[VIEW_FROM], [VIEW_FROM, VIEW_FROM], [100, VIEW_FROM, 5, 3 * VIEW_FROM], [VIEW_FROM, 1, 1]],
)
@pytest.mark.parametrize("step", [1_000, VIEW_FROM, 10**6])
def test_views_are_read_as_what_they_show(sizes: list[int], step: int) -> None:
    state = stream()
    whole = bytes(number % 251 for number in range(sum(sizes)))
    at = 0
    for size in sizes:
        recv_half.append(state, memoryview(whole)[at : at + size])
        at += size
    got = b""
    while piece := recv_half.read(state, step):
        assert type(piece) is bytes
        got += piece
    assert got == whole


def test_a_short_view_does_not_keep_what_it_is_of() -> None:
    state = stream()
    buffer = bytearray(VIEW_FROM - 1)
    for size in (VIEW_FROM - 1, 10, 5_000):
        recv_half.append(state, memoryview(buffer)[:size])
    buffer.clear()  # raises if anybody has a view


def test_a_long_view_is_not_copied_before_it_is_read() -> None:
    state = stream()
    buffer = bytearray(VIEW_FROM)
    recv_half.append(state, memoryview(buffer))
    buffer[0] = 7
    assert recv_half.read(state, 1) == b"\x07"
    recv_half.discard_unread(state)
    buffer.clear()

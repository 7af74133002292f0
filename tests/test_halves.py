"""One direction of a stream, and the verdict on the two together."""

from __future__ import annotations

import tracemalloc
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxado_py import Retry, StreamClosedError, StreamResetError
from muxado_py.errors import Failure
from muxado_py.halves import RecvHalf, SendHalf, StreamState
from muxado_py.scheduler import DEFAULT_PRIORITY

FAILURE = Failure(StreamResetError, "the peer reset stream 3", 7, True)


def taken(half: SendHalf, nbytes: int) -> bytes:
    out: list[bytes | memoryview] = []
    half.take(nbytes, out)
    return b"".join(out)


# Sending.


def test_bytes_come_out_in_the_order_they_went_in() -> None:
    half = SendHalf(100)
    half.write(b"abc")
    half.write(b"defg")
    assert half.buffered == 7
    assert taken(half, 2) == b"ab"
    assert taken(half, 3) == b"cde"
    assert taken(half, 2) == b"fg"
    assert half.buffered == 0


def test_whole_writes_are_handed_on_without_a_copy() -> None:
    half = SendHalf(100)
    data = bytes(50)
    half.write(data)
    out: list[bytes | memoryview] = []
    half.take(50, out)
    assert out[0] is data


def test_sendable_is_what_is_here_and_what_the_peer_has_room_for() -> None:
    half = SendHalf(3)
    assert half.sendable == 0
    half.write(b"abcde")
    assert half.sendable == 3
    half.window.take(3)
    assert taken(half, 3) == b"abc"
    assert half.sendable == 0
    half.window.credit(9)
    assert half.sendable == 2


def test_the_fin_is_due_behind_the_last_byte_and_once() -> None:
    half = SendHalf(10)
    half.write(b"a")
    assert not half.due_fin
    half.finishing = True
    assert not half.due_fin
    taken(half, 1)
    assert half.due_fin
    half.finished = True
    assert not half.due_fin


def test_unwrite_takes_back_from_the_end() -> None:
    half = SendHalf(10)
    half.write(b"abc")
    half.write(b"def")
    assert half.unwrite(1) == 1
    assert half.unwrite(3) == 3
    assert half.buffered == 2
    half.write(b"XY")
    assert taken(half, 4) == b"abXY"


def test_unwrite_cannot_take_back_what_was_taken() -> None:
    half = SendHalf(10)
    half.write(b"abcdef")
    assert taken(half, 4) == b"abcd"
    assert half.unwrite(6) == 2
    assert half.buffered == 0
    assert half.unwrite(1) == 0


def test_drop_forgets_what_was_not_sent() -> None:
    half = SendHalf(10)
    half.write(b"abc")
    half.drop()
    assert (half.buffered, half.sendable) == (0, 0)
    half.write(b"d")
    assert taken(half, 1) == b"d"


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.integers(0, 40)),
            st.tuples(st.just("take"), st.integers(0, 60)),
            st.tuples(st.just("unwrite"), st.integers(0, 60)),
        )
    )
)
def test_what_was_taken_is_a_prefix_of_what_was_written(steps: list[tuple[str, int]]) -> None:
    half = SendHalf(0)
    model = bytearray()
    sent = bytearray()
    counter = 0
    for step, nbytes in steps:
        if step == "write":
            data = bytes((counter + i) % 251 for i in range(nbytes))
            counter += nbytes
            half.write(data)
            model += data
        elif step == "take":
            nbytes = min(nbytes, half.buffered)
            piece = taken(half, nbytes)
            assert len(piece) == nbytes
            sent += piece
        else:
            expected = min(nbytes, len(model) - len(sent))
            assert half.unwrite(nbytes) == expected
            if expected:
                del model[-expected:]
        assert half.buffered == len(model) - len(sent)
        assert model.startswith(sent)


# Receiving.


def test_one_chunk_is_handed_on_as_it_came() -> None:
    half = RecvHalf(100, 100)
    data = bytes(50)
    half.append(data)
    assert half.unread == 50
    assert half.read(50) is data
    assert half.read(50) == b""


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(1, 40)),
            st.tuples(st.just("read"), st.integers(1, 60)),
        )
    )
)
def test_what_is_read_is_what_arrived(steps: list[tuple[str, int]]) -> None:
    half = RecvHalf(0, 0)
    arrived = bytearray()
    got = bytearray()
    for step, nbytes in steps:
        if step == "append":
            data = bytes((len(arrived) + i) % 251 for i in range(nbytes))
            half.append(data)
            arrived += data
        else:
            piece = half.read(nbytes)
            assert type(piece) is bytes
            assert len(piece) == min(nbytes, len(arrived) - len(got))
            got += piece
        assert half.unread == len(arrived) - len(got)
        assert arrived.startswith(got)


def test_drop_says_how_much_was_lost() -> None:
    half = RecvHalf(100, 100)
    half.append(b"abc")
    half.append(b"de")
    assert half.drop() == 5
    assert half.drop() == 0
    assert half.read(9) == b""


def test_a_flood_of_single_bytes_costs_its_bytes() -> None:
    half = RecvHalf(0, 0)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100_000):
            half.append(b"x")
        assert tracemalloc.get_traced_memory()[0] - before < 200_000
    finally:
        tracemalloc.stop()
    assert half.unread == 100_000


def test_reading_forgives_tiny_frames() -> None:
    half = RecvHalf(0, 0)
    half.append(b"abcdef")
    half.tiny = 6
    half.read(2)
    assert half.tiny == 4
    half.read(9)
    assert half.tiny == 0


# Both.


def stream(*, stream_id: int | None = 3, local: bool = True) -> StreamState:
    state = StreamState(
        None if local else stream_id, DEFAULT_PRIORITY, SendHalf(10), RecvHalf(10, 10)
    )
    state.id = stream_id
    return state


@pytest.mark.parametrize(
    ("local", "has_id", "answered", "heard", "refused"), list(product([False, True], repeat=5))
)
def test_every_verdict(
    local: bool, has_id: bool, answered: bool, heard: bool, refused: bool
) -> None:
    state = stream(local=local, stream_id=3 if has_id or not local else None)
    state.answered, state.heard = answered, heard
    verdict = state.verdict(refused=refused)
    if verdict is Retry.NEVER_SENT:
        assert local
        assert not has_id
    elif verdict is Retry.REFUSED:
        assert local
        assert refused
        assert not answered
        assert not heard
    elif verdict is Retry.PROCESSED:
        assert local
        assert answered
    else:
        assert not local or not refused or heard
    assert (verdict is Retry.NEVER_SENT) is (local and not has_id)


def test_the_first_failure_stands() -> None:
    state = stream()
    state.send.write(b"abc")
    state.fail(FAILURE, refused=True)
    assert (state.failure, state.retry, state.send.buffered) == (FAILURE, Retry.REFUSED, 0)
    state.send.write(b"abc")
    state.fail(Failure(StreamClosedError, "later", 0, False))
    assert (state.failure, state.retry, state.send.buffered) == (FAILURE, Retry.REFUSED, 0)


def test_each_error_is_a_new_one() -> None:
    state = stream()
    state.fail(FAILURE)
    one, two = state.error(), state.error()
    assert isinstance(one, StreamResetError)
    assert one is not two
    assert str(one) == str(two) == "the peer reset stream 3"


def test_who_opened_it_has_it() -> None:
    assert stream(local=True).handed_off
    assert not stream(local=False).handed_off

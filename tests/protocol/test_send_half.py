"""What a stream sends: its bytes in order, within the peer's credit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from muxado_py.protocol import send_half
from muxado_py.protocol.send_half import MAX_WINDOW
from muxado_py.protocol.stream_state import SendState

from ..helpers.streams import stream

if TYPE_CHECKING:
    from muxado_py.protocol.stream_state import StreamState


def taken(state: StreamState, nbytes: int) -> bytes:
    out: list[bytes | memoryview] = []
    send_half.take(state, nbytes, out)
    return b"".join(out)


# Bytes.


def test_bytes_come_out_in_the_order_they_went_in() -> None:
    state = stream(send_window=100)
    send_half.write(state, b"abc")
    send_half.write(state, b"defg")
    assert state.unsent == 7
    assert taken(state, 2) == b"ab"
    assert taken(state, 3) == b"cde"
    assert taken(state, 2) == b"fg"
    assert state.unsent == 0


def test_whole_writes_are_handed_on_without_a_copy() -> None:
    state = stream(send_window=100)
    data = bytes(50)
    send_half.write(state, data)
    out: list[bytes | memoryview] = []
    send_half.take(state, 50, out)
    assert out[0] is data


def test_sendable_is_what_is_here_and_what_the_peer_has_room_for() -> None:
    state = stream(send_window=3)
    assert state.sendable == 0
    send_half.write(state, b"abcde")
    assert state.sendable == 3
    assert taken(state, 3) == b"abc"
    assert state.sendable == 0
    send_half.add_credit(state, 9)
    assert state.sendable == 2


def test_the_fin_is_due_behind_the_last_byte_and_once() -> None:
    state = stream(send_window=10)
    send_half.write(state, b"a")
    assert not state.fin_is_next
    state.send_state = SendState.FIN_QUEUED
    assert not state.fin_is_next
    taken(state, 1)
    assert state.fin_is_next
    state.send_state = SendState.FIN_SENT
    assert not state.fin_is_next


def test_unwrite_takes_back_from_the_end() -> None:
    state = stream(send_window=10)
    send_half.write(state, b"abc")
    send_half.write(state, b"def")
    assert send_half.unwrite(state, 1) == 1
    assert send_half.unwrite(state, 3) == 3
    assert state.unsent == 2
    send_half.write(state, b"XY")
    assert taken(state, 4) == b"abXY"


def test_unwrite_cannot_take_back_what_was_taken() -> None:
    state = stream(send_window=10)
    send_half.write(state, b"abcdef")
    assert taken(state, 4) == b"abcd"
    assert send_half.unwrite(state, 6) == 2
    assert state.unsent == 0
    assert send_half.unwrite(state, 1) == 0


def test_drop_forgets_what_was_not_sent() -> None:
    state = stream(send_window=10)
    send_half.write(state, b"abc")
    send_half.discard_unsent(state)
    assert (state.unsent, state.sendable) == (0, 0)
    send_half.write(state, b"d")
    assert taken(state, 1) == b"d"


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
    state = stream(send_window=0)
    model = bytearray()
    sent = bytearray()
    counter = 0
    for step, nbytes in steps:
        if step == "write":
            data = bytes((counter + i) % 251 for i in range(nbytes))
            counter += nbytes
            send_half.write(state, data)
            model += data
        elif step == "take":
            nbytes = min(nbytes, state.unsent)
            piece = taken(state, nbytes)
            assert len(piece) == nbytes
            sent += piece
        else:
            expected = min(nbytes, len(model) - len(sent))
            assert send_half.unwrite(state, nbytes) == expected
            if expected:
                del model[-expected:]
        assert state.unsent == len(model) - len(sent)
        assert model.startswith(sent)


# Credit.


def test_a_sender_may_use_what_it_was_given() -> None:
    state = stream(send_window=10)
    send_half.write(state, bytes(12))
    assert taken(state, 10) == bytes(10)
    assert (state.send_window, state.sendable) == (0, 0)
    assert send_half.add_credit(state, 3)
    assert (state.send_window, state.sendable) == (3, 2)


def test_a_sum_of_credits_may_reach_but_not_pass_the_largest_window() -> None:
    state = stream(send_window=1)
    assert send_half.add_credit(state, MAX_WINDOW - 1)
    assert not send_half.add_credit(state, 1)

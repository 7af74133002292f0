"""Credit as integers: what may be sent, what is owed, and when it is given back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from muxado_py.windows import MAX_WINDOW, RecvWindow, SendWindow


def test_a_sender_may_use_what_it_was_given() -> None:
    window = SendWindow(10)
    window.take(10)
    assert window.available == 0
    assert window.credit(3)
    assert window.available == 3


def test_a_sum_of_credits_may_reach_but_not_pass_the_largest_window() -> None:
    window = SendWindow(1)
    assert window.credit(MAX_WINDOW - 1)
    assert not window.credit(1)


def test_the_window_is_exact() -> None:
    window = RecvWindow(10, 10)
    assert window.receive(9, 0)
    assert not window.receive(2, 0)
    assert window.receive(1, 0)
    assert not window.receive(1, 0)
    assert window.receive(0, 0)


def test_an_announced_frame_is_judged_whole() -> None:
    window = RecvWindow(10, 10)
    assert not window.receive(1, 10)
    assert window.receive(1, 9)
    assert window.receive(9, 0)


def test_what_the_peer_had_no_right_to_is_not_counted() -> None:
    window = RecvWindow(10, 10)
    assert not window.receive(11, 0)
    assert window.allowed == 10


def test_credit_comes_in_halves_of_the_window() -> None:
    window = RecvWindow(10, 10)
    assert window.receive(10, 0)
    assert window.consume(4) == 0
    assert window.consume(1) == 5
    assert window.consume(4) == 0
    assert window.consume(1) == 5
    assert window.allowed == 10


def test_a_window_above_the_initial_one_is_owed_from_the_start() -> None:
    window = RecvWindow(10, 30)
    assert window.allowed == 10
    assert window.consume(0) == 20
    assert window.allowed == 30


def test_what_the_peer_learned_by_settings_is_not_owed_twice() -> None:
    window = RecvWindow(10, 30)
    window.told()
    assert window.allowed == 30
    assert window.consume(0) == 0


@settings(deadline=None)
@given(
    initial=st.integers(1, 100),
    more=st.integers(0, 300),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 200)), max_size=60),
)
def test_a_sender_never_overruns_and_never_starves(
    initial: int, more: int, steps: list[tuple[bool, int]]
) -> None:
    size = initial + more
    sender, receiver = SendWindow(initial), RecvWindow(initial, size)
    unread = 0
    for send, nbytes in steps:
        if send:
            nbytes = min(nbytes, sender.available)
            sender.take(nbytes)
            assert receiver.receive(nbytes, 0)
            unread += nbytes
        else:
            nbytes = min(nbytes, unread)
            unread -= nbytes
            assert sender.credit(receiver.consume(nbytes))
        assert sender.available == receiver.allowed >= 0
        assert receiver.allowed + receiver.owed + unread == size
        assert sender.available or unread, "nothing to read, and nothing may be sent"

"""The lane before the default scheduler: nobody notices it but by its speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.scheduler import Lane, Priority, UrgencyScheduler
from muxado_py.scheduler.fast_path import MAX_LANE_KEYS

from .driver import FRAME, KIB, Feed

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .driver import Stream

AMPLE = 64 * FRAME


@pytest.fixture
def feed() -> Feed:
    return Feed(Lane(UrgencyScheduler()))


def flush(
    feed: Feed, budget: int = AMPLE, meanwhile: Callable[[Hashable], object] = lambda name: None
) -> str:
    """What goes in one call, in order."""
    order: list[str] = []

    def send(key: Stream, left: int) -> tuple[int, bool]:
        order.append(str(key.name))
        nbytes = min(FRAME, feed.left[key.name])
        feed.left[key.name] -= nbytes
        feed.sent[key.name] += nbytes
        meanwhile(key.name)
        return nbytes, feed.left.get(key.name, 0) > 0

    feed.scheduler.serve(send, budget)
    return "".join(order)


def test_what_fits_goes_in_the_order_in_which_it_came(feed: Feed) -> None:
    feed.open(*"abc")
    for _ in range(3):
        for name in "bca":
            feed.write(name, 100)
        assert flush(feed) == "bca"
        assert len(feed.scheduler) == 0


def test_what_fits_goes_by_urgency_if_that_differs(feed: Feed) -> None:
    for urgency, name in enumerate("abc"):
        feed.open(name, priority=Priority(7 - urgency))
        feed.write(name, 100)
    assert flush(feed) == "cba"


def test_one_that_was_moved_goes_by_its_urgency(feed: Feed) -> None:
    feed.ready(*"abc")
    feed.move("c", Priority(1))
    assert flush(feed) == "cab"


def test_a_key_with_more_than_a_frame_goes_on_behind_the_others(feed: Feed) -> None:
    feed.open(*"ab")
    feed.write("a", 3 * FRAME)
    feed.write("b", 2 * FRAME)
    assert flush(feed) == "ababa"
    assert feed.sent == {"a": 3 * FRAME, "b": 2 * FRAME}


def test_what_does_not_fit_is_shared_by_weight(feed: Feed) -> None:
    for name, weight in (("a", 16), ("b", 48)):
        feed.open(name, priority=Priority(weight=weight))
        feed.write(name, 100 * FRAME)
    for _ in range(10):
        flush(feed, 4 * FRAME)
    assert feed.sent == {"a": 10 * FRAME, "b": 30 * FRAME}


def test_what_comes_while_others_wait_stands_behind_nobody(feed: Feed) -> None:
    """A small request beside bulk goes first, as without the lane."""
    feed.open(*"abc")
    for name in "abc":
        feed.write(name, 100 * FRAME)
    flush(feed, 3 * FRAME)
    feed.open("small")
    feed.write("small", 10)
    assert flush(feed, 2 * FRAME).startswith("small")


@pytest.mark.parametrize("budget", [1, AMPLE])
def test_what_becomes_ready_in_service_is_not_lost(feed: Feed, budget: int) -> None:
    feed.open("late", "second")
    feed.ready("first")

    def write(name: Hashable) -> None:
        if name == "first":
            feed.write("late", 10)
            feed.write("first", 10)  # send has the last word, and says that there is more

    assert flush(feed, budget, write).startswith("first")
    feed.write("second", 10)
    flush(feed)
    flush(feed)
    assert not any(feed.left.values())
    assert len(feed.scheduler) == 0


def test_who_is_removed_before_its_turn_is_passed_over(feed: Feed) -> None:
    feed.ready(*"abcd")

    def remove(name: Hashable) -> None:
        if name == "a":
            assert len(feed.scheduler) == 3
            feed.remove("c")
            assert len(feed.scheduler) == 2

    assert flush(feed, meanwhile=remove) == "abd"


def test_who_is_removed_in_service_is_gone(feed: Feed) -> None:
    feed.ready(*"ab")
    feed.left["a"] = 10 * FRAME
    assert flush(feed, meanwhile=lambda name: feed.remove(name)) == "ab"
    feed.scheduler.mark_ready(feed.keys["a"], 10)
    assert len(feed.scheduler) == 0


def test_who_was_handed_over_keeps_its_debt(feed: Feed) -> None:
    feed.open("busy")
    feed.open("light", priority=Priority(weight=1))
    feed.write("busy", 1000 * FRAME)
    feed.write("light", FRAME)
    assert flush(feed, 3 * FRAME) == "busylightbusy"
    feed.write("light", FRAME)
    order = flush(feed, 16 * FRAME)
    assert order == "busy" * 14 + "light" + "busy"


@pytest.mark.parametrize("count", [MAX_LANE_KEYS, MAX_LANE_KEYS + 1, 10 * MAX_LANE_KEYS])
def test_the_lane_is_never_long(count: int) -> None:
    behind = UrgencyScheduler()
    feed = Feed(Lane(behind))
    feed.ready(*range(count))
    assert len(feed.scheduler) - len(behind) <= MAX_LANE_KEYS
    assert len(feed.scheduler) == count
    flush(feed, count * FRAME)
    assert len(feed.scheduler) == 0


def test_what_a_key_had_is_forgotten_with_it() -> None:
    behind = UrgencyScheduler()
    feed = Feed(Lane(behind))
    feed.open("gone", "next")
    feed.write("gone", 2 * AMPLE)
    feed.move("gone", Priority(0))
    feed.remove("gone")
    feed.write("next", 100)
    assert flush(feed) == "next"
    assert feed.keys["next"].place is None  # the scheduler behind has never heard of it


@pytest.mark.slow
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 4 * FRAME)), max_size=8),
        max_size=20,
    ),
    st.sampled_from([1, 4 * KIB, 2 * FRAME, AMPLE]),
)
def test_nobody_gains_or_loses_by_it(writes: list[list[tuple[str, int]]], budget: int) -> None:
    """What waited in the flush before is served no later than without the lane; all of it goes."""
    laned, plain = Feed(Lane(UrgencyScheduler())), Feed(UrgencyScheduler())
    for one in (laned, plain):
        one.open(*"abcd")
    for some in writes:
        for one in (laned, plain):
            for name, nbytes in some:
                one.write(name, nbytes)
            flush(one, budget)
        assert sum(laned.left.values()) == pytest.approx(sum(plain.left.values()), abs=4 * FRAME)
    for one in (laned, plain):
        for _ in range(1_000):
            flush(one, AMPLE)
    assert not any(laned.left.values())
    assert laned.sent == plain.sent

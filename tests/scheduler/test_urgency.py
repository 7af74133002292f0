"""The default scheduler: strict by urgency with a guard, by weight inside one."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from muxado_py.scheduler import Priority, UrgencyScheduler

from .driver import FRAME, KIB, Feed, Stream, jain

if TYPE_CHECKING:
    from collections.abc import Hashable

GUARD = 15
DOUBLING = tuple(2**power for power in range(8))
ENDLESS = 2**40


@pytest.fixture
def feed() -> Feed:
    return Feed(UrgencyScheduler())


def weighted(weight: int) -> Priority:
    return Priority(weight=weight)


# Order tables: KiB to send by key, written in this order before the first pick; then every frame.


@pytest.mark.parametrize(
    ("load", "want"),
    [
        pytest.param({"a": (3, 16, 64)}, "aaaa", id="alone"),
        pytest.param({"a": (3, 16, 16), "b": (3, 16, 48), "c": (3, 16, 32)}, "abcbcb", id="equal"),
        pytest.param({"a": (3, 16, 16), "b": (2, 16, 32), "c": (0, 1, 16)}, "cbba", id="urgency"),
        pytest.param(
            {"a": (3, 16, 64), "b": (3, 32, 64), "c": (3, 64, 64)},
            # Frame by frame in turn, until each has used up its allowance of the round.
            "abcbcccabbaa",
            id="weight",
        ),
        pytest.param({"a": (3, 64, 96), "b": (3, 64, 64)}, "ababababaa", id="heavy"),
        # Due in the rounds 16, 8 and 4, and that far apart from then on; empty rounds are skipped.
        pytest.param({"a": (3, 1, 48), "b": (3, 2, 48), "c": (3, 4, 48)}, "abccbcaba", id="light"),
        pytest.param({"a": (3, 8, 48), "b": (3, 16, 96)}, "abbabbabb", id="half-weight"),
        pytest.param(
            {"a": (0, 16, 16 * 33), "b": (5, 16, 16), "c": (6, 16, 16)},
            "a" * GUARD + "b" + "a" * GUARD + "c" + "aaa",
            id="guard",
        ),
        pytest.param(
            {"a": (0, 16, 16 * 33), "b": (5, 16, 32)},
            "a" * GUARD + "b" + "a" * GUARD + "b" + "aaa",
            id="guard-with-one-below",
        ),
        pytest.param({"a": (3, 1, 0), "b": (3, 1, 0), "c": (2, 1, 0)}, "cab", id="bare-frames"),
    ],
)
def test_order(feed: Feed, load: dict[str, tuple[int, int, int]], want: str) -> None:
    for key, (urgency, weight, kib) in load.items():
        feed.open(key, priority=Priority(urgency, weight))
        feed.write(key, kib * KIB)
    assert feed.drain() == want


# Shares inside an urgency.


@pytest.mark.parametrize(("frame", "rounds"), [(FRAME, 400), (3 * KIB, 100), (100, 30)])
def test_bytes_are_shared_by_weight(feed: Feed, frame: int, rounds: int) -> None:
    for weight in DOUBLING:
        feed.open(weight, priority=weighted(weight))
        feed.write(weight, ENDLESS)
    feed.picks(rounds * sum(DOUBLING) * KIB // frame, frame)
    assert jain(feed.sent[weight] / weight for weight in DOUBLING) >= 0.99


@pytest.mark.slow
def test_bytes_are_shared_by_weight_whatever_the_sizes_of_frames(feed: Feed) -> None:
    rng = random.Random(5)

    def send(key: Stream, left: int) -> tuple[int, bool]:
        # Heavy keys send small frames, light keys large ones.
        nbytes = rng.randint(64, FRAME // key.priority.weight + 64)
        feed.sent[key.name] += nbytes
        return nbytes, True

    for weight in DOUBLING:
        feed.open(weight, priority=weighted(weight))
        feed.write(weight, ENDLESS)
    feed.scheduler.serve(send, 200_000 * KIB)
    assert jain(feed.sent[weight] / weight for weight in DOUBLING) >= 0.99


@pytest.mark.parametrize("burst", [FRAME, 5 * KIB, 100])
def test_to_drain_and_refill_wins_and_loses_nothing(feed: Feed, burst: int) -> None:
    """Two keys of each weight: one always has more to send, one runs dry with every frame."""
    keys = [(weight, dry) for weight in (1, 8, 64) for dry in (False, True)]
    for weight, dry in keys:
        feed.open((weight, dry), priority=weighted(weight))
        feed.write((weight, dry), burst if dry else ENDLESS)
    for _ in range(200_000 * KIB // FRAME):
        key = feed.pick(burst)
        if feed.left[key] == 0:
            feed.write(key, burst)
    assert jain(feed.sent[weight, dry] / weight for weight, dry in keys) >= 0.99


def test_a_debt_outlives_the_key_that_runs_dry(feed: Feed) -> None:
    feed.open("busy")
    feed.open("light", priority=weighted(1))
    feed.write("busy", ENDLESS)
    feed.write("light", FRAME)
    assert feed.picks(3) == ["busy", "light", "busy"]
    feed.write("light", FRAME)
    # A frame of 16 KiB at 1 KiB a round: due in the round 16 after that of the first frames, of
    # which one has passed.
    assert feed.picks(16) == ["busy"] * 14 + ["light", "busy"]


def test_a_debt_is_paid_by_the_rounds_that_pass_meanwhile(feed: Feed) -> None:
    feed.open("busy")
    feed.open("light", priority=weighted(1))
    feed.write("busy", ENDLESS)
    feed.write("light", FRAME)
    feed.picks(2 + 20)
    feed.write("light", FRAME)
    assert feed.pick() == "light"


def test_a_frame_longer_than_the_quantum_is_paid_for(feed: Feed) -> None:
    feed.open("a")
    feed.write("a", ENDLESS)
    assert feed.pick(4 * FRAME) == "a"
    feed.open("b")
    feed.write("b", ENDLESS)
    assert feed.picks(7) == ["b", "b", "b", "b", "a", "b", "a"]


# New keys.


def test_a_small_request_goes_before_a_round_of_bulk(feed: Feed) -> None:
    for number in range(100):
        feed.open(number)
        feed.write(number, ENDLESS)
    feed.open("request")
    feed.picks(150)
    for _ in range(10):
        feed.write("request", 100)
        assert feed.pick() == "request"
        feed.picks(7)


def test_a_key_that_comes_back_goes_ahead_for_one_frame(feed: Feed) -> None:
    for key in "abc":
        feed.open(key)
        feed.write(key, ENDLESS)
    feed.open("heavy", priority=weighted(256))
    feed.picks(4)
    feed.write("heavy", ENDLESS)
    assert feed.picks(5) == ["heavy", "b", "c", "heavy", "heavy"]


def test_new_keys_do_not_keep_old_ones_out(feed: Feed) -> None:
    """A thousand keys that answer each frame with a new one, beside one bulk transfer."""
    feed.open("bulk")
    feed.write("bulk", ENDLESS)
    for number in range(1_000):
        feed.open(number)
        feed.write(number, 64)
    at = []
    for index in range(5_000):
        key = feed.pick()
        if key == "bulk":
            at.append(index)
        else:
            feed.write(key, 64)
    assert max(after - before for before, after in pairwise(at)) == 16


def test_allowance_is_not_saved_up_while_waiting_among_new_keys(feed: Feed) -> None:
    feed.open("bulk")
    feed.write("bulk", ENDLESS)
    feed.pick()
    for number in range(2_000):
        feed.open(number)
        feed.write(number, 64)
    feed.open("late")
    feed.write("late", ENDLESS)
    order = feed.picks(2_500)
    assert order.count("bulk") > 100
    tail = order[order.index("late") :]
    assert max(tail[i : i + 4].count("late") for i in range(300)) <= 3


# Between urgencies.


def test_the_waiting_levels_share_a_sixteenth(feed: Feed) -> None:
    for urgency in range(4):
        feed.open(urgency, priority=Priority(urgency))
        feed.write(urgency, ENDLESS)
    feed.picks(16 * 300)
    assert feed.sent == {0: 4500 * FRAME, 1: 100 * FRAME, 2: 100 * FRAME, 3: 100 * FRAME}


@pytest.mark.slow
@pytest.mark.parametrize("size", [100, 3000, 4 * FRAME])
def test_a_sixteenth_is_counted_in_bytes(feed: Feed, size: int) -> None:
    """The level below sends frames that are short, or long."""
    for urgency in range(2):
        feed.open(urgency, priority=Priority(urgency))
        feed.write(urgency, ENDLESS)

    def send(key: Stream, left: int) -> tuple[int, bool]:
        nbytes = FRAME if key.name == 0 else size
        feed.sent[key.name] += nbytes
        return nbytes, True

    feed.scheduler.serve(send, 50_000 * FRAME)
    below, total = feed.sent[1], sum(feed.sent.values())
    assert below / total == pytest.approx(1 / 16, rel=0.01)


def test_no_guard_while_nobody_waits(feed: Feed) -> None:
    feed.open("urgent", priority=Priority(0))
    feed.open("bulk", priority=Priority(7))
    feed.write("urgent", ENDLESS)
    feed.picks(100)
    feed.write("bulk", ENDLESS)
    assert feed.picks(GUARD + 1) == ["urgent"] * GUARD + ["bulk"]


def test_an_urgent_key_waits_for_one_frame_at_most(feed: Feed) -> None:
    for number in range(10):
        feed.open(number, priority=Priority(3, 256))
        feed.write(number, ENDLESS)
    feed.open("urgent", priority=Priority(0))
    for _ in range(200):
        feed.picks(3)
        feed.write("urgent", FRAME)
        assert "urgent" in feed.picks(2)


@pytest.mark.parametrize("size", [0, 100, FRAME])
def test_frames_of_keys_that_are_removed_in_service_count_for_the_guard(
    feed: Feed, size: int
) -> None:
    feed.open("bulk", priority=Priority(7))
    feed.write("bulk", FRAME)
    most = GUARD * FRAME // max(size, 64) + 1
    for number in range(most + 1):
        feed.open(number, priority=Priority(0))
        feed.write(number, size)
        if feed.pick(meanwhile=lambda name: feed.remove(name)) == "bulk":
            assert number == most - (GUARD * FRAME % max(size, 64) == 0)
            break
    else:
        pytest.fail("urgent streams of one frame keep the others out")


# Changes of priority.


def test_a_new_urgency_takes_effect_at_the_next_pick(feed: Feed) -> None:
    for key in "abc":
        feed.open(key)
        feed.write(key, ENDLESS)
    feed.picks(2)
    feed.move("a", Priority(1))
    assert feed.picks(3) == ["a", "a", "a"]
    feed.move("a", Priority(7))
    feed.move("b", Priority(4))
    assert feed.picks(2) == ["c", "c"]
    feed.move("c", Priority(4))
    assert sorted(map(str, feed.picks(4))) == ["b", "b", "c", "c"]


def test_a_new_urgency_of_an_idle_key_is_remembered(feed: Feed) -> None:
    for key in "ab":
        feed.open(key)
    feed.move("b", Priority(2))
    feed.write("a", FRAME)
    feed.write("b", FRAME)
    assert feed.drain() == "ba"


def test_a_new_urgency_of_the_key_in_service_holds_when_it_is_served(feed: Feed) -> None:
    for key in "ab":
        feed.open(key)
        feed.write(key, ENDLESS)
    assert feed.pick(meanwhile=lambda name: feed.move(name, Priority(5))) == "a"
    assert len(feed.scheduler) == 2
    assert feed.picks(GUARD + 1) == ["b"] * GUARD + ["a"]
    feed.remove("b")
    assert feed.picks(2) == ["a", "a"]


def test_a_new_weight_holds_from_the_next_round(feed: Feed) -> None:
    for key in "ab":
        feed.open(key)
        feed.write(key, ENDLESS)
    feed.picks(10)
    before = feed.sent.copy()
    feed.move("b", weighted(64))
    feed.picks(500)
    gained: dict[Hashable, int] = {key: feed.sent[key] - before[key] for key in "ab"}
    assert gained["b"] / gained["a"] == pytest.approx(4, rel=0.02)


def test_a_heavier_weight_shortens_a_debt(feed: Feed) -> None:
    feed.open("busy")
    feed.open("light", priority=weighted(1))
    for key in ("busy", "light"):
        feed.write(key, ENDLESS)
    assert feed.picks(2) == ["busy", "light"]
    feed.move("light", weighted(16))
    assert feed.picks(4) == ["busy", "light", "busy", "light"]


def test_a_debt_follows_the_key_to_another_urgency(feed: Feed) -> None:
    feed.open("busy")
    feed.open("light", priority=Priority(1, 1))
    feed.write("busy", ENDLESS)
    feed.write("light", ENDLESS)
    assert feed.pick() == "light"
    feed.move("light", weighted(1))
    assert feed.picks(17) == ["busy"] * 16 + ["light"]


def test_a_weight_that_changes_with_every_pick_does_not_cost_the_turn(feed: Feed) -> None:
    for key in "abc":
        feed.open(key)
        feed.write(key, ENDLESS)
    order = []
    for index in range(30):
        feed.move("b", weighted(16 + index % 2))
        order.append(feed.pick())
    assert order.count("b") == 10


def test_keys_that_were_moved_or_removed_leave_no_trace_in_the_order(feed: Feed) -> None:
    for key in "abcdef":
        feed.open(key)
        feed.write(key, 2 * FRAME)
    feed.picks(2)
    for _ in range(100):
        for urgency in (0, 7, 3):
            feed.move("c", Priority(urgency))
    feed.remove("d")
    assert feed.drain() == "efcabefc"


def test_a_round_whose_keys_all_left_is_skipped() -> None:
    for moves in range(150):
        feed = Feed(UrgencyScheduler())
        for key, weight in (("a", 1), ("b", 2)):
            feed.open(key, priority=weighted(weight))
            feed.write(key, ENDLESS)
        assert feed.picks(2) == ["a", "b"]
        for _ in range(moves):
            for urgency in (2, 3):
                feed.move("b", Priority(urgency, 2))
        feed.remove("b")
        assert feed.pick() == "a"


def test_an_urgent_level_left_by_its_last_key_is_empty(feed: Feed) -> None:
    feed.open("a", priority=Priority(0))
    feed.open("b")
    feed.write("a", FRAME)
    feed.write("b", FRAME)
    feed.move("a", Priority(6))
    assert feed.drain() == "ba"

"""What every scheduler must do, whatever its order: the contract of ``scheduler/contract.py``."""

from __future__ import annotations

import random
import tracemalloc
import weakref
from typing import TYPE_CHECKING

import pytest

from muxado_py.scheduler import SCHEDULERS, Priority, Scheduler, make_scheduler

from .driver import FRAME, Feed, Stream, serve_one

if TYPE_CHECKING:
    from collections.abc import Hashable


@pytest.fixture(params=SCHEDULERS)
def feed(request: pytest.FixtureRequest) -> Feed:
    return Feed(make_scheduler(request.param))


def test_nothing_is_ready_at_first(feed: Feed) -> None:
    assert len(feed.scheduler) == 0
    assert feed.pick() is None


def test_a_key_that_nobody_knows_can_be_moved_and_removed(feed: Feed) -> None:
    feed.open("a", "b")
    feed.move("a", Priority(0))
    feed.remove("b")
    assert len(feed.scheduler) == 0
    assert feed.pick() is None


def test_a_removed_key_is_ignored_for_good(feed: Feed) -> None:
    feed.ready("a", "b")
    feed.remove("a")
    feed.scheduler.remove(feed.keys["a"])
    feed.scheduler.mark_ready(feed.keys["a"], FRAME)
    feed.move("a", Priority(0))
    feed.scheduler.mark_ready(feed.keys["a"], FRAME)
    assert len(feed.scheduler) == 1
    assert feed.drain() == "b"


def test_a_bare_syn_is_ready_with_no_bytes(feed: Feed) -> None:
    feed.open("a")
    feed.write("a", 0)
    assert feed.pick() == "a"


def test_len_counts_ready_keys_without_the_one_in_service(feed: Feed) -> None:
    counts = []

    def count(name: Hashable) -> None:
        counts.append(len(feed.scheduler))
        feed.write(name, FRAME)
        counts.append(len(feed.scheduler))

    feed.ready("a", "b")
    feed.write("a", FRAME)
    assert len(feed.scheduler) == 2
    feed.pick(meanwhile=count)
    assert counts == [1, 1]
    assert len(feed.scheduler) == 2
    feed.pick(more=False)
    assert len(feed.scheduler) == 1


@pytest.mark.parametrize("nbytes", [0, FRAME])
def test_send_has_the_last_word_on_what_is_ready(feed: Feed, nbytes: int) -> None:
    feed.ready("a")
    feed.pick(nbytes, meanwhile=lambda _: feed.write("a", FRAME), more=False)
    assert feed.pick() is None
    feed.write("a", FRAME)
    assert feed.pick() == "a"


def test_a_key_that_can_send_more_than_announced_stays_ready(feed: Feed) -> None:
    feed.ready("a", "b")
    assert [feed.pick(more=True) for _ in range(4)] == ["a", "b", "a", "b"]


def test_a_key_removed_in_a_queue_is_skipped(feed: Feed) -> None:
    feed.ready("a", "b", "c")
    feed.remove("b")
    assert len(feed.scheduler) == 2
    assert feed.drain() == "ac"


@pytest.mark.parametrize("more", [False, True])
def test_a_key_removed_in_service_is_gone(feed: Feed, more: bool) -> None:
    feed.ready("a", "b")
    assert feed.pick(meanwhile=feed.remove, more=more) == "a"
    assert len(feed.scheduler) == 1
    assert feed.pick() == "b"
    assert feed.pick() is None


def test_another_key_removed_in_service_is_gone(feed: Feed) -> None:
    feed.ready("a", "b", "c")
    assert feed.pick(meanwhile=lambda _: feed.remove("b")) == "a"
    assert feed.drain() == "c"


def test_a_key_that_comes_in_service_is_served_after_it(feed: Feed) -> None:
    feed.ready("a")
    assert feed.pick(meanwhile=lambda _: feed.ready("b")) == "a"
    assert feed.drain() == "b"


@pytest.mark.parametrize(
    ("budget", "frames"), [(1, 1), (FRAME, 1), (FRAME + 1, 2), (10 * FRAME, 3)]
)
def test_frames_go_until_the_budget_is_used_up(feed: Feed, budget: int, frames: int) -> None:
    lefts = []

    def send(key: Stream, left: int) -> tuple[int, bool]:
        lefts.append(left)
        return FRAME, False

    feed.ready("a", "b", "c")
    feed.scheduler.serve(send, budget)
    assert lefts == [budget - number * FRAME for number in range(frames)]
    assert len(feed.scheduler) == 3 - frames


def test_a_budget_of_nothing_sends_nothing(feed: Feed) -> None:
    feed.ready("a")
    feed.scheduler.serve(lambda key, left: pytest.fail("something was sent"), 0)
    assert feed.drain() == "a"


def test_empty_frames_use_up_a_budget_too(feed: Feed) -> None:
    frames = []

    def send(key: Stream, left: int) -> tuple[int, bool]:
        frames.append(key)
        return 0, True

    feed.ready("a", "b")
    feed.scheduler.serve(send, 640)
    assert len(frames) == 10


def test_keys_come_back_after_running_dry(feed: Feed) -> None:
    feed.open(*"abc")
    for _ in range(50):
        for key in "abc":
            feed.write(key, FRAME)
        assert sorted(feed.drain()) == ["a", "b", "c"]


# A level of three keys gives weight 1 one frame in 16 rounds of 17 frames of the others, and the
# guard gives each of seven waiting levels one frame in 16 * 7.
@pytest.mark.parametrize("frame", [pytest.param(FRAME, id="full"), pytest.param(700, id="short")])
def test_every_ready_key_is_served_in_a_bounded_number_of_frames(feed: Feed, frame: int) -> None:
    bound = 16 * 7 * (16 * 17 + 1) * FRAME // frame
    for urgency in range(8):
        for weight in (1, 16, 256):
            feed.open((urgency, weight), priority=Priority(urgency, weight))
            feed.write((urgency, weight), frame)
    waiting = set(feed.left)
    for _ in range(bound):
        waiting.discard(feed.pick(frame, meanwhile=lambda name: feed.write(name, frame)))
        if not waiting:
            break
    assert not waiting


def test_a_key_that_sends_empty_frames_for_ever_does_not_keep_others_out(feed: Feed) -> None:
    feed.open("empty", priority=Priority(0))
    feed.open("full", priority=Priority(7))
    feed.write("empty", FRAME)
    feed.write("full", FRAME)
    for _ in range(20_000):
        if feed.pick(0, more=True) == "full":
            break
    else:
        pytest.fail("20,000 empty frames went before one that had bytes")


@pytest.mark.parametrize("leave", ["removed", "dry and removed", "moved"])
def test_keys_that_leave_while_nobody_is_served_are_let_go(feed: Feed, leave: str) -> None:
    """A peer that opens and resets streams while the transport is stuck costs no memory."""
    scheduler = feed.scheduler

    def churn(count: int) -> list[weakref.ref[Stream]]:
        refs: list[weakref.ref[Stream]] = []
        for number in range(count):
            pair = Stream(priority=Priority(number % 8)), Stream(priority=Priority(number % 8))
            refs += map(weakref.ref, pair)
            for key in pair * 3:
                scheduler.mark_ready(key, 1)
            if leave == "moved":
                for urgency in range(8):
                    pair[0].priority = Priority(urgency)
                    scheduler.moved(pair[0])
            for key in pair:
                scheduler.remove(key)
            if leave == "dry and removed":
                served = serve_one(scheduler, lambda _: (FRAME, False))
                assert served is not None
                scheduler.mark_ready(served, 1)
        return refs

    feed.ready("first")
    churn(200)
    tracemalloc.start()
    try:
        refs = churn(2_500)
        dead = sum(ref() is None for ref in refs)
        del refs
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert dead == 5_000
    assert grown < 100_000
    assert feed.pick() == "first"


def played(name: str, seed: int) -> list[Hashable]:
    """The order that a random sequence of calls gives, with new keys each time."""
    rng = random.Random(seed)
    scheduler: Scheduler = make_scheduler(name)
    keys = [Stream(number, Priority(rng.randrange(8), rng.randint(1, 256))) for number in range(40)]
    order: list[Hashable] = []
    for _ in range(3_000):
        index = rng.randrange(40)
        key = keys[index]
        scheduler.mark_ready(key, rng.randrange(FRAME))
        if rng.random() < 0.1:
            key.priority = Priority(rng.randrange(8), rng.randint(1, 256))
            scheduler.moved(key)
        if rng.random() < 0.05:
            scheduler.remove(key)
            keys[index] = Stream(key.name)
        sent = rng.randrange(FRAME), rng.random() < 0.7
        served = serve_one(scheduler, lambda _, sent=sent: sent)  # type: ignore[misc]
        order.append(served and served.name)
    return order


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_same_calls_give_the_same_order(name: str) -> None:
    first = played(name, 1)
    # Keeps the memory of the second run elsewhere, so that the keys' hashes differ.
    others = [Stream() for _ in range(1_000)]
    assert played(name, 1) == first
    assert len(others) == 1_000

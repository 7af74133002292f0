"""What every scheduler must do, whatever its order: the contract of ``scheduler/contract.py``."""

from __future__ import annotations

import random
import tracemalloc
import weakref
from typing import TYPE_CHECKING

import pytest

from muxado_py.scheduler import (
    DEFAULT_PRIORITY,
    SCHEDULERS,
    Priority,
    Scheduler,
    make_scheduler,
)

from .driver import FRAME, Feed

if TYPE_CHECKING:
    from collections.abc import Hashable


class Key:
    """A key as the core's: equal to itself only, hashed by its place in memory."""

    def __init__(self, name: int = 0) -> None:
        self.name = name


@pytest.fixture(params=SCHEDULERS)
def scheduler(request: pytest.FixtureRequest) -> Scheduler:
    return make_scheduler(request.param)


def ready(scheduler: Scheduler, *keys: Hashable) -> None:
    for key in keys:
        scheduler.add(key, DEFAULT_PRIORITY)
        scheduler.mark_ready(key, FRAME)


def test_a_new_key_is_not_ready(scheduler: Scheduler) -> None:
    scheduler.add("a", DEFAULT_PRIORITY)
    assert len(scheduler) == 0
    assert scheduler.pop() is None


def test_a_key_is_added_once(scheduler: Scheduler) -> None:
    scheduler.add("a", DEFAULT_PRIORITY)
    with pytest.raises(ValueError, match="'a' is in the scheduler already"):
        scheduler.add("a", Priority(0))


def test_unknown_keys_are_ignored(scheduler: Scheduler) -> None:
    scheduler.remove("a")
    scheduler.set_priority("a", Priority(0))
    scheduler.mark_ready("a", FRAME)
    scheduler.served("a", FRAME, True)
    assert len(scheduler) == 0
    assert scheduler.pop() is None


def test_a_bare_syn_is_ready_with_no_bytes(scheduler: Scheduler) -> None:
    scheduler.add("a", DEFAULT_PRIORITY)
    scheduler.mark_ready("a", 0)
    assert scheduler.pop() == "a"


def test_len_counts_ready_keys_without_the_one_in_service(scheduler: Scheduler) -> None:
    ready(scheduler, "a", "b")
    scheduler.mark_ready("a", FRAME)
    assert len(scheduler) == 2
    key = scheduler.pop()
    assert len(scheduler) == 1
    scheduler.mark_ready(key, FRAME)
    assert len(scheduler) == 1
    scheduler.served(key, FRAME, True)
    assert len(scheduler) == 2
    key = scheduler.pop()
    scheduler.served(key, FRAME, False)
    assert len(scheduler) == 1


def test_a_key_in_service_is_served_before_the_next_pop(scheduler: Scheduler) -> None:
    ready(scheduler, "a", "b")
    key = scheduler.pop()
    with pytest.raises(RuntimeError, match=f"key {key!r} was popped and not served yet"):
        scheduler.pop()
    scheduler.served(key, FRAME, True)
    assert scheduler.pop() in ("a", "b")


@pytest.mark.parametrize("nbytes", [0, FRAME])
def test_served_has_the_last_word_on_what_is_ready(scheduler: Scheduler, nbytes: int) -> None:
    ready(scheduler, "a")
    scheduler.pop()
    scheduler.mark_ready("a", FRAME)
    scheduler.served("a", nbytes, False)
    assert scheduler.pop() is None
    scheduler.mark_ready("a", FRAME)
    assert scheduler.pop() == "a"


def test_served_for_another_key_is_ignored(scheduler: Scheduler) -> None:
    ready(scheduler, "a", "b")
    key = scheduler.pop()
    scheduler.served("b" if key == "a" else "a", FRAME, False)
    scheduler.served(key, FRAME, False)
    assert scheduler.pop() not in (None, key)


def test_a_key_that_can_send_more_than_announced_stays_ready(scheduler: Scheduler) -> None:
    ready(scheduler, "a", "b")
    order = []
    for _ in range(4):
        key = scheduler.pop()
        order.append(key)
        scheduler.served(key, FRAME, True)
    assert order == ["a", "b", "a", "b"]


def test_a_key_removed_in_a_queue_is_skipped(scheduler: Scheduler) -> None:
    ready(scheduler, "a", "b", "c")
    scheduler.remove("b")
    assert len(scheduler) == 2
    feed = Feed(scheduler)
    feed.left = dict.fromkeys("ac", FRAME)
    feed.sent = dict.fromkeys("ac", 0)
    assert feed.drain() == "ac"


def test_a_key_removed_in_service_is_gone(scheduler: Scheduler) -> None:
    ready(scheduler, "a", "b")
    assert scheduler.pop() == "a"
    scheduler.remove("a")
    assert len(scheduler) == 1
    scheduler.served("a", FRAME, True)
    assert scheduler.pop() == "b"
    scheduler.served("b", FRAME, False)
    assert scheduler.pop() is None


def test_a_key_added_again_inherits_nothing(scheduler: Scheduler) -> None:
    ready(scheduler, "a", "b")
    scheduler.remove("a")
    scheduler.add("a", DEFAULT_PRIORITY)
    assert len(scheduler) == 1
    assert scheduler.pop() == "b"
    scheduler.served("b", FRAME, False)
    assert scheduler.pop() is None
    scheduler.mark_ready("a", FRAME)
    assert scheduler.pop() == "a"


def test_a_key_added_again_in_service_is_not_in_service(scheduler: Scheduler) -> None:
    ready(scheduler, "a")
    scheduler.pop()
    scheduler.remove("a")
    ready(scheduler, "a")
    scheduler.served("a", FRAME, False)
    assert scheduler.pop() == "a"


def test_keys_come_back_after_running_dry(scheduler: Scheduler) -> None:
    feed = Feed(scheduler)
    for key in "abc":
        feed.open(key)
    for _ in range(50):
        for key in "abc":
            feed.write(key, FRAME)
        assert sorted(feed.drain()) == ["a", "b", "c"]


# A level of three keys gives weight 1 one frame in 16 rounds of 17 frames of the others, and the
# guard gives each of seven waiting levels one frame in 16 * 7.
@pytest.mark.parametrize("frame", [pytest.param(FRAME, id="full"), pytest.param(700, id="short")])
def test_every_ready_key_is_popped_in_a_bounded_number_of_picks(
    scheduler: Scheduler, frame: int
) -> None:
    bound = 16 * 7 * (16 * 17 + 1) * FRAME // frame
    feed = Feed(scheduler)
    for urgency in range(8):
        for weight in (1, 16, 256):
            key = (urgency, weight)
            feed.open(key, Priority(urgency, weight))
            feed.write(key, frame)
    waiting = set(feed.left)
    for _ in range(bound):
        popped = scheduler.pop()
        waiting.discard(popped)
        if not waiting:
            break
        scheduler.mark_ready(popped, frame)
        scheduler.served(popped, frame, True)
    assert not waiting


def test_a_key_that_sends_empty_frames_for_ever_does_not_keep_others_out(
    scheduler: Scheduler,
) -> None:
    scheduler.add("empty", Priority(0))
    scheduler.add("full", Priority(7))
    scheduler.mark_ready("empty", FRAME)
    scheduler.mark_ready("full", FRAME)
    for _ in range(20_000):
        key = scheduler.pop()
        if key == "full":
            break
        scheduler.served(key, 0, True)
    else:
        pytest.fail("20,000 empty frames went before one that had bytes")


@pytest.mark.parametrize("leave", ["removed", "dry and removed", "moved"])
def test_keys_that_leave_while_nobody_pops_are_let_go(scheduler: Scheduler, leave: str) -> None:
    """A peer that opens and resets streams while the transport is stuck costs no memory."""

    def churn(count: int) -> list[weakref.ref[Key]]:
        refs: list[weakref.ref[Key]] = []
        for number in range(count):
            pair = Key(), Key()
            refs += map(weakref.ref, pair)
            for key in pair:
                scheduler.add(key, Priority(number % 8))
            for key in pair * 3:
                scheduler.mark_ready(key, 1)
            if leave == "moved":
                for urgency in range(8):
                    scheduler.set_priority(pair[0], Priority(urgency))
            for key in pair:
                scheduler.remove(key)
            if leave == "dry and removed":
                popped = scheduler.pop()
                scheduler.served(popped, FRAME, False)
                scheduler.mark_ready(popped, 1)
        return refs

    scheduler.add("first", DEFAULT_PRIORITY)
    scheduler.mark_ready("first", FRAME)
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
    assert scheduler.pop() == "first"


def played(name: str, seed: int) -> list[int | None]:
    """The order that a random sequence of calls gives, with new keys each time."""
    rng = random.Random(seed)
    scheduler = make_scheduler(name)
    keys = [Key(number) for number in range(40)]
    for key in keys:
        scheduler.add(key, Priority(rng.randrange(8), rng.randint(1, 256)))
    order: list[int | None] = []
    for _ in range(3_000):
        key = rng.choice(keys)
        scheduler.mark_ready(key, rng.randrange(FRAME))
        if rng.random() < 0.1:
            scheduler.set_priority(key, Priority(rng.randrange(8), rng.randint(1, 256)))
        if rng.random() < 0.05:
            scheduler.remove(key)
            scheduler.add(key, DEFAULT_PRIORITY)
        picked = scheduler.pop()
        order.append(picked.name if isinstance(picked, Key) else None)
        scheduler.served(picked, rng.randrange(FRAME), rng.random() < 0.7)
    return order


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_same_calls_give_the_same_order(name: str) -> None:
    first = played(name, 1)
    # Keeps the memory of the second run elsewhere, so that the keys' hashes differ.
    others = [Key() for _ in range(1_000)]
    assert played(name, 1) == first
    assert len(others) == 1_000

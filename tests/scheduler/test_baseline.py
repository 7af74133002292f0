"""Round robin and FIFO: orders without priorities."""

from __future__ import annotations

import pytest

from muxado_py.scheduler import FifoScheduler, Priority, RoundRobinScheduler, Scheduler

from .driver import FRAME, KIB, Feed

# Order tables: writes in KiB before the first pick; then every frame.


@pytest.mark.parametrize(
    ("kind", "writes", "want"),
    [
        pytest.param(RoundRobinScheduler, [("a", 16), ("b", 48), ("c", 32)], "abcbcb", id="turns"),
        pytest.param(RoundRobinScheduler, [("b", 1), ("a", 40), ("b", 1)], "baaa", id="short"),
        pytest.param(FifoScheduler, [("a", 16), ("b", 48), ("c", 32)], "abbbcc", id="fifo"),
        pytest.param(FifoScheduler, [("a", 16), ("b", 16), ("a", 32)], "abaa", id="fifo-twice"),
        pytest.param(FifoScheduler, [("a", 16), ("a", 16), ("b", 1)], "aab", id="fifo-merged"),
        # The second frame of a takes what stands behind b along, and none is left when it is due.
        pytest.param(
            FifoScheduler, [("a", 20), ("b", 16), ("a", 12), ("c", 1)], "aabc", id="fifo-ahead"
        ),
        pytest.param(
            FifoScheduler,
            [("a", 2), ("b", 1), ("a", 30), ("c", 1), ("a", 16)],
            "abaca",
            id="fifo-ahead-of-some",
        ),
        pytest.param(
            FifoScheduler,
            [("a", 2), ("b", 1), ("a", 4), ("c", 1), ("a", 26), ("d", 1), ("a", 16)],
            "abcada",
            id="fifo-ahead-of-several",
        ),
        pytest.param(FifoScheduler, [("a", 0), ("b", 16), ("a", 16)], "ab", id="fifo-syn"),
    ],
)
def test_order(kind: type[Scheduler], writes: list[tuple[str, int]], want: str) -> None:
    feed = Feed(kind())
    for key, kib in writes:
        if key not in feed.left:
            feed.open(key)
        feed.write(key, kib * KIB)
    assert feed.drain() == want


@pytest.mark.parametrize("kind", [RoundRobinScheduler, FifoScheduler])
def test_priorities_are_ignored(kind: type[Scheduler]) -> None:
    feed = Feed(kind())
    for key, priority in (("a", Priority(7, 1)), ("b", Priority(0, 256))):
        feed.open(key, priority=priority)
        feed.write(key, FRAME)
    feed.move("b", Priority(1))
    assert feed.drain() == "ab"


@pytest.fixture
def fifo() -> Feed:
    return Feed(FifoScheduler())


def test_fifo_puts_a_key_that_comes_back_last(fifo: Feed) -> None:
    for key in "ab":
        fifo.open(key)
        fifo.write(key, 2 * FRAME)
    assert fifo.pick(more=False) == "a"  # out of credit
    fifo.write("a", FRAME)
    assert fifo.picks(3) == ["b", "b", "a"]


def test_fifo_forgets_the_other_tickets_of_a_key_that_ran_dry(fifo: Feed) -> None:
    fifo.open(*"abc")
    for key in "abac":
        fifo.write(key, KIB)
    assert fifo.pick(2 * KIB) == "a"
    fifo.write("a", KIB)
    assert fifo.drain() == "bca"


def test_fifo_never_drops_the_last_ticket_of_a_key_that_can_send_more(fifo: Feed) -> None:
    fifo.open(*"ab")
    for key in "aba":
        fifo.write(key, KIB)
    fifo.left["a"] = 10 * FRAME  # more than it announced
    assert fifo.picks(4) == ["a", "b", "a", "a"]


def test_fifo_keeps_writes_made_in_service_in_order(fifo: Feed) -> None:
    fifo.ready("a", "b")
    assert fifo.pick(meanwhile=lambda name: fifo.write(name, FRAME)) == "a"
    assert fifo.drain() == "ba"

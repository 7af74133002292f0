"""What a pick costs, counted in lines of the scheduler that run, not in time."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import pytest

import muxado_py.scheduler
from muxado_py.scheduler import DEFAULT_PRIORITY, SCHEDULERS, Priority, Scheduler, make_scheduler

from .driver import FRAME

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

FOLDER = str(Path(muxado_py.scheduler.__file__).parent)
MANY = 100_000


class Lines:
    """Counts the lines of the scheduler package that run in ``with`` blocks."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        self._previous = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._previous)

    def _trace(self, frame: FrameType, event: str, arg: object) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.startswith(FOLDER):
            return None
        self.count += event == "line"
        return self._trace


def filled(name: str, ready: int, weights: tuple[int, ...], idle: int = 0) -> Scheduler:
    scheduler = make_scheduler(name)
    for key in range(ready + idle):
        scheduler.add(key, Priority(weight=weights[key % len(weights)]))
    for key in range(ready):
        scheduler.mark_ready(key, FRAME)
    return scheduler


def picks(scheduler: Scheduler, count: int) -> None:
    for _ in range(count):
        scheduler.served(scheduler.pop(), FRAME, True)


def lines_by_pick(scheduler: Scheduler, count: int) -> list[int]:
    """The lines of each of ``count`` picks."""
    counts = []
    for _ in range(count):
        lines = Lines()
        with lines:
            scheduler.served(scheduler.pop(), FRAME, True)
        counts.append(lines.count)
    return counts


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("weight", [16, 1])
def test_a_pick_costs_the_same_with_ten_ready_keys_and_with_a_hundred_thousand(
    name: str, weight: int
) -> None:
    few, many = filled(name, 10, (weight,)), filled(name, MANY, (weight,))
    # Past the first frame of each key.
    picks(few, 20)
    picks(many, MANY + MANY // 10)
    assert mean(lines_by_pick(many, 5_000)) <= mean(lines_by_pick(few, 5_000)) + 0.1


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("weights", [(1,), (1, 4, 16, 64, 256)], ids=str)
def test_the_dearest_pick_is_no_dearer_either(name: str, weights: tuple[int, ...]) -> None:
    """No pick walks over the keys that may not send yet, not where a round begins either."""
    few, many = filled(name, 10, weights), filled(name, 10_000, weights)
    dearest = max(lines_by_pick(few, 5_000))
    # Ten keys may miss the one way through the code that has a line more.
    assert max(lines_by_pick(many, 30_000)) <= dearest + 1 < 50


@pytest.mark.parametrize("name", SCHEDULERS)
def test_open_idle_keys_cost_a_pick_nothing(name: str) -> None:
    few, many = filled(name, 1, (16,)), filled(name, 1, (16,), idle=MANY)
    assert lines_by_pick(many, 100) == lines_by_pick(few, 100)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_keys_that_were_removed_cost_the_picks_after_them_a_constant(name: str) -> None:
    scheduler = filled(name, MANY, (16,))
    for key in range(MANY):
        if key % 100:
            scheduler.remove(key)
    assert mean(lines_by_pick(scheduler, 900)) < 100


@pytest.mark.parametrize("name", SCHEDULERS)
def test_removing_ready_keys_costs_each_a_constant(name: str) -> None:
    scheduler = filled(name, 5_000, (16,))
    lines = Lines()
    with lines:
        for key in range(5_000):
            scheduler.remove(key)
    assert lines.count / 5_000 < 40


@pytest.mark.parametrize("name", SCHEDULERS)
def test_keys_that_come_and_go_cost_each_a_constant(name: str) -> None:
    """Removed keys that were skipped, and those that were swept, are not swept again."""
    scheduler = filled(name, 1_000, (16,))
    lines = Lines()
    with lines:
        for key in range(1_000, 6_000):
            scheduler.add(key, DEFAULT_PRIORITY)
            scheduler.mark_ready(key, 1)
            scheduler.remove(key - 1_000)
            picks(scheduler, 2)
    assert lines.count / 5_000 < 200


def test_marking_a_ready_key_again_takes_three_lines() -> None:
    scheduler = filled("priority", 10, (16,))
    lines = Lines()
    with lines:
        scheduler.mark_ready(3, FRAME)
    assert lines.count <= 3


@pytest.mark.parametrize("used", [False, True], ids=["never sent", "sent"])
def test_an_idle_key_takes_little_memory(used: bool) -> None:
    keys = [object() for _ in range(20_000)]
    tracemalloc.start()
    try:
        scheduler = make_scheduler("priority")
        for key in keys:
            scheduler.add(key, DEFAULT_PRIORITY)
            if used:
                scheduler.mark_ready(key, 100)
                scheduler.served(scheduler.pop(), 1000, False)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / 20_000 <= 160 if used else 130

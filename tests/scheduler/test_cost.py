"""What a pick costs, counted in lines of the scheduler that run, not in time."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import pytest

import muxado_py.scheduler
from muxado_py.scheduler import SCHEDULERS, Priority, Scheduler, make_scheduler

from .driver import FRAME, Stream

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


class Filled:
    """A scheduler with so many ready keys, of these weights in turn, and idle ones."""

    def __init__(self, name: str, ready: int, weights: tuple[int, ...], idle: int = 0) -> None:
        self.scheduler: Scheduler = make_scheduler(name)
        self.keys = [
            Stream(number, Priority(weight=weights[number % len(weights)]))
            for number in range(ready + idle)
        ]
        for key in self.keys[ready:]:
            self.scheduler.mark_ready(key, FRAME)
        self.scheduler.serve(lambda key, left: (FRAME, False), idle * FRAME)
        for key in self.keys[:ready]:
            self.scheduler.mark_ready(key, FRAME)

    def serve(self, frames: int) -> None:
        """Let so many frames go, after which each key has more."""
        self.scheduler.serve(lambda key, left: (FRAME, True), frames * FRAME)

    def lines_by_frame(self, count: int) -> list[int]:
        """The lines of each of ``count`` frames."""
        counts = []
        for _ in range(count):
            lines = Lines()
            with lines:
                self.serve(1)
            counts.append(lines.count)
        return counts


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("weight", [16, 1])
def test_a_frame_costs_the_same_with_ten_ready_keys_and_with_a_hundred_thousand(
    name: str, weight: int
) -> None:
    few, many = Filled(name, 10, (weight,)), Filled(name, MANY, (weight,))
    # Past the first frame of each key.
    few.serve(30)
    many.serve(MANY + MANY // 10)
    assert mean(many.lines_by_frame(5_000)) <= mean(few.lines_by_frame(5_000)) + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("weights", [(1,), (1, 4, 16, 64, 256)], ids=str)
def test_the_dearest_frame_is_no_dearer_either(name: str, weights: tuple[int, ...]) -> None:
    """No frame walks over the keys that may not send yet, not where a round begins either."""
    few, many = Filled(name, 10, weights), Filled(name, 10_000, weights)
    few.serve(20)
    many.serve(20)
    dearest = max(few.lines_by_frame(5_000))
    # Ten keys may miss the one way through the code that has a line more.
    assert max(many.lines_by_frame(30_000)) <= dearest + 1 < 60


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULERS)
def test_open_idle_keys_cost_a_frame_nothing(name: str) -> None:
    few, many = Filled(name, 1, (16,)), Filled(name, 1, (16,), idle=MANY)
    few.serve(20)
    many.serve(20)
    assert many.lines_by_frame(100) == few.lines_by_frame(100)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULERS)
def test_keys_that_were_removed_cost_the_frames_after_them_a_constant(name: str) -> None:
    filled = Filled(name, MANY, (16,))
    for number, key in enumerate(filled.keys):
        if number % 100:
            filled.scheduler.remove(key)
    assert mean(filled.lines_by_frame(900)) < 100


@pytest.mark.parametrize("name", SCHEDULERS)
def test_removing_ready_keys_costs_each_a_constant(name: str) -> None:
    filled = Filled(name, 5_000, (16,))
    lines = Lines()
    with lines:
        for key in filled.keys:
            filled.scheduler.remove(key)
    assert lines.count / 5_000 < 40


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULERS)
def test_keys_that_come_and_go_cost_each_a_constant(name: str) -> None:
    """Removed keys that were skipped, and those that were swept, are not swept again."""
    filled = Filled(name, 1_000, (16,))
    later = [Stream(number) for number in range(5_000)]
    lines = Lines()
    with lines:
        for key, leaves in zip(later, [*filled.keys, *later], strict=False):
            filled.scheduler.mark_ready(key, 1)
            filled.scheduler.remove(leaves)
            filled.serve(2)
    assert lines.count / 5_000 < 200


def test_marking_a_ready_key_again_takes_four_lines() -> None:
    filled = Filled("priority", 10, (16,))
    lines = Lines()
    with lines:
        filled.scheduler.mark_ready(filled.keys[3], FRAME)
    assert lines.count <= 4


@pytest.mark.slow
@pytest.mark.parametrize("used", [False, True], ids=["never sent", "sent"])
def test_an_idle_key_takes_little_memory(used: bool) -> None:
    keys = [Stream() for _ in range(20_000)]
    scheduler = make_scheduler("priority")
    tracemalloc.start()
    try:
        if used:
            for key in keys:
                scheduler.mark_ready(key, 100)
            scheduler.serve(lambda key, left: (1_000, False), 20_000 * 1_000)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / 20_000 <= (120 if used else 0.1)

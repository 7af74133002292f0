"""A token bucket, and a clock that the test moves."""

from __future__ import annotations

from muxado_py.protocol.budgets import Budget


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_takes_all_there_is_and_no_more() -> None:
    budget = Budget(3, 1.0, Clock())
    assert [budget.spend() for _ in range(5)] == [True, True, True, False, False]


def test_time_gives_it_back_by_the_rate() -> None:
    clock = Clock()
    budget = Budget(3, 2.0, clock)
    for _ in range(3):
        budget.spend()
    clock.now += 0.25
    assert not budget.spend()
    clock.now += 0.25
    assert budget.spend()
    assert not budget.spend()


def test_it_never_holds_more_than_its_size() -> None:
    clock = Clock()
    budget = Budget(3, 1000.0, clock)
    for _ in range(3):
        clock.now += 1e9
        assert [budget.spend() for _ in range(4)] == [True, True, True, False]


def test_time_in_which_it_was_full_is_not_kept_for_later() -> None:
    clock = Clock()
    budget = Budget(4, 1.0, clock)
    clock.now += 100
    assert budget.spend()
    clock.now += 1
    assert [budget.spend() for _ in range(5)] == [True, True, True, True, False]


def test_a_steady_rate_below_its_own_never_meets_it() -> None:
    clock = Clock()
    budget = Budget(16, 256.0, clock)
    for _ in range(10_000):
        assert budget.spend()
        clock.now += 1 / 256

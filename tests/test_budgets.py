"""A token bucket without a clock."""

from __future__ import annotations

from muxado_py.protocol.budgets import Budget


def test_a_burst_takes_all_there_is_and_no_more() -> None:
    budget = Budget(3, 1.0)
    assert [budget.spend() for _ in range(5)] == [True, True, True, False, False]


def test_time_gives_it_back_by_the_rate() -> None:
    budget = Budget(3, 2.0)
    for _ in range(3):
        budget.spend()
    budget.refill(0.25)
    assert not budget.spend()
    budget.refill(0.25)
    assert budget.spend()
    assert not budget.spend()


def test_it_never_holds_more_than_its_size() -> None:
    budget = Budget(3, 1000.0)
    budget.refill(1e9)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]


def test_a_steady_rate_below_its_own_never_meets_it() -> None:
    budget = Budget(16, 256.0)
    for _ in range(10_000):
        assert budget.spend()
        budget.refill(1 / 256)

"""The budget of retries, in a time that is made up."""

from __future__ import annotations

from muxado_py.service.retry_budget import RetryBudget


class Clock:
    time = 1000.0

    def __call__(self) -> float:
        return self.time


def taken(budget: RetryBudget, wanted: int) -> int:
    return sum(budget.take() for _ in range(wanted))


def test_who_has_just_begun_may_retry_ten_times_a_second() -> None:
    budget = RetryBudget(Clock())
    assert taken(budget, 500) == 100
    assert budget.balance == 0


def test_each_five_calls_allow_one_retry_more() -> None:
    budget = RetryBudget(Clock())
    for _ in range(1000):
        budget.count_call()
    assert taken(budget, 5000) == 100 + 200


def test_where_everything_fails_a_fifth_is_sent_again_and_no_more() -> None:
    clock = Clock()
    budget = RetryBudget(clock, per_second=0)
    calls = again = 0
    for _ in range(120):
        for _ in range(50):
            budget.count_call()
            calls += 1
            again += taken(budget, 3)
        clock.time += 0.25
    assert again <= calls // 5
    assert again > calls // 6


def test_what_was_taken_is_there_again_when_its_time_is_over() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    assert taken(budget, 1000) == 100
    clock.time += 8.9
    assert taken(budget, 1) == 0
    clock.time += 1.1
    assert taken(budget, 1000) == 100


def test_calls_count_for_ten_seconds_at_most() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    for _ in range(100):
        budget.count_call()
    assert budget.balance == 120
    clock.time += 10
    assert budget.balance == 100


def test_without_a_reserve_the_first_call_is_not_sent_again() -> None:
    budget = RetryBudget(Clock(), share=0.1, per_second=0)
    budget.count_call()
    assert not budget.take()
    for _ in range(9):
        budget.count_call()
    assert budget.take()
    assert not budget.take()

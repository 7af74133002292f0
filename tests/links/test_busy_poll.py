"""When a session polls for what comes next, and for how long."""

from __future__ import annotations

import os
import sys

import pytest

from muxado_py.links.busy_poll import MAX_THRESHOLD, BusyPoll, may_busy_poll

LIMIT = 0.0001
QUICK, SLOW = LIMIT / 2, 2 * LIMIT


class Exchange:
    """Questions and answers, on a clock of the test."""

    def __init__(self) -> None:
        self.poll = BusyPoll(LIMIT)
        self.now = 1000.0

    def ask(self, seconds: float) -> bool:
        """One answer that takes ``seconds``; whether it was polled for."""
        self.now += 1.0  # the answer before is long ago
        polls = self.poll.sent(self.now)
        answered = self.now + seconds
        while polls and self.now < answered:
            self.now += LIMIT / 10
            if not self.poll.goes_on(self.now):
                break
        self.now = answered
        self.poll.received(self.now)
        return polls

    def quick_until_polling(self) -> int:
        """Quick answers until one would be polled for; how many it took.  That one is slow."""
        count = 0
        while not self.poll.sent(self.now):
            self.now += QUICK
            self.poll.received(self.now)
            self.now += 1.0
            count += 1
            assert count <= MAX_THRESHOLD
        self.ask(SLOW)
        return count


def test_nobody_stays_awake_for_the_first_answer() -> None:
    assert not Exchange().ask(QUICK)


def test_a_quick_answer_is_followed_by_polls() -> None:
    exchange = Exchange()
    exchange.ask(QUICK)
    assert [exchange.ask(QUICK) for _ in range(100)] == [True] * 100


def test_slow_answers_are_slept_through() -> None:
    exchange = Exchange()
    assert not any(exchange.ask(SLOW) for _ in range(100))


def test_a_poll_in_vain_ends_in_time_and_is_the_last_for_now() -> None:
    exchange = Exchange()
    exchange.ask(QUICK)
    assert exchange.poll.sent(exchange.now)
    assert exchange.poll.goes_on(exchange.now + LIMIT / 2)
    assert not exchange.poll.goes_on(exchange.now + 1.1 * LIMIT)
    assert not exchange.poll.sent(exchange.now + 2 * LIMIT)


def test_each_poll_in_vain_doubles_what_the_next_takes_up_to_a_bound() -> None:
    exchange = Exchange()
    taken = [exchange.quick_until_polling() for _ in range(13)]
    assert taken == [*(2**number for number in range(11)), MAX_THRESHOLD, MAX_THRESHOLD]


def test_answers_that_came_in_time_restore_trust() -> None:
    exchange = Exchange()
    for _ in range(5):
        exchange.quick_until_polling()
    for _ in range(32):
        assert not exchange.ask(QUICK)
    for _ in range(4):
        assert exchange.ask(QUICK)
    exchange.ask(SLOW)
    assert exchange.quick_until_polling() == 4


@pytest.mark.parametrize(("slow_in_ten", "most"), [(7, 0.05), (5, 0.2), (1, 0.1)])
def test_what_polls_in_vain_cost_is_bounded(slow_in_ten: int, most: float) -> None:
    """Where most answers are slow few polls are kept; where most are quick, few are in vain."""
    exchange = Exchange()
    in_vain = 0
    for number in range(10_000):
        slow = number * slow_in_ten % 10 < slow_in_ten
        in_vain += exchange.ask(SLOW if slow else QUICK) and slow
    assert in_vain <= most * 10_000


def test_what_comes_unasked_counts_as_well() -> None:
    """A reader of bulk that sleeps between two reads has to be woken by its sender."""
    poll = BusyPoll(LIMIT)
    assert [poll.received(number * QUICK) for number in range(4)] == [False, True, True, True]
    assert poll.goes_on(3 * QUICK + LIMIT)
    assert not poll.goes_on(3 * QUICK + 1.1 * LIMIT)


def test_what_comes_now_and_then_is_slept_through() -> None:
    poll = BusyPoll(LIMIT)
    assert not any(poll.received(number * SLOW) for number in range(100))


def test_no_time_at_all_is_no_poll() -> None:
    poll = BusyPoll(0.0)
    assert not any(poll.received(number * QUICK) for number in range(100))


def test_who_has_one_processor_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert not may_busy_poll()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3}, raising=False)
    assert may_busy_poll()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert not may_busy_poll()

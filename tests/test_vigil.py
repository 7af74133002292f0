"""When a session stays awake for what comes next, and for how long."""

from __future__ import annotations

import os
import sys

import pytest

from muxado_py.links.vigil import MOST_DOUBT, Vigil, may_stay_awake

LIMIT = 0.0001
QUICK, SLOW = LIMIT / 2, 2 * LIMIT


class Exchange:
    """Questions and answers, on a clock of the test."""

    def __init__(self) -> None:
        self.vigil = Vigil(LIMIT)
        self.now = 1000.0

    def ask(self, seconds: float) -> bool:
        """One answer that takes ``seconds``; whether it was awaited awake."""
        self.now += 1.0  # the answer before is long ago
        awake = self.vigil.sent(self.now)
        answered = self.now + seconds
        while awake and self.now < answered:
            self.now += LIMIT / 10
            if not self.vigil.goes_on(self.now):
                break
        self.now = answered
        self.vigil.received(self.now)
        return awake

    def quick_until_awake(self) -> int:
        """Quick answers until one would be awaited awake; how many it took.  That one is slow."""
        count = 0
        while not self.vigil.sent(self.now):
            self.now += QUICK
            self.vigil.received(self.now)
            self.now += 1.0
            count += 1
            assert count <= MOST_DOUBT
        self.ask(SLOW)
        return count


def test_nobody_stays_awake_for_the_first_answer() -> None:
    assert not Exchange().ask(QUICK)


def test_a_quick_answer_is_followed_by_vigils() -> None:
    exchange = Exchange()
    exchange.ask(QUICK)
    assert [exchange.ask(QUICK) for _ in range(100)] == [True] * 100


def test_slow_answers_are_slept_through() -> None:
    exchange = Exchange()
    assert not any(exchange.ask(SLOW) for _ in range(100))


def test_a_vigil_in_vain_ends_in_time_and_is_the_last_for_now() -> None:
    exchange = Exchange()
    exchange.ask(QUICK)
    assert exchange.vigil.sent(exchange.now)
    assert exchange.vigil.goes_on(exchange.now + LIMIT / 2)
    assert not exchange.vigil.goes_on(exchange.now + 1.1 * LIMIT)
    assert not exchange.vigil.sent(exchange.now + 2 * LIMIT)


def test_each_vigil_in_vain_doubles_what_the_next_takes_up_to_a_bound() -> None:
    exchange = Exchange()
    taken = [exchange.quick_until_awake() for _ in range(13)]
    assert taken == [*(2**number for number in range(11)), MOST_DOUBT, MOST_DOUBT]


def test_answers_that_came_in_time_restore_trust() -> None:
    exchange = Exchange()
    for _ in range(5):
        exchange.quick_until_awake()
    for _ in range(32):
        assert not exchange.ask(QUICK)
    for _ in range(4):
        assert exchange.ask(QUICK)
    exchange.ask(SLOW)
    assert exchange.quick_until_awake() == 4


@pytest.mark.parametrize(("slow_in_ten", "most"), [(7, 0.05), (5, 0.2), (1, 0.1)])
def test_what_vigils_in_vain_cost_is_bounded(slow_in_ten: int, most: float) -> None:
    """Where most answers are slow few vigils are kept; where most are quick, few are in vain."""
    exchange = Exchange()
    in_vain = 0
    for number in range(10_000):
        slow = number * slow_in_ten % 10 < slow_in_ten
        in_vain += exchange.ask(SLOW if slow else QUICK) and slow
    assert in_vain <= most * 10_000


def test_what_comes_unasked_counts_as_well() -> None:
    """A reader of bulk that sleeps between two reads has to be woken by its sender."""
    vigil = Vigil(LIMIT)
    assert [vigil.received(number * QUICK) for number in range(4)] == [False, True, True, True]
    assert vigil.goes_on(3 * QUICK + LIMIT)
    assert not vigil.goes_on(3 * QUICK + 1.1 * LIMIT)


def test_what_comes_now_and_then_is_slept_through() -> None:
    vigil = Vigil(LIMIT)
    assert not any(vigil.received(number * SLOW) for number in range(100))


def test_no_time_at_all_is_no_vigil() -> None:
    vigil = Vigil(0.0)
    assert not any(vigil.received(number * QUICK) for number in range(100))


def test_who_has_one_processor_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert not may_stay_awake()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3}, raising=False)
    assert may_stay_awake()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert not may_stay_awake()

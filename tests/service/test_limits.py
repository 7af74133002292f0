"""The number of handlers at once finds itself: a server in made-up time, of which it is known how much it can do."""

from __future__ import annotations

from typing import Any

import pytest

from muxado_py import CallLimits
from muxado_py.service.limits import ConcurrencyLimit


class Server:
    """Does ``rate`` calls a second, none in less than ``base`` seconds, and always has as many as it may.

    Those that it cannot do in time are cut off, ``early`` seconds before the deadline.
    """

    def __init__(
        self, limit: ConcurrencyLimit, rate: float, base: float, *, early: float = 0.0
    ) -> None:
        self.limit = limit
        self.rate = rate
        self.base = base
        self.early = early
        self.now = 0.0

    def work(self, seconds: float, *, time_left: float, most: int = 10**6) -> float:
        """For so long, with ``most`` callers; how long a call took in the end."""
        end = self.now + seconds
        taken = self.base
        while self.now < end:
            running = min(self.limit.limit, most)
            takes = max(self.base, running / self.rate)
            taken = min(takes, time_left - self.early)
            began = self.now
            self.now += taken
            for number in range(1, running + 1):
                self.limit.began(number)
            for _ in range(running):
                self.limit.ended(began, self.now, time_left, cut_off=taken < takes)
        return taken


def test_it_falls_until_calls_take_half_of_their_time() -> None:
    limit = ConcurrencyLimit(1000)
    taken = Server(limit, rate=1000, base=0.01).work(20, time_left=0.5)
    assert 0.2 <= taken <= 0.5 * 0.5 * 1.1 + 0.05
    assert 200 <= limit.limit <= 300


@pytest.mark.parametrize("early", [1e-9, 0.001, 0.02])
def test_it_falls_where_all_are_cut_off_a_moment_before_their_deadline(early: float) -> None:
    """As by their callers, who count from a moment before; they take the same however many there are."""
    limit = ConcurrencyLimit(1000)
    Server(limit, rate=1000, base=0.01, early=early).work(20, time_left=0.5)
    assert 200 <= limit.limit <= 300


@pytest.mark.parametrize("early", [0.0, 0.02])
def test_what_it_thought_of_their_nature_is_forgotten_when_many_are_cut_off(early: float) -> None:
    """A server that was slow by nature stands in its own way now, or noise had made it look so."""
    limit = ConcurrencyLimit(1000)
    server = Server(limit, rate=10**9, base=0.45, early=early)
    server.work(60, time_left=0.5)
    assert limit.limit > 900
    server.rate, server.base = 1000, 0.01
    server.work(10, time_left=0.5)
    assert limit.limit <= 300


def test_who_leaves_early_was_not_late() -> None:
    """As the slower of two attempts that were made at once."""
    limit = ConcurrencyLimit(1000)
    server = Server(limit, rate=10**9, base=0.45)
    server.work(60, time_left=0.5)
    for _ in range(100):
        server.now += 0.01
        limit.ended(server.now - 0.01, server.now, 0.5, cut_off=True)
    server.work(10, time_left=0.5)
    assert limit.limit > 900


def test_it_rises_again_when_the_server_is_quicker() -> None:
    limit = ConcurrencyLimit(1000)
    server = Server(limit, rate=100, base=0.01)
    server.work(20, time_left=0.5)
    assert limit.limit < 60
    server.rate = 4000
    server.work(20, time_left=0.5)
    assert limit.limit > 700


def test_calls_that_are_slow_by_nature_do_not_make_it_fall() -> None:
    """They take as long however few there are."""
    limit = ConcurrencyLimit(1000)
    Server(limit, rate=10**9, base=0.35).work(60, time_left=0.5)
    assert limit.limit == 1000


@pytest.mark.parametrize("share", [0.7, 0.89, 0.92, 0.97, 0.995])
def test_calls_that_wait_until_shortly_before_their_deadline_do_not_make_it_fall(
    share: float,
) -> None:
    """For an event, say; they are answered in time, all of them."""
    limit = ConcurrencyLimit(1000)
    Server(limit, rate=10**9, base=30 * share).work(3600, time_left=30)
    assert limit.limit > 800


def test_it_never_goes_beyond_what_it_began_with_nor_below_one() -> None:
    limit = ConcurrencyLimit(50)
    Server(limit, rate=10**9, base=0.001).work(5, time_left=1)
    assert limit.limit == 50
    Server(limit, rate=0.1, base=0.001).work(2000, time_left=0.5)
    assert limit.limit == 1


def test_a_few_calls_that_are_late_say_nothing_of_a_limit_that_was_never_reached() -> None:
    """It falls to what was there at its peak, so it is back as soon as more come in time."""
    limit = ConcurrencyLimit(1000)
    server = Server(limit, rate=10, base=0.01)
    server.work(10, time_left=0.5, most=20)
    assert limit.limit < 20
    server.rate = 10**9
    server.work(30, time_left=0.5)
    assert limit.limit > 900


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("max_concurrent", 0, ValueError),
        ("max_concurrent", None, TypeError),
        ("max_queue", -1, ValueError),
        ("max_wait", float("nan"), ValueError),
    ],
)
def test_a_number_that_is_none_is_named(field: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=field):
        CallLimits(**{field: value})

"""Who is asked less because most is refused: sides that ask and refuse at known rates, in made-up time."""

from __future__ import annotations

import math
import random

import pytest

from muxado_py.service.throttle import Throttle

RATE = 1000
"""What one side wants to ask, each second."""

QUEUE = 20
"""What the other keeps, to do it a moment later."""


class Side:
    """Asks at :data:`RATE`; the other accepts only so much a second, and has a queue, so that it always has something to do.

    :param knows_after: seconds after which it is told that one was refused.
    """

    def __init__(self, per_accepted: float = 2.0, *, knows_after: float = 0.0) -> None:
        self.throttle = Throttle(per_accepted, 10.0)
        self.now = 100.0
        self._knows_after = knows_after
        self._to_tell: list[float] = []

    def ask(self, seconds: float, accepts: float) -> float:
        """How many are sent a second."""
        sent, taken = 0, 0.0
        for _ in range(int(seconds * RATE)):
            self.now += 1 / RATE
            taken = min(taken + accepts / RATE, QUEUE)
            while self._to_tell and self._to_tell[0] <= self.now:
                self._to_tell.pop(0)
                self.throttle.count(self.now, 0, 1)
            if self.throttle.holds_back(self.now):
                self.throttle.count(self.now, 1, 1)
                continue
            sent += 1
            self.throttle.count(self.now, 1, 0)
            if taken >= 1.0:
                taken -= 1.0
            else:
                self._to_tell.append(self.now + self._knows_after)
        return sent / seconds


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same lots each time."""
    monkeypatch.setattr(random, "random", random.Random(1).random)


@pytest.mark.parametrize("accepts", [1000, 800, 600])
def test_while_fewer_than_half_are_refused_all_are_sent(accepts: float) -> None:
    side = Side()
    assert side.ask(5, accepts) == RATE


@pytest.mark.parametrize("knows_after", [0.0, 0.3])
@pytest.mark.parametrize("accepts", [100, 300])
def test_about_twice_as_many_are_sent_as_are_accepted(accepts: float, knows_after: float) -> None:
    side = Side(knows_after=knows_after)
    side.ask(5, accepts)
    assert 1.8 * accepts <= side.ask(10, accepts) <= 2.2 * accepts + 15


def test_who_refuses_all_is_still_asked_some_times_a_second() -> None:
    side = Side()
    side.ask(5, 0)
    assert 5 <= side.ask(10, 0) <= 20


def test_who_refuses_no_more_has_all_of_it_again_within_seconds() -> None:
    side = Side()
    side.ask(10, 0)
    side.ask(6, RATE)
    assert side.ask(5, RATE) >= 0.99 * RATE


def test_what_was_refused_is_forgotten() -> None:
    side = Side()
    side.ask(5, 0)
    side.throttle.count(side.now + 60, 1, 0)
    assert not side.throttle.refused
    assert side.throttle.excess(side.now + 60) == 0


def test_a_few_are_sent_whatever_becomes_of_them() -> None:
    throttle = Throttle(2.0, 10.0)
    for _ in range(10):
        assert not throttle.holds_back(1.0)
        throttle.count(1.0, 1, 1)
    assert throttle.excess(1.0) == 0
    throttle.count(1.0, 1, 1)
    assert throttle.excess(1.0) > 0


def test_what_is_known_late_to_be_refused_is_no_more_than_all() -> None:
    throttle = Throttle(2.0, 1.0)
    throttle.count(1.0, 100, 0)
    throttle.count(5.0, 0, 100)  # what was asked is nearly forgotten
    assert 0 <= throttle.excess(5.0) <= 1
    throttle.count(100.0, 1, 0)
    assert throttle.excess(100.0) == 0


def test_whoever_wants_all_sent_has_all_sent() -> None:
    assert Side(math.inf).ask(5, 0) == RATE

"""When a session is passed over because its peer refuses most: sessions that are made up, in made-up time."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest

from muxado_py.service.member import Member

RATE = 200
"""How often, each second, somebody looks whether it is to be passed over."""


class Session:
    """Refuses a part of what is opened.

    :param accepts: streams a second.
    """

    refused_streams = 0

    def __init__(self, accepts: float) -> None:
        self.accepts = accepts
        self.room = 0.0

    def open_stream_nowait(self, **_options: object) -> object:
        if self.room >= 1:
            self.room -= 1
        else:
            self.refused_streams += 1
        return object()


class Choice:
    """Opens a stream each time that the session is not passed over."""

    def __init__(self, accepts: float) -> None:
        self.session = Session(accepts)
        self.member = Member(cast("Any", self.session), "", lambda: None)
        self.now = 100.0

    def opened(self, seconds: float) -> float:
        """How many a second."""
        opened = 0
        for _ in range(int(seconds * RATE)):
            self.now += 1 / RATE
            self.session.room = min(self.session.room + self.session.accepts / RATE, 20.0)
            if not self.member.refuses(lambda: self.now):
                opened += 1
                self.member.open_stream(None, None, None)
        return opened / seconds


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same lots each time."""
    monkeypatch.setattr(random, "random", random.Random(1).random)


@pytest.mark.parametrize("accepts", [RATE, 0.6 * RATE])
def test_who_refuses_fewer_than_half_is_never_passed_over(accepts: float) -> None:
    assert Choice(accepts).opened(5) == RATE


def test_who_refuses_most_gets_less() -> None:
    """The geometric mean of what it would get, and twice what it accepts."""
    choice = Choice(0.2 * RATE)
    choice.opened(5)
    mean = (RATE * 2 * 0.2 * RATE) ** 0.5
    assert 0.9 * mean <= choice.opened(10) <= 1.1 * mean


def test_who_refuses_all_gets_few_and_is_noticed_when_it_takes_some_again() -> None:
    choice = Choice(0)
    choice.opened(3)
    assert 1 <= choice.opened(5) <= 0.15 * RATE
    choice.session.accepts = RATE
    choice.opened(5)
    assert choice.opened(5) == RATE


@pytest.mark.parametrize("pause", [0.0, 1000.0])
def test_long_without_a_refusal_hides_none_of_those_that_come(pause: float) -> None:
    choice = Choice(RATE)
    choice.opened(600)
    choice.now += pause
    choice.session.accepts = choice.session.room = 0
    choice.opened(3)
    assert choice.opened(5) <= 0.15 * RATE


def test_what_was_refused_while_nobody_looked_is_no_matter_now() -> None:
    choice = Choice(RATE)
    choice.session.refused_streams = 10_000
    assert choice.opened(5) == RATE

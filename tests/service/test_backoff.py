"""The delays between attempts to connect."""

from __future__ import annotations

import random

from muxado_py.service.backoff import Backoff


def test_the_delay_doubles_up_to_its_bound() -> None:
    backoff = Backoff(first=0.5, most=8.0, draw=lambda: 1.0)
    assert [backoff.failed() for _ in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_the_delay_is_drawn_from_all_that_is_below_its_ceiling() -> None:
    """Or those that lost one gateway at one moment would come back in half of the time, twice as many at once."""
    draw = random.Random(1).random
    delays = []
    for _ in range(100):
        backoff = Backoff(first=2.0, most=30.0, draw=draw)
        backoff.failed()
        delays.append(backoff.failed())
    assert min(delays) < 0.4 < 3.6 < max(delays) <= 4.0


def test_a_good_session_begins_the_series_again() -> None:
    backoff = Backoff(first=0.5, most=8.0, draw=lambda: 1.0)
    for _ in range(5):
        backoff.failed()
    backoff.reset()
    assert (backoff.failed(), backoff.failures) == (0.5, 1)


def test_a_year_of_failures_overflows_nothing() -> None:
    backoff = Backoff(draw=lambda: 1.0)
    assert {backoff.failed() for _ in range(5000)} >= {30.0}

"""How long is waited, and which numbers are none."""

from __future__ import annotations

from typing import Any

import pytest

from muxado_py import RetryPolicy


def test_each_wait_may_be_twice_as_long_up_to_the_greatest() -> None:
    policy = RetryPolicy(backoff=0.1, max_backoff=0.5)
    for times, most in enumerate((0.1, 0.2, 0.4, 0.5, 0.5)):
        drawn = [policy.delay(times) for _ in range(500)]
        assert all(0 <= one <= most for one in drawn)
        assert max(drawn) > most / 2
        assert min(drawn) < most / 2  # full jitter: from 0 on
    assert policy.delay(10_000) <= 0.5


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("max_refusals", 0, ValueError),
        ("max_refusals", 1.5, TypeError),
        ("max_unknown", 0, ValueError),
        ("backoff", -1, ValueError),
        ("max_backoff", float("nan"), ValueError),
        ("budget_share", "0.2", TypeError),
        ("budget_per_second", -1, ValueError),
        ("budget_per_second", float("inf"), ValueError),
        ("backoff", float("inf"), ValueError),
        ("sent_per_accepted", 0.9, ValueError),
        ("sent_per_accepted", float("nan"), ValueError),
        ("sent_per_accepted", None, TypeError),
        ("replay_limit", -1, ValueError),
        ("replay_total", None, TypeError),
        ("hedge_after", True, TypeError),
    ],
)
def test_a_number_that_is_none_is_named(field: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=field):
        RetryPolicy(**{field: value})

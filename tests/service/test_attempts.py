"""Which verdict is followed by another attempt, how often, and at whose cost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py import Retry, RetryPolicy
from muxado_py.service.attempts import Attempts
from muxado_py.service.retry_means import RetryMeans

if TYPE_CHECKING:
    from collections.abc import Sequence


def attempts(
    *, idempotent: bool = False, policy: RetryPolicy | None = None, per_second: float = 10.0
) -> Attempts:
    policy = replace(policy or RetryPolicy(), budget_per_second=per_second)
    return Attempts(policy, RetryMeans(policy, lambda: 0.0), idempotent=idempotent)


def test_what_was_never_sent_is_sent_again_as_long_as_there_is_time() -> None:
    call = attempts(per_second=0)
    assert call.again_after(Retry.NEVER_SENT) == 0
    for _ in range(100):
        delay = call.again_after(Retry.NEVER_SENT)
        assert delay is not None
        assert 0 <= delay <= RetryPolicy().max_backoff
    assert call.verdict is Retry.NEVER_SENT


def test_three_refuse_a_call_and_no_more() -> None:
    call = attempts()
    assert [call.again_after(Retry.REFUSED) for _ in range(3)] == [0, 0, None]
    assert call.verdict is Retry.REFUSED
    assert not call.budget_empty


def test_what_may_have_been_executed_is_sent_again_only_if_that_is_no_matter() -> None:
    assert attempts().again_after(Retry.UNKNOWN) is None
    call = attempts(idempotent=True)
    assert call.again_after(Retry.UNKNOWN) is not None
    assert call.again_after(Retry.UNKNOWN) is None
    assert call.ended == 2


def test_what_was_answered_is_never_sent_again() -> None:
    assert attempts(idempotent=True).again_after(Retry.PROCESSED) is None


@pytest.mark.parametrize("verdict", [Retry.REFUSED, Retry.UNKNOWN])
def test_an_empty_budget_is_the_end_and_says_so(verdict: Retry) -> None:
    call = attempts(idempotent=True, per_second=0)
    assert call.again_after(verdict) is None
    assert call.budget_empty


def test_all_calls_pay_from_one_budget() -> None:
    policy = RetryPolicy(budget_per_second=0.5)  # five in ten seconds
    means = RetryMeans(policy, lambda: 0.0)
    calls = [Attempts(policy, means, idempotent=False) for _ in range(20)]
    assert sum(one.again_after(Retry.REFUSED) is not None for one in calls) == 5


@pytest.mark.parametrize("verdict", list(Retry))
def test_a_request_that_is_not_kept_is_not_sent_again(verdict: Retry) -> None:
    assert attempts(idempotent=True).again_after(verdict, spent=True) is None


def test_over_a_session_that_failed_at_once_only_an_idempotent_call_tries_another() -> None:
    """golang/net ec05fdc: a server that fails over the first request does it again."""
    assert attempts().again_after(Retry.REFUSED, poisoned=True) is None
    call = attempts(idempotent=True)
    assert call.again_after(Retry.REFUSED, poisoned=True) is not None
    assert call.again_after(Retry.REFUSED, poisoned=True) is None


@given(st.lists(st.sampled_from(list(Retry)), min_size=1, max_size=12), st.booleans())
def test_a_verdict_never_becomes_better_and_what_is_unsafe_has_consent(
    verdicts: Sequence[Retry], idempotent: bool
) -> None:
    order = [Retry.NEVER_SENT, Retry.REFUSED, Retry.UNKNOWN, Retry.PROCESSED]
    call = attempts(idempotent=idempotent)
    for number, verdict in enumerate(verdicts, start=1):
        delay = call.again_after(verdict)
        assert call.verdict is max(verdicts[:number], key=order.index)
        if delay is not None:
            assert call.verdict.safe or idempotent
            assert verdict is not Retry.PROCESSED
        else:
            return

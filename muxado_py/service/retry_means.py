"""RetryMeans: what all that is sent again through one pool, or by one caller, has together.

What it is.  The budget, the throttle, and the bytes of requests that are kept until they are answered.  Calls and the HTTP
clients of a pool share them: its servers bear the load of both, and its process the memory.

The rule.  How often one call is sent again is a matter of its own policy; what is here has the numbers of whoever it was
made for.  A policy of another that has other numbers is refused, for they would count for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import Retry
from .call_errors import not_worth_while
from .retry_budget import RetryBudget
from .throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable

    from .call_errors import RetryBudgetError
    from .retry_policy import RetryPolicy

__all__ = ("RetryMeans",)

SHARED = ("budget_share", "budget_per_second", "sent_per_accepted", "replay_total")
"""The fields of a policy that are not about one call."""

CALLS_PER_SECOND = 10.0
"""Calls that are sent however many are refused, as there are retries in any case."""


class RetryMeans:
    """A budget, a throttle, and room for requests.

    :param policy: whose numbers it has.
    :param now: the time, in seconds.
    """

    __slots__ = ("_policy", "budget", "kept", "now", "replay_total", "throttle")

    def __init__(self, policy: RetryPolicy, now: Callable[[], float]) -> None:
        self._policy = policy
        self.now = now
        self.budget = RetryBudget(
            now, share=policy.budget_share, per_second=policy.budget_per_second
        )
        self.throttle = Throttle(policy.sent_per_accepted, CALLS_PER_SECOND)
        self.replay_total = policy.replay_total
        self.kept = 0
        """Bytes of requests, ``replay_total`` at most; whoever keeps some adds them here, and takes them off."""

    def hold_back(self, what: str = "calls") -> RetryBudgetError | None:
        """What whoever calls is told if most are refused, and this one is not to be sent."""
        if not self.throttle.refused:
            return None
        now = self.now()
        if not self.throttle.holds_back(now):
            return None
        self.throttle.count(now, 1, 1)
        return not_worth_while(what)

    def ended(self, verdict: Retry) -> None:
        """A call has ended, with the verdict of all its attempts; ``PROCESSED`` also for an answer."""
        if verdict is not Retry.NEVER_SENT:  # that says nothing of who would have got it
            self.throttle.count(self.now(), 1, verdict is Retry.REFUSED)

    def take(self, verdict: Retry) -> bool:
        """Whether a call whose attempt ended so may be sent once more; if so, that is counted.

        Where most are refused none that was is sent again: the next would be, too.
        """
        if verdict is Retry.REFUSED and self.throttle.excess(self.now()):
            return False
        return self.budget.take()

    def check(self, policy: RetryPolicy) -> None:
        """Whether whoever has ``policy`` can share them.

        :raises ValueError: if it has other numbers.
        """
        for name in SHARED:
            wanted, there = getattr(policy, name), getattr(self._policy, name)
            if wanted != there:
                raise ValueError(
                    f"retry has {name}={wanted!r}, but that is the pool's for all, and there {there!r}: "
                    "give the pool the same policy"
                )

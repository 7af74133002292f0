"""RetryMeans: what all that is sent again through one pool, or by one caller, has together.

What it is.  The budget, and the bytes of requests that are kept until they are answered.  Calls and the HTTP clients of a pool
share them: its servers bear the load of both, and its process the memory.

The rule.  How often one call is sent again is a matter of its own policy; what is here has the numbers of whoever it was
made for.  A policy of another that has other numbers is refused, for they would count for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .retry_budget import RetryBudget

if TYPE_CHECKING:
    from collections.abc import Callable

    from .retry_policy import RetryPolicy

__all__ = ("RetryMeans",)

SHARED = ("budget_share", "budget_per_second", "replay_total")
"""The fields of a policy that are not about one call."""


class RetryMeans:
    """A budget, and room for requests.

    :param policy: whose numbers it has.
    :param now: the time, in seconds.
    """

    __slots__ = ("_policy", "budget", "kept", "replay_total")

    def __init__(self, policy: RetryPolicy, now: Callable[[], float]) -> None:
        self._policy = policy
        self.budget = RetryBudget(
            now, share=policy.budget_share, per_second=policy.budget_per_second
        )
        self.replay_total = policy.replay_total
        self.kept = 0
        """Bytes of requests, ``replay_total`` at most; whoever keeps some adds them here, and takes them off."""

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

"""RetryPolicy: how often a call is sent again, how long is waited before, and what is kept for it.

What it is.  One frozen value, given to a pool, a :class:`~muxado_py.Caller` or an HTTP client.  Which calls *may* be sent
again is no setting: the verdict says it, and of ``UNKNOWN`` whoever calls (``idempotent``).  What is done with these
numbers is in :mod:`~muxado_py.service.attempts`.

The rule.  A number that makes more load for a server has a bound of its own here, and all of them together the budget.

The trap.  A delay that is not drawn by lot brings all callers back at the same moment: where a server came back from a
fault, it falls again.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from ..arguments import check_seconds, check_whole
from .throttle import PER_ACCEPTED

__all__ = ("RetryPolicy", "policy_or_default")

KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How calls are sent again that may be.

    :raises TypeError: if a field is no number.
    :raises ValueError: if a field is out of its range, naming the field and the value.
    """

    max_refusals: int = 3
    """Peers that may refuse one call; it fails with the last of them.  undici's ``MAX_REFUSED_ATTEMPTS``.  With 1 no
    refused call is sent again."""

    max_unknown: int = 2
    """How often an idempotent call may end with ``UNKNOWN``; it fails with the last.  With 1 none is sent again."""

    backoff: float = 0.05
    """Seconds that are waited at most before a call is sent again, where it is not sent at once; twice as long each time."""

    max_backoff: float = 2.0
    """Seconds that are waited at most in any case."""

    budget_share: float = 0.2
    """Retries for each call, over ten seconds.  Finagle's ``percentCanRetry``.  Calls and HTTP clients of one pool pay
    together, so they have the same here, as in the next field and in ``replay_total``."""

    budget_per_second: float = 10.0
    """Retries a second, however few calls there are.  Finagle's ``minRetriesPerSec``."""

    sent_per_accepted: float = PER_ACCEPTED
    """Calls that are sent for each that is not refused, where most are; all others fail at once, with a
    :exc:`RetryBudgetError`.  At least 1; ``math.inf`` sends all.  The K of "Site Reliability Engineering", chapter 21.  It is
    one for all of a pool, as the budget."""

    replay_limit: int = 64 * KIB
    """Bytes of one request that are kept until it is answered; one that is longer is not sent again."""

    replay_total: int = 16 * KIB * KIB
    """Bytes of all requests together that are kept; what comes beyond is sent once."""

    hedge_after: float | None = None
    """Seconds after which an idempotent call that has a stream and no answer is sent once more, elsewhere, and the first
    answer counts; None for never."""

    def __post_init__(self) -> None:
        check_whole("max_refusals", self.max_refusals, 1, 100)
        check_whole("max_unknown", self.max_unknown, 1, 100)
        for name in ("backoff", "max_backoff", "budget_share", "budget_per_second"):
            value = getattr(self, name)
            check_seconds(name, value)
            if math.isinf(value):
                raise ValueError(f"{name} must be finite, got {value!r}")
        per_accepted: object = self.sent_per_accepted
        if not isinstance(per_accepted, int | float) or isinstance(per_accepted, bool):
            raise TypeError(f"sent_per_accepted must be a number, got {per_accepted!r}")
        if not per_accepted >= 1:  # nor what is no number
            raise ValueError(f"sent_per_accepted must be at least 1, got {per_accepted!r}")
        check_whole("replay_limit", self.replay_limit, 0, 2**40)
        check_whole("replay_total", self.replay_total, 0, 2**40)
        if self.hedge_after is not None:
            check_seconds("hedge_after", self.hedge_after)

    def delay(self, times: int) -> float:
        """Seconds before the next attempt, drawn by lot from 0 on ("full jitter").

        :param times: how often it was waited before.
        """
        most = min(self.max_backoff, self.backoff * 2.0 ** min(times, 64))
        return random.uniform(0.0, most)


def policy_or_default(retry: RetryPolicy | None) -> RetryPolicy:
    """``retry``, or the default policy.

    :raises TypeError: if it is no policy.
    """
    if retry is None:
        return RetryPolicy()
    if not isinstance(retry, RetryPolicy):
        raise TypeError(f"retry must be a RetryPolicy, got {retry!r:.80}")
    return retry

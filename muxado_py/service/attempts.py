"""Attempts: whether one call is sent again, and after how long; without IO and without a clock.

What it is.  The rules that stand between a verdict and the next attempt, in one place for calls and for HTTP:

=============  =======================================================================  ================================
verdict        sent again                                                               source
=============  =======================================================================  ================================
NEVER_SENT     until the deadline: at once the first time, then with back-off           gRPC A6 ("never leaves the client")
REFUSED        at once, on another session; ``max_refusals`` in all, from the budget;   undici, gRPC A6
               not while most calls are refused                                         SRE, chapter 21
UNKNOWN        only if the call is idempotent; ``max_unknown`` in all, from the budget  Finagle, RFC 9113 8.7
PROCESSED      never
=============  =======================================================================  ================================

The rules.  The verdict of a call is the worst of those of its attempts: one that may have been executed stays one,
whatever becomes of the next.  And what never left costs the budget nothing: nobody had any load of it.

Whoever makes the attempts sees to the rest: the deadline, which session is another one, and that a request whose bytes
are not kept any more is *spent*: nothing of it can be sent again.  A session that a peer ended with an error at its very
first stream is *poisoned*: a server that fails over this request would fail over it again, on the next session (Go's
net/http2, commit ec05fdc).  Then nothing is sent again that whoever called has not called idempotent.

The trap.  A budget that is empty leaves an error that is safe to send again, and must not be: it would come
back from above, multiplied.  So it has a type of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import Retry

if TYPE_CHECKING:
    from .retry_means import RetryMeans
    from .retry_policy import RetryPolicy

__all__ = ("Attempts",)

_BADNESS = {Retry.NEVER_SENT: 0, Retry.REFUSED: 1, Retry.UNKNOWN: 2, Retry.PROCESSED: 3}


class Attempts:
    """The attempts of one call.

    :param means: those of all calls.
    :param idempotent: whether to execute it twice is as good as once.
    """

    __slots__ = (
        "_backoffs",
        "_idempotent",
        "_means",
        "_policy",
        "_refusals",
        "_unknown",
        "_unsent",
        "budget_empty",
        "ended",
        "verdict",
    )

    def __init__(self, policy: RetryPolicy, means: RetryMeans, *, idempotent: bool) -> None:
        self._policy = policy
        self._means = means
        self._idempotent = idempotent
        self._refusals = self._unknown = self._unsent = self._backoffs = 0
        self.ended = 0
        """How many attempts have ended."""
        self.verdict = Retry.NEVER_SENT
        """The worst verdict of those that have."""
        self.budget_empty = False
        """Whether the last one was not followed by another only for want of budget."""

    def note(self, verdict: Retry) -> None:
        """An attempt ended; none follows because of it."""
        self.ended += 1
        if _BADNESS[verdict] > _BADNESS[self.verdict]:
            self.verdict = verdict

    def again_after(
        self, verdict: Retry, *, spent: bool = False, poisoned: bool = False
    ) -> float | None:
        """An attempt ended: how many seconds to wait before the next one; None if there is to be none.

        :param spent: whether the request, or a part of it, is not there any more.
        :param poisoned: whether the peer ended a fresh session with an error, over this call.
        """
        self.note(verdict)
        if spent or verdict is Retry.PROCESSED or (poisoned and not self._idempotent):
            return None
        if verdict is Retry.NEVER_SENT:
            self._unsent += 1
            return 0.0 if self._unsent == 1 else self.backoff()
        if verdict is Retry.REFUSED and not poisoned:
            self._refusals += 1
            return (
                0.0 if self._refusals < self._policy.max_refusals and self._pay(verdict) else None
            )
        self._unknown += 1
        if self._idempotent and self._unknown < self._policy.max_unknown and self._pay(verdict):
            return self.backoff()
        return None

    def backoff(self) -> float:
        """Seconds to wait before something is tried that failed already, longer each time."""
        self._backoffs += 1
        return self._policy.delay(self._backoffs - 1)

    def _pay(self, verdict: Retry) -> bool:
        self.budget_empty = not self._means.take(verdict)
        return not self.budget_empty

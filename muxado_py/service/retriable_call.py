"""Retriable call: a call over all of its attempts: again after a failure, elsewhere after a refusal, twice at once if hedged.

What it is.  What a :class:`~muxado_py.Caller` makes of a call whose first attempt failed, or had no stream at once, or is to be
hedged.  gRPC's Java has a ``RetriableStream`` in this place, between a call and the streams of its attempts.

Where data comes from and goes to.  Each attempt has a stream of an :class:`AttemptSource`, and goes its way in
:mod:`~muxado_py.service.call_exchange`.  What a failure leads to is said by :mod:`~muxado_py.service.attempts`.

The rule.  One deadline is for all attempts, and each tells the other side what is left.

The traps.  Nothing may be awaited between the end of an attempt and the look at its verdict; and a stream that was opened
only to see where it leads leaves no trace as long as nothing is awaited before its reset.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from anyio import CancelScope, Event, sleep

from ..errors import MuxadoError, Retry
from ..session.siblings import has_sibling, is_poisoned
from .attempts import Attempts
from .call_errors import RetryBudgetError, no_answer_in
from .call_exchange import exchange
from .hedging import first_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ..scheduler import Priority
    from ..session.stream import Stream
    from .call_statistics import CallCounters
    from .retry_means import RetryMeans
    from .retry_policy import RetryPolicy

__all__ = ("AttemptSource", "RetriableCall")


class AttemptSource(Protocol):
    """Where attempts have their streams from, and what all calls have together: a :class:`~muxado_py.Caller`."""

    policy: RetryPolicy
    means: RetryMeans
    counters: CallCounters
    now: Callable[[], float]

    async def open_attempt(
        self,
        priority: Priority | None,
        metadata: Mapping[str, bytes] | None,
        deadline: float | None,
        number: int,
        avoid: Collection[Stream],
    ) -> Stream:
        """A stream for the attempt of this number, if there is one of another session than those of ``avoid``.

        :param deadline: by ``now``; what is left until then the other side is told.  None for no deadline.
        """

    def why_not(self) -> str:
        """Why there may have been no stream, as the end of a sentence."""


class RetriableCall:
    """A call that may need more than one attempt.

    :param source: where they have their streams from.
    :param payload: the request.
    :param priority: of each of its streams.
    :param metadata: of each of them, too.
    :param max_answer: bytes of the answer.
    :param idempotent: whether to execute it twice is as good as once.
    :param kept: whether the request has a place among what is kept for sending again.
    """

    __slots__ = (
        "_attempts",
        "_begun",
        "_deadline",
        "_kept",
        "_max_answer",
        "_metadata",
        "_payload",
        "_priority",
        "_sent",
        "_source",
    )

    def __init__(
        self,
        source: AttemptSource,
        payload: bytes,
        priority: Priority | None,
        metadata: Mapping[str, bytes] | None,
        max_answer: int,
        idempotent: bool,
        kept: bool,
    ) -> None:
        self._source = source
        self._payload = payload
        self._priority = priority
        self._metadata = metadata
        self._max_answer = max_answer
        self._kept = kept
        self._attempts = Attempts(source.policy, source.means, idempotent=idempotent)
        self._deadline: float | None = None
        self._begun: Event | None = None  # set with the first stream; of use where it is hedged
        self._sent: list[Stream] = []  # whose sessions are not the next choice

    async def make_within(
        self,
        began: float,
        timeout: float | None,
        hedge_after: float | None,
        stream: Stream | None,
        failure: MuxadoError | None,
    ) -> bytes:
        """Send the request until it is answered or must not be sent again, for ``timeout`` seconds at most.

        :param began: since then, by the loop's clock.
        :param timeout: None for no deadline.
        :param hedge_after: seconds without an answer after which it is sent once more beside the first; None for never.
        :param stream: of the first attempt, if that was made and failed.
        :param failure: with what.
        :returns: the answer.
        :raises CallTimeoutError: if they are over.
        :raises MuxadoError: if it is not to be sent again, or has no stream; ``retry`` is the verdict of all attempts.

        Cancellation: the stream is reset; the request may have been executed.
        """
        if timeout is not None:
            self._deadline = began + timeout
        with CancelScope(deadline=math.inf if timeout is None else began + timeout):
            if stream is not None and failure is not None:
                await self._wait_after(stream, failure)
            if hedge_after is None:
                return await self._make()
            return await self._make_hedged(hedge_after)
        assert timeout is not None
        verdict = self._attempts.verdict
        raise no_answer_in(timeout, verdict, "" if self._sent else self._source.why_not())

    async def _make_hedged(self, after: float) -> bytes:
        """As :meth:`_make`, and once more beside it after so many seconds without an answer, if the budget allows."""
        self._begun = Event()
        return await first_answer(self._make, after, self._source.means.budget.take, self._begun)

    async def _make(self) -> bytes:
        """Send the request until it is answered or must not be sent again."""
        while True:
            stream = await self._open()
            self._source.counters.attempts += 1
            self._sent.append(stream)
            if self._begun is not None:
                self._begun.set()
            try:
                answer = await exchange(stream, self._payload, self._max_answer)
            except MuxadoError as exc:
                failure = exc
            except BaseException:
                self._attempts.note(stream.retry)
                raise
            else:
                # If it is hedged, the deadline may come before the other attempt has ended, and the answer to nobody.
                self._attempts.note(Retry.PROCESSED)
                return answer
            await self._wait_after(stream, failure)

    async def _wait_after(self, stream: Stream, failure: MuxadoError) -> None:
        """An attempt failed: wait until the next one may be made.

        :raises MuxadoError: if there is to be none.
        """
        attempts = self._attempts
        delay = attempts.again_after(
            failure.retry, spent=not self._kept, poisoned=is_poisoned(stream)
        )
        if delay is None:
            failure.retry = attempts.verdict
            if not attempts.budget_empty:
                raise failure
            raise RetryBudgetError(
                f"{failure}: too many calls fail to send this one again now; do not send it again above, either",
                code=failure.code,
                retry=attempts.verdict,
                remote=failure.remote,
            ) from failure
        if stream not in self._sent:
            self._sent.append(stream)
        if delay:
            await sleep(delay)

    async def _open(self) -> Stream:
        """A stream for the next attempt: on another session than those before, or after a while."""
        stream = await self._open_one()
        if self._attempts.verdict is Retry.REFUSED and has_sibling(stream, self._sent):
            stream.reset()  # before its SYN
            await sleep(self._attempts.backoff())
            stream = await self._open_one()
        return stream

    async def _open_one(self) -> Stream:
        number = len(self._sent) + 1
        try:
            return await self._source.open_attempt(
                self._priority, self._metadata, self._deadline, number, self._sent
            )
        except MuxadoError as exc:
            exc.retry = self._attempts.verdict
            raise

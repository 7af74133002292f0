"""Sending HTTP requests again: whether, on which stream, and with which body.

Where data comes from and goes to.  A transport (:mod:`.httpx`) gives a request here that it would send; it is sent by
that transport, once or again and again, by the rules of :mod:`~muxado_py.service.attempts`.  A :class:`Body` goes with
each attempt: what was sent of it before, and then the rest.

The rules.  What decides is the verdict of the attempt's own stream: so with a policy each request has a stream of its own,
because on one that carries several the answer to one is none to the next.  A time-out of the caller's is no failure of an
attempt: whoever has waited as long as he wants is told so.  Once an answer has begun it is the caller's.

The trap.  A body is an iterator that can be asked once, and the attempt that fails was in the middle of it.  So it is one
iterator for all attempts, and what it gave is kept, up to a bound; beyond it the request is *spent*, and goes on without
another attempt.  And the source may fail with an exception of the very library, where it is the answer of another server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio import sleep

from ..errors import ErrorCode, Retry
from ..service.attempts import Attempts
from ..service.call_errors import RetryBudgetError
from ..session.siblings import is_poisoned
from .verdicts import error_behind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from typing import Self

    from ..service.retry_means import RetryMeans
    from ..service.retry_policy import RetryPolicy
    from .httpx_exchange import Exchange

__all__ = ("IDEMPOTENT", "Resending")

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods that may be sent again though they may have been executed: RFC 9110 9.2.2."""


class Body:
    """The body of a request, from its beginning for each attempt.

    :param source: iterated once.
    :param limit: bytes of it that may be kept.
    :param means: what all bodies have together.
    """

    def __init__(self, source: AsyncIterator[bytes], limit: int, means: RetryMeans) -> None:
        self._source = source
        self._limit = limit
        self._means = means
        self._chunks: list[bytes] = []
        self._size = 0
        self._is_over = False
        self.is_spent = False
        """Whether some of it was sent and is here no more, or its source failed."""

    def again(self) -> AsyncIterator[bytes]:
        """What was sent before, and then the rest.

        Cancellation: of an iterator that is cancelled nobody knows what is lost; there is no other attempt.
        """
        return _Reading(iter(self._chunks), self._next)

    async def _next(self) -> bytes:
        """What no attempt has asked for yet.

        :raises StopAsyncIteration: when that was all.
        """
        if self._is_over:
            raise StopAsyncIteration
        try:
            chunk = await self._source.__anext__()
        except StopAsyncIteration:
            self._is_over = True
            raise
        except BaseException:
            # What failed is over as well: asked again it would end here, and what is a part would look whole.
            self.is_spent = True
            self.forget()
            raise
        if type(chunk) is not bytes:  # its source may fill it again
            chunk = bytes(chunk)
        self._keep(chunk)
        return chunk

    def _keep(self, chunk: bytes) -> None:
        if self.is_spent:
            return
        size, means = len(chunk), self._means
        if self._size + size > self._limit or means.kept + size > means.replay_total:
            self.is_spent = True
            self.forget()
            return
        self._chunks.append(chunk)
        self._size += size
        means.kept += size

    def forget(self) -> None:
        """Nothing of it is sent again."""
        self._chunks.clear()
        self._means.kept -= self._size
        self._size = 0


class _Reading:
    """A body as one attempt reads it.

    No generator: an attempt that fails leaves it behind in the middle, and of generators Trio says so.

    :param kept: what was sent before.
    :param further: gives what comes then.
    """

    def __init__(self, kept: Iterator[bytes], further: Callable[[], Awaitable[bytes]]) -> None:
        self._kept = kept
        self._further = further

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        for chunk in self._kept:
            return chunk
        return await self._further()


class Resending:
    """What one client sends again.

    :param means: the budget, and the room for bodies; those of a pool, where the client is one of its.
    :param failures: the library's exceptions for what happens on the way; all others are the caller's: his patience is
        over, or what he sends is wrong.
    :param never_sent: the one for what nobody has seen.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        means: RetryMeans,
        failures: tuple[type[Exception], ...],
        never_sent: type[Exception],
    ) -> None:
        self._policy = policy
        self._means = means
        self._failures = failures
        self._never_sent = never_sent

    def body(self, source: AsyncIterator[bytes]) -> Body:
        """A body that can be sent again."""
        return Body(source, self._policy.replay_limit, self._means)

    async def send(
        self,
        send: Callable[[], Awaitable[Any]],
        exchange: Exchange,
        body: Body,
        *,
        idempotent: bool,
    ) -> Any:
        """Call ``send`` until it succeeds, or must not be called again.

        :raises: what ``send`` raises last, with the verdict of all attempts; of the same kind, raised from a
            :exc:`RetryBudgetError`, if only the budget stands against another, or most requests are refused.

        Cancellation: no more attempts are made.
        """
        means = self._means
        if (held_back := means.hold_back("requests")) is not None:
            raise self._never_sent(str(held_back)) from held_back
        attempts = Attempts(self._policy, means, idempotent=idempotent)
        means.budget.count_call()
        verdict: Retry | None = None
        try:
            while True:
                exchange.begin()
                try:
                    answer = await send()
                    verdict = Retry.PROCESSED
                    return answer
                except self._failures as exc:
                    delay = self._again_after(exc, exchange, body, attempts)
                    if delay is None:
                        verdict = attempts.verdict
                        self._raise(exc, exchange, attempts)
                except Exception as exc:
                    self._note(exc, exchange, attempts)
                    raise
                except BaseException:
                    attempts.note(exchange.verdict())
                    raise
                if attempts.verdict is Retry.REFUSED:
                    exchange.backoff = attempts.backoff()
                if delay:
                    await sleep(delay)
        finally:
            exchange.in_all = attempts.verdict
            if verdict is not None:
                means.ended(verdict)
            body.forget()

    def _again_after(
        self, exc: Exception, exchange: Exchange, body: Body, attempts: Attempts
    ) -> float | None:
        """In how many seconds to send it again; None if not."""
        if exchange.stream is None:
            # What opens the streams has waited for a session and a slot as long as it may.
            self._note(exc, exchange, attempts)
            return None
        return attempts.again_after(
            exchange.verdict(exc), spent=body.is_spent, poisoned=is_poisoned(exchange.stream)
        )

    def _note(self, exc: Exception, exchange: Exchange, attempts: Attempts) -> None:
        """No attempt follows; the verdict of ``exc`` is that of all there were."""
        attempts.note(exchange.verdict(exc))
        error = error_behind(exc)
        if error is not None and exc is not exchange.source_failure:
            error.retry = attempts.verdict

    def _raise(self, exc: Exception, exchange: Exchange, attempts: Attempts) -> None:
        if exc is exchange.source_failure:
            raise exc
        error = error_behind(exc)
        if error is not None:
            error.retry = attempts.verdict
        if not attempts.budget_empty:
            raise exc
        text = f"{exc}: too many requests fail to send this one again now; do not send it again above, either"
        code = ErrorCode.NO_ERROR if error is None else error.code
        empty = RetryBudgetError(text, code=code, retry=attempts.verdict)
        empty.__cause__ = exc
        raise type(exc)(text) from empty

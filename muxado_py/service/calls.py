"""Calls: a question and its answer over a stream of their own, sent again where that is safe.

Where data comes from and goes to.  A call is one stream: the request and its end, then the answer and its end
(:mod:`~muxado_py.service.call_frames`).  Who opens the streams, one session or a pool of them, is all the same here; what more
than one attempt needs is in :mod:`~muxado_py.service.retriable_call`.

The rules.  A call that need not wait for a session and goes well the first time makes no object but its stream, and a timer if
it has a deadline: what is needed to send it again is made when that is to be done.  And whatever ends a call, it has a verdict:
also the deadline.

What an open raises is passed on, and the open not tried again: it waited for a session, and for a slot, as long as it
may.

The trap.  A call that is cancelled before it begins sends nothing: so the first attempt has its stream without a wait only where
no checkpoint is due.
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ..arguments import check_able, check_whole, octets
from ..errors import MuxadoError, Retry
from ..runtime.checkpoints import current_backend
from .call_errors import no_answer_in
from .call_exchange import exchange
from .call_frames import call_metadata, check_call
from .call_statistics import CallCounters
from .retriable_call import RetriableCall
from .retry_means import RetryMeans
from .retry_policy import policy_or_default
from .stream_calls import stream_call
from .telling import open_told

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from contextlib import AbstractAsyncContextManager

    from ..scheduler import Priority
    from ..session.stream import Stream
    from .call_pieces import StreamCall
    from .call_statistics import CallStatistics
    from .retry_policy import RetryPolicy

__all__ = ("MAX_ANSWER", "Caller", "Opener")

MAX_ANSWER = 4 * 1024 * 1024
"""Bytes of an answer, unless whoever calls says otherwise; gRPC's default for a message."""


class Opener(Protocol):
    """What calls, and requests of an HTTP client, are made over: a :class:`~muxado_py.Session`, or a pool."""

    async def open_stream(
        self,
        *,
        priority: Priority | None = None,
        metadata: Mapping[str, bytes] | None = None,
        timeout: float | None = 0.0,
    ) -> Stream:
        """Open a stream to a peer that serves them; wait for a slot, and a session, for so many seconds."""


_OpenAtOnce: TypeAlias = "Callable[[Priority | None, Mapping[str, bytes] | None], Stream | None]"


def _never_at_once(_priority: Priority | None, _metadata: Mapping[str, bytes] | None) -> None:
    """Each stream is waited for."""


class Caller:
    """Makes calls over a session.

    Its calls have one budget for what is sent again, and one bound for what is kept for that; so make one for each
    session, not one for each call.  It belongs to the event loop in which it is made.

    :param opener: whose :meth:`~muxado_py.Session.open_stream` is called for each attempt.
    :param retry: how often is sent again what may be; default ``RetryPolicy()``.
    :raises TypeError: if ``retry`` is none, or ``opener`` opens no streams.
    """

    def __init__(self, opener: Opener, retry: RetryPolicy | None = None) -> None:
        check_able("opener", opener, "a Session, or what opens streams as one", "open_stream")
        self._opener = opener
        self._open = opener.open_stream
        # What an application made itself need not have it; and past what wraps a session that is not to be asked.
        at_once = getattr(type(opener), "open_stream_at_once", None)
        self._open_at_once: _OpenAtOnce = (
            _never_at_once if at_once is None else MethodType(at_once, opener)
        )
        self.policy = policy = policy_or_default(retry)
        backend = current_backend()
        self.now = now = backend.time
        self._checkpoint_due = backend.checkpoint_due
        self.means = RetryMeans(policy, now)
        self.counters = CallCounters()
        self._hedge_after = policy.hedge_after
        self._replay_limit = policy.replay_limit

    async def call(
        self,
        payload: bytes | bytearray | memoryview,
        *,
        timeout: float | None = None,
        idempotent: bool = False,
        priority: Priority | None = None,
        metadata: Mapping[str, bytes] | None = None,
        max_answer: int = MAX_ANSWER,
    ) -> bytes:
        """Ask the other side's ``serve_calls``, and wait for the answer.

        What is safe to send again is sent again, by the rules of docs/calls.md.

        :param payload: the request; up to ``RetryPolicy.replay_limit`` bytes it can be sent again.
        :param timeout: seconds for all of it; the other side is told what is left of it, and stops when it is over.
            None for no deadline.
        :param idempotent: whether to execute it twice is as good as once: then it is sent again also if it may have been
            executed.
        :param priority: its place among the streams of the session.
        :param metadata: what goes with it, for the handler's ``request.metadata``; see :meth:`.Session.open_stream`.  64 of
            its 4,096 bytes are the call's own.
        :param max_answer: the most bytes that the answer may have.
        :returns: the answer.
        :raises CallError: if the handler answered with an error.
        :raises CallTimeoutError: if there was no answer in time.
        :raises RetryBudgetError: if it was not sent again, though it could be, because so many are; or was not sent at
            all, because most are refused (``RetryPolicy.sent_per_accepted``).
        :raises AnswerError: if the answer is longer than ``max_answer``, or none.
        :raises StreamError: if the stream ended otherwise.
        :raises SessionError: if the session did, or no stream could be opened.
        :raises NotImplementedError: if there is ``metadata`` and the peer is no muxado_py, or the wire another; and
            on smux, where a request has no end (``Config.half_close``).
        :raises TypeError: if an argument is of a wrong type.
        :raises ValueError: if an argument is out of its range.  Every MuxadoError has ``retry``, the verdict of all
            attempts together.

        Cancellation: the stream is reset; the request may have been executed.
        """
        began = self.now()
        kept: int | None = None
        try:
            if type(payload) is not bytes:
                payload = octets(payload)
            if timeout is not None or metadata:
                check_call(timeout, metadata)
            if max_answer is not MAX_ANSWER:
                check_whole("max_answer", max_answer, 0, 2**40)
            means = self.means
            if (held_back := means.hold_back()) is not None:
                raise held_back
            means.budget.count_call()
            size = len(payload)
            if size <= self._replay_limit and means.kept + size <= means.replay_total:
                means.kept += size
                kept = size
            hedge_after = self._hedge_after if idempotent and kept is not None else None
            failure: MuxadoError | None = None
            stream = None
            deadline = None if timeout is None else began + timeout
            if hedge_after is None and not self._checkpoint_due():
                stream = self._open_first(priority, metadata, timeout)
            # In no function of its own: a call would pay for it each time that it is woken.
            if stream is not None:
                self.counters.attempts += 1
                try:
                    answer = await exchange(stream, payload, max_answer, deadline)
                except MuxadoError as exc:
                    failure = exc
                except TimeoutError:
                    assert timeout is not None
                    raise no_answer_in(timeout, stream.retry) from None
            if stream is None or failure is not None:
                call = RetriableCall(
                    self, payload, priority, metadata, max_answer, idempotent, kept is not None
                )
                answer = await call.make_within(began, timeout, hedge_after, stream, failure)
        except BaseException as exc:
            self.counters.ended(exc, self.now() - began)
            if isinstance(exc, MuxadoError):
                self.means.ended(exc.retry)
            raise
        finally:
            if kept:
                self.means.kept -= kept
        self.counters.ended(None, self.now() - began)
        means.ended(Retry.PROCESSED)
        return answer

    def statistics(self) -> CallStatistics:
        """A snapshot of what became of the calls.  Never waits."""
        return self.counters.statistics(self.means.budget.balance)

    def _open_first(
        self,
        priority: Priority | None,
        metadata: Mapping[str, bytes] | None,
        left: float | None,
    ) -> Stream | None:
        """A stream for the first attempt, if there is no need to wait for one."""
        if left is None:
            return self._open_at_once(priority, metadata)
        if left <= 0:
            return None
        try:
            return self._open_at_once(priority, call_metadata(metadata, left, 1))
        except NotImplementedError:
            return None if metadata else self._open_at_once(priority, None)

    def stream_call(
        self,
        *,
        timeout: float | None = None,
        priority: Priority | None = None,
        metadata: Mapping[str, bytes] | None = None,
        max_piece: int = MAX_ANSWER,
    ) -> AbstractAsyncContextManager[StreamCall]:
        """Ask the other side's ``stream_handler``: ``async with caller.stream_call() as call``.

        In the block ``await call.send(piece)`` and ``await call.send_eof()`` make the request, and ``async for piece in call`` has the
        answer; both may go on at once.  Who leaves the block before the end of the answer gives the call up.  It is sent once:
        what was sent is not kept.

        :param timeout: seconds for all of the block; None for no deadline.
        :param priority: as for :meth:`call`.
        :param metadata: likewise.
        :param max_piece: the most bytes that a piece of the answer may have.
        :raises: as :meth:`call`, of what is entered, done in the block, and left: :exc:`CallError` behind the last piece if
            the handler ended with an error, :exc:`AnswerError` for a piece that is too long, or if the answer broke off.

        Cancellation: the stream is reset; the request may have been executed.
        """
        self.means.budget.count_call()

        async def open_one(deadline: float | None) -> Stream:
            return await self.open_attempt(priority, metadata, deadline, 1, ())

        return stream_call(open_one, self.now, timeout, metadata, max_piece)

    async def open_attempt(
        self,
        priority: Priority | None,
        metadata: Mapping[str, bytes] | None,
        deadline: float | None,
        number: int,
        avoid: Collection[Stream],
    ) -> Stream:
        """A stream for one attempt, which says what is left of the time where that can be said."""

        async def open_one() -> Stream:
            return await self.open_elsewhere(priority, metadata, avoid)

        def left() -> float | None:
            return None if deadline is None else deadline - self.now()

        return await open_told(open_one, self._opener, metadata, left, number)

    async def open_elsewhere(
        self,
        priority: Priority | None,
        metadata: Mapping[str, bytes] | None,
        avoid: Collection[Stream],
    ) -> Stream:
        """A stream for one attempt, of another session than those streams if there is one."""
        return await self._open(priority=priority, metadata=metadata, timeout=None)

    def why_not(self) -> str:
        """Why there may have been no stream, as the end of a sentence."""
        return ""

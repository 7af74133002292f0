"""Pool calls: the calls of a pool, which has another session for what one has refused.

What it is.  What :class:`~muxado_py.Pool` has of :mod:`~muxado_py.service.calls`: one :class:`~muxado_py.Caller` for all of its
sessions, so that they have one budget; and HTTP clients of the pool pay from the same.

The rule.  Who is refused by one session asks another, if there is one; and who waited for a session in vain is told what was
wrong with each target.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from .calls import MAX_ANSWER, Caller

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from contextlib import AbstractAsyncContextManager

    from ..scheduler import Priority
    from ..session.stream import Stream
    from .call_pieces import StreamCall
    from .call_statistics import CallStatistics
    from .retry_means import RetryMeans
    from .retry_policy import RetryPolicy

__all__ = ("PoolCalls",)


class PoolCalls:
    """The base of a pool.

    :param retry: how often its calls are sent again.
    """

    def __init__(self, retry: RetryPolicy | None) -> None:
        self._caller = _PoolCaller(self, retry)

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
        """Ask one of the peers' ``serve_calls``, and wait for the answer: :meth:`.Caller.call`, over all sessions.

        It waits for a session, too; and what one refuses is sent to another.

        Cancellation: as there.
        """
        return await self._caller.call(
            payload,
            timeout=timeout,
            idempotent=idempotent,
            priority=priority,
            metadata=metadata,
            max_answer=max_answer,
        )

    def stream_call(
        self,
        *,
        timeout: float | None = None,
        priority: Priority | None = None,
        metadata: Mapping[str, bytes] | None = None,
        max_piece: int = MAX_ANSWER,
    ) -> AbstractAsyncContextManager[StreamCall]:
        """A call whose request and answer come in pieces: :meth:`.Caller.stream_call`, over one of the sessions."""
        return self._caller.stream_call(
            timeout=timeout, priority=priority, metadata=metadata, max_piece=max_piece
        )

    def call_statistics(self) -> CallStatistics:
        """A snapshot of what became of its calls, over all sessions.  Never waits."""
        return self._caller.statistics()

    @property
    def retry_means(self) -> RetryMeans:
        """What its calls have for sending again, for others who send over its sessions."""
        return self._caller.means

    @abstractmethod
    async def open_stream(
        self,
        *,
        priority: Priority | None = None,
        stream_type: int | None = None,
        metadata: Mapping[str, bytes] | None = None,
        timeout: float | None = None,
        avoid: Collection[Stream] = (),
    ) -> Stream:
        """See :meth:`.Pool.open_stream`."""

    @property
    @abstractmethod
    def heard(self) -> bool:
        """See :attr:`.Pool.heard`."""

    @abstractmethod
    def why_not(self) -> str:
        """What is wrong with each target, in words."""


class _PoolCaller(Caller):
    def __init__(self, pool: PoolCalls, retry: RetryPolicy | None) -> None:
        super().__init__(pool, retry)
        self._pool = pool

    async def open_elsewhere(
        self,
        priority: Priority | None,
        metadata: Mapping[str, bytes] | None,
        avoid: Collection[Stream],
    ) -> Stream:
        return await self._pool.open_stream(priority=priority, metadata=metadata, avoid=avoid)

    def why_not(self) -> str:
        return f": {self._pool.why_not()}"

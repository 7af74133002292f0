"""Exchanges: a request of an HTTP client on its way to an answer, and the stream that each of its attempts has.

Where data comes from and goes to.  The transport of :mod:`.httpx` makes an :class:`Exchange` for each request and says with
:data:`CURRENT` that it is under way; :mod:`.httpx_backend` opens a stream for it and notes what came; :mod:`.httpx_retry` asks it for
the verdict of an attempt, and begins another.

The rules.  An attempt after one that was refused goes to another session, or waits for a while.  What the other side is told (how long
the request may take, which attempt it is) is told with the stream (:mod:`~muxado_py.service.telling`).
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import anyio

from ..errors import Retry
from ..service.telling import open_told
from ..session.session import Session
from ..session.siblings import has_sibling
from .verdicts import retry_verdict

if TYPE_CHECKING:
    from ..scheduler import Priority
    from ..service.calls import Opener
    from ..session.stream import Stream

__all__ = ("CURRENT", "Exchange", "open_stream")


class Exchange:
    """One request on its way to an answer: what is wanted of its stream, and which one it has.

    :param priority: that of the request; None for the client's.
    :param deadline: when it is given up, by ``anyio.current_time()``; None for never.
    :param shares: whether others send on its stream at the same time (HTTP/2).
    """

    __slots__ = (
        "_shares",
        "backoff",
        "deadline",
        "failed",
        "in_all",
        "is_answered",
        "priority",
        "source_failure",
        "stream",
    )

    def __init__(
        self, priority: Priority | None, deadline: float | None, *, shares: bool = False
    ) -> None:
        self.priority = priority
        self.deadline = deadline
        self._shares = shares
        self.stream: Stream | None = None
        """That of the present attempt, once it was opened."""
        self.is_answered = False
        """Whether anything came on it since this request began."""
        self.failed: list[Stream] = []
        """Those of the attempts before."""
        self.backoff = 0.0
        """Seconds to wait before a stream is opened on a session on which one of those was."""
        self.source_failure: BaseException | None = None
        """What the source of the body has raised."""
        self.in_all = Retry.NEVER_SENT
        """The worst verdict of all attempts, once no more are made."""

    def begin(self) -> None:
        """Another attempt."""
        if self.stream is not None:
            self.failed.append(self.stream)
        self.stream = None
        self.is_answered = False

    def verdict(self, error: BaseException | None = None) -> Retry:
        """May the request be sent again, as far as this attempt goes?"""
        if error is self.source_failure:
            error = None  # it is none of this attempt's
        if error is None or (verdict := retry_verdict(error)) is Retry.UNKNOWN:
            if self.stream is None:
                # Where requests share a stream, the task of another writes what is there of all of them.
                is_sent = error is not None or self._shares
                return Retry.UNKNOWN if is_sent else Retry.NEVER_SENT
            verdict = self.stream.retry
        if verdict is Retry.PROCESSED and not self.is_answered:
            return Retry.UNKNOWN  # it answered the request before
        return verdict


CURRENT: ContextVar[Exchange | None] = ContextVar("muxado_exchange", default=None)
"""Whose request the running task sends."""


async def open_stream(
    opener: Opener, priority: Priority | None, timeout: float | None, exchange: Exchange | None
) -> Stream:
    """A stream for one attempt; on another session than those before, or after a while.

    :param priority: of a request that wants none.
    :param timeout: seconds to wait for a session and a slot; None for as long as it takes.
    :param exchange: the request; None if it is not known which.
    :raises: what ``opener`` raises.

    Cancellation: no stream is opened.
    """
    if exchange is None:
        return await opener.open_stream(priority=priority, timeout=timeout)
    if exchange.priority is not None:
        priority = exchange.priority
    began = anyio.current_time()
    stream = await _open(opener, priority, timeout, exchange)
    if exchange.backoff and has_sibling(stream, exchange.failed):
        stream.reset()  # nothing was awaited since, so its SYN has not gone
        await anyio.sleep(exchange.backoff)
        if timeout is not None:
            timeout = max(0.0, timeout - (anyio.current_time() - began))
        stream = await _open(opener, priority, timeout, exchange)
    return stream


async def _open(
    opener: Opener, priority: Priority | None, timeout: float | None, exchange: Exchange
) -> Stream:
    until = math.inf if timeout is None else anyio.current_time() + timeout
    options: Any = {"priority": priority}
    if exchange.failed and not isinstance(opener, Session):
        options["avoid"] = exchange.failed

    async def open_one() -> Stream:
        seconds = None if timeout is None else max(0.0, until - anyio.current_time())
        return await opener.open_stream(timeout=seconds, **options)

    def left() -> float | None:
        return None if exchange.deadline is None else exchange.deadline - anyio.current_time()

    return await open_told(open_one, opener, None, left, len(exchange.failed) + 1)

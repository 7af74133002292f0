"""Services: what a pool does in the background for as long as it is wanted.

The rule.  What ends a service ends neither the pool nor another service: the failure is kept for whoever waits, and
logged, for often nobody does.

The trap.  A service may be ended while it starts, and before its task has begun.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from anyio import TASK_STATUS_IGNORED, CancelScope

from ..errors import SessionClosedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import Self

    from anyio.abc import TaskStatus

    from .background import Background

__all__ = ("Forward", "Service")

logger = logging.getLogger("muxado.blocking")


class Service:
    """Something that runs in the background; made by the methods of :class:`.Pool`, never directly.

    It ends with :meth:`close`, with the block that it is used for, or with its pool.
    """

    def __init__(self, background: Background, what: str) -> None:
        self._background = background
        self._what = what
        self._scope: CancelScope | None = None  # once its task has begun
        self._is_cancelled = False
        self._has_started = False
        self._over = threading.Event()
        self._failure: Exception | None = None

    def __repr__(self) -> str:
        return f"<muxado_py.blocking.{type(self).__name__} {self._what}{' ended' if self._over.is_set() else ''}>"

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def start(self, function: Callable[..., Awaitable[object]]) -> Any:
        """Run ``function(task_status=...)``; what it has started with.

        :raises SessionClosedError: if it was closed before.
        :raises Exception: what it raised before.
        """
        try:
            started = self._background.start(partial(self._run, function))
        except BaseException:
            self._background.soon(self._cancel)  # whoever was interrupted leaves nothing running
            if self._scope is None:
                self._over.set()
            raise
        self._has_started = True
        return started

    def _cancel(self) -> None:
        """In the thread."""
        self._is_cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    async def _run(
        self,
        function: Callable[..., Awaitable[object]],
        *,
        task_status: TaskStatus[Any] = TASK_STATUS_IGNORED,
    ) -> None:
        try:
            with CancelScope() as self._scope:
                if self._is_cancelled:
                    self._scope.cancel()
                await function(task_status=task_status)
        except Exception as exc:
            self._failure = exc
            if self._has_started:
                logger.exception("%s ended", self._what)
            raise
        finally:
            self._over.set()
        if self._scope.cancelled_caught and not self._has_started:
            raise SessionClosedError("you closed this before it had started")

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it is over.

        :param timeout: seconds to wait at most; None for as long as it takes.
        :raises ForkedError: in a process that was forked, if it was not over before.
        :raises TimeoutError: if it is not over then; it goes on.
        :raises Exception: what ended it, if it failed.
        """
        if not self._over.is_set():
            self._background.check()
            if not self._over.wait(timeout):
                raise TimeoutError(f"{self._what} goes on after {timeout:g} s")
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End it, and wait until it is over; again, nothing.

        A server lets requests in flight finish first, for its ``graceful_timeout``.
        """
        if not self._over.is_set():
            self._background.check()
            self._background.soon(self._cancel)
            self._over.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Forward(Service):
    """A local port whose connections are streams of the pool; made by :meth:`.Pool.forward`.

    :ivar host: the address at which it listens.
    :ivar port: the port, a free one if 0 was asked for.
    """

    host: str
    port: int

    def listens_at(self, address: tuple[Any, ...]) -> None:
        """Say where it listens, once it does: what it is called has the port that it got."""
        self.host, self.port = address[:2]
        self._what = f"the forwarding of {self.host}:{self.port}"

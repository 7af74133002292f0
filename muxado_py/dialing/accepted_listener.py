"""AcceptedListener: the streams of all sessions that others dial, as one listener.

What it is.  A server that is given it starts once, however many dial in, and however often they come and go.

Where data comes from and goes to.  It takes the connections of a :class:`~muxado_py.SessionListener` while it is
served; each session's streams go to the server's handler (:mod:`~muxado_py.session.sessions_listener`).

The rule.  A server that ends finishes what is in flight, so its sessions must outlive its cancellation: they are shielded from it,
and each is drained from then on.  It is over with its last stream, which ends with its handler.

The trap.  Whoever has been let in and never says a word can still be let go: that cancellation comes from within the shield.
"""

from __future__ import annotations

import logging
import math
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, ClosedResourceError, Event, ResourceGuard, create_task_group

from ..arguments import check_function
from ..errors import SessionError, UndeliveredError
from ..session.listener import StreamListener
from ..session.sessions_listener import SessionsListener

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from ..session.session import Session
    from ..session.stream import Stream

__all__ = ("AcceptedListener",)

logger = logging.getLogger("muxado.endpoints")


class AcceptedListener(StreamListener):
    """Listens for the streams of those that dial in; made by ``SessionListener.net_listener``.

    :param serve_sessions: calls what it is given with each session, until ``stop`` was called and all are over.
    """

    def __init__(
        self,
        serve_sessions: Callable[[Callable[[Session], Awaitable[object]]], Awaitable[None]],
        stop: Callable[[], Awaitable[None]],
    ) -> None:
        self._serve_sessions = serve_sessions
        self._stop = stop
        self._sessions = SessionsListener()
        self._over = Event()
        self._guard = ResourceGuard("serving")
        self._failure: Exception | None = None

    async def serve(
        self,
        handler: Callable[[Stream], Any],
        task_group: TaskGroup | None = None,
        *,
        reuse_tasks: bool | None = None,
    ) -> None:
        """Take connections, and call ``handler(stream)`` for each stream of each session, until this is closed.

        For the parameters, and for what becomes of a stream, see :meth:`.NetListener.serve`; the sessions run in
        ``task_group`` too.

        :raises TypeError: if ``handler`` is no function.
        :raises ~anyio.BusyResourceError: if it is being served already.
        :raises ~anyio.ClosedResourceError: if it was closed, or its serving was cancelled.
        :raises OSError: if no connection can be accepted any more.

        Cancellation: no more connections are taken; each session is drained, and over with its last stream.
        """
        check_function("handler", handler)
        if self._over.is_set():
            raise ClosedResourceError
        async with AsyncExitStack() as stack:
            stack.enter_context(self._guard)
            if task_group is None:
                task_group = await stack.enter_async_context(create_task_group())
                reuse_tasks = reuse_tasks is not False
            task_group.start_soon(self._accept)
            try:
                await self._sessions.serve(handler, task_group, reuse_tasks=reuse_tasks)
            finally:
                self._over.set()
                with CancelScope(shield=True):
                    await self._stop()
        if self._failure is not None:
            raise self._failure

    async def _accept(self) -> None:
        with CancelScope(shield=True):
            try:
                await self._serve_sessions(self._attach)
            except Exception as exc:  # noqa: BLE001 - raised where it is served
                self._failure = exc
                await self._sessions.aclose()

    async def _attach(self, session: Session) -> None:
        failure: SessionError | None = None
        async with create_task_group() as tasks:
            tasks.start_soon(self._drain_at_the_end, session)
            try:
                await self._sessions.attach(session)
            except SessionError as exc:
                failure = exc  # raised below: a task group would wrap it
            finally:
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _drain_at_the_end(self, session: Session) -> None:
        await self._over.wait()
        try:
            await session.drain(math.inf)
        except UndeliveredError as exc:
            logger.warning("%s", exc)

    async def aclose(self) -> None:
        """Take no more connections, and refuse the streams that come; accepted ones go on.

        Cancellation: it is closed all the same.
        """
        self._over.set()
        try:
            await self._sessions.aclose()
        finally:
            await self._stop()

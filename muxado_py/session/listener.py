"""The peer's streams as an anyio listener.

What it is.  The anyio form of Go's "a session is a ``net.Listener``": anything that serves an
``anyio.abc.Listener`` serves a session's streams.

The rules.  One stream's trouble is its own: what a handler raises ends that stream and nothing else.
A closed listener takes nothing any more: streams that wait are refused at once, and those
that come later too, so that a dialer learns it from an error that is safe to retry instead of
waiting for a time-out.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from anyio import create_task_group
from anyio.abc import Listener

from ..arguments import check_function
from ..errors import SessionClosedError, SessionError, StreamClosedError
from .handlers import MAX_IDLE_TASKS, Handlers
from .stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyio.abc import TaskGroup

    from .driver import Driver

__all__ = ("NetListener", "StreamListener")


class StreamListener(Listener[Stream]):
    """A listener of streams that may serve them in tasks which go on to the next."""

    @abstractmethod
    async def serve(
        self,
        handler: Callable[[Stream], Any],
        task_group: TaskGroup | None = None,
        *,
        reuse_tasks: bool | None = None,
    ) -> None:
        """See :meth:`NetListener.serve`."""


class NetListener(StreamListener):
    """Listens for the streams that the peer opens; made by ``Session.net_listener``."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The transport's addresses, as ``SocketAttribute.local_address`` and ``remote_address``."""
        return self._driver.stream_attributes

    async def accept(self) -> Stream:
        """Wait for the next stream; see :meth:`Session.accept_stream`.

        :raises ~anyio.ClosedResourceError: if the listener was closed.
        :raises SessionError: if the session is over.

        Cancellation: no stream is lost.
        """
        return Stream(self._driver, await self._driver.acceptors.accept())

    async def serve(
        self,
        handler: Callable[[Stream], Any],
        task_group: TaskGroup | None = None,
        *,
        reuse_tasks: bool | None = None,
    ) -> None:
        """Call ``handler(stream)`` for each stream, all at once, until the session is over.

        The stream is closed when its handler returns.  A handler that raises gets its stream reset
        and a line in the log ``muxado.handler``; the others go on.  Each runs in a context of its
        own.  Where tasks are reused its task may have run an earlier one, and may run a later
        one: do not cancel ``asyncio.current_task()`` of a handler that has returned, and do not wait for
        it to be done.  Streams go to ``serve`` and past whoever waits in :meth:`accept`.

        :param task_group: where the handlers run; default one of its own, which this waits for.
        :param reuse_tasks: whether a task that is done with a stream goes on to another, which costs less than to
            start one; default yes in a task group of its own, and no in yours.
        :raises TypeError: if ``handler`` is no function.
        :raises RuntimeError: what a ``task_group`` raises that has ended, when the next stream comes; that
            stream is reset, and the session goes on.
        :raises SessionError: if the session ended otherwise than by a goodbye; handlers in a task group of
            its own are cancelled.

        Cancellation: the handlers are cancelled too, if the task group is its own.
        """
        check_function("handler", handler)
        if task_group is not None:
            most_idle = MAX_IDLE_TASKS if reuse_tasks else 0
            await self._serve(Handlers(self._driver, handler, task_group, most_idle))
            return
        failure: SessionError | None = None
        async with create_task_group() as tasks:  # of our own, so that its tasks may go on
            try:
                most_idle = 0 if reuse_tasks is False else MAX_IDLE_TASKS
                await self._serve(Handlers(self._driver, handler, tasks, most_idle))
            except SessionError as exc:
                failure = exc  # raised below, or it would be a group of one
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _serve(self, handlers: Handlers) -> None:
        try:
            with suppress(SessionClosedError, StreamClosedError):
                await self._driver.acceptors.hand_off_to(handlers.take)
        finally:
            handlers.close()

    async def aclose(self) -> None:
        """Refuse the streams that wait and those that come; accepted ones go on.

        Whoever waits in ``accept`` or ``serve`` learns it at once.  A session has one listener:
        this closes all that ``net_listener`` gave.

        Cancellation: the listener is closed all the same.
        """
        self._driver.stop_accepting()
        await self._driver.checkpoint()

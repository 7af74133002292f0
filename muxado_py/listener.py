"""The peer's streams as an anyio listener.

What it is.  The anyio form of Go's "a session is a ``net.Listener``": anything that serves an
``anyio.abc.Listener`` serves a session's streams.

The rules.  One stream's trouble is its own: what a handler raises ends that stream and nothing else.
A closed listener takes nothing any more: streams that wait are refused at once, and those
that come later too, so that a dialer learns it from an error that is safe to retry instead of
waiting for a time-out.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import BrokenResourceError, EndOfStream, create_task_group
from anyio.abc import Listener
from anyio.lowlevel import checkpoint

from .errors import ErrorCode, SessionClosedError, StreamClosedError
from .stream import Stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from anyio.abc import TaskGroup

    from .driver import Driver

__all__ = ("NetListener", "contain")

Subject = TypeVar("Subject")

logger = logging.getLogger("muxado.handler")


class NetListener(Listener[Stream]):
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
        return Stream(self._driver, await self._driver.accept())

    async def serve(
        self,
        handler: Callable[[Stream], Any],
        task_group: TaskGroup | None = None,
    ) -> None:
        """Call ``handler(stream)`` in a task for each stream, until the session is over.

        The stream is closed when its handler returns.  A handler that raises gets its stream reset
        and a line in the log ``muxado.handler``; the others go on.

        :param task_group: where the handlers run; default one of its own, which this waits for.
        :raises SessionError: if the session ended otherwise than by a goodbye.

        Cancellation: the handlers are cancelled too, if the task group is its own.
        """
        async with AsyncExitStack() as stack:
            if task_group is None:
                task_group = await stack.enter_async_context(create_task_group())
            while True:
                try:
                    stream = await self.accept()
                except (SessionClosedError, StreamClosedError):
                    return
                task_group.start_soon(_handle, handler, stream)

    async def aclose(self) -> None:
        """Refuse the streams that wait and those that come; accepted ones go on.

        Whoever waits in ``accept`` or ``serve`` learns it at once.  A session has one listener:
        this closes all that ``net_listener`` gave.

        Cancellation: the listener is closed all the same.
        """
        self._driver.stop_accepting()
        await checkpoint()


async def _handle(handler: Callable[[Stream], Awaitable[object]], stream: Stream) -> None:
    try:
        if await contain(handler, stream):
            stream.close()
        else:
            stream.reset(ErrorCode.INTERNAL_ERROR)
    except BaseException:
        stream.reset(ErrorCode.STREAM_CANCELLED)
        raise


async def contain(handler: Callable[[Subject], Awaitable[object]], subject: Subject) -> bool:
    """Call ``handler(subject)``; an exception ends in the log, for one peer must not end them all.

    Returns whether it returned.  A peer's failure is a line; anything else is a mistake of the
    handler, and comes with its traceback.

    Cancellation: passed on.
    """
    try:
        await handler(subject)
    except (BrokenResourceError, EndOfStream) as exc:
        logger.info("the handler of %r ended: %s", subject, str(exc) or repr(exc))
    except Exception:
        logger.exception("the handler of %r failed", subject)
    else:
        return True
    return False

"""Accepting: a listener that goes on, whatever happens to one connection.

What it is.  The accept loop of ``listen``, on every backend.  It gives each connection that comes to the
handler, in a task group that outlives it.

Where connections come from.  From the sockets of a listener of anyio's, which has one for each address; how
one is accepted there, :class:`Accepting` is told.

The rule.  What is wrong with one connection, or for a while (no file descriptor is left), must end neither the
listener nor the sessions that run.  anyio's own loop lets such an error end its task group.

The trap.  No socket may be closed that the event loop still watches: who closes waits for the loop.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    Event,
    ResourceGuard,
    create_task_group,
    sleep,
)
from anyio.abc import Listener

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from anyio.abc import SocketStream, TaskGroup

__all__ = ("Accepting",)

Accepted = TypeVar("Accepted")

logger = logging.getLogger("muxado.endpoints")

ACCEPT_DELAY = 1.0
"""Seconds until a listener that could not accept, for want of file descriptors say, tries again."""


class Accepting(Listener[Accepted]):
    """Accepts connections at the sockets that ``bound`` listens on.

    :param accept: waits for one at one of them; raises ``OSError`` or ``BrokenResourceError`` if there is
        none for now.
    """

    def __init__(
        self,
        bound: Listener[SocketStream],
        accept: Callable[[Listener[SocketStream]], Awaitable[Accepted]],
    ) -> None:
        self._bound = bound
        self._accept = accept
        self._guard = ResourceGuard("accepting from")
        self._closed = False
        self._acceptors: CancelScope | None = None
        self._stopped = Event()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._bound.extra_attributes

    async def serve(
        self, handler: Callable[[Accepted], Any], task_group: TaskGroup | None = None
    ) -> None:
        """Start ``handler`` for each connection, in ``task_group``, until the listener is closed.

        :raises ~anyio.ClosedResourceError: if it was closed before.
        """
        assert task_group is not None
        if self._closed:
            raise ClosedResourceError
        self._stopped = Event()
        try:
            with self._guard:
                async with create_task_group() as acceptors:
                    self._acceptors = acceptors.cancel_scope
                    for one in getattr(self._bound, "listeners", [self._bound]):
                        acceptors.start_soon(self._accept_at, one, handler, task_group)
        finally:
            self._acceptors = None
            self._stopped.set()

    async def _accept_at(
        self,
        listening: Listener[SocketStream],
        handler: Callable[[Accepted], Any],
        tasks: TaskGroup,
    ) -> None:
        while True:
            try:
                accepted = await self._accept(listening)
            except (OSError, BrokenResourceError) as exc:
                logger.warning("cannot accept a connection: %s", exc.__cause__ or exc)
                await sleep(ACCEPT_DELAY)
            else:
                tasks.start_soon(handler, accepted)

    async def aclose(self) -> None:
        self._closed = True
        if self._acceptors is not None:
            self._acceptors.cancel()
            with CancelScope(shield=True):
                await self._stopped.wait()
        await self._bound.aclose()

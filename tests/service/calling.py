"""Servers in memory that answer calls, and what they executed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import Listener

import muxado_py as muxado

from .servers import Server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from anyio.abc import TaskGroup

__all__ = ("CallingServer",)


class _Streams(Listener[muxado.Stream]):
    """Whoever serves it is told of no stream; what it would do with one is here."""

    handler: Callable[[muxado.Stream], Awaitable[None]]

    async def serve(
        self, handler: Callable[[muxado.Stream], Any], task_group: TaskGroup | None = None
    ) -> None:
        self.handler = handler

    async def aclose(self) -> None:
        """There is nothing to close."""

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {}


class CallingServer(Server):
    """A target in memory that serves calls; made with :meth:`start`.

    :ivar executed: the requests that its handler was given.
    """

    executed: list[bytes]

    @classmethod
    async def start(
        cls,
        tasks: TaskGroup,
        name: str = "server",
        handler: Callable[[muxado.CallRequest], Awaitable[bytes]] | None = None,
        config: muxado.Config | None = None,
        **options: Any,
    ) -> CallingServer:
        async def handle(request: muxado.CallRequest) -> bytes:
            executed.append(request.payload)
            return request.payload.upper() if handler is None else await handler(request)

        executed: list[bytes] = []
        streams = _Streams()
        await muxado.serve_calls(streams, handle, **options)
        server = cls(tasks, name, streams.handler, config)
        server.executed = executed
        return server

    def kill(self) -> None:
        """Cut the connections of all its sessions."""
        for session in tuple(self.sessions):
            session.abort()


async def upper(request: muxado.CallRequest) -> bytes:
    """A handler of calls."""
    return request.payload.upper()


async def settle() -> None:
    """Let all that is ready happen, in no time."""
    for _ in range(100):
        await anyio.lowlevel.checkpoint()

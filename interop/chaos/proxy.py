"""A TCP proxy whose connections are cut, all at once, in the middle of whatever is under way."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
from anyio.abc import SocketAttribute

if TYPE_CHECKING:
    from anyio.abc import Listener, SocketStream, TaskGroup

__all__ = ("Proxy",)

GONE = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


class Proxy:
    """Between clients and one server.

    :ivar url: where clients reach it.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._connections: set[anyio.CancelScope] = set()
        self.url = ""

    async def start(self, tasks: TaskGroup) -> None:
        """Listen, and copy in ``tasks``."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.url = f"tcp://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.start_soon(self._run, listener)

    async def _run(self, listener: Listener[SocketStream]) -> None:
        async with listener:
            await listener.serve(self._serve)

    def cut(self) -> None:
        """Reset every connection that is there."""
        for scope in self._connections:
            scope.cancel()

    async def _serve(self, near: SocketStream) -> None:
        with anyio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                with suppress(*GONE):
                    async with near, await anyio.connect_tcp("127.0.0.1", self._target) as far:
                        await self._copy_both(near, far)
            finally:
                self._connections.discard(scope)

    async def _copy_both(self, near: SocketStream, far: SocketStream) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_copy, far, near)
                await _copy(near, far)
                tasks.cancel_scope.cancel()
        except BaseException:
            for one in (near, far):
                raw = one.extra(SocketAttribute.raw_socket)
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise


async def _copy(source: SocketStream, sink: SocketStream) -> None:
    with suppress(*GONE):
        async for data in source:
            await sink.send(data)
        await sink.send_eof()

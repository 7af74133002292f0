"""A TCP proxy that cuts a connection after so many bytes: the network's worst moment, on demand.

Where data comes from and goes to.  It listens, dials the puppet for the one connection that comes, and
copies bytes both ways.  ``cut_after`` says how many more bytes of the puppet go through; then both
connections are closed, in the middle of whatever was under way.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import SocketStream

__all__ = ("CuttingProxy", "cutting_proxy")


class CuttingProxy:
    """One proxied connection."""

    def __init__(self, address: str) -> None:
        self.address = address
        """``HOST:PORT`` to connect to."""
        self._left: int | None = None

    def cut_after(self, size: int) -> None:
        """Let ``size`` more bytes of the puppet through."""
        self._left = size

    async def copy(self, near: SocketStream, far: SocketStream) -> None:
        """Copy both ways until the cut, or until one side ends."""
        async with near, far, anyio.create_task_group() as tasks:
            tasks.start_soon(self._copy_up, near, far)
            async for chunk in far:
                if self._left is not None:
                    chunk = chunk[: self._left]
                    self._left -= len(chunk)
                await near.send(chunk)
                if self._left == 0:
                    break
            tasks.cancel_scope.cancel()

    async def _copy_up(self, near: SocketStream, far: SocketStream) -> None:
        async for chunk in near:
            await far.send(chunk)


@asynccontextmanager
async def cutting_proxy(target: str) -> AsyncIterator[CuttingProxy]:
    """A proxy to ``HOST:PORT``, for one connection."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    proxy = CuttingProxy(f"127.0.0.1:{port}")
    host, _, far_port = target.partition(":")

    async def serve(near: SocketStream) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # one side went first
            await proxy.copy(near, await anyio.connect_tcp(host, int(far_port)))

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield proxy
        tasks.cancel_scope.cancel()

"""One TCP connection by asyncio's ``sock_sendall`` and ``sock_recv``: the limit for a bulk transfer.

There is nothing between the workload and the kernel but the event loop, and no stream to open: what a
multiplexer adds to the cost of the bytes is measured against this.  asyncio's streams, which ``tcp``
uses, are three to four times slower.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import TASK_STATUS_IGNORED, EndOfStream, create_task_group

from .client import Muxer
from .stage import play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskStatus

    from .server import Answer


class Connection:
    """A socket that does not block, with anyio's names."""

    def __init__(self, raw: socket.socket) -> None:
        raw.setblocking(False)
        self._raw = raw
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """``sock_sendall``."""
        await self._loop.sock_sendall(self._raw, data)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """``sock_recv``."""
        data = await self._loop.sock_recv(self._raw, max_bytes)
        if not data:
            raise EndOfStream
        return data

    async def send_eof(self) -> None:
        """``shutdown``."""
        self._raw.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        """``close``."""
        self._raw.close()


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[Muxer]:
    """Nothing to dial yet: the stream is the connection."""
    host, port = address.split(":")

    async def connect() -> Connection:
        raw = socket.socket()
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
        return Connection(raw)

    yield Muxer(connect)


async def serve(answer: Answer, *, task_status: TaskStatus[str] = TASK_STATUS_IGNORED) -> None:
    """Each connection in a task."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        host, port = listener.getsockname()
        task_status.started(f"{host}:{port}")
        async with create_task_group() as tasks:
            while True:
                raw, _ = await asyncio.get_running_loop().sock_accept(listener)
                tasks.start_soon(answer, Connection(raw))


if __name__ == "__main__":
    play(dial, serve)

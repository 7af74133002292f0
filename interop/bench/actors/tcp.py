"""Plain TCP by asyncio's streams, on asyncio or uvloop: what a user has without a multiplexer.

A stream is a connection of its own, so a call is a new connection.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import TASK_STATUS_IGNORED, EndOfStream

from .client import Muxer
from .stage import play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskStatus

    from .server import Answer

BACKLOG = 1024


class Connection:
    """asyncio's two halves of a connection as one byte stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """``write`` and ``drain``."""
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """``read``."""
        data = await self._reader.read(max_bytes)
        if not data:
            raise EndOfStream
        return data

    async def send_eof(self) -> None:
        """``write_eof``."""
        self._writer.write_eof()

    async def aclose(self) -> None:
        """``close``, without waiting for it, as a stream's ``aclose`` does not wait either."""
        self._writer.close()


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[Muxer]:
    """Nothing to dial yet: each stream is a connection."""
    host, port = address.split(":")

    async def connect() -> Connection:
        return Connection(*await asyncio.open_connection(host, int(port)))

    yield Muxer(connect)


async def serve(answer: Answer, *, task_status: TaskStatus[str] = TASK_STATUS_IGNORED) -> None:
    """asyncio makes a task for each connection."""

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(Connection(reader, writer))

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0, backlog=BACKLOG)
    host, port = server.sockets[0].getsockname()
    task_status.started(f"{host}:{port}")
    await server.serve_forever()


if __name__ == "__main__":
    play(dial, serve)

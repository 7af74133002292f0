"""muxado_py over any byte stream of anyio's: ``client`` and ``server``, whose link knows no event loop.

What ``ours`` does by ``connect`` and ``listen``, over TCP connections that anyio made.  On asyncio that is
the link that every transport but asyncio's own sockets gets: TLS of anyio's, pipes, a tunnel in a tunnel.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import SocketAttribute

import muxado_py as muxado

from .client import Muxer
from .ours import CONFIG, answer_all
from .stage import play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import SocketStream, TaskStatus

    from .server import Answer


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[Muxer]:
    """A session; a call is a stream."""
    host, port = address.split(":")
    transport = await anyio.connect_tcp(host, int(port))
    async with muxado.client(transport, CONFIG) as session:
        yield Muxer(session.open_stream)


async def serve(answer: Answer, *, task_status: TaskStatus[str] = TASK_STATUS_IGNORED) -> None:
    """Each session that is dialed."""

    async def on_connection(transport: SocketStream) -> None:
        async with muxado.server(transport, CONFIG) as session:
            await answer_all(session, answer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener:
        task_status.started(f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}")
        await listener.serve(on_connection)


if __name__ == "__main__":
    play(dial, serve)

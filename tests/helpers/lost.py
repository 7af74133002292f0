"""The socket of a connection that its event loop has lost."""

from __future__ import annotations

import asyncio
import socket


async def lost_socket() -> socket.socket:
    """What a transport gave as its socket, when both are closed; on asyncio and uvloop, whose sockets differ then."""
    lost = asyncio.Event()

    class Losing(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            lost.set()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(Losing, *listening.getsockname())
        raw: socket.socket = transport.get_extra_info("socket")
        transport.abort()
        await lost.wait()
        while raw.fileno() >= 0:  # noqa: ASYNC110 - its loop tells nobody
            await asyncio.sleep(0)
    return raw

"""Connections that their peers have broken off, and whose streams have been told so."""

from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import SocketStream

__all__ = ("broken_off",)


@asynccontextmanager
async def broken_off() -> AsyncIterator[SocketStream]:
    """One of anyio's own streams; it knows."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = await anyio.connect_tcp(*server.getsockname())
        peer, _ = server.accept()
    async with stream:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()
        yield stream

"""Peers that take little, over real sockets: the kernel says what they take."""

from __future__ import annotations

import socket
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import create_task_group

import muxado_py as muxado

from ..conftest import LINKS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a peer has taken"),
]

KIB = 1024
WRITE_TIMEOUT = 1.0


@pytest.mark.slow
async def test_a_peer_that_takes_a_flush_in_several_time_outs_is_not_dead() -> None:
    """Over each link, at the same time: it takes seconds."""
    async with create_task_group() as tasks:
        for carried_by in LINKS:
            tasks.start_soon(send_to_a_slow_peer, carried_by)


async def send_to_a_slow_peer(carried_by: str) -> None:
    config = muxado.Config(wire="smux1", heartbeat_interval=None, write_timeout=WRITE_TIMEOUT)

    async def read(listener: socket.socket) -> None:
        """Quickly, until flushes are long, and then a tenth of such a flush in a tenth of a second."""
        await anyio.wait_readable(listener)
        peer, _ = listener.accept()
        with peer:
            peer.setblocking(False)
            received = 0
            while True:
                await anyio.wait_readable(peer)
                with suppress(BlockingIOError):
                    received += len(peer.recv(8 * KIB))
                if received > 16 * KIB * KIB:
                    await anyio.sleep(0.1)
                    slow.set()

    async def send(session: muxado.Session) -> None:
        stream = await session.open_stream()
        with suppress(muxado.SessionClosedError):
            while True:
                await stream.send(bytes(64 * KIB))

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * KIB)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        slow = anyio.Event()
        host, port = listener.getsockname()
        async with create_task_group() as tasks:
            tasks.start_soon(read, listener)
            async with _session(carried_by, host, port, config) as session:
                tasks.start_soon(send, session)
                await slow.wait()
                await anyio.sleep(3 * WRITE_TIMEOUT)
                assert not session.closed
                session.abort()  # its peer will never have read all of it
                tasks.cancel_scope.cancel()


@asynccontextmanager
async def _session(
    carried_by: str, host: str, port: int, config: muxado.Config
) -> AsyncIterator[muxado.Session]:
    """Over the link that ``connect`` chooses, or over the generic one."""
    if carried_by == "sockets":
        async with muxado.connect(f"tcp://{host}:{port}", config=config) as session:
            yield session
    else:
        async with muxado.client(await anyio.connect_tcp(host, port), config) as session:
            yield session

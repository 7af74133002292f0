"""py-libp2p's yamux, on trio, over a plain loopback TCP connection.

It is driven without a host, a swarm or a security handshake: ``Yamux`` takes anything that reads and
writes, and is given py-libp2p's own ``TrioTCPStream`` where a secured connection would be.  So what is
measured is its multiplexer alone.

The trap.  One side may have at most 256 streams open that it opened, so ten thousand idle ones are
beyond it; its ``close`` is yamux's half close.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
from anyio import TASK_STATUS_IGNORED, EndOfStream
from libp2p.io.trio import TrioTCPStream
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamEOF
from libp2p.stream_muxer.yamux.yamux import Yamux

from .client import Muxer
from .stage import play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskStatus

    from .server import Answer


class Stream:
    """A ``YamuxStream`` with anyio's names."""

    def __init__(self, stream: Any) -> None:
        self.send = stream.write
        self.send_eof = stream.close
        self.aclose = stream.close
        self._stream = stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """``read``; its end is an exception of its own."""
        try:
            data: bytes = await self._stream.read(max_bytes)
        except MuxedStreamEOF:
            raise EndOfStream from None
        if not data:
            raise EndOfStream
        return data


@asynccontextmanager
async def begin(connection: trio.SocketStream, *, is_client: bool) -> AsyncIterator[Any]:
    """A running session."""
    session = Yamux(TrioTCPStream(connection), None, is_initiator=is_client)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.start)
        await session.event_started.wait()
        yield session
        await session.close()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[Muxer]:
    """A session; a call is a stream."""
    host, port = address.split(":")
    async with begin(await trio.open_tcp_stream(host, int(port)), is_client=True) as session:

        async def open_stream() -> Stream:
            return Stream(await session.open_stream())

        yield Muxer(open_stream)


async def serve(answer: Answer, *, task_status: TaskStatus[str] = TASK_STATUS_IGNORED) -> None:
    """Each stream in a task."""

    async def on_connection(connection: trio.SocketStream) -> None:
        async with begin(connection, is_client=False) as session, trio.open_nursery() as nursery:
            while True:
                try:
                    stream = await session.accept_stream()
                except MuxedConnUnavailable:
                    return
                nursery.start_soon(answer, Stream(stream))

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    host, port = listener.socket.getsockname()
    task_status.started(f"{host}:{port}")
    await trio.serve_listeners(on_connection, [listener])


if __name__ == "__main__":
    play(dial, serve)

"""gRPC by grpcio's asyncio API: what an RPC user may pick.

A call is a unary RPC, a stream is a bidirectional one whose messages are pieces of bytes, all over one
channel.  Bytes go as they are, without protocol buffers.  grpcio's core is C++ with threads of its own.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
from anyio import TASK_STATUS_IGNORED, EndOfStream

from .stage import play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskStatus

    from .server import Answer

SERVICE = "Bench"


class Stream:
    """Either end of a bidirectional RPC, with anyio's names."""

    def __init__(self, rpc: Any) -> None:
        self.send = rpc.write
        self._rpc = rpc

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """``read``: one message, which is what the other side sent at once."""
        data = await self._rpc.read()
        if data is grpc.aio.EOF:
            raise EndOfStream
        assert len(data) <= max_bytes
        return bytes(data)

    async def send_eof(self) -> None:
        """``done_writing``; only a client has it."""
        await self._rpc.done_writing()

    async def aclose(self) -> None:
        """A client waits for the status; a server's RPC ends when its handler returns."""
        if isinstance(self._rpc, grpc.aio.StreamStreamCall):
            await self._rpc.done_writing()
            if await self._rpc.code() is not grpc.StatusCode.OK:
                raise RuntimeError(await self._rpc.details())


class Caller:
    """A channel."""

    def __init__(self, channel: Any) -> None:
        self.call = channel.unary_unary(f"/{SERVICE}/Call")
        self._open = channel.stream_stream(f"/{SERVICE}/Open")

    async def open(self) -> Stream:
        """A bidirectional RPC."""
        return Stream(self._open())


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[Caller]:
    """One connection for all RPCs."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield Caller(channel)


async def serve(answer: Answer, *, task_status: TaskStatus[str] = TASK_STATUS_IGNORED) -> None:
    """grpcio makes its own tasks."""

    async def call(question: bytes, context: object) -> bytes:
        return question

    async def open_stream(requests: object, context: Any) -> None:
        await answer(Stream(context))

    handlers = {
        "Call": grpc.unary_unary_rpc_method_handler(call),
        "Open": grpc.stream_stream_rpc_method_handler(open_stream),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    task_status.started(f"127.0.0.1:{port}")
    try:
        await server.wait_for_termination()
    finally:
        await server.stop(None)


if __name__ == "__main__":
    play(dial, serve)

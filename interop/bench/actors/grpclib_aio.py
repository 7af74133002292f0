"""gRPC by grpclib, which is Python on ``h2``: what an RPC user may pick.

A call is a unary RPC, all over one channel.  Bytes go as they are, without protocol buffers.  Its streams are of messages, one for
each side at a time, so there are calls only.
"""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from anyio import TASK_STATUS_IGNORED, sleep_forever
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from grpclib.server import Server

from .ours_calls import CallsOnly
from .stage import play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskStatus

METHOD = "/Bench/Call"


class Bytes(CodecBase):
    """A message is its bytes."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, message_type: Any) -> bytes:
        return message

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


class Service:
    """What the plugin of ``protoc`` would have made."""

    async def _call(self, stream: Any) -> None:
        await stream.send_message(await stream.recv_message())

    def __mapping__(self) -> dict[str, Handler]:
        return {METHOD: Handler(self._call, Cardinality.UNARY_UNARY, bytes, bytes)}


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[CallsOnly]:
    """One connection for all RPCs."""
    host, port = address.split(":")
    async with Channel(host, int(port), codec=Bytes()) as channel:
        yield CallsOnly(UnaryUnaryMethod(channel, METHOD, bytes, bytes))


async def serve(answer: object, *, task_status: TaskStatus[str] = TASK_STATUS_IGNORED) -> None:
    """grpclib makes its own tasks, and has no use for ``answer``."""
    server = Server([Service()], codec=Bytes())
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start(sock=listener)
    task_status.started(f"127.0.0.1:{listener.getsockname()[1]}")
    try:
        await sleep_forever()
    finally:
        server.close()


if __name__ == "__main__":
    play(dial, serve)

"""HTTP/2 by httpx, served by anycorn, in the clear: what an RPC user may pick.

A call is a POST of the question, all calls of a run over one connection.  Both are Python on ``h2``; the
loop is asyncio's or uvloop's.  A request has no body that both sides write at will, so there are calls
only.
"""

from __future__ import annotations

import logging
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
from anycorn import serve as serve_http
from anycorn.config import Config
from anyio import TASK_STATUS_IGNORED, Event

from .stage import play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskStatus

    from .server import ByteStream


class Caller:
    """A call is a request."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def call(self, question: bytes) -> bytes:
        """POST it."""
        response = await self._client.post(self._url, content=question)
        return response.raise_for_status().content

    async def open(self) -> ByteStream:
        """There is no such thing."""
        raise NotImplementedError("httpx has no stream that both sides write")


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[Caller]:
    """One connection for all calls."""
    limits = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(http1=False, http2=True, verify=False, limits=limits) as client:
        yield Caller(client, f"http://{address}/")


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI app."""
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def serve(answer: object, *, task_status: TaskStatus[str] = TASK_STATUS_IGNORED) -> None:
    """anycorn makes its own tasks, and has no use for ``answer``."""
    logging.disable(logging.WARNING)
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = listener.getsockname()
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.keep_alive_max_requests = 2**62
    task_status.started(f"{host}:{port}")
    await serve_http(echo, config, shutdown_trigger=Event().wait, mode="asgi")


if __name__ == "__main__":
    play(dial, serve)

"""HTTP by requests, from code that blocks, served by uvicorn in the clear: what code that blocks does without us.

A call is a POST of the question, all of them over one connection that is kept alive.
"""

from __future__ import annotations

import logging
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import requests
import uvicorn
from anyio import TASK_STATUS_IGNORED

from .http2 import echo
from .ours_calls import CallsOnly
from .stage import play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskStatus


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[CallsOnly]:
    """One connection for all calls."""

    async def call(question: bytes) -> bytes:
        response = session.post(f"http://{address}/", data=question)
        response.raise_for_status()
        return bytes(response.content)

    with requests.Session() as session:
        yield CallsOnly(call)


async def serve(answer: object, *, task_status: TaskStatus[str] = TASK_STATUS_IGNORED) -> None:
    """uvicorn makes its own tasks, and has no use for ``answer``."""
    logging.disable(logging.WARNING)
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = listener.getsockname()
    task_status.started(f"{host}:{port}")
    config = uvicorn.Config(echo, access_log=False, log_config=None)
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    play(dial, serve)

"""A server of calls, or of an ASGI app, that writes down what it begins with: ``python -m interop.chaos.server``.

It ends with SIGTERM, after a drain.
"""

from __future__ import annotations

import argparse
import random
import signal
from pathlib import Path
from typing import Any

import anyio
import uvicorn

import muxado_py as muxado

from ..cluster.journal import Journal
from .settings import config

__all__ = ()

DRAIN = 5.0
"""Seconds for what is under way, when it is told to end."""


async def serve(port: int, wire: str, journal: Journal, serves: str) -> None:
    """Until SIGTERM."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        journal.write(body.decode())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def execute(request: muxado.CallRequest) -> bytes:
        journal.write(request.payload.partition(b" ")[0].decode())
        if request.payload[-1] & 1:
            await anyio.sleep(random.expovariate(50))
        return request.payload

    sessions: set[muxado.Session] = set()

    async def attend(session: muxado.Session) -> None:
        sessions.add(session)
        try:
            if serves == "calls":
                await muxado.serve_calls(session.net_listener(), execute)
            else:
                await muxado.serve_asgi(app, session.net_listener(), config=uvicorn_config(app))
            await session.wait()
        finally:
            sessions.discard(session)

    async def drain(session: muxado.Session) -> None:
        try:
            await session.drain(DRAIN)
        except muxado.SessionError as exc:
            print(f"drained: {exc}", flush=True)

    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async with (
            muxado.listen(f"tcp://127.0.0.1:{port}", config=config(wire)) as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, attend)
            print("ready", flush=True)
            async for _ in signals:
                break
            await listener.aclose()
            async with anyio.create_task_group() as drains:
                for session in sessions:
                    drains.start_soon(drain, session)
            tasks.cancel_scope.cancel()


def uvicorn_config(app: Any) -> uvicorn.Config:
    """Without an access log, and without the start and the end of a server for each session in it."""
    return uvicorn.Config(app, lifespan="off", access_log=False, log_level="warning")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--wire", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--serves", choices=("calls", "asgi"), default="calls")
    asked = parser.parse_args()
    anyio.run(serve, asked.port, asked.wire, Journal(asked.journal), asked.serves)


if __name__ == "__main__":
    main()

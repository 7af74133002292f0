"""Applications that a shutdown does not impress, and one that must be told of it in uvicorn's way."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import uvicorn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

shutting_down = threading.Event()
_handle_exit = uvicorn.Server.handle_exit


def _told(self: uvicorn.Server, sig: int, frame: FrameType | None) -> None:
    shutting_down.set()
    _handle_exit(self, sig, frame)


uvicorn.Server.handle_exit = _told  # type: ignore[method-assign]  # as sse-starlette does


async def swallowing(scope: Any, receive: Any, send: Any) -> None:
    """Is asked for an answer and never gives one, whoever cancels it."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"entered", "more_body": True})
    while True:
        with suppress(BaseException):
            await anyio.sleep(3600)


def stuck(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Its thread never comes back."""
    start_response("200 OK", [])
    yield b"entered"
    threading.Event().wait()


async def events(scope: Any, receive: Any, send: Any) -> None:
    """Streams until it is told that uvicorn shuts down."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while not shutting_down.is_set():
        await send({"type": "http.response.body", "body": b"event\n", "more_body": True})
        await anyio.sleep(0.05)
    await send({"type": "http.response.body", "body": b"bye\n"})

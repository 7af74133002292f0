"""The app that the demo serves through the tunnel, and its record of what it executed.

What it is.  An ASGI application without a framework, with one path for each part of the demo:
``/ping`` answers at once, ``/bulk`` sends until the caller leaves, ``/slow`` never answers, and
``/count`` reads the body and answers with its size.

The rule.  A call with an ``id`` is recorded before anything else is done for it, body unread: the
retry part asks this record whether a call that was declared safe to send again had been seen.
Recording later would flatter the verdicts.

The trap.  A server does not stop an application whose caller is gone; ``/bulk`` has to listen for
the disconnect beside sending.  uvicorn's ``send`` then returns at once, without giving other tasks
a turn, so the loop has to do that itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

__all__ = ("DemoApp",)

CHUNK = bytes(64 * 1024)


class DemoApp:
    """The ASGI application; see the module essay for its paths.

    :ivar executed: the ids of the calls that reached it, in order.
    """

    def __init__(self) -> None:
        self.executed: list[str] = []
        self._news = anyio.Event()

    async def has_executed(self, count: int) -> None:
        """Wait until ``count`` calls with an id have reached it.

        Cancellation: safe.
        """
        while len(self.executed) < count:
            await self._news.wait()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if calls := parse_qs(scope["query_string"].decode()).get("id"):
            self.executed += calls
            self._news.set()
            self._news = anyio.Event()
        match scope["path"]:
            case "/ping":
                await _answer(send, 200, b"pong\n")
            case "/bulk":
                await _bulk(receive, send)
            case "/slow":
                await _until_disconnect(receive)
            case "/count":
                await _answer(send, 200, b"%d\n" % await _body_size(receive))
            case _:
                await _answer(send, 404, b"no such path\n")


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        phase = (await receive())["type"]
        await send({"type": f"{phase}.complete"})
        if phase == "lifespan.shutdown":
            return


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _bulk(receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/octet-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async with anyio.create_task_group() as tasks:

        async def leave() -> None:
            await _until_disconnect(receive)
            tasks.cancel_scope.cancel()

        tasks.start_soon(leave)
        while True:
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
            await anyio.lowlevel.checkpoint()


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body_size(receive: Receive) -> int:
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            return size

"""The application behind every tunnel: a short answer, a long one, an upload that is counted, and an echo.

It is what an ASGI server can do at most: nothing is looked up and nothing is logged, so that what is measured is the way
to it.  ``interop/go/load/exchanges.go`` has the questions; whoever changes one changes both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

__all__ = ("app",)

PIECE = bytes(64 * 1024)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """``GET /`` says hello, ``GET /?N`` sends N bytes, ``POST`` says how many came; a websocket hears itself."""
    if scope["type"] == "websocket":
        await _echo(receive, send)
    elif scope["method"] == "POST":
        await _answer(send, b"%d" % await _count(receive))
    elif scope["query_string"]:
        await _long_answer(send, int(scope["query_string"]))
    else:
        await _answer(send, b"hello")


async def _echo(receive: Receive, send: Send) -> None:
    await receive()  # that it wants to connect
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": message["bytes"]})


async def _count(receive: Receive) -> int:
    count, more = 0, True
    while more:
        message = await receive()
        count += len(message.get("body", b""))
        more = message.get("more_body", False)
    return count


async def _answer(send: Send, body: bytes) -> None:
    await _start(send, len(body))
    await send({"type": "http.response.body", "body": body})


async def _long_answer(send: Send, size: int) -> None:
    await _start(send, size)
    for at in range(0, size, len(PIECE)):
        piece = PIECE[: size - at]
        await send(
            {"type": "http.response.body", "body": piece, "more_body": at + len(piece) < size}
        )


async def _start(send: Send, length: int) -> None:
    headers = [(b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})

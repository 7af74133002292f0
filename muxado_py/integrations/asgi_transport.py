"""ASGITransport: the websocket of an ASGI application, as an anyio byte stream that carries a session.

Where data comes from and goes to.  ``receive`` of the ASGI server gives a message at a time, ``send`` takes one.  The
server does everything else: the handshake, masks, pings, the size of a message.

The rules.  What is sent in one call is one message.  The server's sentence about the end is taken as
:mod:`~muxado_py.links.websocket` takes the peer's: codes that say that something was wrong are an error, and text is one.

The trap.  ASGI has no half close, and a server gives nothing of what comes behind ``websocket.close`` but the end.  A session
loses nothing by that, it has said goodbye by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ByteStream, SocketAttribute

from ..errors import escaped
from ..links.upgrade import WebSocketAttribute

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from ..links.upgrade import WebSocketRequest

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

__all__ = ("ASGITransport",)

ORDERLY = (None, 1000, 1001, 1005, 1006)
"""Codes of an end that is none of a failure; 1006 is what servers say of a connection that ended without a close."""

UNSUPPORTED_DATA = 1003


class ASGITransport(ByteStream):
    """A websocket that was accepted; what ``scope`` says of its addresses is told by it."""

    def __init__(
        self,
        scope: Mapping[str, Any],
        receive: Receive,
        send: Send,
        request: WebSocketRequest,
        subprotocol: str | None,
    ) -> None:
        self._receive = receive
        self._send = send
        self._rest = memoryview(b"")  # of a message that was longer than what was asked for
        self._over: Exception | None = None  # what receiving raises from now on
        self._closed = False
        self._attributes: dict[Any, Callable[[], Any]] = {
            WebSocketAttribute.request: lambda: request,
            WebSocketAttribute.subprotocol: lambda: subprotocol,
        }
        for attribute, port, key in (
            (SocketAttribute.remote_address, SocketAttribute.remote_port, "client"),
            (SocketAttribute.local_address, SocketAttribute.local_port, "server"),
        ):
            address = scope.get(key)
            if address and address[1]:  # the server of a Unix socket has a path and no port
                self._tell(attribute, (address[0], address[1]))
                self._tell(port, address[1])

    def _tell(self, attribute: Any, value: Any) -> None:
        self._attributes[attribute] = lambda: value

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._attributes

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self._rest:
            self._rest = memoryview(await self._next())
        data = bytes(self._rest[:max_bytes])
        self._rest = self._rest[max_bytes:]
        return data

    async def _next(self) -> bytes:
        """The next message that is not empty."""
        while self._over is None:
            message = await self._receive()
            kind = message["type"]
            if kind == "websocket.receive":
                if data := message.get("bytes"):
                    return bytes(data)
                if message.get("text") is not None:
                    self._over = BrokenResourceError("it sent text, expected binary messages")
                    await self._close(UNSUPPORTED_DATA)
            elif kind == "websocket.disconnect":
                self._over = _end_of(message)
        raise self._over

    async def send(self, item: bytes) -> None:
        if self._closed:
            raise ClosedResourceError
        if item:
            await self._send({"type": "websocket.send", "bytes": bytes(item)})

    async def send_eof(self) -> None:
        """Close; the end of the peer is still to be received."""
        await self._close(1000)

    async def _close(self, code: int) -> None:
        if not self._closed:
            self._closed = True
            await self._send({"type": "websocket.close", "code": code})

    async def aclose(self) -> None:
        ended = self._over is not None  # some servers take a close behind their own for a mistake
        self._over = self._over or ClosedResourceError()
        if not ended:
            await self._close(1000)


def _end_of(message: Message) -> Exception:
    code = message.get("code")
    if code in ORDERLY:
        return EndOfStream()
    reason = f": {escaped(message['reason'])}" if message.get("reason") else ""
    return BrokenResourceError(f"it closed the websocket with code {code}{reason}")

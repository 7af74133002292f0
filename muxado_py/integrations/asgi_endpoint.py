"""``asgi_endpoint``: an ASGI application that takes sessions, for a route of an application that is deployed already.

Where data comes from and goes to.  A server calls it for each websocket, as it calls any ASGI application; each becomes a
session over an :class:`~muxado_py.integrations.asgi_transport.ASGITransport`, which the handler is given.

The rules.  As with ``listen``: one websocket's trouble ends in a line of the log, the session ends with its handler, the oldest
that never said a byte has to go when there are too many, and a page in a browser is refused unless somebody judges requests.

The trap.  Starlette, and what is built on it, takes a function for one that wants a ``WebSocket``, and anything else for an ASGI
application; so this is an object.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..arguments import check_function, check_text
from ..config import config_or_default
from ..dialing.endpoints import server
from ..dialing.mute import Mute
from ..errors import MuxadoError, UndeliveredError
from ..links.attributes import peer_of
from ..links.upgrade import WebSocketRequest
from ..session.handlers import contain
from .asgi_transport import ASGITransport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ..config import Config
    from ..dialing.mute import Visitor
    from ..session.session import Session
    from .asgi_transport import Receive, Send

    Handler = Callable[[Session], Awaitable[object]]
    Judge = Callable[[WebSocketRequest], int | None]

__all__ = ("ASGIEndpoint", "asgi_endpoint")

logger = logging.getLogger("muxado.endpoints")


def asgi_endpoint(
    handler: Callable[[Session], Awaitable[object]],
    *,
    config: Config | None = None,
    subprotocol: str | None = None,
    check_request: Callable[[WebSocketRequest], int | None] | None = None,
) -> ASGIEndpoint:
    """An ASGI application whose websockets are sessions: for a route, for a mount, or alone.

    ``handler(session)`` runs in the task in which the server runs the application; the session is closed when the handler
    returns or raises, and what it raises is logged (``muxado.handler``).

    :param config: of the sessions; ``wire="auto"`` takes the dialer's.
    :param subprotocol: which dialers must ask for.
    :param check_request: judges each request: None lets it in, an HTTP status refuses it; a server that cannot say
        such says 403.  What it raises is logged, and refuses with 500.  Default: whoever is no page in a browser, which are those with an ``Origin``.
    :raises TypeError: if an argument is of a wrong type.

    Cancellation, of the application's task: the session is closed without a long flush.
    """
    return ASGIEndpoint(handler, config_or_default(config), subprotocol, check_request)


class ASGIEndpoint:
    """Made by :func:`asgi_endpoint`."""

    def __init__(
        self, handler: Handler, config: Config, subprotocol: str | None, check: Judge | None
    ) -> None:
        check_function("handler", handler)
        if subprotocol is not None:
            check_text("subprotocol", subprotocol)
        if check is not None:
            check_function("check_request", check)
        self._handler = handler
        self._config = config
        self._subprotocol = subprotocol
        self._check = check or _is_no_page
        self._mute = Mute(config.max_mute_connections)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """What an ASGI server calls."""
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            await _answer(send, "http", HTTPStatus.UPGRADE_REQUIRED, [(b"upgrade", b"websocket")])
        elif scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        else:
            raise NotImplementedError(f"no sessions over {scope['type']!r}, expected a websocket")

    async def _websocket(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        message = await receive()
        if message["type"] != "websocket.connect":  # it is gone already
            return
        request = _request_of(scope)
        status = self._judge(request)
        if status is None and self._subprotocol not in (None, *scope.get("subprotocols", ())):
            status = HTTPStatus.BAD_REQUEST
        if status is not None:
            logger.warning("a request for %s was refused (%d)", request.shown_path, status)
            await _refuse(scope, send, status)
            return
        await send({"type": "websocket.accept", "subprotocol": self._subprotocol})
        transport = ASGITransport(scope, receive, send, request, self._subprotocol)
        with self._mute.visit() as visitor:
            visitor.peer = peer_of(transport.extra_attributes)
            await self._run(transport, visitor)

    def _judge(self, request: WebSocketRequest) -> int | None:
        try:
            return self._check(request)
        except Exception:
            logger.exception("whoever judges requests failed, at one for %s", request.shown_path)
            return HTTPStatus.INTERNAL_SERVER_ERROR

    async def _run(self, transport: ASGITransport, visitor: Visitor) -> None:
        try:
            async with server(transport, self._config) as session:
                visitor.session = session
                await contain(self._handler, session, owns_task=False)
        except UndeliveredError as exc:
            logger.warning("a session over ASGI ended: %s", exc)
        except MuxadoError as exc:  # no wire that anybody knows
            logger.warning("a websocket from %s failed: %s", visitor.peer, exc)


def _is_no_page(request: WebSocketRequest) -> int | None:
    return HTTPStatus.FORBIDDEN if request.is_of_a_page else None


def _request_of(scope: Mapping[str, Any]) -> WebSocketRequest:
    path = scope.get("raw_path") or scope["path"].encode()
    query = scope.get("query_string", b"")
    return WebSocketRequest(
        (path + (b"?" + query if query else b"")).decode("latin-1"),
        tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ),
    )


async def _refuse(scope: Mapping[str, Any], send: Send, status: int) -> None:
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await _answer(send, "websocket.http", status, [])
    else:
        await send({"type": "websocket.close", "code": 1008})


async def _answer(send: Send, kind: str, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    # Without a length: uvicorn says one of its own for a websocket, and two are none to a client.
    start = {"type": f"{kind}.response.start", "status": int(status), "headers": headers}
    await send(start)
    await send({"type": f"{kind}.response.body", "body": b"This is no websocket for you.\n"})

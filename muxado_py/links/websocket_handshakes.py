"""WebSocketClient, WebSocketServer: how a websocket comes to be open, on either side.

What it is.  The handshake of RFC 6455, section 4, on the protocol classes of the library ``websockets``: it makes and judges the
heads; what a request has in it besides (path, headers, subprotocol) is given by whoever dials, and judged by whoever
listens.  From there on both sides are a :class:`~muxado_py.links.websocket.WebSocketCodec`.

The rule.  A refusal has a status, and is told as one to both: :exc:`~muxado_py.links.upgrade.UpgradeRefusedError`.  All else
that goes wrong is an ``OSError``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import WebSocketURI

from ..errors import escaped
from .upgrade import UpgradeRefusedError, WebSocketAttribute, WebSocketRequest
from .websocket import MAX_HEAD, QUIET, WebSocketCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from websockets.typing import Subprotocol

__all__ = ("WebSocketClient", "WebSocketServer")


class WebSocketClient(WebSocketCodec):
    """The side that dials.

    :param host: for the head, with its ``port``, which is left out if it is that of the scheme.
    :param path: with its query.
    :param secure: whether there is TLS below.
    :param headers: more of them, which may stand in the place of those that are always said.
    :param subprotocol: what to ask for.
    """

    server_side = False

    def __init__(
        self,
        host: str,
        port: int,
        path: str,
        *,
        secure: bool,
        headers: Iterable[tuple[str, str]] = (),
        subprotocol: str | None = None,
    ) -> None:
        path, _, query = path.partition("?")
        uri = WebSocketURI(secure, host, port, path or "/", query, None, None)
        self._client = ClientProtocol(
            uri, subprotocols=_subprotocols(subprotocol), max_size=None, logger=QUIET
        )
        super().__init__(self._client)
        self._request: Request | None = self._client.connect()
        self._request.headers["User-Agent"] = "muxado_py"
        given = list(headers)
        for name, _ in given:
            self._request.headers.pop(name, None)
        for name, value in given:
            self._request.headers[name] = value

    def handshake(self) -> bool:
        request, self._request = self._request, None
        if request is not None:
            self._client.send_request(request)
            self._keep_output()
        if self._head_is_too_long:
            raise OSError(f"the head of the answer has more than {MAX_HEAD:,} bytes")
        self._client.events_received()
        self._client.data_to_send()  # nothing but the end of a direction
        if self._client.handshake_exc is not None:
            raise _refusal(self._client.handshake_exc)
        if self._client.state is not State.OPEN:
            return False
        self._opened()
        return True


class WebSocketServer(WebSocketCodec):
    """The side that was dialed.

    :param judge: is given each request; it returns None, or the status of the answer that refuses it.
    :param subprotocol: what to agree on; a peer that does not ask for it is refused.
    """

    server_side = True

    def __init__(
        self, judge: Callable[[WebSocketRequest], int | None], *, subprotocol: str | None = None
    ) -> None:
        self._server = ServerProtocol(
            subprotocols=_subprotocols(subprotocol), max_size=None, logger=QUIET
        )
        super().__init__(self._server)
        self._judge = judge
        self._request: WebSocketRequest | None = None

    def handshake(self) -> bool:
        if self._head_is_too_long:
            self._refuse(431, f"the head of the request has more than {MAX_HEAD:,} bytes")
        for request in self._server.events_received():
            assert isinstance(request, Request)
            self._answer(request)
            self._opened()
            return True
        if self._server.handshake_exc is not None:
            self._keep_output()
            raise _refusal(self._server.handshake_exc)
        return False

    def _answer(self, request: Request) -> None:
        self._request = asked = WebSocketRequest(request.path, tuple(request.headers.raw_items()))
        try:
            status = self._judge(asked)
        except Exception as exc:  # noqa: BLE001 - an application's mistake, and this request's trouble
            self._refuse(500, f"whoever judges requests failed: {exc!r}", exc)
        if status is not None:
            self._refuse(status, f"a request for {asked.shown_path} was refused ({status})")
        response = self._server.accept(request)
        self._server.send_response(response)
        self._keep_output()
        if response.status_code != 101:
            assert self._server.handshake_exc is not None
            raise _refusal(self._server.handshake_exc)

    def _refuse(self, status: int, why: str, cause: Exception | None = None) -> None:
        self._server.send_response(self._server.reject(status, "This is no websocket for you.\n"))
        self._keep_output()
        raise UpgradeRefusedError(status, why) from cause

    def attributes(self) -> Mapping[Any, Callable[[], Any]]:
        request = self._request
        return {**super().attributes(), WebSocketAttribute.request: lambda: request}


def _subprotocols(name: str | None) -> list[Subprotocol] | None:
    return None if name is None else [name]  # type: ignore[list-item]  # a str, by another name


def _refusal(exc: Exception) -> OSError:
    """What the library says of a handshake, in words for whoever dialed, or listens."""
    if isinstance(exc, InvalidStatus):
        response = exc.response
        where = response.headers.get("Location", "") if 300 <= response.status_code < 400 else ""
        said = f"{response.status_code} {escaped(response.reason_phrase)}".strip()
        to = f", to {escaped(where[:200])}" if where else ""
        return UpgradeRefusedError(response.status_code, f"the server answered {said}{to}")
    why = f" ({escaped(str(exc.__cause__))[:200]})" if exc.__cause__ is not None else ""
    error = OSError(f"no websocket: {escaped(str(exc))[:200]}{why}")
    error.__cause__ = exc
    return error

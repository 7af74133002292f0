"""``ws://`` and ``wss://``: a session inside a websocket, through whatever lets out HTTP and nothing else.

Where data comes from and goes to.  The connection is one of :mod:`~muxado_py.dialing.host_schemes`, with TLS or without; the
handshake is :mod:`~muxado_py.links.websocket_handshakes`, which is imported when there is one to make.

The rules.  Who listens takes requests for the path of its URL.  A browser lets any page open a websocket to any host it can
reach, and so into this machine, but says where the page is from: without a ``check_request`` that judges it, a request
with an ``Origin`` is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..arguments import check_function, check_text
from ..runtime.extras import require
from .addresses import Address, read_host, write_host
from .host_schemes import HostScheme

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..links.upgrade import WebSocketRequest
    from .pending import PendingConnection
    from .scheme import Bound, Dialing, Options

__all__ = ("WS", "WSS")

NOT_FOUND = 404
FORBIDDEN = 403

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
_OURS = re.compile(
    r"upgrade|connection|sec-websocket-.*|content-length|transfer-encoding", re.IGNORECASE
)


class _WebSocketScheme(HostScheme):
    def __init__(self, name: str, port: int, *, has_tls: bool) -> None:
        super().__init__(name, has_tls=has_tls)
        self.form = f"{name}://host:port/path"
        self.options |= {"headers", "subprotocol", "check_request"}
        self._port = port

    def read(self, url: str) -> Address | None:
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("what is no ASCII, or a space, is written with a %")
        parts, host = read_host(url)
        if not host or parts.fragment or parts.username is not None:
            return None
        port = self._port if parts.port is None else parts.port
        path = url.partition("://")[2][len(parts.netloc) :].removesuffix("#")
        return Address(self.name, host, port, "" if path == "/" else path)

    def write(self, address: Address) -> str:
        return f"{self.name}://{write_host(address)}{address.path}"

    def check(self, options: Options) -> None:
        super().check(options)
        require("websockets", "ws")
        _pairs(options.headers)
        if options.subprotocol is not None:
            check_text("subprotocol", options.subprotocol)
            if not _TOKEN.fullmatch(options.subprotocol):
                raise ValueError(f"subprotocol must be a token, got {options.subprotocol!r}")
        if options.check_request is not None:
            check_function("check_request", options.check_request)

    async def agree(self, pending: PendingConnection, dialing: Dialing) -> PendingConnection:
        from ..links.websocket_handshakes import WebSocketClient

        address, options = dialing.address, dialing.options
        dialing.awaited = "websocket handshake"
        codec = WebSocketClient(
            address.host.partition("%")[0],
            address.port,
            address.path,
            secure=self.has_tls,
            headers=_pairs(options.headers),
            subprotocol=options.subprotocol,
        )
        try:
            await pending.add_layer(codec)
        except ConnectionError as exc:
            raise ConnectionResetError(
                f"{self.write(address)} ended the connection during the websocket handshake"
            ) from exc
        return pending

    async def listen(self, address: Address) -> Bound:
        if "?" in address.path:
            raise ValueError(
                f"{self.write(address)!r} has a query, expected a path: requests for it may have any"
            )
        return await super().listen(address)

    async def greet(
        self, pending: PendingConnection, address: Address, options: Options
    ) -> PendingConnection:
        from ..links.websocket_handshakes import WebSocketServer

        judge = _judge(address.path or "/", options.check_request)
        await pending.add_layer(WebSocketServer(judge, subprotocol=options.subprotocol))
        return pending


def _judge(
    path: str, check: Callable[[WebSocketRequest], int | None] | None
) -> Callable[[WebSocketRequest], int | None]:
    def judge(request: WebSocketRequest) -> int | None:
        if request.path.partition("?")[0] != path:
            return NOT_FOUND
        if check is not None:
            return check(request)
        return FORBIDDEN if request.is_of_a_page else None

    return judge


def _pairs(headers: Any) -> list[tuple[str, str]]:
    """``headers`` of ``connect``, if they may be said.

    :raises TypeError: if they are no pairs of str.
    :raises ValueError: if a head cannot have such, or the handshake has its own.
    """
    if not isinstance(headers, Mapping | Sequence | None):
        raise TypeError(f"headers must be a mapping, or a sequence of pairs, got {headers!r:.80}")
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers or ())
    for pair in pairs:
        if not isinstance(pair, tuple) or [type(one) for one in pair] != [str, str]:
            raise TypeError("headers must be pairs of str, got another")  # which may be a secret
        name, value = pair
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"headers: {name!r:.80} is no name of one")
        if _OURS.fullmatch(name):
            raise ValueError(f"headers: {name!r} is said by the handshake itself")
        if not _VALUE.fullmatch(value):  # a value may be a secret
            raise ValueError(
                f"headers: the value of {name!r} must be printable ASCII, and not empty"
            )
    return pairs


WS = _WebSocketScheme("ws", 80, has_tls=False)
WSS = _WebSocketScheme("wss", 443, has_tls=True)

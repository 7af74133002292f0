"""Endpoints: how an application gets a session, by a URL or over a transport of its own.

``connect``, ``listen``, ``client`` and ``server`` make pending connections and run a session over each;
:class:`~muxado_py.dialing.session_scope.SessionScope` does not know where one came from.  What a URL means, its
scheme says: :mod:`~muxado_py.dialing.schemes`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ..arguments import check_able
from ..config import AUTO, config_or_default
from .pending import AnyioPending
from .scheme import Options
from .schemes import SCHEMES, check_options, parse_url
from .session_listener import SessionListener
from .session_scope import SessionScope
from .targets import Target

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from anyio.abc import ByteStream, ByteStreamConnectable

    from ..config import Config
    from ..links.upgrade import WebSocketRequest
    from ..session.session import Session
    from .proxies import Proxy

__all__ = ("client", "connect", "listen", "server")


@asynccontextmanager
async def connect(
    target: str | ByteStreamConnectable,
    *,
    config: Config | None = None,
    ssl_context: ssl.SSLContext | None = None,
    proxy: str | Proxy | None = None,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
    subprotocol: str | None = None,
) -> AsyncIterator[Session]:
    """Dial ``target`` and run a session over the connection.

    :param target: ``tcp://host:port``, ``tls://host:port``, ``unix:///path``, or ``ws://host:port/path`` and ``wss://host:port/path`` for a
        websocket; or any ``ByteStreamConnectable`` of anyio's, whose stream the session closes.  Errors and logs show a URL, with its
        query: a secret belongs into ``headers``.
    :param ssl_context: for ``tls://`` and ``wss://``; default one that verifies the peer with the system's roots.
    :param proxy: the URL of a proxy to go through, ``http://user:password@host:port``, ``https://...`` or ``socks5://...``, or a
        :class:`~muxado_py.Proxy`; ``"environment"`` takes what ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` say.  Default: none.  The proxy
        finds the address of the host, and a certificate is verified for the host.
    :param headers: of the request for a websocket, as ``{"Authorization": f"Bearer {token}"}``; they may stand in the place of its own
        ``Host`` and ``User-Agent``.
    :param subprotocol: of websockets, which the server is asked for.
    :raises ValueError: if the URL is not of that form, if an option is given that it has no use for, or
        for ``Config(wire="auto")``.
    :raises MissingExtraError: for a websocket, without the extra ``ws``; for a proxy, without the extra ``proxy``.
    :raises ProxyRefusedError: if the proxy answers that it makes no connection; an ``OSError``.
    :raises UpgradeRefusedError: if the server answers with something else than a websocket; an ``OSError``.
    :raises OSError: if no connection came about (``ssl.SSLError`` is one); or whatever else the connectable raises.
    :raises TimeoutError: if that took longer than ``Config.connect_timeout``; it says what was waited for.

    Cancellation: the session is closed without a long flush.
    """
    options = Options(
        ssl_context=ssl_context, proxy=proxy, headers=headers, subprotocol=subprotocol
    )
    async with Target(target, config, options).session() as session:
        yield session


@asynccontextmanager
async def listen(
    url: str,
    *,
    config: Config | None = None,
    ssl_context: ssl.SSLContext | None = None,
    subprotocol: str | None = None,
    check_request: Callable[[WebSocketRequest], int | None] | None = None,
) -> AsyncIterator[SessionListener]:
    """Listen at ``url`` for connections that become sessions.

    With ``Config(wire="auto")`` each session takes the wire its dialer begins with: muxado, yamux,
    smux of either version.  A connection whose first bytes fit no wire, or two, or do not come within
    ``Config.recognize_timeout``, is closed, and a line in the log ``muxado.endpoints`` says why.

    :param url: as for :func:`connect`; port 0 takes a free one, see ``SessionListener.url``.
    :param ssl_context: required for ``tls://`` and ``wss://``, with the server's certificate loaded.
    :param subprotocol: of websockets, which dialers must ask for.
    :param check_request: judges who asks for a websocket at the URL's path: None lets it in, an HTTP status refuses it, as
        401.  Default: whoever is no page in a browser, which are those with an ``Origin``.
    :raises ValueError: if the URL is not of that form, or an option is missing or needless.
    :raises MissingExtraError: for a websocket, without the extra ``ws``.
    :raises OSError: if the address cannot be listened on: it is in use, say.  A Unix path that a killed process
        left behind is taken over.

    Cancellation: the listener is closed.
    """
    config = config_or_default(config)
    options = Options(ssl_context=ssl_context, subprotocol=subprotocol, check_request=check_request)
    address = parse_url(url)
    check_options(url, options, listens=True)
    scheme = SCHEMES[address.scheme]
    try:
        bound = await scheme.listen(address)
    except OSError as exc:
        exc.add_note(f"listening on {url}")
        raise
    sessions = SessionListener(scheme, bound, config, options)
    try:
        yield sessions
    finally:
        await sessions.aclose()


def client(transport: ByteStream, config: Config | None = None) -> SessionScope:
    """A session over any anyio byte stream, as the side that dialed.

    :param transport: a connected ``anyio.abc.ByteStream``; the session closes it.
    :returns: an async context manager that gives the :class:`Session`.
    :raises TypeError: if ``transport`` is no such stream.
    :raises ValueError: for ``Config(wire="auto")``.
    """
    _check_transport(transport)
    config = config_or_default(config)
    if config.wire == AUTO:
        raise ValueError(
            'wire="auto" is for the side that listens: a dialer speaks first; name the wire'
        )
    return SessionScope(AnyioPending(transport), config, is_client=True)


def server(transport: ByteStream, config: Config | None = None) -> SessionScope:
    """A session over any anyio byte stream, as the side that was dialed; see :func:`client`.

    With ``Config(wire="auto")`` entering waits for the dialer's first bytes, and raises what
    :func:`~muxado_py.dialing.detect.detect_wire` raises if they do not tell its wire; ``session.config.wire`` is
    the one it found.
    """
    _check_transport(transport)
    return SessionScope(AnyioPending(transport), config, is_client=False)


def _check_transport(transport: object) -> None:
    check_able("transport", transport, "a byte stream of anyio's", "receive", "send", "aclose")

"""Endpoints: how an application gets a session, by a URL or over a transport of its own.

``connect``, ``listen``, ``client`` and ``server`` make pending connections and run a session over each;
:class:`~muxado_py.dialing.session_scope.SessionScope` does not know where one came from.  Which sockets, and so which
link, is chosen in :func:`_sockets` alone.
"""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from anyio import create_tcp_listener, move_on_after
from anyio.abc import SocketListener

from ..config import AUTO, config_or_default
from ..runtime.checkpoints import event_loop
from .addresses import parse_url
from .anyio_sockets import AnyioSockets
from .asyncio_sockets import AsyncioSockets
from .pending import AnyioPending
from .session_listener import SessionListener
from .session_scope import SessionScope
from .unix_paths import UnixPath

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteStream, Listener

    from ..config import Config
    from ..session.session import Session
    from .addresses import Address
    from .anyio_sockets import Sockets
    from .pending import PendingConnection

__all__ = ("client", "connect", "listen", "server")


@asynccontextmanager
async def connect(
    url: str,
    *,
    config: Config | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Session]:
    """Dial ``url`` and run a session over the connection.

    :param url: ``tcp://host:port``, ``tls://host:port`` or ``unix:///path``.
    :param ssl_context: for ``tls://``; default one that verifies the peer with the system's roots.
    :raises ValueError: if the URL is not of that form, if a context is given without ``tls://``, or
        for ``Config(wire="auto")``.
    :raises OSError: if no connection came about (``ssl.SSLError`` is one).
    :raises TimeoutError: if that took longer than ``Config.connect_timeout``; it says what was waited for.

    Cancellation: the session is closed without a long flush.
    """
    config = config_or_default(config)
    address = parse_url(url)
    _check_context(ssl_context)
    if config.wire == AUTO:
        raise ValueError(f'wire="auto" is for listen(), connect({url!r}) must name its wire')
    if ssl_context is not None and address.scheme != "tls":
        raise ValueError(f"an ssl_context needs a tls:// URL, got {url!r}")
    awaited = "connection"
    with move_on_after(config.connect_timeout) as time_limit:
        pending = await _dial(address, config)
        if address.scheme == "tls":
            awaited = "TLS handshake"
            await _secure(pending, address, ssl_context)
    if time_limit.cancelled_caught:
        raise TimeoutError(f"no {awaited} with {address} in {config.connect_timeout:g} s")
    async with SessionScope(pending, config, is_client=True) as session:
        yield session


def _sockets() -> Sockets[Any]:
    """What makes the connections on the running backend: the asyncio link's, or anyio's for the generic link."""
    return AnyioSockets() if event_loop() is None else AsyncioSockets()


async def _dial(address: Address, config: Config) -> PendingConnection:
    sockets = _sockets()
    if address.scheme == "unix":
        return await sockets.dial_unix(address.host)
    pending = await sockets.dial_tcp(address.host, address.port)
    try:
        pending.set_socket_options(config)
    except BaseException:
        await pending.abort()
        raise
    return pending


async def _secure(
    pending: PendingConnection, address: Address, ssl_context: ssl.SSLContext | None
) -> None:
    try:
        context = ssl_context or ssl.create_default_context()
        host, _, _ = address.host.partition("%")  # no certificate names a zone
        await pending.secure(context, server_side=False, hostname=host)
    except BaseException as exc:
        await pending.abort()
        if isinstance(exc, ConnectionError):
            raise ConnectionResetError(
                f"{address} ended the connection during the TLS handshake"
            ) from exc
        raise


@asynccontextmanager
async def listen(
    url: str,
    *,
    config: Config | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[SessionListener]:
    """Listen at ``url`` for connections that become sessions.

    With ``Config(wire="auto")`` each session takes the wire its dialer begins with: muxado, yamux,
    smux of either version.  A connection whose first bytes fit no wire, or two, or do not come within
    ``Config.recognize_timeout``, is closed, and a line in the log ``muxado.endpoints`` says why.

    :param url: as for :func:`connect`; port 0 takes a free one, see ``SessionListener.url``.
    :param ssl_context: required for ``tls://``, with the server's certificate loaded.
    :raises ValueError: if the URL is not of that form, or the context is missing or needless.
    :raises OSError: if the address cannot be listened on: it is in use, say.  A Unix path that a killed process
        left behind is taken over.

    Cancellation: the listener is closed.
    """
    config = config_or_default(config)
    address = parse_url(url)
    _check_context(ssl_context)
    if (address.scheme == "tls") != (ssl_context is not None):
        raise ValueError(
            f"{url!r} needs an ssl_context with the server's certificate"
            if ssl_context is None
            else f"an ssl_context needs a tls:// URL, got {url!r}"
        )
    path = UnixPath(address.host) if address.scheme == "unix" else None
    if path is not None:
        listener: Listener[Any] = await SocketListener.from_socket(path.socket)
    else:
        listener = await create_tcp_listener(local_host=address.host, local_port=address.port)
    async with listener:
        sessions = SessionListener(_sockets(), listener, address, config, ssl_context, path)
        try:
            yield sessions
        finally:
            await sessions.aclose()


def client(transport: ByteStream, config: Config | None = None) -> SessionScope:
    """A session over any anyio byte stream, as the side that dialed.

    :param transport: a connected ``anyio.abc.ByteStream``; the session closes it.
    :returns: an async context manager that gives the :class:`Session`.
    :raises ValueError: for ``Config(wire="auto")``.
    """
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
    return SessionScope(AnyioPending(transport), config, is_client=False)


def _check_context(ssl_context: object) -> None:
    if not isinstance(ssl_context, ssl.SSLContext | None):
        raise TypeError(f"ssl_context must be an ssl.SSLContext, got {ssl_context!r}")

"""Endpoints: sessions by URL, over TCP, TLS and Unix sockets.

``connect`` and ``listen`` make pending connections and run a session over each; :class:`SessionScope` does not know
where one came from.  Which sockets, and so which link, is chosen in :func:`_sockets` alone.

The rule.  One connection of a listener that fails, in its TLS handshake or after, must not end the others: everything
that a connection can raise ends in a line of the log.
"""

from __future__ import annotations

import logging
import socket
import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from anyio import (
    ClosedResourceError,
    create_task_group,
    create_tcp_listener,
    fail_after,
    move_on_after,
)
from anyio.abc import SocketAttribute, SocketListener

from ..arguments import check_function
from ..config import AUTO, config_or_default
from ..errors import SessionError, UndeliveredError, escaped
from ..links.tcp_info import least_unsent
from ..runtime.checkpoints import event_loop
from ..session.handlers import contain
from .addresses import parse_url
from .anyio_sockets import AnyioSockets
from .asyncio_sockets import AsyncioSockets
from .detect import detect_wire
from .mute import Mute
from .scope import SessionScope
from .unix_paths import UnixPath

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from anyio.abc import Listener, SocketStream, TaskGroup

    from ..config import Config
    from ..session.session import Session
    from .addresses import Address
    from .anyio_sockets import Sockets
    from .mute import Visitor
    from .pending import PendingConnection

__all__ = ("SessionListener", "connect", "listen")

logger = logging.getLogger("muxado.endpoints")

# Not every system has it.
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)


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
    with move_on_after(config.connect_timeout) as patience:
        pending = await _dial(address, config)
        if address.scheme == "tls":
            awaited = "TLS handshake"
            await _secure(pending, address, ssl_context)
    if patience.cancelled_caught:
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
        _prepare(pending, config)
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


class SessionListener:
    """Accepts connections and runs a session over each; made by :func:`listen`."""

    def __init__(
        self,
        bound: Listener[SocketStream],
        address: Address,
        config: Config,
        ssl_context: ssl.SSLContext | None,
        path: UnixPath | None,
    ) -> None:
        self._sockets = _sockets()
        self._listener: Listener[Any] = self._sockets.listener(bound)
        self._config = config
        self._ssl_context = ssl_context
        self._path = path
        self._mute = Mute(config.max_mute_connections)
        if address.scheme != "unix":
            address = address._replace(port=int(bound.extra(SocketAttribute.local_port)))
        self.url = str(address)
        """The URL that reaches it, with the real port if 0 was asked for."""

    async def serve(
        self,
        handler: Callable[[Session], Awaitable[object]],
        task_group: TaskGroup | None = None,
    ) -> None:
        """Call ``handler(session)`` in a task for each connection, until the listener is closed.

        The oldest connection that never said a byte is let go, its handler cancelled, when there are more of
        these than ``Config.max_mute_connections``.
        The session is closed when its handler returns or raises.  What a handler raises, and what
        a connection raises before it, is logged (``muxado.handler``, ``muxado.endpoints``); the
        others go on.

        :param task_group: where the handlers run; default one of its own.
        :raises TypeError: if ``handler`` is no function.
        :raises RuntimeError: what a ``task_group`` raises that has ended, when the next connection comes.

        Cancellation: the handlers are cancelled and their sessions closed.
        """
        check_function("handler", handler)

        async def run(accepted: object) -> None:
            with self._mute.visit() as visitor:
                await self._run(accepted, handler, visitor)

        async with AsyncExitStack() as stack:
            # Not the listener's own task group: sessions outlive the listener.
            if task_group is None:
                task_group = await stack.enter_async_context(create_task_group())
            try:
                await self._listener.serve(run, task_group)
            except* ClosedResourceError:
                pass

    async def _run(
        self,
        accepted: object,
        handler: Callable[[Session], Awaitable[object]],
        visitor: Visitor,
    ) -> None:
        try:
            pending = await self._sockets.pending(accepted)
            visitor.peer = pending.peer
            scope = await self._session(pending)
        except Exception as exc:  # noqa: BLE001 - this connection's trouble, and nobody else's
            logger.warning(
                "a connection from %s to %s failed: %s", visitor.peer, self.url, _reason(exc)
            )
            return
        try:
            async with scope as session:
                visitor.session = session
                await contain(handler, session)
        except UndeliveredError as exc:
            logger.warning("a session of %s ended: %s", self.url, exc)
        except Exception:
            # A mistake of ours: how a session ends is told to its handler, and was caught there.
            logger.exception("a session of %s failed", self.url)

    async def _session(self, pending: PendingConnection) -> SessionScope:
        config = self._config
        await self._secure(pending)
        if config.wire == AUTO:
            config = await detect_wire(pending, config)
        return SessionScope(pending, config, is_client=False)

    async def _secure(self, pending: PendingConnection) -> None:
        try:
            _prepare(pending, self._config)
            if self._ssl_context is not None:
                with fail_after(self._config.connect_timeout):
                    await pending.secure(self._ssl_context, server_side=True)
        except BaseException:
            await pending.abort()
            raise

    async def aclose(self) -> None:
        """Take no more connections; sessions that run go on, and ``serve`` waits for its own.

        The path of a Unix socket is removed.

        Cancellation: the listener is closed all the same.
        """
        if self._path is not None:
            self._path.remove()
        await self._listener.aclose()


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
        sessions = SessionListener(listener, address, config, ssl_context, path)
        try:
            yield sessions
        finally:
            await sessions.aclose()


def _check_context(ssl_context: object) -> None:
    if not isinstance(ssl_context, ssl.SSLContext | None):
        raise TypeError(f"ssl_context must be an ssl.SSLContext, got {ssl_context!r}")


def _reason(exc: Exception) -> str:
    """Why a connection never became a session, in words for a log."""
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or "TLS error").replace("_", " ").lower()
    if isinstance(exc, SessionError):
        return str(exc)
    if isinstance(exc, TimeoutError):
        return "no TLS handshake in time"
    if isinstance(exc, ConnectionError):
        return "it ended during the TLS handshake"
    return escaped(str(exc)) or type(exc).__name__


def _prepare(pending: PendingConnection, config: Config) -> None:
    """Set the options of a TCP socket; a Unix socket has none of them."""
    raw = pending.raw_socket()
    if raw.family not in (socket.AF_INET, socket.AF_INET6):
        return
    # Small frames leave at once; and little waits in the kernel, where no priority can overtake it any more.
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if config.notsent_lowat is not None and _NOTSENT_LOWAT is not None:
        mark = max(config.notsent_lowat, least_unsent(raw))
        raw.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, mark)

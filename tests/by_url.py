"""Two sessions by URL: on asyncio and uvloop over the asyncio link, on trio over the generic one."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

import muxado_py as muxado

from .dialing.proxy_servers import connect_proxy, socks_proxy
from .helpers.handed_over import handing_over, taken_over
from .transports import secured, tls_contexts

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Coroutine

    from anyio.abc import ByteStream, Listener

TCP_SCHEMES = ("tcp", "tls", "ws", "wss")
SCHEMES = (*TCP_SCHEMES, "unix")
PROXIES: dict[str, Callable[[], Any]] = {"connect": connect_proxy, "socks5": socks_proxy}
"""A session over TCP through one of each kind."""

TRANSPORTS = (*SCHEMES, "exec", *PROXIES)
"""Whatever carries a session that ``connect`` begins; ``exec`` with ``stdio:`` at its other end."""


def contexts_of(scheme: str) -> tuple[ssl.SSLContext, ssl.SSLContext] | tuple[None, None]:
    """For who dials and for who listens, if there is TLS in it."""
    return tls_contexts() if scheme in ("tls", "wss") else (None, None)


class Reachable:
    """Where somebody listens.

    :param dialer: what ``connect`` is to be given beside the URL.
    """

    def __init__(self, url: str, **dialer: Any) -> None:
        self.url = url
        self._dialer = dialer

    def connect(self, config: muxado.Config | None = None) -> Any:
        """A session with who listens there."""
        return muxado.connect(self.url, config=config, **self._dialer)


@asynccontextmanager
async def served(
    transport: str,
    handle: Callable[[muxado.Session], Coroutine[Any, Any, None]],
    config: muxado.Config | None = None,
    *,
    folder: Path = Path(),
) -> AsyncIterator[Reachable]:
    """Give the sessions that come over one of :data:`TRANSPORTS` to ``handle``; those under way are cancelled at the end.

    :param folder: where a Unix socket may lie.
    """

    async def take_over(stream: ByteStream) -> None:
        async with muxado.server(stream, config) as session:
            await handle(session)

    if transport == "exec":
        async with visited(transport, take_over, folder=folder) as there:
            yield there
        return
    scheme = below(transport)
    far_ssl = contexts_of(scheme)[1]
    url = f"unix://{folder}/socket" if scheme == "unix" else f"{scheme}://127.0.0.1:0"
    async with (
        muxado.listen(url, config=config, ssl_context=far_ssl) as listener,
        reachable(transport, listener.url) as there,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, handle)
        yield there
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def visited(
    transport: str,
    handle: Callable[[ByteStream], Coroutine[Any, Any, None]],
    *,
    folder: Path = Path(),
) -> AsyncIterator[Reachable]:
    """Give what comes over one of :data:`TRANSPORTS` to ``handle``, who need not make a session of it; as ``served`` else."""
    scheme = below(transport)
    listener: Listener[Any]
    if transport in ("unix", "exec"):
        path = str(folder / "visited")
        listener = await anyio.create_unix_listener(path)
        url = handing_over(path) if transport == "exec" else f"unix://{path}"
    else:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        url = f"{scheme}://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"

    async def take(stream: Any) -> None:
        taken = (
            taken_over(stream) if transport == "exec" else secured(stream, scheme, server_side=True)
        )
        async with await taken as visitor:
            await handle(visitor)

    async with (
        listener,
        reachable(transport, url) as there,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, take)
        yield there
        tasks.cancel_scope.cancel()


def below(transport: str) -> str:
    """The transport that a proxy leads to; of any other itself."""
    return "tcp" if transport in PROXIES else transport


@asynccontextmanager
async def reachable(transport: str, url: str) -> AsyncIterator[Reachable]:
    """Who listens at ``url``, from where the dialer of a transport is: a proxy runs here."""
    if transport in PROXIES:
        kind = "http" if transport == "connect" else transport
        async with PROXIES[transport]() as proxy:
            yield Reachable(url, proxy=f"{kind}://127.0.0.1:{proxy.port}")
    elif transport in ("tls", "wss"):
        yield Reachable(url, ssl_context=contexts_of(transport)[0])
    else:
        yield Reachable(url)


@asynccontextmanager
async def sessions_by_url(
    config: muxado.Config | None = None,
    server_config: muxado.Config | None = None,
    *,
    scheme: str = "tcp",
    folder: Path = Path(),
) -> AsyncIterator[tuple[muxado.Session, muxado.Session]]:
    """The dialed session and the accepted one.

    :param scheme: one of :data:`TRANSPORTS`.
    :param folder: where a Unix socket may lie.
    """
    accepted: list[muxado.Session] = []
    arrived, done = anyio.Event(), anyio.Event()

    async def handle(session: muxado.Session) -> None:
        accepted.append(session)
        arrived.set()
        await done.wait()

    async with (
        served(scheme, handle, server_config or config, folder=folder) as there,
        there.connect(config) as dialed,
    ):
        await arrived.wait()
        try:
            yield dialed, accepted[0]
        finally:
            done.set()

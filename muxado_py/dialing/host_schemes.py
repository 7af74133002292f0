"""``tcp://`` and ``tls://``: a host and a port, with TLS or without; and what every scheme over TCP is made of.

Where data comes from and goes to.  A connection is reached first, then TLS is agreed on, then whatever the scheme itself has
to say (:meth:`HostScheme.agree`, and :meth:`~muxado_py.dialing.scheme.Scheme.greet` for those who listen).

The rule.  A certificate is verified for the host in the URL, whatever the connection goes through: a proxy sees TLS go by.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from anyio import create_tcp_listener
from anyio.abc import SocketAttribute

from .addresses import Address, certified_name, read_host, write_host
from .backend_sockets import sockets_here
from .proxies import proxy_for, read_proxy
from .scheme import Bound, Scheme
from .through_proxy import dial_through, require_library

if TYPE_CHECKING:
    from anyio.abc import Listener, SocketStream

    from ..config import Config
    from .pending import PendingConnection
    from .scheme import Dialing, Options

__all__ = ("TCP", "TLS", "HostScheme", "SocketBound")


class SocketBound(Bound):
    """Listens at the sockets of a listener of anyio's."""

    def __init__(self, bound: Listener[SocketStream], address: Address) -> None:
        self._sockets = sockets_here()
        self.listener: Listener[Any] = self._sockets.listener(bound)
        self.address = address

    async def pending(self, accepted: Any, config: Config) -> PendingConnection:
        return await _prepared(await self._sockets.pending(accepted), config)


class HostScheme(Scheme):
    """A scheme over TCP; the first two are all that it says."""

    def __init__(self, name: str, *, has_tls: bool) -> None:
        self.name = name
        self.form = f"{name}://host:port"
        self.has_tls = has_tls
        self.options = frozenset(("proxy", "ssl_context") if has_tls else ("proxy",))

    def read(self, url: str) -> Address | None:
        parts, host = read_host(url)
        needless = parts.path.strip("/") or parts.query or parts.fragment or parts.username
        if needless or not host or parts.port is None:
            return None
        return Address(self.name, host, parts.port)

    def write(self, address: Address) -> str:
        return f"{self.name}://{write_host(address)}"

    def check(self, options: Options) -> None:
        if options.proxy is not None and (proxy := read_proxy(options.proxy)) is not None:
            require_library(proxy)

    async def dial(self, dialing: Dialing) -> PendingConnection:
        pending = await self._reach(dialing)
        try:
            if self.has_tls:
                dialing.awaited = "TLS handshake"
                await self._secure(pending, dialing)
            return await self.agree(pending, dialing)
        except BaseException:
            await pending.abort()
            raise

    async def _reach(self, dialing: Dialing) -> PendingConnection:
        address = dialing.address
        proxy = proxy_for(address.host, address.port, dialing.options.proxy)
        if proxy is None:
            try:
                pending = await sockets_here().dial_tcp(address.host, address.port)
            except OSError as exc:
                if type(exc) is not OSError:  # the system's own
                    raise
                raise OSError(f"no connection with {self.write(address)}: {exc}") from exc.__cause__
        else:
            pending = await dial_through(proxy, dialing)
        return await _prepared(pending, dialing.config)

    async def _secure(self, pending: PendingConnection, dialing: Dialing) -> None:
        context = dialing.options.ssl_context or ssl.create_default_context()
        host = certified_name(dialing.address.host)
        try:
            await pending.secure(context, server_side=False, hostname=host)
        except ConnectionError as exc:
            raise ConnectionResetError(
                f"{self.write(dialing.address)} ended the connection during the TLS handshake"
            ) from exc

    async def agree(self, pending: PendingConnection, dialing: Dialing) -> PendingConnection:
        """What the scheme itself agrees on with who listens, after TLS; ``pending`` is aborted if it fails.

        :raises OSError: what went wrong.
        """
        return pending

    async def listen(self, address: Address) -> Bound:
        bound = await create_tcp_listener(local_host=address.host, local_port=address.port)
        port = int(bound.extra(SocketAttribute.local_port))
        return SocketBound(bound, address._replace(port=port))


async def _prepared(pending: PendingConnection, config: Config) -> PendingConnection:
    try:
        pending.set_socket_options(config)
    except BaseException:
        await pending.abort()
        raise
    return pending


TCP = HostScheme("tcp", has_tls=False)
TLS = HostScheme("tls", has_tls=True)

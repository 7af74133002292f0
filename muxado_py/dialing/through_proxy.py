"""Through a proxy: a connection that somebody else makes on this side's behalf.

Where data comes from and goes to.  A CONNECT (RFC 9110, section 9.3.6) is said over a pending connection to the proxy, with TLS to it or
without; from the end of the answer's head on, the connection is one to the host.  With SOCKS5 (RFC 1928, 1929) the library dials and speaks
on a socket of its own, and that becomes the pending connection.

Why two libraries.  ``h11`` reads heads in whatever pieces they come, and says where one ends.  ``python-socks`` reads the answer to a CONNECT once, and so
loses one that comes in two pieces; of SOCKS5 it reads as many bytes as that has.

The rules.  The name of a host is the proxy's to resolve.  Whatever keeps a proxy from making the connection is an ``OSError`` that names the proxy,
and never what this side has shown to it.

The trap.  What the kernel says to have arrived has arrived at the proxy.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from anyio import BrokenResourceError, EndOfStream

from ..errors import escaped
from ..runtime.checkpoints import event_loop
from ..runtime.extras import require
from .addresses import certified_name, write_host
from .backend_sockets import sockets_here

if TYPE_CHECKING:
    from .addresses import Address
    from .pending import PendingConnection
    from .proxies import Proxy
    from .scheme import Dialing

__all__ = ("ProxyRefusedError", "dial_through", "require_library")

NO_TIMEOUT = 86_400.0
"""Seconds, for a library that wants a number; the dialing bounds the time."""


MAX_HEADS = 64 * 1024
"""Bytes of all heads of an answer: before the last, as many as the proxy likes may say to wait (RFC 9110, section 15.2)."""


class ProxyRefusedError(OSError):
    """A proxy answered, and made no connection.

    :ivar status: of its answer: of HTTP, as 407, or of SOCKS5, as 5; None if the answer has none.
    """

    def __init__(self, status: int | None, message: str) -> None:
        super().__init__(message)
        self.status = status


def require_library(proxy: Proxy) -> Any:
    """What speaks to ``proxy``.

    :raises MissingExtraError: if it is not installed.
    """
    return require("python_socks" if proxy.is_socks else "h11", "proxy")


async def dial_through(proxy: Proxy, dialing: Dialing) -> PendingConnection:
    """A connection to the host of ``dialing``, through ``proxy``.

    :raises OSError: if none comes about; :exc:`ProxyRefusedError` if the proxy says so.

    Cancellation: nothing is left open.
    """
    dialing.awaited = f"connection through the proxy {proxy}"
    host = dialing.address.host
    if "%" in host:
        raise OSError(f"a proxy cannot reach {host}: a zone is of this machine alone")
    try:
        name = host.encode("idna").decode()
    except UnicodeError:
        name = ""
    # What is no ASCII may become a space.
    if not name or not name.isprintable() or " " in name:
        raise OSError(f"a proxy cannot be asked for {escaped(host)}, which is no name")
    address = dialing.address._replace(host=name)
    return await (_socks(proxy, address) if proxy.is_socks else _connect(proxy, address))


# CONNECT.


async def _connect(proxy: Proxy, address: Address) -> PendingConnection:
    try:
        pending = await sockets_here().dial_tcp(proxy.host, proxy.port)
    except OSError as exc:
        raise OSError(f"no connection with the proxy {proxy}: {exc}") from exc
    try:
        if proxy.scheme == "https":
            context = proxy.ssl_context or ssl.create_default_context()
            await pending.secure(context, server_side=False, hostname=certified_name(proxy.host))
        await _ask(pending, proxy, address)
    except BaseException as exc:
        await pending.abort()
        if isinstance(exc, ConnectionError | BrokenResourceError | EndOfStream):
            raise ConnectionResetError(
                f"the proxy {proxy} ended the connection before it had made one"
            ) from exc
        if isinstance(exc, ssl.SSLError):
            # Without the fields of an error of TLS with the host, whose certificate nobody has seen yet.
            raise ssl.SSLError(exc.errno, f"no TLS with the proxy {proxy}: {exc.strerror}") from exc
        raise
    return pending


async def _ask(pending: PendingConnection, proxy: Proxy, address: Address) -> None:
    h11 = require_library(proxy)
    host = write_host(address)
    headers = [("Host", host)]
    if proxy.username or proxy.password:
        shown = b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
        headers.append(("Proxy-Authorization", f"Basic {shown}"))
    asking = h11.Connection(h11.CLIENT)
    request = h11.Request(method="CONNECT", target=host, headers=headers)
    await pending.send(asking.send(request) + asking.send(h11.EndOfMessage()))
    heard = 0
    while True:
        try:
            event = asking.next_event()
        except h11.RemoteProtocolError as exc:
            raise ProxyRefusedError(
                None, f"the proxy {proxy} answers with no HTTP: {escaped(str(exc)):.200}"
            ) from None
        if event is h11.NEED_DATA:
            data = await pending.peek()
            heard += len(data)
            asking.receive_data(data)
            if heard - len(asking.trailing_data[0]) > MAX_HEADS:
                raise ProxyRefusedError(
                    None, f"the proxy {proxy} answers with more than {MAX_HEADS:,} bytes of heads"
                )
        elif type(event) is h11.Response:
            break
    status = event.status_code
    if not 200 <= status < 300:
        reason = escaped(event.reason.decode("latin-1"))
        raise ProxyRefusedError(
            status, f"the proxy {proxy} refuses to connect to {host}: {status} {reason}".rstrip()
        )
    asking.next_event()  # it is no HTTP any more from here on
    rest, _ = asking.trailing_data
    pending.discard(heard - len(rest))


# SOCKS5.


async def _socks(proxy: Proxy, address: Address) -> PendingConnection:
    socks = require_library(proxy)
    # Each has the sockets of its loop.
    loop = "trio" if event_loop() is None else "asyncio"
    dialer = require(f"python_socks.async_.{loop}", "proxy")
    asking = dialer.Proxy(
        socks.ProxyType.SOCKS5, proxy.host, proxy.port, proxy.username, proxy.password, rdns=True
    )
    try:
        connected = await asking.connect(address.host, address.port, timeout=NO_TIMEOUT)
    except socks.ProxyError as exc:
        raise ProxyRefusedError(
            exc.error_code,
            f"the proxy {proxy} refuses to connect to {write_host(address)}: {escaped(str(exc))}",
        ) from exc
    except (
        OSError,
        ValueError,
    ) as exc:  # a name that cannot be one, the proxy's or one in its answer
        raise OSError(f"no connection with the proxy {proxy}: {exc}") from exc
    return await sockets_here().connected(connected)

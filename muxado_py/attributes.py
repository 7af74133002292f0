"""Attributes: what a transport of asyncio tells of itself, under anyio's names.

Where data comes from and goes to.  ``Session.extra_attributes`` shows them; an application that asks a
stream of anyio's for its peer's address or certificate asks a session in the same words.

The rule.  The keys and the forms of the values are those of anyio's own ``SocketStream`` and ``TLSStream``.

The trap.  A socket whose peer is gone already has no addresses, and raises.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

__all__ = ("socket_attributes", "tls_attributes")


def socket_attributes(raw: socket.socket) -> dict[Any, Callable[[], Any]]:
    """What anyio's socket streams tell of themselves."""
    try:
        local, remote = _address(raw.getsockname()), _address(raw.getpeername())
    except OSError:  # it is disconnected already
        return {}
    attributes: dict[Any, Callable[[], Any]] = {
        SocketAttribute.family: lambda: raw.family,
        SocketAttribute.raw_socket: lambda: raw,
        SocketAttribute.local_address: lambda: local,
        SocketAttribute.remote_address: lambda: remote,
    }
    if isinstance(local, tuple) and isinstance(remote, tuple):
        attributes[SocketAttribute.local_port] = lambda: local[1]
        attributes[SocketAttribute.remote_port] = lambda: remote[1]
    return attributes


def _address(address: Any) -> tuple[str, int] | str:
    """As anyio has it: the scope of an IPv6 address stands in its text."""
    if isinstance(address, tuple):
        host, port, *more = address
        return (f"{host}%{more[1]}" if len(more) == 2 and more[1] else host), port
    return str(address)


def tls_attributes(ssl_object: ssl.SSLObject) -> dict[Any, Callable[[], Any]]:
    """What anyio's ``TLSStream`` tells of itself."""
    return {
        TLSAttribute.alpn_protocol: ssl_object.selected_alpn_protocol,
        TLSAttribute.channel_binding_tls_unique: ssl_object.get_channel_binding,
        TLSAttribute.cipher: ssl_object.cipher,
        TLSAttribute.peer_certificate: partial(ssl_object.getpeercert, False),
        TLSAttribute.peer_certificate_binary: partial(ssl_object.getpeercert, True),
        TLSAttribute.server_side: lambda: ssl_object.server_side,
        TLSAttribute.shared_ciphers: lambda: (
            ssl_object.shared_ciphers() if ssl_object.server_side else None
        ),
        TLSAttribute.standard_compatible: lambda: False,
        TLSAttribute.ssl_object: lambda: ssl_object,
        TLSAttribute.tls_version: ssl_object.version,
    }

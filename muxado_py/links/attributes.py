"""Attributes: what a transport tells of itself, as ``Session.extra_attributes`` shows it.

The keys and the forms of the values are those of anyio's own ``SocketStream`` and ``TLSStream``.  They are asked for
when a connection is made, and remembered, because a closed transport tells nothing any more.

The trap.  A stream that is not ours, and whose peer is gone, raises what it likes from ``extra``, a default or not: an ``OSError``
of anyio's on asyncio, an ``AttributeError`` on uvloop.  So nobody asks one but by :func:`asked` and :func:`attributes_of`.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Mapping

    from anyio import TypedAttributeProvider

__all__ = ("asked", "attributes_of", "peer_of", "remembered", "socket_attributes", "tls_attributes")


def asked(provider: TypedAttributeProvider, attribute: Any) -> Any:
    """What ``provider`` tells of ``attribute``; None for what it does not know, or not any more."""
    with suppress(Exception):  # whatever a foreign transport, or one that is gone, may raise
        return provider.extra(attribute, None)
    return None


def attributes_of(provider: TypedAttributeProvider) -> Mapping[Any, Callable[[], Any]]:
    """The ``extra_attributes`` of ``provider``; none, if it is gone.  Each may still raise when it is asked for."""
    with suppress(Exception):  # as above
        return provider.extra_attributes
    return {}


def remembered(provider: TypedAttributeProvider) -> dict[Any, Callable[[], Any]]:
    """What ``provider`` tells of itself now; what it cannot tell is left out."""
    attributes: dict[Any, Callable[[], Any]] = {}
    for attribute, ask in attributes_of(provider).items():
        with suppress(Exception):  # as above
            attributes[attribute] = partial(_same, ask())
    return attributes


def peer_of(attributes: Mapping[Any, Callable[[], Any]]) -> str:
    """The peer's address, for a log; a peer that has none is local."""
    address = attributes.get(SocketAttribute.remote_address, lambda: None)()
    if not isinstance(address, tuple) or not address[1]:
        return "a local peer"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _same(value: Any) -> Any:
    return value


def socket_attributes(raw: socket.socket) -> dict[Any, Callable[[], Any]]:
    """What anyio's socket streams tell of themselves."""
    family = raw.family
    attributes: dict[Any, Callable[[], Any]] = {
        SocketAttribute.family: lambda: family,
        SocketAttribute.raw_socket: lambda: raw,
    }
    for side, port, ask in (
        (SocketAttribute.local_address, SocketAttribute.local_port, raw.getsockname),
        (SocketAttribute.remote_address, SocketAttribute.remote_port, raw.getpeername),
    ):
        # One whose peer is gone already has no addresses, and one that uvloop has closed no number either.
        with suppress(OSError, ValueError):
            address = _address(ask())
            attributes[side] = partial(_same, address)
            if isinstance(address, tuple):
                attributes[port] = partial(_same, address[1])
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

"""The addresses of a stream, in the form that applications know them.

What it is.  ``scope["client"]`` and ``scope["server"]`` of ASGI, which uvicorn and anycorn ask of a
transport, and what CGI calls ``REMOTE_ADDR`` and ``SERVER_NAME``.  They are those of the connection that
carries the session; behind a gateway the client is the gateway, unless that says who calls
(:mod:`~muxado_py.session.caller_address`).

The rule.  A client is a host and a port, or None; never a path.  A server is that, or a path and None.

The trap.  A stream of ours gives a Unix socket as ``(path, 0)``, and its unnamed end as ``("", 0)``.  No
connected TCP socket has port 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio.abc import SocketAttribute

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Attributes = Mapping[Any, Callable[[], Any]]

__all__ = ("client_address", "server_address", "socket_name")


def client_address(attributes: Attributes) -> tuple[str, int] | None:
    """Host and port of the peer, or None over a Unix socket or where nobody knows."""
    name = socket_name(attributes, SocketAttribute.remote_address)
    return name if isinstance(name, tuple) else None


def server_address(attributes: Attributes) -> tuple[str, int | None] | None:
    """Host and port of this side, ``(path, None)`` of a Unix socket that has a name, or None."""
    name = socket_name(attributes, SocketAttribute.local_address)
    return (name, None) if isinstance(name, str) else name


def socket_name(attributes: Attributes, which: Any) -> tuple[str, int] | str | None:
    """Host and port, the path of a Unix socket, or None: of an unnamed one, or where nobody knows."""
    try:
        address = attributes[which]()
    except Exception:  # noqa: BLE001 - of a stream that is not ours, and gone, whatever it likes
        return None
    if not isinstance(address, tuple):
        return str(address) or None
    host, port = str(address[0]), int(address[1])
    return (host, port) if port else host or None

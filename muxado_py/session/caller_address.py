"""The caller's address: what a gateway says of whoever is at the other end of a stream, and who believes it.

What it is.  A session carries the streams of many callers, and the address of its transport is that of the gateway alone.
So the gateway says the caller's in the stream's metadata, by the key :data:`CALLER`: ``192.0.2.7:4711``, or
``[2001:db8::7]:4711``.  Where that is believed, it stands in place of the transport's ``remote_address``: so servers
of applications have it as they have that of a socket's peer, whatever they call it.

Who is believed.  The side that one has dialed, unless ``Config.trust_caller`` says otherwise.  Whoever dials a gateway
has chosen it, and gets every byte of its callers from it; an address more gives it no power that it lacks.  Who
is dialed knows nothing of the dialer: one that could choose an address would be let in wherever addresses decide.

The rule.  Only an address of the Internet Protocol with a port is taken, in the form in which it is said here; whatever else
stands there counts for nothing, and the transport's address holds.  Applications compare these texts.

The trap.  A caller over a Unix socket has no address, so nothing is said, and the application sees the gateway's.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("CALLER", "read_caller", "written_caller")

CALLER = "caller"

MAX_TEXT = 64
"""Bytes; the longest address takes 47."""


def written_caller(address: object) -> bytes | None:
    """How an address, as sockets give it, is said; None for what has no host and port."""
    if not isinstance(address, tuple) or len(address) < 2 or not address[1]:
        return None
    host = _host(str(address[0]).partition("%")[0])
    if host is None:
        return None
    return (f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}").encode()


def read_caller(metadata: Mapping[str, bytes]) -> tuple[str, int] | None:
    """The address that is said there, if one is."""
    value = metadata.get(CALLER, b"")
    if not 0 < len(value) <= MAX_TEXT or not value.isascii():
        return None
    text, _, port = value.decode("ascii").rpartition(":")
    if not (port.isdigit() and 0 < int(port) <= 0xFFFF):
        return None
    is_bracketed = text.startswith("[") and text.endswith("]")
    if (":" in text) != is_bracketed or "%" in text:
        return None
    host = _host(text[1:-1] if is_bracketed else text)
    return None if host is None else (host, int(port))


def _host(text: str) -> str | None:
    """An address in its one form; that of IPv4 where one of IPv6 only stands for it."""
    try:
        if ":" not in text:
            return str(IPv4Address(text))
        address = IPv6Address(text)
    except ValueError:
        return None
    return str(address.ipv4_mapped or address)

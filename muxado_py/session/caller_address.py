"""The caller's address: what a gateway says of whoever is at the other end of a stream, and who believes it.

What it is.  A session carries the streams of many callers, and the address of its transport is that of the gateway alone.
So the gateway says the caller's in the stream's metadata, by the key :data:`CALLER`: ``192.0.2.7:4711``, or
``[2001:db8::7]:4711``.  Where that is believed, it stands in place of the transport's ``remote_address``: so servers
of applications have it as they have that of a socket's peer, whatever they call it.

Who is believed.  The side that one has dialed, unless ``Config.trust_caller`` says otherwise.  Whoever dials a gateway
has chosen it, and gets every byte of its callers from it.  Who is dialed knows nothing of the dialer: one that could
choose an address would be let in wherever addresses decide.  A loopback address is believed of a peer on this machine
only: an application that lets this machine do more means this one, and not the gateway's.

The rule.  Only an address of the Internet Protocol with a port is taken, in the form in which it is said here; whatever else
stands there counts for nothing, and the transport's address holds.  Applications compare these texts.

How it is quick.  Nearly all callers have addresses of IPv4, and the module for addresses takes ten times as long for one as
an expression that says what they look like.

The trap.  A caller over a Unix socket has no address, so nothing is said, and the application sees the gateway's.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any

from anyio.abc import SocketAttribute

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Attributes = Mapping[Any, Callable[[], Any]]

__all__ = ("CALLER", "read_caller", "with_caller", "written_caller")

CALLER = "caller"

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_PORT = rb"([1-9][0-9]{0,4})"
_is_ipv4 = re.compile(_IPV4).fullmatch
_match_ipv4 = re.compile(b"(" + _IPV4.encode() + b"):" + _PORT).fullmatch
_match_ipv6 = re.compile(rb"\[([0-9a-fA-F:.]{2,45})\]:" + _PORT).fullmatch


def written_caller(address: object) -> bytes | None:
    """How an address, as sockets give it, is said; None for what has no host and port."""
    if not isinstance(address, tuple) or len(address) < 2 or not address[1]:
        return None
    host, port = str(address[0]), address[1]
    if ":" in host:
        host = _from_ipv6(host.partition("%")[0]) or ""
    if ":" in host:
        return f"[{host}]:{port}".encode()
    return f"{host}:{port}".encode() if _is_ipv4(host) else None


def read_caller(metadata: Mapping[str, bytes]) -> tuple[str, int] | None:
    """The address that is said there, if one is."""
    value = metadata.get(CALLER, b"")
    found = _match_ipv4(value)
    if found is not None:
        host: str | None = found[1].decode()
    else:
        found = _match_ipv6(value)
        if found is None:
            return None
        host = _from_ipv6(found[1].decode())
    port = int(found[2])
    return None if host is None or port > 0xFFFF else (host, port)


def with_caller(transport: Attributes, metadata: Mapping[str, bytes]) -> Attributes:
    """What a stream has of its ``transport``'s addresses, with the caller's in the peer's place if one is said."""
    caller = read_caller(metadata)
    if caller is None:
        return transport
    peer = transport.get(SocketAttribute.remote_address)
    if peer is not None and _is_loopback(caller[0]) and not _is_here(str(peer()[0])):
        return transport
    return {**transport, SocketAttribute.remote_address: lambda: caller}


def _is_here(host: str) -> bool:
    """Whether it is this machine's: a loopback address, or the path of a Unix socket."""
    if ":" in host:
        host = _from_ipv6(host.partition("%")[0]) or host
    return _is_loopback(host) or not (":" in host or _is_ipv4(host))


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host == "::1"


def _from_ipv6(text: str) -> str | None:
    """An address in its one form; that of IPv4 where it only stands for one."""
    try:
        address = IPv6Address(text)
    except ValueError:
        return None
    return str(address.ipv4_mapped or address)

"""The header of the PROXY protocol, version 2: who calls, said to a local port before the first byte.

What it is.  Many servers (nginx, HAProxy, Postfix, Dovecot, Traefik) take the address of their client from such a
header if they are told to.  It is what the agent's applications see as their client: the caller of the gateway, where that
says it and is believed, else the other side of the session.

The format (haproxy, ``doc/proxy-protocol.txt``, 2.2), big endian::

    12 bytes  0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A
     1        version 2, command: 0x21 PROXY, 0x20 LOCAL
     1        family and transport: 0x11 TCP over IPv4, 0x21 TCP over IPv6, 0x00 unknown
     2        how many bytes follow
              the two addresses, the source's first, and the two ports

Where no address is known the command is LOCAL, at which every receiver goes by its connection; it is free to reject a PROXY
of an unknown family.

The rule.  Both addresses are of the family of the source.  What the caller connected to is not known here: the destination
is this side's end of the session if it is of that family, and else zeros.

The trap.  A server that does not expect the header takes it for its client's first bytes, and one that expects it must be
reachable by nobody else: it believes whatever address stands there.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import pack
from typing import TYPE_CHECKING

from ...integrations.addresses import client_address, server_address

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ("proxy_header",)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PROXY, LOCAL = 0x21, 0x20
FAMILIES = {4: 0x11, 6: 0x21}


def proxy_header(attributes: Mapping[Any, Callable[[], Any]]) -> bytes:
    """The header for a stream with these typed attributes."""
    client, server = client_address(attributes), server_address(attributes)
    source = None if client is None else _ip(client[0])
    if client is None or source is None:
        return SIGNATURE + pack(">BBH", LOCAL, 0, 0)
    destination = None if server is None else _ip(server[0])
    if server is None or destination is None or destination.version != source.version:
        to, port = bytes(len(source.packed)), 0
    else:
        to, port = destination.packed, server[1] or 0
    body = source.packed + to + pack(">HH", client[1], port)
    return SIGNATURE + pack(">BBH", PROXY, FAMILIES[source.version], len(body)) + body


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    """The address; that of IPv4 where one of IPv6 only stands for it."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address

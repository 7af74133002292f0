"""Fronts: proxies before the HTTP door whose word is taken for who asks.

What it is.  Where nginx, HAProxy or a balancer stands before the door, every connection is its own, and who asks stands in
``X-Forwarded-For``, which it writes.  Whoever runs the gateway says from which addresses such proxies come.  Then the
:class:`Source` of each of their requests is what they say: agents are told of it in the request and beside it, and so is the log.

The rules.  Every proxy adds the address that it sees to the end of the list.  So it is read from the end, for as long as what
stands there is a proxy that is trusted itself; the next is who asks, and what is before that somebody made up (nginx:
``real_ip_recursive``, uvicorn: ``--forwarded-allow-ips``).  What is no address ends the reading: it is who was found so far.  Of
anybody who is not named no field counts.  What decides where a request goes is its Host, whoever brings it.

The traps.  ``Forwarded`` and ``X-Real-IP`` may stand beside it and say something else; a proxy that writes one passes on the
other as its client had it.  They are never read, and never passed on.  And agents are told a port with an address, but few
proxies say one: then it is that of the proxy's own connection, whose log has it too.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

from ...session.caller_address import CALLER, written_caller
from ..agents.introductions import introduce

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from ipaddress import IPv4Address, IPv4Network, IPv6Network

    from ...runtime.plain_sockets import PlainSocket
    from .requests import Request

__all__ = ("UNIX", "Fronts", "Source", "parse_fronts")

UNIX = "unix"
"""How who comes by a Unix socket is named, which has no address."""

SCHEMES = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
"""What a proxy says of how it was asked; Traefik says of a websocket that it is one."""

_ITEM = re.compile(
    r"\[(?P<six>[^\]]*)\](?::(?P<port6>\d{1,5}))?|(?P<four>[0-9.]+):(?P<port4>\d{1,5})"
)


class Source(NamedTuple):
    """Who asks."""

    client: str | None
    """Its address; None on a Unix socket, or if it is gone."""
    scheme: str
    """How it asked, ``http`` or ``https``."""
    introduction: Mapping[str, bytes]
    """What an agent is told of it beside the request."""
    port: int = 0
    """Of its connection; 0 on a Unix socket."""
    is_front: bool = False
    """Whether it is a proxy, whose requests are others'."""


class Fronts:
    """The proxies that are trusted.

    :param networks: where they are.
    :param on_unix: whether whoever comes by a Unix socket is one.
    """

    def __init__(
        self, networks: Iterable[IPv4Network | IPv6Network] = (), *, on_unix: bool = False
    ) -> None:
        self._networks = tuple(networks)
        self._on_unix = on_unix

    def source(self, connection: PlainSocket, scheme: str) -> Source:
        """Who is at the other end of a connection.

        :param scheme: what the door speaks.
        """
        try:
            peer = connection.raw_socket.getpeername()
        except OSError:  # it is gone
            return Source(None, scheme, {})
        if not isinstance(peer, tuple):
            return Source(None, scheme, {}, is_front=self._on_unix)
        address = _address(peer[0])
        is_front = address is not None and self._has(address)
        return Source(str(address), scheme, introduce(connection), peer[1], is_front)

    def asker(self, source: Source, request: Request) -> Source:
        """Who asks with a request that came from ``source``."""
        if not source.is_front:
            return source
        client, introduction = source.client, source.introduction
        for address, port in _from_the_end(request.forwarded_for):
            client = str(address)
            caller = written_caller((client, port or source.port))
            introduction = {} if caller is None else {CALLER: caller}
            if not self._has(address):
                break
        said = request.forwarded_proto
        scheme = SCHEMES.get(said[0].lower()) if len(said) == 1 else None
        return Source(client, scheme or source.scheme, introduction)

    def _has(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


def parse_fronts(text: str) -> Fronts:
    """Those of ``192.0.2.1,10.0.0.0/8,unix``.

    :raises ValueError: if one is neither an address, nor a network, nor :data:`UNIX`.
    """
    networks, on_unix = [], False
    for one in (part.strip() for part in text.split(",")):
        if one == UNIX:
            on_unix = True
            continue
        try:
            networks.append(_network(one))
        except ValueError:
            raise ValueError(
                f"{one[:80]!r} is no address of a proxy: write 192.0.2.1, a network without bits beside it as "
                f"10.0.0.0/8, or {UNIX} for whoever comes by a Unix socket, with commas between them"
            ) from None
    return Fronts(networks, on_unix=on_unix)


def _from_the_end(fields: list[bytes]) -> Iterator[tuple[IPv4Address | IPv6Address, int]]:
    """The addresses and ports, 0 if none is said, of these fields' lists, the last first; up to what is none."""
    for field in reversed(fields):
        for item in reversed(field.decode("latin-1").split(",")):
            text, port = item.strip(), 0
            found = _ITEM.fullmatch(text)
            if found is not None:
                text = found["six"] or found["four"] or ""
                port = int(found["port6"] or found["port4"] or 0)
            address = _address(text)
            if address is None or port > 0xFFFF:
                return
            yield address, port


def _network(text: str) -> IPv4Network | IPv6Network:
    """As :func:`_address` writes those that are in it.

    :raises ValueError: if it is none.
    """
    network = ip_network(text)
    mapped = network.network_address.ipv4_mapped if network.version == 6 else None
    if mapped is None or network.prefixlen < 96:
        return network
    return ip_network((mapped, network.prefixlen - 96))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """In its one form: that of IPv4 where it only stands for one."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address

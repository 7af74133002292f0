"""Ports: addresses of servers beside the agent, as people write them.

What it is.  What ``muxado serve`` takes in the place of an application, told apart from one by its scheme.

The rule.  An address is all that is taken: who writes a path, a user or a query means a proxy that reads requests, and
would get one that does not.

The trap.  A port of HTTP is served in the same way as another; but its server never closes one direction alone, which
its socket does not say.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from ...dialing.schemes import parse_url

__all__ = ("LocalPort", "parse_port")

_EXPECTED = "write tcp://host:port, http://host:port or unix:///path"


class LocalPort(NamedTuple):
    """Where connections go."""

    scheme: str
    """``tcp``, ``http`` or ``unix``."""
    host: str
    """Or the path."""
    port: int = 0
    wants_header: bool = False
    """Whether it takes who calls from a header of the PROXY protocol; see :mod:`.proxy_header`."""

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.host}"
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def ends_whole(self) -> bool:
        """Whether who listens there never closes one direction only."""
        return self.scheme == "http"


def parse_port(text: str) -> LocalPort | None:
    """An address, or None for what is the name of an application.

    :raises ValueError: for an address that cannot be served.
    """
    scheme, separator, _ = text.partition("://")
    if not separator:
        return None
    if scheme == "http":
        return _parse_http(text)
    if scheme not in ("tcp", "unix"):
        raise ValueError(f"{text!r} cannot be served: {_EXPECTED}")
    try:
        address = parse_url(text)
    except ValueError:
        raise ValueError(f"{text!r} is no address: {_EXPECTED}") from None
    return LocalPort(scheme, address.host or address.path, address.port)


def _parse_http(text: str) -> LocalPort:
    try:
        parts = urlsplit(text)
        port = parts.port or 80
    except ValueError as exc:
        raise ValueError(f"{text!r}: {exc}; {_EXPECTED}") from None
    if not parts.hostname:
        raise ValueError(f"{text!r} is no address: {_EXPECTED}")
    if parts.path.strip("/") or parts.query or parts.username:
        raise ValueError(f"{text!r} has more than an address, which alone is served: {_EXPECTED}")
    return LocalPort("http", parts.hostname, port)

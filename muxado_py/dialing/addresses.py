"""Addresses: the URLs of sessions.

What a URL says is taken as it is, or refused with what was expected; nothing is dropped.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from ..arguments import check_text

__all__ = ("Address", "parse_url")

EXPECTED = "expected tcp://host:port, tls://host:port or unix:///path"


class Address(NamedTuple):
    """A parsed URL."""

    scheme: str
    host: str
    """The host, with its zone as in ``fe80::1%eth0`` if it has one; or the path of a Unix socket."""
    port: int

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.host}"
        host = self.host.replace("%25", "%2525")  # a zone that begins so would be read as escaped
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


def parse_url(url: str) -> Address:
    """``tcp://host:port``, ``tls://host:port`` or ``unix:///path`` in parts.

    :raises TypeError: if ``url`` is no str.
    :raises ValueError: with what came and what was expected.
    """
    check_text("url", url)
    scheme, slashes, path = url.partition("://")
    if scheme.lower() == "unix" and slashes:
        # Everything behind the slashes, since a path may have any character: no query, no fragment, no escapes.
        if path and "\0" not in path:
            return Address("unix", path, 0)
    elif scheme.lower() in ("tcp", "tls") and (address := _host_and_port(url)):
        return address
    raise ValueError(f"{url!r} is no address of a session; {EXPECTED}")


def _host_and_port(url: str) -> Address | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise ValueError(f"{url!r}: {exc}; {EXPECTED}") from None
    needless = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if needless or not parts.hostname or port is None:
        return None
    host, percent, zone = parts.hostname.partition("%")
    if len(zone) > 2:
        # A zone is written as %eth0 or, by RFC 6874, as %25eth0.
        zone = zone.removeprefix("25")
    return Address(parts.scheme, host + percent + zone, port)

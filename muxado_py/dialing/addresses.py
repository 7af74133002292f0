"""Addresses: where a session's transport leads, and how a URL says so.

What a URL says is taken as it is, or refused with what was expected; nothing is dropped.  What is common to the URLs that
name a host stands here; which of their parts a URL may have, its :class:`~muxado_py.dialing.scheme.Scheme` decides.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

__all__ = ("Address", "certified_name", "read_host", "write_host")


class Address(NamedTuple):
    """A URL in parts; what its scheme has no use for is empty."""

    scheme: str
    host: str = ""
    """With its zone as in ``fe80::1%eth0``, if it has one."""
    port: int = 0
    path: str = ""
    """Where on the host, or on this machine; with everything that stands behind it."""


def read_host(url: str) -> tuple[SplitResult, str]:
    """``url`` in parts, and its host; "" if there is none.

    :raises ValueError: if that is no URL at all, in words that do not repeat it.
    """
    if " " in url or not url.isprintable():  # some of it urlsplit drops
        raise ValueError("no URL has a space, or what cannot be printed")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it is read only when asked for, and may be none
    except ValueError:  # which says what it stumbled over, and that may be a password
        raise ValueError("its host is none, or its port is no number from 0 to 65535") from None
    host, percent, zone = (parts.hostname or "").partition("%")
    if len(zone) > 2:
        # A zone is written as %eth0 or, by RFC 6874, as %25eth0.
        zone = zone.removeprefix("25")
    return parts, host + percent + zone


def certified_name(host: str) -> str:
    """What TLS asks ``host`` for, and its certificate has: no zone, and not the dot behind a name that is whole (RFC 6066, section 3)."""
    return host.partition("%")[0].removesuffix(".")


def write_host(address: Address) -> str:
    """Host and port as a URL has them."""
    host = address.host.replace("%25", "%2525")  # a zone that begins so would be read as escaped
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"

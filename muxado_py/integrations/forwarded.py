"""What proxies say of the caller, for WSGI: believed of those who are trusted, and with uvicorn's meaning.

What it is.  A WSGI middleware that does what ``uvicorn --forwarded-allow-ips`` does for ASGI: from a peer
that is trusted, ``X-Forwarded-Proto`` is the scheme, and the last address of ``X-Forwarded-For`` that is not
itself trusted is the client.

The rule.  From everybody else these headers, and all others by which a proxy speaks of its caller, are
taken out: frameworks (Django's ``SECURE_PROXY_SSL_HEADER``, werkzeug's ``ProxyFix``) believe what they find.

The traps.  Who is trusted is asked of the address that the stream has: the peer of the *session*, and where that is a
gateway that says who calls, the caller's (``Config.trust_caller``).  A gateway passes on what its callers send, so to
trust it is right only if something before it sets the headers.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

__all__ = ("ForwardedHeaders", "TrustedPeers")

_HEADERS = tuple(
    f"HTTP_{name}"
    for name in (
        "FORWARDED",
        "X_FORWARDED_BY",
        "X_FORWARDED_FOR",
        "X_FORWARDED_HOST",
        "X_FORWARDED_PORT",
        "X_FORWARDED_PREFIX",
        "X_FORWARDED_PROTO",
    )
)


class TrustedPeers:
    """The peers that ``text`` names: addresses and networks with commas between, or ``*`` for all."""

    def __init__(self, text: str) -> None:
        self._everybody = text.strip() == "*"
        self._networks: list[Network] = []
        self._names: set[str] = set()
        for name in text.split(","):
            network = _network(name.strip())
            if network is None:
                self._names.add(name.strip())
            else:
                self._networks.append(network)

    def __contains__(self, host: str | None) -> bool:
        if self._everybody or not host:
            return self._everybody
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return host in self._names
        return any(address in network for network in self._networks)

    def client(self, forwarded_for: str) -> tuple[str, str]:
        """Host and port (or nothing) of the caller: who spoke to the first of the trusted proxies."""
        hops = [_host_and_port(hop.strip()) for hop in forwarded_for.split(",")]
        if not self._everybody:
            for hop in reversed(hops):
                if hop[0] not in self:
                    return hop
        return hops[0]


class ForwardedHeaders:
    """``app``, told by those in ``trusted`` who its callers are."""

    def __init__(self, app: Callable[..., Any], trusted: TrustedPeers) -> None:
        self._app = app
        self._trusted = trusted

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ.get("REMOTE_ADDR") in self._trusted:
            self._believe(environ)
        else:
            for name in _HEADERS:
                environ.pop(name, None)
        return self._app(environ, start_response)

    def _believe(self, environ: dict[str, Any]) -> None:
        scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").strip()
        if scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme
        host, port = self._trusted.client(environ.get("HTTP_X_FORWARDED_FOR", ""))
        if host:
            environ["REMOTE_ADDR"] = environ["REMOTE_HOST"] = host
            environ.pop("REMOTE_PORT", None)
            if port:
                environ["REMOTE_PORT"] = port


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text)  # an address is a network of one
    except ValueError:
        return None


def _host_and_port(hop: str) -> tuple[str, str]:
    """``1.2.3.4``, ``1.2.3.4:80``, ``::1``, ``[::1]`` or ``[::1]:80``."""
    if hop.startswith("["):
        host, _, port = hop[1:].partition("]")
        return host, port.removeprefix(":")
    if hop.count(":") == 1:
        host, _, port = hop.partition(":")
        return (host, port) if port.isdecimal() else (hop, "")
    return hop, ""

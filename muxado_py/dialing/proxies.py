"""Proxies: what stands between this side and a host, by its own URL or by the variables of the environment.

What it is.  A :class:`Proxy` is a URL in parts, read when it is given, and not when it is needed.  How a connection goes through one
is :mod:`~muxado_py.dialing.through_proxy`.

The environment's.  Everything here goes through a tunnel, as HTTPS does; so the proxy is that of ``HTTPS_PROXY``, or else that of
``ALL_PROXY``, in small letters before large ones.  ``NO_PROXY`` has the hosts that need none, as Python, curl and Go read it: names, which
stand for what is below them too; addresses, and networks as ``10.0.0.0/8``; either with a port; ``*`` for all.

The rule.  A password is in the object, and in what is said to the proxy, and nowhere else: in no message, no log and no ``repr``, also not in that of an
error about a URL that cannot be read.
"""

from __future__ import annotations

import ipaddress
import ssl
import urllib.request
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment

__all__ = ("ENVIRONMENT", "Proxy", "proxy_for", "read_proxy")

ENVIRONMENT = "environment"
"""What stands in the place of a proxy's URL where the variables of the environment are asked."""

PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
"""The schemes, and the port that each means if a URL says none."""

VARIABLES = ("https", "all")
"""The variables that name a proxy, as :func:`urllib.request.getproxies_environment` has them."""

MAX_CREDENTIAL = 255
"""Bytes of a user's name, or of a password, for SOCKS5 (RFC 1929)."""


class Proxy:
    """A proxy: ``http://`` or ``https://`` for CONNECT, ``socks5://`` for SOCKS5.

    :param url: ``http://user:password@host:port``; without a port 80, 443 or 1080.  ``socks5h://`` means the same as
        ``socks5://``: the proxy finds the address of a host.
    :param ssl_context: for ``https://``, which is TLS to the proxy itself; default one that verifies the proxy with the system's roots.
    :raises TypeError: if one is of a wrong type.
    :raises ValueError: if the URL is none of a proxy, or a context is given without ``https://``.
    """

    def __init__(self, url: str, *, ssl_context: ssl.SSLContext | None = None) -> None:
        if not isinstance(url, str):
            raise TypeError(f"a proxy must be a URL, got {type(url).__name__}")
        if not isinstance(ssl_context, ssl.SSLContext | None):
            raise TypeError(f"ssl_context must be an ssl.SSLContext, got {ssl_context!r}")
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme, parts.hostname or "", parts.port
        except ValueError:  # which says what it stumbled over, and that may be a password
            raise ValueError(_EXPECTED) from None
        needless = parts.path.strip("/") or parts.query or "#" in url
        # Of what cannot be printed urlsplit drops some, and the surrogates of an environment that is no UTF-8 no protocol can say.
        if scheme not in PORTS or not host or needless or " " in url or not url.isprintable():
            raise ValueError(_EXPECTED)
        if ssl_context is not None and scheme != "https":
            raise ValueError(f"an ssl_context needs a https:// proxy, got a {scheme}:// one")
        self.scheme = scheme
        self.host = host
        self.port = PORTS[scheme] if port is None else port
        self.username = unquote(parts.username or "")
        self.password = unquote(parts.password or "")
        self.ssl_context = ssl_context
        _check_credentials(self)

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS5, and not HTTP."""
        return self.scheme.startswith("socks")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def __repr__(self) -> str:
        return f"<Proxy {self}>"


_EXPECTED = (
    "a proxy must be http://[user:password@]host[:port], https://... or socks5://..., got something else; "
    "what has a meaning in a URL (/ ? # @ :), a space and what cannot be printed is written with a % in a password"
)


def _check_credentials(proxy: Proxy) -> None:
    """:raises ValueError: if the proxy's protocol cannot say them."""
    username, password = proxy.username, proxy.password
    if not proxy.is_socks:
        if ":" in username:
            raise ValueError("the user's name for an http:// proxy can have no colon (RFC 7617)")
        return
    if bool(username) != bool(password):
        raise ValueError("a socks5:// proxy takes a user's name and a password, or neither")
    if not (username + password).isascii() or max(len(username), len(password)) > MAX_CREDENTIAL:
        raise ValueError(
            f"a socks5:// proxy takes a user's name and a password of at most {MAX_CREDENTIAL} ASCII characters"
        )


def read_proxy(proxy: object) -> Proxy | None:
    """What ``connect(proxy=...)`` was given; None if the environment is to be asked for each host.

    :raises TypeError: if it is no URL and no :class:`Proxy`.
    :raises ValueError: if it is no URL of a proxy; or what the environment says is none.
    """
    if isinstance(proxy, Proxy):
        return proxy
    if proxy == ENVIRONMENT:
        for name in VARIABLES:
            _of_environment(name)
        return None
    if not isinstance(proxy, str):
        raise TypeError(
            f'proxy must be a URL, a muxado.Proxy or "environment", got {type(proxy).__name__}'
        )
    return Proxy(proxy)


def proxy_for(host: str, port: int, proxy: str | Proxy | None) -> Proxy | None:
    """The proxy through which ``host`` is dialed; None if it is dialed without."""
    if proxy is None:
        return None
    found = read_proxy(proxy)
    if found is not None or _needs_none(host, port):
        return found
    return next(filter(None, map(_of_environment, VARIABLES)), None)


def _of_environment(name: str) -> Proxy | None:
    url = getproxies_environment().get(name)
    if not url:
        return None
    try:
        return Proxy(url if "://" in url else f"http://{url}")
    except ValueError as exc:
        raise ValueError(f"{name.upper()}_PROXY: {exc}") from None


def _needs_none(host: str, port: int) -> bool:
    no_proxy = getproxies_environment().get("no", "")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        bypass = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]
        # As curl does: a name is the same with the dot that says that it is whole.
        return bool(bypass(f"{host.removesuffix('.')}:{port}", {"no": no_proxy}))
    return any(_is_of(address, port, one.strip()) for one in no_proxy.split(","))


def _is_of(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, entry: str) -> bool:
    if entry == "*":
        return True
    written = f"[{address}]" if address.version == 6 else str(address)
    if entry.lower() == f"{written}:{port}":
        return True
    try:
        return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:  # a name
        return False

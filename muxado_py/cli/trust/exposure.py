"""Exposure: who can reach an address, and whether something says who they are.

What it is.  The check before a command listens, or shows a token.  On the loopback interface and on a Unix socket the
system says who may come; anywhere else it is the certificates and the tokens of those who dial, and nothing starts that
asks for neither.

The rule.  What is not known to be this machine alone is the network: a name counts by what it says and not by what it
resolves to, which others may change.  What goes through a proxy is on the network, and ``localhost`` is the proxy's.

The trap.  A secret that is shown over ``tcp://`` has been shown to everybody on the way, so it is no protection there.
"""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING

import click

from ...dialing.proxies import proxy_for
from ...dialing.schemes import parse_url, scheme_of

if TYPE_CHECKING:
    from ...dialing.proxies import Proxy

__all__ = ("check_exposure", "check_secrecy", "is_local")

logger = logging.getLogger("muxado.cli")


def is_local(url: str) -> bool:
    """Whether only this machine reaches ``url``."""
    if not scheme_of(url).has_host:
        return True
    host = parse_url(url).host.lower().rstrip(".")
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761, 6.3
    mapped = number.ipv4_mapped if isinstance(number, ipaddress.IPv6Address) else None
    return (mapped or number).is_loopback


def check_exposure(url: str, what: str, advice: str, *, is_guarded: bool, insecure: bool) -> None:
    """Whether a command may listen on ``url``.

    :param what: what whoever reaches it may do, for the message.
    :param advice: how to ask who they are.
    :param is_guarded: whether it asks.  Tokens count over TLS only.
    :param insecure: whether the user said that it need not; there is a warning in the log then.
    :raises click.UsageError: if it may not.
    """
    if is_guarded or is_local(url):
        return
    if not insecure:
        raise click.UsageError(f"whoever reaches {url} {what}: {advice}, or say --insecure")
    logger.warning("whoever reaches %s %s (--insecure)", url, what)


def check_secrecy(url: str, *, proxy: Proxy | str | None = None, insecure: bool) -> None:
    """Whether a command may show its token at ``url``.

    :param proxy: what the user said of proxies; see :func:`muxado_py.connect`.
    :param insecure: whether the user said that others may read it.
    :raises click.UsageError: if it may not.
    """
    address = parse_url(url)
    is_proxied = scheme_of(address).has_host and proxy_for(address.host, address.port, proxy)
    if scheme_of(address).has_tls or (is_local(url) and not is_proxied):
        return
    if not insecure:
        raise click.UsageError(
            f"whoever is on the way to {url} could read the token: dial tls://, or say --insecure"
        )
    logger.warning("whoever is on the way to %s can read the token (--insecure)", url)

"""Exposure: who can reach an address, and whether something says who they are.

What it is.  The check before a command listens.  On the loopback interface and on a Unix socket the system says who may
come; anywhere else it is the certificates of those who dial, and nothing starts that asks for none.

The rule.  What is not known to be this machine alone is the network: a name counts by what it says and not by what it
resolves to, which others may change.

The trap.  A secret that is shown over ``tcp://`` has been shown to everybody on the way, so it is no protection there.
"""

from __future__ import annotations

import ipaddress
import logging

import click

from ..dialing.addresses import parse_url

__all__ = ("check_exposure", "is_local")

logger = logging.getLogger("muxado.cli")


def is_local(url: str) -> bool:
    """Whether only this machine reaches ``url``."""
    address = parse_url(url)
    if address.scheme == "unix":
        return True
    host = address.host.lower().rstrip(".")
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761, 6.3
    mapped = number.ipv4_mapped if isinstance(number, ipaddress.IPv6Address) else None
    return (mapped or number).is_loopback


def check_exposure(url: str, what: str, *, is_guarded: bool, insecure: bool) -> None:
    """Whether a command may listen on ``url``.

    :param what: what whoever reaches it may do, for the message.
    :param is_guarded: whether it asks who they are, over TLS.
    :param insecure: whether the user said that it need not; there is a warning in the log then.
    :raises click.UsageError: if it may not.
    """
    if is_guarded or is_local(url):
        return
    if not insecure:
        raise click.UsageError(
            f"whoever reaches {url} {what}: ask for certificates, with tls:// and --ssl-ca-certs, or say --insecure"
        )
    logger.warning("whoever reaches %s %s (--insecure)", url, what)

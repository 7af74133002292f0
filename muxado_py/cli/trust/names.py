"""Names: what agents serve, and callers ask for.

What it is.  The form of a name, for all who read one: the command line, a registration, a door.

The rule.  A name is a lower-case label of letters, digits and hyphens, as in a host name (RFC 1123, 2.1), so that it
can become a part of one.  It is refused and never mended: who says ``Blog`` does not get ``blog``.

*Reserved* is a name that says of its holder what a ``*`` in his permit does not: people take ``www`` for whoever has the
domain, and programs ask for some by themselves, to be told which proxy to use or where mail goes.

The trap.  Everything that a peer may say has a bound, the number of its names too: each is kept for as long as its
session lives.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...dialing.schemes import parse_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ("MAX_NAMES", "RESERVED", "check_domain", "check_name", "check_names", "own_names")

MAX_NAMES = 64
"""Names that one agent may serve."""

RESERVED = frozenset(("admin", "autoconfig", "autodiscover", "mail", "mta-sts", "wpad", "www"))
"""Names that a permit must list themselves."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def check_name(text: str) -> str:
    """A name, unchanged.

    :raises ValueError: if it is none.
    """
    if not _LABEL.fullmatch(text):
        raise ValueError(
            f"{text[:80]!r} is not a name: write up to 63 of a-z, 0-9 and -, no - at either end"
        )
    return text


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once, in their order.

    :raises ValueError: if one is none, or there are more than :data:`MAX_NAMES`.
    """
    once = tuple(dict.fromkeys(map(check_name, names)))
    if len(once) > MAX_NAMES:
        raise ValueError(f"an agent serves at most {MAX_NAMES} names, not {len(once)}")
    return once


def check_domain(text: str) -> str:
    """A domain below which names are hosts, in lower case.

    :raises ValueError: if it is none.
    """
    for label in text.lower().split("."):
        try:
            check_name(label)
        except ValueError:
            raise ValueError(f"{text[:80]!r} is not a domain: write example.org") from None
    return text.lower()


def own_names(domain: str, urls: Iterable[str]) -> frozenset[str]:
    """The names below ``domain`` that are hosts of these URLs, such as the gateway's own."""
    hosts = (parse_url(url).host.lower().rstrip(".") for url in urls)
    below = (host.removesuffix(f".{domain}") for host in hosts if host.endswith(f".{domain}"))
    return frozenset(name for name in below if _LABEL.fullmatch(name))

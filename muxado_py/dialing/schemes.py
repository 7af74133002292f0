"""Schemes: the table of them, and what a URL and the options beside it have to be.

The rule.  Whoever needs to know what a URL is asks its scheme for what it wants to know (:attr:`.Scheme.has_tls`,
:attr:`.Scheme.has_host`), and compares no names: a new scheme is a line in :data:`SCHEMES`.
"""

from __future__ import annotations

import ssl
from dataclasses import fields
from typing import TYPE_CHECKING

from ..arguments import check_text
from .exec_scheme import EXEC
from .host_schemes import TCP, TLS
from .stdio_scheme import STDIO
from .unix_scheme import UNIX
from .websocket_schemes import WS, WSS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .addresses import Address
    from .scheme import Options, Scheme

__all__ = ("SCHEMES", "check_options", "check_takers", "parse_url", "scheme_of", "url_of")

SCHEMES: dict[str, Scheme] = {one.name: one for one in (TCP, TLS, UNIX, WS, WSS, EXEC, STDIO)}
"""In the order in which errors name them."""


def parse_url(url: str) -> Address:
    """The URL of a session in parts.

    :raises TypeError: if ``url`` is no str.
    :raises ValueError: with what came and what was expected.
    """
    check_text("url", url)
    name, _, _ = url.partition(":")
    scheme = SCHEMES.get(name.lower())
    expected = f"expected {_one_of([one.form for one in SCHEMES.values()])}"
    try:
        address = scheme.read(url) if scheme is not None else None
    except ValueError as exc:
        raise ValueError(f"{_shown(url)!r}: {exc}; {expected}") from None
    if address is None:
        raise ValueError(f"{_shown(url)!r} is no address of a session; {expected}")
    return address


def _shown(url: str) -> str:
    """What is no URL of a session, without a password."""
    before, at, host = url.rpartition("@")
    scheme, slashes, user = before.partition("://")
    name, colon, _ = user.partition(":")
    return f"{scheme}://{name}:...@{host}" if at and slashes and colon else url


def scheme_of(url: str | Address) -> Scheme:
    """The scheme of a URL, or of an address.

    :raises ValueError: if it is no URL of a session.
    """
    return SCHEMES[(parse_url(url) if isinstance(url, str) else url).scheme]


def url_of(address: Address) -> str:
    """The URL that :func:`parse_url` would read so."""
    return SCHEMES[address.scheme].write(address)


def check_options(url: str, options: Options, *, listens: bool) -> None:
    """Whether ``connect(url)``, or ``listen(url)``, may be given them.

    :raises TypeError: if one is of a wrong type.
    :raises ValueError: if the scheme has no use for one that was given, needs one that was not, or is not for this side.
    :raises MissingExtraError: if the scheme needs a library that is not installed.
    """
    context = options.ssl_context
    if not isinstance(context, ssl.SSLContext | None):
        raise TypeError(f"ssl_context must be an ssl.SSLContext, got {context!r}")
    scheme = scheme_of(url)
    if not (scheme.listens if listens else scheme.dials):
        other = "connect" if listens else "listen"
        raise ValueError(f"{url!r} is for {other}() only")
    check_takers(options, [url])
    if listens and scheme.has_tls and context is None:
        raise ValueError(f"{url!r} needs an ssl_context with the server's certificate")
    scheme.check(options)


def check_takers(options: Options, urls: Sequence[str]) -> None:
    """Whether one of ``urls`` at least has a use for each of ``options``.

    :raises ValueError: if none has.
    """
    taken = frozenset[str]().union(*(scheme_of(url).options for url in urls))
    for one in fields(options):
        if one.name in options.given() and one.name not in taken:
            takers = [f"{it.name}://" for it in SCHEMES.values() if one.name in it.options]
            raise ValueError(
                f"{one.metadata['called']} needs a {_one_of(takers)} URL, got {', '.join(map(repr, urls))}"
            )


def _one_of(words: list[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last

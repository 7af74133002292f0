"""What people type, turned into values, or into a sentence that says what to type instead.

What it is.  click parameter types for durations (``30s``), session URLs (``tls://host:7000``),
addresses (``127.0.0.1:8080``), root paths and emulated links (``50mbit/40ms``).

The rule.  Whatever can be wrong on the command line is found here, before anything is started, and
ends in exit code 2.  The message holds what came, all of it, and what was expected.  The conversion is a plain
function; the click type around it only carries the name shown in the help.

The trap.  click converts defaults too and may hand a converted value back to ``convert``: each type
must let its own result pass.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..dialing.proxies import read_proxy
from ..dialing.schemes import parse_url
from .demo.proxy import EmulatedLink
from .http_door.fronts import parse_fronts
from .http_door.limits import Limits
from .http_door.rates import parse_rate
from .trust.names import check_domain, check_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..dialing.proxies import Proxy
    from .http_door.fronts import Fronts

__all__ = (
    "ADMIN",
    "DOMAIN",
    "DOOR",
    "DURATION",
    "LINK",
    "LOCAL",
    "NAME",
    "PROXY",
    "PUBLISHED",
    "ROOT_PATH",
    "URL",
    "Address",
    "HttpDoor",
    "Published",
    "UnixAddress",
    "check_root_path",
    "check_url",
    "parse_address",
    "parse_admin",
    "parse_door",
    "parse_duration",
    "parse_link",
    "parse_local",
    "parse_proxy",
    "parse_published",
)

_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_RATES = {"kbit": 1e3 / 8, "mbit": 1e6 / 8, "gbit": 1e9 / 8}


def parse_duration(text: str) -> float:
    """Seconds from ``250ms``, ``30s``, ``5m``, ``1h`` or a bare number of seconds.

    :raises ValueError: for anything else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|)", text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write 250ms, 30s, 5m or 1h")
    return float(match[1]) * _UNITS[match[2]]


def check_url(text: str) -> str:
    """A session URL, unchanged; see :func:`muxado_py.connect` for its forms.

    :raises ValueError: for anything else.
    """
    parse_url(text)
    return text


def parse_proxy(text: str) -> Proxy | str:
    """A proxy, or ``environment``; see :func:`muxado_py.connect`.

    :raises ValueError: for anything else, in words that do not repeat a password.
    """
    return read_proxy(text) or text


class Address(NamedTuple):
    """Where to listen for ordinary TCP connections."""

    host: str
    """Empty: on all addresses of this machine."""
    port: int
    tls: bool = False

    def __str__(self) -> str:
        host = self.host or "*"
        there = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        return f"tls://{there}" if self.tls else there


def parse_address(text: str) -> Address:
    """``HOST:PORT``, ``[IPv6]:PORT``, or ``PORT`` alone for 127.0.0.1.

    :raises ValueError: for anything else.
    """
    match = re.fullmatch(r"(?:(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:\[\]/\s]+)):)?(\d{1,5})", text)
    if match is None or int(match[3]) > 65535:
        raise ValueError(
            f"{text!r} is not an address: write 127.0.0.1:8080, [::1]:8080 or just 8080"
        )
    return Address(match[1] or match[2] or "127.0.0.1", int(match[3]))


class UnixAddress(NamedTuple):
    """Where to listen for connections of this machine."""

    path: str

    def __str__(self) -> str:
        return f"unix://{self.path}"


class Published(NamedTuple):
    """What is published, and where."""

    address: Address | UnixAddress
    name: str | None = None
    """None: what agents without a name serve."""


class HttpDoor(NamedTuple):
    """Where requests come in, each with the host that it is for."""

    address: Address | UnixAddress
    domain: str
    """Below which names are hosts."""
    limits: Limits = Limits()
    fronts: Fronts | None = None
    """The proxies that are trusted; None: nobody is."""


def parse_published(text: str) -> Published:
    """``[NAME=]ADDRESS``, with an address of :func:`parse_door`.

    :raises ValueError: for anything else.
    """
    name: str | None = None
    address = text
    if "=" in text and not text.startswith("unix://"):  # a path may have one
        name, _, address = text.partition("=")
        check_name(name)
    return Published(_read_door(address, text), name)


def parse_door(text: str) -> Address | UnixAddress:
    """An address of :func:`parse_local`, or one with ``tls://`` or ``https://`` before it.

    :raises ValueError: for anything else.
    """
    return _read_door(text, text)


def _read_door(address: str, text: str) -> Address | UnixAddress:
    scheme, slashes, plain = address.partition("://")
    if not slashes or scheme not in ("https", "tls"):
        return _read_local(address, text)
    found = _read_local(plain, text)
    if isinstance(found, UnixAddress):
        raise ValueError(f"{text!r} is not an address: a Unix socket needs no TLS")
    return found._replace(tls=True)


def parse_local(text: str) -> Address | UnixAddress:
    """An address of :func:`parse_address`, ``:PORT`` for all of this machine's, or ``unix:///path``.

    :raises ValueError: for anything else.
    """
    return _read_local(text, text)


def _read_local(address: str, text: str) -> Address | UnixAddress:
    everywhere = re.fullmatch(r":\d+", address) is not None
    try:
        if address.startswith("unix://"):
            return UnixAddress(parse_url(address).path)
        found = parse_address(address.removeprefix(":") if everywhere else address)
    except ValueError:
        raise ValueError(
            f"{text!r} is not an address: write 127.0.0.1:8080, [::1]:8080, just 8080, "
            ":8080 for all addresses, or unix:///path"
        ) from None
    return found._replace(host="") if everywhere else found


def parse_admin(text: str) -> Address | UnixAddress:
    """An address as that of :func:`parse_published`.

    :raises ValueError: for anything else.
    """
    address, name = parse_published(text)
    if name is not None:
        raise ValueError(f"{text!r} is not an address: this one has no name")
    return address


def parse_link(text: str) -> EmulatedLink | None:
    """``RATE/ROUND-TRIP`` such as ``50mbit/40ms``, or ``none`` (None) for bare loopback.

    :raises ValueError: for anything else.
    """
    if text.strip().lower() == "none":
        return None
    rate, _, round_trip = text.lower().partition("/")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(kbit|mbit|gbit)", rate.strip())
    if match is None or not float(match[1]) or not round_trip:
        raise ValueError(f"{text!r} is not a link: write rate/round-trip, as 50mbit/40ms, or none")
    return EmulatedLink(
        rate=float(match[1]) * _RATES[match[2]], delay=parse_duration(round_trip) / 2
    )


def check_root_path(text: str) -> str:
    """A root path, unchanged; uvicorn would take one that is not ASCII, and then answer no request.

    :raises ValueError: if it is not ASCII.
    """
    if not text.isascii():
        raise ValueError(f"{text!r} cannot be a root path: write one in ASCII")
    return text


class _Parsed(click.ParamType[Any]):
    """A click type from one of the functions above."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or isinstance(value, Address):
            return value
        try:
            return self._parse(value)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


DURATION = _Parsed("duration", parse_duration)
URL = _Parsed("url", check_url)
LOCAL = _Parsed("address", parse_local)
ADMIN = _Parsed("address", parse_admin)
DOOR = _Parsed("address", parse_door)
PUBLISHED = _Parsed("[name=]address", parse_published)
DOMAIN = _Parsed("domain", check_domain)
NAME = _Parsed("name", check_name)
LINK = _Parsed("rate/rtt", parse_link)
PROXY = _Parsed("url", parse_proxy)
FRONTS = _Parsed("addresses", parse_fronts)
RATE = _Parsed("rate", parse_rate)
ROOT_PATH = _Parsed("text", check_root_path)

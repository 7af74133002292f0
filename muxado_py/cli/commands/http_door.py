"""The options of the door for HTTP requests, and the door that they make.

What it is.  ``--http`` and what counts only there, for :mod:`muxado_py.cli.http_door`.

The rule.  Whoever limits what nobody reads is told so: a gateway without ``--http`` hands on bytes, and would let pass what the
option was to keep out.

The trap.  Two groups make one door, for the help has them in two places: where requests come in stands beside the other doors, and
what one may take behind what goes for all callers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from ..http_door.limits import Limits
from ..options import DOMAIN, DOOR, DURATION, FRONTS, RATE, HttpDoor

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..http_door.fronts import Fronts
    from ..http_door.rates import Rate
    from ..options import Address, UnixAddress

__all__ = ("HttpOptions", "http_door", "http_options", "request_options")


class HttpOptions(NamedTuple):
    """What was said on the command line; times in seconds."""

    http: Address | UnixAddress | None
    domain: str | None
    fronts: Fronts | None
    head_timeout: float
    answer_timeout: float | None
    max_body: int | None
    caller_rate: Rate | None
    name_rate: Rate | None


def http_options(function: Callable[..., None]) -> Callable[..., None]:
    """``--http``, ``--forwarded-allow-ips`` and ``--domain``."""
    for option in (
        click.option("--domain", type=DOMAIN, help="Below which names are hosts, for --http."),
        click.option(
            "--forwarded-allow-ips",
            type=FRONTS,
            help="At --http: proxies before it whose X-Forwarded-For and -Proto say who asks, and how; addresses and networks as "
            "192.0.2.1,10.0.0.0/8, or unix for whoever comes by a Unix socket. Such fields of anybody else count for nothing. "
            "[default: nobody's]",
        ),
        click.option(
            "--http",
            type=DOOR,
            help="Where HTTP requests come in for any name: with --domain example.org, those to blog.example.org go to the agents "
            "that serve blog. With https:// before the address, over TLS.",
        ),
    ):
        function = option(function)
    return function


def request_options(function: Callable[..., None]) -> Callable[..., None]:
    """``--timeout-answer``, ``--limit-request-body``, ``--limit-caller-rate`` and ``--limit-name-rate``."""
    for option in (
        click.option("--limit-name-rate", type=RATE, help="The same of all requests for one name."),
        click.option(
            "--limit-caller-rate",
            type=RATE,
            help="At --http: requests of one address, as 10/s, 600/m or 1000/h; so many at once, and then one more as time goes by. More are told "
            "when to come again (429). [default: as many as come]",
        ),
        click.option(
            "--limit-request-body",
            type=click.IntRange(min=0),
            help="At --http: bytes of a request's body. [default: as many as come]",
        ),
        click.option(
            "--timeout-answer",
            type=DURATION,
            help="At --http: what agents get from the end of a request to the head of its answer. [default: 60s]",
        ),
    ):
        function = option(function)
    return function


def http_door(options: HttpOptions) -> HttpDoor | None:
    """Where requests come in; None: nowhere.

    :raises click.UsageError: if what was said does not go together.
    """
    if options.http is None or options.domain is None:
        if options.http is not None or options.domain is not None:
            raise click.UsageError(
                "--http and --domain go together: --http :8080 --domain example.org"
            )
        if options.fronts is not None:
            raise click.UsageError("--forwarded-allow-ips needs --http: elsewhere no field is read")
        if options.caller_rate or options.name_rate:
            raise click.UsageError("--limit-*-rate need --http: elsewhere no request is read")
        if options.max_body is not None:
            raise click.UsageError(
                "--limit-request-body needs --http: elsewhere no request is read"
            )
        if options.answer_timeout is not None:
            raise click.UsageError("--timeout-answer needs --http: elsewhere no request is read")
        return None
    answer = Limits().answer if options.answer_timeout is None else options.answer_timeout
    limits = Limits(
        head=options.head_timeout,
        answer=answer,
        max_body=options.max_body,
        caller_rate=options.caller_rate,
        name_rate=options.name_rate,
    )
    return HttpDoor(options.http, options.domain, limits, options.fronts)

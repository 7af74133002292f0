"""``muxado ping``: what it takes.

What it is.  The declaration; :mod:`muxado_py.cli.pinging` measures.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ..options import DURATION, URL
from .once import OnceCommand
from .shared import dialing_tls_options, proxy_option

if TYPE_CHECKING:
    from ...dialing.proxies import Proxy

__all__ = ("ping",)


@click.command(cls=OnceCommand, short_help="Measure the round trip of a session.")
@click.argument("url", type=URL)
@click.option("--count", "-c", type=click.IntRange(1), default=4, help="How many pings.")
@click.option("--interval", "-i", type=DURATION, default="1s", help="Between two pings.")
@click.option("--json", is_flag=True, help="One JSON object on stdout.")
@dialing_tls_options
@proxy_option
def ping(
    url: str,
    count: int,
    interval: float,
    json: bool,
    ssl_certfile: str | None,
    ssl_keyfile: str | None,
    ssl_ca_certs: str | None,
    proxy: Proxy | str | None,
) -> None:
    """Measure the round trip of a session with URL, on the muxado wire; a muxado_py answers."""
    from .. import pinging, running, tls

    running.configure_logging("warning")
    command = partial(
        pinging.ping,
        url,
        count=count,
        interval=interval,
        as_json=json,
        proxy=proxy,
        ssl_context=tls.dialing_context(url, ssl_certfile, ssl_keyfile, ssl_ca_certs),
    )
    # uvloop's clock counts whole milliseconds.
    running.run(command, loop="asyncio")

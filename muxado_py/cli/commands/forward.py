"""``muxado forward``: what it takes.

What it is.  The declaration; :mod:`muxado_py.cli.forwarding` forwards.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..options import DURATION, LOCAL, NAME, URL
from .once import OnceCommand
from .shared import (
    dialing_insecure_option,
    dialing_tls_options,
    dialing_wire_option,
    logging_options,
    loop_option,
    proxy_option,
    read_again,
    shown_token,
)

if TYPE_CHECKING:
    from ...dialing.proxies import Proxy
    from ..options import Address, UnixAddress

__all__ = ("forward",)


@click.command(cls=OnceCommand, short_help="Call a name through a gateway.")
@click.argument("local", metavar="LOCAL", type=LOCAL)
@click.option(
    "--connect",
    type=URL,
    required=True,
    multiple=True,
    help="The gateway: what it says to --listen. May be given more than once: one of them is called through, another when "
    "that fails or ends.",
)
@click.option(
    "--name",
    type=NAME,
    required=True,
    help="Whom to call: what agents serve (muxado serve --name).",
)
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Where the token is that the gateway wants (muxado token). [default: the environment's MUXADO_TOKEN, if it has one]",
)
@click.option(
    "--timeout-graceful-shutdown",
    type=DURATION,
    default="10s",
    help="What connections get to end.",
)
@click.option(
    "--max-retries",
    type=click.IntRange(0),
    help="Failures in a row after which to give up. [default: never]",
)
@loop_option
@dialing_wire_option
@dialing_tls_options
@proxy_option
@dialing_insecure_option
@logging_options
def forward(
    local: Address | UnixAddress,
    connect: tuple[str, ...],
    name: str,
    token_file: Path | None,
    timeout_graceful_shutdown: float,
    max_retries: int | None,
    loop: str,
    wire: str,
    ssl_certfile: str | None,
    ssl_keyfile: str | None,
    ssl_ca_certs: str | None,
    proxy: Proxy | str | None,
    insecure: bool,
    log_level: str,
    use_colors: bool | None,
    log_format: str,
) -> None:
    """Lead each connection to LOCAL through a gateway to the agents that serve a name.

    LOCAL is HOST:PORT, PORT on 127.0.0.1, :PORT on all addresses, or unix:///path. The gateway must
    allow it (muxado gateway --allow-forward NAME). The token file is read again for each session; at SIGHUP it is
    read too, and the certificate.
    """
    from .. import forwarding, running, tls
    from ..agents import registration
    from ..trust.exposure import check_secrecy

    running.configure_logging(log_level, use_colors, log_format)
    token = shown_token(token_file)
    if token:
        for url in connect:
            check_secrecy(url, proxy=proxy, insecure=insecure)
    options = forwarding.ForwardOptions(
        local=local,
        connect=connect,
        call=registration.Call(name),
        token=token,
        ssl_context=tls.shared_context(connect, ssl_certfile, ssl_keyfile, ssl_ca_certs),
        graceful_timeout=timeout_graceful_shutdown,
        max_retries=max_retries,
        proxy=proxy,
        wire=wire,
    )
    hangup = read_again(token, options.ssl_context, ssl_certfile, ssl_keyfile)
    running.run(partial(forwarding.forward, options), loop=loop, hangup=hangup)

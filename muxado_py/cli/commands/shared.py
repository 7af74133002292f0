"""What several commands take: the options of TLS, of the log, of the loop and of the wire.

What it is.  Decorators, each an option or a group of them; their names are the same for every command that has them.

The rule.  A group of options is for one thing, and the module that takes their values is named in its docstring.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ...config import WIRE_NAMES
from ..options import PROXY

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from ..reloading import Reloading
    from ..trust.shown_token import ShownToken

__all__ = (
    "LIMIT",
    "dialing_insecure_option",
    "dialing_tls_options",
    "dialing_wire_option",
    "insecure_option",
    "logging_options",
    "loop_option",
    "proxy_option",
    "read_again",
    "shown_token",
    "tls_options",
    "wire_option",
)

LEVELS = ("critical", "error", "warning", "info", "debug")

LIMIT = click.IntRange(1, 2**29)
"""Of ``--limit-concurrency``: there is room for those that are turned away in ``Config.max_streams``."""

loop_option = click.option(
    "--loop",
    type=click.Choice(["auto", "asyncio", "uvloop", "trio"]),
    default="auto",
    help="auto: uvloop if installed.",
)
"""``--loop``, for :func:`muxado_py.cli.running.run`."""

wire_option = click.option(
    "--wire",
    type=click.Choice(WIRE_NAMES),
    default="muxado",
    help="The byte format of the other side; auto, with --listen only: the dialer's.",
)
"""``--wire``, see ``Config.wire``."""

dialing_wire_option = click.option(
    "--wire",
    type=click.Choice([name for name in WIRE_NAMES if name != "auto"]),
    default="muxado",
    help="The byte format of the gateway.",
)
"""The same, for a command that never listens."""


insecure_option = click.option(
    "--insecure",
    is_flag=True,
    help="Listen for the network, not only for this machine, without asking who comes; show a token without TLS.",
)
"""``--insecure``, see :mod:`muxado_py.cli.trust.exposure`."""

dialing_insecure_option = click.option(
    "--insecure", is_flag=True, help="Show a token without TLS, to other machines too."
)
"""The same, for a command that dials."""


proxy_option = click.option(
    "--proxy",
    type=PROXY,
    help="Dial through a proxy: http://HOST:PORT, https:// or socks5://; or environment, for what HTTPS_PROXY, ALL_PROXY and NO_PROXY "
    "say. What a proxy wants to be shown belongs there: everybody on this machine reads a command line. [default: no proxy]",
)
"""``--proxy``, see :func:`muxado_py.connect`."""


def logging_options(command: Callable[..., None]) -> Callable[..., None]:
    """``--log-*`` and ``--use-colors``, for :func:`muxado_py.cli.running.configure_logging`."""
    command = click.option(
        "--use-colors/--no-use-colors",
        default=None,
        help="Color the log. [default: on a terminal, unless NO_COLOR is set]",
    )(command)
    command = click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        help="Lines for people, or a JSON object each.",
    )(command)
    return click.option(
        "--log-level", type=click.Choice(LEVELS), default="info", help="How much to say on stderr."
    )(command)


def tls_options(command: Callable[..., None]) -> Callable[..., None]:
    """``--ssl-*`` under uvicorn's names; see :mod:`muxado_py.cli.tls` for what each side does."""
    return _tls_options(
        command,
        certfile="Certificate to show. Required to --listen on tls://.",
        ca_certs="Authorities to trust. With --listen: peers must show a certificate of theirs.",
    )


def dialing_tls_options(command: Callable[..., None]) -> Callable[..., None]:
    """The same, for a command that never listens."""
    return _tls_options(command, certfile="Certificate to show.", ca_certs="Authorities to trust.")


def _tls_options(
    command: Callable[..., None], *, certfile: str, ca_certs: str
) -> Callable[..., None]:
    exists = click.Path(exists=True, dir_okay=False)
    command = click.option("--ssl-ca-certs", type=exists, help=ca_certs)(command)
    command = click.option("--ssl-keyfile", type=exists, help="Private key of the certificate.")(
        command
    )
    return click.option("--ssl-certfile", type=exists, help=certfile)(command)


def shown_token(path: Path | None) -> ShownToken | None:
    """What is shown to a gateway, if there is something: see :mod:`muxado_py.cli.trust.shown_token`."""
    from ..trust.deciding_files import TokenFileError
    from ..trust.shown_token import ShownToken

    try:
        token = ShownToken(path)
    except TokenFileError as exc:
        raise click.UsageError(str(exc)) from exc
    return token if token.is_there else None


def read_again(
    token: ShownToken | None,
    ssl_context: ssl.SSLContext | None,
    ssl_certfile: str | None,
    ssl_keyfile: str | None,
) -> Reloading | None:
    """What is read again at SIGHUP for the next session; None if there is nothing, and it may end the process."""
    from ..reloading import Reloading
    from ..tls import show_anew

    reloading = Reloading()
    if token is not None and token.is_in_file:
        reloading.add("tokens", token.read)
    if ssl_context is not None and ssl_certfile is not None:
        show = partial(show_anew, ssl_context, ssl_certfile, ssl_keyfile)
        reloading.add("certificates", show)
    return reloading if reloading.has_any else None

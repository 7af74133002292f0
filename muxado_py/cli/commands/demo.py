"""``muxado demo``: what it takes.

What it is.  The declaration; :mod:`muxado_py.cli.demo` shows.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ..options import LINK
from .once import OnceCommand

if TYPE_CHECKING:
    from ..demo.proxy import EmulatedLink

__all__ = ("demo",)


@click.command(cls=OnceCommand, short_help="See it work on this machine.")
@click.option("--json", is_flag=True, help="One JSON object on stdout, no table.")
@click.option(
    "--seconds", type=click.FloatRange(min=0.5), default=5.0, help="Length of each measurement."
)
@click.option(
    "--link", type=LINK, default="50mbit/40ms", help="Rate and round trip to emulate, or none."
)
def demo(json: bool, seconds: float, link: EmulatedLink | None) -> None:
    """See it work: HTTP through a tunnel beside a saturating download, then a cut connection.

    Starts an agent and a gateway as processes on loopback, with TLS and an emulated narrow link
    between them. Ends with 0 only if everything held that it claims.
    """
    from .. import running
    from ..demo import show

    running.configure_logging("warning")
    running.run(partial(show.demo, as_json=json, seconds=seconds, link=link), loop="asyncio")

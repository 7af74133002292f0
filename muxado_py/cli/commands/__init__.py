"""The commands and their options, as click sees them.

What it is.  Declarations only, a module for each command: what it takes, its defaults and its help.  What a command
does is in the module that its function imports when it runs, so that ``muxado --help`` stays quick
and a missing extra is met by the command that needs it.  What several commands take is in :mod:`.shared`; that an option which
counts once is not given twice, in :mod:`.once`.

The rule.  Anything HTTP has uvicorn's flag name and uvicorn's meaning.  Every option can be set as
``MUXADO_<COMMAND>_<OPTION>`` in the environment; no secret is an option.

The trap.  A default that differs from the library's default must be shown here: ``show_default`` is
on for everything, so a computed or absent default needs a word in the help instead.
"""

from __future__ import annotations

import click

from ... import __version__
from . import certs, demo, forward, gateway, ping, serve, token

__all__ = ("muxado",)


@click.group(
    context_settings={
        "auto_envvar_prefix": "MUXADO",
        "show_default": True,
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
    epilog="Exit codes: 0 ended as asked, 2 wrong usage, 3 could not start, 4 connection lost for "
    "good, 128 + N ended at once by a second signal N. Every option can be set in the environment as MUXADO_<COMMAND>_<OPTION>.",
)
@click.version_option(__version__, prog_name="muxado")
def muxado() -> None:
    """Prioritized streams over one connection: serve an app through a tunnel, publish it,
    measure it."""


muxado.add_command(serve.serve)
muxado.add_command(gateway.gateway)
muxado.add_command(forward.forward)
muxado.add_command(token.token)
muxado.add_command(certs.certs)
muxado.add_command(ping.ping)
muxado.add_command(demo.demo)

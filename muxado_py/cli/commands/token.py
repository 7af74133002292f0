"""``muxado token``: what it takes, and what it prints.

What it is.  A token on the first line and the line for the gateway's token file on the second, so that a script reads
one and a person both.  With ``--add`` the second goes into the file, with ``--hash`` the first is the user's own.

The rule.  The token is printed once and kept nowhere; one that is there already comes from stdin, where no list of
processes and no history of a shell shows it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..options import DURATION
from .guarding import whole_ttl
from .once import OnceCommand

__all__ = ("token",)


@click.command(cls=OnceCommand, short_help="Make a token for an agent.")
@click.option("--name", default="agent", help="What the log calls the token's holder.")
@click.option(
    "--names",
    default="*",
    help="Names that its holder may serve, with commas between them; a * stands for any part of a name.",
)
@click.option(
    "--add",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Token file to write the second line to, made if there is none. [default: print it]",
)
@click.option(
    "--limit-sessions",
    type=click.IntRange(1),
    help="Sessions that its holder may have at once at one gateway. [default: what that says for all]",
)
@click.option(
    "--limit-callers",
    type=click.IntRange(1),
    help="Callers at once of all agents that show it, at one gateway. [default: what that says for all]",
)
@click.option(
    "--session-ttl",
    type=DURATION,
    help="How long a session lasts before the token has to be shown anew. [default: what the gateway says for all]",
)
@click.option("--hash", is_flag=True, help="Read the token from stdin, and do not print it again.")
def token(
    name: str,
    names: str,
    add: Path | None,
    limit_sessions: int | None,
    limit_callers: int | None,
    session_ttl: float | None,
    hash: bool,
) -> None:
    """Make a token for an agent, and the line for the gateway's token file that lets it in.

    The first line printed is the token, for MUXADO_TOKEN or the --token-file of muxado serve. The
    second, name:hash:patterns[:bounds], is for the --token-file of muxado gateway; the token cannot be found
    out from it.
    """
    from ..trust import tokens
    from ..trust.permits import Bounds

    ttl = whole_ttl(session_ttl)
    try:
        secret = _read() if hash else tokens.make_token()
        bounds = str(Bounds(limit_sessions, limit_callers, ttl))
        line = tokens.parse_line(name, tokens.hash_token(secret), names, bounds)
        if add is not None:
            tokens.add_line(add, line)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    if not hash:
        click.echo(secret)
    if add is None:
        click.echo(line)


def _read() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Token", hide_input=True, err=True))
    return sys.stdin.readline().strip()

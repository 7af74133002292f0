"""``muxado certs``: what it takes, and what it says of the files that it made.

What it is.  The declaration, a line for each certificate, and the commands that use them.
:mod:`muxado_py.cli.trust.certs` makes them.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .once import OnceCommand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..trust.certs import Made

__all__ = ("certs",)


@click.command(cls=OnceCommand, short_help="Make an authority, and certificates of it.")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--host",
    "hosts",
    multiple=True,
    help="Name or address at which agents dial the gateway; may be given more than once. "
    "[default: localhost, 127.0.0.1, ::1]",
)
@click.option(
    "--agent",
    "agents",
    multiple=True,
    help="Name of an agent; may be given more than once. [default: agent, with a new authority]",
)
@click.option(
    "--token",
    "tokens",
    multiple=True,
    help="Name of a token to make for agents: DIR/NAME.token has it, and DIR/tokens its line for the gateway; may be given more "
    "than once. A new authority has no agent's certificate then, unless you name one.",
)
@click.option(
    "--names",
    help="Names that the agents may serve, with commas between them; a * stands for any part of a name. [default: *]",
)
@click.option(
    "--revoke",
    multiple=True,
    help="Name of an agent whose certificate is to be good no more, in DIR/revoked for muxado gateway --revoked; may be "
    "given more than once.",
)
@click.option(
    "--days", type=click.IntRange(1, 36500), default=397, help="How long certificates are good for."
)
@click.option(
    "--authority-days",
    type=click.IntRange(1, 36500),
    default=3650,
    help="How long a new authority is good for, and so all that it signs.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace certificates of the agents that are named, and with --host the gateway's.",
)
def certs(
    directory: Path,
    hosts: tuple[str, ...],
    agents: tuple[str, ...],
    tokens: tuple[str, ...],
    names: str | None,
    revoke: tuple[str, ...],
    days: int,
    authority_days: int,
    overwrite: bool,
) -> None:
    """Make an authority in DIR, and certificates for a gateway and its agents, or tokens for these.

    What is in DIR already stays: with an authority there, --agent NAME makes one more agent. Keys can
    be read by you alone; ca.key makes agents, so keep it where neither gateway nor agents are.
    """
    from ...runtime.extras import MissingExtraError, require
    from ..running import NotStarted

    try:
        require("cryptography", "certs")
    except MissingExtraError as exc:
        raise NotStarted(str(exc)) from exc
    from ..trust import certs as making

    patterns = () if names is None else tuple(part.strip() for part in names.split(","))
    wanted = making.Wanted(hosts, agents, patterns, days, authority_days, overwrite, tokens)
    try:
        if revoke:
            path, new = making.revoke(directory, revoke)
            click.echo(f"{path}: {', '.join(new) or 'nothing new'}")
            click.echo("kill -HUP of a gateway with this --revoked lets it read the file", err=True)
            if not (hosts or agents or tokens):
                return
        made = making.make_certificates(directory, wanted)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    for one in made:
        click.echo(f"{one.path} ({one.key.name}): {one.what}, until {one.until}")
    name = "" if "*" in (patterns or "*") else _first_name(patterns)
    _advise(made, directory / "ca.pem", hosts or making.gateway_hosts(directory), name)


def _first_name(patterns: Sequence[str]) -> str:
    """As an option, for the command of an agent that must serve one."""
    return f" --name {next((one for one in patterns if '*' not in one), 'NAME')}"


def _advise(made: list[Made], authority: Path, hosts: Sequence[str], name: str) -> None:
    """How to use them, on stderr: a script takes the lines above."""
    host = f"[{hosts[0]}]" if ":" in hosts[0] else hosts[0]
    tokens = next((one.key for one in made if one.path.suffix == ".token"), None)
    asks = f" --ssl-ca-certs {_quoted(authority)}"
    if tokens is not None:
        by_certificate = any(one.what.startswith("agent") for one in made)
        asks = f" --token-file {_quoted(tokens)}" + (asks if by_certificate else "")
    for one in made:
        if one.what == "authority":
            continue
        if one.what.startswith("gateway"):
            listen = "127.0.0.1" if host in ("localhost", "127.0.0.1") else "0.0.0.0"
            command = f"gateway --listen tls://{listen}:7000 --publish 127.0.0.1:8080"
            trusts = asks
        else:
            command = f"serve APP{name} --connect tls://{host}:7000"
            trusts = f" --ssl-ca-certs {_quoted(authority)}"
        files = f"--ssl-certfile {_quoted(one.path)} --ssl-keyfile {_quoted(one.key)}"
        if one.path.suffix == ".token":
            files = f"--token-file {_quoted(one.path)}"
        click.echo(f"muxado {command} {files}{trusts}", err=True)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))

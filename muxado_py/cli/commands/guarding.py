"""The options that say who may come as an agent, and the guard that they make.

What it is.  ``--token-file``, ``--cert-names`` and what goes with them, for :mod:`muxado_py.cli.agents.guard`; and how much one
holder may have, for :mod:`muxado_py.cli.agents.holdings`.

The rule.  An option that would change nothing is refused.  Whoever writes ``--reserve www`` where anybody may serve any name
believes that ``www`` is safe.

The trap.  ``--ssl-ca-certs`` alone is a guard, too: an agent serves what its certificate lists, unless ``--cert-names any`` is said.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from ..options import DURATION, NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ..agents.guard import Guard
    from ..trust.permits import Bounds

__all__ = ("GuardOptions", "guard_options", "make_bounds", "make_guard", "whole_ttl")


class GuardOptions(NamedTuple):
    """What was said on the command line."""

    token_file: Path | None
    jwt_keys: Path | None
    limit_sessions: int
    limit_callers: int | None
    session_ttl: float | None
    """Seconds."""
    cert_names: str | None
    reserve: tuple[str, ...]
    revoked: Path | None
    ca_certs: str | None

    @property
    def asks_who_comes(self) -> bool:
        """Whether an agent has to show a token or a certificate."""
        return bool(self.token_file or self.jwt_keys or self.ca_certs)

    @property
    def asks_for_names(self) -> bool:
        """Whether its certificate has to list what it serves."""
        return self.ca_certs is not None and self.cert_names != "any"


def guard_options(function: Callable[..., None]) -> Callable[..., None]:
    """``--token-file``, ``--jwt-keys``, ``--limit-sessions``, ``--limit-callers``, ``--session-ttl``, ``--cert-names``, ``--reserve``
    and ``--revoked``."""
    for option in (
        click.option(
            "--revoked",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Certificates and JWT that are good no more: a line serial=... or jti=... for each (muxado certs --revoke).",
        ),
        click.option(
            "--reserve",
            type=NAME,
            multiple=True,
            help="A name that no * of a token or certificate stands for: only who lists it itself may serve it. So it is with www, admin, mail, "
            "wpad, autoconfig, autodiscover and mta-sts, and the gateway's own host below --domain. May be given more than once.",
        ),
        click.option(
            "--cert-names",
            type=click.Choice(["listed", "any"]),
            help="With --ssl-ca-certs: whether an agent serves the names that its certificate lists as DNS names, or any. "
            "[default: listed]",
        ),
        click.option(
            "--session-ttl",
            type=DURATION,
            help="How long sessions of agents, and of those who call, last; then they begin a new one, for which they show their token or "
            "certificate anew. Who cannot is sent away. A token may say another time (session_ttl). [default: for ever]",
        ),
        click.option(
            "--limit-callers",
            type=click.IntRange(1),
            help="Callers at once of all agents with one token, or one certificate; a token may say another number. "
            "[default: as many as come]",
        ),
        click.option(
            "--limit-sessions",
            type=click.IntRange(1),
            default=1000,
            help="Sessions at once, of agents and of those who call, with one token or one certificate, and of those without any together; "
            "a token may say another number (muxado token --limit-sessions).",
        ),
        click.option(
            "--jwt-keys",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Keys of those who sign tokens as JWT, in PEM or as JWK. A token has the claims exp, jti, and names, a list of "
            "what it is for; sub is its name in the log. [default: no JWT is taken]",
        ),
        click.option(
            "--token-file",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Tokens of agents, a line name:hash:patterns[:bounds] for each (muxado token). An agent must show one, and serves the "
            "names that it is for. [default: no token is wanted]",
        ),
    ):
        function = option(function)
    return function


def make_guard(options: GuardOptions, own: Collection[str]) -> Guard | None:
    """What judges registrations; None: nobody is asked for anything.

    :param own: names that are the gateway's own, reserved as well.
    :raises click.UsageError: if what was said does not go together, or a file cannot be used.
    :raises NotStarted: if nothing is installed that reads JWT.
    """
    from ...runtime.extras import MissingExtraError
    from ..agents.guard import Guard
    from ..running import NotStarted
    from ..trust.deciding_files import TokenFileError
    from ..trust.names import RESERVED

    _check(options)
    if not (options.token_file or options.jwt_keys or options.asks_for_names or options.revoked):
        return None
    try:
        return Guard(
            options.token_file,
            options.jwt_keys,
            by_certificate=options.asks_for_names,
            revoked_file=options.revoked,
            reserved=RESERVED.union(options.reserve, own),
        )
    except TokenFileError as exc:
        raise click.UsageError(str(exc)) from exc
    except MissingExtraError as exc:
        raise NotStarted(str(exc)) from exc


def _check(options: GuardOptions) -> None:
    if options.cert_names and not options.ca_certs:
        raise click.UsageError("--cert-names needs --ssl-ca-certs: it is for agents' certificates")
    if options.revoked and not (options.ca_certs or options.jwt_keys):
        raise click.UsageError(
            "--revoked needs --ssl-ca-certs or --jwt-keys: a token is revoked by taking its line out of --token-file"
        )
    if options.reserve and not (options.token_file or options.jwt_keys or options.asks_for_names):
        raise click.UsageError(
            "--reserve needs --token-file, --jwt-keys or certificates (--ssl-ca-certs) that list names: "
            "whoever comes may serve any name here"
        )
    whole_ttl(options.session_ttl)


def whole_ttl(session_ttl: float | None) -> int | None:
    """What ``--session-ttl`` says, in whole seconds, as a token has it: it is judged before it is cut, or 0 could become 1.

    :raises click.UsageError: if it is too short.
    """
    if session_ttl is None:
        return None
    if session_ttl < 1:
        raise click.UsageError("--session-ttl must be a second or longer")
    return int(session_ttl)


def make_bounds(options: GuardOptions) -> Bounds:
    """How much one holder may have, of which the token says nothing else."""
    from ..trust.permits import Bounds

    ttl = whole_ttl(options.session_ttl)
    return Bounds(options.limit_sessions, options.limit_callers, ttl)

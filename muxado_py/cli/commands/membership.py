"""The options by which a gateway is one of several, and what they make of it.

What it is.  ``--registry`` and what goes with it, for :mod:`muxado_py.cli.cluster.cluster`.

The rule.  Whoever has the token of the cluster may lead callers to every agent of it, and whoever may write to the registry
may lead callers to themselves: neither goes over a network that others read.

The trap.  A gateway shows a server's certificate, which is no client's.  Where gateways ask for certificates, each needs one
more to show the others.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import click

from ...dialing.schemes import parse_url, scheme_of
from ..options import URL

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from ..cluster.cluster import Membership
    from ..cluster.registry import Registry

__all__ = ("MembershipOptions", "cluster_options", "membership")

SCHEMES = ("redis", "rediss", "unix")
EVERYWHERE = ("0.0.0.0", "::")


class MembershipOptions(NamedTuple):
    """What was said on the command line."""

    registry: str | None
    node_url: str | None
    token_file: Path | None
    node_certfile: str | None
    node_keyfile: str | None
    ca_certs: str | None


def cluster_options(function: Callable[..., None]) -> Callable[..., None]:
    """``--registry``, ``--node-url``, ``--cluster-token-file``, ``--node-certfile`` and ``--node-keyfile``."""
    for option in (
        click.option("--node-keyfile", help="Its key, if it is in another file."),
        click.option(
            "--node-certfile",
            help="What this gateway shows other ones at tls://, where they ask for certificates: an agent's.",
        ),
        click.option(
            "--cluster-token-file",
            type=click.Path(dir_okay=False, path_type=Path),
            help="The token of all gateways of the cluster (muxado token), and of nobody else. Of several, one in each line, "
            "the first is shown and each is taken.",
        ),
        click.option(
            "--node-url",
            type=URL,
            help="Where the other gateways reach this one. [default: --listen]",
        ),
        click.option(
            "--registry",
            envvar="MUXADO_REGISTRY",
            help="Be one of several gateways that know each other by a Redis server: redis://HOST:PORT, rediss:// or "
            "unix:///path. An agent of one is then reached through each. [default: this gateway is alone]",
        ),
    ):
        function = option(function)
    return function


def membership(
    options: MembershipOptions, listen: str, wire: str, *, insecure: bool
) -> Membership | None:
    """How the gateway at ``listen`` is one of several; None: it is alone.

    :raises click.UsageError: if what was said does not go together.
    :raises NotStarted: if nothing is installed that speaks to a registry.
    """
    from .. import tls
    from ..cluster.cluster import Membership
    from ..cluster.tokens import ClusterTokens
    from ..trust.deciding_files import TokenFileError
    from ..trust.exposure import check_exposure, check_secrecy
    from ..trust.tokens import read_shared_tokens

    if options.registry is None:
        if any((options.node_url, options.token_file, options.node_certfile)):
            raise click.UsageError(
                "--node-url, --cluster-token-file and --node-certfile need --registry"
            )
        return None
    if options.token_file is None:
        raise click.UsageError(
            "--registry needs --cluster-token-file, with a token that all gateways have: muxado token > FILE"
        )
    if wire not in ("muxado", "auto"):
        raise click.UsageError(
            "--registry needs --wire muxado or auto: gateways speak muxado to each other"
        )
    url = options.node_url or listen
    dialed = scheme_of(url)
    if parse_url(url).host in EVERYWHERE if dialed.has_host else not dialed.dials_again:
        raise click.UsageError(f"say --node-url: nobody can dial {url}")
    try:
        tokens = ClusterTokens(partial(read_shared_tokens, options.token_file))
    except TokenFileError as exc:
        raise click.UsageError(str(exc)) from exc
    check_secrecy(url, insecure=insecure)
    scheme, host = _server(options.registry)
    check_exposure(
        "unix:///"
        if scheme == "unix"
        else f"tcp://[{host}]:1"
        if ":" in host
        else f"tcp://{host}:1",
        "and reads what is on the way may lead callers to themselves (--registry)",
        "have it on this machine, or at rediss://",
        is_guarded=scheme == "rediss",
        insecure=insecure,
    )

    def context(other: str) -> ssl.SSLContext | None:
        if not insecure:  # whoever may write to the registry is not to be shown the token
            check_secrecy(other, insecure=False)
        if not scheme_of(other).has_tls:
            return None
        return tls.dialing_context(
            other, options.node_certfile, options.node_keyfile, options.ca_certs
        )

    return Membership(_opening(options.registry), tokens, options.node_url, context)


def _server(registry: str) -> tuple[str, str]:
    parts = urlsplit(registry)
    if parts.scheme not in SCHEMES or not (parts.hostname or parts.scheme == "unix"):
        raise click.UsageError(
            "--registry is no URL of a Redis server: write redis://HOST:PORT, rediss://HOST:PORT or unix:///path"
        )
    return parts.scheme, parts.hostname or ""


def _opening(registry: str) -> AbstractAsyncContextManager[Registry]:
    from ...runtime.extras import MissingExtraError, require
    from ..running import NotStarted

    try:
        require("coredis", "cluster")
    except MissingExtraError as exc:
        raise NotStarted(str(exc)) from exc
    from ..cluster.redis import open_redis

    return open_redis(registry)

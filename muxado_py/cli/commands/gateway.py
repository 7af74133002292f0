"""``muxado gateway``: what it takes.

What it is.  The declaration; :mod:`muxado_py.cli.gateway` publishes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..options import ADMIN, DOMAIN, DOOR, DURATION, NAME, PUBLISHED, URL, Address, HttpDoor
from .membership import MembershipOptions, cluster_options, membership
from .shared import (
    LIMIT,
    insecure_option,
    logging_options,
    loop_option,
    tls_options,
    wire_option,
)

if TYPE_CHECKING:
    from ..options import Published, UnixAddress

__all__ = ("gateway",)


@click.command(short_help="Publish the apps of connected agents.")
@click.option("--listen", type=URL, required=True, help="Where agents connect (muxado serve).")
@click.option(
    "--publish",
    type=PUBLISHED,
    multiple=True,
    help="Where callers connect, and the name of the agents that they are led to; without a name, those that have "
    "none. An address is HOST:PORT, PORT on 127.0.0.1, :PORT on all addresses, or unix:///path; with tls:// before the first "
    "three, callers speak TLS. May be given more than once.",
)
@click.option(
    "--allow-forward",
    type=NAME,
    multiple=True,
    help="A name that may be called through --listen too (muxado forward), by whoever may serve it. May be given more "
    "than once. [default: none]",
)
@click.option(
    "--http",
    type=DOOR,
    help="Where HTTP requests come in for any name: with --domain example.org, those to blog.example.org go to the agents "
    "that serve blog. With https:// before the address, over TLS.",
)
@click.option("--domain", type=DOMAIN, help="Below which names are hosts, for --http.")
@click.option(
    "--door-certfile",
    type=click.Path(exists=True, dir_okay=False),
    help="Certificate to show to callers, where they speak TLS. [default: that of --ssl-certfile]",
)
@click.option(
    "--door-keyfile",
    type=click.Path(exists=True, dir_okay=False),
    help="Private key of that certificate.",
)
@click.option(
    "--limit-concurrency",
    type=LIMIT,
    default=500,
    help="Callers served at once, and as many again at --http; more are told to come back. An agent takes 1,024, or what its own "
    "--limit-concurrency says.",
)
@click.option(
    "--timeout-graceful-shutdown",
    type=DURATION,
    default="10s",
    help="What callers get to finish, and agents to take what they left.",
)
@click.option(
    "--timeout-handover",
    type=DURATION,
    default="2s",
    help="Before that, what agents get to move to another gateway, and whoever balances between gateways to see that this "
    "one ends (/healthz). Where no agent moves, none of it is waited for.",
)
@click.option(
    "--timeout-request-head",
    type=DURATION,
    default="60s",
    help="What callers get to send the head of their first request; in another protocol, until the first "
    "byte of either side. Then they are closed.",
)
@click.option(
    "--access-log/--no-access-log",
    default=True,
    help="Whether to log each caller of --publish, when it has left.",
)
@click.option(
    "--admin",
    type=ADMIN,
    help="Where a browser shows how it is, and /healthz, /status and /metrics are for programs: HOST:PORT, PORT on 127.0.0.1, or unix:///path.",
)
@click.option(
    "--timeout-answer",
    type=DURATION,
    default="60s",
    help="At --http: what agents get from the end of a request to the head of its answer.",
)
@click.option(
    "--limit-request-body",
    type=click.IntRange(min=0),
    help="At --http: bytes of a request's body. [default: as many as come]",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Tokens of agents, a line name:hash:patterns for each (muxado token). An agent must show one, and serves the "
    "names that it is for. [default: no token is wanted]",
)
@click.option(
    "--jwt-keys",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keys of those who sign tokens as JWT, in PEM or as JWK. A token has the claims exp, jti, and names, a list of "
    "what it is for; sub is its name in the log. [default: no JWT is taken]",
)
@click.option(
    "--cert-names",
    type=click.Choice(["listed", "any"]),
    help="With --ssl-ca-certs: whether an agent serves the names that its certificate lists as DNS names, or any. "
    "[default: listed]",
)
@click.option(
    "--revoked",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Certificates and JWT that are good no more: a line serial=... or jti=... for each (muxado certs --revoke).",
)
@cluster_options
@loop_option
@wire_option
@tls_options
@insecure_option
@logging_options
def gateway(
    listen: str,
    publish: tuple[Published, ...],
    allow_forward: tuple[str, ...],
    http: Address | UnixAddress | None,
    domain: str | None,
    door_certfile: str | None,
    door_keyfile: str | None,
    limit_concurrency: int,
    timeout_graceful_shutdown: float,
    timeout_handover: float,
    timeout_request_head: float,
    access_log: bool,
    admin: Address | UnixAddress | None,
    timeout_answer: float,
    limit_request_body: int | None,
    token_file: Path | None,
    jwt_keys: Path | None,
    cert_names: str | None,
    revoked: Path | None,
    registry: str | None,
    node_url: str | None,
    cluster_token_file: Path | None,
    node_certfile: str | None,
    node_keyfile: str | None,
    loop: str,
    wire: str,
    ssl_certfile: str | None,
    ssl_keyfile: str | None,
    ssl_ca_certs: str | None,
    insecure: bool,
    log_level: str,
    log_format: str,
    use_colors: bool | None,
) -> None:
    """Publish the apps of connected agents: each connection to --publish becomes a stream.

    Agents say the names of their apps (muxado serve APP --name blog), and --publish blog=ADDRESS
    leads to those that serve blog, to each its share; of agents without a name the one that
    connected last serves. Whoever can connect to --listen becomes an agent: where that is not only
    this machine, use tls://, and give your agents tokens (--token-file, --jwt-keys) or
    certificates (--ssl-ca-certs), or both. Either says which names an agent may serve (muxado token
    --names, muxado certs --names).

    A caller gets its stream with the head of its HTTP request, or at once in another protocol. One
    that says nothing gets it after 0.25 seconds, for servers that speak first; not where the last
    answer was HTTP.

    At SIGHUP it reads the token file, the keys, the certificates and what is revoked again. Agents whose token is
    not there any more, or is revoked, are sent away; others stay, and so do callers.

    With --http each HTTP request goes by its Host: NAME.example.org to the agents that serve NAME.
    A request that an agent did not take goes to the next.

    With --registry an agent of one gateway is reached through each other one that has the same
    registry and token; what is wrong with one gateway, or with the registry, is no trouble of the
    others' callers.

    A muxado_py agent that freezes gets no more callers after a second, if there is another; those
    that it has wait, for 25 seconds at most.
    """
    from ...integrations.extras import MissingExtraError
    from .. import gateway as publishing
    from .. import guard, reloading, running, tls
    from ..exposure import check_exposure
    from ..http_door.limits import Limits
    from ..tokens import TokenFileError

    running.configure_logging(log_level, use_colors, log_format)
    if (http is None) != (domain is None):
        raise click.UsageError("--http and --domain go together: --http :8080 --domain example.org")
    if not (publish or http or allow_forward):
        raise click.UsageError(
            "say --publish ADDRESS, --http ADDRESS or --allow-forward NAME, or nobody can call"
        )
    check_exposure(
        listen,
        "becomes an agent",
        "listen on tls:// and ask for tokens (--token-file, --jwt-keys) or certificates (--ssl-ca-certs)",
        is_guarded=listen.startswith("tls://") and bool(token_file or jwt_keys or ssl_ca_certs),
        insecure=insecure,
    )
    if isinstance(admin, Address):
        host = admin.host or "0.0.0.0"
        check_exposure(
            f"tcp://[{host}]:{admin.port}" if ":" in host else f"tcp://{host}:{admin.port}",
            "learns who calls and who serves",
            "give --admin an address of this machine alone",
            is_guarded=False,
            insecure=insecure,
        )
    if cert_names and not ssl_ca_certs:
        raise click.UsageError("--cert-names needs --ssl-ca-certs: it is for agents' certificates")
    if revoked and not (ssl_ca_certs or jwt_keys):
        raise click.UsageError(
            "--revoked needs --ssl-ca-certs or --jwt-keys: a token is revoked by taking its line out of --token-file"
        )
    by_certificate = ssl_ca_certs is not None and cert_names != "any"
    try:
        asks = (
            guard.Guard(token_file, jwt_keys, by_certificate=by_certificate, revoked_file=revoked)
            if token_file or jwt_keys or by_certificate or revoked
            else None
        )
    except TokenFileError as exc:
        raise click.UsageError(str(exc)) from exc
    except MissingExtraError as exc:
        raise running.NotStarted(str(exc)) from exc
    make_context = partial(tls.listening_context, listen, ssl_certfile, ssl_keyfile, ssl_ca_certs)
    ssl_context = make_context()
    one_of_several = membership(
        MembershipOptions(
            registry, node_url, cluster_token_file, node_certfile, node_keyfile, ssl_ca_certs
        ),
        listen,
        wire,
        insecure=insecure,
    )
    doors = [one.address for one in publish] + ([] if http is None else [http])
    make_doors = None
    if any(isinstance(one, Address) and one.tls for one in doors):
        if door_certfile is None:
            door_certfile, door_keyfile = ssl_certfile, ssl_keyfile
        if door_certfile is None:
            raise click.UsageError(
                "a door with TLS needs --door-certfile (and --door-keyfile), or --ssl-certfile"
            )
        make_doors = partial(tls.door_contexts, door_certfile, door_keyfile)
    elif door_certfile or door_keyfile:
        raise click.UsageError(
            "--door-* options need a door with TLS: --publish NAME=tls://ADDRESS, --http https://ADDRESS"
        )
    hangup = reloading.Reloading()
    limits = Limits(head=timeout_request_head, answer=timeout_answer, max_body=limit_request_body)
    command = partial(
        publishing.gateway,
        listen,
        publish,
        ssl_context=ssl_context,
        renew_context=None if ssl_context is None else make_context,
        door_contexts=None if make_doors is None else make_doors(),
        renew_door_contexts=make_doors,
        reloading=hangup,
        wire=wire,
        limit=limit_concurrency,
        graceful_timeout=timeout_graceful_shutdown,
        handover_timeout=timeout_handover,
        head_timeout=timeout_request_head,
        forwarded=allow_forward,
        access_log=access_log,
        admin=admin,
        guard=asks,
        http=None if http is None or domain is None else HttpDoor(http, domain, limits),
        membership=one_of_several,
    )
    running.keep_for_good()
    running.run(command, loop=loop, hangup=hangup)

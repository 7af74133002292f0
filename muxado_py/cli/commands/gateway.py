"""``muxado gateway``: what it takes.

What it is.  The declaration, and what goes together; :mod:`muxado_py.cli.gateway` publishes.  Groups of options that make one thing
have modules of their own: :mod:`.guarding`, :mod:`.http_door` and :mod:`.membership`.

The trap.  The help lists options as they are declared: who moves a decorator moves lines of it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...dialing.schemes import scheme_of
from ..options import ADMIN, DURATION, NAME, PUBLISHED, URL, Address
from .guarding import GuardOptions, guard_options, make_bounds, make_guard
from .http_door import HttpOptions, http_door, http_options, request_options
from .membership import MembershipOptions, cluster_options, membership
from .once import OnceCommand
from .shared import (
    LIMIT,
    insecure_option,
    logging_options,
    loop_option,
    tls_options,
    wire_option,
)

if TYPE_CHECKING:
    from ..http_door.fronts import Fronts
    from ..http_door.rates import Rate
    from ..options import Published, UnixAddress

__all__ = ("gateway",)


@click.command(cls=OnceCommand, short_help="Publish the apps of connected agents.")
@click.option("--listen", type=URL, help="Where agents connect (muxado serve).")
@click.option(
    "--stdio",
    is_flag=True,
    help="In the place of --listen: stdin and stdout are the connection of one agent, and the gateway ends with it: "
    "muxado serve APP --connect 'exec:ssh HOST muxado gateway --stdio --publish 8080'.",
)
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
@http_options
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
    help="Callers served at once, and as many again at --http; more are told to come back, and those from one address "
    "before they have all of it. An agent takes 1,024, or what its own "
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
    help="Whether to log each caller of --publish, when it has left, and each request at --http.",
)
@click.option(
    "--admin",
    type=ADMIN,
    help="Where a browser shows how it is, and /healthz, /status and /metrics are for programs: HOST:PORT, PORT on 127.0.0.1, or unix:///path; over TLS with "
    "https:// before the first two. Where that is not this machine alone it needs both, TLS and --admin-token-file.",
)
@click.option(
    "--admin-token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Tokens of those who may ask at --admin (muxado token --add FILE), in another file than agents'. Programs show one as "
    "Authorization: Bearer, browsers ask for it. /healthz is for everybody. [default: no token is wanted]",
)
@request_options
@guard_options
@cluster_options
@loop_option
@wire_option
@tls_options
@insecure_option
@logging_options
def gateway(
    listen: str | None,
    stdio: bool,
    publish: tuple[Published, ...],
    allow_forward: tuple[str, ...],
    http: Address | UnixAddress | None,
    domain: str | None,
    forwarded_allow_ips: Fronts | None,
    door_certfile: str | None,
    door_keyfile: str | None,
    limit_concurrency: int,
    timeout_graceful_shutdown: float,
    timeout_handover: float,
    timeout_request_head: float,
    access_log: bool,
    admin: Address | UnixAddress | None,
    admin_token_file: Path | None,
    timeout_answer: float | None,
    limit_request_body: int | None,
    limit_caller_rate: Rate | None,
    limit_name_rate: Rate | None,
    token_file: Path | None,
    jwt_keys: Path | None,
    limit_sessions: int,
    limit_callers: int | None,
    session_ttl: float | None,
    cert_names: str | None,
    reserve: tuple[str, ...],
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

    At SIGHUP it reads the token files, the keys, the certificates and what is revoked again. Agents and gateways whose
    token is not there any more, or is revoked, are sent away; others stay, and so do callers.

    With --http each HTTP request goes by its Host: NAME.example.org to the agents that serve NAME.
    A request that an agent did not take goes to the next.

    With --registry an agent of one gateway is reached through each other one that has the same
    registry and token; what is wrong with one gateway, or with the registry, is no trouble of the
    others' callers.

    A muxado_py agent that freezes gets no more callers after a second, if there is another; those
    that it has wait, for 25 seconds at most.
    """
    from .. import gateway as publishing
    from .. import reloading, running, tls
    from ..admin.keyholders import Keyholders
    from ..trust.deciding_files import TokenFileError
    from ..trust.exposure import check_exposure
    from ..trust.names import own_names

    running.configure_logging(log_level, use_colors, log_format)
    if stdio == bool(listen):
        raise click.UsageError("say either --listen URL or --stdio")
    listen = listen or "stdio:"
    requests_at = http_door(
        HttpOptions(
            http,
            domain,
            fronts=forwarded_allow_ips,
            head_timeout=timeout_request_head,
            answer_timeout=timeout_answer,
            max_body=limit_request_body,
            caller_rate=limit_caller_rate,
            name_rate=limit_name_rate,
        )
    )
    if not (publish or http or allow_forward):
        raise click.UsageError(
            "say --publish ADDRESS, --http ADDRESS or --allow-forward NAME, or nobody can call"
        )
    who = GuardOptions(
        token_file,
        jwt_keys,
        limit_sessions=limit_sessions,
        limit_callers=limit_callers,
        session_ttl=session_ttl,
        cert_names=cert_names,
        reserve=reserve,
        revoked=revoked,
        ca_certs=ssl_ca_certs,
    )
    check_exposure(
        listen,
        "becomes an agent",
        "listen on tls:// and ask for tokens (--token-file, --jwt-keys) or certificates (--ssl-ca-certs)",
        is_guarded=scheme_of(listen).has_tls and who.asks_who_comes,
        insecure=insecure,
    )
    if isinstance(admin, Address):
        host, scheme = admin.host or "0.0.0.0", "tls" if admin.tls else "tcp"
        check_exposure(
            f"{scheme}://[{host}]:{admin.port}"
            if ":" in host
            else f"{scheme}://{host}:{admin.port}",
            "learns who calls and who serves",
            "give --admin an address of this machine alone, or https:// before it and --admin-token-file",
            is_guarded=admin.tls and admin_token_file is not None,
            insecure=insecure,
        )
    if admin_token_file and admin is None:
        raise click.UsageError("--admin-token-file needs --admin")
    if admin_token_file and token_file and admin_token_file.resolve() == token_file.resolve():
        raise click.UsageError(
            "--admin-token-file must not be --token-file: agents would be let in there"
        )
    own = own_names(domain, filter(None, (listen, node_url))) if domain else ()
    guard = make_guard(who, own)
    try:
        keyholders = None if admin_token_file is None else Keyholders(admin_token_file)
    except TokenFileError as exc:
        raise click.UsageError(str(exc)) from exc
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
    doors = [*(one.address for one in publish), http, admin]
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
            "--door-* options need a door with TLS: --publish NAME=tls://ADDRESS, --http or --admin https://ADDRESS"
        )
    hangup = reloading.Reloading()
    if keyholders is not None:
        hangup.add("tokens of --admin", keyholders.reload)
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
        keyholders=keyholders,
        guard=guard,
        bounds=make_bounds(who),
        http=requests_at,
        membership=one_of_several,
    )
    running.keep_for_good()
    running.run(command, loop=loop, hangup=hangup)

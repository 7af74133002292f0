"""``muxado serve``: what it takes.

What it is.  The declaration; :mod:`muxado_py.cli.serving.serving` serves.  What of its options the HTTP server gets goes on
to it by uvicorn's names, whatever they are.

The rule.  An option that would have no effect, for this kind of application or on this loop, is an error where it
is given.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..options import DURATION, NAME, ROOT_PATH, URL
from ..trust.names import check_names
from .once import OnceCommand
from .shared import (
    LIMIT,
    insecure_option,
    logging_options,
    loop_option,
    proxy_option,
    read_again,
    shown_token,
    tls_options,
    wire_option,
)

if TYPE_CHECKING:
    from ...dialing.proxies import Proxy

__all__ = ("serve",)

_NOT_ON_TRIO = ("lifespan", "limit_concurrency", "forwarded_allow_ips")  # of an ASGI application
_ONLY_APPLICATIONS = (
    *("factory", "app_dir", "interface", "lifespan", "root_path", "timeout_keep_alive"),
    *("forwarded_allow_ips", "access_log", "threads"),
)
_ONLY_ASGI = ("lifespan", "timeout_keep_alive")


def _check_number(
    context: click.Context, parameter: click.Parameter, names: tuple[str, ...]
) -> tuple[str, ...]:
    try:
        return check_names(names)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc


@click.command(cls=OnceCommand, short_help="Serve an application or a local port.")
@click.argument("app", metavar="APP")
@click.option(
    "--connect",
    type=URL,
    multiple=True,
    help="Dial out, and serve APP back to the side dialed. May be given more than once, for gateways: one of them has a "
    "session, another when that fails or ends.",
)
@click.option("--listen", type=URL, help="Serve APP to those who dial this URL.")
@click.option(
    "--name",
    type=NAME,
    multiple=True,
    callback=_check_number,
    help="With --connect: what the gateway's callers know APP by (muxado gateway --publish NAME=ADDRESS). May be given "
    "more than once. [default: none, for --publish ADDRESS]",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --connect: where the token is that the gateway wants (muxado token). [default: the environment's "
    "MUXADO_TOKEN, if it has one]",
)
@click.option(
    "--exclusive",
    is_flag=True,
    help="With --name: nobody else is to serve these names. An agent that does so now is told, finishes what it has, and "
    "ends with 4.",
)
@click.option("--factory", is_flag=True, help="APP is a function that returns the application.")
@click.option(
    "--app-dir", default="", show_default="the current directory", help="Where to look for APP."
)
@click.option(
    "--interface",
    type=click.Choice(["auto", "asgi", "wsgi"]),
    default="auto",
    help="What APP is.",
)
@loop_option
@click.option(
    "--lifespan",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    help="Whether APP has one. ASGI only, and not with --loop trio.",
)
@click.option(
    "--root-path",
    type=ROOT_PATH,
    default="",
    help="Path under which the application is mounted.",
)
@click.option(
    "--limit-concurrency",
    type=LIMIT,
    help="Answer 503 from this many connections or requests on, and take as many streams of a session; 1,024 of "
    "them in any case. ASGI: not with --loop trio. [default: no limit]",
)
@click.option(
    "--timeout-keep-alive",
    type=DURATION,
    default="5s",
    help="How long a connection may be idle between two requests. ASGI only.",
)
@click.option(
    "--timeout-graceful-shutdown",
    type=DURATION,
    default="10s",
    help="What requests in flight get to finish.",
)
@click.option(
    "--forwarded-allow-ips",
    help="Peers whose X-Forwarded-For and -Proto to believe. A gateway sets them at --http; at --publish it passes on "
    "what callers send, so name its address only if it has no such door, or a proxy before that sets them. A WSGI "
    "application does not see what others say, an ASGI application does. ASGI: not with --loop trio. [default: nobody's]",
)
@click.option(
    "--proxy-protocol",
    is_flag=True,
    help="Say to a local port who calls, in a header of the PROXY protocol, version 2, before the first byte. Only for "
    "servers that are told to expect it.",
)
@click.option("--access-log/--no-access-log", default=True, help="Whether to log each answer.")
@click.option(
    "--threads", type=click.IntRange(1), default=8, help="Requests that run at once. WSGI only."
)
@click.option(
    "--max-retries",
    type=click.IntRange(0),
    help="With --connect: failures in a row after which to give up. [default: never]",
)
@wire_option
@tls_options
@proxy_option
@insecure_option
@logging_options
@click.pass_context
def serve(
    context: click.Context,
    /,
    app: str,
    connect: tuple[str, ...],
    listen: str | None,
    name: tuple[str, ...],
    exclusive: bool,
    token_file: Path | None,
    proxy_protocol: bool,
    factory: bool,
    app_dir: str,
    interface: str,
    loop: str,
    timeout_graceful_shutdown: float,
    max_retries: int | None,
    wire: str,
    ssl_certfile: str | None,
    ssl_keyfile: str | None,
    ssl_ca_certs: str | None,
    proxy: Proxy | str | None,
    insecure: bool,
    log_level: str,
    log_format: str,
    use_colors: bool | None,
    **http: Any,
) -> None:
    """Serve APP, an ASGI or WSGI application named as module:attribute, or a local port.

    A local port is tcp://host:port, http://host:port or unix:///path: each stream becomes a
    connection to it. With http:// a server that closes its connection has closed it both ways.

    Behind a gateway the application sees the address of whoever called that, where both speak the muxado
    wire; else, or with --forwarded-allow-ips, the gateway's address is the client of every request.

    The token file is read again before each registration. At SIGHUP it is read too, and the certificate, for the next
    session; without either, SIGHUP ends the command.
    """
    from .. import running, tls
    from ..agents import registration
    from ..serving import serving
    from ..trust.exposure import check_exposure, check_secrecy

    running.configure_logging(log_level, use_colors, log_format)
    if bool(connect) == bool(listen):
        raise click.UsageError("say either --connect URL or --listen URL")
    if connect and wire == "auto":
        raise click.UsageError("--wire auto needs --listen: the side that dials speaks first")
    if name and listen:
        raise click.UsageError("--name needs --connect: it is for the gateway that is dialed")
    if token_file and listen:
        raise click.UsageError("--token-file needs --connect: it is for the gateway that is dialed")
    if proxy and listen:
        raise click.UsageError("--proxy needs --connect: it is for what is dialed")
    if exclusive and not name:
        raise click.UsageError("--exclusive needs --name: it says that nobody else is to serve it")
    if listen:
        check_exposure(
            listen,
            "may call the application",
            "listen on tls:// and ask for certificates (--ssl-ca-certs)",
            is_guarded=ssl_ca_certs is not None,
            insecure=insecure,
        )
    token = shown_token(token_file) if connect else None
    for url in connect if token else ():
        check_secrecy(url, proxy=proxy, insecure=insecure)
    if listen:
        ssl_context = tls.listening_context(listen, ssl_certfile, ssl_keyfile, ssl_ca_certs)
    else:
        ssl_context = tls.shared_context(connect, ssl_certfile, ssl_keyfile, ssl_ca_certs)
    registers = name or token or len(connect) > 1
    application, interface = _what(context, app, app_dir, factory, interface, loop)
    if proxy_protocol:
        if interface != "port":
            raise click.UsageError("--proxy-protocol is for local ports only")
        application = application._replace(wants_header=True)
    options = serving.ServeOptions(
        connect=connect,
        listen=listen,
        interface=interface,
        loop=loop,
        ssl_context=ssl_context,
        graceful_timeout=timeout_graceful_shutdown,
        max_retries=max_retries,
        proxy=proxy,
        wire=wire,
        registration=registration.Registration(name, exclusive) if registers else None,
        token=token,
        http=http,
    )
    command = partial(serving.serve, application, options, started=running.keep_for_good)
    hangup = read_again(token, ssl_context, ssl_certfile, ssl_keyfile)
    running.run(command, loop=loop, hangup=hangup)


def _what(
    context: click.Context, app: str, app_dir: str, factory: bool, interface: str, loop: str
) -> tuple[Any, str]:
    """What ``app`` names, and which interface it has."""
    from ..serving import ports, serving

    try:
        port = ports.parse_port(app)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="APP") from exc
    if port is not None:
        only = "for applications only"
        _reject(context, _ONLY_APPLICATIONS, f"is {only}", f"are {only}")
        return port, "port"
    application = serving.load(app, app_dir, factory)
    if interface == "auto":
        interface = serving.detect_interface(application)
    if interface == "wsgi":
        only = "for ASGI applications only"
        _reject(context, _ONLY_ASGI, f"is {only}", f"are {only}")
    else:
        _reject(context, ("threads",), "is for WSGI applications only", "")
        if loop == "trio":
            there = "with --loop asyncio or uvloop only"
            _reject(context, _NOT_ON_TRIO, f"works {there}", f"work {there}")
    return application, interface


def _reject(context: click.Context, names: tuple[str, ...], one: str, more: str) -> None:
    """Options that were given and would be ignored are an error, not a surprise."""
    given = [
        f"--{name.replace('_', '-')}"
        for name in names
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)} {one if len(given) == 1 else more}")

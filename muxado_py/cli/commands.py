"""The commands and their options, as click sees them.

What it is.  Declarations only: what each command takes, its defaults and its help.  What a command
does is in the module that its function imports when it runs, so that ``muxado --help`` stays quick
and a missing extra is met by the command that needs it.

The rule.  Anything HTTP has uvicorn's flag name and uvicorn's meaning.  Every option can be set as
``MUXADO_<COMMAND>_<OPTION>`` in the environment; no secret is an option.

The trap.  A default that differs from the library's default must be shown here: ``show_default`` is
on for everything, so a computed or absent default needs a word in the help instead.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .. import __version__
from .options import (
    ADDRESS,
    DURATION,
    LINK,
    ROOT_PATH,
    URL,
    dialing_tls_options,
    tls_options,
    wire_option,
)

if TYPE_CHECKING:
    from .demo.proxy import EmulatedLink
    from .options import Address

__all__ = ("muxado",)

_LEVELS = click.Choice(["critical", "error", "warning", "info", "debug"])
_LIMIT = click.IntRange(1, 2**29)  # and room for those that are turned away in Config.max_streams
_LOOPS = click.Choice(["auto", "asyncio", "uvloop", "trio"])

_NOT_ON_TRIO = ("lifespan", "limit_concurrency", "forwarded_allow_ips")  # of an ASGI application
_ONLY_ASGI = ("lifespan", "timeout_keep_alive")


def _logging_options(command: Any) -> Any:
    command = click.option(
        "--use-colors/--no-use-colors",
        default=None,
        help="Color the log. [default: on a terminal, unless NO_COLOR is set]",
    )(command)
    return click.option(
        "--log-level", type=_LEVELS, default="info", help="How much to say on stderr."
    )(command)


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


@muxado.command()
@click.argument("app", metavar="APP")
@click.option("--connect", type=URL, help="Dial out, and serve APP back to the side dialed.")
@click.option("--listen", type=URL, help="Serve APP to those who dial this URL.")
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
@click.option("--loop", type=_LOOPS, default="auto", help="auto: uvloop if installed.")
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
    type=_LIMIT,
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
    help="Peers whose X-Forwarded-For and -Proto to believe. A gateway passes on what its callers "
    "send, so name its address only if a proxy before it sets them. A WSGI application does not see "
    "what others say, an ASGI application does. ASGI: not with --loop trio. [default: nobody's]",
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
@_logging_options
@click.pass_context
def serve(
    context: click.Context,
    /,
    app: str,
    connect: str | None,
    listen: str | None,
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
    log_level: str,
    use_colors: bool | None,
    **http: Any,
) -> None:
    """Serve APP, an ASGI or WSGI application named as module:attribute.

    Behind a gateway the application sees the gateway's address as the client of every request.
    """
    from . import running, serving, tls

    running.configure_logging(log_level, use_colors)
    if (connect is None) == (listen is None):
        raise click.UsageError("say either --connect URL or --listen URL")
    if connect and wire == "auto":
        raise click.UsageError("--wire auto needs --listen: the side that dials speaks first")
    url = connect or listen or ""
    make_context = tls.dialing_context if connect else tls.listening_context
    ssl_context = make_context(url, ssl_certfile, ssl_keyfile, ssl_ca_certs)
    application = serving.load(app, app_dir, factory)
    if interface == "auto":
        interface = serving.detect_interface(application)
    if interface == "wsgi":
        _reject(
            context, _ONLY_ASGI, "is for ASGI applications only", "are for ASGI applications only"
        )
    else:
        _reject(context, ("threads",), "is for WSGI applications only", "")
        if loop == "trio":
            there = "with --loop asyncio or uvloop only"
            _reject(context, _NOT_ON_TRIO, f"works {there}", f"work {there}")
    options = serving.ServeOptions(
        url=url,
        dial=connect is not None,
        interface=interface,
        loop=loop,
        ssl_context=ssl_context,
        graceful_timeout=timeout_graceful_shutdown,
        max_retries=max_retries,
        wire=wire,
        http=http,
    )
    running.run(partial(serving.serve, application, options), loop=loop)


@muxado.command()
@click.option("--listen", type=URL, required=True, help="Where agents connect (muxado serve).")
@click.option(
    "--publish",
    type=ADDRESS,
    required=True,
    multiple=True,
    help="Where callers connect; may be given more than once.",
)
@click.option(
    "--limit-concurrency",
    type=_LIMIT,
    default=500,
    help="Callers served at once; more are told to come back. An agent takes 1,024, or what its own "
    "--limit-concurrency says.",
)
@click.option(
    "--timeout-graceful-shutdown",
    type=DURATION,
    default="10s",
    help="What callers get to finish, and agents to take what they left.",
)
@click.option(
    "--timeout-request-head",
    type=DURATION,
    default="60s",
    help="What callers get to send the head of their first request; in another protocol, until the first "
    "byte of either side. Then they are closed.",
)
@click.option("--loop", type=_LOOPS, default="auto", help="auto: uvloop if installed.")
@wire_option
@tls_options
@_logging_options
def gateway(
    listen: str,
    publish: tuple[Address, ...],
    limit_concurrency: int,
    timeout_graceful_shutdown: float,
    timeout_request_head: float,
    loop: str,
    wire: str,
    ssl_certfile: str | None,
    ssl_keyfile: str | None,
    ssl_ca_certs: str | None,
    log_level: str,
    use_colors: bool | None,
) -> None:
    """Publish the app of a connected agent: each TCP connection to --publish becomes a stream.

    The agent that connected last serves. Whoever can connect to --listen becomes an agent: where
    that is not only you, use tls:// with --ssl-ca-certs and give your agents certificates.

    A caller gets its stream with the head of its HTTP request, or at once in another protocol. One
    that says nothing gets it after 0.25 seconds, for servers that speak first; not where the last
    answer was HTTP.

    A muxado_py agent that freezes is found out after 25 seconds of silence; until then its callers
    wait.
    """
    from . import gateway as publishing
    from . import running, tls

    running.configure_logging(log_level, use_colors)
    command = partial(
        publishing.gateway,
        listen,
        publish,
        ssl_context=tls.listening_context(listen, ssl_certfile, ssl_keyfile, ssl_ca_certs),
        wire=wire,
        limit=limit_concurrency,
        graceful_timeout=timeout_graceful_shutdown,
        head_timeout=timeout_request_head,
    )
    running.run(command, loop=loop)


@muxado.command()
@click.argument("url", type=URL)
@click.option("--count", "-c", type=click.IntRange(1), default=4, help="How many pings.")
@click.option("--interval", "-i", type=DURATION, default="1s", help="Between two pings.")
@click.option("--json", is_flag=True, help="One JSON object on stdout.")
@dialing_tls_options
def ping(
    url: str,
    count: int,
    interval: float,
    json: bool,
    ssl_certfile: str | None,
    ssl_keyfile: str | None,
    ssl_ca_certs: str | None,
) -> None:
    """Measure the round trip of a session with URL, on the muxado wire; a muxado_py answers."""
    from . import pinging, running, tls

    running.configure_logging("warning")
    command = partial(
        pinging.ping,
        url,
        count=count,
        interval=interval,
        as_json=json,
        ssl_context=tls.dialing_context(url, ssl_certfile, ssl_keyfile, ssl_ca_certs),
    )
    # uvloop's clock counts whole milliseconds.
    running.run(command, loop="asyncio")


@muxado.command()
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
    from . import running
    from .demo import show

    running.configure_logging("warning")
    running.run(partial(show.demo, as_json=json, seconds=seconds, link=link), loop="asyncio")


def _reject(context: click.Context, names: tuple[str, ...], one: str, more: str) -> None:
    """Options that were given and would be ignored are an error, not a surprise."""
    given = [
        f"--{name.replace('_', '-')}"
        for name in names
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)} {one if len(given) == 1 else more}")

"""``muxado serve``: an ASGI or WSGI app, or a local port, offered to whoever is at the other end of the sessions.

What it is.  The app is loaded and told apart, and its server is started once (for a port, what connects to it), on the
listener of a :class:`~muxado_py.Pool`: of the session that this side dials, again and again, or of those that others dial.

How it stops.  First the peers are told to open no more streams, and get a round trip to hear it;
then the server finishes what is in flight and shuts the app's lifespan down; then the sessions are
closed, each when its peer has taken the last answer.  In this order no request is refused that was sent in
good faith, and no answer is cut because its caller reads slowly.

The trap.  "Is it ASGI?" has no certain answer.  What is callable with two arguments and is no
coroutine function is taken for WSGI, everything that returns an awaitable for ASGI, and
``--interface`` settles the rest.
"""

from __future__ import annotations

import inspect
import logging
import re
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

import muxado_py as muxado

from ...integrations.asgi import serve_asgi
from ...integrations.loading import StartupError, load_app
from ...integrations.wsgi import serve_wsgi
from ...runtime.extras import MissingExtraError, require
from ...service.causes import reason
from ...session.sessions_listener import SessionsListener
from ..running import ConnectionLost, NotStarted
from .dialing import Uplink
from .judge import judged
from .local_port import serve_port
from .registering import Registrant

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from anyio.abc import TaskStatus

    from ...dialing.proxies import Proxy
    from ..agents.registration import Registration
    from ..trust.shown_token import ShownToken

__all__ = ("ServeOptions", "detect_interface", "load", "serve")

logger = logging.getLogger("muxado.cli")


class ServeOptions(NamedTuple):
    """What ``muxado serve`` was asked for, apart from the app."""

    connect: tuple[str, ...]
    """Gateways, one of which is dialed."""
    listen: str | None
    """Where else sessions come from, instead."""
    interface: str
    """``asgi`` or ``wsgi``; ``port`` for an address instead of an application."""
    loop: str
    """The event loop that runs, which decides which server does; see :data:`..running.LOOPS`."""
    ssl_context: ssl.SSLContext | None
    graceful_timeout: float
    max_retries: int | None
    wire: str
    """``Config.wire``."""
    registration: Registration | None
    """What is said to the gateway that is dialed; None: nothing."""
    http: dict[str, Any]
    """Options of the HTTP server under uvicorn's names, and ``threads`` for WSGI."""
    token: ShownToken | None = None
    """What is shown to the gateway, with the registration."""
    proxy: Proxy | str | None = None
    """What the gateway is dialed through, see :func:`muxado_py.connect`."""


def load(app: str, app_dir: str, factory: bool) -> Any:
    """The application that ``module:attribute`` names.

    :raises NotStarted: if it cannot be found, imported or made.
    """
    sys.path.insert(0, app_dir)
    try:
        loaded = load_app(app)
        return loaded() if factory else loaded
    except StartupError as exc:
        port = re.fullmatch(r"(?:(\S+):)?(\d+)", app)  # no attribute begins with a digit
        hint = f" (a local port is tcp://{port[1] or '127.0.0.1'}:{port[2]})" if port else ""
        if app_dir and not port and isinstance(exc.__cause__, ModuleNotFoundError):
            hint = f" (looked in --app-dir {app_dir} too)"
        raise NotStarted(f"{exc}{hint}") from exc
    except Exception as exc:
        logger.exception("the application failed while it was loaded")
        raise NotStarted(f"cannot load {app!r}: {reason(exc)}") from exc


def detect_interface(app: Any) -> str:
    """``"asgi"`` or ``"wsgi"``, by what calling ``app`` would do.

    :raises NotStarted: if it is neither.
    """
    if not callable(app):
        raise NotStarted(f"{app!r} is not an application: it cannot be called")
    if inspect.isclass(app):
        raise NotStarted(
            f"{app!r} is a class: name an instance of it, or use --factory to have one made"
        )
    target = app.func if isinstance(app, partial) else app
    if not inspect.isroutine(target):
        target = type(target).__call__
    if inspect.iscoroutinefunction(target):
        return "asgi"
    try:
        signature = inspect.signature(app)
    except ValueError:
        raise NotStarted(f"{app!r} does not say what it takes: use --interface") from None
    for interface, arguments in (("wsgi", 2), ("asgi", 3)):
        try:
            signature.bind(*[None] * arguments)
        except TypeError:
            continue
        return interface
    raise NotStarted(
        f"{app!r} is no application: it takes neither WSGI's 2 arguments nor ASGI's 3. "
        "If it makes one, use --factory."
    )


async def serve(
    app: Any,
    options: ServeOptions,
    stop: anyio.Event,
    *,
    started: Callable[[], object] | None = None,
) -> None:
    """Serve ``app``, an application or a :class:`.ports.LocalPort`, until ``stop`` is set.

    :param started: called when the application has, before its first request.
    :raises NotStarted: if the app, its server or the address cannot be used.
    :raises ConnectionLost: if there is no more session and no more attempt.

    Cancellation: requests in flight get the graceful time-out, then everything is closed.
    """
    registrant = None
    if options.registration is not None:
        registrant = Registrant(options.registration, stop, options.token)
    around = None
    if options.listen is None:
        around = partial(judged, _no_name if registrant is None else registrant.serves)
    listener = SessionsListener(around=around)
    config = _session_config(options)
    async with anyio.create_task_group() as sessions:
        async with anyio.create_task_group() as server:
            try:
                await server.start(_server(app, listener, options))
            except (StartupError, MissingExtraError) as exc:
                raise NotStarted(str(exc)) from exc
            if started is not None:
                started()
            is_port = options.interface == "port"
            what = app if is_port else f"{options.interface.upper()} application"
            logger.info("serving %s", what)
            if options.listen is None:
                uplink = _uplink(options, stop, config, registrant, listener)
                pool = uplink.pool
                sessions.start_soon(uplink.keep)
            else:
                pool = await sessions.start(
                    _listen, listener, options, options.listen, config, stop
                )
            await stop.wait()
            sessions.start_soon(_drain, pool, options.graceful_timeout + 1 + config.close_timeout)
            await listener.round_trip()
            server.cancel_scope.cancel()
        with anyio.move_on_after(options.graceful_timeout + 1):
            await listener.delivered()
        sessions.cancel_scope.cancel()
    if registrant is not None and registrant.replaced is not None:
        raise ConnectionLost(f"{registrant.replaced}. There is nothing left to serve.")


async def _drain(pool: muxado.Pool, seconds: float) -> None:
    """End it; what was lost is logged."""
    try:
        await pool.drain(seconds)
    except muxado.UndeliveredError as exc:
        logger.warning("%s", exc)


def _server(app: Any, listener: SessionsListener, options: ServeOptions) -> Callable[..., Any]:
    if options.interface == "port":
        return partial(
            serve_port,
            app,
            listener,
            graceful_timeout=options.graceful_timeout,
            limit=options.http["limit_concurrency"],
        )
    if options.interface == "wsgi":
        return partial(
            serve_wsgi,
            app,
            listener,
            threads=options.http["threads"],
            url_prefix=options.http["root_path"],
            forwarded_allow_ips=options.http["forwarded_allow_ips"],
            access_log=options.http["access_log"],
            limit_concurrency=options.http["limit_concurrency"],
            graceful_timeout=options.graceful_timeout,
        )
    if options.loop == "trio":
        config = _anycorn_config(options.http)
        app = mounted(app, options.http["root_path"])
    else:
        config = _uvicorn_config(app, options.http)
    return partial(
        serve_asgi,
        app,
        listener,
        graceful_timeout=options.graceful_timeout,
        config=config,
        ends_process=True,
    )


def _uvicorn_config(app: Any, http: dict[str, Any]) -> Any:
    uvicorn = require("uvicorn", "uvicorn")
    chosen = {name: value for name, value in http.items() if name != "threads"}
    # uvicorn would believe 127.0.0.1 unasked, which a gateway on this host is for all its callers.
    chosen["proxy_headers"] = chosen["forwarded_allow_ips"] is not None
    return uvicorn.Config(app, log_config=None, reset_contextvars=True, **chosen)


def mounted(app: Any, root_path: str) -> Any:
    """The ASGI application as uvicorn calls it under ``root_path``: that is part of every path.

    The callers' paths begin below it.  anycorn would leave ``path`` without it.
    """
    if not root_path:
        return app

    async def below(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            scope["root_path"] = root_path
            scope["path"] = root_path + scope["path"]
            scope["raw_path"] = root_path.encode("ascii") + scope["raw_path"]
        await app(scope, receive, send)

    return below


def _anycorn_config(http: dict[str, Any]) -> Any:
    config = require("anycorn", "anycorn").Config()
    config.errorlog = logging.getLogger("anycorn.error")
    config.accesslog = logging.getLogger("anycorn.access") if http["access_log"] else None
    config.max_app_queue_size = (
        2  # as where no config is given; ten pieces for each caller are much
    )
    config.keep_alive_timeout = http["timeout_keep_alive"]
    return config


def _session_config(options: ServeOptions) -> muxado.Config:
    """Room for as many streams as are served at once, and for those that are told that there are too many.

    A gateway that was dialed is believed who calls, unless that is to be taken from what proxies say.
    """
    config = muxado.Config(wire=options.wire)
    limit = options.http["limit_concurrency"] or 0
    return replace(
        config,
        max_streams=max(config.max_streams, limit + limit // 8),
        trust_caller=options.listen is None and options.http["forwarded_allow_ips"] is None,
    )


def _uplink(
    options: ServeOptions,
    stop: anyio.Event,
    config: muxado.Config,
    registrant: Registrant | None,
    listener: SessionsListener,
) -> Uplink:
    return Uplink(
        options.connect,
        stop,
        config=config,
        ssl_context=options.ssl_context,
        proxy=options.proxy,
        max_retries=options.max_retries,
        greet=None if registrant is None else registrant.greet,
        listener=listener,
    )


def _no_name(name: str) -> bool:
    """What an agent serves that has registered nothing."""
    return False


async def _listen(
    listener: SessionsListener,
    options: ServeOptions,
    url: str,
    config: muxado.Config,
    stop: anyio.Event,
    *,
    task_status: TaskStatus[muxado.Pool],
) -> None:
    async with AsyncExitStack() as stack:
        try:
            accepting = await stack.enter_async_context(
                muxado.listen(url, config=config, ssl_context=options.ssl_context)
            )
        except OSError as exc:
            raise NotStarted(f"cannot listen on {url}: {reason(exc)}") from exc
        logger.info("listening on %s", accepting.url)
        pool = muxado.Pool([accepting.url], listener=listener)
        task_status.started(pool)
        await pool.accept([accepting])
        stop.set()  # nobody can come any more

"""uvicorn over streams: its HTTP protocols on our transport, without its sockets and its process.

What it is.  ``uvicorn.Server`` is driven step by step: load, lifespan start-up, main loop (the date
header, ``limit_max_requests``), shutdown.  Its ``serve()``, which takes over the process's signals
and calls ``sys.exit``, is never called.

Where data comes from and goes to.  Each accepted stream becomes a :class:`.MuxTransport` for a new
instance of the configured HTTP protocol class; a stream that is not ours (TLS inside a stream) goes
through a :class:`.PumpedStream`.

What is held of each.  A request that its application does not read, and an answer that its caller does not, hold a
piece each (:mod:`~muxado_py.session.copy_budget`), and what the application gives in one message.  uvicorn alone would hold up
to 128 KiB of the one, and a second copy of the message for the other.

The rule.  Only names of ``uvicorn`` that have been the same for long are used: ``Server.startup``'s
and ``shutdown``'s parts, ``Config.http_protocol_class`` and ``lifespan_class``, the three
keyword arguments of a protocol, its ``flow`` and its ``cycle``.

The traps.  uvicorn does nothing at all when it is cancelled, and waits for a stalled reader for
ever; both ends are :class:`.Connections`'s.  Libraries learn of its shutdown by replacing
``Server.handle_exit``, its signal handler (sse-starlette, which then ends every stream of this process for
good); so that is called only when the process ends with the server.
"""

from __future__ import annotations

import asyncio
import copy
import signal
from typing import TYPE_CHECKING, Any

import anyio
import uvicorn
from anyio.streams.tls import TLSAttribute

from ..links.attributes import asked
from ..session.copy_budget import count_both_ways
from ..session.stream import Stream
from .asyncio_transport import MuxTransport
from .loading import StartupError
from .pieces import InPieces, reading_in_pieces
from .pumped import PumpedStream
from .serving import NOTICE_TIME, Connections
from .time_left import InTime, time_left

if TYPE_CHECKING:
    from anyio.abc import ByteStream, Listener, TaskStatus

__all__ = ("serve",)


async def serve(
    app: Any,
    listener: Listener[ByteStream],
    *,
    config: Any,
    graceful_timeout: float,
    first_byte_timeout: float | None,
    ends_process: bool,
    task_status: TaskStatus[None],
) -> None:
    """:func:`.serve_asgi` with uvicorn; see there."""
    server = _server(app, config, graceful_timeout)
    lifespan = _Lifespan(server.config.loaded_app)
    server.lifespan = lifespan.of(server.config)
    connections = Connections(
        lambda stream: _serve_stream(server, stream),
        graceful_timeout=graceful_timeout,
        first_byte_timeout=first_byte_timeout,
    )
    try:
        await server.lifespan.startup()
        if server.lifespan.should_exit:
            raise StartupError(f"the application's lifespan start-up failed: {lifespan.reason}")
        server.started = True
    except BaseException:
        await _shut_down(server, graceful_timeout)
        raise
    task_status.started()

    async def shut_down() -> None:
        if ends_process:
            server.handle_exit(signal.SIGTERM, None)
        await _shut_down(server, graceful_timeout)

    await connections.serve(listener, server.main_loop, shut_down)


def _server(app: Any, config: Any, graceful_timeout: float) -> uvicorn.Server:
    if config is None:
        config = uvicorn.Config(app, log_config=None, reset_contextvars=True)
    else:
        if not isinstance(config, uvicorn.Config):
            raise TypeError(f"uvicorn runs here and takes a uvicorn.Config, got {config!r}")
        config = copy.copy(config)
        config.app = app
        config.loaded = False
    # The requests end by our deadline; after that uvicorn may cancel what did not notice.  Its
    # annotation says int, its code takes any number of seconds.
    config.timeout_graceful_shutdown = graceful_timeout + NOTICE_TIME
    try:
        config.load()
    except SystemExit as exc:
        raise StartupError(
            f"uvicorn cannot load {app!r}; logger 'uvicorn.error' has the reason"
        ) from exc
    config.http_protocol_class = reading_in_pieces(config.http_protocol_class)
    config.loaded_app = InPieces(config.loaded_app)
    server = uvicorn.Server(config)
    server.servers = []  # what shutdown() closes; our listener is closed already
    return server


class _Lifespan:
    """The application as uvicorn's lifespan calls it, which logs why a start-up failed and forgets it."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.reason = "the application gave no reason"

    def of(self, config: uvicorn.Config) -> Any:
        config = copy.copy(config)
        config.loaded_app = self
        return config.lifespan_class(config)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def listen_in(message: Any) -> None:
            if message["type"] == "lifespan.startup.failed":
                # Starlette's message is a traceback; its last line says what happened.
                self.reason = (message.get("message") or self.reason).strip().splitlines()[-1]
            await send(message)

        try:
            await self._app(scope, receive, listen_in)
        except Exception as exc:
            self.reason = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
            raise


async def _serve_stream(server: uvicorn.Server, stream: ByteStream) -> None:
    config, left = server.config, time_left(stream)
    if left is not None:
        config = copy.copy(config)
        config.loaded_app = InTime(config.loaded_app, left)
    protocol: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]
        config=config,
        server_state=server.server_state,
        app_state=server.lifespan.state,
    )
    count_both_ways(1)
    try:
        if isinstance(stream, Stream):
            transport = MuxTransport(stream, protocol)
            try:
                await transport.wait_lost()
            finally:
                transport.abort()
        else:
            await _run_pumped(protocol, stream)
    finally:
        count_both_ways(-1)


async def _run_pumped(protocol: asyncio.Protocol, stream: ByteStream) -> None:
    pumped = PumpedStream(stream)
    tls = asked(stream, TLSAttribute.ssl_object)
    extra = {"ssl_object": tls, "sslcontext": tls.context} if tls is not None else None
    transport = MuxTransport(pumped, protocol, extra)
    try:
        await pumped.run()
    finally:
        transport.abort()


async def _shut_down(server: uvicorn.Server, graceful_timeout: float) -> None:
    """Finish requests and background tasks, then the lifespan, which gets as long again."""
    tasks = set(server.server_state.tasks)
    with anyio.CancelScope(shield=True) as scope:
        scope.deadline = anyio.current_time() + 2 * (graceful_timeout + NOTICE_TIME)
        await server.shutdown()
    tasks = {task for task in tasks | server.server_state.tasks if not task.done()}
    if tasks:
        with anyio.CancelScope(shield=True):
            await asyncio.wait(tasks, timeout=NOTICE_TIME)

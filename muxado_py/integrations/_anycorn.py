"""anycorn over streams: an ASGI server that speaks anyio, and so runs under trio too.

What it is.  anycorn's per-connection server, lifespan and worker context, put together without its
sockets and worker processes.

The rule.  anycorn asks a connection for its raw socket, to learn the addresses and to call
``os.sendfile``.  A stream has no socket, so :class:`_Connection` shows one of a family for which
anycorn does neither, and :class:`_Addressed` puts the addresses into the scope.

The traps.  anycorn shields its sends: a peer that stops reading holds them through every
cancellation.  Only the reset of the stream frees them, which is why :class:`.Connections` resets
before it cancels.  And it keeps a connection for its keep-alive time although the client has left, which
costs a socket nothing; a stream is one of ``Config.max_streams``, so :class:`_Idling` lets go of it.
"""

from __future__ import annotations

import copy
import logging
import socket
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
from anycorn.app_wrappers import ASGIWrapper
from anycorn.config import Config
from anycorn.lifespan import Lifespan
from anycorn.tcp_server import TCPServer
from anycorn.utils import LifespanFailureError, LifespanTimeoutError
from anycorn.worker_context import AnyioSingleTask, WorkerContext
from anyio.abc import ByteStream, SocketAttribute

from ..links.attributes import attributes_of
from ..session.bridge import IO_ERRORS
from ..session.copy_budget import copying_both_ways, piece_size
from .addresses import client_address, server_address
from .loading import StartupError
from .pieces import InPieces
from .serving import NOTICE_TIME, Connections
from .time_left import InTime, time_left

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from anyio.abc import Listener, TaskStatus

__all__ = ("serve",)

logger = logging.getLogger("muxado.server")

_NO_SOCKET = SimpleNamespace(
    family=getattr(socket, "AF_UNIX", socket.AF_UNSPEC),
    getpeername=lambda: "",
    getsockname=lambda: "",
)


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
    """:func:`.serve_asgi` with anycorn; see there.  Nobody listens for the end of its process."""
    if config is None:
        config = Config()
        config.errorlog = logging.getLogger("anycorn.error")
        # Pieces of a body that nobody has asked for, ten by default; and both messages of a lifespan, which must
        # find room where the application reads neither.
        config.max_app_queue_size = 2
    else:
        if not isinstance(config, Config):
            raise TypeError(f"anycorn runs here and takes an anycorn.Config, got {config!r}")
        config = copy.copy(config)
    config.shutdown_timeout = graceful_timeout
    context = WorkerContext(config.max_requests)
    state: dict[str, Any] = {}
    in_pieces = InPieces(app)
    wrapped = ASGIWrapper(in_pieces)
    lifespan = Lifespan(wrapped, config, state)

    async def serve_stream(stream: ByteStream) -> None:
        idling = _Idling()
        connection = _Connection(stream, idling)
        left = time_left(stream)
        served = wrapped if left is None else ASGIWrapper(InTime(in_pieces, left))
        # TCPServer asks for a SocketStream and uses nothing that _Connection lacks.
        server = TCPServer(
            _Addressed(served, connection),
            config,
            context,
            state.copy(),
            connection,  # type: ignore[arg-type]
        )
        server.idle_task = idling
        with copying_both_ways():
            await server.run()

    async def finish() -> None:
        await context.terminated.set()
        await connections.drained()

    connections = Connections(
        serve_stream, graceful_timeout=graceful_timeout, first_byte_timeout=first_byte_timeout
    )

    async def serve_listener() -> None:
        task_status.started()
        await connections.serve(listener, context.terminate.wait, finish)

    await _within_lifespan(lifespan, serve_listener)


async def _within_lifespan(lifespan: Lifespan, body: Callable[[], Awaitable[None]]) -> None:
    """Run ``body`` between the application's start-up and its shutdown, which always runs."""
    failure: Exception | None = None
    lifespan_failure: LifespanFailureError | None = None
    scope = anyio.CancelScope(shield=True)
    over = anyio.Event()

    async def run_lifespan(*, task_status: TaskStatus[None]) -> None:
        nonlocal lifespan_failure
        with scope:
            try:
                await lifespan.handle_lifespan(task_status=task_status)
            except LifespanFailureError as exc:
                lifespan_failure = exc
            finally:
                over.set()

    async with anyio.create_task_group() as tasks:
        await tasks.start(run_lifespan)
        try:
            await _start(lifespan)
            if lifespan_failure is not None:
                raise StartupError(str(lifespan_failure)) from lifespan_failure
            await body()
        except Exception as exc:  # noqa: BLE001 - raised below, out of the group
            failure = exc
        finally:
            with anyio.CancelScope(shield=True):
                await _shut_down(lifespan)
                with anyio.move_on_after(NOTICE_TIME):
                    await over.wait()
            scope.cancel()
            if lifespan_failure is not None and not isinstance(failure, StartupError):
                logger.error("%s", lifespan_failure)
    if failure is not None:
        raise failure


# The application may have left its lifespan, and closed the channel, before it is told anything.


async def _start(lifespan: Lifespan) -> None:
    try:
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            await lifespan.wait_for_startup()
    except LifespanTimeoutError as exc:
        raise StartupError(str(exc)) from exc


async def _shut_down(lifespan: Lifespan) -> None:
    try:
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            await lifespan.wait_for_shutdown()
    except LifespanTimeoutError as exc:
        logger.error("%s", exc)


class _Idling(AnyioSingleTask):
    """The time in which a connection may be idle, which is over when its client can ask no more."""

    def __init__(self) -> None:
        super().__init__()
        self._over = False

    async def restart(self, task_group: Any, action: Callable[..., Any]) -> None:
        if not self._over:
            await super().restart(task_group, action)

    async def end(self) -> None:
        self._over = True
        await self.stop()


class _Connection(ByteStream):
    """A stream that shows anycorn a socket it will not touch."""

    def __init__(self, stream: ByteStream, idling: _Idling) -> None:
        self._stream = stream
        self._idling = idling

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            return await self._stream.receive(min(max_bytes, piece_size()))
        except (anyio.EndOfStream, *IO_ERRORS):
            await self._idling.end()
            raise

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def send_eof(self) -> None:
        try:
            await self._stream.send_eof()
        except RuntimeError as exc:  # of anyio's own on uvloop, whose peer has broken off
            raise anyio.BrokenResourceError from exc

    async def aclose(self) -> None:
        await self._stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {**attributes_of(self._stream), SocketAttribute.raw_socket: lambda: _NO_SOCKET}


class _Addressed:
    """The application, told the addresses of one stream."""

    def __init__(self, app: ASGIWrapper, stream: ByteStream) -> None:
        self._app = app
        attributes = attributes_of(stream)
        self._client = client_address(attributes)
        self._server = server_address(attributes)

    async def __call__(
        self, scope: Any, receive: Any, send: Any, sync_spawn: Any, call_soon: Any
    ) -> None:
        scope["client"] = self._client
        scope["server"] = self._server
        await self._app(scope, receive, send, sync_spawn, call_soon)

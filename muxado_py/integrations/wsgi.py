"""A WSGI application on a listener: ``serve_wsgi``, with waitress behind a private socket.

What it is.  waitress is the WSGI server that gets the hard parts right (streaming, large uploads,
a client that goes away) and that runs beside any event loop, because it brings its own threads.  It
wants a listening socket; it gets an ``AF_UNIX`` one in a directory that only this user can enter,
and each stream is bridged to one connection of it.

Where data comes from and goes to.  stream -> :func:`.bridge` -> Unix socket -> waitress's loop, in
a worker thread -> the application, in one of waitress's own.

The rule.  Everything that touches waitress's channels runs in waitress's thread, handed over by its
trigger.  Its loop ends when its map of sockets is empty; that is how it is stopped.

The trap.  waitress buffers 16 MiB of a response before it notices that nobody reads.  Here that is
``outbuf_high_watermark``, which is also how late a generator learns that its client is gone.
"""

from __future__ import annotations

import os
import socket
import tempfile
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from ..arguments import check_whole
from ..bridging import bridge
from .extras import require
from .loading import load_app
from .serving import NOTICE_TIME, Connections, check_timeouts

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import ByteStream, Listener, TaskStatus

__all__ = ("serve_wsgi",)

_POLL = 0.05  # seconds between looks for connections that have become idle, while draining


async def serve_wsgi(
    app: Any,
    listener: Listener[ByteStream],
    *,
    threads: int = 8,
    outbuf_high_watermark: int = 256 * 1024,
    graceful_timeout: float = 10.0,
    first_byte_timeout: float | None = 10.0,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    **adjustments: Any,
) -> None:
    """Serve a WSGI application to whoever opens streams; returns when ``listener`` has ended.

    HTTP/1.1, each stream a connection.  Works under asyncio and trio, where there are Unix sockets.
    The listener is closed at the end.  The application sees ``REMOTE_ADDR`` as ``localhost``.

    :param app: the application, or its name as ``"module:attribute"``.
    :param listener: usually ``session.net_listener()``; any anyio listener of byte streams works.
    :param threads: how many requests run at once.
    :param outbuf_high_watermark: bytes of a response that may wait for a slow reader before the
        application's thread does.
    :param graceful_timeout: seconds that requests in flight have at the end before their streams
        are reset.  A thread that is stuck in the application is left behind.
    :param first_byte_timeout: seconds in which an accepted stream must send its first byte; None
        for no limit.
    :param task_status: started when streams are accepted.
    :param adjustments: further settings of waitress, under its own names.
    :raises TypeError: if a time-out or ``threads`` is no number.
    :raises ValueError: if one of them is out of its range; the listener stays open then.
    :raises StartupError: if the application cannot be found.
    :raises MissingExtraError: if waitress is not installed.
    :raises SessionError: if the session ended without a goodbye.

    Cancellation: stops accepting, lets requests in flight finish within ``graceful_timeout``, and
    is raised after that.
    """
    check_timeouts(graceful_timeout, first_byte_timeout)
    check_whole("threads", threads, 1, 2**16)
    waitress = require("waitress", "wsgi")
    if not hasattr(socket, "AF_UNIX"):
        raise RuntimeError("serve_wsgi needs Unix sockets, which this platform does not have")
    try:
        settings = {
            "threads": threads,
            "outbuf_high_watermark": outbuf_high_watermark,
            # The session bounds the streams; poll() because select() ends at 1024 sockets.
            "connection_limit": 100_000,
            "asyncore_use_poll": True,
            **adjustments,
        }
        with tempfile.TemporaryDirectory(prefix="muxado-") as directory:  # mode 0700
            await _serve(
                _Waitress(waitress, load_app(app), os.path.join(directory, "wsgi"), settings),
                listener,
                graceful_timeout=graceful_timeout,
                first_byte_timeout=first_byte_timeout,
                task_status=task_status,
            )
    finally:
        with anyio.CancelScope(shield=True):
            await listener.aclose()


async def _serve(
    server: _Waitress,
    listener: Listener[ByteStream],
    *,
    graceful_timeout: float,
    first_byte_timeout: float | None,
    task_status: TaskStatus[None],
) -> None:
    failure: Exception | None = None

    async def serve_stream(stream: ByteStream) -> None:
        await bridge(await anyio.connect_unix(server.path), stream, ends_with_a=True)

    async def finish() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_close_idle, server)
            await connections.drained()
            tasks.cancel_scope.cancel()

    connections = Connections(
        serve_stream, graceful_timeout=graceful_timeout, first_byte_timeout=first_byte_timeout
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run)
        task_status.started()
        try:
            await connections.serve(listener, anyio.sleep_forever, finish)
        except Exception as exc:  # noqa: BLE001 - raised below, out of the group
            failure = exc
        finally:
            with anyio.CancelScope(shield=True):
                await server.stop()
    if failure is not None:
        raise failure


async def _close_idle(server: _Waitress) -> None:
    """Close connections between requests, for as long as others still work on theirs."""
    while True:
        await anyio.sleep(_POLL)
        server.call_soon(server.close_idle)


class _Waitress:
    """A waitress server on a Unix socket at ``path``, and its loop in a worker thread."""

    def __init__(self, waitress: Any, app: Any, path: str, settings: dict[str, Any]) -> None:
        self.path = path
        self._map: dict[int, Any] = {}
        listening = socket.socket(socket.AF_UNIX)
        try:
            listening.bind(path)
            self._server = waitress.create_server(
                app, map=self._map, sockets=[listening], **settings
            )
        except BaseException:
            listening.close()
            raise

    async def run(self) -> None:
        """Run waitress's loop until :meth:`stop`.

        Cancellation: none; only ``stop`` ends it.
        """
        await to_thread.run_sync(self._server.run, limiter=anyio.CapacityLimiter(1))

    async def stop(self) -> None:
        """Send the application's threads home, then close what is open; the loop ends with that.

        Cancellation: call it shielded.
        """
        await to_thread.run_sync(
            lambda: self._server.task_dispatcher.shutdown(timeout=NOTICE_TIME),
            limiter=anyio.CapacityLimiter(1),
        )
        self.call_soon(self._close_all)

    def call_soon(self, thunk: Callable[[], None]) -> None:
        """Have waitress's thread call ``thunk``."""
        self._server.trigger.pull_trigger(thunk)

    def close_idle(self) -> None:
        for channel in self._server.active_channels.values():
            if not (channel.requests or channel.request or channel.total_outbufs_len):
                channel.will_close = True

    def _close_all(self) -> None:
        # A thread that is stuck in the application may wake up when the trigger's descriptor
        # belongs to somebody else.
        self._server.pull_trigger = lambda: None
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()  # wakes a thread that waits to write
        for dispatcher in list(self._map.values()):
            dispatcher.close()
        self._map.clear()

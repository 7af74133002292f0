"""Local ports: an address beside the agent, offered instead of an application.

What it is.  Each stream becomes a connection to one address, a TCP port or a Unix socket, and the bytes of both are
copied: by the loop's callbacks where it has them, as everywhere (:mod:`~muxado_py.session.relay`).

The rules.  The address is the agent's own: nothing that a gateway or a caller says chooses it.  It is connected to
before a byte of the stream is read; so a stream whose connection does not come about is refused, which says that
another agent may have it, and what happens later ends that one stream, by a reset where something is missing.

How it ends.  Connections that are there get the graceful time-out to end by themselves; then they are cut off.

The trap.  Of a connection that carries nothing nobody knows whether it is done: a caller that keeps one open makes the
end wait for all of that time.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from typing import TYPE_CHECKING

import anyio

from ..integrations.serving import turn_away
from ..links.layers import stop_reading_ahead
from ..runtime.checkpoints import socket_loop
from ..runtime.connecting import connect_socket
from ..runtime.plain_sockets import plain_socket, taken_over
from ..session.bridge import abort, bridge
from .proxy_header import proxy_header

if TYPE_CHECKING:
    from anyio.abc import ByteStream, Listener, TaskStatus

    import muxado_py as muxado

    from .ports import LocalPort

__all__ = ("connect", "serve_port")

logger = logging.getLogger("muxado.cli")

CONNECT_TIMEOUT = 5.0
"""Seconds that a connection may take; longer than a port of this machine ever does."""


async def connect(port: LocalPort) -> ByteStream:
    """A connection to it.

    :raises OSError: if there is none.

    Cancellation: nothing is left open.
    """
    if port.scheme == "unix":
        return await _connect(socket.AF_UNIX, port.host)
    try:
        version = ipaddress.ip_address(port.host).version
    except ValueError:
        connection = await anyio.connect_tcp(
            port.host, port.port
        )  # a name, or an address with a zone
        if socket_loop() is not None and (own := taken_over(connection)):
            return own
        stop_reading_ahead(connection)
        return connection
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return await _connect(family, (port.host, port.port))


async def _connect(family: int, address: str | tuple[str, int]) -> ByteStream:
    sock = await connect_socket(family, address)
    try:
        return plain_socket(sock)
    except BaseException:  # it is gone already
        sock.close()
        raise


async def _introduce(stream: muxado.Stream, connection: ByteStream) -> None:
    """Say whose ``stream`` it is that ``connection`` is made for.

    :raises OSError: if the connection is gone, of which nobody has seen a byte of the stream.

    Cancellation: the connection is closed.
    """
    try:
        await connection.send(proxy_header(stream.extra_attributes))
    except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
        await abort(connection)
        raise ConnectionResetError(str(exc) or "the connection is gone") from exc
    except BaseException:
        await abort(connection)
        raise


async def serve_port(
    port: LocalPort,
    listener: Listener[muxado.Stream],
    *,
    graceful_timeout: float,
    limit: int | None = None,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Lead each stream of ``listener`` to ``port``; returns when the listener has ended.

    :param graceful_timeout: seconds that connections have to end when serving does.
    :param limit: how many there may be at once; streams above that are refused.

    Cancellation: takes no more streams, and ends as said above, before it is raised.
    """
    connections = _Connections(port, limit)
    async with anyio.create_task_group() as tasks:
        task_status.started()
        try:
            await listener.serve(connections.handle, tasks)
        finally:
            with anyio.CancelScope(shield=True):
                await listener.aclose()
                await connections.finish(graceful_timeout)


class _Connections:
    """Those to one port.  Outside cancellation reaches none of them; :meth:`finish` does."""

    def __init__(self, port: LocalPort, limit: int | None) -> None:
        self._port = port
        self._limit = limit
        self._live: set[anyio.CancelScope] = set()
        self._none_live = anyio.Event()

    async def handle(self, stream: muxado.Stream) -> None:
        if self._limit is not None and len(self._live) >= self._limit:
            await turn_away(stream, ConnectionRefusedError(f"there are {self._limit} already"))
            return
        with anyio.CancelScope(shield=True) as scope:
            self._live.add(scope)
            try:
                await self._lead(stream)
            finally:
                self._live.discard(scope)
                if not self._live:
                    self._none_live.set()

    async def _lead(self, stream: muxado.Stream) -> None:
        try:
            with anyio.fail_after(CONNECT_TIMEOUT):
                connection = await connect(self._port)
                if self._port.wants_header:
                    await _introduce(stream, connection)
        except OSError as exc:
            cause = exc.strerror or str(exc) or f"no connection in {CONNECT_TIMEOUT:g} s"
            await turn_away(stream, ConnectionRefusedError(f"{self._port}: {cause}"))
            return
        await bridge(connection, stream, ends_with_a=self._port.ends_whole)

    async def finish(self, seconds: float) -> None:
        """Wait until all have ended; those that have not in time are cut off."""
        with anyio.move_on_after(seconds):
            while self._live:
                self._none_live = anyio.Event()
                await self._none_live.wait()
        if self._live:
            logger.warning("%d connection(s) to %s are cut off", len(self._live), self._port)
        for scope in self._live:
            scope.cancel()

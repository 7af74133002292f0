"""Local ports: an address beside the agent, offered instead of an application.

What it is.  Each stream becomes a connection to one address, a TCP port or a Unix socket, and the bytes of both are
copied: by the loop's callbacks where it has them, as everywhere (:mod:`~muxado_py.session.relay`).  A port with an address, which
wants no header, takes no task there either (:mod:`.local_connection`); all others do.

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
from functools import cache
from typing import TYPE_CHECKING

import anyio

from ...integrations.serving import turn_away, turn_away_at_once
from ...links.layers import stop_reading_ahead
from ...runtime.checkpoints import socket_loop
from ...runtime.connecting import connect_socket
from ...runtime.plain_sockets import plain_socket, taken_over
from ...session.bridge import abort, bridge
from ...session.handlers import TasklessHandler
from .local_connection import CONNECT_TIMEOUT, LocalConnection, why_none
from .proxy_header import proxy_header

if TYPE_CHECKING:
    from anyio.abc import ByteStream, TaskStatus

    import muxado_py as muxado

    from ...session.listener import StreamListener
    from .ports import LocalPort

__all__ = ("connect", "serve_port")

logger = logging.getLogger("muxado.cli")


async def connect(port: LocalPort) -> ByteStream:
    """A connection to it.

    :raises OSError: if there is none, in :data:`CONNECT_TIMEOUT` seconds too.

    Cancellation: nothing is left open.
    """
    where = _where(port)
    if where is not None:
        return await _connect(*where)
    with anyio.fail_after(CONNECT_TIMEOUT):
        connection = await anyio.connect_tcp(port.host, port.port)
    if socket_loop() is not None and (own := taken_over(connection)):
        return own
    stop_reading_ahead(connection)
    return connection


def _where(port: LocalPort) -> tuple[int, str | tuple[str, int]] | None:
    """The family and the address of it; None of a name."""
    if port.scheme == "unix":
        return socket.AF_UNIX, port.host
    family = _family(port.host)
    return None if family is None else (int(family), (port.host, port.port))


@cache
def _family(host: str) -> socket.AddressFamily | None:
    """Of an address; None for a name, and for an address with a zone."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    return socket.AF_INET if version == 4 else socket.AF_INET6


async def _connect(family: int, address: str | tuple[str, int]) -> ByteStream:
    sock = await connect_socket(family, address, CONNECT_TIMEOUT)
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
    listener: StreamListener,
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
            await listener.serve(connections, tasks, reuse_tasks=True)
        finally:
            with anyio.CancelScope(shield=True):
                await listener.aclose()
                await connections.finish(graceful_timeout)


class _Connections(TasklessHandler):
    """Those to one port.  Outside cancellation reaches none of them; :meth:`finish` does."""

    def __init__(self, port: LocalPort, limit: int | None) -> None:
        self._port = port
        self._limit = limit
        self._loop = socket_loop()
        self._where = None if port.wants_header else _where(port)
        self._live: set[anyio.CancelScope | LocalConnection] = set()
        self._none_live = anyio.Event()

    @property
    def _is_full(self) -> bool:
        return self._limit is not None and len(self._live) >= self._limit

    def begin(self, stream: muxado.Stream) -> bool:
        if self._loop is None or self._where is None or self._is_full:
            return False
        one = LocalConnection(self._loop, self._port, self._where, stream, self._left)
        self._live.add(one)
        self._loop.call_soon(one.begin)
        return True

    async def __call__(self, stream: muxado.Stream) -> None:
        if self._is_full:
            await turn_away(stream, ConnectionRefusedError(f"there are {self._limit} already"))
            return
        with anyio.CancelScope(shield=True) as scope:
            self._live.add(scope)
            try:
                await self._lead(stream)
            finally:
                self._left(scope)

    def _left(self, one: anyio.CancelScope | LocalConnection) -> None:
        self._live.discard(one)
        if not self._live:
            self._none_live.set()

    async def _lead(self, stream: muxado.Stream) -> None:
        try:
            connection = await connect(self._port)
            if self._port.wants_header:
                with anyio.fail_after(CONNECT_TIMEOUT):
                    await _introduce(stream, connection)
        except OSError as exc:
            await turn_away(stream, why_none(self._port, exc))
            return
        except BaseException:  # serving ends
            turn_away_at_once(stream, why_none(self._port, ConnectionAbortedError("serving ends")))
            raise
        await bridge(connection, stream, ends_with_a=self._port.ends_whole)

    async def finish(self, seconds: float) -> None:
        """Wait until all have ended; those that have not in time are cut off."""
        with anyio.move_on_after(seconds):
            while self._live:
                self._none_live = anyio.Event()
                await self._none_live.wait()
        if self._live:
            logger.warning("%d connection(s) to %s are cut off", len(self._live), self._port)
        for one in list(self._live):
            one.cancel()

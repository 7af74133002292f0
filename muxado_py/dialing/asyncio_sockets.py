"""AsyncioSockets: connections for the asyncio link.

Why not anyio's own.  Its socket stream keeps the asyncio transport to itself and may have read from it already.  So
sockets are connected and accepted here, and become a transport whose first protocol keeps early data.

The rule.  Where a user would notice, it does as anyio does: the addresses of a name are tried a quarter of a second
apart (RFC 8305), IPv6 first, and a failed dial says what each of them said.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from itertools import chain, zip_longest
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import anyio
from anyio import (
    CancelScope,
    Event,
    create_task_group,
    move_on_after,
)
from anyio.abc import Listener, SocketAttribute
from anyio.lowlevel import checkpoint

from ..links.asyncio_link import AsyncioLink
from ..links.attributes import peer_of, socket_attributes
from ..links.busy_poll import BusyPoll, may_busy_poll
from ..links.codec_transport import CodecTransport
from ..links.early_protocol import EarlyProtocol
from ..links.inflight_cap import InflightCap
from ..links.tcp_info import TcpInfo
from ..runtime.accept_loop import AcceptingListener
from ..runtime.connecting import connect_socket
from .anyio_sockets import Sockets
from .pending import PendingConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import SocketStream

    from ..config import Config
    from ..links.codec import Codec
    from ..protocol.connection import Connection

__all__ = ("AsyncioSockets",)

EYEBALLS_DELAY = 0.25
"""Seconds until the next address is tried beside the one before (RFC 8305, section 5)."""


class _AsyncioPending(PendingConnection):
    def __init__(self, transport: asyncio.Transport, early: EarlyProtocol) -> None:
        self._transport = transport
        self._early = early
        self._raw: socket.socket = transport.get_extra_info("socket")
        self._attributes = socket_attributes(self._raw)

    def raw_socket(self) -> socket.socket:
        return self._raw

    @property
    def peer(self) -> str:
        return peer_of(self._attributes)

    async def add_layer(self, codec: Codec) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError(f"it ended during the {codec.name} handshake")
        early = EarlyProtocol()
        # Not asyncio's TLS: the transport below that would keep 64 KiB, which no priority can overtake any more.
        layer = CodecTransport(self._transport, early, codec)
        try:
            await layer.handshake(self._early.received, ended=self._early.ended)
        except OSError:
            if codec.server_side:
                # A dialer need not wait: it has read all that there is, so its alert goes before its end.
                await layer.refuse()
            raise
        early.transport = self._transport = layer
        self._attributes |= codec.attributes()
        self._early = early

    async def send(self, data: bytes) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("it ended before its session began")
        self._transport.write(data)

    async def peek(self) -> bytes:
        return await self._early.peek()

    def discard(self, count: int) -> None:
        self._early.discard(count)

    def link(
        self, connection: Connection, config: Config, changed: Callable[[], None]
    ) -> AsyncioLink:
        path = TcpInfo.of(self._raw)
        return AsyncioLink(
            self._transport,
            self._early,
            connection,
            changed,
            self._attributes,
            path=path,
            inflight_cap=InflightCap(path, perf_counter, paced=path.is_paced)
            if path is not None and config.cap_in_flight
            else None,
            busy_poll=BusyPoll(config.stay_awake) if may_busy_poll() else None,
        )

    async def abort(self) -> None:
        self._transport.abort()
        with CancelScope(shield=True):
            await checkpoint()  # asyncio closes the socket in the next turn


class AsyncioSockets(Sockets[socket.socket]):
    """asyncio's and uvloop's; see :class:`~muxado_py.dialing.anyio_sockets.Sockets`."""

    async def dial_tcp(self, host: str, port: int) -> PendingConnection:
        loop = asyncio.get_running_loop()
        return await _pending(loop.create_connection, await _race(host, port))

    async def dial_unix(self, path: str) -> PendingConnection:
        loop = asyncio.get_running_loop()
        return await _pending(loop.create_connection, await connect_socket(socket.AF_UNIX, path))

    async def connected(self, sock: Any) -> PendingConnection:
        return await _pending(asyncio.get_running_loop().create_connection, sock)

    def listener(self, bound: Listener[SocketStream]) -> Listener[socket.socket]:
        return AcceptingListener(bound, _accept)

    async def pending(self, accepted: socket.socket) -> PendingConnection:
        return await _pending(asyncio.get_running_loop().connect_accepted_socket, accepted)


async def _pending(make: Callable[..., Any], sock: socket.socket) -> PendingConnection:
    """The connection over a connected socket, which is closed if none comes about."""
    try:
        transport, early = await make(EarlyProtocol, sock=sock)
    except BaseException:
        # uvloop before 0.23 has closed the descriptor, and does not tell the socket.
        with suppress(OSError):
            sock.close()
        raise
    return _AsyncioPending(transport, early)


async def _race(host: str, port: int) -> socket.socket:
    """A socket connected to the first address of ``host`` that answers."""
    found = await _found(host, port)
    inet6 = [one for one in found if one[0] == socket.AF_INET6]
    others = [one for one in found if one[0] != socket.AF_INET6]
    winners: list[socket.socket] = []
    errors: list[OSError] = []

    async def attempt(family: int, address: Any, tried: Event) -> None:
        try:
            winners.append(await connect_socket(family, address))
            tasks.cancel_scope.cancel()
        except OSError as exc:
            errors.append(exc)
        finally:
            tried.set()

    try:
        async with create_task_group() as tasks:
            for one in filter(None, chain.from_iterable(zip_longest(inet6, others))):
                tried = Event()
                tasks.start_soon(attempt, one[0], one[4], tried)
                with move_on_after(EYEBALLS_DELAY):
                    await tried.wait()
        if winners:
            return winners.pop(0)
        cause = errors[0] if len(errors) == 1 else ExceptionGroup("each address failed", errors)
        raise OSError("All connection attempts failed") from cause
    finally:
        for late in winners:
            late.close()


async def _found(host: str, port: int) -> list[Any]:
    if "%" in host:
        # uvloop's getaddrinfo loses the zone.  This one may be called here: a number needs no name server.
        flags = socket.AI_NUMERICHOST
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [*await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


async def _accept(listener: Listener[SocketStream]) -> socket.socket:
    raw: Any = listener.extra(SocketAttribute.raw_socket)
    while True:
        # Not loop.sock_accept: cancelled in the wrong turn, it loses a connection (bpo-41317).
        await anyio.wait_readable(raw)
        try:
            accepted, _ = raw.accept()
        except BlockingIOError:  # another process took it
            continue
        accepted.setblocking(False)
        return cast("socket.socket", accepted)

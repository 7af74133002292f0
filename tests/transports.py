"""Transports for tests: in memory, of every awkward kind, and real ones on this machine."""

from __future__ import annotations

import os
import ssl
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import anyio
import trustme
from anyio.abc import ByteReceiveStream, ByteSendStream, ByteStream
from anyio.streams.stapled import StapledByteStream
from anyio.streams.tls import TLSStream

from muxado_py.links.codec_stream import CodecStream
from muxado_py.links.websocket_handshakes import WebSocketClient, WebSocketServer
from muxado_py.runtime.pipes import PipeStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from anyio.abc import Listener, ObjectReceiveStream, ObjectSendStream, SocketStream

KINDS = ("memory", "lockstep", "trickle", "pipes", "tcp", "tls", "unix", "ws", "wss")
REAL = ("tcp", "tls", "unix", "ws", "wss")


class MemorySend(ByteSendStream):
    """The sending side of a connection in memory."""

    def __init__(self, stream: ObjectSendStream[bytes]) -> None:
        self._stream = stream

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def aclose(self) -> None:
        await self._stream.aclose()


class MemoryReceive(ByteReceiveStream):
    """The receiving side; it cuts what was sent to what is asked for."""

    def __init__(self, stream: ObjectReceiveStream[bytes]) -> None:
        self._stream = stream
        self._rest = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = self._rest or await self._stream.receive()
        self._rest = data[max_bytes:]
        return data[:max_bytes]

    async def aclose(self) -> None:
        await self._stream.aclose()


def memory_transports(depth: float = 16) -> tuple[ByteStream, ByteStream]:
    """Two ends of a connection in memory that holds ``depth`` sends in each direction.

    With a depth of 0 it holds nothing: a send ends when the other side took it.
    """
    a_send, b_receive = anyio.create_memory_object_stream[bytes](depth)
    b_send, a_receive = anyio.create_memory_object_stream[bytes](depth)
    return StapledByteStream(MemorySend(a_send), MemoryReceive(a_receive)), StapledByteStream(
        MemorySend(b_send), MemoryReceive(b_receive)
    )


class LateSend(ByteSendStream):
    """The sending side of a connection that takes its time, and any number of bytes."""

    def __init__(self, stream: ObjectSendStream[tuple[float, bytes]], seconds: float) -> None:
        self._stream = stream
        self._seconds = seconds

    async def send(self, item: bytes) -> None:
        await self._stream.send((anyio.current_time() + self._seconds, item))

    async def aclose(self) -> None:
        await self._stream.aclose()


class LateReceive(ByteReceiveStream):
    """The receiving side: what was sent comes when its time has come."""

    def __init__(self, stream: ObjectReceiveStream[tuple[float, bytes]]) -> None:
        self._stream = stream
        self._rest: tuple[float, bytes] | None = None

    async def receive(self, max_bytes: int = 65536) -> bytes:
        due, data = self._rest = self._rest or await self._stream.receive()
        await anyio.sleep_until(due)
        self._rest = (due, data[max_bytes:]) if len(data) > max_bytes else None
        return data[:max_bytes]

    async def aclose(self) -> None:
        await self._stream.aclose()


def late_transports(seconds: float) -> tuple[ByteStream, ByteStream]:
    """Two ends of a connection in memory that is ``seconds`` long; for virtual clocks."""
    depth = float("inf")
    a_send, b_receive = anyio.create_memory_object_stream[tuple[float, bytes]](depth)
    b_send, a_receive = anyio.create_memory_object_stream[tuple[float, bytes]](depth)
    return (
        StapledByteStream(LateSend(a_send, seconds), LateReceive(a_receive)),
        StapledByteStream(LateSend(b_send, seconds), LateReceive(b_receive)),
    )


class Around(ByteStream):
    """A transport around another one."""

    def __init__(self, inner: ByteStream) -> None:
        self._inner = inner

    async def send(self, item: bytes) -> None:
        await self._inner.send(item)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._inner.receive(max_bytes)

    async def send_eof(self) -> None:
        await self._inner.send_eof()

    async def aclose(self) -> None:
        await self._inner.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._inner.extra_attributes


class Trickle(Around):
    """Carries one byte at a time, both ways."""

    async def send(self, item: bytes) -> None:
        for index in range(len(item)):
            await self._inner.send(item[index : index + 1])

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._inner.receive(1)


class Recorder(Around):
    """Remembers what was sent, from the moment a send begins."""

    def __init__(self, inner: ByteStream) -> None:
        super().__init__(inner)
        self.sent = bytearray()
        self.closed = False

    async def send(self, item: bytes) -> None:
        self.sent += item
        await self._inner.send(item)

    async def aclose(self) -> None:
        self.closed = True
        await self._inner.aclose()


class Stuck(Around):
    """Takes nothing while ``stuck``: a send waits until it is released or cancelled."""

    def __init__(self, inner: ByteStream) -> None:
        super().__init__(inner)
        self._free = anyio.Event()
        self._free.set()

    def hold(self) -> None:
        self._free = anyio.Event()

    def release(self) -> None:
        self._free.set()

    async def send(self, item: bytes) -> None:
        await self._free.wait()
        await self._inner.send(item)


class Cut(Around):
    """Carries ``sends`` bytes out and ``receives`` bytes in; then the connection is gone both ways."""

    def __init__(
        self, inner: ByteStream, *, sends: float = float("inf"), receives: float = float("inf")
    ) -> None:
        super().__init__(inner)
        self._sends = sends
        self._receives = receives

    async def send(self, item: bytes) -> None:
        part = item[: int(min(self._sends, len(item)))]
        self._sends -= len(part)
        if part:
            await self._inner.send(part)
        if len(part) < len(item) or not self._sends:
            await self._inner.aclose()
        if len(part) < len(item):
            raise anyio.BrokenResourceError

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self._receives:
            await self._inner.aclose()
            raise anyio.EndOfStream
        data = await self._inner.receive(int(min(max_bytes, self._receives)))
        self._receives -= len(data)
        return data


@cache
def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For the client and for the server, with a certificate of ``localhost`` and 127.0.0.1."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return client, server


def pipe_transports() -> tuple[PipeStream, PipeStream]:
    """Two ends of a pair of pipes."""
    near_reading, far_writing = os.pipe()
    far_reading, near_writing = os.pipe()
    return PipeStream(near_reading, near_writing), PipeStream(far_reading, far_writing)


@asynccontextmanager
async def open_transports(kind: str, folder: Path) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    """Two connected transports of a kind.

    :param folder: where a Unix socket may lie.
    """
    if kind == "pipes":
        ends = pipe_transports()
        async with ends[0], ends[1]:
            yield ends
        return
    if kind not in REAL:
        near, far = memory_transports(0 if kind == "lockstep" else 16)
        yield (Trickle(near), Trickle(far)) if kind == "trickle" else (near, far)
        return
    path = str(folder / "socket")
    listener: Listener[SocketStream]
    if kind == "unix":
        listener = await anyio.create_unix_listener(path)
    else:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    accepted: list[ByteStream] = []
    arrived = anyio.Event()

    async def take(stream: SocketStream) -> None:
        accepted.append(await secured(stream, kind, server_side=True))
        arrived.set()

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, take)
        if kind == "unix":
            raw: SocketStream = await anyio.connect_unix(path)
        else:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            raw = await anyio.connect_tcp("127.0.0.1", port)
        near = await secured(raw, kind, server_side=False)
        await arrived.wait()
        tasks.cancel_scope.cancel()
    async with near, accepted[0]:
        yield near, accepted[0]


async def secured(stream: SocketStream, kind: str, *, server_side: bool) -> ByteStream:
    """What is to be had of ``kind`` over a connected socket: TLS, a websocket, both, or the socket itself."""
    secured: ByteStream = stream
    if kind in ("tls", "wss"):
        secured = await TLSStream.wrap(
            stream,
            server_side=server_side,
            hostname=None if server_side else "localhost",
            ssl_context=tls_contexts()[server_side],
            standard_compatible=False,
        )
    if kind in ("ws", "wss"):
        websocket = CodecStream(
            secured,
            WebSocketServer(lambda request: None)
            if server_side
            else WebSocketClient("localhost", 80, "/", secure=kind == "wss"),
        )
        await websocket.handshake()
        return websocket
    return secured


class Wrapped(ByteStream):
    """A user's own wrapper, with slots."""

    __slots__ = ("_inner",)

    def __init__(self, inner: ByteStream) -> None:
        self._inner = inner

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._inner.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        await self._inner.send(item)

    async def send_eof(self) -> None:
        await self._inner.send_eof()

    async def aclose(self) -> None:
        await self._inner.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._inner.extra_attributes


class Raising(Wrapped):
    """Raises what no stream should, in one of its calls."""

    def __init__(self, inner: ByteStream, where: str, error: Exception) -> None:
        super().__init__(inner)
        self._where = where
        self._error = error

    async def _maybe(self, where: str) -> None:
        await anyio.lowlevel.checkpoint()
        if where == self._where:
            raise self._error

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await self._maybe("receive")
        return await super().receive(max_bytes)

    async def send(self, item: bytes) -> None:
        await self._maybe("send")
        await super().send(item)

    async def send_eof(self) -> None:
        await self._maybe("send_eof")
        await super().send_eof()

    async def aclose(self) -> None:
        await super().aclose()
        await self._maybe("aclose")


ODD = [
    anyio.EndOfStream(),
    TypeError("x"),
    ssl.SSLError("x"),
    RuntimeError("x"),
    ExceptionGroup("x", [OSError()]),
]

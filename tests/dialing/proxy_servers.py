"""Small proxies, which keep what they are told, and say what a test wants them to."""

from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
from anyio import create_task_group
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSListener

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Coroutine

    from anyio.abc import ByteStream

__all__ = ("FakeProxy", "connect_proxy", "socks_proxy")


class FakeProxy:
    """A proxy that runs.

    :ivar port: where.
    :ivar heads: what it was asked: of CONNECT the whole head, of SOCKS5 the host and the port.
    :ivar shown: the user's name and password that SOCKS5 was shown.
    :param hosts: where a connection to a name leads, for names that nobody else knows.
    """

    def __init__(self, **hosts: str) -> None:
        self.port = 0
        self.heads: list[str] = []
        self.shown: list[tuple[str, str]] = []
        self._hosts = hosts

    async def dial(self, host: str, port: int) -> ByteStream:
        return await anyio.connect_tcp(self._hosts.get(host.partition(".")[0], host), port)


@asynccontextmanager
async def _serving(
    proxy: FakeProxy,
    handle: Callable[[ByteStream], Coroutine[Any, Any, None]],
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[FakeProxy]:
    listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
    proxy.port = listener.extra(anyio.abc.SocketAttribute.local_port)
    if ssl_context is not None:
        listener = TLSListener(listener, ssl_context, standard_compatible=False)

    async def contained(stream: ByteStream) -> None:
        with suppress(
            anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError
        ):
            async with stream:
                await handle(stream)

    async with listener, create_task_group() as tasks:
        tasks.start_soon(listener.serve, contained)
        yield proxy
        tasks.cancel_scope.cancel()


async def _exactly(stream: ByteStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += await stream.receive(count - len(data))
    return data


async def _head(stream: ByteStream) -> bytes:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        data += await stream.receive(1)
    return data


async def _copy(near: ByteStream, far: ByteStream) -> None:
    for end in (near, far):  # else Linux keeps some megabytes for who does not read
        with suppress(AttributeError):  # of a stream that its peer has left, on uvloop
            raw = end.extra(SocketAttribute.raw_socket)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                raw.setsockopt(socket.SOL_SOCKET, option, 64 * 1024)

    async def copy(source: ByteStream, target: ByteStream) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            while True:
                await target.send(await source.receive())
        with suppress(Exception):
            await target.send_eof()

    async with create_task_group() as tasks:
        tasks.start_soon(copy, near, far)
        await copy(far, near)


async def _reset(stream: ByteStream) -> None:
    raw = stream.extra(SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await anyio.aclose_forcefully(stream)


async def _piecemeal(stream: ByteStream, data: bytes, size: int) -> None:
    for start in range(0, len(data), size):
        await stream.send(data[start : start + size])
        await anyio.sleep(0.001)  # the next is a segment of its own


def connect_proxy(
    *,
    answer: bytes = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n",
    size: int = 1_000,
    resets: bool = False,
    credentials: str = "",
    ssl_context: ssl.SSLContext | None = None,
    **hosts: str,
) -> Any:
    """One for CONNECT.

    :param answer: what it says, in pieces of ``size`` bytes; a connection is made if that is a 2xx.
    :param resets: it says that much, and ends the connection with a RST.
    :param credentials: what it wants in ``Proxy-Authorization``, if anything.
    """
    proxy = FakeProxy(**hosts)

    async def handle(stream: ByteStream) -> None:
        proxy.heads.append((await _head(stream)).decode())
        lines = proxy.heads[-1].split("\r\n")
        if credentials and f"Proxy-Authorization: {credentials}" not in lines:
            await stream.send(b"HTTP/1.1 407 Who are you?\r\nContent-Length: 0\r\n\r\n")
            return
        if resets:
            await _piecemeal(stream, answer, size)
            await _reset(stream)
            return
        host, _, port = lines[0].split()[1].rpartition(":")
        if not answer.rpartition(b"\r\nHTTP/1.1 ")[2].startswith((b"2", b"HTTP/1.1 2")):
            await _piecemeal(stream, answer, size)
            return
        async with await proxy.dial(host.strip("[]"), int(port)) as far:
            await _piecemeal(stream, answer, size)
            await _copy(stream, far)

    return _serving(proxy, handle, ssl_context)


def socks_proxy(
    *,
    reply: int | bytes = 0,
    version: int = 5,
    method: int | None = None,
    size: int = 1_000,
    **hosts: str,
) -> Any:
    """One for SOCKS5.

    :param reply: what it answers to the request, in a number or as a whole; 0 makes the connection.
    :param method: how it wants to know who asks; default what it was offered last; -1 says nothing.
    """
    proxy = FakeProxy(**hosts)

    async def handle(stream: ByteStream) -> None:
        _, count = await _exactly(stream, 2)
        chosen = method if method is not None else (await _exactly(stream, count))[-1]
        if chosen < 0:
            return
        await _piecemeal(stream, bytes((version, chosen)), size)
        if chosen == 2:
            _, length = await _exactly(stream, 2)
            name = await _exactly(stream, length)
            password = await _exactly(stream, (await _exactly(stream, 1))[0])
            proxy.shown.append((name.decode(), password.decode()))
            fine = password == b"secret"
            await _piecemeal(stream, bytes((1, not fine)), size)
            if not fine:
                return
        elif chosen == 255:
            return
        kind = (await _exactly(stream, 4))[3]
        if kind == 3:
            host = (await _exactly(stream, (await _exactly(stream, 1))[0])).decode()
        else:
            host = ".".join(map(str, await _exactly(stream, 4)))
        port = int.from_bytes(await _exactly(stream, 2))
        proxy.heads.append(f"{host}:{port}")
        answer = reply if isinstance(reply, bytes) else bytes((5, reply, 0, 1, 127, 0, 0, 1, 0, 80))
        if reply:
            await _piecemeal(stream, answer, size)
            return
        async with await proxy.dial(host, port) as far:
            await _piecemeal(stream, answer, size)
            await _copy(stream, far)

    return _serving(proxy, handle)

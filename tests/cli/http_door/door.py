"""What the tests of the HTTP door share: a gateway that has one, agents behind it, callers before it."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import anyio
from anyio.lowlevel import checkpoint

from muxado_py.cli.gateway import gateway
from muxado_py.cli.http_door.fronts import parse_fronts
from muxado_py.cli.http_door.limits import Limits
from muxado_py.cli.options import Address, HttpDoor, UnixAddress
from muxado_py.runtime.plain_sockets import plain_socket

from ..test_gateway import agent, everything

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import muxado_py as muxado

__all__ = ("OK", "Door", "Replying", "agent", "door", "everything", "heard", "request")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Door(NamedTuple):
    url: str
    """For agents."""
    port: int
    stop: anyio.Event

    async def connect(self) -> anyio.abc.SocketStream:
        """A caller: no stream of anyio's, for uvloop before 0.23 takes a reset behind bytes for an end."""
        await checkpoint()
        return plain_socket(socket.create_connection(("127.0.0.1", self.port)))

    async def ask(self, raw: bytes) -> bytes:
        """What a caller hears that says ``raw`` and then nothing more."""
        async with await self.connect() as caller:
            await caller.send(raw)
            return await everything(caller)


@asynccontextmanager
async def door(
    limits: Limits | None = None,
    limit: int = 100,
    graceful_timeout: float = 5.0,
    *,
    access_log: bool = False,
    path: str | None = None,
    fronts: str | None = None,
) -> AsyncIterator[Door]:
    """A gateway with a door for ``*.test``; leaving the block stops it.

    :param path: of a Unix socket, where callers come in; default a port.
    :param fronts: the proxies that are trusted, as ``--forwarded-allow-ips`` has them.
    """
    stop = anyio.Event()
    address = Address("127.0.0.1", 0) if path is None else UnixAddress(path)
    http = HttpDoor(
        address, "test", limits or Limits(), None if fronts is None else parse_fronts(fronts)
    )
    async with anyio.create_task_group() as tasks:
        url, ports = await tasks.start(
            partial(
                gateway,
                "tcp://127.0.0.1:0",
                (),
                stop,
                ssl_context=None,
                limit=limit,
                graceful_timeout=graceful_timeout,
                http=http,
                access_log=access_log,
            )
        )
        with anyio.fail_after(300):
            yield Door(url, ports[-1], stop)
            stop.set()


class Replying:
    """An agent's application: hears a request, and says what it was given to say.

    :ivar heard: the requests, as they came.
    """

    def __init__(
        self, answer: bytes = OK, then: Callable[[muxado.Stream], Awaitable[None]] | None = None
    ) -> None:
        self.answer = answer
        self.heard: list[bytes] = []
        self._then = then

    async def __call__(self, stream: muxado.Stream) -> None:
        raw = b""
        while not is_whole(raw):
            raw += await stream.receive()
        self.heard.append(raw)
        await stream.send(self.answer)
        if self._then is not None:
            await self._then(stream)
        await stream.aclose()


def is_whole(raw: bytes) -> bool:
    head, end, body = raw.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.split(b"\r\n"):
        if line.startswith(b"Content-Length: "):
            return len(body) >= int(line[16:])
    return b"Transfer-Encoding: chunked" not in head or body.endswith(b"0\r\n\r\n")


def request(
    *lines: bytes, start: bytes = b"GET / HTTP/1.1", name: bytes = b"app", body: bytes = b""
) -> bytes:
    """One of a caller."""
    return b"\r\n".join((start, b"Host: " + name + b".test", *lines, b"", body))


async def heard(stream: anyio.abc.ByteStream, until: bytes) -> bytes:
    """What comes, until it ends so."""
    raw = b""
    while not raw.endswith(until):
        raw += await stream.receive()
    return raw

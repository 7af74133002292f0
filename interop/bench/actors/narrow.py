"""Both ends of a narrow path: bulk streams, and small messages beside them whose way is timed.

Where data comes from and goes to.  One process is the client and sends; the other is the server and
writes down when what arrived.  Both are on one machine and share its monotonic clock, so a message
carries the time at which it was sent and its age on arrival is its latency, one way.  The commands
are those of :mod:`.stage`: ``expect`` and ``found`` for the server, ``run`` for the client.

The rule.  Every byte is compared, bulk and messages alike, and the server answers how many were
right.  What is counted is what arrived, or for a message what was sent, between two moments that both are told:
before them is the time in which TCP finds its rate.

The trap.  The latency begins at the call of ``send``, not at the tick that led to it: how late an event
loop's timers are is not the network's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from contextlib import AsyncExitStack, suppress
from functools import partial
from time import monotonic, monotonic_ns
from typing import TYPE_CHECKING, Any

import anyio

import muxado_py as muxado

from ..path import FAR_ADDRESS
from .client import DifferentBytesError, contain, receive_exactly
from .ours_url import SECURE, certified, trusting
from .payload import BLOCK, BLOCKS, Checker, piece
from .raw_tcp import Connection
from .stage import BACKENDS, obey, say
from .tally import Tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .server import ByteStream

    Open = Callable[[muxado.Priority], Awaitable[ByteStream]]

SESSIONS = {"tcp": 7000, "tls": 7002, "wss": 7003}
CONNECTIONS = 7001
"""Ports, of sessions over each scheme and of connections; the namespace is ours alone."""

MESSAGE = 64
STAMP = 16  # bytes of a message: its number and its time in nanoseconds
EVERY = 0.01
"""Seconds between messages."""

MESSAGES = 255
"""The first byte of the stream of the messages; a bulk stream begins with its number."""

URGENT = muxado.Priority(urgency=0)
NS = 10**9


def message(number: int, stamp: bytes) -> bytes:
    """What is sent with a stamp of eight bytes."""
    return number.to_bytes(8, "big") + stamp + piece(number, MESSAGE - STAMP)


class Server:
    """Obeys ``expect`` and ``found``."""

    def __init__(self) -> None:
        self._window = 0.0, 0.0
        self._tally = Tally()
        self._active = 0
        self._latencies: list[float] = []
        self._received: dict[int, int] = {}

    async def expect(self, *, begin: float, end: float) -> dict[str, Any]:
        """A run whose figures are taken between these moments."""
        self._window = begin, end
        self._tally = Tally()
        self._latencies = []
        self._received = {}
        return {}

    async def found(self) -> dict[str, Any]:
        """What arrived; each stream has been answered, as the client has heard."""
        if self._active:
            self._tally.fail(TimeoutError(f"{self._active} streams were left open"))
        facts = {"latencies": self._latencies, "received": self._received}
        return {**self._tally.facts(), **facts}

    async def answer(self, stream: ByteStream) -> None:
        """One stream, or one connection."""
        self._active += 1
        try:
            [label] = await stream.receive(1)
            right = await (
                self._messages(stream) if label == MESSAGES else self._bulk(stream, label)
            )
            self._active -= 1
            await stream.send(right.to_bytes(8, "big"))
            await stream.aclose()
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is counted
            self._active -= 1
            self._tally.fail(exc)

    async def _messages(self, stream: ByteStream) -> int:
        begin, end = self._window
        number, rest = 0, b""
        with suppress(anyio.EndOfStream):
            while True:
                rest += await stream.receive()
                now = monotonic()
                while len(rest) >= MESSAGE:
                    one, rest = rest[:MESSAGE], rest[MESSAGE:]
                    stamp = one[8:STAMP]
                    if one != message(number, stamp):
                        raise DifferentBytesError(f"message {number}")
                    sent = int.from_bytes(stamp, "big") / NS
                    number += 1
                    if begin <= sent < end:
                        self._latencies.append(now - sent)
        return number

    async def _bulk(self, stream: ByteStream, label: int) -> int:
        begin, end = self._window
        checker = Checker()
        checker.feed(bytes([label % len(BLOCKS)]))
        self._received[label] = 0
        with suppress(anyio.EndOfStream):
            while True:
                data = await stream.receive(BLOCK)
                checker.feed(data)
                if begin <= monotonic() < end:
                    self._received[label] += len(data)
        return checker.right


async def client_run(
    *,
    end: float,
    config: dict[str, Any],
    weights: Sequence[int],
    messages: bool,
    apart: Sequence[str],
    scheme: str,
) -> dict[str, Any]:
    """Send until ``end``: one bulk stream of each weight, and messages.

    :param config: fields of ``Config``.
    :param scheme: what the session is over.
    :param apart: ``messages`` or ``bulk``, if they have a TCP connection each instead of a stream.
    """
    tally = Tally()
    try:
        async with AsyncExitStack() as stack:
            settings = muxado.Config(**config)
            url = f"{scheme}://{FAR_ADDRESS}:{SESSIONS[scheme]}"
            context = trusting() if scheme in SECURE else None
            dialed = muxado.connect(url, config=settings, ssl_context=context)
            session = await stack.enter_async_context(dialed)

            def opener(what: str) -> Open:
                if what in apart:
                    return connect
                return lambda priority: session.open_stream(priority=priority)

            async with anyio.create_task_group() as tasks:
                for label, weight in enumerate(weights):
                    bulk = partial(send_bulk, opener("bulk"), label, weight, end)
                    tasks.start_soon(contain, tally, bulk)
                if messages:
                    small = partial(send_messages, opener("messages"), end)
                    tasks.start_soon(contain, tally, small)
    except Exception as exc:  # noqa: BLE001 - the runner must hear of it
        tally.fail(exc)
    return tally.facts()


async def send_bulk(open_stream: Open, label: int, weight: int, end: float, tally: Tally) -> None:
    """Blocks without a pause."""
    stream = await open_stream(muxado.Priority(weight=weight))
    await stream.send(bytes([label]))
    at, sent = label, 0
    while monotonic() < end:
        await stream.send(BLOCKS[at % len(BLOCKS)])
        at += 1
        sent += BLOCK
    await finish(stream, sent)
    tally.done += 1


async def send_messages(open_stream: Open, end: float, tally: Tally) -> None:
    """One every :data:`EVERY` seconds, as urgent as can be."""
    stream = await open_stream(URGENT)
    await stream.send(bytes([MESSAGES]))
    number, due = 0, monotonic()
    while (now := monotonic()) < end:
        if now < due:
            await anyio.sleep(due - now)
        await stream.send(message(number, monotonic_ns().to_bytes(8, "big")))
        number += 1
        due += EVERY
    await finish(stream, number)
    tally.done += 1


async def finish(stream: ByteStream, sent: int) -> None:
    """Half close, and hear how much of it was right."""
    await stream.send_eof()
    right = int.from_bytes(await receive_exactly(stream, 8), "big")
    if right != sent:
        raise DifferentBytesError(f"{right} of {sent} were right")
    await stream.aclose()


async def connect(_: muxado.Priority) -> ByteStream:
    """A TCP connection in place of a stream."""
    raw = socket.socket()
    raw.setblocking(False)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await asyncio.get_running_loop().sock_connect(raw, (FAR_ADDRESS, CONNECTIONS))
    return Connection(raw)


async def be_server(settings: dict[str, Any]) -> None:
    """Take sessions and connections, all their streams alike.

    :param settings: fields of ``Config``.
    """
    server = Server()
    config = muxado.Config(**settings)

    async def on_session(session: muxado.Session) -> None:
        async with anyio.create_task_group() as streams:
            while True:
                try:
                    stream = await session.accept_stream()
                except muxado.SessionClosedError:
                    return
                streams.start_soon(server.answer, stream)

    async def take_connections(tasks: anyio.abc.TaskGroup) -> None:
        while True:
            raw, _ = await asyncio.get_running_loop().sock_accept(connections)
            tasks.start_soon(server.answer, Connection(raw))

    with socket.create_server((FAR_ADDRESS, CONNECTIONS)) as connections:
        connections.setblocking(False)
        async with AsyncExitStack() as listeners, anyio.create_task_group() as tasks:
            for scheme, port in SESSIONS.items():
                context = certified(FAR_ADDRESS) if scheme in SECURE else None
                url = f"{scheme}://{FAR_ADDRESS}:{port}"
                listening = muxado.listen(url, config=config, ssl_context=context)
                listener = await listeners.enter_async_context(listening)
                tasks.start_soon(listener.serve, on_session)
            tasks.start_soon(take_connections, tasks)
            say({"address": FAR_ADDRESS})
            await obey({"expect": server.expect, "found": server.found})
            tasks.cancel_scope.cancel()


async def be_client() -> None:
    """Do as told."""
    say({"address": FAR_ADDRESS})
    await obey({"run": client_run})


def play() -> None:
    """Be what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--serve", type=json.loads, metavar="CONFIG", help="be the server")
    options = parser.parse_args()
    backend, settings = BACKENDS[options.loop]
    with suppress(KeyboardInterrupt):
        scene = be_client if options.serve is None else partial(be_server, options.serve)
        anyio.run(scene, backend=backend, backend_options=settings)


if __name__ == "__main__":
    play()

"""The client of a pair: the workloads, written once for every Python implementation.

Where data comes from and goes to.  :meth:`Client.run` dials, lets so many workers do one thing until the
time is up, and counts what was right.  A worker compares every byte that comes back with what it
sent, and ends with its first error, which is counted.

The rule.  What an implementation's user would write stands in its :class:`Peer`; nothing here knows
which one it is.  ``interop/go/bench/client.go`` is the same in Go.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from anyio import EndOfStream, create_task_group

from .payload import BLOCK, BLOCKS, Checker, piece
from .server import ENOUGH
from .tally import Tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from .server import ByteStream

    Action = Callable[..., Awaitable[None]]

__all__ = ("MESSAGE", "Client", "DifferentBytesError", "Muxer", "Peer", "receive_exactly")

MESSAGE = 64
"""Bytes of a call and of a message."""

OPENERS = 64
"""How many streams are being opened at a time for ``hold``."""


class DifferentBytesError(Exception):
    """What came back is not what was sent."""


class Peer(Protocol):
    """A session, as the workloads see it."""

    def call(self, question: bytes, /) -> Awaitable[bytes]:
        """Open, send, receive as much, close."""

    def open(self) -> Awaitable[ByteStream]:
        """A stream that stays open."""


class Muxer:
    """The :class:`Peer` of everything that has streams: a call is a stream of its own."""

    def __init__(self, open_stream: Callable[[], Awaitable[ByteStream]]) -> None:
        self.open = open_stream

    async def call(self, question: bytes) -> bytes:
        """Open, send, receive as much, close."""
        stream = await self.open()
        await stream.send(question)
        answer = await receive_exactly(stream, len(question))
        await stream.aclose()
        return answer


async def receive_exactly(stream: ByteStream, size: int) -> bytes:
    """``size`` bytes, or anyio's ``EndOfStream``."""
    data = await stream.receive(size)
    while len(data) < size:
        data += await stream.receive(size - len(data))
    return data


class Client:
    """Obeys ``run``, ``hold`` and ``close``.

    :param dial: a session.
    :param actions: what a worker does, by its name; :data:`ACTIONS`, if the implementation has no way of its own.
    """

    def __init__(
        self,
        dial: Callable[[], AbstractAsyncContextManager[Peer]],
        actions: Mapping[str, Action] | None = None,
    ) -> None:
        self._dial = dial
        self._actions = actions or ACTIONS
        self._session = AsyncExitStack()
        self._holder: Peer | None = None
        self._held: list[ByteStream] = []

    async def run(self, *, action: str, streams: int, seconds: float) -> dict[str, Any]:
        """One workload in a session of its own, which lasts until ``close``."""
        tally = Tally()
        elapsed = 0.0
        try:
            peer = await self._session.enter_async_context(self._dial())
            begin = perf_counter()
            deadline = begin + seconds
            async with create_task_group() as tasks:
                for worker in range(streams):
                    tasks.start_soon(contain, tally, self._actions[action], peer, worker, deadline)
            elapsed = perf_counter() - begin
        except Exception as exc:  # noqa: BLE001 - the runner must hear of it
            tally.fail(exc)
        return {**tally.facts(), "seconds": elapsed}

    async def hold(self, *, streams: int) -> dict[str, Any]:
        """Open ``streams`` more, send a byte there and back on each, and keep them."""
        tally = Tally()
        if self._holder is None:
            self._holder = await self._session.enter_async_context(self._dial())
        tickets = iter(range(streams))
        begin = perf_counter()
        async with create_task_group() as tasks:
            for _ in range(min(OPENERS, streams)):
                tasks.start_soon(contain, tally, hold, self._holder, tickets, self._held)
        return {**tally.facts(), "seconds": perf_counter() - begin}

    async def close(self) -> dict[str, Any]:
        """End the session; its errors do not count, everything was answered before."""
        with suppress(Exception):
            await self._session.aclose()
        return {}


async def contain(tally: Tally, action: Action, *arguments: Any) -> None:
    """Do ``action``; its error is counted, and the other workers go on."""
    try:
        await action(tally, *arguments)
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is counted
        tally.fail(exc)


async def calls(tally: Tally, peer: Peer, worker: int, deadline: float) -> None:
    """Open, echo, close."""
    turn = worker * 1000
    while perf_counter() < deadline:
        question = piece(turn, MESSAGE)
        if await peer.call(question) != question:
            raise DifferentBytesError("a call")
        tally.done += 1
        turn += 1


async def messages(tally: Tally, peer: Peer, worker: int, deadline: float) -> None:
    """There and back on one open stream."""
    stream = await peer.open()
    turn = worker * 1000
    while perf_counter() < deadline:
        question = piece(turn, MESSAGE)
        await stream.send(question)
        if await receive_exactly(stream, MESSAGE) != question:
            raise DifferentBytesError("a message")
        tally.done += 1
        turn += 1
    await stream.aclose()


async def bulk(tally: Tally, peer: Peer, worker: int, deadline: float) -> None:
    """Blocks one way; the server answers how many bytes were right."""
    stream = await peer.open()
    at = worker % len(BLOCKS)
    await stream.send(bytes([at]))
    sent = 0
    while perf_counter() < deadline:
        await stream.send(BLOCKS[at])
        at = (at + 1) % len(BLOCKS)
        sent += BLOCK
    await stream.send_eof()
    right = int.from_bytes(await receive_exactly(stream, 8), "big")
    if right != sent:
        raise DifferentBytesError(f"{right} of {sent} bytes were right")
    tally.done += sent
    await stream.aclose()


async def fetch(tally: Tally, peer: Peer, worker: int, deadline: float) -> None:
    """Blocks the other way, until the server is told that it is enough."""
    stream = await peer.open()
    at = bytes([worker % len(BLOCKS)])
    await stream.send(at)
    checker = Checker()
    checker.feed(at)
    received, enough = 0, False
    with suppress(EndOfStream):
        while True:
            data = await stream.receive(BLOCK)
            checker.feed(data)
            received += len(data)
            if not enough and perf_counter() >= deadline:
                enough = True
                await stream.send(ENOUGH)
    if checker.right != received:
        raise DifferentBytesError(f"{checker.right} of {received} bytes were right")
    tally.done += received
    await stream.aclose()


async def hold(tally: Tally, peer: Peer, tickets: Iterator[int], held: list[ByteStream]) -> None:
    """A byte there and back on each stream, which stays open."""
    for _ in tickets:
        stream = await peer.open()
        await stream.send(b"x")
        if await receive_exactly(stream, 1) != b"x":
            raise DifferentBytesError("the byte of an idle stream")
        held.append(stream)
        tally.done += 1


ACTIONS: Mapping[str, Action] = {
    "calls": calls,
    "messages": messages,
    "bulk": bulk,
    "fetch": fetch,
}

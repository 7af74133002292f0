"""The server of a pair: what it does with a stream, written once for every Python implementation.

``echo`` gives back what comes until the end; ``sink`` checks a bulk transfer and answers how many
bytes were right, ``source`` is one the other way, until it is told that it is enough; ``hold`` gives back one byte and keeps
the stream.

The rule.  What goes wrong is counted and told to the runner, never printed and forgotten.  A stream
that is still being answered long after its client has finished is an error too.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from anyio import EndOfStream, create_task_group, sleep

from .payload import BLOCK, BLOCKS, Checker
from .tally import Tally

__all__ = ("ENOUGH", "Answer", "ByteStream", "Server")

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

ENOUGH = b"."
"""What ends a ``source``."""

PATIENCE = 5.0
"""Seconds that streams may take to end after their client has finished."""


class ByteStream(Protocol):
    """What the workloads need of a stream; an anyio byte stream is one."""

    async def send(self, item: bytes, /) -> None:
        """All of it, as soon as there is room."""

    async def receive(self, max_bytes: int = 65536, /) -> bytes:
        """At least one byte, or anyio's ``EndOfStream``."""

    async def send_eof(self) -> None:
        """The half close."""

    async def aclose(self) -> None:
        """Both ways."""


class Answer(Protocol):
    """What each stream that comes is handed to; a :class:`Server` is one."""

    async def __call__(self, stream: ByteStream, /) -> None:
        """Answer one stream."""

    @property
    def keeps(self) -> bool:
        """Whether streams stay open when this returns."""


class Server:
    """Obeys ``serve`` and ``errors``; the :class:`Answer` of its process."""

    def __init__(self) -> None:
        self._action: Callable[[ByteStream], Coroutine[Any, Any, None]] = echo
        self._active = 0
        self._tally = Tally()
        self._held: list[ByteStream] = []

    async def serve(self, *, action: str) -> dict[str, Any]:
        """What to do with streams from now on."""
        self._action = {
            "echo": echo,
            "sink": sink,
            "source": source,
            "hold": self._hold,
        }[action]
        return {}

    async def errors(self) -> dict[str, Any]:
        """Wait until no stream is being answered; what went wrong since the last time."""
        patience = monotonic() + PATIENCE
        while self._active and monotonic() < patience:  # noqa: ASYNC110 - costs the streams nothing
            await sleep(0.001)
        tally, self._tally = self._tally, Tally()
        if self._active:
            tally.fail(TimeoutError(f"{self._active} streams were left open"))
        return tally.facts()

    @property
    def keeps(self) -> bool:
        """Whether streams stay open when they were answered."""
        return self._action == self._hold

    async def __call__(self, stream: ByteStream) -> None:
        """Answer one stream."""
        self._active += 1
        try:
            await self._action(stream)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is counted
            self._tally.fail(exc)
        finally:
            self._active -= 1

    async def _hold(self, stream: ByteStream) -> None:
        await stream.send(await stream.receive(1))
        self._held.append(stream)


async def echo(stream: ByteStream) -> None:
    """What comes, until the end."""
    try:
        while True:
            await stream.send(await stream.receive())
    except EndOfStream:
        await stream.aclose()


async def sink(stream: ByteStream) -> None:
    """A bulk transfer; the answer is the number of bytes that were right."""
    checker = Checker()
    try:
        while True:
            checker.feed(await stream.receive(BLOCK))
    except EndOfStream:
        await stream.send(checker.right.to_bytes(8, "big"))
        await stream.aclose()


async def source(stream: ByteStream) -> None:
    """Blocks, from the one that the first byte says, until the next byte comes."""
    [at] = await stream.receive(1)
    enough = False

    async def send() -> None:
        turn = at
        while not enough:
            await stream.send(BLOCKS[turn])
            turn = (turn + 1) % len(BLOCKS)

    async with create_task_group() as tasks:
        tasks.start_soon(send)
        await stream.receive(len(ENOUGH))
        enough = True
    await stream.aclose()

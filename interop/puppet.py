"""A puppet as a Python object: start the program, move it, hear what it saw.

Where data comes from and goes to.  :class:`Puppet` is one running program of ``interop/go`` or
``interop/rust``, the far end of a session.  ``do`` writes a command to its standard input and returns
its answer, ``begin`` returns before there is one.

The rule.  A test orders what happens by waiting for answers.  Two commands that were both begun
and not yet answered may happen in either order, since the program runs each concurrently.

The trap.  An answer says that the library's method returned, not that its frames have arrived here.
"""

from __future__ import annotations

import json
import signal
from contextlib import asynccontextmanager, suppress
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyio.abc import ByteSendStream, Process

__all__ = ("Answer", "Fact", "Puppet", "run_puppet")

MAX_LINE = 64 * 1024  # bytes of one fact

Fact = dict[str, Any]
"""One answer: the fields of a line the program printed, without its id."""


class Answer:
    """What the puppet will say, or has said, to one command."""

    def __init__(self) -> None:
        self._there = anyio.Event()
        self._fact: Fact | None = None

    @property
    def there(self) -> bool:
        """Whether the library's method has returned."""
        return self._there.is_set()

    def put(self, fact: Fact | None) -> None:
        """Record the fact; None if the program ended without one."""
        self._fact = fact
        self._there.set()

    async def wait(self) -> Fact:
        """The fact, when it is there.

        :raises RuntimeError: if the program ended first.

        Cancellation: harmless, wait again.
        """
        await self._there.wait()
        if self._fact is None:
            raise RuntimeError("the puppet ended without an answer; see its standard error")
        return self._fact


class Puppet:
    """A running puppet.  The verbs and their arguments are in ``interop/go/puppet``."""

    def __init__(
        self,
        process: Process,
        commands: ByteSendStream,
        lines: BufferedByteReceiveStream,
        address: str,
    ) -> None:
        self.address = address
        """``HOST:PORT`` that the puppet listens on, or that it connected from."""
        self._process = process
        self._commands = commands
        self._lines = lines
        self._last_id = 0
        self._answers: dict[int, Answer] = {}

    async def begin(self, verb: str, **arguments: object) -> Answer:
        """Give a command and do not wait for its answer."""
        self._last_id += 1
        answer = self._answers[self._last_id] = Answer()
        line = json.dumps({"id": self._last_id, "do": verb, **arguments})
        await self._commands.send(line.encode() + b"\n")
        return answer

    async def do(self, verb: str, **arguments: object) -> Fact:
        """Give a command and wait for its answer."""
        answer = await self.begin(verb, **arguments)
        return await answer.wait()

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self._process.kill()

    def freeze(self) -> None:
        """Stop the process where it is: its connection stays, nothing is read or written."""
        self._process.send_signal(signal.SIGSTOP)

    async def hear(self) -> None:
        """Hand every fact to the answer that waits for it, until the process ends."""
        with suppress(anyio.EndOfStream, anyio.IncompleteRead, anyio.ClosedResourceError):
            while True:
                fact = json.loads(await self._lines.receive_until(b"\n", MAX_LINE))
                self._answers.pop(fact.pop("id")).put(fact)
        for answer in self._answers.values():
            answer.put(None)


@asynccontextmanager
async def run_puppet(program: Path, *flags: str) -> AsyncIterator[Puppet]:
    """Start a puppet and kill it at the end.  It is connected, or listens, when this enters."""
    async with (
        await anyio.open_process([program, *flags], stdin=PIPE, stderr=None) as process,
        anyio.create_task_group() as tasks,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            lines = BufferedByteReceiveStream(process.stdout)
            start = json.loads(await lines.receive_until(b"\n", MAX_LINE))
            address = start.get("listening") or start["connected"]
            puppet = Puppet(process, process.stdin, lines, address)
            tasks.start_soon(puppet.hear)
            yield puppet
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            tasks.cancel_scope.cancel()

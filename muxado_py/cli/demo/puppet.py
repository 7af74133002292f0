"""How the demo moves its processes: lines of JSON to their stdin and from their stdout.

What it is.  :class:`Puppet` is the parent's handle on one process; :func:`orders` and
:func:`report` are the process's ends of the same two pipes.

The rule.  No process outlives the demo.  Leaving :func:`puppet` ends its process, whatever was the
reason; a parent that is killed takes its pipes with it, and end of file on stdin ends each of them.
They run in sessions of their own, so that Ctrl-C reaches only the parent, which then ends them in
order.

The trap.  A process that fails must not fail silently: its stderr goes to a file, whose end becomes
part of the error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from ..running import NotStarted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyio.abc import Process

__all__ = ("Puppet", "orders", "puppet", "report")

PATIENCE = 30.0  # seconds for the slowest answer: a measurement's length is added to it


class Puppet:
    """One process of the demo, as its parent sees it; made by :func:`puppet`."""

    def __init__(self, name: str, process: Process, log: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._name = name
        self._process = process
        self._log = log
        self._stdin = process.stdin
        self._stdout = BufferedByteReceiveStream(process.stdout)

    async def say(self, line: str) -> None:
        """Send one line.

        :raises NotStarted: if the process is gone.

        Cancellation: the line may be cut short; end the process.
        """
        try:
            await self._stdin.send(line.encode() + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise self._gone() from None

    async def hear(self, patience: float = PATIENCE) -> dict[str, Any]:
        """The next thing it reports.

        :raises NotStarted: if the process is gone, or says nothing for ``patience`` seconds.

        Cancellation: safe.
        """
        try:
            with anyio.fail_after(patience):
                line = await self._stdout.receive_until(b"\n", 2**24)
        except (anyio.IncompleteRead, anyio.BrokenResourceError, anyio.EndOfStream):
            raise self._gone() from None
        except TimeoutError:
            raise NotStarted(
                f"the demo's {self._name} process said nothing for {patience:.0f} s{self._last()}"
            ) from None
        said: dict[str, Any] = json.loads(line)
        return said

    async def ask(self, order: dict[str, Any], patience: float = PATIENCE) -> dict[str, Any]:
        """:meth:`say` an order as JSON, and :meth:`hear` the answer."""
        await self.say(json.dumps(order))
        return await self.hear(patience)

    async def end(self) -> None:
        """Close its stdin, and kill it if that does not end it.

        Cancellation: shielded; takes at most three seconds.
        """
        with anyio.CancelScope(shield=True):
            await self._stdin.aclose()
            with anyio.move_on_after(3):
                await self._process.wait()
            if self._process.returncode is None:
                self._process.kill()
            await self._process.aclose()

    def _gone(self) -> NotStarted:
        return NotStarted(f"the demo's {self._name} process ended unexpectedly{self._last()}")

    def _last(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()[-8:]
        return "".join(f"\n  | {line}" for line in lines)


@asynccontextmanager
async def puppet(name: str, directory: Path, *arguments: str) -> AsyncIterator[Puppet]:
    """Run ``muxado_py.cli.demo.<name>`` in a process of its own until the block is left.

    :param directory: where its stderr goes.
    """
    log = directory / f"{name}.log"
    with log.open("ab") as stderr:
        process = await anyio.open_process(
            [sys.executable, "-m", f"muxado_py.cli.demo.{name}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    handle = Puppet(name, process, log)
    try:
        yield handle
    finally:
        await handle.end()


async def orders() -> AsyncIterator[dict[str, Any]]:
    """In the process: what the parent asks for, until it closes the pipe."""
    stdin = sys.stdin.fileno()
    pending = b""
    while True:
        await anyio.wait_readable(stdin)
        data = os.read(stdin, 65536)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            yield json.loads(line)


def report(**said: Any) -> None:
    """In the process: tell the parent."""
    print(json.dumps(said), flush=True)

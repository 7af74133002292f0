"""The Go peer as a Python object: build it, start it, move it, hear what it saw.

Where data comes from and goes to.  ``build_go_peers`` turns ``interop/go`` into one program per
version of ``golang.ngrok.com/muxado/v2``.  :class:`GoPeer` is one running program: ``do`` writes a
command to its standard input and returns its answer, ``begin`` returns before there is one.

The rule.  A test orders what happens by waiting for answers.  Two commands that were both begun
and not yet answered may happen in either order, since Go runs each in a goroutine.

The trap.  An answer says that Go's method returned, not that its frames have arrived here.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteSendStream, Process

__all__ = (
    "GO_VERSIONS",
    "Answer",
    "Fact",
    "GoPeer",
    "GoToolchainError",
    "build_go_peers",
    "run_go_peer",
)

SOURCE = Path(__file__).parent / "go"
BUILD_TIMEOUT = 300.0  # seconds; Go's standard library is compiled too the first time
MAX_LINE = 64 * 1024  # bytes of one fact

GO_VERSIONS = {"v2.0.2": "go.mod", "v2.0.1": "v2.0.1.mod"}
"""The published versions spoken to, and the module file that pins each.

v2.0.2 is the newest.  v2.0.1 swallows eight bytes of what follows a GOAWAY, which programs in the
field still do.
"""

Fact = dict[str, Any]
"""One answer: the fields of a line the peer printed, without its id."""


class GoToolchainError(Exception):
    """The Go peer could not be built; the message says what is missing."""


def build_go_peers(directory: Path) -> dict[str, Path]:
    """Build the peer once for each of :data:`GO_VERSIONS`, into ``directory``.

    :raises GoToolchainError: if there is no Go, or the build fails.
    """
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if go is None:
        raise GoToolchainError(
            "Go toolchain not found: no `go` in PATH or /usr/local/go/bin; install Go 1.24 or newer"
        )
    programs = {}
    for version, module_file in GO_VERSIONS.items():
        program = directory / f"peer-{version}"
        command = [go, "build", "-buildvcs=false", f"-modfile={module_file}", "-o", str(program)]
        try:
            subprocess.run(
                command,
                cwd=SOURCE,
                check=True,
                capture_output=True,
                text=True,
                timeout=BUILD_TIMEOUT,
            )
        except subprocess.CalledProcessError as error:
            raise GoToolchainError(
                f"the Go peer does not build: {' '.join(command)}\n{error.stderr}"
            ) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise GoToolchainError(f"the Go peer does not build: {error}") from error
        programs[version] = program
    return programs


class Answer:
    """What Go will say, or has said, to one command."""

    def __init__(self) -> None:
        self._there = anyio.Event()
        self._fact: Fact | None = None

    @property
    def there(self) -> bool:
        """Whether Go's method has returned."""
        return self._there.is_set()

    def put(self, fact: Fact | None) -> None:
        """Record the fact; None if the peer ended without one."""
        self._fact = fact
        self._there.set()

    async def wait(self) -> Fact:
        """The fact, when it is there.

        :raises RuntimeError: if the Go peer ended first.

        Cancellation: harmless, wait again.
        """
        await self._there.wait()
        if self._fact is None:
            raise RuntimeError("the Go peer ended without an answer; see its standard error")
        return self._fact


class GoPeer:
    """A running Go peer.  The verbs and their arguments are in ``interop/go/verbs.go``."""

    def __init__(
        self,
        process: Process,
        commands: ByteSendStream,
        lines: BufferedByteReceiveStream,
        address: str,
    ) -> None:
        self.address = address
        """``HOST:PORT`` that the peer listens on, or that it connected from."""
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
async def run_go_peer(program: Path, *flags: str) -> AsyncIterator[GoPeer]:
    """Start a peer and kill it at the end.  It is connected, or listens, when this enters."""
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
            peer = GoPeer(process, process.stdin, lines, address)
            tasks.start_soon(peer.hear)
            yield peer
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            tasks.cancel_scope.cancel()

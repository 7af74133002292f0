"""A pair: the two processes of one competitor, and what is read off them from outside.

Where data comes from and goes to.  Commands go to their standard inputs, answers come from their
standard outputs (``actors/stage.py`` has the list), one at a time.  CPU time and memory are read from
the kernel, for every implementation in the same way: a Go program's garbage collector counts as much
as an interpreter.

The rule.  A run that had an error, on either side, or that did not answer in time, is a
:class:`FailedRunError` with the reason, never a figure.

The trap.  After a failure the processes are in no known state; :meth:`Pair.end` them and start others.
This reads Linux's ``/proc`` and its clocks of other processes.
"""

from __future__ import annotations

import json
import select
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .workloads import Sample, Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("FailedRunError", "Pair", "Process")

ROOT = Path(__file__).resolve().parents[2]
START = 30.0
"""Seconds a process may take to say its address."""
PATIENCE = 60.0
"""Seconds that a command may take longer than it was told to."""
FEW = 100
"""Idle streams opened before memory is read for the first time, so that what the first one costs is
not spread over the others."""

CPU_CLOCK = 2  # CPUCLOCK_SCHED of Linux's posix-timers.h


class FailedRunError(Exception):
    """A run that gives no figure; the message says why."""


class Process:
    """One program that obeys commands."""

    def __init__(self, command: Sequence[str]) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self.pid = self._process.pid
        try:
            self.address = str(self._answer(START)["address"])
        except BaseException:
            self.end()
            raise

    def do(self, verb: str, *, within: float = 0.0, **arguments: Any) -> dict[str, Any]:
        """Give a command and wait for its answer.

        :param within: seconds that it is expected to take.
        :raises FailedRunError: if the process ended, or took much longer.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the answer says it better
            self._process.stdin.write(json.dumps({"do": verb, **arguments}).encode() + b"\n")
        return self._answer(within + PATIENCE)

    def _answer(self, patience: float) -> dict[str, Any]:
        output = self._process.stdout
        assert output is not None
        ready, _, _ = select.select([output], [], [], patience)
        if not ready:
            raise FailedRunError(f"no answer in {patience:.0f} s")
        line = output.readline()
        if not line:
            raise FailedRunError(f"the process ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it printed nothing"

    def cpu_seconds(self) -> float:
        """Of all its threads, ended ones too, since it began."""
        return time.clock_gettime((~self.pid << 3) | CPU_CLOCK)

    def memory(self) -> int:
        """Bytes of resident memory, after it gave back what it could."""
        self.do("settle")
        return self.resident()

    def resident(self) -> int:
        """Bytes of resident memory, as they are."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        [line] = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def end(self) -> None:
        """Kill it and let go of its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            assert pipe is not None
            pipe.close()


class Pair:
    """The server and the client of one competitor.

    :raises FailedRunError: if one of them does not start.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.server = Process(command)
        try:
            self.client = Process([*command, "--connect", self.server.address])
        except BaseException:
            self.server.end()
            raise

    def end(self) -> None:
        """Both processes."""
        self.client.end()
        self.server.end()

    def run(self, workload: Workload, streams: int, seconds: float) -> Sample:
        """One run of a workload.

        :param streams: at a time; for idle streams, how many.
        :param seconds: how long; idle streams take as long as it takes to open them.
        :raises FailedRunError: if either side had an error.
        """
        self.server.do("serve", action=workload.answer)
        if workload.fresh:
            return self._hold(streams)
        before = self._cpu()
        answer = self.client.do(
            "run", within=seconds, action=workload.action, streams=streams, seconds=seconds
        )
        client, server = (now - then for now, then in zip(self._cpu(), before, strict=True))
        self._check(answer)
        self.client.do("close")
        return Sample(answer["done"], answer["seconds"], client, server)

    def _hold(self, streams: int) -> Sample:
        self._check(self.client.do("hold", streams=FEW))
        memory = self.client.memory(), self.server.memory()
        before = self._cpu()
        answer = self.client.do("hold", streams=streams)
        client, server = (now - then for now, then in zip(self._cpu(), before, strict=True))
        self._check(answer)
        return Sample(
            answer["done"],
            answer["seconds"],
            client,
            server,
            self.client.memory() - memory[0],
            self.server.memory() - memory[1],
        )

    def _cpu(self) -> tuple[float, float]:
        return self.client.cpu_seconds(), self.server.cpu_seconds()

    def _check(self, answer: dict[str, Any]) -> None:
        """Both sides' errors; nothing may be left of the streams of this run."""
        theirs = self.server.do("errors")
        for side, facts in (("client", answer), ("server", theirs)):
            if facts["errors"]:
                raise FailedRunError(
                    f"{facts['errors']} errors of the {side}, the first: {facts['first_error']}"
                )
        if not answer["done"]:
            raise FailedRunError("nothing was done")

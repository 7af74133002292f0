"""Pipes: a command's stdin and stdout, and what a process has at their other ends.

What it is.  Two :class:`PipeEnd` are what ``exec:`` and ``stdio:`` have; between them is a path, as if the command were
``ssh``.  The package asks its ``os`` for descriptors and processes, and ours answers.

The rules, which are those of Linux.  Each direction is a pipe of its own: who closes what it reads breaks what the other
writes, and nothing else.  A pipe that ends tells no error.  A command ends when the other process has closed its pipes,
and is killed with all that is on its way; a path that is cut ends it with the exit code of ``ssh``.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio

from muxado_py.runtime import child_process, pipes
from muxado_py.runtime.child_process import CommandStream
from muxado_py.runtime.pipes import PipeStream

from .network import SimSocket, joined
from .trio_world import TrioSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .clock import Clock
    from .plan import PathPlan

__all__ = ("PipeEnd", "asked_for_pipes", "open_pipes", "piped")

_descriptors = count(2_000_000)

SSH_FAILED = 255
"""The exit code of ``ssh`` whose connection is gone."""


class PipeEnd(SimSocket):
    """What one side reads and what it writes."""

    peer: PipeEnd

    def __init__(self, name: str, clock: Clock, plan: PathPlan) -> None:
        super().__init__(name, clock, plan)
        self.reading, self.writing = next(_descriptors), next(_descriptors)
        self._deaf = False  # what it reads is closed
        self._unheard = False  # what the other reads is
        self.command: Command | None = None

    @property
    def descriptors(self) -> tuple[int, ...]:
        return self.reading, self.writing

    @property
    def writable(self) -> bool:
        return self._unheard or super().writable

    def send(self, data: bytes | bytearray | memoryview) -> int:
        if self._unheard:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        return super().send(data)

    def close_descriptor(self, number: int) -> None:
        """Of the two, which others may have kept."""
        if number == self.writing:
            self._shut = True
            self._say_fin()
        else:
            self._deaf = True
            self.inbox.clear()
            self._fly(self.peer._stops_being_heard)
        self.closed = self._deaf and self._shut
        if self.closed:
            self.log("closed both pipes")
            self._fly(self.peer._other_has_left)

    def _stops_being_heard(self) -> None:
        self._unheard = True
        self._outbox.clear()
        self._unacked = 0
        self.on_change()

    def _other_has_left(self) -> None:
        if self.command is not None:
            self.command.end(0)

    def _arrives(self, segment: bytes) -> None:
        if self._deaf:
            self.peer._flying -= len(segment)
        else:
            super()._arrives(segment)

    def _fin_arrives(self) -> None:
        heard = self.last_arrival
        super()._fin_arrives()
        if self.command is not None:  # the end of its stdout says nothing before its exit code does
            self.last_arrival = heard

    def _acknowledged(self, size: int) -> None:
        if not self._unheard:
            super()._acknowledged(size)

    def _reset_arrives(self) -> None:
        super()._reset_arrives()
        self._error = None
        if self.command is not None:
            self.command.end(SSH_FAILED)


class Command:
    """The process, as :class:`CommandStream` asks it."""

    def __init__(self, end: PipeEnd) -> None:
        self.pid = end.reading
        self.returncode: int | None = None
        self._end = end
        self._over = anyio.Event()

    async def wait(self) -> int:
        await self._over.wait()
        assert self.returncode is not None
        return self.returncode

    def end(self, code: int) -> None:
        """It ends by itself."""
        if self.returncode is None:
            self._end.log(f"the command ends with {code}")
            self.returncode = code
            self._over.set()

    def kill(self, number: int) -> None:
        """It gets a signal."""
        if self.returncode is not None:
            raise ProcessLookupError
        if number:
            self.end(-number)
            self._end.cut()


class _System:
    """The ``os`` of a made-up kernel."""

    path = SimpleNamespace(sameopenfile=lambda *_: False)

    def __init__(self, ends: tuple[PipeEnd, PipeEnd]) -> None:
        self._ends = {number: one for one in ends for number in one.descriptors}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def get_blocking(self, number: int) -> bool:
        return False

    def fstat(self, number: int) -> Any:
        return SimpleNamespace(st_mode=stat.S_IFIFO)

    def read(self, number: int, size: int) -> bytes:
        return self._ends[number].recv(size)

    def write(self, number: int, data: memoryview) -> int:
        return self._ends[number].send(data)

    def close(self, number: int) -> None:
        self._ends[number].close_descriptor(number)

    def kill(self, pid: int, number: int) -> None:
        command = self._ends[pid].command
        assert command is not None
        command.kill(number)

    killpg = kill


class _TrioWaits:
    """What anyio has for descriptors on trio, which asks a real kernel."""

    def __init__(self, ends: tuple[PipeEnd, PipeEnd]) -> None:
        self._ends = {number: (one, TrioSocket(one)) for one in ends for number in one.descriptors}
        self._closing: set[int] = set()
        for one in ends:
            one.on_change = self._look

    def _look(self) -> None:
        for _, sock in self._ends.values():
            sock.look()

    async def wait_readable(self, number: int) -> None:
        one, _ = self._ends[number]
        await self._wait(number, lambda: one.readable)

    async def wait_writable(self, number: int) -> None:
        one, _ = self._ends[number]
        await self._wait(number, lambda: one.writable)

    async def _wait(self, number: int, ready: Any) -> None:
        _, sock = self._ends[number]
        await sock.until(lambda: ready() or number in self._closing)
        if number in self._closing:
            raise anyio.ClosedResourceError

    def notify_closing(self, number: int) -> None:
        self._closing.add(number)
        self._look()


def piped(clock: Clock, plans: tuple[PathPlan, PathPlan]) -> tuple[PipeEnd, PipeEnd]:
    """The two ends; the first is of who starts the command."""
    ends = PipeEnd("a", clock, plans[0]), PipeEnd("b", clock, plans[1])
    joined(clock, ends)
    return ends


def open_pipes(end: PipeEnd, *, is_command: bool) -> PipeStream:
    """What ``exec:`` gives, or ``stdio:``."""
    if not is_command:
        return PipeStream(end.reading, end.writing)
    end.command = Command(end)
    return CommandStream(end.command, ["ssh", "host"], end.reading, end.writing)


@contextmanager
def asked_for_pipes(ends: tuple[PipeEnd, PipeEnd], *, on_trio: bool) -> Iterator[None]:
    """What the package asks of the system is asked of ours."""
    names = vars(pipes), vars(child_process)
    before = [dict(one) for one in names]
    for one in names:
        one["os"] = _System(ends)
    if on_trio:
        waits = _TrioWaits(ends)
        for name in ("wait_readable", "wait_writable", "notify_closing"):
            names[0][name] = getattr(waits, name)
    try:
        yield
    finally:
        for one, names_before in zip(names, before, strict=True):
            one.update(names_before)

"""The programs of a set-up: started as a user would start them, waited for, and ended by their ids.

Where data comes from and goes to.  A set-up says its :class:`Program` s, the gateway first; :class:`Tunnel` runs them and
is what callers connect to.  Memory and processor time are read from the kernel, a program's children counted with it:
``sshd`` has one for each session.

The rule.  What does not start, or ends, is a :class:`.pair.FailedRunError` in the program's own words.  No setting of
ours that is in the environment reaches them.

The trap.  Peers must be told their ports before they start, so none can ask for port 0.  The ports here are outside of the
range from which the kernel takes those of connections: there is one less who could take it meanwhile.
"""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..pair import CPU_CLOCK, FailedRunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ("DOMAIN", "HOST", "NAME", "Program", "Tunnel", "ask", "free_port")

HOST = "127.0.0.1"
PORTS = range(10_000, 65_000)
START = 30.0
"""Seconds that a program may take until it listens, and a tunnel until it carries."""
GLANCE = 0.02
"""Seconds between two looks whether it does."""
NAME, DOMAIN = "app", "test"
"""What callers ask for, with a dot between; only those who lead each request by its Host look at it."""
QUESTION = f"GET / HTTP/1.1\r\nHost: {NAME}.{DOMAIN}\r\n\r\n".encode()
LISTENING = "0A"
"""TCP_LISTEN of Linux's tcp_states.h."""


@dataclass(frozen=True, slots=True)
class Program:
    """How a program is started."""

    command: Sequence[str]
    port: int = 0
    """On which it listens once it is there; 0 if it listens nowhere."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What it has besides ours."""
    user: int | None = None
    """Who runs it; None is who runs the benchmark."""

    def surroundings(self) -> dict[str, str]:
        """All of its environment."""
        ours = {name: it for name, it in os.environ.items() if not name.startswith("MUXADO_")}
        return {**ours, **self.environment}


def free_port() -> int:
    """A port of :data:`HOST` on which nobody listens."""
    first, last = (int(it) for it in _proc("sys/net/ipv4/ip_local_port_range").split())
    outside = [it for it in PORTS if not first <= it <= last]
    while True:
        port = random.choice(outside or PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port


def ask(port: int) -> tuple[socket.socket, bytes]:
    """Connect, send a request, and return with what the first piece of the answer is."""
    caller = socket.create_connection((HOST, port), timeout=START)
    try:
        caller.sendall(QUESTION)
        return caller, caller.recv(4096)
    except BaseException:
        caller.close()
        raise


class Tunnel:
    """A set-up that runs.

    :param programs: the gateway first, the agent last; each is started when the one before it listens.
    :param port: where callers connect.
    :param folder: where they run.
    :raises FailedRunError: if one does not start, or nothing comes through.
    """

    def __init__(self, programs: Sequence[Program], port: int, folder: Path) -> None:
        self.port = port
        self._running: list[_Running] = []
        try:
            for program in programs:
                self._running.append(_Running(program, folder))
                self._await(partial(_listens, program.port))
            self._await(self._carries)
        except BaseException:
            self.end()
            raise

    def _await(self, there: Callable[[], bool]) -> None:
        end = time.monotonic() + START
        while not there():
            self.check()
            if time.monotonic() > end:
                raise FailedRunError(f"not there after {START:.0f} s: {self._running[-1].words()}")
            time.sleep(GLANCE)

    def _carries(self) -> bool:
        try:
            caller, answer = ask(self.port)
        except OSError:
            return False
        caller.close()
        return answer.startswith(b"HTTP/1.1 200 ")

    def check(self) -> None:
        """That all of them run.

        :raises FailedRunError: if one does not.
        """
        for one in self._running:
            if one.process.poll() is not None:
                raise FailedRunError(f"{one.name} ended: {one.words()}")

    def memory(self) -> int:
        """Bytes of resident memory of the gateway.

        :raises FailedRunError: if a program has ended.
        """
        self.check()
        return sum(_resident(pid) for pid in _family(self._running[0].process.pid))

    def cpu_seconds(self) -> float:
        """Of all programs, since they began.

        :raises FailedRunError: if one has ended.
        """
        self.check()
        pids = (pid for one in self._running for pid in _family(one.process.pid))
        return sum(time.clock_gettime((~pid << 3) | CPU_CLOCK) for pid in pids)

    def end(self) -> None:
        """All of them, the agent first."""
        for one in reversed(self._running):
            one.end()
        self._running.clear()


class _Running:
    """A program that was started; what it says goes into a file."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.name = Path(program.command[0]).name
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end
        try:
            self.process = subprocess.Popen(
                program.command,
                cwd=folder,
                env=program.surroundings(),
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                user=program.user,
                group=program.user,
                extra_groups=None if program.user is None else (),
            )
        except OSError as error:
            self._said.close()
            raise FailedRunError(f"{self.name} does not start: {error}") from None

    def words(self) -> str:
        """The last that it said."""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def end(self) -> None:
        """It, and what it started, children first; when this returns, their ports are free."""
        for pid in reversed(list(_family(self.process.pid))):
            with suppress(ProcessLookupError):
                _kill(pid)
        self.process.wait()
        self._said.close()


def _proc(name: str) -> str:
    return Path("/proc", name).read_text()


def _listens(port: int) -> bool:
    """Whether somebody does on a port, without a connection that it would hear of; on 0, there is nobody to wait for."""
    if not port:
        return True
    ends = [f":{port:04X}", LISTENING]
    lines = (line.split() for name in ("tcp", "tcp6") for line in _proc(f"net/{name}").splitlines())
    return any([it[1][-5:], it[3]] == ends for it in lines)


def _family(pid: int) -> Iterator[int]:
    """A process and its descendants, as far as they are there."""
    yield pid
    with suppress(OSError):
        for child in _proc(f"{pid}/task/{pid}/children").split():
            yield from _family(int(child))


def _kill(pid: int) -> None:
    """End a process, which need not be a child of ours, and wait until it has ended."""
    process = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        select.select([process], [], [])
    finally:
        os.close(process)


def _resident(pid: int) -> int:
    [line] = (it for it in _proc(f"{pid}/status").splitlines() if it.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024

"""World: three servers behind proxies and some clients, and what happens to them.

The rule.  One target at a time is in trouble, so that two are well; clients are killed and started again at any time.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from ..cluster.journal import Journal
from ..restarted import ROOT, Restarted, has_ended
from . import oracle
from .proxy import Proxy

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from anyio.abc import TaskGroup

__all__ = ("Server", "World")

TARGETS = 3
STARTING = 30.0
"""Seconds for one that was started to be there."""
LULL = 0.3
"""Seconds between two troubles of servers, on average."""


class Server(Restarted):
    """One target, whose process changes and whose port does not."""

    def __init__(self, number: int, wire: str, folder: Path, serves: str = "calls") -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.proxy = Proxy(self.port)
        super().__init__(
            folder / f"server-{number}.log",
            "interop.chaos.server",
            *("--wire", wire, "--port", str(self.port), "--serves", serves),
            *("--journal", str(folder / "journal")),
        )

    async def start(self) -> None:
        """Start the process, and wait until it listens."""
        self.begin()
        with anyio.fail_after(STARTING):
            while not await _listens(self.port):
                if self.process is not None and self.process.poll() is not None:
                    raise ChildProcessError(f"a server ended:\n{self.said()[-2000:]}")
                await anyio.sleep(0.02)


class Client:
    """One process that calls."""

    def __init__(self, name: str, wire: str, urls: list[str], seed: int, folder: Path) -> None:
        self.name = name
        self._told = folder / f"{name}.told"
        self._log = folder / f"{name}.log"
        command = [sys.executable, "-m", "interop.chaos.client", "--name", name, "--wire", wire]
        command += ["--seed", str(seed), "--at-once", "8", *urls]
        with self._told.open("wb") as told, self._log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=told, stderr=log)

    def told(self) -> tuple[list[oracle.Told], int, int]:
        """What it has written down."""
        with self._told.open() as lines:
            return oracle.read(lines)

    def said(self) -> str:
        """Its complaints."""
        return self._log.read_text()


class World:
    """All of them.

    :param folder: for what they write down.
    :param draws: where the troubles come from.
    """

    def __init__(self, wire: str, clients: int, folder: Path, draws: random.Random) -> None:
        self._wire = wire
        self._folder = folder
        self._draws = draws
        self._journal = Journal(folder / "journal")
        self.servers = [Server(number, wire, folder) for number in range(TARGETS)]
        self.clients: list[Client] = []
        self._present: list[Client] = []
        self._wanted = clients
        self.troubles: Counter[str] = Counter()

    @contextmanager
    def processes(self) -> Iterator[None]:
        """Whatever happens inside, no process is left."""
        try:
            yield
        finally:
            for server in self.servers:
                server.kill()
            for client in self.clients:
                client.process.kill()
                client.process.wait()
            self._journal.close()

    async def run(self, seconds: float, tasks: TaskGroup) -> None:
        """Let troubles happen for so long; then all are well again, and the clients end by themselves."""
        for server in self.servers:
            await server.proxy.start(tasks)
            await server.start()
        for _ in range(self._wanted):
            self._start_client()
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as troubles:
                troubles.start_soon(self._trouble_clients)
                while True:
                    await anyio.sleep(self._draws.expovariate(1 / LULL))
                    # What has begun is finished: the next finds all targets well.
                    with anyio.CancelScope(shield=True):
                        await self._trouble(self._draws.choice(self.servers))
        for client in self._present:
            client.process.terminate()
        for client in self._present:
            await has_ended(client.process)

    async def _trouble(self, server: Server) -> None:
        """Something that happens to one target, until that is over."""
        draws = self._draws
        name = draws.choice(("killed", "frozen", "drained", "cut off"))
        self.troubles[name] += 1
        if name == "cut off":
            server.proxy.cut()
        elif name == "frozen":
            server.signal(signal.SIGSTOP)
            await anyio.sleep(draws.uniform(0.05, 4))
            server.signal(signal.SIGCONT)
        else:
            server.signal(signal.SIGKILL if name == "killed" else signal.SIGTERM)
            await server.ended()
            await anyio.sleep(draws.uniform(0, 2))
            await server.start()

    async def _trouble_clients(self) -> None:
        while True:
            await anyio.sleep(self._draws.expovariate(1 / 10))
            client = self._present.pop(self._draws.randrange(len(self._present)))
            client.process.kill()
            client.process.wait()
            self.troubles["client killed"] += 1
            self._start_client()

    def _start_client(self) -> None:
        name = f"client{len(self.clients)}"
        urls = [server.proxy.url for server in self.servers]
        seed = self._draws.getrandbits(32)
        client = Client(name, self._wire, urls, seed, self._folder)
        self.clients.append(client)
        self._present.append(client)

    def executed(self) -> Counter[str]:
        """How often each call was begun with."""
        return self._journal.executed()


async def _listens(port: int) -> bool:
    try:
        async with await anyio.connect_tcp("127.0.0.1", port):
            return True
    except OSError:
        return False

"""The processes: gateways as a user starts them, a Redis server, and the one that has the agents.

The rule.  Each is ended by its id, and none outlives the block.  A gateway that starts again has the addresses of the one before.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import anyio

from muxado_py.cli.tokens import make_token
from tests.redis_server import RedisServer

from ..bench.tunnel.programs import free_port
from .callers import Balancer, is_ready
from .journal import Journal

if TYPE_CHECKING:
    import signal
    from pathlib import Path
    from types import TracebackType

__all__ = ("Cluster", "Gateway")

START = 60.0
"""Seconds in which everything must serve."""

ENDING = 30.0
"""Seconds in which a process must have ended that was asked to."""


class Gateway:
    """One of them, which may be started more than once."""

    def __init__(self, number: int, folder: Path, registry: str, loop: str) -> None:
        self.number = number
        self.agents = free_port()
        self.http = free_port()
        self.admin = folder / f"admin-{number}"
        self._log = folder / f"gateway-{number}.log"
        self._arguments = [
            *("--listen", self.url, "--http", str(self.http), "--domain", "test"),
            *("--admin", f"unix://{self.admin}", "--registry", registry, "--no-access-log"),
            *("--cluster-token-file", str(folder / "token"), "--loop", loop),
        ]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where agents connect."""
        return f"tcp://127.0.0.1:{self.agents}"

    def start(self) -> None:
        """Start it; it need not serve yet."""
        command = [sys.executable, "-m", "muxado_py", "gateway", *self._arguments]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> None:
        """Until it has ended."""
        assert self.process is not None
        with anyio.fail_after(ENDING):
            while self.process.poll() is None:  # noqa: ASYNC110 - nobody tells of it
                await anyio.sleep(0.01)

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def said(self) -> str:
        """Its log."""
        return self._log.read_text()


class Cluster:
    """All of them, for the length of a block."""

    def __init__(
        self,
        folder: Path,
        redis_program: Path,
        gateways: int,
        agents: int,
        names: int,
        loop: str = "auto",
    ) -> None:
        (folder / "token").write_text(make_token())
        (folder / "token").chmod(0o600)
        self._folder = folder
        self.redis = RedisServer(redis_program, folder)
        self.gateways = [Gateway(one, folder, self.redis.url, loop) for one in range(gateways)]
        self.balancer = Balancer(self.gateways)
        self.journal = Journal(folder / "journal")
        self.names = names
        self._agents = agents
        self._process: subprocess.Popen[bytes] | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Cluster:
        self._stack.callback(self.journal.close)
        self._stack.callback(self.stop_agents)
        for gateway in self.gateways:
            self._stack.callback(gateway.kill)
        self._stack.enter_context(self.redis)
        for gateway in self.gateways:
            gateway.start()
        self.start_agents()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def start_agents(self) -> None:
        """All agents, in a process of their own."""
        urls = ",".join(gateway.url for gateway in self.gateways)
        arguments = [str(self._folder / "journal"), urls, str(self._agents), str(self.names)]
        with (self._folder / "agents.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "interop.cluster.agents", *arguments], stderr=log
            )

    def stop_agents(self) -> None:
        """End them at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def serving(self) -> None:
        """Until each gateway says that it is ready, and answers for each name."""
        deadline = time.monotonic() + START
        for gateway in self.gateways:
            while not await is_ready(gateway.admin):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"gateway {gateway.number} is not ready:\n{gateway.said()}")
                await anyio.sleep(0.05)
            for number in range(self.names):
                while not await _answers(gateway.http, f"name-{number}"):
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"name-{number} at {gateway.number}:\n{gateway.said()}")
                    await anyio.sleep(0.05)


async def _answers(port: int, name: str) -> bool:
    with suppress(OSError, anyio.BrokenResourceError, anyio.EndOfStream), anyio.move_on_after(2):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            head = f"POST /look-{os.urandom(6).hex()} HTTP/1.1\r\nHost: {name}.test\r\n"
            await stream.send(f"{head}Connection: close\r\n\r\n".encode())
            return (await stream.receive()).startswith(b"HTTP/1.1 200 ")
    return False

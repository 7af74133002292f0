"""The cluster: gateways as a user starts them, a Redis server, and the processes that have the agents, for the length of a block.

The rule.  Each is ended by its id, and none outlives the block.
"""

from __future__ import annotations

import os
import time
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import anyio

from muxado_py.cli.trust.tokens import make_token
from tests.redis_server import RedisServer

from .callers import Balancer, is_ready
from .journal import Journal
from .processes import START, Agents, Gateway

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ("Cluster",)

PROCESSES = 4
"""In which the agents are, at most; each has one of each name, at least."""


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
        self.redis = RedisServer(redis_program, folder)
        self.gateways = [Gateway(one, folder, self.redis.url, loop) for one in range(gateways)]
        self.balancer = Balancer(self.gateways)
        self.journal = Journal(folder / "journal")
        self.names = names
        each = max(names, agents // PROCESSES)
        self.agents = [
            Agents(number, folder, self.gateways, each, names) for number in range(agents // each)
        ]
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Cluster:
        self._stack.callback(self.journal.close)
        for agents in self.agents:
            self._stack.callback(agents.kill)
        for gateway in self.gateways:
            self._stack.callback(gateway.kill)
        self._stack.enter_context(self.redis)
        for gateway in self.gateways:
            gateway.begin()
        for agents in self.agents:
            agents.begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

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

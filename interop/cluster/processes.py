"""The processes of a cluster: a gateway as a user starts it, and one that has many agents.

The rule.  Each may be started more than once.  A gateway that starts again has the addresses of the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from ..bench.tunnel.programs import free_port
from ..restarted import Restarted
from .agents import ALL_REGISTERED

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("START", "Agents", "Gateway")

START = 60.0
"""Seconds in which everything must serve."""


class Gateway(Restarted):
    """One gateway."""

    def __init__(self, number: int, folder: Path, registry: str, loop: str) -> None:
        self.number = number
        self.agents = free_port()
        self.http = free_port()
        self.admin = folder / f"admin-{number}"
        super().__init__(
            folder / f"gateway-{number}.log",
            *("muxado_py", "gateway"),
            *("--listen", self.url, "--http", str(self.http), "--domain", "test"),
            *("--admin", f"unix://{self.admin}", "--registry", registry, "--no-access-log"),
            *("--cluster-token-file", str(folder / "token"), "--loop", loop),
        )

    @property
    def url(self) -> str:
        """Where agents connect."""
        return f"tcp://127.0.0.1:{self.agents}"


class Agents(Restarted):
    """Some agents, in one process."""

    def __init__(
        self, number: int, folder: Path, gateways: list[Gateway], agents: int, names: int
    ) -> None:
        super().__init__(
            folder / f"agents-{number}.log",
            "interop.cluster.agents",
            *(str(folder / "journal"), ",".join(gateway.url for gateway in gateways)),
            *(str(agents), str(names)),
        )
        self._begun = 0

    def begin(self) -> None:
        """Start them; they need not serve yet."""
        super().begin()
        self._begun += 1

    async def registered(self) -> None:
        """Until all that were started last have been taken by a gateway."""
        with anyio.fail_after(START):
            while self.said().count(ALL_REGISTERED) < self._begun:  # noqa: ASYNC110 - nobody tells of it
                await anyio.sleep(0.01)

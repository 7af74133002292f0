"""A rolling restart: three servers of an app are drained and started again, one after the other, under a steady load of POSTs.

The rule.  None of them fails and none is executed twice, though POST is not idempotent: what a server that goes away has not
taken is refused, and goes to another.
"""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING

import anyio
import httpx2

import muxado_py as muxado

from ..cluster.journal import Journal
from .settings import config
from .world import TARGETS, Server

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("Rolled", "roll")

PATIENCE = 30.0
"""Seconds for anything that should happen."""


class Rolled:
    """What came of it."""

    def __init__(self) -> None:
        self.asked = 0
        self.failed: list[str] = []
        self.restarts = 0
        self.executed: Counter[str] = Counter()

    def faults(self) -> list[str]:
        """What must not have happened, and did."""
        twice = [f"{one} was executed {n} times" for one, n in self.executed.items() if n > 1]
        lost = self.asked - len(self.failed) - len(self.executed)
        return [*self.failed, *twice, *([f"{lost} were answered by nobody"] if lost > 0 else [])]


async def roll(seconds: float, rate: float, folder: Path) -> Rolled:
    """Restart one server after the other, again and again, for so long.

    :param rate: POSTs a second.
    """
    found = Rolled()
    journal = Journal(folder / "journal")
    servers = [Server(number, "muxado", folder, "asgi") for number in range(TARGETS)]
    try:
        for server in servers:
            await server.start()
        urls = [f"tcp://127.0.0.1:{server.port}" for server in servers]
        async with (
            muxado.connect_pool(*urls, config=config("muxado")) as pool,
            muxado.httpx_client(pool, retry=muxado.RetryPolicy(), timeout=PATIENCE) as client,
            anyio.create_task_group() as requests,
        ):
            await _all_connected(pool)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_post_steadily, client, rate, found, requests)
                deadline = anyio.current_time() + seconds
                while anyio.current_time() < deadline:
                    for server in servers:
                        server.signal(signal.SIGTERM)
                        await server.ended()
                        await server.start()
                        await _all_connected(pool)
                        found.restarts += 1
                tasks.cancel_scope.cancel()
        found.executed = journal.executed()
    finally:
        for server in servers:
            server.kill()
        journal.close()
    return found


async def _post_steadily(
    client: httpx2.AsyncClient, rate: float, found: Rolled, requests: anyio.abc.TaskGroup
) -> None:
    """Each at its time, whatever became of those before."""
    due = anyio.current_time()
    while True:
        requests.start_soon(_post, client, f"post-{found.asked}", found)
        found.asked += 1
        due += 1 / rate
        await anyio.sleep_until(due)


async def _post(client: httpx2.AsyncClient, label: str, found: Rolled) -> None:
    try:
        answer = await client.post("http://app/", content=label.encode())
    except httpx2.HTTPError as exc:
        found.failed.append(f"{label}: {exc!r}, {muxado.retry_verdict(exc)}")
        return
    if (answer.status_code, answer.text) != (200, label):
        found.failed.append(f"{label}: {answer.status_code} {answer.text[:60]!r}")


async def _all_connected(pool: muxado.Pool) -> None:
    with anyio.fail_after(PATIENCE):
        while any(one.status != "connected" for one in pool.state.targets):  # noqa: ASYNC110
            await anyio.sleep(0.02)

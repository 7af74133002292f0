"""The dialer: a process that opens sessions, sends, and closes them while that is under way.

It prints one line when it is done: for each session how many bytes ``send`` took on each stream, and what it was told.
"""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio import CapacityLimiter, create_task_group

import muxado_py as muxado
from tests.by_url import Reachable, reachable

from .plan import Plan, StreamPlan, contexts, expected, run_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DRAIN = 8.0
"""Seconds for a drain: a peer that is busy for two of them, twice, still answers."""


class Told:
    """What one session did, and what it was told."""

    def __init__(self) -> None:
        self.sent: dict[int, int] = {}
        self.streams: dict[int, str] = {}
        self.session: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """For the verdict."""
        return {"sent": self.sent, "streams": self.streams, "session": self.session}


async def run_one(there: Reachable, plan: Plan, number: int) -> Told:
    """A session from its dial to the end of its close."""
    told = Told()
    config = muxado.Config(wire=plan.wire, heartbeat_interval=60.0)
    try:
        async with there.connect(config) as session:
            async with create_task_group() as tasks:
                for index, stream in enumerate(plan.streams):
                    tasks.start_soon(_send, session, told, number, index, stream)
                tasks.cancel_scope.deadline = anyio.current_time() + 3
            await anyio.sleep(plan.linger)
            if plan.how == "aclose":
                await session.aclose()
            elif plan.how == "drain":
                await session.drain(DRAIN)
    except muxado.UndeliveredError as exc:
        told.session = {
            "nbytes": exc.nbytes,
            "streams": exc.streams,
            "unacknowledged": exc.unacknowledged,
        }
    except OSError as exc:
        told.session = {"error": repr(exc)}
    return told


async def _send(
    session: muxado.Session, told: Told, number: int, index: int, plan: StreamPlan
) -> None:
    data = expected(number, index, plan.nbytes)
    told.sent[index] = 0
    try:
        stream = await session.open_stream()
        for start in range(0, len(data), 50_000):
            piece = data[start : start + 50_000]
            # A cancelled send takes back what has not gone; it is told.
            told.sent[index] += len(piece)
            try:
                await stream.send(piece)
            except anyio.get_cancelled_exc_class():
                told.streams[index] = "cancelled"
                raise
        if plan.closes:
            await stream.aclose()
    except (muxado.MuxadoError, anyio.ClosedResourceError) as exc:
        told.streams[index] = repr(exc)


@asynccontextmanager
async def _reachable(transport: str, url: str, folder: Path) -> AsyncIterator[Reachable]:
    if transport in ("tls", "wss"):
        context = contexts(folder)[0]
        yield Reachable(url.replace("127.0.0.1", "localhost"), ssl_context=context)
    else:
        async with reachable(transport, url) as there:
            yield there


async def main(
    transport: str, folder: Path, seed: int, url: str, first: int, count: int, at_once: int
) -> None:
    """Run the sessions ``first`` to ``first + count - 1``."""
    limiter = CapacityLimiter(at_once)
    results: dict[int, dict[str, Any]] = {}

    async def one(there: Reachable, number: int) -> None:
        async with limiter:
            told = await run_one(there, Plan.of(seed, number), number)
            results[number] = told.as_json()

    async with _reachable(transport, url, folder) as there, create_task_group() as tasks:
        for number in range(first, first + count):
            tasks.start_soon(one, there, number)
    print(json.dumps(results), flush=True)


if __name__ == "__main__":
    name, transport, folder, *numbers = sys.argv[1:5]
    url = sys.argv[5]
    first, count, at_once = map(int, sys.argv[6:])
    run_on(
        name,
        lambda: main(transport, Path(folder), int(numbers[0]), url, first, count, at_once),
    )

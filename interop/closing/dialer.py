"""The dialer: a process that opens sessions, sends, and closes them while that is under way.

It prints one line when it is done: for each session how many bytes ``send`` took on each stream, and what it was told.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio
from anyio import CapacityLimiter, create_task_group

import muxado_py as muxado

from .plan import Plan, StreamPlan, contexts, expected, run_on

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


async def run_one(url: str, context: Any, plan: Plan, number: int) -> Told:
    """A session from its dial to the end of its close."""
    told = Told()
    config = muxado.Config(wire=plan.wire, heartbeat_interval=60.0)
    try:
        async with muxado.connect(url, config=config, ssl_context=context) as session:
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
            told.sent[index] += len(
                piece
            )  # a cancelled send takes back what has not gone; it is told
            try:
                await stream.send(piece)
            except anyio.get_cancelled_exc_class():
                told.streams[index] = "cancelled"
                raise
        if plan.closes:
            await stream.aclose()
    except (muxado.MuxadoError, anyio.ClosedResourceError) as exc:
        told.streams[index] = repr(exc)


async def main(
    loop: str, scheme: str, folder: Path, seed: int, url: str, first: int, count: int, at_once: int
) -> None:
    """Run the sessions ``first`` to ``first + count - 1``."""
    context = contexts(folder)[0] if scheme == "tls" else None
    url = url.replace("127.0.0.1", "localhost") if scheme == "tls" else url
    limiter = CapacityLimiter(at_once)
    results: dict[int, dict[str, Any]] = {}

    async def one(number: int) -> None:
        async with limiter:
            told = await run_one(url, context, Plan.of(seed, number), number)
            results[number] = told.as_json()

    async with create_task_group() as tasks:
        for number in range(first, first + count):
            tasks.start_soon(one, number)
    print(json.dumps(results), flush=True)


if __name__ == "__main__":
    name, scheme, folder, *numbers = sys.argv[1:5]
    url = sys.argv[5]
    first, count, at_once = map(int, sys.argv[6:])
    run_on(
        name,
        lambda: main(name, scheme, Path(folder), int(numbers[0]), url, first, count, at_once),
    )

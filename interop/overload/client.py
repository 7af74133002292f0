"""A client that calls at a rate, or so many at a time: ``python -m interop.overload.client``.

What it counts has a bound, so that its memory is that of the calls.
"""

from __future__ import annotations

import argparse
from collections import Counter
from time import perf_counter
from typing import Any

import anyio

import muxado_py as muxado

from ..bench.actors.stage import BACKENDS, obey, say

__all__ = ()

QUESTION = bytes(64)

TICK = 0.005
"""Seconds between two looks at how many calls are due."""


class Tally:
    """What became of the calls of one run."""

    def __init__(self) -> None:
        self.asked = 0
        self.told: Counter[str] = Counter()
        """``answered``, or the verdict of the error."""
        self.took: Counter[int] = Counter()
        """Calls that were answered, by milliseconds, begun ones too."""
        self.longest = 0.0
        """Seconds until the last of all that is told."""

    def facts(self, seconds: float) -> dict[str, Any]:
        """As an answer to a command."""
        return {
            "asked": self.asked,
            "told": self.told,
            "took": self.took,
            "longest": self.longest,
            "seconds": seconds,
        }


class Client:
    """Obeys ``busy`` and ``flood``."""

    def __init__(self, pool: muxado.Pool) -> None:
        self._pool = pool

    async def busy(self, *, at_once: int, seconds: float, timeout: float) -> dict[str, Any]:
        """Ask so many at a time, the next when one is answered."""
        tally = Tally()
        began = perf_counter()

        async def ask() -> None:
            while perf_counter() - began < seconds:
                await self._ask(tally, timeout)

        async with anyio.create_task_group() as tasks:
            for _ in range(at_once):
                tasks.start_soon(ask)
        return tally.facts(perf_counter() - began)

    async def flood(self, *, rate: float, seconds: float, timeout: float) -> dict[str, Any]:
        """Ask at a rate, whatever becomes of it, until all are told."""
        tally = Tally()
        began = perf_counter()
        async with anyio.create_task_group() as tasks:
            while (past := perf_counter() - began) < seconds:
                for _ in range(int(past * rate) - tally.asked):
                    tally.asked += 1
                    tasks.start_soon(self._ask, tally, timeout)
                await anyio.sleep(TICK)
            seconds = past
        return tally.facts(seconds)

    async def _ask(self, tally: Tally, timeout: float) -> None:
        began = perf_counter()
        try:
            await self._pool.call(QUESTION, timeout=timeout)
        except muxado.MuxadoError as exc:
            tally.told[exc.retry.value] += 1
            took = perf_counter() - began
        else:
            tally.told["answered"] += 1
            took = perf_counter() - began
            tally.took[int(1000 * took)] += 1
        tally.longest = max(tally.longest, took)


async def call(url: str) -> None:
    """Until standard input ends."""
    async with muxado.connect_pool(url) as pool:
        client = Client(pool)
        say({"address": url})
        await obey({"busy": client.busy, "flood": client.flood})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", choices=BACKENDS, default="asyncio")
    parser.add_argument("url")
    asked = parser.parse_args()
    backend, options = BACKENDS[asked.loop]
    anyio.run(call, asked.url, backend=backend, backend_options=options)


if __name__ == "__main__":
    main()

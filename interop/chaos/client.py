"""A client that calls all the time, and writes down what it is told: ``python -m interop.chaos.client``.

A line of JSON on its standard output for each call that has come to its end, the fields of :class:`.oracle.Told`.  The last line,
with SIGTERM, is how many streams were opened for how many calls, of every second client.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import random
import signal
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio

import muxado_py as muxado

from .settings import config

if TYPE_CHECKING:
    from muxado_py.session.stream import Stream

__all__ = ()

PATIENCE = 10.0
"""Seconds that a call has; as long as the longest trouble of one target, several times."""

HASTE = 0.02
"""Seconds that some calls have: too few for many of them, so that deadlines come at every moment."""

PAUSE = 0.01
"""Seconds between two calls of a task, on average."""


class Counted:
    """A pool, and how many streams were opened on it."""

    def __init__(self, pool: muxado.Pool) -> None:
        self._pool = pool
        self.streams = 0

    async def open_stream(self, **options: Any) -> Stream:
        stream = await self._pool.open_stream(**options)
        self.streams += 1
        return stream


async def call_all_the_time(
    name: str, urls: list[str], wire: str, at_once: int, draws: random.Random
) -> None:
    """Until SIGTERM."""
    calls = 0
    async with muxado.connect_pool(*urls, config=config(wire)) as pool:
        opener = Counted(pool)
        # Only through an opener of ours are streams counted; a pool's own calls know more ways.
        counts = draws.random() < 0.5
        caller: muxado.Caller | muxado.Pool = muxado.Caller(opener) if counts else pool
        numbers = itertools.count()

        async def call_on() -> None:
            nonlocal calls
            while True:
                calls += 1
                await call_once(caller, f"{name}-{next(numbers)}", draws)
                await anyio.sleep(draws.expovariate(1 / PAUSE))

        async with anyio.create_task_group() as tasks:
            for _ in range(at_once):
                tasks.start_soon(call_on)
            with anyio.open_signal_receiver(signal.SIGTERM) as signals:
                async for _ in signals:
                    break
            tasks.cancel_scope.cancel()
    if counts:
        say({"calls": calls, "streams": opener.streams})


async def call_once(caller: muxado.Caller | muxado.Pool, label: str, draws: random.Random) -> None:
    """One call, of a kind that is drawn; what it is told is said."""
    idempotent = draws.random() < 0.5
    patience = HASTE if draws.random() < 0.2 else PATIENCE
    size = draws.choice((0, 60, 5_000, 100_000))  # the last is too long to be sent again
    request = label.encode() + b" " + draws.randbytes(size + 1)
    began, told, why = monotonic(), "answered", ""
    try:
        if await caller.call(request, timeout=patience, idempotent=idempotent) != request:
            told = "wrong"
    except muxado.MuxadoError as exc:
        told, why = exc.retry.value, f"{type(exc).__name__}: {exc}"
    say([label, idempotent, size, told, round(monotonic() - began, 3), patience, why])


def say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--wire", required=True)
    parser.add_argument("--at-once", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("urls", nargs="+")
    asked = parser.parse_args()
    draws = random.Random(asked.seed)
    # That targets are lost is what this is about.
    logging.getLogger("muxado").setLevel(logging.ERROR)
    anyio.run(call_all_the_time, asked.name, asked.urls, asked.wire, asked.at_once, draws)


if __name__ == "__main__":
    main()

"""``python -m interop.chaos``: see :mod:`interop.chaos`."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio

from muxado_py import RetryPolicy

from . import oracle
from .client import PATIENCE
from .rolling import roll
from .settings import WIRES
from .world import World

if TYPE_CHECKING:
    from collections import Counter

__all__ = ("Found", "main", "run")

HEAD = """| wire | calls | answered | told safe | may have run | could be sent again | answered of them | troubles |
|---|---|---|---|---|---|---|---|"""

USEFUL = 0.999
"""The part of idempotent calls with enough time that must be answered."""

REPLAY_LIMIT = RetryPolicy().replay_limit

LATEST = 2.0
"""Seconds by which a call may be told later than its time, on a machine with much to do."""


class Found(NamedTuple):
    """What came of one run."""

    wire: str
    told: list[oracle.Told]
    executed: Counter[str]
    """How often each was begun with."""
    faults: list[str]
    troubles: dict[str, int]

    def row(self) -> str:
        """A row of the table."""
        answered = sum(one.told == "answered" for one in self.told)
        safe = sum(one.told in oracle.SAFE for one in self.told)
        asked, useful = oracle.useful(self.told, PATIENCE, REPLAY_LIMIT)
        part = f"{useful / asked:.3%}" if asked else "-"
        troubles = ", ".join(f"{count} {name}" for name, count in sorted(self.troubles.items()))
        return (
            f"| {self.wire} | {len(self.told):,} | {answered:,} | {safe:,} "
            f"| {len(self.told) - answered - safe:,} | {asked:,} | {part} | {troubles} |"
        )


async def run(wire: str, seconds: float, clients: int, seed: int, folder: Path) -> Found:
    """One run, and what is wrong with it."""
    world = World(wire, clients, folder, random.Random(seed))
    with world.processes():
        async with anyio.create_task_group() as tasks:
            await world.run(seconds, tasks)
            tasks.cancel_scope.cancel()
        told: list[oracle.Told] = []
        counts: dict[str, tuple[int, int]] = {}
        faults: list[str] = []
        for client in world.clients:
            said, calls, streams = client.told()
            told += said
            if calls:
                counts[client.name] = calls, streams
            if client.said():
                faults.append(f"{client.name} complains: {client.said()[-1000:]}")
        executed = world.executed()
        faults += oracle.faults(told, executed)
        faults += oracle.attempts(counts, seconds)
        faults += [
            f"{one.id} was told after {one.seconds} s, and had {one.patience}"
            for one in told
            if one.seconds > one.patience + LATEST
        ]
        asked, useful = oracle.useful(told, PATIENCE, REPLAY_LIMIT)
        if useful < USEFUL * asked:
            faults.append(f"{useful:,} of {asked:,} idempotent calls were answered")
        return Found(wire, told, executed, faults, dict(world.troubles))


def main() -> int:
    """The command; 1 if something was found."""
    parser = argparse.ArgumentParser("python -m interop.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="in all (default %(default)s)")
    parser.add_argument("--clients", type=int, default=3, help="at a time (default %(default)s)")
    parser.add_argument("--wire", choices=WIRES, action="append", help="default: all, in turn")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--keep", type=Path, help="where all is kept that was written down")
    parser.add_argument(
        "--rolling",
        type=float,
        metavar="SECONDS",
        help="instead: restart one server after the other for so long, under 200 POSTs a second",
    )
    asked = parser.parse_args()
    if asked.rolling:
        return rolling(asked.rolling)
    wires = asked.wire or WIRES
    print(f"seed {asked.seed}", HEAD, sep="\n", flush=True)
    count = 0
    for number, wire in enumerate(wires):
        with tempfile.TemporaryDirectory() as scratch:
            folder = asked.keep / wire if asked.keep else Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            seconds = 60 * asked.minutes / len(wires)
            found = anyio.run(
                partial(run, wire, seconds, asked.clients, asked.seed + number, folder)
            )
        print(found.row(), flush=True)
        for fault in found.faults[:20]:
            print("FOUND", fault, flush=True)
        count += len(found.faults)
    print(f"{count} faults")
    return int(bool(count))


def rolling(seconds: float) -> int:
    """The command with ``--rolling``."""
    with tempfile.TemporaryDirectory() as scratch:
        found = anyio.run(roll, seconds, 200.0, Path(scratch))
    faults = found.faults()
    print(f"{found.asked:,} POSTs, {found.restarts} restarts, {len(faults)} faults")
    for fault in faults[:20]:
        print("FOUND", fault)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())

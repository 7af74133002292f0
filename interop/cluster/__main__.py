"""``python -m interop.cluster``: see :mod:`interop.cluster`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import anyio

from tests.redis_server import redis_program

from ..workshop import DebianPrograms, ToolchainError, Workshop
from .cluster import Cluster
from .scenarios import SCENARIOS, Outcome, run

__all__ = ("REDIS", "find_redis", "main")

REDIS = DebianPrograms(("redis-server", "redis-tools", "libjemalloc2", "liblzf1", "libatomic1"))

HEAD = """| | requests | not executed | unknown | asked when | against the oracle |
|---|---|---|---|---|---|"""


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser("python -m interop.cluster", description=__doc__)
    parser.add_argument("--agents", type=int, default=200, help="(default %(default)s)")
    parser.add_argument("--names", type=int, default=50, help="(default %(default)s)")
    parser.add_argument("--callers", type=int, default=16, help="at once (default %(default)s)")
    parser.add_argument("--only", default="", help="scenarios whose name has this in it")
    parser.add_argument("--keep", type=Path, help="where logs and the journal are kept")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            program = find_redis(Workshop(Path(scratch) / "programs"))
        except ToolchainError as exc:
            print(f"no redis-server: {exc}", file=sys.stderr)
            return 2
        outcomes = anyio.run(
            partial(
                scenarios, folder, program, asked.agents, asked.names, asked.callers, asked.only
            ),
            backend_options={"use_uvloop": True},
        )
    faults = [fault for outcome in outcomes for fault in outcome.faults()]
    for fault in faults[:40]:
        print("FOUND", fault)
    print(f"{len(faults)} faults")
    return 1 if faults else 0


def find_redis(workshop: Workshop) -> Path:
    """That of this machine, or Debian's, which is fetched.

    :raises ToolchainError: if there is none.
    """
    return redis_program() or workshop.program(REDIS) / "usr/bin/redis-server"


async def scenarios(
    folder: Path, program: Path, agents: int, names: int, at_once: int, only: str
) -> list[Outcome]:
    """All of them, over one cluster."""
    outcomes = []
    print(HEAD, flush=True)
    async with Cluster(folder, program, 3, agents, names) as cluster:
        for scenario in SCENARIOS:
            if only in scenario.name:
                outcomes.append(await run(cluster, scenario, at_once))
                print(outcomes[-1].row(), flush=True)
    return outcomes


if __name__ == "__main__":
    sys.exit(main())

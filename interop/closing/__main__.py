"""``python -m interop.closing --sessions 10000``: see :mod:`interop.closing`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from .plan import LOOPS, TRANSPORTS, write_certificates
from .verdict import Verdict

__all__ = ("closing", "main")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser("python -m interop.closing", description=__doc__)
    parser.add_argument("--sessions", type=int, default=1000, help="in all (default 1000)")
    parser.add_argument("--at-once", type=int, default=150, help="at the same time (default 150)")
    parser.add_argument("--loops", default=",".join(LOOPS), help="(default %(default)s)")
    parser.add_argument("--transports", default=",".join(TRANSPORTS), help="(default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the plans (default 1)")
    asked = parser.parse_args()
    verdict = Verdict()
    pairs = [*product(asked.loops.split(","), asked.transports.split(","))]
    share = -(-asked.sessions // len(pairs))
    for at, (loop, transport) in enumerate(pairs):
        began = time.monotonic()
        closing(verdict, loop, transport, asked.seed, at * share, share, asked.at_once)
        print(f"{loop} {transport}: {share} sessions, {time.monotonic() - began:.0f} s", flush=True)
    for what, count in sorted(verdict.counts.items()):
        print(f"{count:>16,}  {what}")
    for finding in verdict.findings:
        print("FOUND", finding)
    print(f"{len(verdict.findings)} findings, seed {asked.seed}")
    return 1 if verdict.findings else 0


def closing(
    verdict: Verdict, loop: str, transport: str, seed: int, first: int, count: int, at_once: int
) -> None:
    """Run ``count`` sessions over one transport, both sides on one kind of loop."""
    with tempfile.TemporaryDirectory() as folder:
        write_certificates(Path(folder))
        common = [loop, transport, folder, str(seed)]
        listener = _start("listener", *common)
        assert listener.stdout is not None
        url = listener.stdout.readline().strip()
        numbers = map(str, (first, count, at_once))
        told, _ = _start("dialer", *common, url, *numbers).communicate()
        got, _ = listener.communicate()
        verdict.add(f"{loop} {transport}", seed, json.loads(told), json.loads(got))


def _start(module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"interop.closing.{module}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


if __name__ == "__main__":
    sys.exit(main())

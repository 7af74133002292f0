"""``python -m interop.bench.tunnel``: what the gateway is worth as a tunnel, measured here and now.

Standard output has the report and nothing else; progress goes to standard error.  0, or 1 if a run failed.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...workshop import Workshop
from .. import machine
from . import report
from .ours import OURS
from .rounds import Effort, Match
from .rows import ROWS
from .served import versions
from .setups import setups

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("FULL", "QUICK", "main")

FULL = Effort(rounds=5, seconds=1.0, warm_up=0.2, idle_callers=1_000, idle_rounds=5)
QUICK = Effort(rounds=1, seconds=0.2, warm_up=0.0, idle_callers=200, idle_rounds=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = _parser()
    options = parser.parse_args(arguments)
    effort = QUICK if options.quick else FULL
    if options.rounds:
        effort = replace(effort, rounds=options.rounds, idle_rounds=options.rounds)
    if options.seconds:
        effort = replace(effort, seconds=options.seconds)
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    everybody = setups(options.against, quick=options.quick)
    others = [one for one in everybody if not one.name.startswith(OURS)]
    if options.beside:
        wanted = [it.lower() for it in options.beside]
        others = [one for one in others if any(it in one.name.lower() for it in wanted)]
        if not others:
            names = ", ".join(one.name for one in everybody if not one.name.startswith(OURS))
            parser.error(f"nobody is called {' or '.join(options.beside)}; there are {names}")
    field = [one for one in everybody if one.name.startswith(OURS) or one in others]
    about = {**machine.describe(), "application": versions()}
    if options.against:
        about[f"commit of {options.against}"] = machine.commit(options.against.resolve())
    with tempfile.TemporaryDirectory() as directory:
        workshop = Workshop(options.builds or Path(directory))
        reasons = {one.name: one.absence(workshop) for one in field}
        present = tuple(one for one in field if not reasons[one.name])
        with Match(workshop, effort, _tell) as match:
            runs = {row: match.play(row, present) for row in rows}
    absent = {name: reason for name, reason in reasons.items() if reason}
    results = report.Results(present, absent, effort, runs)
    if options.json:
        print(json.dumps({"about": about, **report.facts(results)}, indent=2))
    else:
        for name, value in about.items():
            print(f"{name}: {value}")
        print(f"\nloopback, {effort.seconds:g} s a run\n\n{report.text(results)}")
    return int(bool(report.failures(results)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m interop.bench.tunnel", description="Measure the gateway beside other tunnels."
    )
    parser.add_argument("--quick", action="store_true", help="one short round: that it runs")
    parser.add_argument("--rounds", type=int, metavar="N", help="default 5; if quick, 1")
    parser.add_argument("--seconds", type=float, metavar="S", help="of a run; default 1")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=[row.name for row in ROWS],
        metavar="ROW",
        help=f"may be repeated: {', '.join(row.name for row in ROWS)}",
    )
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="NAME",
        help="a part of another set-up's name, may be repeated; default all",
    )
    parser.add_argument(
        "--against", type=Path, metavar="PATH", help="another checkout of muxado_py to measure too"
    )
    parser.add_argument(
        "--builds", type=Path, metavar="PATH", help="keep what is built there, for the next time"
    )
    parser.add_argument("--json", action="store_true", help="every run, instead of the tables")
    return parser


def _tell(line: str) -> None:
    print(f"... {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    # A benchmark that is told to end takes its processes down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # An idle caller takes a file of everybody.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sys.exit(main())

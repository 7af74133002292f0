"""``python -m interop.bench``: what muxado_py is worth beside its peers, measured here and now.

The benchmark has parts, each a function that measures and returns a :class:`.report.Section`: its text,
its facts for JSON and its plot.  ``loopback`` is throughput and cost, ``websockets`` the same inside websockets and over TLS,
``narrow`` what is felt on a narrow link.  A part is one entry in :data:`PARTS`, and ``--only`` takes its name.

Standard output has the report and nothing else; progress goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import loopback, machine, narrow, websockets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .report import Section
    from .rounds import Effort

__all__ = ("main",)


def _loopback(options: argparse.Namespace, caption: str) -> Section:
    only = [name for name in options.only if name in loopback.NAMES]
    return loopback.measure(_effort(options), only, options.against, caption)


def _websockets(options: argparse.Namespace, caption: str) -> Section:
    only = [name for name in options.only if name in websockets.NAMES]
    return websockets.measure(_effort(options), only, caption)


def _effort(options: argparse.Namespace) -> Effort:
    effort = loopback.QUICK if options.quick else loopback.FULL
    if options.rounds:
        effort = replace(effort, rounds=options.rounds, idle_rounds=options.rounds)
    return effort


def _narrow(options: argparse.Namespace, caption: str) -> Section:
    effort = narrow.QUICK if options.quick else narrow.FULL
    effort = replace(effort, transports=options.transports)
    if options.rounds:
        effort = replace(effort, rounds=options.rounds)
    return narrow.measure(effort, caption, options.hogs)


PARTS: dict[str, Callable[[argparse.Namespace, str], Section]] = {
    "loopback": _loopback,
    "websockets": _websockets,
    "narrow": _narrow,
}
"""By name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0, or 1 if a run failed and a ratio was refused."""
    parser = _parser()
    options = parser.parse_args(arguments)
    parts = [name for name in PARTS if not options.only or name in options.only]
    workloads = set(options.only) - set(PARTS)
    if workloads and not {"loopback", "websockets"} & set(parts):
        parts.insert(0, "loopback" if workloads <= set(loopback.NAMES) else "websockets")
    about = machine.describe()
    caption = f"{about['date']}; {about['machine']}; {about['Python']}; {about['Go']}"
    try:
        sections = {name: PARTS[name](options, caption) for name in parts}
    except ValueError as error:
        parser.error(str(error))
    if options.json:
        all_facts = {name: section.facts for name, section in sections.items()}
        print(json.dumps({"about": about, **all_facts}, indent=2))
    else:
        for name, value in about.items():
            print(f"{name}: {value}")
        for section in sections.values():
            print(f"\n{section.text}")
    for name, section in sections.items():
        _write_plot(options.plot, name, section)
    return int(any(section.failures for section in sections.values()))


def _parser() -> argparse.ArgumentParser:
    names = (*PARTS, *dict.fromkeys((*loopback.NAMES, *websockets.NAMES)))
    parser = argparse.ArgumentParser(
        "python -m interop.bench", description="Measure muxado_py beside its peers."
    )
    parser.add_argument("--quick", action="store_true", help="under two minutes in all")
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="default 7; if quick, 3 and on narrow links 1"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=names,
        metavar="WORKLOAD",
        help=f"a part or a workload, may be repeated: {', '.join(names)}",
    )
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="NAME",
        help="a part of a competitor's name, may be repeated; default all",
    )
    parser.add_argument(
        "--hogs",
        type=int,
        default=0,
        metavar="N",
        help="on narrow links: so many processes take all the processor they get meanwhile",
    )
    parser.add_argument(
        "--transports", action="store_true", help="on narrow links: over tls:// and wss:// too"
    )
    parser.add_argument("--json", action="store_true", help="every run, instead of the tables")
    parser.add_argument(
        "--plot", type=Path, metavar="PATH", help="write SVG; later parts to PATH with their name"
    )
    return parser


def _write_plot(path: Path | None, part: str, section: Section) -> None:
    if path is not None and section.plot:
        path = path if part == "loopback" else path.with_stem(f"{path.stem}-{part}")
        path.write_text(section.plot)


if __name__ == "__main__":
    # A benchmark that is told to end takes its processes and its namespaces down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())

"""The fuzzer: mutated captures of the live peers, for each decoder, connection and session.

Run it with ``python -m interop.fuzz --minutes 60``.  It captures what the peers send (or takes
``--captures FILE``), and mutates that for as many minutes of processor time, wires in turn.  A finding
is printed with its seed and the smallest input that still shows it, as a command that repeats it.

What must hold.  Nothing raises, and nothing takes longer than a bound that is generous for its length.
A decoder says the same at any chunking and across pauses.  What must hold of a connection is in
``tests/helpers/rowdy.py``; of a session, that it ends with its transport and leaves nothing behind.

The rule.  A case is its wire, target, role, seed and bytes; all else is drawn from the seed.

The trap.  Processor time bounds a loop that spins; one that *waits* is found by the session's clock.
"""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from muxado_py.frames import WIRES
from tests.helpers.layouts import split
from tests.helpers.mutating import mutate

from .captures import Capture, capture_all, load
from .fuzz_targets import SHARES, TARGETS, Case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ("Hang", "main")

MINIMIZE = 60.0  # seconds of processor time to make a finding small
REPORT_EVERY = 60.0


class Hang(BaseException):
    """One input took longer than its length allows; no ``except Exception`` may swallow that."""


@contextmanager
def time_limit(nbytes: int) -> Iterator[None]:
    """Raise :class:`Hang` when the block uses more processor time than ``nbytes`` can need."""

    def ring(signum: int, frame: FrameType | None) -> None:
        raise Hang(f"{nbytes} bytes took more than their time")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, 5.0 + nbytes / 10_000)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


# Cases


def make_case(seed: int, wire: str, captures: list[Capture]) -> Case:
    """The case of a seed: mostly a mutation of the wire's own captures, for its own connection."""
    source = Random(seed)
    own: dict[str, list[Capture]] = {}
    for one in captures:
        if one.wire == wire:
            own.setdefault(one.peer, []).append(one)
    first, second = (source.choice(own[source.choice(list(own))]) for _ in range(2))
    stray = source.random()
    if stray < 0.03:
        first = source.choice(captures)
    elif stray < 0.06:
        second = source.choice(captures)
    data = first.data
    if source.random() < 0.97:
        data = mutate(source, first.wire, data, second.data)
    client = first.client if source.random() < 0.9 else not first.client
    target = source.choices(list(TARGETS), SHARES)[0]
    return Case(wire, target, client, seed, data)


def verdict(case: Case) -> str | None:
    """What is wrong with ``case``: the exception and where it came from; None if nothing is."""
    try:
        with time_limit(len(case.data)):
            TARGETS[case.target](case)
    except (Exception, Hang, BaseExceptionGroup) as exc:  # noqa: BLE001 - what is looked for
        leaf: BaseException = exc
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        place = traceback.extract_tb(leaf.__traceback__)[-1]
        where = "somewhere" if isinstance(leaf, Hang) else f"{place.filename}:{place.lineno}"
        return f"{type(leaf).__name__} at {where}: {leaf}"
    return None


def minimized(case: Case, place: str) -> Case:
    """The smallest case, by leaving out frames and then bytes, that fails in the same place."""
    stop = time.process_time() + MINIMIZE

    def still(parts: list[bytes]) -> bool:
        tried = verdict(replace(case, data=b"".join(parts)))
        return tried is not None and tried.partition(": ")[0] == place

    for cut in (split, singly):
        parts = cut(case.data, case.wire)
        size = max(1, len(parts) // 2)
        while size and time.process_time() < stop:
            start = 0
            while start < len(parts) and time.process_time() < stop:
                shorter = parts[:start] + parts[start + size :]
                if still(shorter):
                    parts = shorter
                else:
                    start += size
            size //= 2
        case = replace(case, data=b"".join(parts))
    return case


def singly(data: bytes, wire: str) -> list[bytes]:
    """The bytes of ``data``, whatever the wire."""
    return [data[i : i + 1] for i in range(len(data))]


# The run


class Tally:
    """What was done so far, for each wire."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.inputs: Counter[str] = Counter()
        self.nbytes: Counter[str] = Counter()
        self.targets: Counter[tuple[str, str]] = Counter()
        self.found: Counter[str] = Counter()

    def note(self, case: Case, seconds: float) -> None:
        self.seconds[case.wire] += seconds  # type: ignore[assignment]
        self.inputs[case.wire] += 1
        self.nbytes[case.wire] += len(case.data)
        self.targets[case.wire, case.target] += 1

    def report(self) -> None:
        gc.collect()
        print(f"{len(gc.get_objects()):,} objects, {len(self.found)} findings")
        for wire, seconds in self.seconds.items():
            parts = ", ".join(f"{self.targets[wire, one]:,} {one}" for one in TARGETS)
            print(
                f"{wire:8} {seconds / 60:6.2f} min, {self.inputs[wire]:,} inputs, "
                f"{self.nbytes[wire] / 2**20:,.0f} MiB: {parts}",
                flush=True,
            )


def fuzz(wires: list[str], minutes: float, seed: int, captures: list[Capture]) -> Tally:
    """Try case after case until the processor time is used up."""
    tally = Tally()
    reported = time.process_time()
    while sum(tally.seconds.values()) < 60 * minutes:
        now = time.process_time()
        wire = wires[seed % len(wires)]
        case = make_case(seed, wire, captures)
        found = verdict(case)
        tally.note(case, time.process_time() - now)
        if found is not None:
            place = found.partition(": ")[0]
            if not tally.found[place]:
                print(f"FOUND {found}\n  {minimized(case, place).command()}", flush=True)
            tally.found[place] += 1
        seed += 1
        if now - reported > REPORT_EVERY:
            reported = now
            print(f"next seed {seed}; ", end="")
            tally.report()
    return tally


def main() -> int:
    """Fuzz, or repeat one finding; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m interop.fuzz", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--minutes", type=float, default=60.0, help="of processor time")
    parser.add_argument("--wire", action="append", choices=WIRES, help="may be given again")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--captures", type=Path, help="what interop.captures wrote")
    parser.add_argument("--target", choices=TARGETS, default="connection", help="with --input")
    parser.add_argument("--role", choices=("client", "server"), default="server")
    parser.add_argument("--input", help="hexadecimal: one input, again")
    args = parser.parse_args()
    wires = args.wire or list(WIRES)
    if args.input is not None:
        data = bytes.fromhex(args.input.strip("-"))
        case = Case(wires[0], args.target, args.role == "client", args.seed, data)
        TARGETS[case.target](case)
        return 0
    with tempfile.TemporaryDirectory() as directory:
        captures = load(args.captures) if args.captures else [*capture_all(wires, Path(directory))]
    tally = fuzz(wires, args.minutes, args.seed, captures)
    tally.report()
    for found, times in tally.found.most_common():
        print(f"{times:6} times {found}")
    return 1 if tally.found else 0


if __name__ == "__main__":
    sys.exit(main())

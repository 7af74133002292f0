"""``python -m interop.overload``: see :mod:`interop.overload`."""

from __future__ import annotations

import argparse
import sys

from ..bench.actors.stage import BACKENDS
from .server import KINDS
from .trial import PATIENT, Phase, Plan, try_out
from .verdict import MIB, of_calls, of_memory, of_time, peak

__all__ = ("main",)

HEAD = """| | calls/s | useful/s | p50, ms | p99, ms | refused | cut off or late | processors: server, clients | MiB: server, clients |
|---|---|---|---|---|---|---|---|---|"""


def row(name: str, phase: Phase, timeout: float) -> str:
    """A row of the table."""
    safe = phase.told.get("refused", 0) + phase.told.get("never sent", 0)
    asked = max(sum(phase.told.values()), 1)
    other = asked - safe - phase.answered
    memory = peak(phase.memory)
    return (
        f"| {name} | {asked / phase.seconds:,.0f} | {phase.useful(timeout):,.0f} "
        f"| {1000 * phase.within(0.5):.0f} | {1000 * phase.within(0.99):.0f} "
        f"| {safe / asked:.1%} | {other / asked:.1%} "
        f"| {phase.cpu.server:.2f}, {phase.cpu.clients:.2f} "
        f"| {memory.server / MIB:.1f}, {memory.clients / MIB:.1f} |"
    )


def main() -> int:
    """The command; 1 if something was found."""
    parser = argparse.ArgumentParser("python -m interop.overload", description=__doc__)
    parser.add_argument("--kind", choices=KINDS, action="append", help="default: each, in turn")
    parser.add_argument("--loop", choices=BACKENDS, action="append", help="default: asyncio")
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="(default 60)")
    parser.add_argument("--clients", type=int, default=2, help="processes (default %(default)s)")
    parser.add_argument("--work", type=float, default=0.002, help="seconds (default %(default)s)")
    parser.add_argument("--timeout", type=float, default=0.5, help="seconds (default %(default)s)")
    parser.add_argument("--factor", type=float, default=3.0, help="(default %(default)s)")
    asked = parser.parse_args()
    faults = 0
    for loop in asked.loop or ["asyncio"]:
        for kind in asked.kind or KINDS:
            plan = Plan(
                kind=kind,
                loop=loop,
                seconds=asked.seconds,
                clients=asked.clients,
                work=asked.work,
                timeout=asked.timeout,
                factor=asked.factor,
            )
            faults += report(plan)
    return int(bool(faults))


def report(plan: Plan) -> int:
    """Try it out and print; how many faults were found."""
    first, flood, last = try_out(plan)
    print(f"a handler that {plan.kind}, {plan.loop}", HEAD, sep="\n")
    print(row("best", first, PATIENT))
    print(row(f"{plan.factor:g} times", flood, plan.timeout))
    print(row("best again", last, PATIENT))
    found = [
        *of_calls(flood),
        *of_memory(plan, first, flood),
        *of_time(plan, (first, last), flood),
    ]
    best = max(first.useful(PATIENT), last.useful(PATIENT))
    print(f"useful: {flood.useful(plan.timeout) / best:.2f} of the best; {len(found)} faults")
    for fault in found:
        print("FOUND", fault)
    print(flush=True)
    return len(found)


if __name__ == "__main__":
    sys.exit(main())

"""The simulator's command: ``python -m tests.simulation``.

``--minutes N`` runs seeds for so many minutes of processor time, in all; ``--seed N`` runs one and prints its
trace; ``--put-back`` shows that mistakes that were or might be made are found.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import count, repeat
from typing import TYPE_CHECKING

from .plan import LOOPS, TRANSPORTS, WIRES
from .run import Tally, run_many, run_seed

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 if something was found."""
    options = _options().parse_args(arguments)
    logging.disable(logging.CRITICAL)  # what a session says of a broken peer is of no interest here
    if options.seed is not None:
        return _replay(options)
    if options.put_back:
        from .faults import put_back_all

        return put_back_all()
    return _run(options)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one, with a trace")
    parser.add_argument("--wire", choices=WIRES, help="this wire, whatever the seed says")
    parser.add_argument("--loop", choices=LOOPS, help="this loop, whatever the seed says")
    parser.add_argument(
        "--transport", choices=TRANSPORTS, help="this transport, whatever the seed says"
    )
    parser.add_argument("--minutes", type=float, default=0.5, help="of processor time, in all")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed-from", type=int, default=int(time.time()) * 1000, help="the first")
    parser.add_argument("--put-back", action="store_true", help="are old mistakes found?")
    return parser


def _replay(options: argparse.Namespace) -> int:
    result = run_seed(options.seed, options.wire, options.loop, options.transport)
    plan = result.plan
    print(
        f"seed {plan.seed}: {plan.wire}, {plan.loop}, {plan.transport}{', foreign' * plan.foreign}"
    )
    for name, path, side in zip("ab", plan.paths, plan.sides, strict=True):
        print(f"{name} sends by {path}")
        print(f"{name} is {side}")
    for when, who, what in result.ledger.trace:
        print(f"{when:10.4f}  {who:9} {what}")
    print("\n".join(result.findings) or "nothing found")
    return bool(result.findings)


def _run(options: argparse.Namespace) -> int:
    jobs, seconds = options.jobs, options.minutes * 60
    starts = range(options.seed_from, options.seed_from + jobs)
    given = options.wire, options.loop, options.transport
    if jobs == 1:
        tallies = [_one_job(starts[0], 1, seconds, given)]
    else:
        with ProcessPoolExecutor(jobs) as pool:
            share = repeat(seconds / jobs)
            tallies = [*pool.map(_one_job, starts, repeat(jobs), share, repeat(given))]
    return _report(tallies, options.seed_from)


def _one_job(
    first: int, step: int, seconds: float, given: tuple[str | None, str | None, str | None]
) -> Tally:
    logging.disable(logging.CRITICAL)
    return run_many(count(first, step), seconds, *given)


def _report(tallies: list[Tally], first: int) -> int:
    runs = sum((tally.runs for tally in tallies), Counter[tuple[str, str, str]]())
    found = [one for tally in tallies for one in tally.found]
    last = max(tally.last for tally in tallies)
    seconds = sum(tally.seconds for tally in tallies)
    for seed, wire, loop, transport, lines in found:
        print(f"seed {seed} (--wire {wire} --loop {loop} --transport {transport})")
        print("\n".join(f"    {line}" for line in lines))
    for (wire, loop, transport), number in sorted(runs.items()):
        print(f"{wire:8} {loop:8} {transport:8} {number}")
    print(f"{runs.total()} runs in {seconds:.0f} s of processor time, seeds {first} to {last}")
    print(f"{len(found)} runs with findings")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())

"""What a pick costs: nanoseconds of ``serve`` for each frame, by the number of ready keys.

Run it with ``python -m interop.bench_scheduler``.  Each round makes a new scheduler, marks N keys of
mixed urgencies and weights ready, and lets each pick send one frame of 16 KiB and stay ready.  The
schedulers take turns inside a round, so that what else the machine does falls on all of them.  The
column "one of 100,000" has that many open keys, of which one is ready.

The number includes the call of a ``send`` that does nothing.  What growth there is with N comes from cache misses;
the tests count lines instead of time.
"""

from __future__ import annotations

import gc
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from muxado_py.scheduler import SCHEDULERS, Priority, make_scheduler

if TYPE_CHECKING:
    from muxado_py.scheduler import Scheduler

__all__ = ("main",)

FRAME = 16 * 1024
PICKS = 100_000
ROUNDS = 7
CASES = {
    "10": (10, 10),
    "1,000": (1_000, 1_000),
    "10,000": (10_000, 10_000),
    "100,000": (100_000, 100_000),
    "one of 100,000": (100_000, 1),
}


class Stream:
    """Hashes by identity, as the core's do."""

    __slots__ = ("place", "priority")

    def __init__(self, priority: Priority) -> None:
        self.priority = priority
        self.place: Any = None


def filled(name: str, known: int, ready: int) -> Scheduler:
    """A scheduler with ``known`` keys, of which the first ``ready`` are ready."""
    scheduler = make_scheduler(name)
    keys = [Stream(Priority(index % 8, 1 + index * 37 % 256)) for index in range(known)]
    for key in keys:
        scheduler.mark_ready(key, FRAME)
    scheduler.serve(lambda key, left: (FRAME, False), known * FRAME)
    for key in keys[:ready]:
        scheduler.mark_ready(key, FRAME)
    return scheduler


def ns_per_pick(scheduler: Scheduler) -> float:
    """The mean of one run."""

    def send(key: Stream, left: int) -> tuple[int, bool]:
        return FRAME, True

    begin = perf_counter_ns()
    scheduler.serve(send, PICKS * FRAME)
    return (perf_counter_ns() - begin) / PICKS


def main() -> None:
    """Print the table."""
    runs: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        for case, (known, ready) in CASES.items():
            for name in SCHEDULERS:
                scheduler = filled(name, known, ready)
                gc.collect()
                gc.disable()
                runs.setdefault((name, case), []).append(ns_per_pick(scheduler))
                gc.enable()
    print(f"ns per pick by ready keys, weights mixed; median of {ROUNDS} rounds")
    print(f"{'':<12}", *(f"{case:>14}" for case in CASES))
    for name in SCHEDULERS:
        print(f"{name:<12}", *(f"{median(runs[name, case]):>14.0f}" for case in CASES))


if __name__ == "__main__":
    main()

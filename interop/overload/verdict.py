"""Verdict: what is wrong with an overload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .trial import NOTHING, PATIENT, Sides

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .trial import Phase, Plan

__all__ = ("of_calls", "of_memory", "of_time", "peak")

USEFUL = 0.9
"""The part of the best that must be left."""

LATEST = 1.0
"""Seconds by which a call may be told later than its time, on a machine with much to do."""

MIB = 1024 * 1024
MOST_ADDED = 64 * MIB
"""Bytes that a side may add to what it had at its best; each client."""
MOST_GROWN = 4 * MIB
"""Bytes by which the peak of the last quarter may be above that of the second; of each client."""


def of_calls(flood: Phase) -> Iterator[str]:
    """Whether each call was told, and told what was so."""
    told = sum(flood.told.values())
    if told != flood.asked:
        yield f"{told} of {flood.asked} calls were told"
    safe = flood.told.get("never sent", 0) + flood.told.get("refused", 0)
    if not flood.answered <= flood.begun <= flood.asked - safe:
        yield (
            f"{flood.begun} calls were begun with; {flood.answered} were answered, and "
            f"{flood.asked - safe} not told to be safe"
        )


def peak(memory: list[Sides]) -> Sides:
    """The most of each side."""
    return Sides(*map(max, zip(*memory, strict=True))) if memory else NOTHING


def of_memory(plan: Plan, first: Phase, flood: Phase) -> Iterator[str]:
    """Whether it is bounded."""
    at_best, most = peak(first.memory), peak(flood.memory)
    quarter = max(len(flood.memory) // 4, 1)
    before, after = peak(flood.memory[quarter : 2 * quarter]), peak(flood.memory[-quarter:])
    for side, share in (("server", 1), ("clients", plan.clients)):
        at = Sides._fields.index(side)
        if (added := most[at] - at_best[at]) > share * MOST_ADDED:
            yield f"the {side} added {added / MIB:.1f} MiB to what was there at their best"
        if (grown := after[at] - before[at]) > share * MOST_GROWN:
            yield f"the {side} grew by {grown / MIB:.1f} MiB between the second and the last quarter"


def of_time(plan: Plan, bests: tuple[Phase, Phase], flood: Phase) -> Iterator[str]:
    """Whether the server was as useful as ever, and who was answered was answered in time."""
    best = max(one.useful(PATIENT) for one in bests)
    if (useful := flood.useful(plan.timeout)) < USEFUL * best:
        yield f"{useful:.0f} useful answers a second, {useful / best:.2f} of {best:.0f}"
    if (within := flood.within(0.99)) > plan.timeout:
        yield f"99 of 100 answers came within {within:.3f} s, and calls had {plan.timeout} s"
    if flood.longest > plan.timeout + LATEST:
        yield f"a call was told after {flood.longest:.2f} s, and had {plan.timeout} s"

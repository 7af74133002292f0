"""Overload: the verdict, and a short run of the command with each kind of handler.

Nothing here looks at how long anything took, or how much was done.
"""

from __future__ import annotations

import pytest

from .overload.server import KINDS
from .overload.trial import Phase, Plan, Sides, try_out
from .overload.verdict import MIB, MOST_ADDED, MOST_GROWN, of_calls, of_memory, of_time

PLAN = Plan(kind="computes", seconds=10.0, clients=2)


def phase(useful: int, **more: int) -> Phase:
    """A second in which so many calls were answered at once, and what the others were told."""
    told = {"answered": useful, **more}
    asked = sum(told.values())
    return Phase(asked=asked, told=told, took={5: useful}, seconds=1.0, begun=useful)


@pytest.mark.parametrize(
    ("told", "begun", "is_fault"),
    [
        ({"answered": 3, "refused": 2}, 3, False),
        ({"answered": 3, "refused": 2}, 4, True),  # one was executed that was told to be safe
        ({"answered": 3, "refused": 1}, 3, True),  # one was told nothing
        ({"answered": 4, "refused": 1}, 3, True),  # an answer of nobody
        ({"answered": 3, "unknown": 2}, 5, False),
        ({"answered": 3, "unknown": 2}, 6, True),  # one was executed twice
    ],
)
def test_what_was_told_is_held_against_what_was_begun_with(
    told: dict[str, int], begun: int, is_fault: bool
) -> None:
    assert bool(list(of_calls(Phase(asked=5, told=told, begun=begun)))) == is_fault


def test_nine_tenths_of_the_better_best_must_be_left_in_time() -> None:
    bests = phase(80), phase(100)
    assert not list(of_time(PLAN, bests, phase(90, refused=200)))
    [fault] = of_time(PLAN, bests, phase(89, refused=200))
    assert fault.startswith("89 useful answers a second")
    late = phase(98, refused=200)
    late.told["answered"] += 2
    late.took[700] = 2
    [fault] = of_time(PLAN, bests, late)
    assert "within 0.701 s" in fault
    hung = phase(100, unknown=1)
    hung.longest = 5.0
    [fault] = of_time(PLAN, bests, hung)
    assert "told after 5.00 s" in fault


def test_memory_may_be_added_once_and_not_grow() -> None:
    def faults(server: list[float], clients: list[float]) -> list[str]:
        flood = phase(100)
        flood.memory = [Sides(*both) for both in zip(server, clients, strict=True)]
        return list(of_memory(PLAN, first, flood))

    first = phase(100)
    first.memory = [Sides(30 * MIB, 60 * MIB)]
    level, most = [40.0 * MIB] * 8, 30.0 * MIB + MOST_ADDED
    assert not faults([40.0 * MIB, *[most] * 7], level)
    assert faults([most + 1, *level[1:]], level)
    grown = [40.0 * MIB, *(40.0 * MIB + at * MOST_GROWN for at in range(7))]
    assert "the server grew" in faults(grown, level)[0]
    assert "the clients grew" in faults(level, grown)[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_who_asks_too_much_is_told_and_costs_no_memory(kind: str) -> None:
    plan = Plan(kind=kind, seconds=3.0, work=0.01, factor=10)
    first, flood, last = try_out(plan)
    for best in (first, last):
        assert best.told == {"answered": best.begun}, best.told
    assert flood.answered
    assert flood.told.keys() & {"refused", "unknown"}
    assert not list(of_calls(flood))
    assert not list(of_memory(plan, first, flood))

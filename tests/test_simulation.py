"""The simulator of ``tests/simulation``: that it replays, and a short run of it."""

from __future__ import annotations

import pytest

from .simulation.plan import LOOPS, WIRES
from .simulation.run import run_seed


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("wire", WIRES)
def test_a_seed_replays_exactly(wire: str, loop: str) -> None:
    for seed in range(3):
        first, second = (_traced(seed, wire, loop) for _ in range(2))
        assert first == second


def _traced(seed: int, wire: str, loop: str) -> list[tuple[float, str]]:
    """When what happened, without the addresses of objects."""
    result = run_seed(seed, wire, loop)
    return [(when, f"{who} {what.split(':')[0]}") for when, who, what in result.ledger.trace]

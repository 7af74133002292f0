"""The simulator of ``tests/simulation``: that it replays, finds what it should, and a short run of it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import pytest

from muxado_py import Config

from .simulation.faults import FAULTS, Fault, find
from .simulation.plan import (
    LOOPS,
    PROXIES,
    TRANSPORTS,
    WIRES,
    HalfPlan,
    PathPlan,
    Plan,
    ProxyPlan,
    SidePlan,
)
from .simulation.run import run_many, run_plan, run_seed

if TYPE_CHECKING:
    from collections.abc import Iterator

FIXED = 25
"""Seeds that are the same in every run, for each wire and loop."""

THROUGH_PROXIES = 10
"""The same through a proxy, which is TCP behind its handshake."""

FRESH = 6.0
"""Seconds of processor time for seeds that nobody has seen."""


@pytest.fixture(autouse=True)
def no_logs() -> Iterator[None]:
    """What a session says of a broken peer is of no interest here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("wire", WIRES)
def test_a_seed_replays_exactly(wire: str, loop: str) -> None:
    for seed in range(3):
        first, second = (_traced(seed, wire, loop) for _ in range(2))
        assert first == second


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_seed_replays_exactly_over_each_transport(transport: str, loop: str) -> None:
    for seed in range(2):
        first, second = (_traced(seed, None, loop, transport) for _ in range(2))
        assert first == second


def _traced(
    seed: int, wire: str | None, loop: str, transport: str | None = None
) -> list[tuple[float, str]]:
    """When what happened, without the addresses of objects."""
    result = run_seed(seed, wire, loop, transport)
    return [(when, f"{who} {what.split(':')[0]}") for when, who, what in result.ledger.trace]


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_mistake_that_is_put_back_is_found(fault: Fault) -> None:
    assert find(fault) is not None


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("wire", WIRES)
def test_fixed_seeds_find_nothing(wire: str, loop: str) -> None:
    found = {seed: run_seed(seed, wire, loop).findings for seed in range(FIXED)}
    assert not any(found.values()), {seed: lines for seed, lines in found.items() if lines}


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_fixed_seeds_find_nothing_over_each_transport(transport: str, loop: str) -> None:
    seeds = range(FIXED, FIXED + (THROUGH_PROXIES if transport in PROXIES else FIXED))
    found = {seed: run_seed(seed, None, loop, transport).findings for seed in seeds}
    assert not any(found.values()), {seed: lines for seed, lines in found.items() if lines}


@pytest.mark.slow
def test_fresh_seeds_find_nothing() -> None:
    first = time.time_ns() // 1_000_000
    tally = run_many(iter(range(first, first + 1_000_000)), FRESH)
    replays = [
        f"python -m tests.simulation --seed {seed} --wire {wire} --loop {loop} --transport {transport}: {lines}"
        for seed, wire, loop, transport, lines in tally.found
    ]
    assert not replays, "\n".join(replays)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("wire", WIRES)
def test_a_peer_that_gave_up_is_no_mistake_of_who_was_busy(wire: str, loop: str) -> None:
    """What it writes when it wakes is answered with a reset, before it could end what it sends."""
    path = PathPlan(receive_buffer=5000)
    config = Config(wire=wire, close_timeout=2.0)
    for size in range(0, 20_000, 1000):
        leaver = SidePlan(config, opens=[HalfPlan(sends=size, end="none")], handles=[HalfPlan()])
        leaver.ending, leaver.ends_at = "error", 0.5
        busy = SidePlan(config, handles=[HalfPlan(sends=size)], spells=[(0.3, 1, 3.0)])
        busy.ends_at = 2.0
        plan = Plan(0, wire, loop, (leaver, busy), (path, PathPlan()), foreign=False)
        assert run_plan(plan).findings == []


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("speaks", PROXIES)
def test_what_stands_behind_the_answer_of_a_proxy_is_the_sessions(speaks: str, loop: str) -> None:
    """In whatever pieces the answer comes: its last has the first bytes of the host behind it."""
    for piece in (1, 7, 1000):
        sender = SidePlan(Config(), opens=[HalfPlan(sends=3000)], handles=[HalfPlan()])
        reader = SidePlan(Config(), handles=[HalfPlan(sends=10, end="late close")])
        reader.ending = "wait"
        # The host's first bytes have come to the proxy when it says that there is a connection.
        proxy = ProxyPlan(speaks, beside=1, piece=piece, pause=0.001, waits=1, answers_in=0.5)
        paths = PathPlan(delay=0.01), PathPlan(delay=0.01)
        plan = Plan(0, "muxado", loop, (reader, sender), paths, foreign=False, transport=speaks)
        plan.proxy = proxy
        result = run_plan(plan)
        assert result.findings == []
        (read,) = (half for half in result.ledger.sides[0].halves if not half.opened_here)
        assert (len(read.got), read.read_end) == (3000, "eof")


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("speaks", PROXIES)
def test_a_proxy_that_dies_in_its_answer_leaves_nothing_behind(
    speaks: str, resets: bool, loop: str
) -> None:
    for dies_at in (1, 9):
        sides = SidePlan(handles=[HalfPlan()]), SidePlan(handles=[HalfPlan()])
        plan = Plan(0, "muxado", loop, sides, (PathPlan(), PathPlan()), foreign=False)
        plan.transport = speaks
        plan.proxy = ProxyPlan(speaks, beside=1, piece=1, dies_at=dies_at, resets=resets)
        result = run_plan(plan)
        assert result.findings == []
        assert isinstance(result.ledger.sides[0].refused, OSError)

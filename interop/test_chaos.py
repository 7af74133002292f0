"""Chaos: the oracle, and a short run of the command on each wire.

Nothing here looks at how long anything took.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import anyio
import pytest

from .chaos import oracle
from .chaos.__main__ import run
from .chaos.oracle import Told
from .chaos.rolling import roll
from .chaos.settings import WIRES

if TYPE_CHECKING:
    from pathlib import Path


def call(told: str, *, idempotent: bool = False, patience: float = 10.0, size: int = 60) -> Told:
    return Told("a-1", idempotent, size, told, 0.1, patience)


@pytest.mark.parametrize(
    ("one", "times", "is_fault"),
    [
        (call("answered"), 1, False),
        (call("answered"), 0, True),
        (call("answered"), 2, True),
        (call("answered", idempotent=True), 2, False),
        (call("answered", idempotent=True), 0, True),
        (call("wrong"), 1, True),
        (call("never sent"), 0, False),
        (call("never sent"), 1, True),
        (call("refused", idempotent=True), 1, True),
        (call("unknown"), 0, False),
        (call("unknown"), 1, False),
        (call("unknown"), 2, True),
        (call("processed"), 1, False),
    ],
)
def test_what_was_told_is_held_against_what_was_executed(
    one: Told, times: int, is_fault: bool
) -> None:
    assert bool(oracle.faults([one], Counter({one.id: times}))) == is_fault


def test_calls_that_could_not_be_sent_again_are_not_counted() -> None:
    told = [
        call("answered", idempotent=True),
        call("unknown", idempotent=True),
        call("unknown"),
        call("unknown", idempotent=True, patience=0.02),
        call("unknown", idempotent=True, size=100_000),
    ]
    assert oracle.useful(told, 10.0, 65_536) == (2, 1)


def test_more_streams_than_the_budget_allows_are_a_fault() -> None:
    counts = {"within": (1000, 1299), "beyond": (1000, 1301)}
    [fault] = oracle.attempts(counts, 10)
    assert fault.startswith("beyond opened 1301 streams for 1000 calls")


def test_a_line_that_a_killed_client_did_not_finish_is_none() -> None:
    lines = [json.dumps(call("answered")), json.dumps({"calls": 3, "streams": 4}), '["a-2", tr']
    assert oracle.read(lines) == ([call("answered")], 3, 4)


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
def test_nothing_is_told_that_is_not_so_while_servers_die_and_come_again(
    wire: str, tmp_path: Path
) -> None:
    found = anyio.run(run, wire, 6.0, 2, 4711, tmp_path)
    assert found.told
    assert not oracle.faults(found.told, found.executed)


@pytest.mark.slow
def test_a_rolling_restart_loses_no_post_and_repeats_none(tmp_path: Path) -> None:
    found = anyio.run(roll, 1.0, 50.0, tmp_path)
    assert found.restarts >= 3
    assert found.asked == sum(found.executed.values())
    assert not found.faults()

"""A few agents and callers of ``python -m interop.cluster``, and what a registry does on a real Redis server.

Nothing here looks at when something happened: a machine that has other things to do may be late by as much as it likes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.cli.cluster.test_registry import (  # noqa: F401 - they are run here too
    opening,
    patience,
    test_a_server_that_hangs_or_is_gone_is_no_answer_and_soon,
    test_each_node_says_how_many_agents_it_has,
    test_more_names_than_are_said_in_one_go,
    test_nothing_stays_there_for_ever,
    test_what_a_node_says_last_holds,
    test_what_is_left_of_a_node_can_be_taken_away,
    test_what_somebody_else_wrote_there_is_passed_over,
    test_who_beats_is_there,
    test_who_leaves_or_beats_no_more_is_gone,
)
from tests.redis_server import RedisServer

from .cluster.__main__ import find_redis
from .cluster.cluster import Cluster
from .cluster.journal import Asked, Journal, Told, verdicts
from .cluster.scenarios import SCENARIOS, Outcome, run
from .workshop import ToolchainError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .workshop import Workshop

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(300, func_only=True),
    # coredis leaves those of a connection that failed to the garbage collector
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FEW = 5
"""Callers of a run that may be told something else than an answer while nothing but the registry is wrong: as many as ask at
once when a process was not run for two seconds, and one."""


@pytest.fixture
def redis_program(workshop: Workshop) -> Path:
    try:
        return find_redis(workshop)
    except ToolchainError as error:
        if os.environ.get("MUXADO_INTEROP") == "require":
            pytest.fail(f"MUXADO_INTEROP=require, but no redis-server: {error}", pytrace=False)
        pytest.skip(f"no redis-server: {error}")


@pytest.fixture
def redis(redis_program: Path, tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(redis_program, tmp_path) as server:
        yield server


def outcomes(folder: Path, program: Path, only: tuple[str, ...], loop: str) -> list[Outcome]:
    async def all_of_them() -> list[Outcome]:
        async with Cluster(folder, program, 3, agents=12, names=6, loop=loop) as cluster:
            found = [
                await run(cluster, one, FEW - 1) for one in SCENARIOS if one.name.startswith(only)
            ]
            await cluster.serving()
            return found

    return anyio.run(all_of_them)


@pytest.mark.parametrize("loop", ["uvloop", "trio"])
def test_a_registry_that_is_gone_or_back_empty_is_no_trouble_of_callers(
    redis_program: Path, tmp_path: Path, loop: str
) -> None:
    found = outcomes(tmp_path, redis_program, ("Redis",), loop)
    assert len(found) == 3
    for one in found:
        assert one.findings == []
        assert one.asked > len(one.bad)
        assert len(one.bad) <= FEW, one.bad


@pytest.mark.parametrize("fault", ["kill", "SIGSTOP"])
def test_whatever_becomes_of_a_gateway_nobody_is_told_a_lie(
    redis_program: Path, tmp_path: Path, fault: str
) -> None:
    (found,) = outcomes(tmp_path, redis_program, (fault,), "uvloop")
    assert found.findings == []
    assert found.asked > len(found.bad)


def test_a_rolling_restart_loses_nobody(redis_program: Path, tmp_path: Path) -> None:
    """Of gateways, of agents, and of both at once; a machine that has other things to do may take longer than a caller."""
    found = outcomes(tmp_path, redis_program, ("rolling",), "uvloop")
    assert len(found) == 3
    for one in found:
        assert one.findings == []
        assert one.asked > len(one.bad)
        assert [bad for bad in one.bad if "said nothing" not in bad.why] == []


def test_what_the_oracle_finds(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    for one in ("twice", "answered", "twice", "refused", "unknown"):
        journal.write(one)
    executed = journal.executed()
    journal.close()
    asked = [
        Asked("answered", 0, Told.ANSWERED),
        Asked("lost", 0, Told.ANSWERED),
        Asked("refused", 0, Told.NOT_EXECUTED, "503"),
        Asked("unknown", 0, Told.UNKNOWN),
        Asked("gone", 0, Told.UNKNOWN),
    ]
    assert verdicts(asked, executed) == [
        "twice was executed 2 times",
        "lost was answered and not executed",
        "refused was executed, and its caller told that it was not: 503",
    ]

"""What is done about a stream at a moment, on a clock that jumps."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any
from weakref import ref

import anyio
import pytest
from anyio import current_time

from muxado_py.session.whole import alarms_of

from .. import virtual_time

if TYPE_CHECKING:
    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


async def test_each_rings_at_its_moment_and_what_was_called_off_never(
    session_pair: SessionPair,
) -> None:
    async with session_pair() as (dialed, _):
        alarms = alarms_of(await dialed.open_stream())
        began = current_time()
        rang: list[tuple[str, float]] = []

        def ring(name: str) -> None:
            rang.append((name, round(current_time() - began, 3)))

        later = alarms.set(began + 2, ring, "later")
        called_off = alarms.set(began + 0.5, ring, "called off")
        sooner = alarms.set(began + 1, ring, "sooner")
        assert not alarms.call_off(called_off)
        await anyio.sleep(1.5)
        await anyio.sleep(1)
        assert rang == [("sooner", 1), ("later", 2)]
        assert alarms.call_off(sooner)
        assert alarms.call_off(later)
        alarms.set(began, ring, "past")
        await anyio.sleep(0.001)
        assert [name for name, _ in rang] == ["sooner", "later", "past"]


async def test_what_was_called_off_holds_nothing(session_pair: SessionPair) -> None:
    class Held:
        """What something is done to."""

    async with session_pair() as (dialed, _):
        alarms = alarms_of(await dialed.open_stream())
        held = Held()
        watched = ref(held)
        alarm = alarms.set(current_time() + 5, list[Held]().append, held)
        alarms.call_off(alarm)
        del held
        gc.collect()
        assert watched() is None


async def test_what_was_called_off_a_thousand_times_leaves_little_behind(
    session_pair: SessionPair,
) -> None:
    async with session_pair() as (dialed, _):
        alarms = alarms_of(await dialed.open_stream())
        for _ in range(1000):
            alarms.call_off(alarms.set(current_time() + 5, print, "not called off"))
        assert len(alarms) <= 32


async def test_what_is_done_may_call_off_another_that_is_due_and_set_one(
    session_pair: SessionPair,
) -> None:
    async with session_pair() as (dialed, _):
        alarms = alarms_of(await dialed.open_stream())
        rang: list[str] = []

        def first(name: str) -> None:
            rang.append(name)
            alarms.call_off(second)
            alarms.set(current_time(), rang.append, "set by it")

        due = current_time() + 1
        alarms.set(due, first, "first")
        second = alarms.set(due, rang.append, "called off by it")
        alarms.set(due, rang.append, "third")
        await anyio.sleep(1.5)
        assert rang == ["first", "third", "set by it"]
        await anyio.sleep(10)
        assert len(alarms) == 0

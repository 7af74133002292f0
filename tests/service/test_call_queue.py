"""Who has a place, who waits, and who goes first, in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from muxado_py import CallLimits
from muxado_py.service.call_queue import CallQueue

from ..virtual_time import BACKENDS, backend, be_busy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskGroup

    from muxado_py import Session, Stream

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return backend(request.param)


@pytest.fixture
async def dialed(session_pair: SessionPair) -> AsyncIterator[Session]:
    async with session_pair() as (dialed, _):
        yield dialed


class Waiting:
    """Those who wait, and what they were told, in that order."""

    def __init__(self, queue: CallQueue, dialed: Session, tasks: TaskGroup) -> None:
        self._queue = queue
        self._dialed = dialed
        self._tasks = tasks
        self.told: list[tuple[str, bool]] = []
        self.streams: dict[str, Stream] = {}

    async def _wait(self, name: str, time_left: float) -> None:
        self.streams[name] = stream = await self._dialed.open_stream()
        self.told.append((name, await self._queue.wait(stream, time_left) is not None))

    async def add(self, name: str, time_left: float = float("inf")) -> None:
        self._tasks.start_soon(self._wait, name, time_left)
        await settle()


async def settle() -> None:
    """Let all that is ready happen, in no time."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def test_who_came_first_goes_first_and_after_a_while_who_came_last(dialed: Session) -> None:
    async with anyio.create_task_group() as tasks:
        queue = CallQueue(CallLimits(max_concurrent=1))
        waiting = Waiting(queue, dialed, tasks)
        assert queue.enter() is not None
        assert queue.enter() is None
        for name in ("a", "b", "c", "d"):
            await waiting.add(name)
        queue.leave()
        await settle()
        assert waiting.told == [("a", True)]
        await waiting.add("in a hurry", time_left=0.2)
        await anyio.sleep(0.11)
        assert waiting.told[1:] == [("in a hurry", False)]
        for _ in range(3):
            queue.leave()
            await settle()
        assert waiting.told[2:] == [("d", True), ("c", True), ("b", True)]
        await waiting.add("e")  # nobody waited: there is no overload any more
        await waiting.add("f")
        queue.leave()
        await settle()
        assert waiting.told[5:] == [("e", True)]
        queue.leave()
        await settle()
        queue.leave()
        assert queue.running == 0


async def test_a_place_goes_on_if_its_task_is_cancelled(dialed: Session) -> None:
    async with anyio.create_task_group() as tasks:
        queue = CallQueue(CallLimits(max_concurrent=1))
        assert queue.enter() is not None
        async with anyio.create_task_group() as cancelled:
            await Waiting(queue, dialed, cancelled).add("a")
            await Waiting(queue, dialed, cancelled).add("b")
            waiting = Waiting(queue, dialed, tasks)
            await waiting.add("c")
            queue.leave()
            cancelled.cancel_scope.cancel()
        await settle()
        assert waiting.told == [("c", True)]
        assert queue.running == 1
        assert len(queue) == 0


async def test_a_handler_that_computes_gives_others_a_turn(dialed: Session) -> None:
    """Its place is free as soon as it is done, and yet nobody goes on in this turn of the loop."""
    async with anyio.create_task_group() as tasks:
        queue = CallQueue(CallLimits())
        waiting = Waiting(queue, dialed, tasks)
        for _ in range(3):
            began = queue.enter()
            assert began is not None
            be_busy(0.002)
            queue.done(began, None, cut_off=False)
        assert queue.enter() is None
        await waiting.add("next")
        assert waiting.told == [("next", True)]
        queue.leave()
        assert queue.enter() is not None


async def test_without_time_nobody_waits(dialed: Session) -> None:
    queue = CallQueue(CallLimits(max_concurrent=1))
    assert queue.enter() is not None
    stream = await dialed.open_stream()
    assert await queue.wait(stream, 0) is None
    assert await queue.wait(stream, -1) is None
    assert queue.limit == queue.running == 1


async def test_who_has_gone_waits_no_more(dialed: Session) -> None:
    async with anyio.create_task_group() as tasks:
        queue = CallQueue(CallLimits(max_concurrent=1))
        waiting = Waiting(queue, dialed, tasks)
        assert queue.enter() is not None
        for name in ("goes", "stays"):
            await waiting.add(name)
        waiting.streams["goes"].reset()
        await settle()
        assert waiting.told == [("goes", False)]
        assert len(queue) == 1
        queue.leave()
        await settle()
        assert waiting.told[1:] == [("stays", True)]


async def test_nobody_waits_in_a_session_that_is_over(dialed: Session) -> None:
    """Though its clock has stopped, and the place is never free."""
    async with anyio.create_task_group() as tasks:
        queue = CallQueue(CallLimits(max_concurrent=1))
        waiting = Waiting(queue, dialed, tasks)
        assert queue.enter() is not None
        await waiting.add("patient")
        await dialed.aclose()
        await settle()
        assert waiting.told == [("patient", False)]
        assert len(queue) == 0


async def test_an_overload_is_over_where_all_have_gone(dialed: Session) -> None:
    async with anyio.create_task_group() as tasks:
        queue = CallQueue(CallLimits(max_concurrent=1))
        waiting = Waiting(queue, dialed, tasks)
        assert queue.enter() is not None
        await waiting.add("in a hurry", time_left=0.2)
        await waiting.add("goes")
        await anyio.sleep(0.11)
        waiting.streams["goes"].reset()
        await settle()
        assert waiting.told == [("in a hurry", False), ("goes", False)]
        for name in ("first", "second"):
            await waiting.add(name)
        queue.leave()
        await settle()
        assert waiting.told[2:] == [("first", True)]
        queue.leave()

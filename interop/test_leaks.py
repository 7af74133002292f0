"""A hundred thousand streams with every peer, 64 at a time, leave nothing behind on our side.

Half are opened here and half there, at the same time.  Of the whole run the objects that the garbage
collector knows are counted, which costs nothing; tracing memory makes Python several times slower, so
``tracemalloc`` looks at a last part of it, in windows.  What leaks with each stream shows in either.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest

from .actors import answer_with_echo, echo

if TYPE_CHECKING:
    from collections.abc import Callable

    import muxado_py as muxado

    from .conftest import Far
    from .puppet import Puppet

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.interop,
    pytest.mark.roles("server"),
    pytest.mark.timeout(400, func_only=True),
]

WARM_UP = 2_000
MOST = 90_000
TRACED = 9_000
WINDOWS = 3
AT_ONCE = 64

OBJECTS_MORE = 500
"""Of which are caches and the like; one a stream would be 90,000."""
BYTES_MORE = 30_000
"""The same, for what is traced, in the window that grew least: ten bytes a stream.  One window may end
with the last reads and the closed streams of a moment more than it began with; a leak is in all."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"debug": False}


async def open_and_close(session: muxado.Session, peer: Puppet, count: int, kept: int) -> None:
    """``count`` streams, half of each side's opening, ``AT_ONCE`` at a time, each with an echo.

    Returns when no more than ``kept`` streams are left that either side may still mention.  Serving
    ends with them, and with it the tasks that would wait for the next stream.
    """
    half = count // 2
    calls = iter(range(half))

    async def call() -> None:
        for number in calls:
            question = b"%060d" % number
            assert await echo(session, question) == question

    async with anyio.create_task_group() as serving:
        serving.start_soon(session.net_listener().serve, answer_with_echo)
        theirs = await peer.begin("call_echo", count=half, size=60, at_once=AT_ONCE // 2)
        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE // 2):
                tasks.start_soon(call)
        assert await theirs.wait() == {"equal": half}
        await until(lambda: session.statistics().live_streams <= kept)
        serving.cancel_scope.cancel()


async def until(fulfilled: Callable[[], bool]) -> None:
    while True:
        if fulfilled():
            return
        await anyio.sleep(0.05)


async def test_a_hundred_thousand_streams_leave_nothing_behind(far: Far) -> None:
    async with replace(far, patience=360.0).session(probe_interval=0.1) as (session, peer):
        await peer.begin("serve_echo")
        # Every task has begun; the timekeeper's looks could be in step with anyio's for ever.
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        tasks_alive = len(asyncio.all_tasks())

        async def open_close_and_settle(count: int) -> None:
            await open_and_close(session, peer, count, far.peer.heartbeat_streams)
            await until(lambda: len(asyncio.all_tasks()) <= tasks_alive)

        await open_close_and_settle(WARM_UP)
        objects = count_objects()
        await open_close_and_settle(MOST)
        more = count_objects() - objects
        assert more < OBJECTS_MORE, f"{more} objects more than before"

        tracemalloc.start(1)
        try:
            grown = []
            for _ in range(WINDOWS):
                before = traced()
                await open_close_and_settle(TRACED // WINDOWS)
                grown.append(traced() - before)
            assert min(grown) < BYTES_MORE, f"{grown} bytes more than before each"
        finally:
            tracemalloc.stop()


def count_objects() -> int:
    gc.collect()
    return len(gc.get_objects())


def traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]

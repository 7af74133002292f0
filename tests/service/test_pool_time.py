"""How long a pool waits for what, on clocks that jump."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

import muxado_py as muxado

from ..virtual_time import BACKENDS, backend
from .servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskGroup

pytestmark = pytest.mark.anyio

HOUR = 3600.0
CONFIG = muxado.Config(heartbeat_interval=None)


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return backend(request.param)


@asynccontextmanager
async def tasks_for_a_while() -> AsyncIterator[TaskGroup]:
    async with anyio.create_task_group() as tasks:
        yield tasks
        tasks.cancel_scope.cancel()


def gaps(server: Server) -> list[float]:
    return [after - before for before, after in zip(server.dials, server.dials[1:], strict=False)]


async def test_a_server_that_is_down_is_asked_ever_more_seldom_and_never_forgotten() -> None:
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        server.is_up = False
        async with muxado.connect_pool(server, config=CONFIG):
            await anyio.sleep(HOUR)
    assert gaps(server)[0] <= 0.05
    assert max(gaps(server)) <= 30
    assert 150 < len(server.dials) < 400  # half a minute is the most: a quarter is the mean
    later = [gap for gap in gaps(server)[20:] if gap > 15]
    assert len(later) > 20


async def kill_after(server: Server, seconds: float) -> None:
    """Each session of ``server``, so long after it came."""
    while True:
        if not server.sessions:
            await server.came.wait()
        await anyio.sleep(seconds)
        for session in tuple(server.sessions):
            session.abort()
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("seconds", [0.0, 0.5, 4.0])
async def test_one_that_drops_each_session_soon_is_left_as_one_that_is_down(
    seconds: float,
) -> None:
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        tasks.start_soon(kill_after, server, seconds)
        async with muxado.connect_pool(server, config=CONFIG):
            await anyio.sleep(HOUR)
    assert 100 < len(server.dials) < 400


async def test_one_whose_sessions_last_is_dialed_at_once() -> None:
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        tasks.start_soon(kill_after, server, 60)
        async with muxado.connect_pool(server, config=CONFIG):
            await anyio.sleep(HOUR)
    assert len(server.dials) == 60
    assert max(gaps(server)) < 60.1


async def drain_at_once(server: Server, tasks: TaskGroup) -> None:
    async def drain(session: muxado.Session) -> None:
        with suppress(muxado.SessionError):
            async with await session.open_stream() as held:
                await held.send(b"x")
                await session.drain()

    known: set[muxado.Session] = set()
    while True:
        for session in set(server.sessions) - known:
            known.add(session)
            tasks.start_soon(drain, session)
        await server.came.wait()


async def test_one_that_takes_sessions_and_sends_them_away_is_left_as_well() -> None:
    """It holds a stream of each, so that none is over before its drain is."""
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        tasks.start_soon(drain_at_once, server, tasks)
        async with muxado.connect_pool(server, config=CONFIG):
            await anyio.sleep(HOUR)
    assert len(server.dials) < 800


async def test_who_waits_is_told_when_the_time_is_over() -> None:
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        server.is_up = False
        async with muxado.connect_pool(server, config=CONFIG) as pool:
            for seconds in (0.0, 0.5, 100.0):
                began = anyio.current_time()
                with pytest.raises(muxado.PoolTimeoutError, match=f"opened in {seconds:g} s"):
                    await pool.open_stream(timeout=seconds)
                assert anyio.current_time() == pytest.approx(began + seconds)


async def test_a_peer_that_said_no_word_is_taken_only_if_there_is_no_other() -> None:
    async with tasks_for_a_while() as tasks:
        servers = [Server(tasks, name) for name in ("mute", "well")]
        servers[0].is_mute = True
        async with muxado.connect_pool(*servers, config=CONFIG) as pool:
            await anyio.sleep(1.5)  # the time is over in which it should have spoken
            assert [one.status for one in pool.state.targets] == ["connecting", "connected"]
            for _ in range(20):
                stream = await pool.open_stream()
                assert pool.state.targets[0].open_streams == 0
                stream.reset()
            servers[1].is_up = False
            servers[1].sessions[0].abort()
            await anyio.sleep(0.2)
            stream = await pool.open_stream(timeout=0)
            assert pool.state.targets[0].open_streams == 1
            stream.reset()


async def test_a_peer_that_falls_silent_is_left_and_found_again() -> None:
    config = muxado.Config(heartbeat_interval=1, heartbeat_timeout=2)
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        async with muxado.connect_pool(server, config=config) as pool:
            stream = await pool.open_stream()
            await stream.send(b"x")
            assert await stream.receive() == b"x"
            server.thaw = anyio.Event()
            with pytest.raises(muxado.PeerTimeoutError):
                await stream.receive()
            with pytest.raises(muxado.PoolTimeoutError):
                await pool.open_stream(timeout=0.5)
            server.thaw.set()
            async with await pool.open_stream(timeout=35) as stream:
                await stream.send(b"y")
                assert await stream.receive() == b"y"


async def test_a_peer_that_has_nothing_to_say_is_a_peer() -> None:
    """One of Go, say, which says no word before it is asked something."""
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        server.is_mute = True
        async with muxado.connect_pool(server, config=CONFIG) as pool:
            began = anyio.current_time()
            stream = await pool.open_stream()
            assert anyio.current_time() == pytest.approx(began + 1)
            with pytest.raises(muxado.PoolTimeoutError):
                await pool.open_stream(metadata={"a": b"b"}, timeout=5)
            stream.reset()


async def test_who_wants_to_say_metadata_is_served_when_the_peer_has_spoken() -> None:
    """Late: the stream waits for a session that is there already."""
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        server.thaw = anyio.Event()
        async with muxado.connect_pool(server, config=CONFIG) as pool:
            (await pool.open_stream()).reset()
            opened: list[muxado.Stream] = []

            async def call() -> None:
                opened.append(await pool.open_stream(metadata={"a": b"b"}))

            tasks.start_soon(call)
            await anyio.sleep(5)
            assert pool.state.waiting == 1
            server.thaw.set()
            await anyio.sleep(1)
            assert pool.state.targets[0].status == "connected"
            (stream,) = opened
            stream.reset()

"""What a pool's sessions begin with: a greeting, and what it can say of other sessions."""

from __future__ import annotations

import logging
import re
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

import muxado_py as muxado

from ..helpers.blocked import all_tasks_blocked, until
from .servers import Server, echo
from .test_pool import ask, tasks_for_a_while

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from muxado_py.service.pool_sessions import Greet

pytestmark = pytest.mark.anyio


async def doorkeeper(stream: muxado.Stream) -> None:
    """Answer with what was said, but for a token: with whether it is the right one."""
    said = await stream.receive()
    await stream.send(b"come in" if said == b"token" else said)


async def show(session: muxado.Session, token: bytes) -> None:
    async with await session.open_stream() as stream:
        await stream.send(token)
        if await stream.receive() != b"come in":
            raise ConnectionRefusedError("the token is wrong")


def noting(places: list[muxado.Dialed]) -> Greet:
    """A greeting that says nothing, and notes what each session is to its pool."""

    @asynccontextmanager
    async def greet(session: muxado.Session, dialed: muxado.Dialed) -> AsyncIterator[None]:
        places.append(dialed)
        yield

    return greet


async def test_no_stream_is_opened_or_served_before_a_session_was_greeted() -> None:
    greeted, may_go_on = anyio.Event(), anyio.Event()

    @asynccontextmanager
    async def greet(session: muxado.Session, dialed: muxado.Dialed) -> AsyncIterator[None]:
        assert dialed.url == "server"
        await show(session, b"token")
        greeted.set()
        await may_go_on.wait()
        yield

    async with tasks_for_a_while() as tasks:
        server = Server(tasks, handler=doorkeeper)
        async with muxado.connect_pool(server, greet=greet) as pool:
            tasks.start_soon(pool.net_listener().serve, echo)
            await greeted.wait()
            with pytest.raises(muxado.PoolTimeoutError):
                await pool.open_stream(timeout=0.05)
            assert pool.state.sessions == 1
            assert not pool.state.is_connected
            early = await server.sessions[0].open_stream()
            await early.send(b"early")
            await all_tasks_blocked()
            assert early.statistics().bytes_received == 0
            may_go_on.set()
            assert await early.receive() == b"early"
            early.reset()
            assert await ask(pool) == b"hello"


async def test_who_is_not_let_in_is_told_why_and_tries_again() -> None:
    tokens = [b"wrong", b"token"]

    @asynccontextmanager
    async def greet(session: muxado.Session, dialed: muxado.Dialed) -> AsyncIterator[None]:
        await show(session, tokens.pop(0))
        yield

    states: list[muxado.PoolState] = []
    async with tasks_for_a_while() as tasks:
        server = Server(tasks, handler=doorkeeper)
        async with muxado.connect_pool(server, greet=greet, on_change=states.append) as pool:
            assert await ask(pool) == b"hello"
        assert len(server.dials) == 2
    assert "the token is wrong" in {one.targets[0].failure for one in states}


async def test_a_mistake_in_a_greeting_is_logged_and_ends_that_session_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mistakes = [ZeroDivisionError("a mistake")]

    @asynccontextmanager
    async def greet(session: muxado.Session, dialed: muxado.Dialed) -> AsyncIterator[None]:
        if mistakes:
            raise mistakes.pop()
        yield

    async with (
        tasks_for_a_while() as tasks,
        muxado.connect_pool(Server(tasks), greet=greet) as pool,
    ):
        assert await ask(pool) == b"hello"
    assert "a mistake" in caplog.text


async def test_the_tasks_of_a_greeting_end_with_the_session_and_its_failure_is_told_as_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "muxado.pool")
    left: list[str] = []

    @asynccontextmanager
    async def greet(session: muxado.Session, dialed: muxado.Dialed) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            yield
            tasks.cancel_scope.cancel()
        left.append(dialed.url)

    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        async with muxado.connect_pool(server, greet=greet) as pool:
            assert await ask(pool) == b"hello"
            server.sessions[0].go_away(muxado.ErrorCode.INTERNAL_ERROR, b"broken")
            await until(lambda: bool(left))
            assert await ask(pool) == b"hello"
            # It had another one before it was over, or not.
            why = r"(lost the connection to|no longer connected to) server: .*broken"
            await until(lambda: re.search(why, caplog.text) is not None)
    assert "unhandled errors" not in caplog.text


async def test_who_moves_opens_streams_on_the_new_session_and_serves_both() -> None:
    places: list[muxado.Dialed] = []
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        async with muxado.connect_pool(server, greet=noting(places)) as pool:
            tasks.start_soon(pool.net_listener().serve, echo)
            before = await pool.open_stream()
            await before.send(b"before")
            assert await before.receive() == b"before"
            assert await places[0].move() is None
            assert pool.state.sessions == 2
            old, new = server.sessions
            for _ in range(20):
                stream = await pool.open_stream()
                await stream.send(b"x")
                await stream.receive()
                assert new.statistics().live_streams
                assert old.statistics().live_streams == 1
                await stream.aclose()
                await until(lambda: not new.statistics().live_streams)
            for one in (old, new):
                asked = await one.open_stream()
                await asked.send(b"served")
                assert await asked.receive() == b"served"
                asked.reset()
            await before.send(b"after")
            assert await before.receive() == b"after"
            before.reset()


async def test_who_can_move_nowhere_is_told_why_and_stays() -> None:
    places: list[muxado.Dialed] = []
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        async with muxado.connect_pool(server, greet=noting(places)) as pool:
            assert await ask(pool) == b"hello"
            server.is_up = False
            assert await places[0].move() == "nobody listens anywhere else"
            assert await ask(pool) == b"hello"


async def test_a_session_that_may_stay_is_replaced_all_the_same_when_its_peer_goes_away() -> None:
    """What was in doubt answers again, and has said in the meantime that it takes no more streams."""
    places: list[muxado.Dialed] = []
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        async with muxado.connect_pool(server, greet=noting(places)) as pool:
            stream = await pool.open_stream()
            await stream.send(b"x")
            await stream.receive()
            server.is_up = False
            places[0].doubt()
            await until(lambda: len(server.dials) > 1)
            server.sessions[0].go_away()
            await until(lambda: not pool.state.is_connected)
            places[0].trust()
            server.is_up = True
            assert await ask(pool) == b"hello"
            assert not server.sessions[0].closed
            stream.reset()


async def test_what_is_no_greeting_is_refused_at_the_call() -> None:
    with pytest.raises(TypeError, match="greet must be a function"):
        muxado.connect_pool("tcp://127.0.0.1:1", greet="hello")  # type: ignore[arg-type]


async def test_a_pool_says_who_dials_in_and_how_each_leaves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "muxado.pool")
    with anyio.fail_after(60):
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            muxado.accept_pool(listener) as pool,
        ):
            async with muxado.connect(listener.url) as session:
                await until(lambda: pool.state.is_connected)
                await session.ping()
            await until(lambda: " left" in caplog.text)
            async with muxado.connect(listener.url) as session:
                await until(lambda: pool.state.is_connected)
                session.go_away(muxado.ErrorCode.INTERNAL_ERROR, b"broken")
            await until(lambda: "lost the connection of 127.0.0.1:" in caplog.text)
    assert caplog.text.count(" connected") == 2
    assert "broken" in caplog.text
    assert {record.levelname for record in caplog.records} <= {"INFO", "WARNING"}


async def test_nobody_waits_for_the_close_of_a_session_with_a_peer_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who takes a connection and never says a word does not answer a goodbye either; the next target is dialed."""
    monkeypatch.setattr("muxado_py.service.keeper.random.sample", lambda urls, number: [*urls])

    @asynccontextmanager
    async def greet(session: muxado.Session, dialed: muxado.Dialed) -> AsyncIterator[None]:
        if dialed.url != "server":
            stream = await session.open_stream()
            await stream.send(b"token")
            raise ConnectionRefusedError("it did not answer")
        yield

    config = muxado.Config(close_timeout=1000.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        async with tasks_for_a_while() as tasks:
            server = Server(tasks)
            async with muxado.connect_pool(
                url, server, each=False, greet=greet, config=config
            ) as pool:
                with anyio.fail_after(60):
                    assert await ask(pool) == b"hello"
            silent.accept()[0].close()  # it was dialed

"""One listener over many sessions."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

import muxado_py as muxado
from muxado_py.cli.sessions_listener import SessionsListener, peer_name

from ..helpers.tasks import this_task

if TYPE_CHECKING:
    from tests.conftest import SessionPair

pytestmark = pytest.mark.anyio


async def echo_once(stream: muxado.Stream) -> None:
    await stream.send(await stream.receive())


async def ask(session: muxado.Session, text: bytes) -> bytes:
    async with await session.open_stream() as stream:
        await stream.send(text)
        return await stream.receive()


async def test_one_handler_serves_the_streams_of_every_session(session_pair: SessionPair) -> None:
    listener = SessionsListener()
    with anyio.fail_after(20):
        async with (
            session_pair() as (agent_a, gateway_a),
            session_pair() as (agent_b, gateway_b),
            anyio.create_task_group() as tasks,
        ):
            for agent in (agent_a, agent_b):
                tasks.start_soon(listener.attach, agent)  # before there is a server
            tasks.start_soon(listener.serve, echo_once)
            assert await ask(gateway_a, b"a") == b"a"
            assert await ask(gateway_b, b"b") == b"b"
            await gateway_a.aclose()
            assert await ask(gateway_b, b"still") == b"still"
            await gateway_b.aclose()
            await listener.aclose()


async def test_a_server_may_have_its_tasks_reused(session_pair: SessionPair) -> None:
    used: set[object] = set()

    async def handle(stream: muxado.Stream) -> None:
        used.add(this_task())
        await echo_once(stream)

    listener = SessionsListener()
    async with session_pair() as (agent, gateway), anyio.create_task_group() as tasks:
        tasks.start_soon(listener.attach, agent)
        tasks.start_soon(partial(listener.serve, handle, tasks, reuse_tasks=True))
        for text in (b"a", b"b", b"c"):
            assert await ask(gateway, text) == text
        await listener.aclose()
        await gateway.aclose()
    assert len(used) == 1


async def call(session: muxado.Session, name: bytes | None) -> bytes:
    metadata = None if name is None else {"name": name}
    async with await session.open_stream(metadata=metadata) as stream:
        await stream.send(b"hello")
        return await stream.receive()


async def test_a_stream_for_what_is_not_served_here_is_refused_each_time(
    session_pair: SessionPair,
) -> None:
    """A gateway that takes one name for another shows nobody the wrong application, and its caller goes elsewhere."""
    served = {"blog"}
    listener = SessionsListener()
    async with session_pair() as (agent, gateway), anyio.create_task_group() as tasks:
        tasks.start_soon(listener.attach, agent, served.__contains__)
        tasks.start_soon(listener.serve, echo_once)
        for name in (b"blog", None):
            assert await call(gateway, name) == b"hello"
        for name in (b"ssh", b"", b"Blog", b"blog\n", b"\xff\x1b", b"x" * 1000):
            with pytest.raises(muxado.StreamRefusedError) as refused:
                await call(gateway, name)
            assert refused.value.retry.safe
        assert await call(gateway, b"blog") == b"hello"
        served.clear()
        with pytest.raises(muxado.StreamRefusedError):
            await call(gateway, b"blog")
        tasks.cancel_scope.cancel()


async def test_who_judges_no_names_serves_all(session_pair: SessionPair) -> None:
    """Not an agent of a gateway, but whoever is dialed: what a peer means by a name is its own affair."""
    listener = SessionsListener()
    async with session_pair() as (agent, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(listener.attach, agent)
        tasks.start_soon(listener.serve, echo_once)
        assert await call(peer, b"anything") == b"hello"
        tasks.cancel_scope.cancel()


async def test_a_closed_listener_refuses_streams_and_sends_sessions_away(
    session_pair: SessionPair,
) -> None:
    listener = SessionsListener()
    with anyio.fail_after(20):
        async with (
            session_pair() as (agent, gateway),
            session_pair() as (late_agent, late_gateway),
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.attach, agent)
            tasks.start_soon(listener.serve, echo_once)
            assert await ask(gateway, b"x") == b"x"
            await listener.aclose()
            with pytest.raises(muxado.StreamError) as refused:
                await ask(gateway, b"y")
            assert refused.value.retry.safe
            await listener.attach(late_agent)  # returns: the other side has nothing to wait for
            assert late_gateway.closed
            tasks.cancel_scope.cancel()


async def test_draining_tells_the_peers_and_closes_the_sessions(session_pair: SessionPair) -> None:
    listener = SessionsListener()
    with anyio.fail_after(20):
        async with session_pair() as (agent, gateway), anyio.create_task_group() as tasks:
            tasks.start_soon(listener.attach, agent)
            tasks.start_soon(listener.serve, echo_once)
            assert await ask(gateway, b"x") == b"x"
            await listener.round_trip()
            await listener.drain(10)
            assert agent.closed
            with pytest.raises(muxado.SessionError) as refused:
                await gateway.net_dial()
            assert refused.value.retry is muxado.Retry.NEVER_SENT
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("host", "name"), [("127.0.0.1", r"127\.0\.0\.1:\d+"), ("[::1]", r"\[::1\]:\d+")]
)
async def test_a_peer_is_named_as_in_a_url(host: str, name: str) -> None:
    with anyio.fail_after(20):
        async with (
            muxado.listen(f"tcp://{host}:0") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, muxado.Session.wait)
            async with muxado.connect(listener.url) as session:
                assert re.fullmatch(name, peer_name(session))
            tasks.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_drain_that_could_not_deliver_stops_no_other(
    session_pair: SessionPair, caplog: pytest.LogCaptureFixture
) -> None:
    listener = SessionsListener()
    with anyio.fail_after(20):
        async with (
            session_pair(muxado.Config(close_timeout=0.5)) as (agent, gateway),
            session_pair() as (other, far),
            anyio.create_task_group() as tasks,
        ):
            stream = await agent.open_stream()
            await stream.send(bytes(300_000))
            unread = await gateway.accept_stream()
            tasks.start_soon(listener.serve, echo_once)
            for one in (agent, other):
                tasks.start_soon(listener.attach, one)
            await anyio.wait_all_tasks_blocked()
            await listener.drain(0.5)
            assert agent.closed
            assert other.closed
            tasks.cancel_scope.cancel()
            unread.reset()
            far.abort()
    assert "bytes of 1 streams" in caplog.text

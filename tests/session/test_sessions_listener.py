"""One listener over many sessions."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

import muxado_py as muxado
from muxado_py.cli.serving.judge import judged
from muxado_py.session.peers import peer_name
from muxado_py.session.sessions_listener import SessionsListener

from ..helpers.blocked import all_tasks_blocked, until
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


@pytest.mark.parametrize(
    ("own_group", "reuse", "count"),
    [(True, None, 1), (True, False, 3), (False, None, 3), (False, True, 1)],
)
async def test_whether_tasks_are_reused_is_as_for_the_listener_of_one_session(
    session_pair: SessionPair, own_group: bool, reuse: bool | None, count: int
) -> None:
    used: list[object] = []

    async def handle(stream: muxado.Stream) -> None:
        used.append(this_task())
        await echo_once(stream)

    listener = SessionsListener()
    async with session_pair() as (agent, gateway), anyio.create_task_group() as tasks:
        tasks.start_soon(listener.attach, agent)
        group = None if own_group else tasks
        tasks.start_soon(partial(listener.serve, handle, group, reuse_tasks=reuse))
        for text in (b"a", b"b", b"c"):
            assert await ask(gateway, text) == text
        await listener.aclose()
        await gateway.aclose()
    assert len(set(used)) == count


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
    listener = SessionsListener(around=partial(judged, served.__contains__))
    async with session_pair() as (agent, gateway), anyio.create_task_group() as tasks:
        tasks.start_soon(listener.attach, agent)
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


@pytest.mark.parametrize("opens_too", [False, True])
async def test_a_server_that_is_cancelled_leaves_the_sessions_and_refuses_their_streams(
    session_pair: SessionPair, opens_too: bool
) -> None:
    """Whoever opens a stream then is told so, and may go elsewhere; nothing else ends."""
    listener = SessionsListener(opens_too=opens_too)
    with anyio.fail_after(20):
        async with session_pair() as (agent, gateway), anyio.create_task_group() as tasks:
            tasks.start_soon(listener.attach, agent)
            async with anyio.create_task_group() as serving:
                serving.start_soon(listener.serve, echo_once)
                assert await ask(gateway, b"x") == b"x"
                serving.cancel_scope.cancel()
            for _ in range(3):
                with pytest.raises(muxado.StreamError) as refused:
                    await ask(gateway, b"y")
                assert refused.value.retry.safe
            assert not agent.closed
            with pytest.raises(anyio.ClosedResourceError):
                await listener.serve(echo_once)
            tasks.cancel_scope.cancel()


async def test_it_tells_when_all_that_was_sent_to_slow_callers_is_delivered(
    session_pair: SessionPair,
) -> None:
    """A session without streams is not waited for."""

    async def answer(stream: muxado.Stream) -> None:
        await stream.receive()
        await stream.send(bytes(3_000_000))

    async def wait() -> None:
        await listener.delivered()
        delivered.set()

    listener, delivered = SessionsListener(), anyio.Event()
    with anyio.fail_after(20):
        async with (
            session_pair() as (agent, gateway),
            session_pair() as (idle, _),
            anyio.create_task_group() as tasks,
        ):
            for one in (agent, idle):
                tasks.start_soon(listener.attach, one)
            tasks.start_soon(listener.serve, answer)
            slow = await gateway.open_stream()
            await slow.send(b"x")
            await until(lambda: agent.statistics().live_streams == 1)
            await listener.round_trip()
            tasks.start_soon(agent.drain, 10)
            tasks.start_soon(wait)
            await all_tasks_blocked()
            assert not delivered.is_set()
            assert len(b"".join([piece async for piece in slow])) == 3_000_000
            await slow.aclose()
            await delivered.wait()
            assert agent.closed
            assert not idle.closed
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

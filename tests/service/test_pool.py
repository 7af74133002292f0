"""Pools: sessions that are kept up, and streams on the best of them."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import muxado_py as muxado

from ..helpers.blocked import all_tasks_blocked, until
from .servers import Server, echo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskGroup

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def tasks_for_a_while() -> AsyncIterator[TaskGroup]:
    # Against what hangs; a machine with much to do is slow with thousands.
    with anyio.fail_after(300):
        async with anyio.create_task_group() as tasks:
            yield tasks
            tasks.cancel_scope.cancel()


async def ask(pool: muxado.Pool, said: bytes = b"hello", **options: Any) -> bytes:
    async with await pool.open_stream(**options) as stream:
        await stream.send(said)
        await stream.send_eof()  # and not close at once: the server would still have it
        return b"".join([piece async for piece in stream])


async def end(stream: muxado.Stream) -> None:
    """End it on both sides.  One that is reset counts at the server until its handler has heard of that, and the next one
    may be refused there."""
    await stream.send_eof()
    assert [piece async for piece in stream] == []


# Streams.


async def test_streams_are_opened_on_the_sessions_of_all_targets() -> None:
    async with tasks_for_a_while() as tasks:
        servers = [Server(tasks, name) for name in ("a", "b")]
        async with muxado.connect_pool(*servers, sessions=2) as pool:
            await until(lambda: pool.state.sessions == 4)
            streams = [await pool.open_stream() for _ in range(400)]
            counts = [one.open_streams for one in pool.state.targets]
            assert sum(counts) == 400
            assert min(counts) > 150
            assert await ask(pool) == b"hello"
            for stream in streams:
                stream.reset()


async def test_a_pool_is_there_before_its_servers() -> None:
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        server.is_up = False
        async with muxado.connect_pool(server) as pool:
            answers: list[bytes] = []

            async def call() -> None:
                answers.append(await ask(pool))

            tasks.start_soon(call)
            await until(lambda: len(server.dials) > 1)
            (target,) = pool.state.targets
            assert target.failure == "nobody is there"
            assert pool.state.waiting == 1
            server.is_up = True
            await until(lambda: answers == [b"hello"])
            (target,) = pool.state.targets
            assert (target.status, target.failure) == ("connected", None)


async def test_who_waited_in_vain_is_told_what_was_wrong_with_each_target() -> None:
    async with tasks_for_a_while() as tasks:
        servers = [Server(tasks, name) for name in ("a", "b")]
        for server in servers:
            server.is_up = False
        async with muxado.connect_pool(*servers) as pool:
            await until(lambda: all(one.failure for one in pool.state.targets))
            with pytest.raises(muxado.PoolTimeoutError) as failed:
                await pool.open_stream(timeout=0.05)
            assert failed.value.retry is muxado.Retry.NEVER_SENT
            assert isinstance(failed.value, TimeoutError)
            assert isinstance(failed.value, OSError)
            assert str(failed.value) == (
                "no stream could be opened in 0.05 s: a: nobody is there; b: nobody is there"
            )
            assert pool.state.waiting == 0


async def test_whoever_waits_for_a_slot_gets_it_in_the_order_of_coming() -> None:
    async with tasks_for_a_while() as tasks:
        server = Server(tasks, config=muxado.Config(max_streams=2))
        async with muxado.connect_pool(server) as pool:
            await ask(pool)  # by now the server has said how many it takes
            await until(lambda: pool.state.open_streams == 0)
            taken = [await pool.open_stream() for _ in range(2)]
            order: list[int] = []

            async def wait(number: int) -> None:
                stream = await pool.open_stream()
                order.append(number)
                taken.append(stream)

            for number in range(20):
                tasks.start_soon(wait, number)
                await all_tasks_blocked()
            assert pool.state.waiting == 20
            for number in range(20):
                assert order == list(range(number))
                await end(taken.pop(0))
                await until(lambda done=number + 1: len(order) == done)  # type: ignore[misc]
            for stream in taken:
                stream.reset()


async def test_thousands_at_once_all_succeed() -> None:
    async with tasks_for_a_while() as tasks:
        server = Server(tasks, config=muxado.Config(max_streams=128))
        answers: list[bytes] = []
        async with muxado.connect_pool(server) as pool:

            async def call() -> None:
                answers.append(await ask(pool))

            async with anyio.create_task_group() as calls:
                for _ in range(2500):
                    calls.start_soon(call)
            assert answers == [b"hello"] * 2500
            assert len(server.dials) == 1


async def test_who_is_cancelled_while_waiting_opens_nothing_and_passes_the_slot_on() -> None:
    async with tasks_for_a_while() as tasks:
        server = Server(tasks, config=muxado.Config(max_streams=1))
        async with muxado.connect_pool(server) as pool:
            await ask(pool)
            await until(lambda: pool.state.open_streams == 0)
            first = await pool.open_stream()
            scopes = [anyio.CancelScope() for _ in range(3)]
            got: list[int] = []

            async def wait(number: int) -> None:
                with scopes[number]:
                    stream = await pool.open_stream()
                    got.append(number)
                    stream.reset()

            for number in range(3):
                tasks.start_soon(wait, number)
                await all_tasks_blocked()
            scopes[0].cancel()
            first.reset()  # in the same turn: the slot may be kept for the one that is cancelled
            await until(lambda: got[-1:] == [2])
            assert got in ([1, 2], [0, 1, 2])  # it may have had its stream before it heard of that
            assert pool.state.waiting == 0
            await until(lambda: not server.sessions[0].statistics().live_streams)
            assert await ask(pool) == b"hello"


async def test_a_session_that_refused_is_avoided_while_there_is_another() -> None:
    async with tasks_for_a_while() as tasks:
        servers = [Server(tasks, name) for name in ("a", "b")]
        async with muxado.connect_pool(*servers) as pool:
            await until(lambda: pool.state.sessions == 2)
            for _ in range(20):
                first = await pool.open_stream()
                second = await pool.open_stream(avoid=[first])
                assert [one.open_streams for one in pool.state.targets] == [1, 1]
                third = await pool.open_stream(avoid=[first, second])
                assert pool.state.open_streams == 3
                for stream in (first, second, third):
                    stream.reset()
                await until(lambda: pool.state.open_streams == 0)


async def test_it_stands_where_a_session_stands() -> None:
    async with tasks_for_a_while() as tasks, muxado.connect_pool(Server(tasks)) as pool:
        stream = await pool.net_dial("example.org", 80, timeout=5)
        await stream.send(b"x")
        assert await stream.receive() == b"x"
        await stream.aclose()


# Sessions that come and go.


async def test_a_lost_session_is_dialed_again() -> None:
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        async with muxado.connect_pool(server) as pool:
            for number in range(3):
                stream = await pool.open_stream()
                await stream.send(b"x")
                assert await stream.receive() == b"x"
                assert len(server.dials) == number + 1
                server.sessions[0].abort()
                with pytest.raises(muxado.SessionError) as lost:
                    await stream.send(b"y")
                    await stream.receive()
                assert not lost.value.retry.safe
                assert await ask(pool) == b"hello"


async def test_a_session_that_goes_away_is_replaced_before_its_last_stream_is_over() -> None:
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        async with muxado.connect_pool(server) as pool:
            async with await pool.open_stream() as old:
                await until(lambda: len(server.sessions) == 1)
                await old.send(b"x")
                assert await old.receive() == b"x"
                (leaving,) = server.sessions
                held = await pool.open_stream()
                tasks.start_soon(leaving.drain)
                await until(lambda: len(server.sessions) == 2)
                assert await ask(pool) == b"hello"
                assert not leaving.closed
                held.reset()
            await until(lambda: pool.state.sessions == 1)
            assert leaving.closed


async def test_one_session_to_one_of_several_targets() -> None:
    async with tasks_for_a_while() as tasks:
        servers = [Server(tasks, name) for name in ("a", "b")]
        async with muxado.connect_pool(*servers, each=False) as pool:
            assert await ask(pool) == b"hello"
            for _ in range(4):
                (used,) = [one for one in servers if one.sessions]
                used.is_up = False
                used.sessions[0].abort()
                await until(lambda old=used: not old.sessions)  # type: ignore[misc]
                assert await ask(pool) == b"hello"
                (now,) = [one for one in servers if one.sessions]
                assert now is not used
                used.is_up = True


async def test_one_server_outlives_all_sessions() -> None:
    """Its handler is served once, however often sessions change."""
    async with tasks_for_a_while() as tasks:
        servers = [Server(tasks, name) for name in ("a", "b")]
        async with muxado.connect_pool(*servers) as pool:
            listener = pool.net_listener()
            tasks.start_soon(listener.serve, echo)
            for _ in range(3):
                for server in servers:
                    await until(lambda one=server: bool(one.sessions))  # type: ignore[misc]
                    session = server.sessions[0]
                    async with await session.open_stream() as stream:
                        await stream.send(b"x")
                        assert await stream.receive() == b"x"
                    session.abort()
                    await until(lambda one=server, old=session: old not in one.sessions)  # type: ignore[misc]
            await listener.aclose()
            for server in servers:
                await until(lambda one=server: bool(one.sessions))  # type: ignore[misc]
                with pytest.raises(muxado.StreamRefusedError):
                    async with await server.sessions[0].open_stream() as stream:
                        await stream.send(b"x")
                        await stream.receive()
            assert await ask(pool) == b"hello"  # the other direction goes on


# What the application sees.


async def test_the_application_is_told_of_each_change() -> None:
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        seen: list[muxado.PoolState] = []
        async with muxado.connect_pool(server, on_change=seen.append) as pool:
            await ask(pool)
            server.is_up = False
            server.sessions[0].abort()
            await until(lambda: pool.state.targets[0].failure == "nobody is there")
        said = [one.targets[0].status for one in seen]
        assert said[:2] == ["connecting", "connected"]
        assert "waiting" in said
        assert [one.is_closing for one in seen][-1]
        waiting = [one.targets[0] for one in seen if one.targets[0].status == "waiting"]
        assert any(one.next_attempt is not None for one in waiting)


async def test_a_callback_that_fails_is_logged_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(state: muxado.PoolState) -> None:
        raise ValueError("mine")

    async with (
        tasks_for_a_while() as tasks,
        muxado.connect_pool(Server(tasks), on_change=fail) as pool,
    ):
        assert await ask(pool) == b"hello"
    assert "ValueError: mine" in caplog.text


async def test_without_trust_nobody_waits(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, _ = tls
    async with (
        tasks_for_a_while() as tasks,
        muxado.listen("tls://127.0.0.1:0", ssl_context=server) as listener,
    ):
        tasks.start_soon(listener.serve, muxado.Session.wait)
        async with muxado.connect_pool(listener.url) as pool:
            with pytest.raises(muxado.PoolError, match="not trusted") as failed:
                await pool.open_stream()
            assert failed.value.retry is muxado.Retry.NEVER_SENT
            assert not isinstance(failed.value, TimeoutError)
            assert pool.state.targets[0].is_untrusted
        tasks.cancel_scope.cancel()


async def test_with_another_target_trust_is_no_reason_to_give_up(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    server, _ = tls
    async with tasks_for_a_while() as tasks:
        other = Server(tasks)
        other.is_up = False
        async with muxado.listen("tls://127.0.0.1:0", ssl_context=server) as listener:
            tasks.start_soon(listener.serve, muxado.Session.wait)
            async with muxado.connect_pool(listener.url, other) as pool:
                await until(lambda: pool.state.targets[0].is_untrusted)
                await until(lambda: pool.state.targets[1].failure)
                with pytest.raises(muxado.PoolTimeoutError, match=r"not trusted.*nobody is there"):
                    await pool.open_stream(timeout=0.01)
                other.is_up = True
                assert await ask(pool) == b"hello"
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("targets", "options", "error", "said"),
    [
        ((), {}, TypeError, "needs a target"),
        (("http://a:1",), {}, ValueError, "no address of a session"),
        ((1,), {}, TypeError, "1"),
        (("tcp://a:1", "tcp://A:1"), {}, ValueError, "named twice"),
        (("tcp://a:1",), {"sessions": 0}, ValueError, "sessions"),
        (("tcp://a:1",), {"sessions": True}, TypeError, "sessions"),
        (("tcp://a:1",), {"each": 1}, TypeError, "each"),
        (("tcp://a:1",), {"on_change": 1}, TypeError, "on_change"),
        (("tcp://a:1",), {"config": 1}, TypeError, "config"),
        (("tcp://a:1",), {"retry": 3}, TypeError, "retry"),
        (("tcp://a:1",), {"config": muxado.Config(wire="auto")}, ValueError, "auto"),
        (("tcp://a:1",), {"ssl_context": ssl.create_default_context()}, ValueError, "tls://"),
        (("tls://a:1",), {"ssl_context": 1}, TypeError, "ssl_context"),
    ],
)
def test_a_wrong_argument_is_said_at_the_call(
    targets: tuple[Any, ...], options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        muxado.connect_pool(*targets, **options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"timeout": -1}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"priority": 1}, TypeError),
        ({"stream_type": 1}, ValueError),
    ],
)
async def test_a_wrong_argument_of_open_stream_is_said(
    options: dict[str, Any], error: type[Exception]
) -> None:
    async with tasks_for_a_while() as tasks, muxado.connect_pool(Server(tasks)) as pool:
        await ask(pool)
        with pytest.raises(error):
            await pool.open_stream(**options)
        assert await ask(pool) == b"hello"


async def test_wrong_metadata_is_said_before_there_is_a_session() -> None:
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        server.is_up = False
        async with muxado.connect_pool(server) as pool:
            with pytest.raises(ValueError, match="visible ASCII"):
                await pool.open_stream(metadata={"no key": b""})
            with pytest.raises(TypeError, match="bytes"):
                await pool.call(b"", metadata={"key": "text"})  # type: ignore[dict-item]


# Its end.


async def test_who_waits_when_the_pool_is_closed_is_told() -> None:
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        server.is_up = False
        told: list[muxado.Retry] = []
        async with muxado.connect_pool(server) as pool:

            async def wait() -> None:
                with pytest.raises(muxado.SessionClosedError, match="you closed this pool") as end:
                    await pool.open_stream()
                told.append(end.value.retry)

            for _ in range(3):
                tasks.start_soon(wait)
            await until(lambda: pool.state.waiting == 3)
        await until(lambda: len(told) == 3)
        assert set(told) == {muxado.Retry.NEVER_SENT}
        with pytest.raises(muxado.SessionClosedError):
            await pool.open_stream()


async def test_draining_finishes_what_is_open_and_opens_no_more() -> None:
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        async with muxado.connect_pool(server) as pool:
            stream = await pool.open_stream()
            tasks.start_soon(pool.drain, 20)
            await until(lambda: pool.state.is_closing)
            with pytest.raises(muxado.GoneAwayError, match="drained") as refused:
                await pool.open_stream()
            assert refused.value.retry is muxado.Retry.NEVER_SENT
            await stream.send(b"x")
            assert await stream.receive() == b"x"
            await stream.aclose()
            await until(lambda: pool.state.sessions == 0)
            assert len(server.dials) == 1


async def test_leaving_says_what_did_not_arrive_on_any_session() -> None:
    async def never(stream: muxado.Stream) -> None:
        await anyio.sleep_forever()

    config = muxado.Config(close_timeout=0.1)
    async with tasks_for_a_while() as tasks:
        servers = [Server(tasks, name, never) for name in ("a", "b")]
        with pytest.raises(muxado.UndeliveredError) as lost:
            async with muxado.connect_pool(*servers, config=config) as pool:
                await until(lambda: pool.state.sessions == 2)
                first = await pool.open_stream()
                second = await pool.open_stream(avoid=[first])
                for stream in (first, second):
                    await stream.send(bytes(300_000))
        assert lost.value.streams == 2
        tasks.cancel_scope.cancel()


async def test_the_application_s_own_error_leaves_the_block_as_itself() -> None:
    async with tasks_for_a_while() as tasks:
        with pytest.raises(KeyError, match="mine"):
            async with muxado.connect_pool(Server(tasks)) as pool:
                await ask(pool)
                raise KeyError("mine")


async def test_a_cancelled_block_is_left_at_once() -> None:
    async with tasks_for_a_while() as tasks:
        server = Server(tasks)
        with anyio.CancelScope() as scope:
            async with muxado.connect_pool(server, "tcp://127.0.0.1:1") as pool:
                await ask(pool)
                scope.cancel()
                await checkpoint()
        assert scope.cancelled_caught
        await until(lambda: not server.sessions)
        with suppress(muxado.MuxadoError):
            await pool.aclose()


# Of those that others dial.


async def test_streams_are_opened_on_whoever_has_dialed_in() -> None:
    async with tasks_for_a_while() as tasks:
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            muxado.accept_pool(listener) as pool,
        ):
            answers: list[bytes] = []

            async def call() -> None:
                answers.append(await ask(pool))

            async def answer() -> None:
                async with muxado.connect(listener.url) as session:
                    await session.net_listener().serve(echo)

            tasks.start_soon(call)
            await until(lambda: pool.state.waiting == 1)
            for _ in range(3):
                tasks.start_soon(answer)
            await until(lambda: pool.state.sessions == 3 and answers == [b"hello"])
            (target,) = pool.state.targets
            assert (target.url, target.status) == (listener.url, "connected")
            served = pool.net_listener()
            tasks.start_soon(served.serve, echo)
            async with (
                muxado.connect(listener.url) as session,
                await session.open_stream() as stream,
            ):
                await stream.send(b"x")
                assert await stream.receive() == b"x"
        assert pool.state.sessions == 0


@pytest.mark.parametrize(
    ("listeners", "options"), [((), {}), (("tcp://a:1",), {}), ((), {"on_change": 1})]
)
def test_a_wrong_argument_of_accept_pool_is_said_at_the_call(
    listeners: tuple[Any, ...], options: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        muxado.accept_pool(*listeners, **options)

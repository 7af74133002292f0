"""Calls over several sessions: what one refuses another takes, in virtual time."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado
from muxado_py import CallLimits, Retry, RetryPolicy

from ..virtual_time import BACKENDS, backend
from .calling import CallingServer, settle
from .servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskGroup

pytestmark = pytest.mark.anyio


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return backend(request.param)


@asynccontextmanager
async def tasks_for_a_while() -> AsyncIterator[TaskGroup]:
    with anyio.fail_after(3600):
        async with anyio.create_task_group() as tasks:
            yield tasks
            tasks.cancel_scope.cancel()


async def hang(request: muxado.CallRequest) -> bytes:
    await anyio.sleep_forever()
    return b""


async def test_a_call_waits_for_a_session() -> None:
    async with tasks_for_a_while() as tasks:
        server = await CallingServer.start(tasks)
        server.is_up = False
        async with muxado.connect_pool(server) as pool:

            async def come() -> None:
                await anyio.sleep(5)
                server.is_up = True

            tasks.start_soon(come)
            assert await pool.call(b"question") == b"QUESTION"
            assert await pool.call(b"question", timeout=5) == b"QUESTION"


async def test_who_waited_for_a_session_in_vain_knows_what_was_wrong() -> None:
    async with tasks_for_a_while() as tasks:
        server = await CallingServer.start(tasks)
        server.is_up = False
        async with muxado.connect_pool(server) as pool:
            with pytest.raises(muxado.CallTimeoutError) as caught:
                await pool.call(b"question", timeout=2)
            assert caught.value.retry is Retry.NEVER_SENT
            assert str(caught.value) == (
                "no answer in 2 s, and nothing of the call was sent: server: nobody is there"
            )


async def test_a_pool_that_is_closed_is_an_error_at_once() -> None:
    async with tasks_for_a_while() as tasks:
        server = await CallingServer.start(tasks)
        async with muxado.connect_pool(server) as pool:
            await pool.call(b"question")
        with pytest.raises(muxado.SessionClosedError) as caught:
            await pool.call(b"question")
        assert caught.value.retry is Retry.NEVER_SENT


async def test_what_one_server_refuses_another_does() -> None:
    """At once: no time passes."""
    async with tasks_for_a_while() as tasks:
        full = CallLimits(max_concurrent=1, max_queue=0)
        servers = [
            await CallingServer.start(tasks, "busy", hang, limits=full),
            await CallingServer.start(tasks, "free"),
        ]
        async with muxado.connect_pool(*servers) as pool:

            async def occupy() -> None:
                with suppress(muxado.SessionClosedError):
                    await pool.call(b"")

            while not servers[0].executed:
                tasks.start_soon(occupy)
                await settle()
            servers[1].executed.clear()
            began = anyio.current_time()
            for number in range(40):
                assert await pool.call(b"call %d" % number) == b"CALL %d" % number
            assert anyio.current_time() == began
        assert servers[1].executed == [b"call %d" % number for number in range(40)]
        assert len(servers[0].executed) == 1


async def test_a_server_that_drains_costs_no_call() -> None:
    async with tasks_for_a_while() as tasks:
        servers = [await CallingServer.start(tasks, name) for name in ("a", "b")]
        async with muxado.connect_pool(*servers) as pool:
            for number in range(100):
                if number % 10 == 5:
                    for session in tuple(servers[number // 10 % 2].sessions):
                        tasks.start_soon(session.drain)
                assert await pool.call(b"call %d" % number) == b"CALL %d" % number
        executed = servers[0].executed + servers[1].executed
        assert sorted(executed) == sorted(b"call %d" % number for number in range(100))


async def test_a_call_that_is_cut_off_is_sent_again_if_it_is_idempotent() -> None:
    async def handler(request: muxado.CallRequest) -> bytes:
        await anyio.sleep(1)
        return b"done"

    async with tasks_for_a_while() as tasks:
        server = await CallingServer.start(tasks, handler=handler)
        async with muxado.connect_pool(server) as pool:
            answers: list[bytes] = []
            failures: list[muxado.MuxadoError] = []

            async def call(idempotent: bool) -> None:
                try:
                    answers.append(await pool.call(b"question", idempotent=idempotent))
                except muxado.MuxadoError as exc:
                    failures.append(exc)

            async with anyio.create_task_group() as callers:
                callers.start_soon(call, True)
                callers.start_soon(call, False)
                await anyio.sleep(0.5)
                server.kill()
            assert answers == [b"done"]
            assert [one.retry for one in failures] == [Retry.UNKNOWN]
            assert len(server.executed) == 3


# Hedging.


@pytest.mark.parametrize("timeout", [None, 60])
async def test_a_slow_server_is_overtaken_by_another(timeout: float | None) -> None:
    async def slow(request: muxado.CallRequest) -> bytes:
        attempts.append(request.metadata.get("attempt", b"1"))
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(request.payload)
        return b""

    attempts: list[bytes] = []
    cancelled: list[bytes] = []
    async with tasks_for_a_while() as tasks:
        servers = [
            await CallingServer.start(tasks, "slow", slow),
            await CallingServer.start(tasks, "quick"),
        ]
        policy = RetryPolicy(hedge_after=0.1)
        async with muxado.connect_pool(*servers, retry=policy) as pool:
            for number in range(20):
                began = anyio.current_time()
                question = b"call %d" % number
                answer = await pool.call(question, idempotent=True, timeout=timeout)
                assert answer == question.upper()
                assert anyio.current_time() - began < 0.2
            await settle()
            # Whoever lost was told so.
            assert cancelled == servers[0].executed
            assert 0 < len(cancelled) < 20
            assert set(attempts) == {b"1"}  # the second attempt was never there
            assert len(servers[1].executed) == 20


async def test_what_is_not_idempotent_is_never_sent_twice_at_once() -> None:
    async with tasks_for_a_while() as tasks:
        server = await CallingServer.start(tasks, handler=hang)
        policy = RetryPolicy(hedge_after=0.1)
        async with muxado.connect_pool(server, sessions=2, retry=policy) as pool:
            with pytest.raises(muxado.CallTimeoutError):
                await pool.call(b"question", timeout=5)
            assert len(server.executed) == 1
            with pytest.raises(muxado.CallTimeoutError):
                await pool.call(b"question", timeout=5, idempotent=True)
            assert len(server.executed) == 3


async def test_what_waits_for_a_session_is_not_slow() -> None:
    """Else all of it would come twice as soon as the server is back."""
    async with tasks_for_a_while() as tasks:
        server = await CallingServer.start(tasks)
        server.is_up = False
        async with muxado.connect_pool(server, retry=RetryPolicy(hedge_after=0.1)) as pool:
            answers: list[bytes] = []

            async def call(number: int) -> None:
                answers.append(await pool.call(b"%d" % number, idempotent=True))

            async with anyio.create_task_group() as calls:
                for number in range(20):
                    calls.start_soon(call, number)
                await anyio.sleep(5)
                assert pool.state.waiting == 20
                server.is_up = True
            statistics = pool.call_statistics()
    assert sorted(answers) == sorted(b"%d" % number for number in range(20))
    assert len(server.executed) == 20
    assert statistics.attempts == 20
    assert statistics.budget >= 100  # nothing was taken


async def test_hedges_are_paid_from_the_budget() -> None:
    async def handler(request: muxado.CallRequest) -> bytes:
        await anyio.sleep(1)
        return b""

    async with tasks_for_a_while() as tasks:
        server = await CallingServer.start(tasks, handler=handler)
        policy = RetryPolicy(hedge_after=0.1, budget_per_second=0.5, budget_share=0)
        async with muxado.connect_pool(server, sessions=2, retry=policy) as pool:
            async with anyio.create_task_group() as callers:
                for _ in range(20):
                    callers.start_soon(lambda: pool.call(b"", idempotent=True))
            assert len(server.executed) == 25


async def test_an_error_that_was_answered_is_the_answer() -> None:
    async def handler(request: muxado.CallRequest) -> bytes:
        await anyio.sleep(0.15 if "attempt" not in request.metadata else 1)
        raise muxado.CallError(muxado.CallStatus.NOT_FOUND, "no such thing")

    async with tasks_for_a_while() as tasks:
        server = await CallingServer.start(tasks, handler=handler)
        policy = RetryPolicy(hedge_after=0.1)
        async with muxado.connect_pool(server, sessions=2, retry=policy) as pool:
            with pytest.raises(muxado.CallError, match="no such thing"):
                await pool.call(b"question", idempotent=True)
            with pytest.raises(TypeError):
                await pool.call(b"question", idempotent=True, priority=3)  # type: ignore[arg-type]


async def test_a_server_that_refuses_all_costs_none_of_the_calls_that_others_take() -> None:
    """It has fewest streams in flight, and would get two thirds of all calls: more than are sent again."""

    async def refuse(stream: muxado.Stream) -> None:
        stream.refuse()

    async def work(request: muxado.CallRequest) -> bytes:
        await anyio.sleep(0.05)
        return b"done"

    async with tasks_for_a_while() as tasks:
        bad = Server(tasks, "bad", refuse)
        good = [await CallingServer.start(tasks, name, work) for name in ("one", "two")]
        async with muxado.connect_pool(bad, *good) as pool:
            await anyio.sleep(1)
            assert pool.state.sessions == 3
            answers: list[bytes] = []

            async def call() -> None:
                answers.append(await pool.call(b"?", timeout=5))

            async with anyio.create_task_group() as callers:
                for _ in range(2000):
                    callers.start_soon(call)
                    await anyio.sleep(0.005)
            attempts = pool.call_statistics().attempts
    assert answers == [b"done"] * 2000
    assert len(good[0].executed) + len(good[1].executed) == 2000
    assert attempts <= 1.2 * 2000

"""A server of calls that is asked for more than it can do, in virtual time."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado
from muxado_py import Caller, CallLimits, Retry

from ..virtual_time import BACKENDS, backend, be_busy
from .calling import settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio

RATE = 500
"""Calls a second that the server can do."""

TIMEOUT = 0.5


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return backend(request.param)


class Load:
    """Calls that come at a rate, whatever becomes of them, and what became of them."""

    def __init__(self, call: Callable[..., Awaitable[bytes]]) -> None:
        self._call = call
        self.answered: list[tuple[float, float]] = []
        """When, and how long it took."""
        self.failed: list[muxado.MuxadoError] = []

    async def _one(self) -> None:
        began = anyio.current_time()
        try:
            await self._call(bytes(64), timeout=TIMEOUT)
        except muxado.MuxadoError as exc:
            self.failed.append(exc)
        else:
            now = anyio.current_time()
            self.answered.append((now, now - began))

    async def run(self, rate: float, seconds: float) -> None:
        began, calls = anyio.current_time(), 0
        async with anyio.create_task_group() as tasks:
            while (past := anyio.current_time() - began) < seconds:
                for _ in range(calls, int(past * rate)):
                    calls += 1
                    tasks.start_soon(self._one)
                await anyio.sleep(0.002)

    def useful(self, begin: float, end: float) -> float:
        """Answers a second."""
        return sum(begin <= when < end for when, _ in self.answered) / (end - begin)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["waits", "computes"])
async def test_at_three_times_the_load_the_server_is_as_useful_as_ever(
    serving: Any, kind: str
) -> None:
    database = anyio.CapacityLimiter(10)
    most = 0

    async def handler(request: muxado.CallRequest) -> bytes:
        nonlocal most
        if kind == "computes":
            be_busy(1 / RATE)
        else:
            async with database:
                await anyio.sleep(10 / RATE)
        most = max(most, accepted.statistics().peer_streams)
        return request.payload

    async with serving(handler) as (dialed, accepted):
        await dialed.wait_for_peer()
        load = Load(Caller(dialed).call)
        began = anyio.current_time()
        await load.run(3 * RATE, 6)
    took = sorted(seconds for _, seconds in load.answered)
    assert load.useful(began + 3, began + 6) >= 0.9 * RATE
    assert took[int(len(took) * 0.99)] <= TIMEOUT
    assert most <= accepted.config.max_streams
    # Who was told that nothing was done may ask elsewhere.
    assert any(one.retry is Retry.REFUSED for one in load.failed)


async def test_handlers_that_compute_for_long_do_it_for_those_who_still_wait(serving: Any) -> None:
    """Whatever comes or goes in a turn of the loop waits for one of them."""
    rate = 25

    async def handler(request: muxado.CallRequest) -> bytes:
        be_busy(1 / rate)
        return request.payload

    async with serving(handler) as (dialed, _):
        await dialed.wait_for_peer()
        load = Load(Caller(dialed).call)
        began = anyio.current_time()
        await load.run(3 * rate, 12)
    # The load's own half of a call waits for handlers, too: not all of its answers are in time.
    in_time = [when for when, took in load.answered if when >= began + 3 and took <= TIMEOUT]
    assert len(in_time) >= 0.9 * rate * 9


async def test_in_an_overload_who_is_answered_is_answered_soon(serving: Any) -> None:
    """All would wait for as long as they may else, and then be answered at the last moment."""

    async def handler(request: muxado.CallRequest) -> bytes:
        await anyio.sleep(0.1)
        return b""

    limits = CallLimits(max_concurrent=1)
    async with serving(handler, limits=limits) as (dialed, _):
        await dialed.wait_for_peer()
        load = Load(
            Caller(dialed, muxado.RetryPolicy(max_refusals=1, sent_per_accepted=math.inf)).call
        )
        began = anyio.current_time()
        await load.run(60, 6)
    assert load.useful(began, began + 6) >= 9
    took = [seconds for when, seconds in load.answered if when > began + 2]
    assert sorted(took)[len(took) // 2] <= 0.2
    assert {one.retry for one in load.failed} == {Retry.REFUSED}


async def test_the_queue_is_bounded_and_who_waits_longest_makes_room(serving: Any) -> None:
    async def handler(request: muxado.CallRequest) -> bytes:
        executed.append(request.payload)
        await anyio.sleep(0.01)
        return b""

    async def call(number: int) -> None:
        try:
            await caller.call(b"%d" % number)
        except muxado.StreamRefusedError:
            refused.append(number)

    executed: list[bytes] = []
    refused: list[int] = []
    limits = CallLimits(max_concurrent=1, max_queue=2)
    async with serving(handler, limits=limits) as (dialed, _):
        await dialed.wait_for_peer()
        caller = Caller(dialed, muxado.RetryPolicy(max_refusals=1))
        async with anyio.create_task_group() as callers:
            for number in range(5):
                callers.start_soon(call, number)
                await settle()
        assert refused == [1, 2]
        assert executed == [b"0", b"4", b"3"]
        await caller.call(b"after")  # and all is well again


async def compute(request: muxado.CallRequest) -> bytes:
    """A handler that takes a tenth of a second of its loop."""
    be_busy(0.1)
    return request.payload


async def hear(answers: list[bytes], caller: Caller, timeout: float | None) -> None:
    """Ask, and keep the answer."""
    answers.append(await caller.call(b"question", timeout=timeout))


@pytest.mark.parametrize("timeout", [None, 200])
async def test_many_patient_calls_are_all_answered_however_slow_the_machine(
    serving: Any, timeout: float | None
) -> None:
    """Most wait for longer than ``max_wait``, and there is nobody for whose sake they should be refused."""
    answers: list[bytes] = []
    async with serving(compute, limits=CallLimits(max_wait=1)) as (dialed, _):
        caller = Caller(dialed, muxado.RetryPolicy(max_refusals=1))
        async with anyio.create_task_group() as callers:
            for _ in range(120):
                callers.start_soon(hear, answers, caller, timeout)
    assert answers == [b"question"] * 120


async def test_one_who_is_in_a_hurry_has_nobody_refused_who_is_not(serving: Any) -> None:
    """It has waited for too long, so there is an overload, and whoever comes with a deadline goes first; the others are answered later."""
    answers: list[bytes] = []
    hurried: list[bytes] = []
    async with serving(compute, limits=CallLimits(max_wait=10)) as (dialed, _):
        patient = Caller(dialed, muxado.RetryPolicy(max_refusals=1))
        async with anyio.create_task_group() as callers:
            for _ in range(120):
                callers.start_soon(hear, answers, patient, None)
            await anyio.sleep(1)
            for _ in range(10):
                with suppress(muxado.MuxadoError):
                    await hear(hurried, Caller(dialed), 2)
    assert answers == [b"question"] * 120
    assert len(hurried) >= 8


async def test_who_has_time_is_refused_soon_where_only_others_get_a_place(serving: Any) -> None:
    """It may ask elsewhere, and here nobody knows for how long it would wait."""

    async def handler(request: muxado.CallRequest) -> bytes:
        await anyio.sleep(0.1)
        return b""

    limits = CallLimits(max_concurrent=1, max_wait=10)
    async with serving(handler, limits=limits) as (dialed, _):
        await dialed.wait_for_peer()
        load = Load(Caller(dialed, muxado.RetryPolicy(max_refusals=1)).call)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(load.run, 30, 5)
            await anyio.sleep(1)
            began = anyio.current_time()
            with pytest.raises(muxado.StreamRefusedError):
                await Caller(dialed, muxado.RetryPolicy(max_refusals=1)).call(b"patient")
            assert anyio.current_time() - began == pytest.approx(2, abs=0.2)


async def test_who_has_no_deadline_is_refused_where_it_goes_on_for_nobody(serving: Any) -> None:
    async def handler(request: muxado.CallRequest) -> bytes:
        await anyio.sleep(50 if request.payload == b"long" else 1000)
        return b""

    limits = CallLimits(max_concurrent=1)
    async with serving(handler, limits=limits) as (dialed, _):
        caller = Caller(dialed, muxado.RetryPolicy(max_refusals=1))
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller.call, b"long")
            await settle()
            tasks.start_soon(caller.call, b"for ever")
            await settle()
            with pytest.raises(muxado.StreamRefusedError):
                await caller.call(b"last")
            assert anyio.current_time() - began == pytest.approx(50 + 60, abs=0.1)
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("wire", ["muxado", "yamux"])
async def test_a_server_without_room_says_so(serving: Any, wire: str) -> None:
    """Where the peer believes no refusal of an accepted stream, it is an answer."""

    async def handler(request: muxado.CallRequest) -> bytes:
        await anyio.sleep(10)
        return b""

    limits = CallLimits(max_concurrent=1, max_queue=0)
    config = muxado.Config(wire=wire)
    async with (
        serving(handler, config, limits=limits) as (dialed, _),
        anyio.create_task_group() as tasks,
    ):
        caller = Caller(dialed, muxado.RetryPolicy(max_refusals=1))
        tasks.start_soon(caller.call, b"")
        await settle()
        with pytest.raises(muxado.MuxadoError) as caught:
            await caller.call(b"")
        if wire == "muxado":
            assert caught.value.retry is Retry.REFUSED
        else:
            assert isinstance(caught.value, muxado.CallError)
            assert caught.value.status == muxado.CallStatus.UNAVAILABLE
        tasks.cancel_scope.cancel()


async def test_who_sends_his_request_slowly_takes_nobodys_place(serving: Any) -> None:
    async def handler(request: muxado.CallRequest) -> bytes:
        return request.payload

    limits = CallLimits(max_concurrent=1, max_queue=0)
    async with serving(handler, limits=limits) as (dialed, _):
        for beginning in (b"", b"\0", b"\0" + bytes(4000)):
            async with await dialed.open_stream() as slow:
                await slow.send(beginning)
                await settle()
                assert await Caller(dialed).call(b"x") == b"x"
        async with await dialed.open_stream() as long:
            await long.send(b"\0" + bytes(9000))  # it has the place now, for so long
            await settle()
            with pytest.raises(muxado.StreamRefusedError):
                await Caller(dialed).call(b"x")
            await anyio.sleep(31)
            assert await Caller(dialed).call(b"x") == b"x"
            assert (await long.receive())[0] == muxado.CallStatus.DEADLINE_EXCEEDED


# What is not sent at all, because most is refused.

FULL = CallLimits(max_concurrent=1, max_queue=0)


async def hang(request: muxado.CallRequest) -> bytes:
    await anyio.sleep_forever()
    return b""


async def test_where_all_are_refused_most_are_not_sent_and_are_told_so(serving: Any) -> None:
    async with serving(hang, limits=FULL) as (dialed, _), anyio.create_task_group() as tasks:
        await dialed.wait_for_peer()
        caller = Caller(dialed)
        tasks.start_soon(caller.call, b"takes the place")
        await settle()
        before = dialed.refused_streams
        load = Load(caller.call)
        await load.run(200, 10)
        told = Counter(one.retry for one in load.failed)
        assert told[Retry.NEVER_SENT] + told[Retry.REFUSED] == len(load.failed) >= 1990
        # Two hundred at ten a second; what was refused before most were is sent again once or twice.
        assert dialed.refused_streams - before <= 400
        assert told[Retry.NEVER_SENT] >= 1700
        for one in load.failed:
            if one.retry is Retry.NEVER_SENT:
                assert isinstance(one, muxado.RetryBudgetError)
                assert str(one).startswith("most calls are refused, so this one was not sent")
        assert caller.statistics().outcomes["never sent"] == told[Retry.NEVER_SENT]
        tasks.cancel_scope.cancel()


async def test_what_is_refused_where_most_is_refused_is_not_sent_again(serving: Any) -> None:
    async with serving(hang, limits=FULL) as (dialed, _), anyio.create_task_group() as tasks:
        await dialed.wait_for_peer()
        caller = Caller(dialed, muxado.RetryPolicy(backoff=0))
        tasks.start_soon(caller.call, b"takes the place")
        await settle()
        load = Load(caller.call)
        await load.run(200, 5)
        attempts, failed = caller.statistics().attempts, len(load.failed)
        await load.run(200, 5)
        refused = sum(one.retry is Retry.REFUSED for one in load.failed[failed:])
        assert caller.statistics().attempts - attempts == refused > 0
        tasks.cancel_scope.cancel()


async def test_all_are_sent_again_when_the_server_has_room(serving: Any) -> None:
    room = anyio.Event()

    async def wait_once(request: muxado.CallRequest) -> bytes:
        await room.wait()
        return b""

    async with serving(wait_once, limits=FULL) as (dialed, _), anyio.create_task_group() as tasks:
        await dialed.wait_for_peer()
        caller = Caller(dialed)
        tasks.start_soon(caller.call, b"takes the place")
        await settle()
        load = Load(caller.call)
        await load.run(200, 5)
        assert not load.answered
        room.set()
        await load.run(200, 6)
        began = anyio.current_time()
        await load.run(200, 2)
    assert load.useful(began, began + 2) >= 199


async def test_who_wants_all_sent_has_all_sent(serving: Any) -> None:
    policy = muxado.RetryPolicy(sent_per_accepted=math.inf, max_refusals=1)
    async with serving(hang, limits=FULL) as (dialed, _), anyio.create_task_group() as tasks:
        await dialed.wait_for_peer()
        caller = Caller(dialed, policy)
        tasks.start_soon(caller.call, b"takes the place")
        await settle()
        load = Load(caller.call)
        await load.run(200, 5)
        assert {one.retry for one in load.failed} == {Retry.REFUSED}
        assert dialed.refused_streams == len(load.failed) >= 990
        tasks.cancel_scope.cancel()

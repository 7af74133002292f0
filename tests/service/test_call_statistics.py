"""What became of calls, summed up by how they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

import muxado_py as muxado
from muxado_py.service.call_statistics import CALL_BUCKETS, OUTCOMES, CallCounters

if TYPE_CHECKING:
    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio


@pytest.mark.slow
async def test_each_call_is_counted_once_by_how_it_ended(session_pair: SessionPair) -> None:
    asked = anyio.Event()

    async def answer(request: muxado.CallRequest) -> bytes:
        if request.payload == b"wrong":
            raise muxado.CallError(muxado.CallStatus.NOT_FOUND)
        if request.payload == b"slow":
            asked.set()
            await anyio.sleep_forever()
        return b"well"

    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        tasks.start_soon(muxado.serve_calls, accepted.net_listener(), answer)
        caller = muxado.Caller(dialed)
        for payload in (b"one", b"two"):
            await caller.call(payload)
        with pytest.raises(muxado.CallError):
            await caller.call(b"wrong")
        with pytest.raises(muxado.CallTimeoutError):
            await caller.call(b"slow", timeout=1)
        asked = anyio.Event()
        async with anyio.create_task_group() as callers:
            callers.start_soon(caller.call, b"slow")
            await asked.wait()
            callers.cancel_scope.cancel()
        await dialed.aclose()
        with pytest.raises(muxado.SessionError):
            await caller.call(b"late")
        statistics = caller.statistics()
        tasks.cancel_scope.cancel()
    assert statistics.outcomes == {
        "answered": 2,
        "error": 1,
        "never sent": 1,
        "refused": 0,
        "unknown": 1,
        "processed": 0,
        "given up": 1,
    }
    assert statistics.attempts == 5
    assert statistics.ended == sum(statistics.outcomes.values()) == 6


async def test_what_is_sent_again_is_another_attempt_of_the_same_call(
    session_pair: SessionPair,
) -> None:
    refused: list[bytes] = []

    async def refuse_once(stream: muxado.Stream) -> None:
        if not refused:
            refused.append(await stream.receive(1))
            stream.refuse()
            return
        await serve(stream)

    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        streams: list[muxado.Stream] = []
        listener = accepted.net_listener()

        async def serve(stream: muxado.Stream) -> None:
            streams.append(stream)
            async with stream:
                async for _ in stream:
                    pass
                await stream.send(b"\0well")

        tasks.start_soon(listener.serve, refuse_once)
        caller = muxado.Caller(dialed)
        assert await caller.call(b"again?") == b"well"
        assert caller.statistics().attempts == 2
        assert caller.statistics().outcomes["answered"] == 1
        tasks.cancel_scope.cancel()


def test_a_call_is_in_the_first_bucket_that_has_room_for_it() -> None:
    counters = CallCounters()
    for seconds in (0.0, CALL_BUCKETS[0], CALL_BUCKETS[1], 1000.0):
        counters.ended(None, seconds)
    buckets = counters.statistics(7).buckets
    assert buckets[:2] == (2, 1)
    assert buckets[-1] == 1
    assert sum(buckets) == 4
    assert counters.statistics(7).budget == 7


def test_there_is_an_outcome_for_each_verdict() -> None:
    assert {verdict.value for verdict in muxado.Retry} <= set(OUTCOMES)

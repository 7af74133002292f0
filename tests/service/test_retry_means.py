"""What is sent again through one pool is bounded together: calls, and the requests of its HTTP clients."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from httpx2 import ConnectError

import muxado_py as muxado
from muxado_py import Retry, RetryPolicy
from muxado_py.integrations import httpx_client

from ..virtual_time import BACKENDS, backend
from .servers import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

ONCE = RetryPolicy(budget_share=0.0, budget_per_second=0.1, backoff=0.0)
"""One retry in ten seconds."""


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return backend(request.param)


class Peers:
    """Two servers that give back each request, once they have read something of it.

    :ivar seen: how many requests came.
    :ivar hold: whether they keep what comes, and say nothing.
    """

    seen = 0
    hold = False

    async def take(self, stream: muxado.Stream) -> None:
        await stream.receive()
        self.seen += 1
        if self.hold:
            await anyio.sleep_forever()
        stream.refuse()


@asynccontextmanager
async def pool_of(peers: Peers, policy: RetryPolicy) -> AsyncIterator[muxado.Pool]:
    with anyio.fail_after(3600):
        async with anyio.create_task_group() as tasks:
            servers = [Server(tasks, name, peers.take, None) for name in ("one", "two")]
            async with muxado.connect_pool(*servers, retry=policy) as pool:
                yield pool
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("first", ["request", "call"])
async def test_calls_and_requests_of_a_pool_pay_from_one_budget(first: str) -> None:
    peers = Peers()
    async with pool_of(peers, ONCE) as pool, httpx_client(pool, retry=ONCE) as client:

        async def call() -> None:
            with pytest.raises(muxado.RetryBudgetError):
                await pool.call(b"?")

        async def request() -> None:
            with pytest.raises(ConnectError) as failed:
                await client.post("http://app/")
            assert isinstance(failed.value.__cause__, muxado.RetryBudgetError)

        for send in (call, request) if first == "call" else (request, call):
            await send()
            assert pool.call_statistics().budget == 0
        assert peers.seen == 3  # one of the two was sent again


async def test_clients_of_one_pool_pay_from_one_budget() -> None:
    peers = Peers()
    async with pool_of(peers, ONCE) as pool:
        for expected in (2, 3):
            async with httpx_client(pool, retry=ONCE) as client:
                with pytest.raises(ConnectError, match="too many requests"):
                    await client.post("http://app/")
            assert peers.seen == expected


async def test_calls_and_requests_have_one_room_for_what_is_kept() -> None:
    policy = RetryPolicy(replay_total=1000, backoff=0.0)
    peers = Peers()
    async with (
        pool_of(peers, policy) as pool,
        httpx_client(pool, retry=policy) as client,
        anyio.create_task_group() as tasks,
    ):
        peers.hold = True
        tasks.start_soon(pool.call, bytes(900))
        await anyio.sleep(1)
        assert peers.seen == 1
        peers.hold = False
        with pytest.raises(ConnectError):
            await client.post("http://app/", content=bytes(200))
        assert peers.seen == 2  # there was no room to keep it
        tasks.cancel_scope.cancel()
    async with pool_of(peers, policy) as pool, httpx_client(pool, retry=policy) as client:
        peers.seen = 0
        for _ in range(2):  # what was kept is let go
            with pytest.raises(ConnectError):
                await client.post("http://app/", content=bytes(900))
        assert peers.seen == 6


@pytest.mark.parametrize(
    "field", ["budget_share", "budget_per_second", "sent_per_accepted", "replay_total"]
)
async def test_numbers_that_would_count_for_nothing_are_refused(field: str) -> None:
    async with pool_of(Peers(), RetryPolicy(max_refusals=5)) as pool:
        with pytest.raises(ValueError, match=rf"{field}=7.*give the pool the same policy"):
            httpx_client(pool, retry=RetryPolicy(**{field: 7}))
        async with httpx_client(pool, retry=RetryPolicy(max_unknown=4, replay_limit=10)) as client:
            with pytest.raises(ConnectError) as failed:
                await client.post("http://app/")
            assert muxado.retry_verdict(failed.value) is Retry.REFUSED

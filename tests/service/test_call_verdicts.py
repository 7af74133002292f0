"""What the caller was told is safe was executed by nobody, and what succeeded was executed once.

Calls over a pool of three servers, in virtual time, while connections are cut at any byte, servers are killed, drained and
have too much to do, and deadlines end: all drawn.  Each request is its own; what handlers were given is held against what
each call was told, at the end of everything.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import muxado_py as muxado
from muxado_py import CallLimits, Retry, RetryPolicy

from ..transports import Cut
from ..virtual_time import BACKENDS, backend
from .calling import CallingServer

if TYPE_CHECKING:
    from anyio.abc import ByteStream

CUTS = st.one_of(st.none(), st.integers(0, 400))
"""Bytes after which a connection is gone."""


@dataclass(frozen=True)
class Ask:
    """One call."""

    at: float
    size: int
    takes: float
    fails: bool
    idempotent: bool
    timeout: float | None


@dataclass(frozen=True)
class Blow:
    """What happens to a server."""

    at: float
    server: int
    kind: str


TIMES = st.sampled_from([0.0, 0.001, 0.01, 0.05, 0.1, 0.3, 1.0])

ASKS = st.builds(
    Ask,
    at=TIMES,
    size=st.sampled_from([0, 10, 300, 5_000, 70_000]),
    takes=st.sampled_from([0.0, 0.01, 0.2, 0.2]),
    fails=st.sampled_from([False, False, False, True]),
    idempotent=st.booleans(),
    timeout=st.sampled_from([None, None, 0.0, 0.005, 0.05, 5.0]),
)
BLOWS = st.builds(
    Blow,
    at=TIMES,
    server=st.integers(0, 2),
    kind=st.sampled_from(["kill", "kill", "kill", "drain", "go away", "fail", "down"]),
)


class Fragile(CallingServer):
    """Connections to it are cut after so many bytes, there and back, one after the other."""

    cuts: list[tuple[int | None, int | None]]

    async def connect(self) -> ByteStream:
        transport = await super().connect()
        there, back = self.cuts.pop(0) if self.cuts else (None, None)
        infinite = float("inf")
        return Cut(
            transport,
            sends=infinite if there is None else there,
            receives=infinite if back is None else back,
        )

    async def suffer(self, kind: str) -> None:
        for session in tuple(self.sessions):
            if kind == "kill":
                session.abort()
            elif kind == "drain":
                with suppress(muxado.UndeliveredError):  # its connection may be cut meanwhile
                    await session.drain(1)
            elif kind == "go away":
                session.go_away()
            elif kind == "fail":
                session.go_away(muxado.ErrorCode.INTERNAL_ERROR)
        if kind == "down":
            self.is_up = False


async def play(
    asks: list[Ask],
    blows: list[Blow],
    cuts: list[tuple[int | None, int | None]],
    full: list[bool],
    hedge_after: float | None,
) -> None:
    executed: Counter[int] = Counter()
    told: dict[int, bytes | muxado.MuxadoError] = {}

    async def handler(request: muxado.CallRequest) -> bytes:
        number = int(request.payload[:4])
        executed[number] += 1
        ask = asks[number]
        await anyio.sleep(ask.takes)
        if ask.fails:
            raise muxado.CallError(muxado.CallStatus.ABORTED, "as was asked")
        return request.payload

    async def call(number: int, ask: Ask) -> None:
        await anyio.sleep(ask.at)
        payload = b"%04d" % number + bytes(ask.size)
        try:
            told[number] = await pool.call(payload, timeout=ask.timeout, idempotent=ask.idempotent)
        except muxado.MuxadoError as exc:
            told[number] = exc

    async def blow(one: Blow) -> None:
        await anyio.sleep(one.at)
        server = servers[one.server]
        assert isinstance(server, Fragile)
        await server.suffer(one.kind)

    async def mend() -> None:
        await anyio.sleep(2)
        for server in servers:
            server.is_up = True

    async with anyio.create_task_group() as tasks:
        servers = [
            await Fragile.start(
                tasks,
                f"server {number}",
                handler,
                limits=CallLimits(max_concurrent=1, max_queue=0) if full[number] else CallLimits(),
            )
            for number in range(3)
        ]
        for number, server in enumerate(servers):
            assert isinstance(server, Fragile)
            server.cuts = cuts[number::3]
        policy = RetryPolicy(hedge_after=hedge_after)
        # What a cut took is told where the pool is closed, too.
        with suppress(muxado.UndeliveredError):
            async with muxado.connect_pool(*servers, retry=policy) as pool:
                async with anyio.create_task_group() as callers:
                    callers.start_soon(mend)
                    for number, ask in enumerate(asks):
                        callers.start_soon(call, number, ask)
                    for one in blows:
                        callers.start_soon(blow, one)
                await anyio.sleep(5)  # whatever is still on its way arrives
        tasks.cancel_scope.cancel()
    assert told.keys() == set(range(len(asks)))
    for number, result in told.items():
        times, ask = executed[number], asks[number]
        if isinstance(result, bytes):
            assert result == b"%04d" % number + bytes(ask.size)
            assert times >= 1
            assert not ask.fails
        elif result.retry.safe:
            assert times == 0, f"{ask} was told {result!r}, {result.retry}"
        elif isinstance(result, muxado.CallError):
            assert result.retry is Retry.PROCESSED
            assert times >= 1
            assert ask.fails
        if not ask.idempotent:
            assert times <= 1, f"{ask} was executed {times} times, and told {result!r}"
        assert times <= 2 * 2 + 1  # two that may have been executed, hedged, and one more


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKENDS)
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    asks=st.lists(ASKS, min_size=4, max_size=12),
    blows=st.lists(BLOWS, max_size=8),
    cuts=st.lists(st.tuples(CUTS, CUTS), max_size=9),
    full=st.tuples(st.booleans(), st.booleans(), st.booleans()).map(list),
    hedge_after=st.sampled_from([None, None, 0.02]),
)
@example(  # a peer that is told less time than there is gives up before its caller does
    asks=[*[Ask(0.0, 0, 0.0, False, False, None)] * 5, Ask(0.01, 0, 0.2, False, True, 0.05)],
    blows=[],
    cuts=[],
    full=[False] * 3,
    hedge_after=0.02,
)
def test_what_was_told_safe_was_executed_by_nobody(name: str, **drawn: Any) -> None:
    kind, options = backend(name)
    anyio.run(partial(play, **drawn), backend=kind, backend_options=options)

"""What calls say of themselves with their streams: to whom, and what is left by then; in virtual time."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import ByteStreamConnectable

import muxado_py as muxado
from muxado_py import Caller

from ..frames_seen import data
from ..scripted_peer import ScriptedPeer
from ..transports import memory_transports
from ..virtual_time import BACKENDS, backend
from .calling import CallingServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from anyio.abc import ByteStream, TaskGroup

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


# To whom.


class Foreign(ByteStreamConnectable):
    """A program of another kind that answers calls, and says nothing before it is asked."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self.asked: list[bytes] = []

    async def connect(self) -> ByteStream:
        near, far = memory_transports()
        self._tasks.start_soon(self.answer, far)
        return near

    async def answer(self, transport: ByteStream) -> None:
        with suppress(anyio.EndOfStream):
            async with transport:
                peer = ScriptedPeer(transport)
                for stream in (3, 5, 7):
                    self.asked.append((await peer.expect("DATA", stream)).body)
                    await peer.say(data(stream, b"\0answer", fin=True))
                await anyio.sleep_forever()


@pytest.mark.parametrize("timeout", [None, 3])
@pytest.mark.parametrize("through", ["session", "pool"])
async def test_a_peer_that_says_nothing_before_it_is_asked_is_asked(
    through: str, timeout: float | None
) -> None:
    async with tasks_for_a_while() as tasks:
        foreign = Foreign(tasks)
        call: Callable[..., Awaitable[bytes]]
        if through == "session":
            async with muxado.client(await foreign.connect()) as session:
                call = Caller(session).call
                assert [await call(b"?", timeout=timeout) for _ in range(3)] == [b"answer"] * 3
        else:
            async with muxado.connect_pool(foreign) as pool:
                assert [await pool.call(b"?", timeout=timeout) for _ in range(3)] == [b"answer"] * 3
        assert foreign.asked == [b"\0?"] * 3


async def test_a_streamed_call_asks_it_too() -> None:
    async with tasks_for_a_while() as tasks:
        foreign = Foreign(tasks)
        async with (
            muxado.connect_pool(foreign) as pool,
            pool.stream_call(timeout=3) as call,
        ):
            await call.send_eof()
            while not foreign.asked:
                await anyio.lowlevel.checkpoint()
        assert foreign.asked[0].startswith(b"\1")


@pytest.mark.parametrize("wire", ["yamux", "smux2"])
async def test_where_nothing_can_be_told_a_call_with_a_deadline_is_made_all_the_same(
    wire: Any,
) -> None:
    async with tasks_for_a_while() as tasks:
        config = muxado.Config(wire=wire, half_close=True)
        server = await CallingServer.start(tasks, config=config)
        async with muxado.connect_pool(server, config=config) as pool:
            for _ in range(3):
                assert await pool.call(b"question", timeout=3) == b"QUESTION"


# What is left.


class Told:
    """Answers calls, and keeps what they said to have left, in seconds."""

    def __init__(self) -> None:
        self.left: list[float] = []

    async def plain(self, request: muxado.CallRequest) -> bytes:
        self.left.append(int(request.metadata["time-left"]) / 1000)
        await anyio.sleep(2 if request.payload == b"takes the slot" else 0)
        return b""

    async def streamed(self, call: muxado.IncomingCall) -> None:
        self.left.append(int(call.metadata["time-left"]) / 1000)


@pytest.mark.parametrize("kind", ["plain", "streamed"])
async def test_who_waited_for_a_session_has_less_left(kind: str) -> None:
    told = Told()
    async with tasks_for_a_while() as tasks:
        server = await CallingServer.start(tasks, handler=told.plain, stream_handler=told.streamed)
        server.is_up = False
        async with muxado.connect_pool(server) as pool:

            async def come() -> None:
                await anyio.sleep(2)
                server.is_up = True

            tasks.start_soon(come)
            began = anyio.current_time()
            if kind == "plain":
                await pool.call(b"question", timeout=20)
            else:
                async with pool.stream_call(timeout=20) as call:
                    await call.send_eof()
                    assert [piece async for piece in call] == []
            waited = anyio.current_time() - began
    assert waited >= 2
    assert told.left == [pytest.approx(20 - waited, abs=0.1)]


@pytest.mark.parametrize("through", ["session", "pool"])
async def test_who_waited_for_a_slot_has_less_left(through: str) -> None:
    told = Told()
    async with tasks_for_a_while() as tasks:
        config = muxado.Config(max_streams=1)
        server = await CallingServer.start(tasks, handler=told.plain, config=config)
        async with (
            muxado.client(await server.connect()) as session,
            muxado.connect_pool(server) as pool,
        ):
            await session.wait_for_peer()
            caller = Caller(Patient(session)) if through == "session" else pool
            await caller.call(b"first", timeout=10)
            tasks.start_soon(lambda: caller.call(b"takes the slot", timeout=10))
            await anyio.sleep(0.5)
            await caller.call(b"waits", timeout=10)
    assert told.left == [pytest.approx(left, abs=0.1) for left in (10, 10, 8.5)]


class Patient:
    """Opens streams of a session, and waits for a slot."""

    def __init__(self, session: muxado.Session) -> None:
        self._session = session

    async def open_stream(self, **options: Any) -> muxado.Stream:
        return await self._session.open_stream(**{**options, "timeout": None})

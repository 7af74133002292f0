"""An agent that stands still: others go first, and who was never sent to it is safe elsewhere."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import pytest
from anyio.abc import ByteStream

import muxado_py as muxado
from muxado_py.cli.agents.agents import Agents

from ... import virtual_time
from ...transports import memory_transports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from muxado_py.cli.agents.agent import Agent

pytestmark = pytest.mark.anyio


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


@pytest.fixture
def nobody_is_suspected() -> None:
    """Here they are, on a clock that no machine makes late."""


class Stopping(ByteStream):
    """A transport below a process that can be stopped: while it is, nothing is received."""

    def __init__(self, transport: ByteStream) -> None:
        self._transport = transport
        self._runs = anyio.Event()
        self._runs.set()

    def stop(self) -> None:
        self._runs = anyio.Event()

    def go_on(self) -> None:
        self._runs.set()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = await self._transport.receive(max_bytes)
        await self._runs.wait()
        return data

    async def send(self, item: bytes) -> None:
        await self._transport.send(item)

    async def send_eof(self) -> None:
        await self._transport.send_eof()

    async def aclose(self) -> None:
        await self._transport.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {}


class Watched(NamedTuple):
    agent: Agent
    peer: muxado.Session
    process: Stopping


@asynccontextmanager
async def watched(wire: str = "muxado", depth: float = 64) -> AsyncIterator[Watched]:
    """An agent among those of a gateway, with the process behind it."""
    agents = Agents()
    near, far = memory_transports(depth)
    process = Stopping(near)
    config = muxado.Config(wire=wire)
    async with (
        muxado.client(process, config) as peer,
        muxado.server(far, config) as session,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(agents.serve, session)
        if wire == "muxado":
            await session.wait_for_peer()
        await anyio.sleep(1)
        with anyio.fail_after(3600):
            yield Watched(agents.destination().agents[0], peer, process)
        process.go_on()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("wire", ["muxado", "yamux"])
async def test_who_does_not_answer_is_suspected_in_a_second_and_trusted_with_the_first_word(
    wire: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(wire) as (agent, _, process):
        process.stop()
        await anyio.sleep(1)
        assert not agent.is_suspect  # nobody has asked it anything
        passage = agent.open({})
        await anyio.sleep(1)
        assert agent.is_suspect
        assert passage in agent.passages  # it may have been heard
        await anyio.sleep(5)
        assert agent.is_suspect
        process.go_on()
        await anyio.sleep(1)
        assert not agent.is_suspect
        passage.reset()
    assert "does not answer; others go first" in caplog.text


async def test_who_works_for_long_and_answers_pings_is_no_suspect() -> None:
    async with watched() as (agent, peer, _):
        passage = agent.open({})
        stream = await peer.accept_stream()
        await anyio.sleep(10)
        assert not agent.is_suspect
        await stream.send(b"done")
        assert await passage.stream.receive() == b"done"
        passage.close()
        stream.close()


@pytest.mark.parametrize("wire", ["smux1", "smux2"])
async def test_who_answers_no_pings_is_no_suspect(wire: str) -> None:
    async with watched(wire) as (agent, _, process):
        process.stop()
        passage = agent.open({})
        await anyio.sleep(5)
        assert not agent.is_suspect
        passage.reset()


async def test_what_never_left_is_taken_back_and_is_safe_to_send_again() -> None:
    async with watched(depth=1) as (agent, _, process):
        process.stop()
        sent = agent.open({})
        await sent.stream.send(b"question")
        await anyio.sleep(0.1)
        while True:  # until the transport takes no more
            blocked = agent.open({})
            await blocked.stream.send(bytes(100_000))
            await anyio.sleep(0.01)
            if blocked.stream.id is None:
                break
        await anyio.sleep(1)
        assert agent.is_suspect
        assert blocked not in agent.passages
        with pytest.raises(muxado.StreamClosedError) as lost:
            await blocked.stream.receive()
        assert lost.value.retry is muxado.Retry.NEVER_SENT
        assert sent in agent.passages
        for passage in list(agent.passages):
            passage.reset()


async def test_the_end_of_the_session_ends_the_suspicion(caplog: pytest.LogCaptureFixture) -> None:
    async with watched() as (agent, _, process):
        process.stop()
        passage = agent.open({})
        with pytest.raises(muxado.SessionError):
            await passage.stream.receive()
    assert "answers again" not in caplog.text

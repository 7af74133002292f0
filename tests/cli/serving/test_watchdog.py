"""An agent leaves a gateway that hangs when another one has taken it, and not before."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import pytest

import muxado_py as muxado
from muxado_py.cli.agents.agents import Agents
from muxado_py.cli.agents.registration import Registration
from muxado_py.cli.serving import watchdog
from muxado_py.cli.serving.registering import Registrant
from muxado_py.service.dialed import Dialed

from ... import virtual_time
from ...transports import memory_transports
from ..agents.test_suspicion import Stopping

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


@pytest.fixture
def nobody_is_suspected() -> None:
    """Here they are, on a clock that no machine makes late."""


class Hanging(Stopping):
    """One that says nothing either."""

    async def send(self, item: bytes) -> None:
        await self._runs.wait()
        await super().send(item)


class Kept(NamedTuple):
    agents: Agents
    """Of the gateway."""
    dialed: Dialed
    process: Hanging
    """The gateway's."""
    session: muxado.Session
    """The agent's side."""


@asynccontextmanager
async def registered(wire: str = "muxado") -> AsyncIterator[Kept]:
    """An agent that serves ``blog``, and looks whether its gateway answers."""
    agents = Agents()
    near, far = memory_transports(64)
    process = Hanging(far)
    config = muxado.Config(wire=wire)
    dialed = Dialed("tcp://one.example:7000", lambda: muxado.client(near, config))
    sessions: list[muxado.Session] = []

    async def attach(session: muxado.Session, dialed: Dialed) -> None:
        registrant = Registrant(Registration(("blog",)), anyio.Event())
        async with registrant.greet(session, dialed):
            sessions.append(session)
            dialed.settle()
            await session.wait()

    async with (
        muxado.server(process, config) as its,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(agents.serve, its)
        tasks.start_soon(dialed.run, attach, anyio.Event())
        with anyio.fail_after(3600):
            await dialed.judged()
            await anyio.sleep(1)
            yield Kept(agents, dialed, process, sessions[0])
        process.go_on()
        tasks.cancel_scope.cancel()


LONG = 2 * watchdog.SILENCE + watchdog.ANSWER + 0.1


async def test_a_gateway_that_answers_is_not_left() -> None:
    async with registered() as kept:
        await anyio.sleep(60)
        kept.process.stop()
        await anyio.sleep(watchdog.ANSWER)  # it was only busy
        kept.process.go_on()
        await anyio.sleep(60)
        assert not kept.dialed.told.is_set()
        assert len(kept.agents.destination("blog").agents) == 1


async def test_one_that_hangs_is_left_when_another_has_taken_the_agent_and_its_callers_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with registered() as kept:
        destination = kept.agents.destination("blog")
        waiting = destination.dial().stream
        await waiting.send(b"hello")
        stream = await kept.session.accept_stream()
        kept.process.stop()
        await anyio.sleep(LONG)
        assert kept.dialed.told.is_set()
        assert "tcp://one.example:7000 does not answer; looking for another gateway" in caplog.text
        kept.dialed.has_moved()
        await anyio.sleep(3)
        kept.process.go_on()
        await anyio.sleep(1)
        assert destination.agents == []
        assert not kept.dialed.over.is_set()
        await stream.send(b"world")
        assert await waiting.receive() == b"world"
        await stream.aclose()
        await waiting.aclose()
        await kept.dialed.over.wait()
        assert kept.dialed.failure is None


async def test_one_that_answers_before_another_is_found_may_stay_and_is_given_more_time() -> None:
    async with registered() as kept:
        for seconds in (LONG, LONG + watchdog.ANSWER):
            kept.process.stop()
            await anyio.sleep(seconds - watchdog.ANSWER)
            assert not kept.dialed.told.is_set()
            await anyio.sleep(watchdog.ANSWER)
            assert kept.dialed.told.is_set()
            kept.dialed.has_moved(why_not="nobody listens anywhere else")
            kept.process.go_on()
            await anyio.sleep(1)
            assert not kept.dialed.told.is_set()
        await anyio.sleep(60)
        assert len(kept.agents.destination("blog").agents) == 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kept.dialed.move)  # which its gateway asks for now
            await anyio.sleep(1)
            assert kept.dialed.told.is_set()
            kept.dialed.has_moved()


@pytest.mark.parametrize("wire", ["smux1", "muxado1"])
async def test_a_program_that_answers_no_pings_is_not_left(wire: str) -> None:
    async with registered(wire) as kept:
        await anyio.sleep(60)
        assert not kept.dialed.told.is_set()

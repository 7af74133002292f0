"""Which agent a caller comes to, and that one agent's trouble is not the caller's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado
from muxado_py.cli.agents.agents import Agents
from muxado_py.config import WIRE_NAMES

from ...helpers.blocked import all_tasks_blocked
from ...scripted_peer import scripted
from ...transports import memory_transports

if TYPE_CHECKING:
    from ...conftest import SessionPair

pytestmark = pytest.mark.anyio


class Dying:
    """A session whose end shows in every call, as anything."""

    heard = True
    closed = False
    is_muxado_py = True
    extra_attributes: dict[Any, Any] = {}  # noqa: RUF012

    async def accept_stream(self) -> muxado.Stream:
        raise muxado.SessionClosedError("over")

    async def wait(self) -> None:
        await anyio.sleep_forever()

    async def wait_for_peer(self, timeout: float) -> None:
        pass

    def open_stream_nowait(self, metadata: object) -> muxado.Stream:
        raise AttributeError("'NoneType' object has no attribute 'getsockname'")


async def test_whatever_is_wrong_with_one_agent_the_next_is_asked(
    session_pair: SessionPair,
) -> None:
    agents = Agents()
    callers = agents.destination()
    newest: Any = Dying()
    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        await peer.ping()
        tasks.start_soon(agents.serve, session)
        await all_tasks_blocked()
        tasks.start_soon(agents.serve, newest)
        await all_tasks_blocked()
        passage = callers.dial()
        assert passage.agent.session is session
        with pytest.raises(ConnectionRefusedError, match="takes more connections"):
            callers.dial([passage.agent])
        passage.reset()
        tasks.cancel_scope.cancel()
    with pytest.raises(ConnectionRefusedError, match="No agent"):
        callers.dial()


@pytest.mark.slow
async def test_whose_first_frame_is_wrong_is_never_called_an_agent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "muxado.cli")
    async with scripted(is_client=False) as (session, peer):
        await peer.say(bytes.fromhex("000003 00 00000003 000000"))
        await Agents().serve(session)
    assert "RST of 3 bytes" in caplog.text
    assert "connected" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRE_NAMES[:-1])
async def test_a_connection_that_never_said_a_frame_comes_last(
    wire: str, session_pair: SessionPair, caplog: pytest.LogCaptureFixture
) -> None:
    """A port scan, or a check of a balancer: it must not be given callers that an agent waits for."""
    caplog.set_level(logging.INFO, "muxado.cli")
    agents = Agents()
    config = muxado.Config(wire=wire)
    near, far = memory_transports()
    async with (
        far,
        session_pair(config) as (peer, session),
        muxado.server(near, config) as scan,
        anyio.create_task_group() as tasks,
    ):
        asked = await peer.open_stream()
        await asked.send(b"hello")
        await (await session.accept_stream()).receive()
        tasks.start_soon(agents.serve, session)
        await all_tasks_blocked()
        tasks.start_soon(agents.serve, scan)
        await all_tasks_blocked()
        passage = agents.destination().dial()
        assert passage.agent.session is session
        passage.reset()
        scan.abort()
        tasks.cancel_scope.cancel()
    assert caplog.text.count("connected") == 1

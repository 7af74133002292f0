"""Which agent a caller comes to, and that one agent's trouble is not the caller's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from muxado_py.cli.agents import Agents

from ..scripted_peer import scripted

if TYPE_CHECKING:
    import muxado_py as muxado

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio


class Dying:
    """A session whose end shows in every call, as anything."""

    is_muxado_py = True
    closed = False
    extra_attributes: dict[Any, Any] = {}  # noqa: RUF012

    def stop_accepting(self) -> None:
        pass

    async def wait(self) -> None:
        await anyio.sleep_forever()

    async def ping(self, timeout: float) -> float:
        return 0.0

    async def net_dial(self) -> muxado.Stream:
        raise AttributeError("'NoneType' object has no attribute 'getsockname'")


async def test_whatever_is_wrong_with_one_agent_the_next_is_asked(
    session_pair: SessionPair,
) -> None:
    agents = Agents()
    newest: Any = Dying()
    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        await peer.ping()
        tasks.start_soon(agents.serve, session)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(agents.serve, newest)
        await anyio.wait_all_tasks_blocked()
        stream, agent = await agents.dial()
        assert agent.session is session
        with pytest.raises(ConnectionRefusedError, match="takes more connections"):
            await agents.dial([agent])
        stream.reset()
        tasks.cancel_scope.cancel()
    with pytest.raises(ConnectionRefusedError, match="No agent"):
        await agents.dial()


async def test_whose_first_frame_is_wrong_is_never_called_an_agent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "muxado.cli")
    async with scripted(is_client=False) as (session, peer):
        await peer.say(bytes.fromhex("000003 00 00000003 000000"))
        await Agents().serve(session)
    assert "RST of 3 bytes" in caplog.text
    assert "connected" not in caplog.text

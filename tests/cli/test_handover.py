"""A gateway that ends gives its agents to another: what it waits for, and what it does not."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import pytest

import muxado_py as muxado
from muxado_py.cli.agents import Agents
from muxado_py.cli.attempt import Attempt
from muxado_py.cli.registering import Registrant
from muxado_py.cli.registration import Call, Lines, Registration, line
from muxado_py.frames import WIRES

from .. import virtual_time
from ..helpers.blocked import all_tasks_blocked
from ..transports import memory_transports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

BLOG = Registration(("blog",), moves=True)
SECONDS = 3600.0


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


@asynccontextmanager
async def session(agents: Agents, wire: str = "muxado") -> AsyncIterator[muxado.Session]:
    """The agent's side of one with a gateway."""
    near, far = memory_transports(64)
    config = muxado.Config(wire=wire)
    async with (
        muxado.client(near, config) as peer,
        muxado.server(far, config) as its,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(agents.serve, its)
        with anyio.fail_after(10 * SECONDS):
            yield peer
        tasks.cancel_scope.cancel()


class Said(NamedTuple):
    stream: muxado.Stream
    lines: Lines
    answer: dict[str, Any]


async def say(peer: muxado.Session, said: bytes) -> Said:
    stream = await peer.open_stream()
    await stream.send(said)
    lines = Lines(stream)
    return Said(stream, lines, await lines.next())


async def handed_over(agents: Agents) -> float:
    """Seconds that it took."""
    began = anyio.current_time()
    await agents.hand_over(SECONDS)
    return anyio.current_time() - began


@pytest.mark.parametrize("wire", WIRES)
async def test_callers_are_led_to_an_agent_that_has_moved_as_long_as_they_come(wire: str) -> None:
    agents = Agents()
    async with session(agents, wire) as peer, anyio.create_task_group() as tasks:
        stream, lines, _ = await say(peer, BLOG.line())
        tasks.start_soon(agents.hand_over, SECONDS)
        assert await lines.next() == {"muxado": 1, "move": True}
        await stream.send(line(moved=True))
        await anyio.sleep(SECONDS / 2)
        agents.destination("blog").dial().stream.send_nowait(b"late")
        assert await (await peer.accept_stream()).receive() == b"late"


async def test_who_has_moved_is_reason_to_let_callers_in_until_the_time_is_over() -> None:
    """Whoever balances between gateways learns in its own time that this one ends."""
    agents = Agents()
    async with session(agents) as peer, anyio.create_task_group() as tasks:
        stream, lines, _ = await say(peer, BLOG.line())

        async def move() -> None:
            await lines.next()
            await stream.send(line(moved=True))

        tasks.start_soon(move)
        assert await handed_over(agents) == pytest.approx(SECONDS)


async def test_nothing_is_waited_for_where_nobody_can_move() -> None:
    agents = Agents()
    async with (
        session(agents) as older,
        session(agents),  # who says nothing of itself
        session(agents) as staying,
        anyio.create_task_group() as tasks,
    ):
        knows_nothing = await say(older, Registration(("blog",)).line())
        stream, lines, _ = await say(staying, BLOG.line())

        async def stay() -> None:
            await lines.next()
            await stream.send(line(stays="nobody else is there"))

        tasks.start_soon(stay)
        assert await handed_over(agents) < 1
        with anyio.move_on_after(1):
            raise AssertionError(await knows_nothing.lines.next())


@pytest.mark.parametrize("leaves", ["says no more", "closes the session"])
async def test_who_leaves_is_not_waited_for(leaves: str) -> None:
    agents = Agents()
    async with session(agents) as peer, anyio.create_task_group() as tasks:
        stream, lines, _ = await say(peer, BLOG.line())

        async def leave() -> None:
            await lines.next()
            if leaves == "says no more":
                stream.reset()
            else:
                await peer.aclose()

        tasks.start_soon(leave)
        assert await handed_over(agents) < 1


async def test_who_does_not_answer_has_its_time() -> None:
    agents = Agents()
    async with session(agents) as peer:
        said = await say(peer, BLOG.line())
        assert await handed_over(agents) == pytest.approx(SECONDS)
        assert await said.lines.next() == {"muxado": 1, "move": True}


async def test_who_answers_what_nobody_asked_loses_its_names() -> None:
    agents = Agents()
    async with session(agents) as peer:
        stream, _, _ = await say(peer, BLOG.line())
        assert agents.served("blog")
        await stream.send(line(moved=True))
        await anyio.sleep(1)
        assert not agents.served("blog")


async def test_who_comes_to_a_gateway_that_ends_is_told_to_go_elsewhere() -> None:
    agents = Agents(forwarded=("blog",))
    await agents.hand_over(SECONDS)
    for said in (BLOG.line(), Call("blog").line()):
        async with session(agents) as peer:
            assert (await say(peer, said)).answer == {"muxado": 1, "refused": "this gateway ends"}


async def test_a_name_that_the_agent_itself_has_elsewhere_now_is_none_that_it_loses() -> None:
    """Where gateways know of each other, the newest session of an agent that is to be alone takes its names from the older."""
    agents, stop = Agents(), anyio.Event()
    registrant = Registrant(Registration(("blog",), exclusive=True), stop)
    attempt = Attempt("", muxado.Config(), None)
    async with session(agents) as peer, anyio.create_task_group() as tasks:
        tasks.start_soon(registrant.attach, peer, attempt, muxado.Session.wait)
        await attempt.judged()
        tasks.start_soon(agents.hand_over, SECONDS)
        await attempt.told.wait()
        (agent,) = agents.destination("blog").agents
        assert agent.control is not None
        agent.control.send_nowait(line(taken=["blog"], by="itself"))
        attempt.has_moved()
        await all_tasks_blocked()
        await anyio.sleep(1)
        assert not stop.is_set()
        assert agent.moving is not None
        assert agent.moving.has_moved
        tasks.cancel_scope.cancel()

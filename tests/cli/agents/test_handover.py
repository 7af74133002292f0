"""A gateway that ends gives its agents to another: what it waits for, and what it does not."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import pytest
from anyio import EndOfStream

import muxado_py as muxado
from muxado_py.cli.agents.agents import MOVING, Agents
from muxado_py.cli.agents.beyond import Alone
from muxado_py.cli.agents.registration import Call, Hop, Lines, Registration, line
from muxado_py.cli.serving.registering import Registrant
from muxado_py.cli.trust.permits import Bounds, Permit
from muxado_py.cli.trust.tokens import add_line, hash_token, make_token, parse_line
from muxado_py.frames import WIRES
from muxado_py.service.dialed import Dialed

from ... import virtual_time
from ...helpers.blocked import all_tasks_blocked
from ...transports import memory_transports
from ..processes import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from muxado_py.cli.agents.agent import Agent

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
    dialed = Dialed("", partial(muxado.connect, ""))

    async def serve(session: muxado.Session) -> None:
        async with registrant.greet(session, dialed):
            dialed.settle()
            await session.wait()

    async with session(agents) as peer, anyio.create_task_group() as tasks:
        tasks.start_soon(serve, peer)
        await dialed.judged()
        tasks.start_soon(agents.hand_over, SECONDS)
        await dialed.told.wait()
        (agent,) = agents.destination("blog").agents
        assert agent.control is not None
        agent.control.send_nowait(line(taken=["blog"], by="itself"))
        dialed.has_moved()
        await all_tasks_blocked()
        await anyio.sleep(1)
        assert not stop.is_set()
        assert agent.moving is not None
        assert agent.moving.has_moved
        tasks.cancel_scope.cancel()


# One agent, when its session has lasted as long as it may.

SHORT = Bounds(session_ttl=100)


async def test_a_session_that_has_had_its_time_moves_and_its_callers_finish() -> None:
    agents = Agents(bounds=SHORT)
    async with session(agents) as peer:
        stream, lines, _ = await say(peer, BLOG.line())
        agents.destination("blog").dial().stream.send_nowait(b"a caller")
        caller = await peer.accept_stream()
        began = anyio.current_time()
        assert await lines.next() == {"muxado": 1, "move": True}
        assert 89 <= anyio.current_time() - began <= 101
        assert agents.served("blog")
        await stream.send(line(moved=True))
        with anyio.fail_after(1):
            await peer.wait_going_away()
        assert agents.destination("blog").agents == []
        assert await caller.receive() == b"a caller"
        await caller.send(b"its answer")


@pytest.mark.parametrize("moves", [False, True], ids=["knows nothing of it", "says nothing"])
async def test_who_does_not_move_is_sent_away_all_the_same(*, moves: bool) -> None:
    agents = Agents(bounds=SHORT)
    async with session(agents) as peer:
        said = await say(peer, Registration(("blog",), moves=moves).line())
        began = anyio.current_time()
        await peer.wait_going_away()
        assert 89 <= anyio.current_time() - began - MOVING * moves <= 101
        assert agents.served("blog") is None
        with pytest.raises((muxado.StreamError, EndOfStream)):
            while True:
                await said.lines.next()


async def test_a_session_without_a_name_and_one_that_calls_have_their_time_too() -> None:
    agents = Agents(bounds=SHORT, forwarded=("blog",))
    async with session(agents) as nameless, session(agents) as calling:
        await say(calling, Call("blog").line())
        with anyio.fail_after(101):
            await nameless.wait_going_away()
            await calling.wait_going_away()


async def test_what_a_token_says_of_its_time_goes_before_what_the_gateway_says() -> None:
    def by_token(agent: Agent, registration: Registration) -> None:
        agent.permit = Permit("laptop", ("*",), bounds=Bounds(session_ttl=1000))

    agents = Agents(by_token, bounds=SHORT)
    async with session(agents) as peer:
        await say(peer, Registration(("blog",)).line())
        began = anyio.current_time()
        await peer.wait_going_away()
        assert 899 <= anyio.current_time() - began <= 1001


async def test_a_session_that_moves_takes_no_place_of_its_holders() -> None:
    agents = Agents(bounds=Bounds(sessions=1, session_ttl=100))
    async with session(agents) as old:
        _, lines, _ = await say(old, BLOG.line())
        async with session(agents) as other:
            assert "refused" in (await say(other, BLOG.line())).answer
        assert await lines.next() == {"muxado": 1, "move": True}
        async with session(agents) as new:
            assert "registered" in (await say(new, BLOG.line())).answer


@pytest.mark.parametrize("wire", ["smux1", "smux2"])
async def test_a_session_that_cannot_be_told_to_go_ends_behind_its_callers(wire: str) -> None:
    """Or a holder would have one more of them each time, of which none counts."""
    agents = Agents(bounds=SHORT)
    async with session(agents, wire) as peer:
        await say(peer, BLOG.line())
        passage = agents.destination("blog").dial()
        passage.stream.send_nowait(b"a caller")
        caller = await peer.accept_stream()
        await anyio.sleep(SECONDS)
        assert not peer.closed
        assert await caller.receive() == b"a caller"
        await caller.send(b"its answer")
        assert await passage.stream.receive() == b"its answer"
        passage.close()
        await anyio.sleep(10)
        assert peer.closed
    assert agents.connected() == []


class Trusting(Alone):
    """Other gateways, whose token is right."""

    def may_hop(self, hop: Hop) -> str | None:
        return None


async def test_another_gateway_stays_where_it_was_an_agent_that_nobody_asked_for_a_token() -> None:
    agents = Agents(bounds=SHORT, beyond=Trusting())
    async with session(agents) as peer:
        assert "hopping" in (await say(peer, Hop("other", "token").line())).answer
        with anyio.move_on_after(SECONDS) as patience:
            await peer.wait_going_away()
        assert patience.cancelled_caught


APP = "tests.cli.apps:starlette_app"


def add(path: Path, rest: str) -> str:
    token = make_token()
    add_line(path, parse_line("laptop", hash_token(token), *rest.split(":")))
    return token


def keep(path: Path, token: str) -> None:
    path.touch(0o600)
    path.write_text(token)


@pytest.mark.slow
def test_an_agent_shows_its_token_anew_and_is_sent_away_when_that_is_over(tmp_path: Path) -> None:
    keep(tmp_path / "token", add(tmp_path / "tokens", "*:max_sessions=1,session_ttl=1"))
    files = ("--token-file", str(tmp_path / "tokens"))
    door = ("--publish", "blog=127.0.0.1:0")
    with running("gateway", "--listen", "tcp://127.0.0.1:0", *door, *files) as gateway:
        url = gateway.wait_for(r"agents connect to (\S+)")
        show = ("--token-file", str(tmp_path / "token"))
        with running("serve", APP, "--connect", url, "--name", "blog", *show) as serve:
            gateway.wait_for("agent laptop@.* has been here for its time", 2)
            gateway.wait_for("agent laptop@.* serves blog", 3)
            keep(tmp_path / "token", make_token())
            serve.wait_for("it refused: the token that it shows is not known here")
            gateway.wait_for(r"agent laptop@.* is gone: .* \(0 left\)")

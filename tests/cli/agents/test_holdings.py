"""How much of a gateway the holder of one token may have at once, whatever he does, and that others lose nothing by it."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado
from muxado_py.cli.agents import suspicion
from muxado_py.cli.agents.agent import Agent
from muxado_py.cli.agents.agents import Agents
from muxado_py.cli.agents.holdings import MAX_ASKED, RETRY_AFTER, Holdings
from muxado_py.cli.agents.registration import Call, Registration
from muxado_py.cli.agents.suspicion import ANSWER, SILENCE
from muxado_py.cli.agents.waiting_room import ADMISSION_TIMEOUT
from muxado_py.cli.trust.permits import Bounds, Permit
from muxado_py.frames import WIRES

from ... import virtual_time
from ...helpers.blocked import all_tasks_blocked
from ...transports import Stuck, memory_transports
from .test_guard import Session
from .test_reception import say, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import ByteStream, TaskStatus

    from muxado_py.cli.agents.destinations import Destination

    Connect = Callable[..., Coroutine[Any, Any, muxado.Session]]

pytestmark = pytest.mark.anyio


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


def by_token(agent: Agent, registration: Registration) -> str | None:
    """The token is its holder's name, and how much that may have, with a slash between."""
    if registration.token is None:
        return "this gateway wants a token"
    name, _, most = registration.token.partition("/")
    sessions, callers = (int(number) if number else None for number in most.split("/"))
    agent.permit = Permit(name, ("*",), bounds=Bounds(sessions, callers))
    return None


@asynccontextmanager
async def connecting(agents: Agents, wire: str = "muxado") -> AsyncIterator[Connect]:
    """What makes sessions with a gateway, each over a transport of its own."""
    config = muxado.Config(wire=wire)

    async def hold(
        makes: Callable[..., AbstractAsyncContextManager[muxado.Session]],
        transport: ByteStream,
        *,
        task_status: TaskStatus[muxado.Session],
    ) -> None:
        async with makes(transport, config) as session:
            task_status.started(session)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:

        async def connect(*around: Callable[[ByteStream], ByteStream]) -> muxado.Session:
            near, far = memory_transports(64)
            for one in around:
                near = one(near)
            peer: muxado.Session = await tasks.start(hold, muxado.client, near)
            tasks.start_soon(serve, agents, await tasks.start(hold, muxado.server, far))
            return peer

        with anyio.fail_after(3600):
            yield connect
        tasks.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def kept() -> Iterator[list[muxado.Stream]]:
    """Streams on which somebody registered, which nobody else holds."""
    yield KEPT
    KEPT.clear()


KEPT: list[muxado.Stream] = []


async def ask(peer: muxado.Session, said: bytes) -> dict[str, Any]:
    stream, answer = await say(peer, said)
    KEPT.append(stream)
    return answer


async def register(peer: muxado.Session, token: str | None) -> dict[str, Any]:
    return await ask(peer, Registration(("blog",), token=token).line())


@pytest.mark.parametrize("wire", WIRES)
async def test_a_holder_has_so_many_sessions_and_others_have_theirs(wire: str) -> None:
    async with connecting(Agents(by_token), wire) as connect:
        first = await connect()
        assert "registered" in await register(first, "one/2/")
        assert "registered" in await register(await connect(), "one/2/")
        answer = await register(await connect(), "one/2/")
        assert answer["refused"] == "one has 2 session(s) here, and may have no more"
        assert answer["retry_after"] == RETRY_AFTER
        assert "registered" in await register(await connect(), "other/2/")
        await first.aclose()
        await all_tasks_blocked()
        assert "registered" in await register(await connect(), "one/2/")


async def test_what_the_gateway_says_holds_for_whoever_has_no_number_of_his_own() -> None:
    async with connecting(Agents(by_token, bounds=Bounds(1))) as connect:
        for token in ("one//", "two//", "three/2/", "three/2/"):
            assert "registered" in await register(await connect(), token)
        for token in ("one//", "two//", "three/2/"):
            assert "refused" in await register(await connect(), token)


async def test_who_was_refused_and_stays_costs_nothing_but_the_time_to_be_let_in() -> None:
    async with connecting(Agents(by_token)) as connect:
        kept = await connect()
        await register(kept, "one/1/")
        flood = [await connect() for _ in range(50)]
        for peer in flood:
            assert "refused" in await register(peer, "one/1/")
        await anyio.sleep(ADMISSION_TIMEOUT)
        await all_tasks_blocked()
        assert all(peer.closed for peer in flood)
        assert not kept.closed


async def test_those_who_show_nothing_have_one_holding_together() -> None:
    """Who finds no room there must register, and is not let in."""
    agents = Agents(bounds=Bounds(2))
    async with connecting(agents) as connect:
        peers = [await connect() for _ in range(3)]
        await all_tasks_blocked()
        assert "registered" in await register(peers[0], None)
        assert "refused" in await register(peers[2], None)
        await anyio.sleep(ADMISSION_TIMEOUT)
        await all_tasks_blocked()
        assert [peer.closed for peer in peers] == [False, False, True]
        assert len(agents.connected()) == 2


async def test_callers_count_for_all_agents_of_a_holder_and_others_take_the_rest() -> None:
    agents = Agents(by_token)
    async with connecting(agents) as connect:
        for token in ("one//3", "one//3", "other//"):
            await register(await connect(), token)
        there = [agents.destination("blog").dial() for _ in range(20)]
        assert sum(passage.agent.holder == "one" for passage in there) == 3
        ended = next(passage for passage in there if passage.agent.holder == "one")
        for _ in range(2):
            ended.reset()  # a second time it is nobody's any more
        there = [agents.destination("blog").dial() for _ in range(20)]
        assert sum(passage.agent.holder == "one" for passage in there) == 1


async def test_where_no_other_serves_the_name_there_is_no_room_for_more_callers() -> None:
    agents = Agents(by_token)
    async with connecting(agents) as connect:
        await register(await connect(), "one//1")
        passage = agents.destination("blog").dial()
        with pytest.raises(ConnectionRefusedError, match="takes more connections"):
            agents.destination("blog").dial()
        passage.close()
        agents.destination("blog").dial().reset()


@pytest.mark.parametrize("wire", WIRES)
async def test_a_session_that_calls_brings_so_many_callers(wire: str) -> None:
    leave = anyio.Event()

    async def serve_caller(destination: Destination, stream: muxado.Stream) -> None:
        async with stream:
            await stream.send(b"served")
            await leave.wait()

    agents = Agents(by_token, forwarded=("blog",), serve_caller=serve_caller)
    async with connecting(agents, wire) as connect:
        peers = [await connect() for _ in range(2)]
        for peer in peers:
            assert "calling" in await ask(peer, Call("blog", "one//2").line())
        served = 0
        for peer in peers * 3:
            stream = await peer.open_stream()
            with suppress(muxado.MuxadoError, anyio.EndOfStream):
                await stream.send(b"x")
                served += await stream.receive() == b"served"
        assert served == 2
        leave.set()
        await anyio.sleep(1)
        stream = await peers[0].open_stream()
        await stream.send(b"x")
        assert await stream.receive() == b"served"


async def test_nobody_waits_for_his_own_dead_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked, because somebody found no room, and is cut off when that comes again."""
    monkeypatch.setattr(suspicion, "ANSWER", ANSWER)
    agents = Agents(by_token)
    async with connecting(agents) as connect:
        transports: list[Stuck] = []

        def stuck(inner: ByteStream) -> ByteStream:
            transports.append(Stuck(inner))
            return transports[-1]

        await register(await connect(stuck), "one/1/")
        await anyio.sleep(1)
        transports[0].hold()
        refused = await register(await connect(), "one/1/")
        assert "refused" in refused
        await anyio.sleep(refused["retry_after"])
        assert "registered" in await register(await connect(), "one/1/")
        assert "refused" in await register(await connect(), "one/1/")
        await anyio.sleep(ADMISSION_TIMEOUT)
        assert len(agents.connected()) == 1
        transports[0].release()
    assert SILENCE + ANSWER < RETRY_AFTER


async def test_who_answers_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspicion, "ANSWER", ANSWER)
    async with connecting(Agents(by_token)) as connect:
        kept = [await connect() for _ in range(MAX_ASKED + 2)]
        bounds = f"one/{len(kept)}/"
        for peer in kept:
            assert "registered" in await register(peer, bounds)
        for _ in range(3):
            assert "refused" in await register(await connect(), bounds)
            await anyio.sleep(RETRY_AFTER)
        assert not any(peer.closed for peer in kept)


async def test_nothing_is_kept_of_a_holder_that_has_left() -> None:
    holdings = Holdings()
    session: Any = Session()
    agents = [Agent(session) for _ in range(10)]
    for number, agent in enumerate(agents):
        agent.permit = Permit(str(number), ())
        for _ in range(2):
            holdings.enter(agent)
    assert len(holdings) == 10
    agents[0].permit = Permit("1", ())
    holdings.enter(agents[0])  # it showed another token
    assert len(holdings) == 9
    for agent in agents * 2:
        holdings.leave(agent)
    assert len(holdings) == 0

"""What the gateway does with the first stream of a session, and with all others, on every wire."""

from __future__ import annotations

import logging
import re
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import pytest

import muxado_py as muxado
from muxado_py.cli.agents import waiting_room
from muxado_py.cli.agents.agents import Agents
from muxado_py.cli.agents.beyond import Alone
from muxado_py.cli.agents.registration import LINE_TIMEOUT, MAX_LINE, Call, Hop, Lines, Registration
from muxado_py.cli.agents.waiting_room import ADMISSION_TIMEOUT
from muxado_py.cli.trust.permits import Bounds
from muxado_py.frames import WIRES

from ... import virtual_time
from ...helpers.blocked import all_tasks_blocked
from ...transports import memory_transports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from muxado_py.cli.agents.agent import Agent
    from muxado_py.cli.agents.destinations import Destination

pytestmark = pytest.mark.anyio


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


class Received(NamedTuple):
    peer: muxado.Session
    """The agent's side."""
    agents: Agents


@asynccontextmanager
async def received(
    agents: Agents | None = None, *, wire: str = "muxado"
) -> AsyncIterator[Received]:
    """An agent's session, among the agents of a gateway."""
    agents = agents or Agents()
    near, far = memory_transports(64)
    config = muxado.Config(wire=wire)
    async with (
        muxado.client(near, config) as peer,
        muxado.server(far, config) as session,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(serve, agents, session)
        with anyio.fail_after(3600):
            yield Received(peer, agents)
        tasks.cancel_scope.cancel()


async def serve(agents: Agents, session: muxado.Session) -> None:
    """As a listener's handler."""
    await agents.serve(session)
    await session.aclose()


async def say(peer: muxado.Session, said: bytes) -> tuple[muxado.Stream, dict[str, Any]]:
    """What is answered on a new stream."""
    stream = await peer.open_stream()
    await stream.send(said)
    return stream, await Lines(stream).next()


def with_token(agent: Agent, registration: Registration) -> str | None:
    return None if registration.token else "this gateway wants a token"


def serves(agents: Agents, name: str | None) -> bool:
    """Whether a caller of ``name`` gets a stream."""
    try:
        agents.destination(name).dial().reset()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize("wire", WIRES)
async def test_an_agent_serves_its_names_as_long_as_its_stream_lasts(wire: str) -> None:
    async with received(wire=wire) as (peer, agents):
        await all_tasks_blocked()
        assert serves(agents, None)
        stream, answer = await say(peer, Registration(("blog", "ssh")).line())
        assert answer == {"muxado": 1, "registered": ["blog", "ssh"]}
        assert serves(agents, "blog")
        assert serves(agents, "ssh")
        assert not serves(agents, "other")
        assert not serves(agents, None)
        stream.close()
        await all_tasks_blocked()
        await anyio.sleep(1)
        assert not serves(agents, "blog")
        assert not serves(agents, None)


async def test_who_came_before_the_names_were_said_is_not_served_under_them() -> None:
    """A door without a name leads to a new agent until it has said its names; it is to show nobody their application."""
    async with received() as (peer, agents):
        await all_tasks_blocked()
        early = agents.destination().dial()
        early.stream.send_nowait(b"for the application without a name")
        await all_tasks_blocked()
        await say(peer, Registration(("blog",)).line())
        assert not early.agent.passages
        agents.destination("blog").dial().stream.send_nowait(b"for the blog")
        assert await (await peer.accept_stream()).receive() == b"for the blog"


async def test_an_agent_that_registers_no_name_serves_what_has_none() -> None:
    async with received(Agents(with_token)) as (peer, agents):
        await all_tasks_blocked()
        assert not serves(agents, None)
        _, answer = await say(peer, Registration(token="right").line())
        assert answer == {"muxado": 1, "registered": []}
        assert serves(agents, None)


async def test_who_may_not_is_told_why_and_serves_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def may_register(agent: Agent, registration: Registration) -> str | None:
        return None if registration.token == "right" else "this token is not known"

    async with received(Agents(may_register)) as (peer, agents):
        stream, answer = await say(peer, Registration(("blog",), token="wrong").line())
        assert answer == {"muxado": 1, "refused": "this token is not known"}
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
        assert not serves(agents, "blog")
        assert not serves(agents, None)
    assert "is refused: this token is not known" in caplog.text
    async with received(Agents(may_register)) as (peer, agents):
        _, answer = await say(peer, Registration(("blog",), token="right").line())
        assert answer["registered"] == ["blog"]
        assert serves(agents, "blog")


async def silent(peer: muxado.Session) -> None:
    pass


async def says_nothing(peer: muxado.Session) -> None:
    await peer.open_stream()


async def says_something_else(peer: muxado.Session) -> None:
    await (await peer.open_stream()).send(b"GET / HTTP/1.1\r\n\r\n")


async def is_refused(peer: muxado.Session) -> None:
    _, answer = await say(peer, Registration(("blog",), token="wrong").line())
    assert answer["refused"] == "no"


@pytest.mark.parametrize(
    ("does", "hint"),
    [
        (silent, "an agent must register here: no"),
        (says_nothing, ""),
        (says_something_else, ""),
        (is_refused, ""),
    ],
)
async def test_who_must_register_and_does_not_is_sent_away(
    does: Callable[[muxado.Session], Awaitable[None]],
    hint: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With a word why, if there was none on a stream."""
    caplog.set_level(logging.INFO, "muxado.cli")

    def nobody(agent: Agent, registration: Registration) -> str | None:
        return "no"

    async with received(Agents(nobody)) as (peer, agents):
        began = anyio.current_time()
        await peer.ping()
        await does(peer)
        with pytest.raises(muxado.SessionError, match=re.escape(hint)) if hint else nullcontext():
            await peer.wait()
        assert anyio.current_time() - began <= ADMISSION_TIMEOUT + 1
        assert not serves(agents, None)
    assert "is sent away: it has not registered" in caplog.text


async def test_who_has_registered_may_stay() -> None:
    async with received(Agents(with_token)) as (peer, agents):
        stream, _ = await say(peer, Registration(("blog",), token="right").line())
        await anyio.sleep(10 * ADMISSION_TIMEOUT)
        assert serves(agents, "blog")
        stream.reset()  # as an agent that stops, and has callers still
        await anyio.sleep(10 * ADMISSION_TIMEOUT)
        assert not serves(agents, "blog")
        assert not serves(agents, None)
        await peer.ping()


async def test_names_that_are_none_are_refused() -> None:
    async with received() as (peer, agents):
        _, answer = await say(peer, b'{"muxado": 1, "register": ["Blog"]}\n')
        assert "is not a name" in answer["refused"]
        assert not serves(agents, None)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"{" * 3 * MAX_LINE])
async def test_who_says_something_else_is_answered_and_is_an_agent_without_names(
    wire: str, said: bytes
) -> None:
    async with received(wire=wire) as (peer, agents):
        _, answer = await say(peer, said)
        assert "line" in answer["refused"]
        assert serves(agents, None)


async def test_who_says_nothing_is_waited_for_a_bounded_time() -> None:
    async with received() as (peer, _):
        stream = await peer.open_stream()
        await peer.ping()
        began = anyio.current_time()
        assert await Lines(stream).next() == {
            "muxado": 1,
            "refused": f"no line came in {LINE_TIMEOUT:g} s",
        }
        assert anyio.current_time() - began == pytest.approx(LINE_TIMEOUT, abs=0.1)
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()


@pytest.mark.parametrize("first", [b"", Registration(("blog",)).line()])
async def test_no_other_stream_is_taken_and_nothing_of_it_is_kept(first: bytes) -> None:
    async with received() as (peer, agents):
        control = await peer.open_stream()
        await control.send(first)
        for _ in range(3):
            stream = await peer.open_stream()
            await stream.send(bytes(100_000))
            with pytest.raises(muxado.StreamRefusedError) as refused:
                await stream.receive()
            assert refused.value.retry.safe
        assert peer.statistics().live_streams == 1
        assert serves(agents, "blog") == bool(first)


async def test_who_says_more_than_a_registration_loses_its_names(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with received() as (peer, agents):
        stream, _ = await say(peer, Registration(("blog",)).line())
        await stream.send(b"x")
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
        assert not serves(agents, "blog")
    assert "said more than a registration" in caplog.text


@pytest.mark.parametrize("wire", WIRES)
async def test_a_drain_does_not_wait_for_the_registration(wire: str) -> None:
    async with received(wire=wire) as (peer, agents):
        stream, _ = await say(peer, Registration(("blog",)).line())
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agents.drain, 60.0)
            with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
                await stream.receive()
            stream.reset()
            await peer.wait()
        assert anyio.current_time() - began < 10


async def test_names_that_peers_make_up_are_forgotten_with_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "muxado.cli")
    agents = Agents()
    for number in range(3):
        async with received(agents) as (peer, _):
            await say(peer, Registration((f"n{number}", "kept")).line())
    assert agents.names() == []
    agents.destination("kept")
    assert agents.names() == ["kept"]
    assert "serves n2, kept" in caplog.text


async def test_who_wants_a_name_alone_takes_it_and_the_older_is_told() -> None:
    agents = Agents()
    async with received(agents) as (older, _), received(agents) as (newer, _):
        control, _ = await say(older, Registration(("blog", "shop")).line())
        callers = agents.destination("blog")
        before = callers.dial()
        _, answer = await say(newer, Registration(("blog",), exclusive=True).line())
        assert answer["registered"] == ["blog"]
        told = await Lines(control).next()
        assert told == {"muxado": 1, "taken": ["blog"], "by": "(unnamed)"}
        assert [callers.dial().agent for _ in range(4)] != [before.agent] * 4
        assert before.agent not in callers.agents
        assert before in before.agent.passages  # it goes on
        assert agents.destination("shop").dial().agent is before.agent
        assert before.agent.registration == Registration(("shop",))


async def test_a_name_that_one_has_alone_is_not_shared_until_it_leaves() -> None:
    agents = Agents()
    async with received(agents) as (other, _):
        async with received(agents) as (alone, _):
            kept = await say(alone, Registration(("blog",), exclusive=True).line())
            assert kept[1]["registered"] == ["blog"]
            _, answer = await say(other, Registration(("blog", "shop")).line())
            assert answer == {"muxado": 1, "refused": "another agent serves blog, alone"}
            assert not serves(agents, "shop")
        async with received(agents) as (later, _):
            _, answer = await say(later, Registration(("blog",)).line())
            assert answer["registered"] == ["blog"]


async def test_the_newest_of_those_who_want_it_alone_has_it() -> None:
    agents = Agents()
    alone = Registration(("blog",), exclusive=True).line()
    async with received(agents) as (first, _), received(agents) as (second, _):
        control, _ = await say(first, alone)
        kept = await say(second, alone)
        assert (await Lines(control).next())["taken"] == ["blog"]
        assert len(agents.destination("blog").agents) == 1
        control.close()  # the loser's end takes nothing from the owner
        await all_tasks_blocked()
        await anyio.sleep(1)
        assert serves(agents, "blog")
        assert kept[1]["registered"] == ["blog"]


def back(*names: str, had: float) -> bytes:
    """What an agent says that was away for so long."""
    return Registration(names, exclusive=True, had=had).line()


async def test_who_comes_back_to_a_name_that_a_newer_one_has_alone_is_told() -> None:
    """Its connection was dead, so it did not hear of that; and there need be no room for it."""
    agents = Agents(bounds=Bounds(sessions=2))
    alone = Registration(("blog",), exclusive=True).line()
    async with received(agents) as (older, _), received(agents) as (newer, _):
        kept = [await say(older, alone)]
        await anyio.sleep(10)
        kept.append(await say(newer, alone))
        await anyio.sleep(60)
        async with received(agents) as (again, _):
            assert (await say(again, back("blog", "shop", had=65.0)))[1] == {
                "muxado": 1,
                "refused": "the newer agent (unnamed) serves blog, alone",
                "taken": ["blog"],
                "by": "(unnamed)",
            }
        await anyio.sleep(1)
        (owner,) = agents.destination("blog").agents
        assert owner.control is not None
        assert not serves(agents, "shop")


@pytest.mark.parametrize("had", [0.0, 59.0])
async def test_who_comes_back_takes_the_name_from_one_that_is_older(had: float) -> None:
    """Or from its own session, whose end the gateway has not noticed."""
    agents = Agents()
    async with received(agents) as (older, _), received(agents) as (again, _):
        control, _ = await say(older, Registration(("blog",), exclusive=True).line())
        await anyio.sleep(60)
        kept = await say(again, back("blog", had=had))
        assert kept[1]["registered"] == ["blog"]
        assert (await Lines(control).next())["taken"] == ["blog"]


async def test_an_answer_that_was_lost_makes_nobody_newer_than_itself() -> None:
    """How long a line is under way is different each time."""
    agents = Agents()
    async with received(agents) as (first, _), received(agents) as (second, _):
        kept = [await say(first, back("blog", had=10.0))]
        await anyio.sleep(1)
        kept.append(await say(second, back("blog", had=11.9)))
        assert [answer["registered"] for _, answer in kept] == [["blog"], ["blog"]]


async def test_who_has_a_name_again_is_no_newer_for_it() -> None:
    """It was away when nobody had the name; then the one comes back that came after it."""
    agents = Agents()
    async with received(agents) as (older, _), received(agents) as (newer, _):
        control, _ = await say(older, back("blog", had=100.0))
        kept = await say(newer, back("blog", had=50.0))
        assert kept[1]["registered"] == ["blog"]
        assert (await Lines(control).next())["taken"] == ["blog"]


async def test_a_review_sends_away_who_may_not_stay_and_nobody_whose_names_another_has() -> None:
    def named(agent: Agent, registration: Registration) -> str | None:
        return None if registration.names else "this token is not for doors without a name"

    agents = Agents(with_token)
    async with received(agents) as (older, _), received(agents) as (newer, _):
        kept = [
            await say(older, Registration(("blog",), token="right").line()),
            await say(newer, Registration(("blog",), exclusive=True, token="right").line()),
        ]
        agents.review(named)
        await all_tasks_blocked()
        assert not older.closed
        assert serves(agents, "blog")
        agents.review(lambda agent, registration: "the token is not known any more")
        assert not serves(agents, "blog")
        await newer.wait()
        assert not older.closed
        assert [answer["registered"] for _, answer in kept] == [["blog"], ["blog"]]


async def test_a_review_judges_those_too_that_never_registered() -> None:
    """What has no name needs none, and a certificate that is for any name may be revoked."""
    agents = Agents()
    async with received(agents) as (peer, _):
        await peer.ping()
        agents.review(lambda agent, registration: None)
        assert serves(agents, None)
        agents.review(lambda agent, registration: "no" if not registration.names else None)
        assert not serves(agents, None)
        await peer.wait()


async def test_no_more_than_so_many_wait_to_be_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """They hold a session each for a while, and whoever reaches the gateway may be one of them."""
    monkeypatch.setattr(waiting_room, "MAX_WAITING", 3)
    agents = Agents(with_token)
    async with AsyncExitStack() as stack:
        peers = []
        for number in range(6):
            peer, _ = await stack.enter_async_context(received(agents))
            peers.append(peer)
            if number == 0:
                kept = await say(peer, Registration(("blog",), token="right").line())
            await peer.ping()
            await all_tasks_blocked()
        assert [peer.closed for peer in peers] == [False, True, True, False, False, False]
        assert serves(agents, "blog")
        assert kept[1]["registered"] == ["blog"]


@pytest.mark.parametrize("wire", WIRES)
async def test_the_streams_of_a_session_that_calls_are_callers_until_its_first_one_ends(
    wire: str,
) -> None:
    led: list[str | None] = []

    async def serve_caller(destination: Destination, stream: muxado.Stream) -> None:
        led.append(destination.name)
        await stream.send(b"served")
        await stream.aclose()

    agents = Agents(forwarded=("blog",), serve_caller=serve_caller)
    async with received(agents, wire=wire) as (peer, _):
        control, answer = await say(peer, Call("blog").line())
        assert answer == {"muxado": 1, "calling": "blog"}
        assert not serves(agents, None)  # it is no agent
        for _ in range(3):
            stream = await peer.open_stream()
            await stream.send(b"x")
            assert await stream.receive() == b"served"
            stream.close()
        control.close()
        await anyio.sleep(1)
        stream = await peer.open_stream()
        await stream.send(b"x")
        with pytest.raises((muxado.StreamError, anyio.EndOfStream)):
            await stream.receive()
        stream.reset()
    assert led == ["blog"] * 3


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (Call("ssh").line(), "forwards no calls to ssh (muxado gateway --allow-forward)"),
        (Call("blog", "wrong").line(), "not known"),
        (b'{"muxado": 1, "call": "Blog"}\n', "is not a name"),
        (b'{"muxado": 1, "call": ["blog"]}\n', "call must be a name"),
        (b'{"muxado": 1, "call": "blog", "token": 1}\n', "token must be"),
    ],
)
async def test_who_may_not_call_is_told_why_and_no_stream_of_it_is_taken(
    call: bytes, why: str
) -> None:
    def may_register(agent: Agent, registration: Registration) -> str | None:
        return None if registration.token == "right" else "this token is not known"

    async with received(Agents(may_register, forwarded=("blog",))) as (peer, agents):
        _, answer = await say(peer, call)
        assert why in answer["refused"]
        # It must register, and did not: the session is about to end.
        with pytest.raises((muxado.StreamRefusedError, muxado.GoneAwayError)):
            stream = await peer.open_stream()
            await stream.send(b"x")
            await stream.receive()
        assert not serves(agents, None)
    async with received(Agents(may_register, forwarded=("blog",))) as (peer, _):
        kept = await say(peer, Call("blog", "right").line())
        assert kept[1] == {"muxado": 1, "calling": "blog"}


async def test_a_review_sends_away_who_may_not_call_any_more() -> None:
    async with received(Agents(forwarded=("blog",))) as (peer, agents):
        kept = await say(peer, Call("blog", "token").line())
        agents.review(lambda agent, registration: None)
        await all_tasks_blocked()
        assert not peer.closed
        agents.review(lambda agent, registration: f"{registration.token} is not known any more")
        await peer.wait()
        assert kept[1]["calling"] == "blog"


@pytest.mark.parametrize("wire", WIRES)
async def test_no_stream_is_led_of_a_session_that_may_not_call_any_more(wire: str) -> None:
    """Whatever it makes of it that it is told to go: the next stream is judged by what holds now."""
    led: list[bytes] = []

    async def serve_caller(destination: Destination, stream: muxado.Stream) -> None:
        async with stream:
            led.append(await stream.receive())
            await stream.send(b"served")
            led.append(await stream.receive())

    agents = Agents(forwarded=("blog",), serve_caller=serve_caller)
    async with received(agents, wire=wire) as (peer, _):
        kept = await say(peer, Call("blog", "token").line())
        earlier = await peer.open_stream()
        await earlier.send(b"earlier")
        assert await earlier.receive() == b"served"
        agents.review(lambda agent, registration: "the token is revoked")
        later = peer.open_stream_nowait()  # it has not heard of that
        later.send_nowait(b"later")
        with suppress(muxado.MuxadoError, anyio.EndOfStream):
            assert not await later.receive()
        await earlier.send(b"goes on")
        await all_tasks_blocked()
        assert led == [b"earlier", b"goes on"]
        assert kept[1]["calling"] == "blog"


class Trusting(Alone):
    """Other gateways, whose token is right."""

    def may_hop(self, hop: Hop) -> str | None:
        return None


async def test_another_gateway_is_judged_when_it_comes_and_at_each_review() -> None:
    """Its certificate may be revoked, though it shows the token of the cluster."""
    hopping = {"muxado": 1, "hopping": "other"}
    async with received(Agents(beyond=Trusting())) as (peer, agents):
        kept = await say(peer, Hop("other", "token").line())
        assert kept[1] == hopping
        agents.review(lambda agent, registration: None)
        await all_tasks_blocked()
        assert not peer.closed
        agents.review(lambda agent, registration: "its certificate is revoked")
        await peer.wait()
    async with received(Agents(may_hop=lambda agent: "revoked", beyond=Trusting())) as (peer, _):
        kept = await say(peer, Hop("other", "token").line())
        assert kept[1] == {"muxado": 1, "refused": "revoked"}

"""What is served at one gateway is reached through another, and what that costs when something is wrong."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import click
import pytest

import muxado_py as muxado
from muxado_py.cli.agents.registration import Hop, RegistrationError
from muxado_py.cli.cluster.memory import MemoryRegistry
from muxado_py.cli.cluster.neighbours import Neighbours
from muxado_py.cli.cluster.nodes import Node
from muxado_py.cli.serving.registering import say

from ...helpers.blocked import all_tasks_blocked
from ..agents.test_introductions import Telling, call, written
from ..http_door.door import OK, Replying, request
from ..test_gateway import agent, ask, everything, greeting, saying
from .several import TOKEN, Gone, registered, several

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.usefixtures("way")]

POST = request(
    b"Connection: close",
    b"Content-Length: 5",
    start=b"POST / HTTP/1.1",
    name=b"blog",
    body=b"hello",
)
BIG = b"x" * 300_000


async def test_bytes_and_half_closes_hop_both_ways() -> None:
    registry = MemoryRegistry()
    async with (
        several(2, registry) as (entry, owner),
        agent(owner.url, saying(b"hello "), names=("blog",)),
    ):
        await registered(registry, "blog")
        for text in (b"world", BIG, b"again"):
            async with (
                await anyio.connect_tcp("127.0.0.1", entry.blog) as caller,
                anyio.create_task_group() as tasks,
            ):

                async def talk(caller: anyio.abc.ByteStream = caller, text: bytes = text) -> None:
                    await caller.send(text)
                    await caller.send_eof()

                tasks.start_soon(talk)
                assert await everything(caller) == b"hello " + text


async def test_requests_hop_and_bodies_with_them() -> None:
    registry, app = MemoryRegistry(), Replying()
    async with several(2, registry) as (entry, owner), agent(owner.url, app, names=("blog",)):
        await registered(registry, "blog")
        for number in range(1, 4):
            assert (await ask(entry.http, POST)).endswith(b"ok")
            assert len(app.heard) == number
            assert app.heard[-1].endswith(b"\r\n\r\nhello")


async def test_an_agent_is_told_who_called_the_other_gateway() -> None:
    registry, app = MemoryRegistry(), Telling()
    async with several(2, registry) as (entry, owner), agent(owner.url, app, names=("blog",)):
        await registered(registry, "blog")
        caller = await call(entry.blog)
    assert app.told == [{"caller": written(caller), "name": b"blog"}]
    assert app.seen == [caller]


async def test_agents_here_go_first() -> None:
    registry = MemoryRegistry()
    async with (
        several(2, registry) as (entry, owner),
        agent(owner.url, saying(b"far"), names=("blog",)),
    ):
        await registered(registry, "blog")
        assert await greeting(entry.blog) == b"far"
        async with agent(entry.url, saying(b"yes"), names=("blog",)):
            assert [await greeting(entry.blog) for _ in range(4)] == [b"yes"] * 4
        await registered(registry, "blog")
        assert await greeting(entry.blog) == b"far"


async def test_what_nobody_serves_is_a_503_and_said_to_have_run_nowhere() -> None:
    async with several(2, MemoryRegistry()) as (entry, _):
        answer = await ask(entry.http, POST)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"No agent serves blog now." in answer
        assert b"503" in await ask(entry.blog)


async def test_what_agents_of_one_gateway_refuse_goes_to_those_of_the_next() -> None:
    registry, app = MemoryRegistry(), Replying()
    async with (
        several(3, registry) as (entry, one, other),
        agent(one.url, Replying(), names=("blog",)) as refusing,
        agent(other.url, app, names=("blog",)),
    ):
        refusing.stop_accepting()
        await registered(registry, "blog", nodes=2)
        for number in range(1, 9):
            assert (await ask(entry.http, POST)).endswith(b"ok")
            assert len(app.heard) == number
        assert (await ask(entry.blog, POST)).endswith(b"ok")


async def test_what_may_have_run_at_an_agent_of_another_gateway_is_not_sent_again() -> None:
    registry, seen = MemoryRegistry(), 0

    async def dies(stream: muxado.Stream) -> None:
        nonlocal seen
        await stream.receive()
        seen += 1
        stream.reset()

    async with (
        several(3, registry) as (entry, one, other),
        agent(one.url, dies, names=("blog",)),
        agent(other.url, dies, names=("blog",)),
    ):
        await registered(registry, "blog", nodes=2)
        for number, port in enumerate((entry.http, entry.blog, entry.http), 1):
            assert (await ask(port, POST)).startswith(b"HTTP/1.1 502 ")
            assert seen == number


async def test_an_agent_that_moves_to_another_gateway_is_found_there() -> None:
    """What is known of it is wrong then: that costs a try, and no caller."""
    registry = MemoryRegistry()
    async with several(3, registry) as (entry, one, other):
        for owner in (one, other, one):
            async with agent(owner.url, saying(b"yes"), names=("blog",)):
                await registered(registry, "blog")
                assert await greeting(entry.blog) == b"yes"
            await registered(registry, "blog", nodes=0)


async def test_who_hopped_goes_no_further() -> None:
    registry = MemoryRegistry()
    async with (
        several(3, registry) as (entry, between, owner),
        agent(owner.url, saying(b"far"), names=("blog",)),
        muxado.connect(between.url) as session,
    ):
        await registered(registry, "blog")
        assert await greeting(between.blog) == b"far"
        await say(session, Hop("me", TOKEN).line(), "hopping")
        stream = await session.open_stream(metadata={"name": b"blog"})
        await stream.send(b"hello")
        with pytest.raises(muxado.StreamRefusedError) as caught:
            await stream.receive()
        assert caught.value.retry.safe
        assert await greeting(entry.blog) == b"far"


@pytest.mark.parametrize("metadata", [{}, {"name": b"\xff"}, {"name": b"nobody"}])
async def test_a_stream_that_names_nobody_is_refused(metadata: dict[str, bytes]) -> None:
    async with several(1, MemoryRegistry()) as (gate,), muxado.connect(gate.url) as session:
        await say(session, Hop("me", TOKEN).line(), "hopping")
        stream = await session.open_stream(metadata=metadata or None)
        await stream.send(b"hello")
        with pytest.raises(muxado.StreamRefusedError):
            await stream.receive()


async def test_only_a_gateway_of_the_cluster_may_lead_callers() -> None:
    async with several(1, MemoryRegistry()) as (gate,):
        for said in (Hop("me", "another").line(), b'{"muxado":1,"hop":"me"}\n'):
            async with muxado.connect(gate.url) as session:
                with pytest.raises(RegistrationError, match="token"):
                    await say(session, said, "hopping")
                stream = await session.open_stream()
                await stream.send(b"hello")
                with pytest.raises(muxado.StreamError):
                    await stream.receive()


async def test_a_gateway_with_another_token_is_left_alone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muxado_py.cli.cluster.routes.MOVING", 0.5)
    caplog.set_level(logging.WARNING, "muxado.cli")
    registry = MemoryRegistry()
    async with (
        several(2, registry, (TOKEN, "of another cluster")) as (entry, owner),
        agent(owner.url, saying(b"far"), names=("blog",)),
    ):
        await registered(registry, "blog")
        assert (await ask(entry.http, POST)).startswith(b"HTTP/1.1 503 ")
        assert (await ask(entry.http, POST)).startswith(b"HTTP/1.1 503 ")
        assert caplog.text.count("no session with the gateway") == 1
    assert TOKEN not in caplog.text  # nor at their end, when each looks for the other


async def test_a_token_is_exchanged_and_no_caller_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever showed the old one is sent away in the end; callers that are there go on, others come by a new session."""
    caplog.set_level(logging.INFO, "muxado.cli")
    registry, new = MemoryRegistry(), f"{TOKEN}-new"
    came, go_on = anyio.Event(), anyio.Event()

    async def answers(stream: muxado.Stream) -> None:
        if b"wait" in await stream.receive():
            came.set()
            await go_on.wait()
        await stream.send(OK)
        await stream.aclose()

    async with (
        several(3, registry) as gates,
        agent(gates[-1].url, answers, names=("blog",)),
        muxado.connect(gates[-1].url) as stranger,
        await anyio.connect_tcp("127.0.0.1", gates[0].blog) as waiting,
    ):
        await registered(registry, "blog")
        _, lines = await say(stranger, Hop("me", TOKEN).line(), "hopping")
        await waiting.send(b"wait" + POST)
        await came.wait()
        for said in ([TOKEN, new], [new, TOKEN], [new]):
            for gate in gates:
                gate.tokens[:] = said
                gate.hangup()
                for entry in gates:
                    assert (await ask(entry.http, POST)).endswith(b"ok")
                    assert (await ask(entry.blog, POST)).endswith(b"ok")
        with pytest.raises(muxado.StreamError):
            await lines.next()
        with pytest.raises(muxado.MuxadoError):
            stream = await stranger.open_stream(metadata={"name": b"blog"})
            await stream.send(POST)
            await stream.receive()
        go_on.set()
        assert await everything(waiting) == OK
        # Each of two twice; at their end each looks for the others, and may find them.
        assert caplog.text.count("callers may hop to the gateway") == 4
    assert "its token is not that of this cluster" in caplog.text
    assert TOKEN not in caplog.text


async def test_a_gateway_that_is_not_the_one_that_was_wanted_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind one address, or one that was copied, may be another one; who dials it would be refused each caller."""
    monkeypatch.setattr("muxado_py.cli.cluster.routes.MOVING", 0.5)
    caplog.set_level(logging.WARNING, "muxado.cli")
    registry = MemoryRegistry()
    async with several(2, registry) as (entry, owner):
        (own_id,) = [one.id for one in (await registry.nodes()).values() if one.url == owner.url]
        for to, is_taken in ((own_id, True), ("wrong", False)):
            async with muxado.connect(owner.url) as session:
                if is_taken:
                    await say(session, Hop("me", TOKEN, to).line(), "hopping")
                else:
                    with pytest.raises(RegistrationError, match="whose --node-url leads here"):
                        await say(session, Hop("me", TOKEN, to).line(), "hopping")
        wrong = Node("wrong", owner.url)
        await registry.beat(wrong, 60)
        await registry.serve(wrong, {"blog": 1})
        assert (await ask(entry.http, POST)).startswith(b"HTTP/1.1 503 ")
        assert "this is not the gateway wrong, whose --node-url leads here" in caplog.text


async def test_what_cannot_be_read_now_ends_nothing_but_a_try(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A certificate that somebody is just writing, say: the next dial may find it."""
    caplog.set_level(logging.WARNING, "muxado.cli")

    def unreadable(url: str) -> None:
        raise click.UsageError("cannot use --ssl-certfile")

    neighbours = Neighbours(lambda node: Hop("me", TOKEN), unreadable, anyio.current_time)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(neighbours.run)
        await all_tasks_blocked()
        assert not await neighbours.reach([Node("one", "tls://127.0.0.1:1")], ())
        assert not await neighbours.reach([Node("two", "tls://127.0.0.1:1")], ())
        tasks.cancel_scope.cancel()
    assert caplog.text.count("cannot use --ssl-certfile") == 2


async def test_nobody_waits_for_the_close_of_a_session_with_a_gateway_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It answers that as little as the first line."""
    monkeypatch.setattr("muxado_py.cli.serving.registering.ANSWER_TIMEOUT", 0.05)
    neighbours = Neighbours(lambda node: Hop("me", TOKEN), lambda url: None, anyio.current_time)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hangs = Node("hangs", f"tcp://127.0.0.1:{silent.getsockname()[1]}")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(neighbours.run)
            await all_tasks_blocked()
            assert not await neighbours.reach([hangs], ())
            accepted, _ = silent.accept()
            with accepted:
                accepted.setblocking(False)
                with pytest.raises(BlockingIOError):  # what was said, and no end behind it
                    while accepted.recv(1000):
                        pass
                tasks.cancel_scope.cancel()


async def test_a_gateway_that_cannot_be_reached_costs_a_try() -> None:
    registry = MemoryRegistry()
    gone = Node("gone", "tcp://127.0.0.1:1")
    async with several(2, registry) as (entry, owner):
        await registry.beat(gone, 60)
        await registry.serve(gone, {"blog": 5})
        async with agent(owner.url, saying(b"yes"), names=("blog",)):
            await registered(registry, "blog", nodes=2)
            for _ in range(4):
                assert await greeting(entry.blog) == b"yes"


@pytest.mark.parametrize("is_known", [True, False])
async def test_without_a_registry_all_goes_on(is_known: bool) -> None:
    """What is known stays so; and for a name of which nothing is known all gateways are asked."""
    registry, app = Gone(), Replying()
    async with (
        several(3, registry) as (entry, _, owner),
        agent(owner.url, app, names=("blog",)),
    ):
        await registered(registry, "blog")
        await anyio.lowlevel.checkpoint()
        if is_known:
            assert (await ask(entry.http, POST)).endswith(b"ok")
        else:
            await known_to_each_other(registry, entry.http)
        registry.is_down = True
        for number in range(1 + is_known, 7 + is_known):
            assert (await ask(entry.http, POST)).endswith(b"ok")
            assert len(app.heard) == number
        assert (await ask(entry.blog, POST)).endswith(b"ok")


async def known_to_each_other(registry: MemoryRegistry, port: int) -> None:
    """Have a gateway look for a node that it does not know, so that it reads all of them."""
    await registry.serve(Node("nobody", "tcp://127.0.0.1:1"), {"news": 1})
    asked = request(b"Connection: close", name=b"news")
    assert (await ask(port, asked)).startswith(b"HTTP/1.1 503 ")


async def test_a_registry_that_was_started_anew_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("muxado_py.cli.cluster.leases.BEAT", 0.2)
    registry = MemoryRegistry()
    async with (
        several(2, registry) as (entry, owner),
        agent(owner.url, saying(b"yes"), names=("blog",)),
    ):
        await registered(registry, "blog")
        assert await greeting(entry.blog) == b"yes"
        registry.clear()
        assert await greeting(entry.blog) == b"yes"
        await registered(registry, "blog")
        assert await greeting(entry.blog) == b"yes"


async def test_a_gateway_that_ends_finishes_what_hopped_to_it_and_is_gone_from_the_registry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("muxado_py.cli.cluster.routes.MOVING", 0.5)
    registry = MemoryRegistry()
    came, go_on = anyio.Event(), anyio.Event()

    async def waits(stream: muxado.Stream) -> None:
        await stream.receive()
        came.set()
        await go_on.wait()
        await stream.send(OK)
        await stream.aclose()

    async with (
        several(2, registry) as (entry, owner),
        agent(owner.url, waits, names=("blog",)),
    ):
        await registered(registry, "blog")
        async with await anyio.connect_tcp("127.0.0.1", entry.blog) as caller:
            await caller.send(POST)
            await came.wait()
            owner.stop.set()
            await anyio.sleep(0.1)
            go_on.set()
            assert await everything(caller) == OK
        with anyio.fail_after(30):
            while len(await registry.nodes()) > 1:  # noqa: ASYNC110 - nobody tells of it
                await anyio.sleep(0.01)
        assert await registry.serving("blog") == {}
        assert (await ask(entry.http, POST)).startswith(b"HTTP/1.1 503 ")


async def test_all_gateways_that_serve_a_name_get_their_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also those that came when there was a session with another one already."""
    monkeypatch.setattr("muxado_py.cli.cluster.routes.FRESH", 0.1)
    registry = MemoryRegistry()
    async with (
        several(3, registry) as (entry, one, other),
        agent(one.url, saying(b"one"), names=("blog",)),
    ):
        await registered(registry, "blog")
        assert await greeting(entry.blog) == b"one"
        async with agent(other.url, saying(b"two"), names=("blog",)):
            await registered(registry, "blog", nodes=2)
            heard: set[bytes] = set()
            with anyio.fail_after(60):
                while len(heard) < 2:
                    heard.add(await greeting(entry.blog))
                    await anyio.sleep(0.02)


async def test_a_gateway_that_ends_has_sessions_with_others_before_its_callers_need_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "muxado.cli")
    registry = MemoryRegistry()
    async with (
        several(2, registry, handover=60.0) as (entry, owner),
        agent(owner.url, Replying(), names=("blog",)),
    ):
        await registered(registry, "blog")
        await known_to_each_other(registry, entry.http)
        assert f"callers may hop to the gateway at {owner.url}" not in caplog.text
        entry.stop.set()
        with anyio.fail_after(30):
            while f"callers may hop to the gateway at {owner.url}" not in caplog.text:  # noqa: ASYNC110 - a log
                await anyio.sleep(0.01)


async def test_callers_wait_for_agents_whose_gateway_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They come back at another one."""
    monkeypatch.setattr("muxado_py.cli.cluster.routes.MOVING", 60.0)
    registry = MemoryRegistry()
    gone = Node("gone", "tcp://127.0.0.1:1")
    async with several(2, registry) as (entry, owner), anyio.create_task_group() as tasks:
        await registry.beat(gone, 60)
        await registry.serve(gone, {"blog": 1})
        heard: list[bytes] = []

        async def call() -> None:
            heard.append(await ask(entry.http, POST))

        tasks.start_soon(call)
        await all_tasks_blocked()
        async with agent(owner.url, Replying(), names=("blog",)):
            with anyio.fail_after(30):
                while not heard:  # noqa: ASYNC110 - it is a list
                    await anyio.sleep(0.01)
    assert heard[0].endswith(b"ok")


@pytest.mark.parametrize("comes_to", ["the gateway that was asked", "another gateway"])
async def test_callers_wait_for_agents_that_move_also_where_the_registry_says_for_long_that_nobody_serves_them(
    monkeypatch: pytest.MonkeyPatch, comes_to: str
) -> None:
    """It is as slow as the machine, and as the gateway that is to tell it; their caller was the first to know."""
    monkeypatch.setattr("muxado_py.cli.cluster.routes.MOVING", 60.0)
    registry, app = Late(), Replying()
    async with several(3, registry) as gates, anyio.create_task_group() as tasks:
        entry, one, other = gates
        async with agent(one.url, Replying(), names=("blog",)):
            await registered(registry, "blog")
            assert (await ask(entry.http, POST)).endswith(b"ok")
        await registered(registry, "blog", nodes=0)
        answers: list[bytes] = []

        async def call(port: int) -> None:
            answers.append(await ask(port, POST))

        registry.waits = anyio.Event()
        for port in (entry.http, entry.blog):
            tasks.start_soon(call, port)
        asked = registry.asked
        with anyio.fail_after(60):
            while registry.asked < asked + 3:  # noqa: ASYNC110 - it is a number
                await anyio.sleep(0.01)
        assert answers == []
        to = entry if comes_to == "the gateway that was asked" else other
        async with agent(to.url, app, names=("blog",)):
            registry.waits.set()
            with anyio.fail_after(60):
                while len(answers) < 2:  # noqa: ASYNC110 - it is a list
                    await anyio.sleep(0.01)
    assert [answer[-2:] for answer in answers] == [b"ok", b"ok"]
    assert len(app.heard) == 2


@pytest.mark.parametrize("says_so", [True, False])
async def test_callers_wait_for_an_agent_that_comes_back_to_the_gateway_that_had_nobody(
    monkeypatch: pytest.MonkeyPatch, says_so: bool
) -> None:
    """That has nobody, whatever the registry says, refuses no more than once."""
    monkeypatch.setattr("muxado_py.cli.cluster.routes.MOVING", 3600.0)
    monkeypatch.setattr("muxado_py.cli.cluster.routes.FRESH", 3600.0)
    registry, app = Late(), Replying()
    async with several(2, registry) as (entry, owner), anyio.create_task_group() as tasks:
        async with agent(owner.url, Replying(), names=("blog",)):
            await registered(registry, "blog")
            assert (await ask(entry.http, POST)).endswith(b"ok")
            if not says_so:
                registry.waits = anyio.Event()
        if says_so:
            await registered(registry, "blog", nodes=0)
        answers: list[bytes] = []

        async def call(port: int) -> None:
            answers.append(await ask(port, POST))

        asked = registry.asked
        for port in (entry.http, entry.blog):
            tasks.start_soon(call, port)
        with anyio.fail_after(60):
            while registry.asked < asked + 2:  # noqa: ASYNC110 - it is a number
                await anyio.sleep(0.01)
        assert answers == []
        async with agent(owner.url, app, names=("blog",)):
            if registry.waits is not None:
                registry.waits.set()
            with anyio.fail_after(60):
                while len(answers) < 2:  # noqa: ASYNC110 - it is a list
                    await anyio.sleep(0.01)
    assert [answer[-2:] for answer in answers] == [b"ok", b"ok"]
    assert len(app.heard) == 2


async def test_who_waits_for_a_gateway_that_hangs_is_led_to_the_one_that_others_have_found_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("muxado_py.cli.cluster.routes.FRESH", 0.0)
    registry, app = MemoryRegistry(), Replying()
    async with several(2, registry) as (entry, owner), anyio.create_task_group() as tasks:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            hangs = Node("hangs", f"tcp://127.0.0.1:{silent.getsockname()[1]}")
            await registry.beat(hangs, 60)
            await registry.serve(hangs, {"blog": 1})
            answers: list[bytes] = []

            async def call() -> None:
                answers.append(await ask(entry.http, POST))

            tasks.start_soon(call)
            await anyio.wait_readable(silent)
            async with agent(owner.url, app, names=("blog",)):
                await registered(registry, "blog", nodes=2)
                while not answers:
                    assert (await ask(entry.http, POST)).endswith(b"ok")
                assert answers[0].endswith(b"ok")


@pytest.mark.parametrize("door", ["http", "blog"])
async def test_nobody_waits_for_agents_of_another_gateway_that_are_there_and_take_no_caller(
    monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    """Such as one whose port is down: those who waited would take the places of all others."""
    monkeypatch.setattr("muxado_py.cli.cluster.routes.MOVING", 3600.0)
    registry = MemoryRegistry()
    async with (
        several(2, registry) as (entry, owner),
        agent(owner.url, Replying(), names=("blog",)) as refusing,
    ):
        refusing.stop_accepting()
        await registered(registry, "blog")
        for _ in range(3):
            with anyio.fail_after(60):
                answer = await ask(getattr(entry, door), POST)
            assert answer.startswith(b"HTTP/1.1 503 ")


async def test_a_gateway_that_has_nobody_is_asked_once_for_a_caller_while_the_registry_is_away(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a while: agents may have come to it."""
    monkeypatch.setattr("muxado_py.cli.cluster.routes.MOVING", 0.5)
    monkeypatch.setattr("muxado_py.cli.cluster.routes.AGAIN", 3600.0)
    monkeypatch.setattr("muxado_py.cli.cluster.routes.FRESH", 3600.0)
    caplog.set_level(logging.INFO, "muxado.cli")
    registry = Gone()
    async with several(2, registry) as (entry, owner):
        async with agent(owner.url, Replying(), names=("blog",)):
            await registered(registry, "blog")
            assert (await ask(entry.http, POST)).endswith(b"ok")
        await registered(registry, "blog", nodes=0)
        registry.is_down = True
        assert (await ask(entry.http, POST)).startswith(b"HTTP/1.1 503 ")
    assert caplog.text.count("an agent took no request") == 1


class Late(MemoryRegistry):
    """One that hears late who serves what."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.waits: anyio.Event | None = None

    async def serve(self, node: Node, counts: Mapping[str, int]) -> None:
        if self.waits is not None:
            await self.waits.wait()
        await super().serve(node, counts)

    async def serving(self, name: str) -> dict[str, int]:
        self.asked += 1
        return await super().serving(name)


async def test_a_gateway_that_ends_lets_callers_in_until_a_balancer_has_seen_it() -> None:
    """Also if it has no agents, which could move: its callers go to those of others."""
    registry = MemoryRegistry()
    async with (
        several(2, registry, handover=60.0) as (entry, owner),
        agent(owner.url, saying(b"yes"), names=("blog",)),
    ):
        await registered(registry, "blog")
        assert await greeting(entry.blog) == b"yes"
        entry.stop.set()
        await all_tasks_blocked()
        assert await greeting(entry.blog) == b"yes"

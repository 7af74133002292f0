"""What is served at one gateway is reached through another, and what that costs when something is wrong."""

from __future__ import annotations

import logging

import anyio
import anyio.lowlevel
import pytest

import muxado_py as muxado
from muxado_py.cli.cluster.memory import MemoryRegistry
from muxado_py.cli.cluster.nodes import Node
from muxado_py.cli.registering import say
from muxado_py.cli.registration import Hop, RegistrationError

from ...helpers.blocked import all_tasks_blocked
from ..http_door.door import OK, Replying, request
from ..test_gateway import agent, ask, everything, greeting, saying
from ..test_introductions import Telling, call, written
from .several import TOKEN, Gone, registered, several

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


async def test_a_gateway_with_another_token_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
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
    assert TOKEN not in caplog.text


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


async def test_a_registry_that_was_started_anew_is_told_again() -> None:
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


async def test_a_gateway_that_ends_finishes_what_hopped_to_it_and_is_gone_from_the_registry() -> (
    None
):
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
        assert (await ask(entry.http, POST)).startswith(b"HTTP/1.1 503 ")


async def test_a_gateway_that_ends_lets_callers_in_until_a_balancer_has_seen_it() -> None:
    """Also if it has no agents, which could move: its callers go to those of others."""
    registry = MemoryRegistry()
    async with (
        several(2, registry, handover=3.0) as (entry, owner),
        agent(owner.url, saying(b"yes"), names=("blog",)),
    ):
        await registered(registry, "blog")
        assert await greeting(entry.blog) == b"yes"
        entry.stop.set()
        await all_tasks_blocked()
        assert await greeting(entry.blog) == b"yes"

"""Requests that an agent did not take: who gets them next, and who is told that nobody did."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from muxado_py.cli.agents.beyond import Alone
from muxado_py.cli.callers.kept import Kept
from muxado_py.cli.http_door.limits import Limits
from muxado_py.cli.http_door.rates import Rate
from muxado_py.service.retry_budget import RetryBudget

from ...helpers.blocked import until
from .door import OK, Replying, agent, door, everything, heard, request
from .heads import read_by_h11

if TYPE_CHECKING:
    from collections.abc import Collection

    import muxado_py as muxado
    from muxado_py.cli.agents.agent import Agent

    from .door import Door

pytestmark = pytest.mark.anyio

CLOSE = b"Connection: close"
POST = request(CLOSE, b"Content-Length: 5", start=b"POST / HTTP/1.1", body=b"hello")


async def both_ways(gate: Door, stack: AsyncExitStack, first: Replying) -> muxado.Session:
    """An agent that takes nothing, and one that does, both of ``app``."""
    await stack.enter_async_context(agent(gate.url, first, names=("app",)))
    refusing = await stack.enter_async_context(agent(gate.url, Replying(), names=("app",)))
    refusing.stop_accepting()
    return refusing


@pytest.mark.parametrize("raw", [request(CLOSE), POST])
async def test_what_an_agent_refused_goes_to_the_next_whatever_the_method(raw: bytes) -> None:
    app = Replying()
    async with door() as gate, AsyncExitStack() as stack:
        await both_ways(gate, stack, app)
        for number in range(1, 6):
            assert (await gate.ask(raw)).endswith(b"ok")
            assert len(app.heard) == number


async def test_an_agent_that_drains_loses_no_request() -> None:
    app = Replying()
    async with (
        door() as gate,
        agent(gate.url, app, names=("app",)),
        agent(gate.url, Replying(), names=("app",)) as leaving,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(leaving.drain)
        for _ in range(30):
            assert (await gate.ask(POST)).endswith(b"ok")
        tasks.cancel_scope.cancel()  # its registration is open, which a drain waits for: 25 s


async def test_what_nobody_took_was_not_executed() -> None:
    async with (
        door() as gate,
        agent(gate.url, Replying(), names=("app",)) as one,
        agent(gate.url, Replying(), names=("app",)) as other,
    ):
        one.stop_accepting()
        other.stop_accepting()
        answer = await gate.ask(POST)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: " in answer
    assert b"It was not executed." in answer


@pytest.mark.parametrize("raw", [request(CLOSE), POST])
async def test_what_may_have_been_executed_is_not_sent_again(
    raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "muxado.cli")

    async def dies(stream: muxado.Stream) -> None:
        seen.append(await stream.receive())
        stream.reset()

    seen: list[bytes] = []
    async with (
        door() as gate,
        agent(gate.url, dies, names=("app",)),
        agent(gate.url, dies, names=("app",)),
    ):
        answer = await gate.ask(raw)
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"It may have executed the request." in answer
    assert len(seen) == 1
    assert "asking another" not in caplog.text


async def test_an_agent_that_is_lost_with_a_request_is_a_bad_gateway() -> None:
    async def dies(stream: muxado.Stream) -> None:
        await stream.receive()
        session.abort()

    async with door() as gate, agent(gate.url, dies, names=("app",)) as session:
        answer = await gate.ask(POST)
        assert answer.startswith(b"HTTP/1.1 502 ")


async def test_an_answer_that_has_begun_is_not_asked_for_again() -> None:
    """Whatever the stream's end says; a byte of it shows that somebody has seen the request."""
    app = Replying(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    async with (
        door() as gate,
        agent(gate.url, app, names=("app",)),
        agent(gate.url, app, names=("app",)),
    ):
        answer = await gate.ask(POST)
    assert b"HTTP/1.1 502 " in answer
    assert len(app.heard) == 1


class Refusing:
    """An agent's application that has a request, and gives it back unread when it is told to."""

    def __init__(self) -> None:
        self.came = anyio.Event()
        self.may_refuse = anyio.Event()

    async def has(self, nbytes: int) -> None:
        """Wait until so many are here, unread."""
        await self.came.wait()
        await until(lambda: self._stream.statistics().bytes_received >= nbytes)

    async def __call__(self, stream: muxado.Stream) -> None:
        self._stream = stream
        self.came.set()
        await self.may_refuse.wait()
        stream.refuse()


@pytest.mark.parametrize(("size", "answered"), [(60_000, b"200"), (100_000, b"503")])
async def test_a_body_is_kept_as_far_as_it_is_short(size: int, answered: bytes) -> None:
    app, refusing = Replying(), Refusing()
    length = b"Content-Length: %d" % size
    async with (
        door() as gate,
        agent(gate.url, refusing, names=("app",)),
        await gate.connect() as caller,
    ):
        head = request(CLOSE, length, start=b"POST / HTTP/1.1")
        await caller.send(head + bytes(size - 1) + b"!")
        await refusing.has(size)
        async with agent(gate.url, app, names=("app",)):
            refusing.may_refuse.set()
            answer = await everything(caller)
    assert answer[9:12] == answered
    for raw in app.heard:
        assert raw.endswith(b"\r\n\r\n" + bytes(size - 1) + b"!")


async def test_the_next_agent_gets_what_the_first_got_and_then_the_rest() -> None:
    app, refusing = Replying(), Refusing()
    async with (
        door() as gate,
        agent(gate.url, refusing, names=("app",)),
        await gate.connect() as caller,
    ):
        head = request(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.1")
        await caller.send(head + b"3;a\r\nabc\r\n2\r\nd")
        await refusing.came.wait()
        async with agent(gate.url, app, names=("app",)):
            refusing.may_refuse.set()
            await anyio.sleep(0.05)
            await caller.send(b"e\r\n0\r\n\r\n")
            assert await heard(caller, b"ok") == OK
    (raw,) = app.heard
    assert read_by_h11(raw).body == b"abcde"


async def test_no_more_than_three_agents_refuse_a_request() -> None:
    refused: list[bytes] = []

    async def refuse(stream: muxado.Stream) -> None:
        refused.append(b"")
        stream.refuse()

    async with door() as gate, AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(agent(gate.url, refuse, names=("app",)))
        answer = await gate.ask(POST)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"It was not executed." in answer
        assert len(refused) == 3


async def test_who_finds_the_budget_empty_is_told_to_come_back_and_not_that_it_was_executed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    budget = partial(RetryBudget, share=0.5, per_second=0)
    monkeypatch.setattr("muxado_py.cli.http_door.host.RetryBudget", budget)

    async def refuse(stream: muxado.Stream) -> None:
        stream.refuse()

    async with (
        door() as gate,
        agent(gate.url, refuse, names=("app",)),
        agent(gate.url, refuse, names=("app",)),
    ):
        answers = [await gate.ask(POST) for _ in range(2)]
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 5\r\n" in answer
        assert b"It was not executed." in answer
    assert b"too many are offered again" in answers[0]
    assert b"too many are offered again" not in answers[1]
    assert caplog.text.count("too many are offered again") == 1


async def test_what_one_connection_asks_counts_for_what_another_may_ask_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget = partial(RetryBudget, share=0.2, per_second=0)
    monkeypatch.setattr("muxado_py.cli.http_door.host.RetryBudget", budget)
    app = Replying()
    async with (
        door() as gate,
        agent(gate.url, app, names=("app",)) as taking,
        AsyncExitStack() as stack,
    ):
        for _ in range(4):
            assert (await gate.ask(POST)).endswith(b"ok")
        refusing = await stack.enter_async_context(agent(gate.url, Replying(), names=("app",)))
        refusing.stop_accepting()
        taking.stop_accepting()
        assert b"too many" not in await gate.ask(POST)
        assert b"too many" in await gate.ask(POST)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request(CLOSE, name=b"other"), b"429"),
        (request(CLOSE, name=b"nobody"), b"503"),
        (b"GET / HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n", b"404"),
        (request(CLOSE, b"Content-Length: 9", start=b"POST / HTTP/1.1"), b"413"),
    ],
    ids=["429", "503", "404", "413"],
)
async def test_what_no_agent_gets_does_not_count_for_what_others_may_ask_again(
    raw: bytes, status: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = partial(RetryBudget, share=0.2, per_second=0)
    monkeypatch.setattr("muxado_py.cli.http_door.host.RetryBudget", budget)

    async def refuse(stream: muxado.Stream) -> None:
        stream.refuse()

    async with (
        door(Limits(name_rate=Rate(1, 3600.0), max_body=8)) as gate,
        agent(gate.url, Replying(), names=("other",)),
        agent(gate.url, refuse, names=("app",)),
        agent(gate.url, refuse, names=("app",)),
    ):
        assert (await gate.ask(request(CLOSE, name=b"other"))).endswith(b"ok")
        for _ in range(10):
            assert (await gate.ask(raw))[9:12] == status
        assert b"too many are offered again" in await gate.ask(POST)


def post(size: int, name: bytes = b"app") -> bytes:
    length = b"Content-Length: %d" % size
    body = bytes(size - 1) + b"!"
    return request(CLOSE, length, start=b"POST / HTTP/1.1", name=name, body=body)


async def test_what_there_is_no_room_to_keep_is_sent_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What one has said most of is forgotten first, and that may be what an agent is about to get."""
    monkeypatch.setattr("muxado_py.cli.http_door.guests.Kept", partial(Kept, 100_000))
    app, mute = Replying(), Refusing()
    async with (
        door() as gate,
        agent(gate.url, mute, names=("mute",)),
        agent(gate.url, app, names=("app",)),
        await gate.connect() as caller,
    ):
        await caller.send(post(60_000, b"mute"))
        await mute.has(60_000)
        assert (await gate.ask(post(61_000))).endswith(b"ok")
        mute.may_refuse.set()
        assert (await everything(caller)).startswith(b"HTTP/1.1 503 ")
    (raw,) = app.heard
    assert raw.endswith(bytes(60_999) + b"!")


async def test_what_no_agent_has_any_more_is_not_forgotten_while_another_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is no copy, until one has it."""
    monkeypatch.setattr("muxado_py.cli.http_door.guests.Kept", partial(Kept, 100_000))
    sought, found = anyio.Event(), anyio.Event()

    async def seek(beyond: Alone, name: str, tried: Collection[Agent]) -> bool:
        sought.set()
        await found.wait()
        return True

    monkeypatch.setattr(Alone, "seek", seek)
    app, refusing, mute = Replying(), Refusing(), Refusing()
    async with (
        door() as gate,
        agent(gate.url, refusing, names=("app",)),
        agent(gate.url, mute, names=("mute",)),
        await gate.connect() as caller,
        await gate.connect() as other,
    ):
        await caller.send(post(60_000))
        await refusing.has(60_000)
        refusing.may_refuse.set()
        await sought.wait()
        async with agent(gate.url, app, names=("app",)):
            await other.send(post(50_000, b"mute"))
            await mute.has(50_000)
            found.set()
            assert (await everything(caller)).endswith(b"ok")
    (raw,) = app.heard
    assert raw.endswith(bytes(59_999) + b"!")

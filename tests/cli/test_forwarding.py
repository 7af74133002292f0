"""Callers that come through the gateway, from an address beside them."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

import muxado_py as muxado
from muxado_py.cli import forwarding
from muxado_py.cli.agents.registration import Call
from muxado_py.cli.forwarding import ForwardOptions, forward
from muxado_py.cli.options import Address, UnixAddress
from muxado_py.cli.running import NotStarted

from ..helpers.blocked import until
from .test_gateway import NAMED, OK, agent, ask, everything, greeting, running, saying, serve_once

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("way")]

gate_of_blog = partial(running, doors=(), forwarded=("blog",))


def calling(
    url: str | tuple[str, ...], local: Address | UnixAddress, wire: str = "muxado"
) -> ForwardOptions:
    return ForwardOptions(
        local=local,
        connect=(url,) if isinstance(url, str) else url,
        call=Call("blog"),
        ssl_context=None,
        graceful_timeout=5.0,
        max_retries=None,
        wire=wire,
    )


@asynccontextmanager
async def forwarded(
    url: str | tuple[str, ...],
    local: Address | UnixAddress | None = None,
    wire: str = "muxado",
) -> AsyncIterator[tuple[int, anyio.Event]]:
    """A local port whose callers call ``blog``; and what stops it."""
    stop = anyio.Event()
    options = calling(url, local or Address("127.0.0.1", 0), wire)
    async with anyio.create_task_group() as tasks:
        port = await tasks.start(forward, options, stop)
        yield port, stop
        stop.set()


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["muxado", "yamux"])
async def test_bytes_and_half_closes_pass_both_ways(wire: str) -> None:
    async with (
        gate_of_blog(wire=wire) as gate,
        agent(gate.url, saying(b"hello "), wire, names=("blog",)),
        forwarded(gate.url, wire=wire) as (port, _),
    ):
        for text in (b"world", b"x" * 300_000):
            async with (
                await anyio.connect_tcp("127.0.0.1", port) as caller,
                anyio.create_task_group() as tasks,
            ):

                async def talk(caller: anyio.abc.ByteStream = caller, text: bytes = text) -> None:
                    await caller.send(text)
                    await caller.send_eof()

                tasks.start_soon(talk)
                assert await everything(caller) == b"hello " + text


async def test_what_a_gateway_says_to_callers_is_said_to_these_too() -> None:
    async with gate_of_blog() as gate, forwarded(gate.url) as (port, _):
        answer = await ask(port)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"No agent serves blog now." in answer


async def test_callers_of_a_door_and_these_go_the_same_way() -> None:
    """What an agent refused goes to the next."""
    async with (
        running(doors=NAMED, forwarded=("blog",)) as gate,
        agent(gate.url, saying(b"yes"), names=("blog",)),
        agent(gate.url, saying(b"no!"), names=("blog",)) as refusing,
        forwarded(gate.url) as (port, _),
    ):
        refusing.stop_accepting()
        for _ in range(3):
            assert await greeting(port) == await greeting(gate.ports[1]) == b"yes"


async def test_the_limit_of_a_gateway_counts_these_too() -> None:
    async with (
        gate_of_blog(limit=1) as gate,
        agent(gate.url, saying(b"yes"), names=("blog",)),
        forwarded(gate.url) as (port, _),
        await anyio.connect_tcp("127.0.0.1", port) as first,
    ):
        await first.send(b"\0")
        assert await first.receive(3) == b"yes"
        assert b"no room" in await ask(port)


async def test_a_unix_socket_is_a_local_address_too(tmp_path: Path) -> None:
    path = tmp_path / "local"
    async with (
        gate_of_blog() as gate,
        agent(gate.url, serve_once, names=("blog",)),
        forwarded(gate.url, UnixAddress(str(path))) as (port, _),
        await anyio.connect_unix(path) as caller,
    ):
        assert port == 0
        await caller.send(b"GET / HTTP/1.1\r\n\r\n")
        assert await everything(caller) == OK
    assert not path.exists()


async def test_who_finds_no_session_is_broken_off_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forwarding, "SESSION_TIMEOUT", 0.01)
    async with (
        forwarded("tcp://127.0.0.1:1") as (port, stop),
        await anyio.connect_tcp("127.0.0.1", port) as caller,
    ):
        with pytest.raises(anyio.BrokenResourceError):
            await caller.receive()
        stop.set()


@pytest.mark.slow
async def test_who_stops_lets_callers_finish() -> None:
    async with (
        gate_of_blog() as gate,
        agent(gate.url, saying(b"hi!"), names=("blog",)),
        forwarded(gate.url) as (port, stop),
        await anyio.connect_tcp("127.0.0.1", port) as caller,
    ):
        await caller.send(b"\0")
        assert await caller.receive(4) == b"hi!\0"
        stop.set()
        await anyio.sleep(0.1)
        await caller.send(b"still here?")
        await caller.send_eof()
        assert await everything(caller) == b"still here?"


@pytest.mark.slow
async def test_a_gateway_that_stops_lets_these_finish() -> None:
    async with (
        gate_of_blog() as gate,
        agent(gate.url, saying(b"hi!"), names=("blog",)),
        forwarded(gate.url) as (port, _),
        await anyio.connect_tcp("127.0.0.1", port) as caller,
    ):
        await caller.send(b"\0")
        assert await caller.receive(4) == b"hi!\0"
        gate.stop.set()
        await anyio.sleep(0.1)
        await caller.send(b"still here?")
        await caller.send_eof()
        assert await everything(caller) == b"still here?"


@pytest.mark.slow
async def test_a_gateway_that_stops_has_new_callers_come_by_another(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "muxado.cli")
    monkeypatch.setattr("random.sample", lambda some, number: list(some)[:number])
    async with (
        gate_of_blog() as other,
        gate_of_blog(handover_timeout=0.1) as gate,
        agent(gate.url, saying(b"old"), names=("blog",)),
        agent(other.url, saying(b"new"), names=("blog",)),
        forwarded((gate.url, other.url)) as (port, _),
        await anyio.connect_tcp("127.0.0.1", port) as caller,
    ):
        await caller.send(b"\0")
        assert await caller.receive(4) == b"old\0"
        gate.stop.set()
        await until(lambda: "has moved" in caplog.text)
        assert await greeting(port) == b"new"
        await anyio.sleep(0.2)
        await caller.send(b"still here?")
        await caller.send_eof()
        assert await everything(caller) == b"still here?"
        assert await greeting(port) == b"new"


async def test_an_agent_that_opens_streams_is_no_caller(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "muxado.cli")
    async with (
        gate_of_blog() as gate,
        agent(gate.url, saying(b"hi!"), names=("blog",)) as session,
    ):
        stream = await session.open_stream()
        await stream.send(b"x")
        with pytest.raises(muxado.StreamRefusedError):
            await stream.receive()


async def test_an_address_in_use_does_not_start() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as taken:
        port = taken.extra(anyio.abc.SocketAttribute.local_port)
        options = calling("tcp://127.0.0.1:1", Address("127.0.0.1", port))
        with pytest.raises(NotStarted, match=r"cannot listen on 127\.0\.0\.1:\d+: .*in use"):
            await forward(options, anyio.Event())

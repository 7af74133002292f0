"""What agents are told of callers: by every door and every way, and no agent that would not understand it."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import SocketAttribute

import muxado_py as muxado
from muxado_py.cli.agents.introductions import introduce
from muxado_py.cli.agents.registration import Call
from muxado_py.cli.options import Address, Published, UnixAddress
from muxado_py.cli.serving.registering import say

from ...helpers.broken_off import broken_off
from ..http_door.door import OK, Replying, door, heard, request
from ..test_gateway import REQUEST, agent, everything, running

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

HERE = Address("127.0.0.1", 0)


class Telling:
    """An application that says nothing but OK, and keeps what it was told of its callers."""

    def __init__(self) -> None:
        self.told: list[dict[str, bytes]] = []
        self.seen: list[Any] = []

    async def __call__(self, stream: muxado.Stream) -> None:
        self.told.append(dict(stream.metadata))
        self.seen.append(stream.extra(SocketAttribute.remote_address))
        await stream.receive()
        await stream.send(OK)
        await stream.aclose()


async def call(port: int, host: str = "127.0.0.1", said: bytes = REQUEST) -> tuple[str, int]:
    """The address that a caller had."""
    async with await anyio.connect_tcp(host, port) as caller:
        address = caller.extra(SocketAttribute.local_address)
        await caller.send(said)
        assert await everything(caller) == OK
    return str(address[0]), int(address[1])


def written(address: Any) -> bytes:
    host, port = address
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("said", [REQUEST, b"another protocol"])
async def test_an_agent_is_told_who_calls(said: bytes) -> None:
    app = Telling()
    async with running() as gate, agent(gate.url, app):
        callers = [await call(gate.port, said=said) for _ in range(2)]
    assert app.told == [{"caller": written(one)} for one in callers]
    assert app.seen == callers


@pytest.mark.usefixtures("way")
async def test_and_which_name_was_asked_for() -> None:
    app = Telling()
    doors = (Published(HERE, "blog"), Published(HERE, "shop"))
    async with running(doors=doors) as gate, agent(gate.url, app, names=("blog", "shop")):
        callers = [await call(port) for port in gate.ports]
    assert app.told == [
        {"caller": written(one), "name": name}
        for one, name in zip(callers, (b"blog", b"shop"), strict=True)
    ]


@pytest.mark.usefixtures("way")
async def test_who_waits_for_the_first_word_is_introduced_too() -> None:
    """A caller that says nothing gets its stream after a moment."""
    told: list[dict[str, bytes]] = []

    async def greet(stream: muxado.Stream) -> None:
        told.append(dict(stream.metadata))
        await stream.send(b"hello")
        await stream.aclose()

    async with (
        running() as gate,
        agent(gate.url, greet),
        await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
    ):
        address = caller.extra(SocketAttribute.local_address)
        assert await everything(caller) == b"hello"
    assert told == [{"caller": written(address)}]


@pytest.mark.usefixtures("way")
async def test_the_next_agent_is_told_as_well() -> None:
    """One that refuses was told; the stream of the next is another."""
    app = Telling()
    refused: list[dict[str, bytes]] = []

    async def refuse(stream: muxado.Stream) -> None:
        refused.append(dict(stream.metadata))
        stream.refuse()

    async with running() as gate, agent(gate.url, app), agent(gate.url, refuse):
        caller = await call(gate.port)
    assert refused == app.told == [{"caller": written(caller)}]


@pytest.mark.usefixtures("way")
async def test_a_caller_over_ipv6_stands_in_brackets() -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no ::1")
    app = Telling()
    async with running(doors=(Published(Address("::1", 0)),)) as gate, agent(gate.url, app):
        caller = await call(gate.port, "::1")
    assert app.told == [{"caller": b"[::1]:%d" % caller[1]}]
    assert app.seen == [caller]


@pytest.mark.usefixtures("way")
async def test_a_caller_over_a_unix_socket_has_no_address(tmp_path: Path) -> None:
    """The application then sees the gateway, as it did."""
    app = Telling()
    path = str(tmp_path / "door")
    async with running(doors=(Published(UnixAddress(path)),)) as gate, agent(gate.url, app) as one:
        async with await anyio.connect_unix(path) as caller:
            await caller.send(REQUEST)
            assert await everything(caller) == OK
        gateway = one.extra(SocketAttribute.remote_address)
    assert app.told == [{}]
    assert app.seen == [gateway]


@pytest.mark.usefixtures("way")
async def test_an_agent_on_another_wire_is_told_nothing() -> None:
    app = Telling()
    async with running(wire="yamux") as gate, agent(gate.url, app, wire="yamux") as one:
        await call(gate.port)
        gateway = one.extra(SocketAttribute.remote_address)
    assert app.told == [{}]
    assert app.seen == [gateway]


async def test_who_calls_by_a_stream_is_its_session() -> None:
    """What such a side says of its own callers is not passed on: anybody may be one."""
    app = Telling()
    lie = {"caller": b"127.0.0.1:1", "name": b"shop"}
    async with (
        running(forwarded=("blog",)) as gate,
        agent(gate.url, app, names=("blog",)),
        muxado.connect(gate.url) as session,
    ):
        address = session.extra(SocketAttribute.local_address)
        control, _ = await say(session, Call("blog").line(), "calling")
        async with await session.open_stream(metadata=lie) as stream:
            await stream.send(REQUEST)
            assert await everything(stream) == OK
        await control.aclose()
    assert app.told == [{"caller": written(address), "name": b"blog"}]


async def test_each_request_at_the_http_door_says_who_sends_it() -> None:
    """In a stream of its own, so an agent's stream has one caller however long callers keep theirs."""
    apps = {name: Replying() for name in (b"app", b"other")}
    told: list[dict[str, bytes]] = []

    async def serve(app: Replying, stream: muxado.Stream) -> None:
        told.append(dict(stream.metadata))
        await app(stream)

    async with (
        door() as gate,
        agent(gate.url, partial(serve, apps[b"app"]), names=("app",)),
        agent(gate.url, partial(serve, apps[b"other"]), names=("other",)),
        await gate.connect() as first,
        await gate.connect() as second,
    ):
        expected = []
        for caller, name in ((first, b"app"), (second, b"app"), (first, b"other")):
            lie = b"X-Forwarded-For: 192.0.2.9"
            await caller.send(request(lie, name=name))
            assert await heard(caller, b"ok")
            address = caller.extra(SocketAttribute.local_address)
            expected.append({"caller": written(address), "name": name})
    assert told == expected


async def test_of_a_caller_that_is_gone_nothing_is_said() -> None:
    class Gone:
        def extra(self, attribute: Any, default: Any) -> Any:
            raise OSError(107, "Transport endpoint is not connected")

    gone: Any = Gone()
    assert introduce(gone) == {}


async def test_a_stream_that_broke_off_has_nobody_to_introduce() -> None:
    """One of anyio's own raises what it likes, whatever default it is given."""
    async with broken_off() as gone:
        assert introduce(gone) == {}

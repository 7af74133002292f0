"""Proxies before the HTTP door: of whom a field counts that says who asks, and what agents are told then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.abc import SocketAttribute

from muxado_py.cli.http_door.fronts import Source, parse_fronts
from muxado_py.cli.http_door.requests import read_request

from ..callers.test_ledger import Lines, lines
from .door import OK, Replying, agent, door, everything, heard, request

if TYPE_CHECKING:
    from pathlib import Path

    import muxado_py as muxado

__all__ = ("lines",)

FRONTS = parse_fronts("10.0.0.0/8, 192.0.2.1, 2001:db8::/32")
FRONT = Source("10.0.0.1", "http", {"caller": b"10.0.0.1:5000"}, 5000, is_front=True)
CLOSE = b"Connection: close"


@pytest.mark.parametrize(
    ("fields", "client"),
    [
        ((b"198.51.100.7",), "198.51.100.7"),
        ((b"198.51.100.7, 10.0.0.9",), "198.51.100.7"),
        ((b"198.51.100.7 ,192.0.2.1,\t10.0.0.9",), "198.51.100.7"),
        ((b"203.0.113.1, 198.51.100.7, 10.0.0.9",), "198.51.100.7"),  # the first is made up
        (
            (b"203.0.113.1", b"198.51.100.7"),
            "198.51.100.7",
        ),  # of two fields the last is the proxy's
        ((b"198.51.100.7", b"10.0.0.9"), "198.51.100.7"),
        ((b"10.0.0.8, 10.0.0.9",), "10.0.0.8"),  # all are proxies: who is farthest away
        ((b"2001:DB9::7",), "2001:db9::7"),
        ((b"[2001:db9::7]",), "2001:db9::7"),
        ((b"2001:db9::7, 2001:db8::1",), "2001:db9::7"),
        ((b"::ffff:198.51.100.7",), "198.51.100.7"),
        ((b"198.51.100.7, ::ffff:10.0.0.9",), "198.51.100.7"),
        ((b"unknown",), "10.0.0.1"),
        ((b"198.51.100.7, unknown, 10.0.0.9",), "10.0.0.9"),  # who asked that one nobody knows
        ((b"198.51.100.7,",), "10.0.0.1"),
        ((b"198.51.100.7:99999",), "10.0.0.1"),
        ((b"localhost",), "10.0.0.1"),
        ((b"198.51.100.7\xb2",), "10.0.0.1"),
        ((b"",), "10.0.0.1"),
        ((), "10.0.0.1"),
    ],
)
def test_who_asks_is_the_last_that_is_no_proxy(fields: tuple[bytes, ...], client: str) -> None:
    asked = read_request(request(*(b"X-Forwarded-For: " + field for field in fields)))
    assert FRONTS.asker(FRONT, asked).client == client


@pytest.mark.parametrize(
    ("field", "caller"),
    [
        (b"198.51.100.7", b"198.51.100.7:5000"),
        (b"198.51.100.7:4711", b"198.51.100.7:4711"),
        (b"[2001:db9::7]:4711", b"[2001:db9::7]:4711"),
        (b"2001:db9::7", b"[2001:db9::7]:5000"),
    ],
)
def test_a_port_is_said_or_that_of_the_proxys_connection(field: bytes, caller: bytes) -> None:
    asked = read_request(request(b"X-Forwarded-For: " + field))
    assert FRONTS.asker(FRONT, asked).introduction == {"caller": caller}


@pytest.mark.parametrize(
    ("fields", "scheme"),
    [
        ((b"https",), "https"),
        ((b"HTTP",), "http"),
        ((b"wss",), "https"),
        ((b"ws",), "http"),
        ((), "https"),
        ((b"gopher",), "https"),
        ((b"http", b"http"), "https"),
        ((b"http, http",), "https"),
    ],
)
def test_how_it_was_asked_is_one_word_or_what_the_door_speaks(
    fields: tuple[bytes, ...], scheme: str
) -> None:
    asked = read_request(request(*(b"X-Forwarded-Proto: " + field for field in fields)))
    assert FRONTS.asker(FRONT._replace(scheme="https"), asked).scheme == scheme


def test_of_anybody_else_nothing_counts() -> None:
    asked = read_request(request(b"X-Forwarded-For: 203.0.113.1", b"X-Forwarded-Proto: https"))
    source = Source("198.51.100.7", "http", {"caller": b"198.51.100.7:1"}, 1)
    assert FRONTS.asker(source, asked) == source


@pytest.mark.parametrize("text", ["::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "10.0.0.0/8"])
def test_a_proxy_may_be_named_as_a_socket_of_both_families_shows_it(text: str) -> None:
    asked = read_request(request(b"X-Forwarded-For: 203.0.113.1, 198.51.100.7, 10.0.0.1"))
    assert parse_fronts(text).asker(FRONT, asked).client == "198.51.100.7"


@pytest.mark.parametrize("text", ["", "10.0.0.0/8,", "10.0.0.1/8", "proxy.test", "*", "300.0.0.1"])
def test_what_is_no_address_of_a_proxy_is_shown_with_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match="write 192"):
        parse_fronts(text)


SAYS = (
    b"X-Forwarded-For: 203.0.113.1, 198.51.100.7",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Host: elsewhere",
    b"X-Real-IP: 203.0.113.1",
    b"Forwarded: for=203.0.113.1",
)
BODY = b"Content-Length: 2"


class Telling(Replying):
    """Keeps what it was told of who asks, too."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[bytes | None] = []

    async def __call__(self, stream: muxado.Stream) -> None:
        self.told.append(stream.metadata.get("caller"))
        await super().__call__(stream)


def forwarded(head: bytes) -> list[bytes]:
    """What the fields of an agent's request say of who asks."""
    return sorted(
        line for line in head.lower().split(b"\r\n") if b"forwarded" in line or b"real-ip" in line
    )


@pytest.mark.anyio
@pytest.mark.parametrize("in_pieces", [False, True], ids=["whole", "pieces"])
async def test_an_agent_and_the_log_hear_of_who_asks_by_a_trusted_proxy(
    lines: Lines, *, in_pieces: bool
) -> None:
    """Whether a request needs a task or not; the second of a connection is another's."""
    app = Telling()
    async with (
        door(access_log=True, fronts="127.0.0.1") as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect() as front,
    ):
        port = front.extra(SocketAttribute.local_port)
        for says in (SAYS, (b"X-Forwarded-For: 192.0.2.9:7",), ()):
            raw = request(*says, BODY, start=b"POST / HTTP/1.1", body=b"hi")
            if in_pieces:
                await front.send(raw[:-1])
                await anyio.wait_all_tasks_blocked()
                raw = raw[-1:]
            await front.send(raw)
            assert await heard(front, b"ok") == OK
    assert [forwarded(head) for head in app.heard] == [
        [
            b"x-forwarded-for: 198.51.100.7",
            b"x-forwarded-host: app.test",
            b"x-forwarded-proto: https",
        ],
        [b"x-forwarded-for: 192.0.2.9", b"x-forwarded-host: app.test", b"x-forwarded-proto: http"],
        [b"x-forwarded-for: 127.0.0.1", b"x-forwarded-host: app.test", b"x-forwarded-proto: http"],
    ]
    assert app.told == [
        b"198.51.100.7:%d" % port,
        b"192.0.2.9:7",
        b"127.0.0.1:%d" % port,
    ]
    assert [one["client"] for one in lines.fields] == ["198.51.100.7", "192.0.2.9", "127.0.0.1"]


@pytest.mark.anyio
@pytest.mark.parametrize("fronts", [None, "192.0.2.1,unix"])
async def test_what_a_caller_says_of_itself_reaches_nobody(
    fronts: str | None, lines: Lines
) -> None:
    app = Telling()
    async with (
        door(access_log=True, fronts=fronts) as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect() as caller,
    ):
        client = b"127.0.0.1:%d" % caller.extra(SocketAttribute.local_port)
        await caller.send(request(*SAYS, CLOSE))
        assert (await everything(caller)).endswith(b"ok")
    assert forwarded(app.heard[0])[0] == b"x-forwarded-for: 127.0.0.1"
    assert app.told == [client]
    assert lines.fields[0]["client"] == client.decode()


@pytest.mark.anyio
@pytest.mark.parametrize("fronts", [None, "unix"])
async def test_a_proxy_on_a_unix_socket_has_to_be_named_too(
    fronts: str | None, tmp_path: Path
) -> None:
    path = str(tmp_path / "door")
    app = Telling()
    async with (
        door(path=path, fronts=fronts) as gate,
        agent(gate.url, app, names=("app",)),
        await anyio.connect_unix(path) as front,
    ):
        for port in (b"", b":7"):
            await front.send(request(b"X-Forwarded-For: 198.51.100.7" + port))
            assert await heard(front, b"ok") == OK
    its = [head for head in app.heard if b"X-Forwarded-For: 198.51.100.7\r\n" in head]
    assert len(its) == (2 if fronts else 0)
    assert app.told == [None, b"198.51.100.7:7" if fronts else None]  # nobody knows the first port


@pytest.mark.anyio
async def test_the_next_agent_is_told_of_who_asks_as_well() -> None:
    async def refuse(stream: muxado.Stream) -> None:
        refused.append(stream.metadata["caller"])
        stream.refuse()

    app, refused = Telling(), list[bytes]()
    async with (
        door(fronts="127.0.0.0/8") as gate,
        agent(gate.url, refuse, names=("app",)),
        await gate.connect() as front,
    ):
        port = front.extra(SocketAttribute.local_port)
        while not refused:
            await front.send(request(b"X-Forwarded-For: 198.51.100.7"))
            assert b"503" in await heard(front, b"\n")
        refused.clear()
        async with agent(gate.url, app, names=("app",)):
            while not refused:
                await front.send(request(b"X-Forwarded-For: 198.51.100.7"))
                assert await heard(front, b"ok") == OK
    assert {*refused, *app.told} == {b"198.51.100.7:%d" % port}


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.parametrize("fronts", [None, "127.0.0.1"])
async def test_a_proxy_has_all_places_for_those_that_it_stands_for(
    fronts: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muxado_py.cli.callers.crowd.is_here", lambda host: False)

    tell, told = anyio.create_memory_object_stream[str](8)

    async def never(stream: muxado.Stream) -> None:
        tell.send_nowait("served")
        await stream.wait_peer_closed()

    async def ask() -> None:
        assert b" 503 " in await gate.ask(request())
        tell.send_nowait("refused")

    with tell, told:
        async with (
            door(limit=8, fronts=fronts) as gate,
            agent(gate.url, never, names=("app",)),
            anyio.create_task_group() as tasks,
        ):
            for _ in range(8):
                tasks.start_soon(ask)
            ends = [await told.receive() for _ in range(8)]
            tasks.cancel_scope.cancel()
    assert ends.count("served") == (6 if fronts is None else 8)

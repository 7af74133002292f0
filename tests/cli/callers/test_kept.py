"""What the gateway keeps of callers beside the streams that have it: enough, and not more."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from muxado_py.cli.agents.beyond import Alone
from muxado_py.cli.agents.destinations import Destination
from muxado_py.cli.callers.caller import Caller
from muxado_py.cli.callers.heads import MOST_KEPT
from muxado_py.cli.callers.kept import Kept
from muxado_py.runtime.plain_sockets import PlainSocket

from ...check_byte_stream import receive_exactly
from ..http_door.test_retry import Refusing
from ..test_gateway import NAMED, OK, agent, running

if TYPE_CHECKING:
    from collections.abc import Collection

    import muxado_py as muxado
    from muxado_py.cli.agents.agent import Agent

pytestmark = pytest.mark.anyio

HEAD = b"POST / HTTP/1.1\r\nHost: app\r\n\r\n"
CHUNK = 8 * 1024


class Upload:
    """A caller that has a stream, and what it says."""

    def __init__(self, kept: Kept) -> None:
        ours, self._its = socket.socketpair()
        self.caller = Caller(PlainSocket(ours), Destination(), lambda _: None, kept)

    async def begin(self) -> None:
        self._its.sendall(HEAD)
        await self.caller.hear()
        self.caller.rewind(len(HEAD))

    async def say(self, nbytes: int) -> None:
        while nbytes:
            self._its.sendall(bytes(size := min(nbytes, CHUNK)))
            nbytes -= size
            while size:
                size -= len(await self.caller.receive())

    async def close(self) -> None:
        await self.caller.connection.aclose()
        self._its.close()


async def uploads(number: int, kept: Kept) -> list[Upload]:
    them = [Upload(kept) for _ in range(number)]
    for one in them:
        await one.begin()
    return them


async def test_where_there_is_no_room_the_longest_upload_is_forgotten_first() -> None:
    kept = Kept(64 * 1024)
    long, short, other = them = await uploads(3, kept)
    await long.say(40_000)
    await short.say(1_000)
    assert all(one.caller.is_kept for one in them)
    await other.say(30_000)
    assert [one.caller.is_kept for one in them] == [False, True, True]
    assert bytes(short.caller.said) == HEAD + bytes(1_000)
    assert kept.size == 2 * len(HEAD) + 31_000
    for one in them:
        await one.close()


async def test_many_uploads_are_kept_within_the_room() -> None:
    kept = Kept(256 * 1024)
    them = await uploads(50, kept)
    for _ in range(10):
        for one in them:
            await one.say(CHUNK)
            assert kept.size <= 256 * 1024
    assert sum(len(one.caller.said) for one in them) <= 256 * 1024 + 50 * 16
    for one in them:
        await one.close()


async def test_who_is_answered_or_says_too_much_takes_no_room() -> None:
    kept = Kept()
    answered, much = them = await uploads(2, kept)
    await answered.caller.send(OK)
    await much.say(MOST_KEPT)
    assert kept.size == 0
    assert not much.caller.is_kept
    for one in them:
        await one.close()


async def test_what_came_with_the_end_of_a_head_in_pieces_arrives_whole() -> None:
    body = bytes(range(256)) * 1024
    request = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    arrived = bytearray()

    async def handle(stream: muxado.Stream) -> None:
        while len(arrived) < len(request):
            arrived.extend(await stream.receive())
        await stream.send(OK)

    async with (
        running() as gate,
        agent(gate.url, handle),
        await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
    ):
        await caller.send(request[:20])
        await anyio.sleep(0.05)
        await caller.send(request[20:])
        assert await receive_exactly(caller, len(OK)) == OK
        assert arrived == request


async def test_what_no_agent_has_any_more_is_not_forgotten_while_another_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is no copy, until one has it."""
    monkeypatch.setattr("muxado_py.cli.callers.callers.Kept", partial(Kept, 50_000))
    sought, found = anyio.Event(), anyio.Event()

    async def seek(beyond: Alone, name: str, tried: Collection[Agent]) -> bool:
        sought.set()
        await found.wait()
        return True

    monkeypatch.setattr(Alone, "seek", seek)
    request, less = (b"POST / HTTP/1.1\r\n\r\n" + bytes(size) for size in (30_000, 25_000))
    arrived: list[bytes] = []

    async def handle(stream: muxado.Stream) -> None:
        arrived.append(await receive_exactly(stream, len(request)))
        await stream.send(OK)

    refusing, mute = Refusing(), Refusing()
    async with (
        running(doors=NAMED) as gate,
        agent(gate.url, refusing, names=("blog",)),
        agent(gate.url, mute, names=("shop",)),
        await anyio.connect_tcp("127.0.0.1", gate.ports[1]) as caller,
        await anyio.connect_tcp("127.0.0.1", gate.ports[2]) as other,
    ):
        await caller.send(request)
        await refusing.has(len(request))
        refusing.may_refuse.set()
        await sought.wait()
        async with agent(gate.url, handle, names=("blog",)):
            await other.send(less)
            await mute.has(len(less))
            found.set()
            assert await receive_exactly(caller, len(OK)) == OK
    assert arrived == [request]

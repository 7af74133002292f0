"""Callers that are served by callbacks: what is usual takes no task, and what is not comes back from one."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import socket
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread

from muxado_py.cli.http_door.guests import Guests
from muxado_py.cli.http_door.limits import Limits
from muxado_py.cli.http_door.regulars import Regular
from muxado_py.runtime.checkpoints import event_loop

from ...helpers.blocked import until
from .door import OK, Replying, agent, door, everything, heard, request

if TYPE_CHECKING:
    from pathlib import Path

    import muxado_py as muxado
    from muxado_py.cli.http_door.host import TakenOver

pytestmark = pytest.mark.anyio

CLOSE = b"Connection: close"
POST = b"POST / HTTP/1.1"


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What callers had said when a task was to go on; on a loop without callbacks there is no such moment."""
    found: list[bytes] = []
    hand_over = Guests.hand_over

    def note(guests: Guests, regular: Regular, over: TakenOver) -> None:
        found.append(over.said)
        hand_over(guests, regular, over)

    monkeypatch.setattr(Guests, "hand_over", note)
    return found


async def test_the_usual_request_takes_no_task(handed_over: list[bytes]) -> None:
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    until_end = b"HTTP/1.0 200 OK\r\n\r\nok"
    async with (
        door() as gate,
        agent(gate.url, Replying(), names=("app",)),
        agent(gate.url, Replying(chunks), names=("chunks",)),
        agent(gate.url, Replying(until_end), names=("end",)),
        await gate.connect() as caller,
    ):
        for name in (b"app", b"chunks", b"end"):
            end = b"ok" if name == b"app" else b"0\r\n\r\n"
            await caller.send(request(name=name))
            assert b"ok" in await heard(caller, end)
            body = request(b"Content-Length: 5", name=name, start=POST, body=b"hello")
            await caller.send(body)
            assert b"ok" in await heard(caller, end)
        both = request(b"Transfer-Encoding: chunked", start=POST, body=b"2\r\nhi\r\n0\r\n\r\n")
        await caller.send(both + request(CLOSE))
        assert (await everything(caller)).count(b"ok") == 2
        assert (await gate.ask(request(start=b"GET / HTTP/1.0"))).endswith(b"ok")
    assert not handed_over


async def test_who_was_unusual_once_comes_back(handed_over: list[bytes]) -> None:
    async with (
        door() as gate,
        agent(gate.url, Replying(), names=("app",)),
        await gate.connect() as caller,
    ):
        unusual = (
            [request()[:20], request()[20:]],
            [request(b"Content-Length: 5", start=POST, body=b"hel"), b"lo"],
            [b"\r\n" + request()],
            [request(name=b"other")],
        )
        for pieces in unusual:
            for piece in pieces:
                await caller.send(piece)
                await anyio.wait_all_tasks_blocked()
                await anyio.sleep(0.02)
            end = b"now.\n" if b"other" in pieces[0] else b"ok"
            assert (await heard(caller, end)).startswith(b"HTTP/1.1 ")
            number = len(handed_over)
            for _ in range(3):
                await caller.send(request())
                assert await heard(caller, b"ok") == OK
            assert len(handed_over) == number
    assert len(handed_over) == (0 if event_loop() is None else len(unusual))


async def test_an_answer_that_is_longer_than_what_sockets_hold_arrives_whole(
    handed_over: list[bytes],
) -> None:
    size = 20_000_000
    app = Replying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    async with (
        door() as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect() as caller,
    ):
        for _ in range(2):
            await caller.send(request())
            await anyio.sleep(0.1)  # so that it waits for room
            length = -1
            head = b""
            while length < size:
                data = await caller.receive()
                if length < 0:
                    head += data
                    _, end, body = head.partition(b"\r\n\r\n")
                    length = len(body) if end else -1
                else:
                    length += len(data)
            assert length == size
    assert not handed_over


async def test_what_is_cut_off_when_the_gateway_ends_does_not_look_whole() -> None:
    ended = anyio.Event()

    async def app(stream: muxado.Stream) -> None:
        await heard(stream, b"\r\n\r\n")
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
            while True:
                await stream.receive()
        ended.set()

    async with (
        door(graceful_timeout=0.05) as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect() as caller,
    ):
        await caller.send(request())
        await heard(caller, b"hel")
        gate.stop.set()
        with pytest.raises(anyio.BrokenResourceError):
            await caller.receive()
        await ended.wait()


async def test_who_waits_for_an_answer_while_others_ask_is_held_to_its_own_time() -> None:
    async def app(stream: muxado.Stream) -> None:
        if b"slow" in await heard(stream, b"\r\n\r\n"):
            await anyio.sleep_forever()
        await stream.send(OK)
        await stream.aclose()

    async with (
        door(Limits(answer=0.3)) as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect() as caller,
    ):
        for _ in range(5):
            await caller.send(request())
            assert await heard(caller, b"ok") == OK
        await caller.send(request(start=b"GET /slow HTTP/1.1"))
        assert (await everything(caller)).startswith(b"HTTP/1.1 504 ")


async def test_an_answer_that_becomes_unreadable_is_cut_off_without_a_fuss(
    handed_over: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """It is the agent's fault, and none of the gateway's."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
    has_head = anyio.Event()

    async def goes_on(stream: muxado.Stream) -> None:
        await has_head.wait()
        await stream.send(b"no size\r\n")

    async with (
        door() as gate,
        agent(gate.url, Replying(head, goes_on), names=("app",)),
        await gate.connect() as caller,
    ):
        await caller.send(request())
        assert await heard(caller, b"2\r\nok\r\n") == head
        has_head.set()
        with pytest.raises(anyio.BrokenResourceError):
            await caller.receive()
    assert not handed_over
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


async def test_nothing_is_left_of_who_left_while_a_task_served_it(handed_over: list[bytes]) -> None:
    """Its time was set before, and a timer goes off in a minute."""

    def number() -> int:
        gc.collect()
        return sum(isinstance(one, Regular) for one in gc.get_objects())

    before = number()
    async with door() as gate, agent(gate.url, Replying(), names=("app",)):
        async with await gate.connect() as caller:
            await caller.send(request())
            await heard(caller, b"ok")
            await caller.send(b"GET /")
            await until(lambda: handed_over or event_loop() is None)
        await until(lambda: number() <= before)


# Which takes a task.
EXPECTS = request(b"Expect: 100-continue", b"Content-Length: 1", start=POST, body=b"a")


@pytest.mark.parametrize("raw", [request(), EXPECTS])
async def test_who_asks_ahead_is_not_heard_faster_than_answered(raw: bytes, tmp_path: Path) -> None:
    """Or one caller fills the memory: a piece more for each answer."""
    answers = 60
    sent = answered = 0

    async def app(stream: muxado.Stream) -> None:
        nonlocal answered
        await heard(stream, b"a" if raw is EXPECTS else b"\r\n\r\n")
        if answered == answers:
            await anyio.sleep_forever()
        answered += 1
        await stream.send(OK)
        await stream.aclose()

    async def ask(caller: anyio.abc.ByteStream) -> None:
        nonlocal sent
        pieces = raw * 1000
        while True:
            await caller.send(pieces)
            sent += len(pieces)

    path = str(tmp_path / "door")  # a Unix socket: the kernel takes little
    async with (
        door(path=path) as gate,
        agent(gate.url, app, names=("app",)),
        await anyio.connect_unix(path) as caller,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(ask, caller)
        got = b""
        while got.count(b"200 OK") < answers:
            got += await caller.receive()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert sent < 2_000_000


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("way", ["callbacks"], indirect=True)
@pytest.mark.parametrize("watched", ["never", "without a task", "while it was answered"])
async def test_a_caller_that_cannot_be_watched_is_cut_off_and_takes_no_place(
    watched: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has bounds of its own for what is watched."""
    elsewhere = b"GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n"
    loop = asyncio.get_running_loop()
    add_reader, left = loop.add_reader, {"never": 0, "without a task": 1}.get(watched, 2)

    def refuse(*args: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        add_reader(*args)

    async with door(limit=1) as gate, agent(gate.url, Replying(), names=("app",)):
        with socket.create_connection(("127.0.0.1", gate.port)) as caller:
            caller.settimeout(10)
            caller.sendall({"never": b"", "without a task": b"GET"}.get(watched, elsewhere))
            monkeypatch.setattr(loop, "add_reader", refuse)
            said = b""
            with pytest.raises(ConnectionResetError):
                while True:
                    data = await to_thread.run_sync(caller.recv, 1000)
                    assert data != b""  # which is an end, and no reset
                    said += data
            monkeypatch.undo()
        assert said.startswith(b"HTTP/1.1 404 ") or watched != "while it was answered"
        assert (await gate.ask(request(b"Connection: close"))).endswith(b"ok")

"""The gateway: where a caller goes, and what it hears when it can go nowhere."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import anyio
import pytest
from anyio import to_thread
from anyio.abc import SocketStream

import muxado_py as muxado
from muxado_py.cli.agents import suspicion
from muxado_py.cli.agents.agent import Agent
from muxado_py.cli.agents.registration import Lines, Registration
from muxado_py.cli.gateway import gateway
from muxado_py.cli.options import Address, HttpDoor, Published, UnixAddress
from muxado_py.cli.running import NotStarted
from muxado_py.cli.serving.dialing import Uplink
from muxado_py.cli.serving.registering import Registrant
from muxado_py.frames import WIRES
from muxado_py.service.dialed import Dialed
from muxado_py.service.retry_budget import RetryBudget
from muxado_py.session.sessions_listener import SessionsListener

from ..helpers.blocked import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from anyio.abc import ByteStream

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("way")]

REQUEST = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n"


HERE = Address("127.0.0.1", 0)


class Running(NamedTuple):
    url: str
    port: int
    stop: anyio.Event
    ports: list[int]
    """Of all doors."""


@asynccontextmanager
async def running(
    limit: int = 100,
    graceful_timeout: float = 5.0,
    wire: str = "muxado",
    head_timeout: float = 60.0,
    doors: Sequence[Published] = (Published(HERE),),
    forwarded: Sequence[str] = (),
    access_log: bool = False,
    admin: UnixAddress | None = None,
    http: HttpDoor | None = None,
    handover_timeout: float = 2.0,
) -> AsyncIterator[Running]:
    """A gateway; leaving the block stops it."""
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        url, ports = await tasks.start(
            partial(
                gateway,
                "tcp://127.0.0.1:0",
                doors,
                stop,
                ssl_context=None,
                limit=limit,
                graceful_timeout=graceful_timeout,
                handover_timeout=handover_timeout,
                head_timeout=head_timeout,
                access_log=access_log,
                admin=admin,
                wire=wire,
                forwarded=forwarded,
                http=http,
            )
        )
        with anyio.fail_after(300):
            yield Running(url, next(iter(ports), 0), stop, ports)
            stop.set()


async def register(session: muxado.Session, names: tuple[str, ...]) -> muxado.Stream:
    """The stream is open as long as the names are served; a drain waits for its end."""
    control = await session.open_stream()
    await control.send(Registration(names).line())
    assert "registered" in await Lines(control).next()
    return control


@asynccontextmanager
async def agent(
    url: str,
    handler: Callable[[muxado.Stream], Awaitable[None]],
    wire: str = "muxado",
    names: tuple[str, ...] = (),
) -> AsyncIterator[muxado.Session]:
    """An agent that has certainly been taken in; what its caller's stream raises is its own."""

    async def handle(stream: muxado.Stream) -> None:
        with suppress(anyio.BrokenResourceError):
            await handler(stream)

    config = muxado.Config(wire=wire)
    async with (
        muxado.connect(url, config=config) as session,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(session.net_listener().serve, handle)
        await session.ping()
        if names:
            control = await register(session, names)
        yield session
        tasks.cancel_scope.cancel()
        if names:
            control.reset()


def saying(text: bytes) -> Callable[[muxado.Stream], Awaitable[None]]:
    """A handler that says ``text`` and then echoes."""

    async def handle(stream: muxado.Stream) -> None:
        await stream.send(text)
        async for chunk in stream:
            await stream.send(chunk)
        await stream.send_eof()

    return handle


async def everything(stream: ByteStream) -> bytes:
    data = b""
    async for chunk in stream:
        data += chunk
    return data


async def ask(port: int, request: bytes = REQUEST) -> bytes:
    """What a caller hears until the connection is closed."""
    async with await anyio.connect_tcp("127.0.0.1", port) as caller:
        await caller.send(request)
        return await everything(caller)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wire", "spoken"), [("muxado", "muxado"), ("yamux", "yamux"), ("auto", "yamux")]
)
async def test_bytes_and_half_closes_pass_both_ways(wire: str, spoken: str) -> None:
    async with (
        running(wire=wire) as gate,
        agent(gate.url, saying(b"hello "), spoken),
        await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
    ):
        await caller.send(b"world")
        await caller.send_eof()
        assert await everything(caller) == b"hello world"


async def test_without_an_agent_an_http_caller_is_told_to_come_back() -> None:
    async with running() as gate:
        answer = await ask(gate.port)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nRetry-After: " in head
    assert b"\r\nContent-Length: %d" % len(body) in head
    assert b"No agent is connected" in body


async def test_the_answer_arrives_although_an_upload_was_not_read() -> None:
    upload = b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000)
    async with running() as gate:
        assert (await ask(gate.port, upload)).startswith(b"HTTP/1.1 503 ")


async def test_an_answer_to_head_has_no_body() -> None:
    async with running() as gate:
        answer = await ask(gate.port, b"HEAD / HTTP/1.1\r\nHost: app\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "first_bytes", [b"\x16\x03\x01" + bytes(40), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"SSH-2.0-x"]
)
async def test_without_an_agent_what_is_no_http_is_closed(first_bytes: bytes) -> None:
    async with (
        running() as gate,
        await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
    ):
        await caller.send(first_bytes)
        try:
            await caller.send_eof()
            assert await everything(caller) == b""
        except (anyio.BrokenResourceError, OSError):
            pass  # closed with our bytes unread, which TCP calls a reset


async def test_the_newest_agent_serves_and_an_older_one_steps_in() -> None:
    async with running() as gate, agent(gate.url, saying(b"old")):
        async with agent(gate.url, saying(b"new")):
            assert await greeting(gate.port) == b"new"
        assert await greeting(gate.port) == b"old"


async def test_an_agent_that_takes_no_streams_is_passed_over() -> None:
    """A ping session is one, and an agent that is draining is one."""
    async with (
        running() as gate,
        agent(gate.url, saying(b"old")),
        muxado.connect(gate.url, config=muxado.Config(max_streams=0)) as pinging,
    ):
        await pinging.ping()
        assert await greeting(gate.port) == b"old"


async def test_a_connection_that_says_nothing_takes_no_caller_from_an_agent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "muxado.cli")
    async with running() as gate, agent(gate.url, saying(b"app")):
        host, _, port = gate.url.removeprefix("tcp://").rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as idle:
            await idle.receive()  # the gateway's first frame: it has taken the connection in
            assert await greeting(gate.port) == b"app"
    assert caplog.text.count(" connected (") == 1


async def test_an_agent_that_speaks_only_when_asked_serves_where_there_is_no_other() -> None:
    async with running() as gate:
        host, _, port = gate.url.removeprefix("tcp://").rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as quiet:
            heard = await quiet.receive()  # the gateway has taken the connection in
            async with await anyio.connect_tcp("127.0.0.1", gate.port) as caller:
                await caller.send(REQUEST)
                while REQUEST not in heard:
                    heard += await quiet.receive()


NAMED = (Published(HERE), Published(HERE, "blog"), Published(HERE, "shop"))


async def test_each_door_leads_to_the_agents_of_its_name() -> None:
    async with (
        running(doors=NAMED) as gate,
        agent(gate.url, saying(b"any")),
        agent(gate.url, saying(b"two"), names=("blog", "shop", "news")),
    ):
        assert [await greeting(port) for port in gate.ports] == [b"any", b"two", b"two"]


@pytest.mark.slow
@pytest.mark.parametrize("spoken", WIRES)
async def test_an_agent_of_any_wire_has_names_where_the_gateway_takes_each(spoken: str) -> None:
    async def serve(session: muxado.Session) -> None:
        async with Registrant(blog, stop).greet(session, dialed):
            await session.net_listener().serve(serve_once)

    blog, stop = Registration(("blog",)), anyio.Event()
    dialed = Dialed("", partial(muxado.connect, ""))
    async with (
        running(doors=NAMED, wire="auto") as gate,
        muxado.connect(gate.url, config=muxado.Config(wire=spoken)) as session,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(serve, session)
        while (answer := await ask(gate.ports[1])) != OK:
            assert answer.startswith(b"HTTP/1.1 503 ")  # it has not registered yet
        assert (await ask(gate.ports[0])).startswith(b"HTTP/1.1 503 ")
        stop.set()
        while (await ask(gate.ports[1])) == OK:
            pass
        tasks.cancel_scope.cancel()


async def test_a_name_outlives_an_agent_that_serves_it() -> None:
    async with (
        running(doors=NAMED) as gate,
        agent(gate.url, saying(b"one"), names=("blog",)),
    ):
        async with agent(gate.url, saying(b"two")) as other:
            control = await register(other, ("blog",))
            while (await greeting(gate.ports[1])) != b"two":
                pass
            control.reset()
            await other.drain()
        for _ in range(3):
            assert await greeting(gate.ports[1]) == b"one"


async def test_a_name_that_nobody_serves_is_told_to_http_callers_and_closed_to_others() -> None:
    async with (
        running(doors=NAMED) as gate,
        agent(gate.url, saying(b"any")),
        agent(gate.url, saying(b"sho"), names=("shop",)),
    ):
        answer = await ask(gate.ports[1])
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: " in answer
        assert b"No agent serves blog now." in answer
        async with await anyio.connect_tcp("127.0.0.1", gate.ports[1]) as caller:
            await caller.send_eof()
            assert await everything(caller) == b""


async def test_an_agent_with_a_name_serves_no_door_without_one() -> None:
    async with running(doors=NAMED) as gate, agent(gate.url, saying(b"blo"), names=("blog",)):
        assert b"No agent is connected" in await ask(gate.ports[0])


@pytest.mark.parametrize("wire", ["muxado", "yamux"])
async def test_who_came_before_an_agent_had_said_its_names_goes_elsewhere(wire: str) -> None:
    """It was led to what has no name, and must not come to what has another."""
    early = REQUEST.replace(b"/ ", b"/early ")
    async with (
        running(doors=NAMED, wire=wire) as gate,
        muxado.connect(gate.url, config=muxado.Config(wire=wire)) as session,
        await anyio.connect_tcp("127.0.0.1", gate.ports[0]) as caller,
    ):
        await session.ping()
        await caller.send(early)
        await until(lambda: session.statistics().backlog)
        control = await session.open_stream()
        await control.send(Registration(("blog",)).line())
        assert "registered" in await Lines(control).next()
        answer = await everything(caller)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"No agent is connected" in answer
        async with await anyio.connect_tcp("127.0.0.1", gate.ports[1]) as named:
            await named.send(REQUEST)
            stream = await session.accept_stream()
            assert await stream.receive() == REQUEST  # and nothing of the early one
            stream.reset()
        control.reset()


async def test_what_an_agent_of_a_name_refused_goes_to_the_next_of_that_name() -> None:
    async with (
        running(doors=NAMED) as gate,
        agent(gate.url, saying(b"blo"), names=("blog",)),
        agent(gate.url, saying(b"no!"), names=("blog",)) as newest,
        agent(gate.url, saying(b"any")),
    ):
        newest.stop_accepting()
        assert await greeting(gate.ports[1]) == b"blo"


@pytest.mark.slow
async def test_callers_are_shared_by_the_agents_of_a_name() -> None:
    """Those who come at once, and stay."""
    heard: list[bytes] = []

    async def call() -> None:
        async with await anyio.connect_tcp("127.0.0.1", gate.ports[1]) as caller:
            await caller.send(REQUEST)
            heard.append(await caller.receive(3))
            await all_heard.wait()

    all_heard = anyio.Event()
    async with (
        running(doors=NAMED) as gate,
        agent(gate.url, saying(b"one"), names=("blog",)),
        agent(gate.url, saying(b"two"), names=("blog",)),
        anyio.create_task_group() as callers,
    ):
        for _ in range(20):
            callers.start_soon(call)
        while len(heard) < 20:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.01)
        assert heard.count(b"one") == heard.count(b"two") == 10
        all_heard.set()


@pytest.mark.slow
async def test_an_agent_that_takes_no_callers_costs_each_a_try_and_not_its_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It would be the one with the fewest callers, always."""
    caplog.set_level(logging.INFO, "muxado.cli")
    async with (
        running(doors=NAMED) as gate,
        agent(gate.url, saying(b"yes"), names=("blog",)),
        agent(gate.url, saying(b"no!"), names=("blog",)) as refusing,
    ):
        refusing.stop_accepting()
        for _ in range(20):
            assert await greeting(gate.ports[1]) == b"yes"
    assert caplog.text.count("took no request, asking another") < 5


@pytest.mark.slow
async def test_no_caller_counts_once_it_has_left_however_that_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An agent with callers that nobody sees would get less than its share for ever."""
    known: list[Agent] = []

    class Known(Agent):
        def __init__(self, session: muxado.Session) -> None:
            super().__init__(session)
            known.append(self)

    async def do(stream: muxado.Stream) -> None:
        word = await stream.receive()
        if b"/reset" in word:
            stream.reset()
        elif b"/begin" in word:
            await stream.send(OK[:20])
            stream.reset()
        elif b"/answer" in word:
            await stream.send(OK)

    async def call(word: bytes) -> None:
        with suppress(anyio.BrokenResourceError, OSError):
            async with await anyio.connect_tcp("127.0.0.1", gate.ports[1]) as caller:
                await caller.send(word)
                if word.startswith(b"leave"):
                    return
                await everything(caller)

    monkeypatch.setattr("muxado_py.cli.agents.agents.Agent", Known)
    words = [b"GET /%s HTTP/1.1\r\n\r\n" % what for what in (b"reset", b"begin", b"answer", b"end")]
    words += [b"GET /answer HT", b"leave", b"\0 /reset", b"\0 /answer"]
    async with (
        running(doors=NAMED, head_timeout=0.5) as gate,
        agent(gate.url, do, names=("blog",)),
        agent(gate.url, do, names=("blog",)) as refusing,
    ):
        for _ in range(2):
            async with anyio.create_task_group() as callers:
                for word in words * 4:
                    callers.start_soon(call, word)
            refusing.stop_accepting()
        await until(lambda: not any(one.passages for one in known))
        assert len(known) == 2


HELLO = bytes.fromhex("00 00 04 2c 7f ff ff ff 6d 78 70 01")


@pytest.mark.slow
async def test_what_never_left_for_an_agent_that_stands_still_goes_to_another(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(suspicion, "ANSWER", 0.5)
    caplog.set_level(logging.INFO, "muxado.cli")

    async def upload() -> None:
        with suppress(anyio.BrokenResourceError):
            async with await anyio.connect_tcp("127.0.0.1", gate.port) as caller:
                await caller.send(b"POST / HTTP/1.1\r\n\r\n" + bytes(300_000))
                await anyio.sleep_forever()

    async with running() as gate, agent(gate.url, serve_once):
        host, _, port = gate.url.removeprefix("tcp://").rpartition(":")
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        raw.connect((host, int(port)))
        async with (
            await SocketStream.from_socket(raw) as stopped,
            anyio.create_task_group() as callers,
        ):
            await stopped.send(HELLO)
            await stopped.receive()
            for _ in range(24):  # more than the kernel takes
                callers.start_soon(upload)
            while "does not answer; others go first" not in caplog.text:  # noqa: ASYNC110 - a log wakes nobody
                await anyio.sleep(0.01)
            assert await ask(gate.port) == OK
            assert " is gone: " not in caplog.text  # the end of the session would help too
            callers.cancel_scope.cancel()


async def test_what_one_name_speaks_says_nothing_of_another() -> None:
    """A silent caller gets its stream where nobody has spoken HTTP yet."""
    async with (
        running(doors=NAMED) as gate,
        agent(gate.url, serve_once, names=("blog",)),
        agent(gate.url, saying(b"220 ready"), names=("shop",)),
    ):
        assert (await ask(gate.ports[1])).startswith(b"HTTP/1.1 200 ")
        async with await anyio.connect_tcp("127.0.0.1", gate.ports[2]) as silent:
            assert await silent.receive() == b"220 ready"


async def test_a_door_may_be_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "door"
    door = Published(UnixAddress(str(path)), "blog")
    async with running(doors=[door]) as gate:
        async with (
            agent(gate.url, saying(b"blo"), names=("blog",)),
            await anyio.connect_unix(path) as caller,
        ):
            await caller.send(REQUEST)
            assert await caller.receive(3) == b"blo"
        assert gate.ports == [0]
        with pytest.raises(NotStarted, match=r"cannot publish on unix://.*in use"):
            await gateway(
                gate.url.replace(gate.url.rpartition(":")[2], "0"),
                [door],
                gate.stop,
                ssl_context=None,
                limit=1,
                graceful_timeout=1,
            )
    assert not path.exists()


async def greeting(port: int) -> bytes:
    """Three bytes from whoever answers an HTTP request."""
    async with await anyio.connect_tcp("127.0.0.1", port) as caller:
        await caller.send(REQUEST)
        return await caller.receive(3)


async def test_an_agent_that_breaks_off_before_it_answers_is_a_502() -> None:
    async def break_off(stream: muxado.Stream) -> None:
        await stream.receive()
        stream.reset()

    async with running() as gate, agent(gate.url, break_off):
        answer = await ask(gate.port)
    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b"may have executed" in answer


async def test_an_agent_that_closes_without_a_word_is_a_502() -> None:
    async def leave(stream: muxado.Stream) -> None:
        await stream.receive()

    async with running() as gate, agent(gate.url, leave):
        assert (await ask(gate.port)).startswith(b"HTTP/1.1 502 ")


async def test_an_answer_that_was_begun_is_cut_and_not_dressed_up() -> None:
    async def begin(stream: muxado.Stream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await seen.wait()
        stream.reset()

    seen = anyio.Event()
    async with (
        running() as gate,
        agent(gate.url, begin),
        await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
    ):
        await caller.send(REQUEST)
        heard = b""
        while not heard.endswith(b"half"):
            heard += await caller.receive()
        seen.set()
        with pytest.raises(anyio.BrokenResourceError):
            await caller.receive()


async def test_an_early_answer_survives_the_rest_of_the_upload() -> None:
    async def answer(stream: muxado.Stream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\n\r\n")

    async with running() as gate, agent(gate.url, answer):
        upload = b"POST / HTTP/1.1\r\n\r\n" + bytes(150_000)
        assert (await ask(gate.port, upload)).startswith(b"HTTP/1.1 413 ")


@pytest.mark.slow
async def test_callers_beyond_the_limit_are_told_so() -> None:
    async with running(limit=2) as gate, agent(gate.url, saying(b"hi!")):
        async with (
            await anyio.connect_tcp("127.0.0.1", gate.port) as first,
            await anyio.connect_tcp("127.0.0.1", gate.port) as second,
        ):
            assert await first.receive(3) == await second.receive(3) == b"hi!"
            answer = await ask(gate.port)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"no room" in answer
        while (await greeting(gate.port)) != b"hi!":
            pass  # the gateway hears in its own time that the two have left


@pytest.mark.slow
async def test_stopping_lets_callers_finish() -> None:
    async with (
        running() as gate,
        agent(gate.url, saying(b"hi!")),
        await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
    ):
        assert await caller.receive(3) == b"hi!"
        gate.stop.set()
        await caller.send(b"still here?")
        await caller.send_eof()
        assert await everything(caller) == b"still here?"


@pytest.mark.slow
async def test_stopping_cuts_callers_that_do_not_finish() -> None:
    async with (
        running(graceful_timeout=0.1) as gate,
        agent(gate.url, saying(b"hi!")),
        await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
    ):
        assert await caller.receive(3) == b"hi!"
        gate.stop.set()
        with pytest.raises(anyio.BrokenResourceError):
            await caller.receive()


@pytest.mark.slow
async def test_stopping_gives_a_slow_agent_what_its_callers_have_left() -> None:
    upload = bytes(256 * 1024 + 20_000)  # a window, and what waits for the next
    async with running() as gate, muxado.connect(gate.url) as session:
        await session.ping()
        async with await anyio.connect_tcp("127.0.0.1", gate.port) as caller:
            await caller.send(upload)
            await caller.send_eof()
            stream = await session.accept_stream()
            await stream.send(b"thanks")
            await stream.send_eof()
            assert await everything(caller) == b"thanks"
        gate.stop.set()
        with anyio.move_on_after(1):  # in which the gateway would have ended
            await session.wait()
        assert await everything(stream) == upload
        await session.wait()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def serve_once(stream: muxado.Stream) -> None:
    """Answers one request, and closes; as a server does whose keep-alive time is over."""
    await stream.receive()
    await stream.send(OK)


async def never_read(stream: muxado.Stream) -> None:
    await anyio.sleep_forever()


@pytest.mark.slow
@pytest.mark.parametrize("first", [b"POST / HTTP/1.1\r\n\r\n", b"\0"])
async def test_an_upload_that_is_not_read_is_not_kept_in_memory(first: bytes) -> None:
    def upload(port: int) -> int:
        """As fast as it goes, from the first byte on: no receive of the gateway may have to wait."""
        taken = 0
        with (
            socket.create_connection(("127.0.0.1", port), timeout=0.4) as caller,
            suppress(TimeoutError),
        ):
            data = first
            while taken < 64 << 20:
                data += bytes((1 << 20) - len(data))
                sent = caller.send(data)
                taken, data = taken + sent, data[sent:]
        return taken

    async with running() as gate, agent(gate.url, never_read):
        # What kernels hold on loopback is some 8 MiB, with what they let the buffers grow to.
        assert await to_thread.run_sync(upload, gate.port) < 32 << 20


@pytest.mark.slow
async def test_a_caller_whose_server_has_closed_gives_its_place_back() -> None:
    async with running(limit=3) as gate, agent(gate.url, serve_once):
        forgotten = [await anyio.connect_tcp("127.0.0.1", gate.port) for _ in range(3)]
        for caller in forgotten:
            await caller.send(REQUEST)
            assert await everything(caller) == OK  # and does not close
        while not (await ask(gate.port)).startswith(b"HTTP/1.1 200 "):
            pass
        for caller in forgotten:
            await caller.aclose()


async def test_streams_of_agents_are_refused_and_nothing_of_them_is_kept() -> None:
    """But for the first, on which an agent may register."""
    async with running() as gate, agent(gate.url, serve_once) as session:
        async with await session.open_stream() as first:
            await first.send(b"x")
            assert b"refused" in await first.receive()
        for _ in range(3):
            stream = await session.open_stream()
            await stream.send(b"x")
            with pytest.raises(muxado.StreamRefusedError) as refused:
                await stream.receive()
            assert refused.value.retry.safe


@pytest.mark.slow
@pytest.mark.parametrize("said", [b"", b"G", b"GET / HT", b"PING"])
async def test_who_says_too_little_is_closed_after_a_while(said: bytes) -> None:
    async with (
        running(head_timeout=0.3) as gate,
        agent(gate.url, never_read),
        await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
    ):
        if said:
            await caller.send(said)
        assert await everything(caller) == b""


@pytest.mark.slow
async def test_a_request_whose_head_does_not_end_is_a_408() -> None:
    async with running(head_timeout=1) as gate, agent(gate.url, never_read):
        answer = await ask(gate.port, b"GET / HTTP/1.1\r\nHost: ap")
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")


async def test_a_request_in_pieces_arrives_whole_and_its_agent_is_asked_only_then() -> None:
    accepted: list[bytes] = []

    async def handle(stream: muxado.Stream) -> None:
        accepted.append(await stream.receive())
        await stream.send(OK)

    async with (
        running() as gate,
        agent(gate.url, handle),
        await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
    ):
        for piece in (b"GET / HTTP/1.1\r\n", b"Host: app\r\n", b"\r\n"):
            await caller.send(piece)
            await anyio.sleep(0.05)
        assert await everything(caller) == OK
        assert accepted == [REQUEST]


@pytest.mark.slow
async def test_who_opens_ahead_is_served_when_it_speaks() -> None:
    """Although its agent has ended the stream on which nothing was said, or the agent itself has."""

    async def handle(stream: muxado.Stream) -> None:
        if silent.is_set():
            await serve_once(stream)
            return
        with anyio.move_on_after(0.1):
            await stream.receive()
        silent.set()
        stream.reset()

    async with running() as gate, agent(gate.url, handle):
        silent = anyio.Event()
        async with await anyio.connect_tcp("127.0.0.1", gate.port) as caller:
            await silent.wait()
            await caller.send(REQUEST)
            assert await everything(caller) == OK
        async with agent(gate.url, never_read):
            caller = await anyio.connect_tcp("127.0.0.1", gate.port)
            await anyio.sleep(0.5)  # it has a stream of the newer agent
        async with caller:
            await caller.send(REQUEST)
            assert await everything(caller) == OK


@pytest.mark.slow
async def test_where_http_is_spoken_a_silent_caller_gets_no_stream() -> None:
    served = 0

    async def handle(stream: muxado.Stream) -> None:
        nonlocal served
        served += 1
        await serve_once(stream)

    async with running() as gate, agent(gate.url, handle):
        assert await ask(gate.port) == OK
        async with await anyio.connect_tcp("127.0.0.1", gate.port) as silent:
            await silent.send(b"G")
            await anyio.sleep(0.6)
            assert served == 1
            await silent.send(REQUEST[1:])
            assert await everything(silent) == OK
        async with await anyio.connect_tcp("127.0.0.1", gate.port) as unneeded:
            await unneeded.send_eof()
            assert await everything(unneeded) == b""
        assert served == 2


@pytest.mark.slow
async def test_a_stray_request_changes_nothing_where_the_server_speaks_first() -> None:
    async with running() as gate, agent(gate.url, saying(b"220 ")):
        assert await greeting(gate.port) == b"220"
        async with await anyio.connect_tcp("127.0.0.1", gate.port) as silent:
            assert await silent.receive() == b"220 "


@pytest.mark.slow
async def test_callers_that_say_nothing_make_room() -> None:
    async with running(limit=3) as gate, agent(gate.url, serve_once):
        silent = [await anyio.connect_tcp("127.0.0.1", gate.port) for _ in range(3)]
        await silent[1].send(b"G")
        while not (await ask(gate.port)).startswith(b"HTTP/1.1 200 "):
            pass  # they have been there for a moment only
        assert await everything(silent[0]) == b""  # the first that came is the first that goes
        for caller in silent:
            await caller.aclose()


@pytest.mark.parametrize("request_", [REQUEST, b"\0 is no HTTP"])
async def test_what_an_agent_refused_goes_to_the_next(request_: bytes) -> None:
    async with (
        running() as gate,
        agent(gate.url, saying(b"")),
        agent(gate.url, saying(b"not this one")) as newest,
    ):
        newest.stop_accepting()
        async with await anyio.connect_tcp("127.0.0.1", gate.port) as caller:
            await caller.send(request_)
            await caller.send_eof()
            assert await everything(caller) == request_


async def test_what_every_agent_refused_was_not_executed() -> None:
    async with running() as gate, agent(gate.url, never_read) as only:
        only.stop_accepting()
        answer = await ask(gate.port)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"may have" not in answer
        long = b"POST / HTTP/1.1\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000)
        answer = await ask(gate.port, long)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"may have" not in answer


@pytest.mark.parametrize("first", [b"", b"\0 is no HTTP"], ids=["a silent one", "another protocol"])
async def test_who_no_agent_gets_does_not_count_for_who_may_be_offered_again(
    first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = partial(RetryBudget, share=0.2, per_second=0)
    monkeypatch.setattr("muxado_py.cli.callers.callers.RetryBudget", budget)

    async def refuse(stream: muxado.Stream) -> None:
        stream.refuse()

    async with running() as gate:
        for _ in range(10):
            async with await anyio.connect_tcp("127.0.0.1", gate.port) as caller:
                if first:
                    await caller.send(first)
                await caller.send_eof()
                assert await everything(caller) == b""
        async with agent(gate.url, refuse), agent(gate.url, refuse):
            assert b"too many are offered again" in await ask(gate.port)


@pytest.mark.slow
async def test_ending_an_agent_gracefully_cuts_no_caller_while_another_is_there() -> None:
    """Callers come as fast as they can while newest agents come and drain."""

    async def call_on(over: anyio.Event) -> None:
        while not over.is_set():
            assert await ask(gate.port) == OK

    async with running() as gate, agent(gate.url, serve_once):
        over = anyio.Event()
        async with anyio.create_task_group() as callers:
            for _ in range(4):
                callers.start_soon(call_on, over)
            for _ in range(8):
                async with agent(gate.url, serve_once) as newest:
                    await anyio.sleep(0.05)
                    await newest.drain()
            over.set()


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
async def test_a_gateway_that_stops_serves_callers_until_its_agents_are_elsewhere(
    wire: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "muxado.cli")
    monkeypatch.setattr("random.sample", lambda some, number: list(some)[:number])
    registrant, served = Registrant(Registration(("blog",)), anyio.Event()), SessionsListener()
    async with (
        running(doors=NAMED, wire=wire) as other,
        running(doors=NAMED, wire=wire, handover_timeout=3600.0) as gate,
        anyio.create_task_group() as tasks,
    ):
        uplink = Uplink(
            (gate.url, other.url),
            anyio.Event(),
            config=muxado.Config(wire=wire),
            ssl_context=None,
            proxy=None,
            greet=registrant.greet,
            listener=served,
            max_retries=None,
        )
        tasks.start_soon(served.serve, serve_once)
        tasks.start_soon(uplink.keep)
        await until(lambda: "serves blog" in caplog.text)
        assert await ask(gate.ports[1]) == OK
        gate.stop.set()
        await until(lambda: "has moved" in caplog.text)
        assert await ask(gate.ports[1]) == OK
        assert await ask(other.ports[1]) == OK
        tasks.cancel_scope.cancel()  # and where the agents are gone that moved, there is nobody to wait for


@pytest.mark.slow
async def test_a_caller_that_is_cut_has_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def greet_and_reset(stream: muxado.Stream) -> None:
        await stream.send(b"hello")
        await stream.receive()
        stream.reset()

    async with (
        running() as gate,
        agent(gate.url, greet_and_reset),
        await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
    ):
        assert await caller.receive() == b"hello"
        await caller.send(b"x")
        with pytest.raises(anyio.BrokenResourceError):
            await caller.receive()
    assert "a caller was cut off: the peer reset stream 2: STREAM_CANCELLED(6)" in caplog.text


@pytest.mark.slow
async def test_stopping_does_not_wait_for_who_says_nothing() -> None:
    async with (
        running(graceful_timeout=3600) as gate,
        agent(gate.url, never_read),
        await anyio.connect_tcp("127.0.0.1", gate.port) as silent,
        await anyio.connect_tcp("127.0.0.1", gate.port) as hesitant,
    ):
        await hesitant.send(b"GET / HTTP/1.1\r\n")
        await anyio.sleep(0.5)
        gate.stop.set()
        assert await everything(silent) == b""
        assert (await everything(hesitant)).startswith(b"HTTP/1.1 408 ")


@pytest.mark.slow
async def test_no_agent_closes_another_protocol_at_once_and_tells_http_late() -> None:
    async with running() as gate:
        async with await anyio.connect_tcp("127.0.0.1", gate.port) as redis:
            await redis.send(b"*1\r\n$4\r\nPING\r\n")
            assert await everything(redis) == b""
        async with await anyio.connect_tcp("127.0.0.1", gate.port) as late:
            await anyio.sleep(0.5)
            await late.send(b"VERSION-CONTROL / HTTP/1.1\r\n\r\n")
            assert (await everything(late)).startswith(b"HTTP/1.1 503 ")


@pytest.mark.slow
async def test_a_crowd_that_comes_at_once_is_served_and_leaves_nothing() -> None:
    async def call() -> None:
        assert await ask(gate.port) == OK

    async with running(limit=300) as gate, agent(gate.url, serve_once) as session:
        for _ in range(3):
            async with anyio.create_task_group() as callers:
                for _ in range(150):
                    callers.start_soon(call)
        while session.statistics().live_streams:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.01)


async def test_a_caller_that_breaks_off_resets_its_stream() -> None:
    async def handle(stream: muxado.Stream) -> None:
        await stream.receive()
        begun.set()
        try:
            await stream.receive()
        except muxado.StreamResetError:
            reset.set()

    begun, reset = anyio.Event(), anyio.Event()
    async with running() as gate, agent(gate.url, handle):
        caller = await anyio.connect_tcp("127.0.0.1", gate.port)
        await caller.send(REQUEST)
        await begun.wait()
        raw = caller.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await anyio.aclose_forcefully(caller)
        await reset.wait()


@pytest.mark.parametrize("way", ["callbacks"], indirect=True)
async def test_a_caller_that_cannot_be_watched_is_cut_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel has bounds of its own for what is watched."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with running() as gate:
        with socket.create_connection(("127.0.0.1", gate.port)) as caller:
            caller.settimeout(10)
            monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", refuse)
            with pytest.raises(ConnectionResetError):
                await to_thread.run_sync(caller.recv, 1)
            monkeypatch.undo()


async def test_cancelling_the_gateway_cuts_its_callers() -> None:
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        url, ports = await tasks.start(
            partial(
                gateway,
                "tcp://127.0.0.1:0",
                [Published(Address("127.0.0.1", 0))],
                stop,
                ssl_context=None,
                limit=10,
                graceful_timeout=5,
            )
        )
        async with agent(url, saying(b"hi!")):
            caller = await anyio.connect_tcp("127.0.0.1", ports[0])
            await caller.send(REQUEST)
            assert await caller.receive(3) == b"hi!"
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True), pytest.raises(anyio.BrokenResourceError):
                while True:
                    await caller.receive()
            with anyio.CancelScope(shield=True):
                await caller.aclose()


async def test_an_address_in_use_does_not_start() -> None:
    async with running() as gate:
        for url, published in (
            (gate.url, Published(Address("127.0.0.1", 0))),
            ("tcp://127.0.0.1:0", Published(Address("127.0.0.1", gate.port))),
        ):
            with pytest.raises(NotStarted, match="in use"):
                await gateway(
                    url, [published], gate.stop, ssl_context=None, limit=1, graceful_timeout=1
                )

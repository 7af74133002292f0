"""The HTTP door: real callers before it, and agents behind it."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import UNIXSocketStream

from muxado_py.cli.agents.agents import Agents
from muxado_py.cli.callers.kept import Kept
from muxado_py.cli.http_door.accounts import NO_ACCOUNT
from muxado_py.cli.http_door.conversation import Conversation
from muxado_py.cli.http_door.fronts import Source
from muxado_py.cli.http_door.guests import Guests
from muxado_py.cli.http_door.host import Host
from muxado_py.cli.http_door.limits import Limits
from muxado_py.cli.http_door.routes import Routes
from muxado_py.runtime.checkpoints import event_loop
from muxado_py.runtime.plain_sockets import plain_socket

from .door import OK, Replying, agent, door, everything, heard, request
from .heads import REQUESTS, read_by_h11, read_by_httptools, read_by_waitress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import muxado_py as muxado

pytestmark = pytest.mark.anyio

CLOSE = b"Connection: close"


def status(answer: bytes) -> int:
    return int(answer[9:12])


@pytest.mark.slow
async def test_each_odd_request_is_refused_or_read_in_one_way_behind_the_door() -> None:
    app = Replying()
    async with door() as gate, agent(gate.url, app, names=("app",)):
        for what, sent in REQUESTS.items():
            app.heard.clear()
            async with await gate.connect() as caller:
                await caller.send(sent.raw)
                await caller.send_eof()
                answer = await everything(caller)
            assert status(answer) == (sent.refused or 200), what
            assert answer.count(b"\r\n\r\n") == 1, what
            if sent.refused:
                assert not app.heard, what
                continue
            (raw,) = app.heard
            reading = read_by_h11(raw)
            assert read_by_httptools(raw) == read_by_waitress(raw) == reading, what
            assert reading.environ["X_FORWARDED_FOR"] == "127.0.0.1", what


async def test_each_host_leads_to_the_agents_of_its_name() -> None:
    async with (
        door() as gate,
        agent(gate.url, Replying(OK.replace(b"ok", b"a!")), names=("a",)),
        agent(gate.url, Replying(OK.replace(b"ok", b"b!")), names=("b", "c")),
        await gate.connect() as caller,
    ):
        for name, body in ((b"a", b"a!"), (b"b", b"b!"), (b"C", b"b!"), (b"a", b"a!")):
            await caller.send(request(name=name))
            assert await heard(caller, body)


async def test_who_asks_for_what_is_not_here_is_told_so_and_may_ask_again() -> None:
    async with (
        door() as gate,
        agent(gate.url, Replying(), names=("app",)),
        agent(gate.url, Replying()),
        await gate.connect() as caller,
    ):
        await caller.send(request(name=b"other"))
        answer = await heard(caller, b"No agent serves other now.\n")
        assert status(answer) == 503
        assert b"\r\nRetry-After: 5\r\n" in answer
        await caller.send(b"GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n")
        answer = await heard(caller, b"Here are the hosts NAME.test, and not this one.\n")
        assert status(answer) == 404
        await caller.send(request())
        assert await heard(caller, b"ok") == OK


async def test_requests_that_come_at_once_are_answered_in_order() -> None:
    async def echo(stream: muxado.Stream) -> None:
        raw = await heard(stream, b"\r\n\r\n")
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + raw[4:7])
        await stream.aclose()

    async with door() as gate, agent(gate.url, echo, names=("app",)):
        raw = b"".join(request(start=b"GET /%02d HTTP/1.1" % number) for number in range(50))
        answer = await gate.ask(raw + request(CLOSE, start=b"GET /50 HTTP/1.1"))
    bodies = [one[-3:] for one in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"/%02d" % number for number in range(51)]


@pytest.mark.parametrize(
    ("method", "answer", "heard_of_it"),
    [
        (b"HEAD", b"200 OK\r\nContent-Length: 5\r\n", b"200 OK\r\nContent-Length: 5\r\n"),
        (b"HEAD", b"200 OK\r\nTransfer-Encoding: chunked\r\n", b"200 OK\r\n"),
        (b"GET", b"204 No Content\r\n", b"204 No Content\r\n"),
        (
            b"GET",
            b"304 Not Modified\r\nContent-Length: 5\r\n",
            b"304 Not Modified\r\nContent-Length: 5\r\n",
        ),
    ],
)
async def test_what_has_no_body_is_followed_by_the_next_answer(
    method: bytes, answer: bytes, heard_of_it: bytes
) -> None:
    app = Replying(b"HTTP/1.1 " + answer + b"\r\n")
    async with (
        door() as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect() as caller,
    ):
        for _ in range(2):
            await caller.send(request(start=method + b" / HTTP/1.1"))
            assert await heard(caller, b"\r\n\r\n") == b"HTTP/1.1 " + heard_of_it + b"\r\n"


async def test_a_caller_of_http_1_0_hears_one_answer_and_the_end() -> None:
    async with door() as gate, agent(gate.url, Replying(), names=("app",)):
        answer = await gate.ask(request(start=b"GET / HTTP/1.0"))
    assert answer.endswith(b"\r\nConnection: close\r\n\r\nok")


async def test_a_caller_of_http_1_0_may_ask_for_more() -> None:
    async with (
        door() as gate,
        agent(gate.url, Replying(), names=("app",)),
        await gate.connect() as caller,
    ):
        for _ in range(2):
            await caller.send(request(b"Connection: keep-alive", start=b"GET / HTTP/1.0"))
            assert b"\r\nConnection: keep-alive\r\n" in await heard(caller, b"ok")


CHUNKS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nDigest: d\r\n\r\n"
)


async def test_chunks_of_an_answer_are_written_anew_with_its_trailers() -> None:
    async with (
        door() as gate,
        agent(gate.url, Replying(CHUNKS), names=("app",)),
        await gate.connect() as caller,
    ):
        await caller.send(request())
        answer = await heard(caller, b"d\r\n\r\n")
        assert answer == CHUNKS.replace(b";a=b", b"")
        await caller.send(request(start=b"GET / HTTP/1.0"))
        answer = await everything(caller)
        assert answer == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"


async def test_an_answer_that_ends_with_its_stream_becomes_chunks() -> None:
    app = Replying(b"HTTP/1.0 200 OK\r\n\r\nabc")
    async with (
        door() as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect() as caller,
    ):
        for _ in range(2):
            await caller.send(request())
            answer = await heard(caller, b"0\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert b"abc" in answer


@pytest.mark.slow
@pytest.mark.parametrize("in_chunks", [False, True])
async def test_much_passes_both_ways(*, in_chunks: bool) -> None:
    content = bytes(range(256)) * 8_000
    app = Replying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
    if in_chunks:
        raw = request(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.1")
        pieces = [content[at : at + 10_000] for at in range(0, len(content), 10_000)]
        raw += b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n"
    else:
        length = b"Content-Length: %d" % len(content)
        raw = request(length, start=b"POST / HTTP/1.1", body=content)
    async with (
        door() as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect() as caller,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(caller.send, raw)
        answer = b""
        while len(answer.partition(b"\r\n\r\n")[2]) < len(content):
            answer += await caller.receive()
    assert answer.endswith(b"\r\n\r\n" + content)
    reading = read_by_h11(app.heard[0])
    assert reading.body == content


async def test_a_caller_that_waits_for_a_word_before_its_body_gets_the_agents() -> None:
    async def app(stream: muxado.Stream) -> None:
        raw = await heard(stream, b"\r\n\r\n")
        assert b"\r\nExpect: 100-continue\r\n" in raw
        await stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await stream.send(OK.replace(b"ok", await stream.receive()))
        await stream.aclose()

    raw = request(b"Content-Length: 2", b"Expect: 100-continue", start=b"POST / HTTP/1.1")
    async with (
        door() as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect() as caller,
    ):
        for body in (b"hi", b"ho"):
            await caller.send(raw)
            assert await heard(caller, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await caller.send(body)
            assert await heard(caller, body)


async def test_an_answer_before_the_body_is_the_last_of_its_connection() -> None:
    """Else the rest of the body would be taken for a request."""
    refused = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"

    async def app(stream: muxado.Stream) -> None:
        await heard(stream, b"\r\n\r\n")
        await stream.send(refused)
        await stream.aclose()

    length = b"Content-Length: 1000"
    async with (
        door() as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect() as caller,
    ):
        await caller.send(request(length, start=b"POST / HTTP/1.1"))
        answer = await heard(caller, b"no")
        assert b"\r\nConnection: close\r\n" in answer
        await caller.send(request(start=b"GET /smuggled HTTP/1.1"))
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await caller.receive()


async def test_answers_before_the_last_are_passed_on_but_to_http_1_0() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with (
        door() as gate,
        agent(gate.url, Replying(hints + OK), names=("app",)),
        await gate.connect() as caller,
    ):
        await caller.send(request())
        assert await heard(caller, b"ok") == hints + OK
        await caller.send(request(start=b"GET / HTTP/1.0"))
        assert (await everything(caller)).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!!!!",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20,
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 40_000,
    ],
)
async def test_an_agent_that_gives_no_answer_is_a_bad_gateway(answer: bytes) -> None:
    async with door() as gate, agent(gate.url, Replying(answer), names=("app",)):
        said = await gate.ask(request(CLOSE))
    assert b"HTTP/1.1 502 Bad Gateway\r\n" in said


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
async def test_a_part_of_an_answer_never_looks_like_the_whole(answer: bytes) -> None:
    async with (
        door() as gate,
        agent(gate.url, Replying(answer), names=("app",)),
        await gate.connect() as caller,
    ):
        await caller.send(request())
        with pytest.raises(anyio.BrokenResourceError):
            while True:
                await caller.receive()


async def test_an_answer_that_is_reset_breaks_off() -> None:
    async def cut(stream: muxado.Stream) -> None:
        await stream.send(b"abc")
        await has_begun.wait()
        stream.reset()

    has_begun = anyio.Event()
    app = Replying(b"HTTP/1.1 200 OK\r\n\r\n", cut)
    async with (
        door() as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect() as caller,
    ):
        await caller.send(request())
        await heard(caller, b"abc\r\n")
        has_begun.set()
        with pytest.raises(anyio.BrokenResourceError):
            while True:
                await caller.receive()


async def test_an_agent_learns_that_its_caller_is_gone() -> None:
    gone = anyio.Event()

    async def app(stream: muxado.Stream) -> None:
        await heard(stream, b"\r\n\r\n")
        asked.set()
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
        gone.set()

    asked = anyio.Event()
    async with door() as gate, agent(gate.url, app, names=("app",)):
        async with await gate.connect() as caller:
            await caller.send(request())
            await asked.wait()
        await gone.wait()


async def test_so_does_one_that_had_no_room_for_its_body_when_that_happened() -> None:
    size = 300_000  # more than a window
    may_read, gone = anyio.Event(), anyio.Event()

    async def app(stream: muxado.Stream) -> None:
        await may_read.wait()
        raw = b""
        with pytest.raises(anyio.EndOfStream):
            while True:
                raw += await stream.receive()
        assert len(raw.partition(b"\r\n\r\n")[2]) == size
        gone.set()

    async with (
        door() as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect() as caller,
    ):
        length = b"Content-Length: %d" % size
        await caller.send(request(length, start=b"POST / HTTP/1.1"))
        await caller.send(bytes(size))
        await caller.send_eof()
        await anyio.sleep(0.2)
        may_read.set()
        with anyio.fail_after(10):
            await gone.wait()


async def test_the_rest_of_a_body_that_never_comes_ends_the_request() -> None:
    ended = anyio.Event()

    async def app(stream: muxado.Stream) -> None:
        await heard(stream, b"hel")
        asked.set()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()
        ended.set()

    asked = anyio.Event()
    raw = request(b"Content-Length: 5", start=b"POST / HTTP/1.1", body=b"hel")
    async with door() as gate, agent(gate.url, app, names=("app",)):
        async with await gate.connect() as caller:
            await caller.send(raw)
            await asked.wait()
            await caller.send_eof()
            assert status(await everything(caller)) == 400
        await ended.wait()


async def test_a_caller_is_not_read_further_than_its_agent_takes() -> None:
    async def app(stream: muxado.Stream) -> None:
        await anyio.sleep_forever()

    sent = 0
    raw = request(b"Content-Length: 100000000", start=b"POST / HTTP/1.1")
    async with (
        door() as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect() as caller,
    ):
        await caller.send(raw)
        with anyio.move_on_after(1):
            while True:
                await caller.send(bytes(65536))
                sent += 65536
    assert sent < 30_000_000


def hurrying(**limits: float) -> tuple[Any, Callable[[muxado.Stream], Awaitable[None]]]:
    """Limits that become these when the application has a request, and this application."""
    changing = SimpleNamespace(**Limits()._asdict())

    async def app(stream: muxado.Stream) -> None:
        await heard(stream, b"\r\n\r\n")
        vars(changing).update(limits)
        await stream.send(OK)
        await stream.aclose()

    return changing, app


class TestTime:
    """What comes too late."""

    async def test_a_connection_without_a_request_is_closed(self) -> None:
        async with door(Limits(idle=0.05)) as gate, await gate.connect() as caller:
            assert await everything(caller) == b""

    async def test_a_connection_without_another_request_is_closed(self) -> None:
        limits, app = hurrying(idle=0.05)
        async with door(limits) as gate, agent(gate.url, app, names=("app",)):
            assert await gate.ask(request()) == OK

    @pytest.mark.parametrize("more", [b"\r\n", b"G"])
    async def test_so_is_one_that_sent_the_beginning_of_one_ahead(self, more: bytes) -> None:
        """An empty line behind a request is none, and must not take the time away."""
        limits, app = hurrying(idle=0.05, head=0.05)
        async with door(limits) as gate, agent(gate.url, app, names=("app",)):
            answer = await gate.ask(request() + more)
            assert answer.startswith(OK)
            assert answer[len(OK) : len(OK) + 12] == (b"" if more == b"\r\n" else b"HTTP/1.1 408")

    async def test_a_slow_head_is_refused(self) -> None:
        async with door(Limits(head=0.1)) as gate, await gate.connect() as caller:

            async def dawdle() -> None:
                for byte in request(b"A: " + b"b" * 500):
                    await caller.send(bytes([byte]))
                    await anyio.sleep(0.02)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(dawdle)
                assert status(await heard(caller, b".\n")) == 408
                tasks.cancel_scope.cancel()
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await caller.receive()

    async def test_a_slow_body_is_refused(self) -> None:
        raw = request(b"Content-Length: 5", start=b"POST / HTTP/1.1", body=b"hel")
        async with (
            door(Limits(body=0.1)) as gate,
            agent(gate.url, Replying(), names=("app",)),
        ):
            assert status(await gate.ask(raw)) == 408

    async def test_a_slow_answer_is_given_up(self) -> None:
        ended = anyio.Event()

        async def app(stream: muxado.Stream) -> None:
            with pytest.raises(anyio.BrokenResourceError):
                while True:
                    await stream.receive()
            ended.set()

        async with door(Limits(answer=0.1)) as gate, agent(gate.url, app, names=("app",)):
            answer = await gate.ask(request())
            assert status(answer) == 504
            assert b"may have executed" in answer
            await ended.wait()

    async def test_a_slow_answer_to_a_body_that_took_its_time_is_given_up(self) -> None:
        async def app(stream: muxado.Stream) -> None:
            await anyio.sleep_forever()

        raw = request(b"Content-Length: 5", start=b"POST / HTTP/1.1", body=b"hel")
        async with (
            door(Limits(answer=0.1)) as gate,
            agent(gate.url, app, names=("app",)),
            await gate.connect() as caller,
        ):
            await caller.send(raw)
            await anyio.sleep(0.02)
            await caller.send(b"lo")
            assert status(await everything(caller)) == 504

    @pytest.mark.slow
    @pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b""])
    async def test_a_body_that_waited_for_a_word_may_take_longer_than_an_answer(
        self, interim: bytes
    ) -> None:
        """Whether the word comes or not: who hears none begins after a while."""

        async def app(stream: muxado.Stream) -> None:
            if interim:
                await heard(stream, b"\r\n\r\n")
                await stream.send(interim)
            await heard(stream, b"!")
            await stream.send(OK)
            await stream.aclose()

        size = 20
        lines = (b"Content-Length: %d" % size, b"Expect: 100-continue")
        async with (
            door(Limits(answer=1.0)) as gate,
            agent(gate.url, app, names=("app",)),
            await gate.connect() as caller,
        ):
            await caller.send(request(*lines, start=b"POST / HTTP/1.1"))
            if interim:
                assert await heard(caller, b"\r\n\r\n") == interim
            for _ in range(size - 1):
                await caller.send(b"a")
                await anyio.sleep(0.1)
            await caller.send(b"!")
            assert await heard(caller, b"ok") == OK

    @pytest.mark.slow
    async def test_an_answer_may_take_its_time_though_the_rest_of_the_body_is_not_taken(
        self,
    ) -> None:
        async def app(stream: muxado.Stream) -> None:
            await stream.receive()
            await stream.send(OK[:-1])
            await anyio.sleep(1.0)
            await stream.send(OK[-1:])
            await stream.aclose()

        async def send(caller: anyio.abc.SocketStream) -> None:
            while True:
                await caller.send(bytes(65536))

        async with (
            door(Limits(answer=0.3)) as gate,
            agent(gate.url, app, names=("app",)),
            await gate.connect() as caller,
            anyio.create_task_group() as tasks,
        ):
            await caller.send(request(b"Content-Length: 100000000", start=b"POST / HTTP/1.1"))
            tasks.start_soon(send, caller)
            await heard(caller, b"ok")
            tasks.cancel_scope.cancel()

    async def test_who_waits_for_a_word_that_never_comes_is_told(self) -> None:
        lines = (b"Content-Length: 2", b"Expect: 100-continue")

        async def app(stream: muxado.Stream) -> None:
            await anyio.sleep_forever()

        async with door(Limits(answer=0.1)) as gate, agent(gate.url, app, names=("app",)):
            assert status(await gate.ask(request(*lines, start=b"POST / HTTP/1.1"))) == 504

    @pytest.mark.slow
    async def test_who_does_not_take_its_answer_is_cut_off(self) -> None:
        ended = anyio.Event()

        async def app(stream: muxado.Stream) -> None:
            await heard(stream, b"\r\n\r\n")
            await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
            with pytest.raises(anyio.BrokenResourceError):
                while True:
                    await stream.send(bytes(65536))
            ended.set()

        async with (
            door(Limits(write=0.2)) as gate,
            agent(gate.url, app, names=("app",)),
            await gate.connect() as caller,
        ):
            await caller.send(request())
            await ended.wait()


async def test_a_body_that_is_too_long_is_refused() -> None:
    async with (
        door(Limits(max_body=10)) as gate,
        agent(gate.url, Replying(), names=("app",)),
    ):
        post = b"POST / HTTP/1.1"
        raw = request(b"Content-Length: 10", CLOSE, start=post, body=bytes(10))
        assert status(await gate.ask(raw)) == 200
        assert status(await gate.ask(request(b"Content-Length: 11", start=post))) == 413
        raw = request(b"Transfer-Encoding: chunked", start=post, body=b"b\r\nhello world\r\n")
        assert status(await gate.ask(raw)) == 413


async def test_what_comes_behind_a_body_that_is_too_long_is_the_next_request() -> None:
    async with (
        door(Limits(max_body=10)) as gate,
        agent(gate.url, Replying(), names=("app",)),
        await gate.connect() as caller,
    ):
        await caller.send(request(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.1"))
        await anyio.wait_all_tasks_blocked()
        await anyio.sleep(0.05)
        await caller.send(b"b\r\nhello world\r\n0\r\n\r\n" + request(CLOSE))
        answer = await everything(caller)
        assert status(answer) == 413
        assert answer.endswith(b"\r\nConnection: close\r\n\r\nok")


class TestRoom:
    """How many callers there may be."""

    async def test_who_finds_no_room_is_told_to_come_back(self) -> None:
        async def app(stream: muxado.Stream) -> None:
            asked.set()
            await anyio.sleep_forever()

        asked = anyio.Event()
        async with (
            door(limit=1) as gate,
            agent(gate.url, app, names=("app",)),
            await gate.connect() as first,
        ):
            await first.send(request())
            await asked.wait()
            answer = await gate.ask(request())
            assert status(answer) == 503
            assert b"no room" in answer

    @pytest.mark.slow
    async def test_who_has_waited_makes_room(self) -> None:
        async with (
            door(limit=1) as gate,
            agent(gate.url, Replying(), names=("app",)),
            await gate.connect() as first,
        ):
            while not (await gate.ask(request(CLOSE))).endswith(b"ok"):  # noqa: ASYNC110 - nothing tells
                await anyio.sleep(0.1)  # it has not waited long enough
            assert await everything(first) == b""


class TestStop:
    """What becomes of callers when the gateway stops."""

    async def test_who_has_no_request_is_let_go(self) -> None:
        async with (
            door() as gate,
            agent(gate.url, Replying(), names=("app",)),
            await gate.connect() as silent,
            await gate.connect() as caller,
        ):
            await caller.send(request())
            await heard(caller, b"ok")
            gate.stop.set()
            assert await everything(silent) == await everything(caller) == b""

    async def test_a_request_is_finished_and_the_last(self) -> None:
        asked, may_answer = anyio.Event(), anyio.Event()

        async def app(stream: muxado.Stream) -> None:
            await heard(stream, b"\r\n\r\n")
            asked.set()
            await may_answer.wait()
            await stream.send(OK)
            await stream.aclose()

        async with (
            door() as gate,
            agent(gate.url, app, names=("app",)),
            await gate.connect() as caller,
        ):
            await caller.send(request())
            await asked.wait()
            gate.stop.set()
            await anyio.wait_all_tasks_blocked()
            may_answer.set()
            assert (await everything(caller)).endswith(b"\r\nConnection: close\r\n\r\nok")

    async def test_whoever_is_answered_while_agents_move_is_told_that_it_is_the_last(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Or its next request is on the way when it is let go."""
        move, have_moved = anyio.Event(), anyio.Event()

        async def hand_over(agents: Agents, seconds: float) -> None:
            move.set()
            await have_moved.wait()

        monkeypatch.setattr(Agents, "hand_over", hand_over)
        async with (
            door() as gate,
            agent(gate.url, Replying(), names=("app",)),
            await gate.connect() as caller,
        ):
            await caller.send(request())
            assert await heard(caller, b"ok") == OK
            gate.stop.set()
            await move.wait()
            await caller.send(request())
            end = b"\r\nConnection: close\r\n\r\nok"
            assert (await everything(caller)).endswith(end)
            assert (await gate.ask(b"\r\n" + request())).endswith(end)
            have_moved.set()

    @pytest.mark.parametrize(("name", "end"), [(b"app", b"ok"), (b"other", b"now.\n")])
    async def test_what_the_kernel_has_of_one_that_is_let_go_is_answered(
        self, name: bytes, end: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stop = Guests.stop

        def ask_and_stop(guests: Guests) -> None:
            if event_loop() is not None:  # elsewhere only a task could look
                asks.send(request(name=name))
            stop(guests)

        monkeypatch.setattr(Guests, "stop", ask_and_stop)
        path = str(tmp_path / "door")
        with socket.socket(socket.AF_UNIX) as asks:
            async with door(path=path) as gate, agent(gate.url, Replying(), names=("app",)):
                asks.connect(path)
                async with await UNIXSocketStream.from_socket(asks.dup()) as caller:
                    await caller.send(request())
                    assert await heard(caller, b"ok") == OK
                    gate.stop.set()
                    answer = await everything(caller)
        assert answer.endswith(end) or event_loop() is None

    async def test_a_request_that_came_in_the_same_moment_is_answered(self) -> None:
        near, far = socket.socketpair()
        routes = Routes("test", Agents())
        conversation = Conversation(
            plain_socket(near),
            Host(routes, Kept(), Limits(), anyio.current_time),
            Source(None, "http", {}),
            NO_ACCOUNT,
        )
        with anyio.fail_after(10):
            async with (
                await UNIXSocketStream.from_socket(far) as caller,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(conversation.run)
                await anyio.wait_all_tasks_blocked()
                conversation.inbox.said += request()
                conversation.let_go("had not come when the gateway stopped")
                await caller.send(b"\r\n")  # what comes next is looked at
                assert b"No agent serves app now." in await everything(caller)

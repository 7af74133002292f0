"""The access log of the gateway: a line for each caller that has left, which says how it fared."""

from __future__ import annotations

import json
import logging
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado
from muxado_py.cli.agents.registration import Call
from muxado_py.cli.agents.registration import Lines as WireLines
from muxado_py.cli.callers.ledger import UNWRITTEN, End, Entry, Ledger, Written, is_wanted
from muxado_py.cli.log_lines import JsonLines
from muxado_py.cli.options import Published, UnixAddress
from muxado_py.runtime.plain_sockets import PlainSocket

from ...helpers.broken_off import broken_off
from ..test_gateway import HERE, OK, REQUEST, agent, ask, everything, never_read, saying, serve_once
from ..test_gateway import running as running_gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ..test_gateway import Running

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("way")]


class Lines(logging.Handler):
    """The fields of what was logged, once the gateway has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self._news: anyio.Event | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        if self._news is not None:
            self._news.set()

    async def wait_for(self, number: int) -> None:
        with anyio.fail_after(10):
            while len(self.records) < number:
                self._news = anyio.Event()
                await self._news.wait()

    @property
    def fields(self) -> list[dict[str, Any]]:
        return [record.fields for record in self.records]  # type: ignore[attr-defined]

    def only(self) -> dict[str, Any]:
        (found,) = self.fields
        return found


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    lines = Lines()
    access = logging.getLogger("muxado.access")
    monkeypatch.setattr(access, "handlers", [lines])
    monkeypatch.setattr(access, "level", logging.INFO)
    access.manager._clear_cache()  # type: ignore[attr-defined]
    return lines


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Running]:
    async with running_gateway(access_log=True, **options) as gate:
        yield gate


async def test_an_answered_caller_has_a_line_of_what_went_each_way(lines: Lines) -> None:
    async with (
        running(doors=[Published(HERE, "blog")]) as gate,
        agent(gate.url, serve_once, names=("blog",)) as session,
        await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
    ):
        its = session.extra(anyio.abc.SocketAttribute.local_port)
        port = caller.extra(anyio.abc.SocketAttribute.local_port)
        await caller.send(REQUEST)
        assert await everything(caller) == OK
    found = lines.only()
    seconds = found.pop("seconds")
    assert 0 <= seconds < 60
    assert found == {
        "client": f"127.0.0.1:{port}",
        "door": f"127.0.0.1:{gate.port}",
        "name": "blog",
        "agent": f"127.0.0.1:{its}",
        "end": "answered",
        "status": 200,
        "bytes_in": len(REQUEST),
        "bytes_out": len(OK),
    }
    text, _, time = lines.records[0].getMessage().rpartition(", ")
    assert text == (
        f"127.0.0.1:{port} at 127.0.0.1:{gate.port}, blog of 127.0.0.1:{its}: answered 200, "
        f"{len(REQUEST)} bytes in, {len(OK)} out"
    )
    assert time == f"{seconds:.3f} s"
    assert json.loads(JsonLines().format(lines.records[0]))["logger"] == "muxado.access"


async def test_what_came_in_pieces_is_one_line(lines: Lines) -> None:
    """Where there are callbacks, a task goes on with such a caller."""
    async with (
        running() as gate,
        agent(gate.url, serve_once),
        await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
    ):
        await caller.send(REQUEST[:5])
        await anyio.wait_all_tasks_blocked()
        await caller.send(REQUEST[5:])
        assert await everything(caller) == OK
    found = lines.only()
    assert (found["end"], found["status"], found["bytes_in"]) == ("answered", 200, len(REQUEST))


async def test_another_protocol_has_no_status(lines: Lines) -> None:
    async with (
        running() as gate,
        agent(gate.url, saying(b"220 mail\r\n")),
        await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
    ):
        assert await caller.receive() == b"220 mail\r\n"
        await caller.send(b"QUIT\r\n")
        await caller.send_eof()
        assert await everything(caller) == b"QUIT\r\n"
    found = lines.only()
    assert (found["end"], found["status"]) == ("answered", None)
    assert (found["bytes_in"], found["bytes_out"]) == (6, 16)
    assert "answered, 6 bytes in" in lines.records[0].getMessage()


async def test_who_finds_no_agent_is_refused(lines: Lines) -> None:
    async with running() as gate:
        assert (await ask(gate.port)).startswith(b"HTTP/1.1 503")
        await lines.wait_for(1)
        async with await anyio.connect_tcp("127.0.0.1", gate.port) as caller:
            await caller.send(b"SSH-2.0-x\r\n")
            with suppress(anyio.BrokenResourceError, OSError):  # closed with its bytes unread
                assert await everything(caller) == b""
    assert [(one["end"], one["status"], one["agent"]) for one in lines.fields] == [
        ("refused", 503, None),
        ("refused", None, None),
    ]
    assert "no agent: refused 503, 0 bytes in, 0 out" in lines.records[0].getMessage()


async def test_the_agent_in_the_line_is_the_one_that_answered(lines: Lines) -> None:
    async with (
        running() as gate,
        agent(gate.url, serve_once) as good,
        muxado.connect(gate.url) as bad,
        anyio.create_task_group() as tasks,
    ):

        async def refuse_all() -> None:
            while True:
                (await bad.accept_stream()).refuse()

        tasks.start_soon(refuse_all)
        await bad.ping()
        port = good.extra(anyio.abc.SocketAttribute.local_port)
        assert await ask(gate.port) == OK
        tasks.cancel_scope.cancel()
    found = lines.only()
    assert (found["end"], found["agent"]) == ("answered", f"127.0.0.1:{port}")
    assert (found["bytes_in"], found["bytes_out"]) == (len(REQUEST), len(OK))


@pytest.mark.parametrize("begun", [True, False], ids=["in-the-answer", "before-it"])
async def test_what_an_agent_broke_off_is_cut_off(begun: bool, lines: Lines) -> None:
    async def break_off(stream: muxado.Stream) -> None:
        await stream.receive()
        if begun:
            await stream.send(OK[:-1])
            await heard.wait()
        stream.reset()

    heard = anyio.Event()
    async with (
        running() as gate,
        agent(gate.url, break_off),
        await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
    ):
        await caller.send(REQUEST)
        if begun:
            assert await caller.receive() == OK[:-1]
            heard.set()
            with pytest.raises((anyio.BrokenResourceError, OSError)):
                await everything(caller)
        else:
            assert (await everything(caller)).startswith(b"HTTP/1.1 502")
    found = lines.only()
    assert (found["end"], found["status"]) == ("cut off", 200 if begun else 502)


async def test_a_caller_that_breaks_off_is_gone(lines: Lines) -> None:
    heard = anyio.Event()

    async def hear(stream: muxado.Stream) -> None:
        await stream.receive()
        heard.set()
        await never_read(stream)

    async with running() as gate, agent(gate.url, hear):
        with socket.create_connection(("127.0.0.1", gate.port)) as raw:
            raw.sendall(REQUEST)
            await heard.wait()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await lines.wait_for(1)
    found = lines.only()
    assert (found["end"], found["bytes_in"]) == ("gone", len(REQUEST))


async def test_who_opened_ahead_and_said_nothing_is_gone(lines: Lines) -> None:
    async with running() as gate, agent(gate.url, serve_once):
        assert await ask(gate.port) == OK
        await lines.wait_for(1)
        await (await anyio.connect_tcp("127.0.0.1", gate.port)).aclose()
        await lines.wait_for(2)
    assert [one["end"] for one in lines.fields] == ["answered", "gone"]


async def test_each_caller_that_found_no_room_has_a_line(lines: Lines) -> None:
    heard = anyio.Event()

    async def hear(stream: muxado.Stream) -> None:
        await stream.receive()
        heard.set()
        await never_read(stream)

    async with (
        running(limit=1) as gate,
        agent(gate.url, hear),
        await anyio.connect_tcp("127.0.0.1", gate.port) as first,
    ):
        await first.send(REQUEST)
        await heard.wait()
        crowd = [socket.create_connection(("127.0.0.1", gate.port)) for _ in range(20)]
        await lines.wait_for(12)
        for one in crowd:
            with suppress(OSError):  # it was not even told
                one.sendall(REQUEST)
                one.shutdown(socket.SHUT_WR)
        await lines.wait_for(20)
        for one in crowd:
            one.close()
    ends = [(one["end"], one["status"]) for one in lines.fields]
    assert ends.count(("refused", 503)) == 8
    assert ends.count(("refused", None)) == 12
    assert len(ends) == 21


async def test_stopping_cuts_off_who_was_led_and_refuses_who_waits(lines: Lines) -> None:
    async def hear(stream: muxado.Stream) -> None:
        heard.set()
        await never_read(stream)

    heard = anyio.Event()
    async with (
        running(graceful_timeout=0.2) as gate,
        agent(gate.url, hear),
        await anyio.connect_tcp("127.0.0.1", gate.port) as led,
        await anyio.connect_tcp("127.0.0.1", gate.port) as waiting,
    ):
        await led.send(REQUEST)
        await waiting.send(REQUEST[:-2])
        await heard.wait()
        gate.stop.set()
        # Not how the connection ends: who reads late finds it cut off behind the answer.
        assert (await waiting.receive()).startswith(b"HTTP/1.1 408")
        await lines.wait_for(2)
    assert sorted((one["end"], one["status"] or 0) for one in lines.fields) == [
        ("cut off", 0),
        ("refused", 408),
    ]


async def test_a_caller_at_a_unix_door_has_no_address(lines: Lines, tmp_path: Path) -> None:
    path = f"{tmp_path}/a\nb"
    async with (
        running(doors=[Published(UnixAddress(path))]) as gate,
        agent(gate.url, serve_once),
        await anyio.connect_unix(path) as caller,
    ):
        await caller.send(REQUEST)
        assert await everything(caller) == OK
    found = lines.only()
    assert (found["client"], found["door"]) == (None, f"unix://{tmp_path}/a\\nb")
    assert lines.records[0].getMessage().startswith(f"a caller at unix://{tmp_path}/a\\nb, ")


async def test_a_stream_that_calls_a_name_has_a_line(lines: Lines) -> None:
    async with (
        running(doors=(), forwarded=("blog",)) as gate,
        agent(gate.url, serve_once, names=("blog",)),
        muxado.connect(gate.url) as calling,
    ):
        control = await calling.open_stream()
        await control.send(Call("blog").line())
        await WireLines(control).next()
        async with await calling.open_stream() as stream:
            await stream.send(REQUEST)
            await stream.send_eof()
            assert await everything(stream) == OK
        await lines.wait_for(1)
        port = calling.extra(anyio.abc.SocketAttribute.local_port)
        control.reset()
    found = lines.only()
    assert (found["client"], found["name"]) == (f"127.0.0.1:{port}", "blog")
    assert found["door"] == gate.url.removeprefix("tcp://")
    assert (found["end"], found["status"], found["bytes_out"]) == ("answered", 200, len(OK))


async def test_nothing_is_written_where_nobody_wants_it(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []

    def open_(*args: object) -> Entry:
        opened.append(args)
        return UNWRITTEN

    monkeypatch.setattr(Ledger, "open", open_)
    async with running_gateway() as gate, agent(gate.url, serve_once):
        assert await ask(gate.port) == OK
    logging.getLogger("muxado.access").setLevel(logging.WARNING)
    assert not is_wanted()
    async with running() as gate, agent(gate.url, serve_once):
        assert await ask(gate.port) == OK
    assert not opened
    assert not lines.records


async def test_addresses_are_as_they_are_typed() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        with socket.create_connection(listening.getsockname()[:2]) as raw:
            connection = PlainSocket(raw)
            entry = Written(Ledger(lambda: 0.0), connection, None)
        assert entry.client == f"[::1]:{listening.getsockname()[1]}"
    gone = Written(Ledger(lambda: 0.0), connection, None)
    assert (gone.client, gone.door, gone.end) == (None, None, End.CUT_OFF)
    async with broken_off() as left:
        assert Written(Ledger(lambda: 0.0), left, None).client is None


@pytest.mark.parametrize("first", [b"HTTP/1.1 20", b"HTTP/1.x abc", b"SSH-2.0-x", b"HTTP/2 200"])
async def test_what_has_no_status_is_said_without(first: bytes) -> None:
    a, b = socket.socketpair()
    with a, b:
        entry = Written(Ledger(lambda: 0.0), PlainSocket(a), None)
        entry.answering(first)
    assert entry.status is None

"""What the gateway writes down of each request: its line in the log, and the sums of a name."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from muxado_py.cli.callers.latest import Latest
from muxado_py.cli.callers.ledger import End
from muxado_py.cli.http_door import accounts
from muxado_py.cli.http_door.accounts import BUCKETS, OTHERS, Account, Accounts, Written
from muxado_py.cli.http_door.limits import Limits
from muxado_py.cli.http_door.rates import Rate
from muxado_py.cli.log_lines import JsonLines

from ..callers.test_ledger import Lines, lines
from .door import OK, Replying, agent, door, everything, heard, request

if TYPE_CHECKING:
    import muxado_py as muxado

__all__ = ("lines",)

pytestmark = pytest.mark.anyio

CLOSE = b"Connection: close"


async def test_each_request_has_a_line_of_what_went_each_way(lines: Lines) -> None:
    app = Replying()
    secret = b"GET /a%20b?token=s3cret HTTP/1.1"
    async with (
        door(access_log=True) as gate,
        agent(gate.url, app, names=("app",)) as session,
        await gate.connect() as caller,
    ):
        its = session.extra(anyio.abc.SocketAttribute.local_port)
        port = caller.extra(anyio.abc.SocketAttribute.local_port)
        await caller.send(request(start=secret))
        assert await heard(caller, b"ok") == OK
        await caller.send(request(CLOSE, start=b"POST /c HTTP/1.1"))
        await everything(caller)
    first, second = lines.fields
    seconds = first.pop("seconds")
    assert 0 <= seconds < 60
    assert first == {
        "client": f"127.0.0.1:{port}",
        "door": f"127.0.0.1:{gate.port}",
        "name": "app",
        "agent": f"127.0.0.1:{its}",
        "method": "GET",
        "path": "/a%20b",
        "end": "answered",
        "status": 200,
        "bytes_in": len(app.heard[0]),
        "bytes_out": len(OK),
    }
    assert (second["method"], second["path"]) == ("POST", "/c")
    text, _, time = lines.records[0].getMessage().rpartition(", ")
    assert text == (
        f"127.0.0.1:{port} at 127.0.0.1:{gate.port}, app of 127.0.0.1:{its}: "
        f"GET /a%20b answered 200, {len(app.heard[0])} bytes in, {len(OK)} out"
    )
    assert time == f"{seconds:.3f} s"
    for record in lines.records:
        assert "s3cret" not in record.getMessage() + JsonLines().format(record)
        assert json.loads(JsonLines().format(record))["logger"] == "muxado.access"


async def hangs(stream: muxado.Stream) -> None:
    await anyio.sleep_forever()


async def refuses(stream: muxado.Stream) -> None:
    stream.refuse()


POST = b"POST / HTTP/1.1"


@pytest.mark.parametrize(
    ("app", "limits", "raw", "found"),
    [
        (hangs, {}, request(name=b"Other", start=b"GET / HTTP/1.0"), ("refused", 503)),
        (hangs, {}, b"GET / HTTP/1.0\r\nHost: elsewhere\r\n\r\n", ("refused", 404)),
        (hangs, {}, request(b"A : b"), ("refused", 400)),
        (hangs, {}, request(b"A: " + b"b" * 40_000), ("refused", 431)),
        (hangs, {"head": 0.05}, b"GET / HTTP/1.1\r\nHost: app.te", ("refused", 408)),
        (hangs, {"answer": 0.05}, request(), ("cut off", 504)),
        (refuses, {}, request(CLOSE), ("refused", 503)),
        (Replying(b"SSH-2.0\r\n\r\n"), {}, request(CLOSE), ("cut off", 502)),
        (hangs, {"body": 0.05}, request(b"Content-Length: 5", start=POST), ("gone", 408)),
        (
            hangs,
            {},
            request(b"Transfer-Encoding: chunked", start=POST, body=b"1\r\nab\r\n"),
            ("refused", 400),
        ),
        (hangs, {"max_body": 3}, request(b"Content-Length: 5", start=POST), ("refused", 413)),
    ],
)
async def test_what_the_gateway_says_itself_has_a_line_that_says_who_is_to_blame(
    app: Any, limits: dict[str, Any], raw: bytes, found: tuple[str, int], lines: Lines
) -> None:
    async with (
        door(Limits(**limits), access_log=True) as gate,
        agent(gate.url, app, names=("app",)),
    ):
        await gate.ask(raw)
    line = lines.only()
    assert (line["end"], line["status"]) == found
    cannot_be_read = b"\r\nA" in raw
    host = raw.partition(b"Host: ")[2].partition(b"\r\n")[0]
    name = {b"Other.test": "other", b"app.test": "app"}.get(host)
    assert line["name"] == (None if cannot_be_read else name)


async def test_who_asks_too_often_has_a_line_that_says_for_what(lines: Lines) -> None:
    async with (
        door(Limits(name_rate=Rate(1, 3600.0)), access_log=True) as gate,
        agent(gate.url, Replying(), names=("app",)),
    ):
        for _ in range(2):
            await gate.ask(request(CLOSE))
    found = [(line["name"], line["end"], line["status"]) for line in lines.fields]
    assert found == [("app", "answered", 200), ("app", "refused", 429)]


@pytest.mark.parametrize(
    ("more", "limits", "found"),
    [
        (b"1\r\nab\r\n", {}, ("gone", 400)),
        (b"4\r\nabcd\r\n", {"max_body": 3}, ("cut off", 413)),
        (None, {}, ("gone", None)),
    ],
)
async def test_what_an_agent_had_already_was_not_refused(
    more: bytes | None, limits: dict[str, Any], found: tuple[str, int | None], lines: Lines
) -> None:
    """It may have been executed; but whose doing the end was is told."""

    async def app(stream: muxado.Stream) -> None:
        await stream.receive()
        has_it.set()
        await anyio.sleep_forever()

    has_it = anyio.Event()
    raw = request(b"Transfer-Encoding: chunked", start=POST)
    async with (
        door(Limits(**limits), access_log=True) as gate,
        agent(gate.url, app, names=("app",)),
    ):
        caller = await gate.connect()
        await caller.send(raw)
        await has_it.wait()
        if more is None:
            await anyio.aclose_forcefully(caller)
        else:
            await caller.send(more)
            await everything(caller)
            await caller.aclose()
        if more is None:
            gate.stop.set()
    line = lines.only()
    if more is None:  # a half close may have been seen first: then the body ended too early
        assert line["end"] == "gone"
    else:
        assert (line["end"], line["status"]) == found


@pytest.mark.slow
async def test_who_takes_no_answer_is_gone(lines: Lines) -> None:
    async def app(stream: muxado.Stream) -> None:
        await heard(stream, b"\r\n\r\n")
        await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
        with pytest.raises(anyio.BrokenResourceError):
            while True:
                await stream.send(bytes(65536))
        ended.set()

    ended = anyio.Event()
    async with (
        door(Limits(write=0.2), access_log=True) as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect() as caller,
    ):
        await caller.send(request())
        await ended.wait()
    line = lines.only()
    assert (line["end"], line["status"]) == ("gone", 200)


async def test_nothing_is_written_where_nobody_wants_it(lines: Lines) -> None:
    async with door() as gate, agent(gate.url, Replying(), names=("app",)):
        await gate.ask(request(CLOSE))
    assert not lines.records


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Someone:
    """An agent, as far as it is told of."""

    def __init__(self) -> None:
        self.agent = SimpleNamespace(peer="agent")
        figures = SimpleNamespace(bytes_sent=3, unsent=1, bytes_received=5)
        self.stream = SimpleNamespace(statistics=lambda: figures)


def an_account(its: Accounts) -> Written:
    nowhere: Any = SimpleNamespace(extra=lambda *_: None)
    account = its.open(nowhere, is_served=True)
    assert isinstance(account, Written)
    return account


def tell(account: Account, name: str, *, is_led: bool = True) -> None:
    account.begin(b"GET / HTTP/1.1\r\n")
    account.wants(name)
    if is_led:
        passage: Any = Someone()
        account.led(passage)
    account.answering(200)
    account.ended(End.ANSWERED)
    account.ended(End.CUT_OFF)  # which was said already


def test_sums_are_by_name_and_neither_callers_nor_agents_make_them_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accounts, "MAX_NAMES", 10)
    its = Accounts(Clock(), writes=False)
    account = an_account(its)
    for number in range(100):
        tell(account, f"made-up-{number}", is_led=False)
    assert list(its.sums) == [""]
    for number in range(100):
        tell(account, f"blog-{number}")
        tell(account, "blog-0")
    assert len(its.sums) == 12  # with those that no agent had
    assert its.sums["blog-0"].statuses[2] == 101
    assert its.sums[OTHERS].statuses[2] == 90
    assert (its.sums["blog-3"].bytes_in, its.sums["blog-3"].bytes_out) == (4, 5)


def test_how_long_requests_took_is_summed_up_by_the_bounds_of_the_buckets() -> None:
    clock = Clock()
    its = Accounts(clock, writes=False)
    account = an_account(its)
    for seconds in (0.0, BUCKETS[0], 1.5, 1000.0):
        account.begin(b"GET / HTTP/1.1\r\n")
        clock.now += seconds
        account.ended(End.CUT_OFF)
    sums = its.sums[""]
    assert sums.buckets[0] == 2
    assert sums.buckets[BUCKETS.index(2.5)] == 1
    assert sums.buckets[-1] == 1
    assert sum(sums.buckets) == sums.statuses[0] == 4
    assert sums.seconds == sum((0.0, BUCKETS[0], 1.5, 1000.0))


def test_the_last_requests_are_seen_without_a_line(lines: Lines) -> None:
    latest = Latest()
    its = Accounts(Clock(), writes=False, latest=latest)
    account = an_account(its)
    assert list(latest.callers) == [account]
    tell(account, "blog")
    (one,) = latest.requests
    assert (one.name, one.agent, one.status, one.end) == ("blog", "agent", 200, "answered")
    account.close()
    assert not latest.callers
    assert not lines.records

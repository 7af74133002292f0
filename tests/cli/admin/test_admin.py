"""The admin address: how a gateway is, as probes, people and Prometheus ask it."""

from __future__ import annotations

import json
import signal
import socket
import sys
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread
from click.testing import CliRunner

from muxado_py.cli.admin import admin as admin_module
from muxado_py.cli.admin.admin import Admin, Answer, open_admin
from muxado_py.cli.cluster.memory import MemoryRegistry
from muxado_py.cli.commands import muxado as muxado_command
from muxado_py.cli.options import Address, HttpDoor, Published, UnixAddress
from muxado_py.cli.running import NotStarted

from ..cluster.several import registered, several
from ..processes import running as running_process
from ..test_gateway import (
    HERE,
    OK,
    REQUEST,
    agent,
    ask,
    everything,
    never_read,
    running,
    serve_once,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import muxado_py as muxado

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("way")]


@pytest.fixture
def address(tmp_path: Path) -> UnixAddress:
    return UnixAddress(f"{tmp_path}/admin")


async def say(address: UnixAddress, request: bytes) -> bytes:
    async with await anyio.connect_unix(address.path) as asking:
        await asking.send(request)
        with suppress(anyio.BrokenResourceError):
            return await everything(asking)
    return b""


async def get(address: UnixAddress, path: str) -> tuple[int, str]:
    said = await say(address, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head
    return int(head[9:12]), body.decode()


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        body: bytes = answer.read()
    return body


async def test_it_is_healthy_until_it_is_told_to_stop(address: UnixAddress) -> None:
    async with (
        running(admin=address, graceful_timeout=3600) as gate,
        agent(gate.url, never_read),
        await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
    ):
        await caller.send(REQUEST)
        assert await get(address, "/healthz") == (200, "serving\n")
        gate.stop.set()
        assert await get(address, "/healthz") == (503, "stopping\n")
        assert json.loads((await get(address, "/status"))[1])["serving"] is False


async def test_a_balancer_asks_for_the_name_that_it_leads_callers_to(address: UnixAddress) -> None:
    """A gateway that starts anew has no agents for a moment."""
    async with running(admin=address, doors=[Published(HERE, "blog")]) as gate:
        assert (await get(address, "/healthz"))[0] == 200
        assert await get(address, "/healthz?name=blog") == (503, "no agent here serves that name\n")
        async with agent(gate.url, never_read, names=("blog",)):
            assert (await get(address, "/healthz?name=blog"))[0] == 200
            assert (await get(address, "/healthz?name="))[0] == 503
            gate.stop.set()
            assert (await get(address, "/healthz?name=blog"))[0] == 503


async def test_each_of_several_gateways_is_healthy_for_what_its_own_agents_serve(
    tmp_path: Path,
) -> None:
    """A balancer would lead callers to any of them else, also those of a name that nobody serves."""
    here, there = (UnixAddress(f"{tmp_path}/{name}") for name in ("here", "there"))
    registry = MemoryRegistry()
    async with (
        several(2, registry, admins=(here, there, None)) as (gate, _),
        agent(gate.url, never_read, names=("blog",)),
    ):
        await registered(registry, "blog")
        for address, name, status in (
            (here, "blog", 200),
            (there, "blog", 503),
            (here, "nobody", 503),
            (there, "nobody", 503),
        ):
            assert (await get(address, f"/healthz?name={name}"))[0] == status
        assert (await get(there, "/healthz"))[0] == 200


async def test_the_status_has_agents_names_doors_and_callers(address: UnixAddress) -> None:
    heard = anyio.Event()

    async def hear(stream: Any) -> None:
        await stream.receive()
        heard.set()
        await never_read(stream)

    async with (
        running(admin=address, doors=[Published(HERE, "blog")]) as gate,
        agent(gate.url, hear, names=("blog", "shop")) as session,
        await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
    ):
        await caller.send(REQUEST)
        await heard.wait()
        status, body = await get(address, "/status?pretty")
        gate.stop.set()
    peer = f"127.0.0.1:{session.extra(anyio.abc.SocketAttribute.local_port)}"
    found = json.loads(body)
    assert status == 200
    (one,) = found["agents"]
    assert one.pop("since").endswith("+00:00")
    one.pop("round_trip")
    assert one == {"peer": peer, "names": ["blog", "shop"], "streams": 1, "suspect": False}
    assert found["names"] == {"": [], "blog": [peer], "shop": [peer]}
    assert found["doors"] == [{"address": f"127.0.0.1:{gate.port}", "name": "blog"}]
    assert found["callers"] == {"served": 1, "limit": 100}


@pytest.mark.parametrize(("doors", "limit"), [([], 100), ([Published(HERE)], 200)])
async def test_callers_of_the_http_door_are_callers(
    address: UnixAddress, doors: list[Published], limit: int
) -> None:
    http = HttpDoor(Address("127.0.0.1", 0), "test")
    async with (
        running(admin=address, doors=doors, http=http) as gate,
        await anyio.connect_tcp("127.0.0.1", gate.ports[-1]) as caller,
    ):
        await caller.send(REQUEST)
        await caller.receive()
        found = json.loads((await get(address, "/status"))[1])
        assert found["callers"] == {"served": 1, "limit": limit}


@pytest.mark.parametrize("by_host", [False, True])
async def test_who_is_turned_away_is_no_caller_that_is_served(
    address: UnixAddress, *, by_host: bool
) -> None:
    async def hear(stream: muxado.Stream) -> None:
        heard.set()
        await never_read(stream)

    heard = anyio.Event()
    http = HttpDoor(Address("127.0.0.1", 0), "test")
    async with (
        running(admin=address, limit=1, http=http) as gate,
        agent(gate.url, hear),
        agent(gate.url, hear, names=("app",)),
        await anyio.connect_tcp("127.0.0.1", gate.ports[-1 if by_host else 0]) as caller,
    ):
        await caller.send(REQUEST.replace(b"Host: ", b"Host: app.test\r\nA: "))
        await heard.wait()
        port = gate.ports[-1 if by_host else 0]
        async with await anyio.connect_tcp("127.0.0.1", port) as refused:
            await refused.send(b"G")  # which is waited for to go on
            for _ in range(20):
                await anyio.wait_all_tasks_blocked()
            found = json.loads((await get(address, "/status"))[1])
        assert found["callers"]["served"] == 1
        gate.stop.set()


async def test_metrics_count_those_that_have_left(address: UnixAddress) -> None:
    pytest.importorskip("prometheus_client")
    async with running(admin=address) as gate:
        await ask(gate.port)
        async with agent(gate.url, serve_once):
            assert await ask(gate.port) == OK
            answered = 'muxado_callers_left_total{end="answered",name=""} 1.0'
            lines: list[str] = []
            while answered not in lines:  # who has heard its answer may not have left yet
                status, body = await get(address, "/metrics")
                assert status == 200
                lines = body.splitlines()
    assert "muxado_agents 1.0" in lines
    assert 'muxado_name_agents{name=""} 1.0' in lines
    assert 'muxado_callers_left_total{end="refused",name=""} 1.0' in lines
    assert f'muxado_bytes_total{{name="",way="in"}} {len(REQUEST)}.0' in lines
    assert f'muxado_bytes_total{{name="",way="out"}} {len(OK)}.0' in lines


async def test_metrics_count_requests_of_the_http_door(address: UnixAddress) -> None:
    pytest.importorskip("prometheus_client")
    http = HttpDoor(Address("127.0.0.1", 0), "test")
    asked = REQUEST.replace(b"Host: app\r\n", b"Host: app.test\r\nConnection: close\r\n")
    async with running(admin=address, http=http) as gate:
        assert b" 503 " in await ask(gate.ports[-1], asked)
        async with agent(gate.url, serve_once, names=("app",)):
            assert b" 200 " in await ask(gate.ports[-1], asked)
        lines = (await get(address, "/metrics"))[1].splitlines()
    assert 'muxado_requests_total{name="",status="5xx"} 1.0' in lines
    assert 'muxado_requests_total{name="app",status="2xx"} 1.0' in lines
    assert 'muxado_request_seconds_bucket{le="+Inf",name="app"} 1.0' in lines
    assert 'muxado_request_seconds_count{name="app"} 1.0' in lines
    assert f'muxado_request_bytes_total{{name="app",way="out"}} {len(OK)}.0' in lines


async def test_without_its_library_metrics_say_what_to_install(
    address: UnixAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    async with running(admin=address):
        status, body = await get(address, "/metrics")
        assert (await get(address, "/healthz"))[0] == 200
    assert status == 501
    assert "pip install 'muxado-py[metrics]'" in body


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
        (b"POST /status HTTP/1.1\r\n\r\n", 405),
        (b"GET /status\r\n\r\n", 400),
        (b"x" * 20_000, 400),
        (b"GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        (b"GET /status HTTP/1.1\r\nHost: localhost\r\nhOsT: evil.example:80\r\n\r\n", 403),
        (b"GET /status HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n\r\n", 200),
        (b"GET /status HTTP/1.1\r\nHost: [::1]:9000\r\n\r\n", 200),
        (b"GET /status HTTP/1.0\r\n\r\n", 200),
    ],
)
async def test_whatever_is_asked_has_an_answer(
    request_: bytes, status: int, address: UnixAddress
) -> None:
    async with running(admin=address):
        assert (await say(address, request_))[9:12] == b"%d" % status


async def test_a_head_has_no_body(address: UnixAddress) -> None:
    async with running(admin=address):
        said = await say(address, b"HEAD /healthz HTTP/1.1\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert said.endswith(b"\r\n\r\n")


async def test_who_says_nothing_or_comes_in_a_crowd_holds_nothing_up(
    address: UnixAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(admin=address):
        with monkeypatch.context() as hurried:
            hurried.setattr(admin_module, "TIMEOUT", 0.05)
            crowd = [await anyio.connect_unix(address.path) for _ in range(40)]
            for one in crowd:
                with suppress(anyio.BrokenResourceError):
                    assert await everything(one) == b""
                await one.aclose()
        assert (await get(address, "/healthz"))[0] == 200


async def test_more_than_a_few_at_once_are_closed(
    address: UnixAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_module, "TIMEOUT", 1000.0)
    closed: list[bytes] = []

    async def hear(one: anyio.abc.ByteStream) -> None:
        closed.append(await everything(one))
        tasks.cancel_scope.cancel()

    async with running(admin=address):
        crowd = [
            await anyio.connect_unix(address.path) for _ in range(admin_module.MAX_CONNECTIONS + 1)
        ]
        async with anyio.create_task_group() as tasks:
            for one in crowd:  # which is one too many depends on whose task runs first
                tasks.start_soon(hear, one)
        for one in crowd:
            await one.aclose()
    assert closed == [b""]


async def test_a_fault_of_an_answer_is_logged_and_ends_nothing(
    address: UnixAddress, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(asked: Mapping[str, str]) -> Answer:
        raise RuntimeError("a fault of ours")

    admin = await open_admin(address, {"/": fail})
    assert isinstance(admin, Admin)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(admin.serve, tasks)
        assert (await get(address, "/"))[0] == 500
        await admin.aclose()
        tasks.cancel_scope.cancel()
    assert "a fault of ours" in caplog.text


async def test_an_admin_address_in_use_does_not_start() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(NotStarted, match=r"cannot listen on 127.* \(--admin\)"),
    ):
        await open_admin(Address("127.0.0.1", taken.getsockname()[1]), {})


@pytest.mark.parametrize(
    ("address_", "hint"),
    [
        ("0.0.0.0:9000", "learns who calls"),
        (":9000", "learns who calls"),
        ("[::]:9000", "learns who calls"),
        ("blog=9000", "has no name"),
    ],
)
async def test_it_is_for_this_machine_alone(address_: str, hint: str) -> None:
    arguments = ["gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "0", "--admin", address_]
    result = CliRunner().invoke(muxado_command, arguments)
    assert result.exit_code == 2, result.output
    assert hint in " ".join(result.stderr.split())


@pytest.mark.slow
async def test_a_command_answers_at_its_admin_address() -> None:
    with running_process(
        *("gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "127.0.0.1:0"),
        *("--admin", "127.0.0.1:0", "--no-access-log"),
    ) as gateway:
        where = gateway.wait_for(r"see how it is at http://([\d.:]+)/")
        assert await to_thread.run_sync(fetch, f"http://{where}/healthz") == b"serving\n"
        status = await to_thread.run_sync(fetch, f"http://{where}/status")
        assert json.loads(status)["serving"] is True
        assert gateway.end(signal.SIGTERM) == 0

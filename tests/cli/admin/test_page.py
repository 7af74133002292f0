"""The page at the admin address: what the browser is given.  ``interop/test_page.py`` looks at it with one."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from muxado_py.cli.admin import page as page_module
from muxado_py.cli.admin.page import DOCUMENT
from muxado_py.cli.agents.registration import Call, Lines
from muxado_py.cli.options import Address, HttpDoor, Published, UnixAddress

from ..http_door.door import Replying
from ..test_gateway import HERE, REQUEST, agent, ask, never_read, running, serve_once
from .test_admin import get, say

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("way")]

SECRET = (
    b"GET /a?token=secret HTTP/1.1\r\nHost: app.test\r\nCookie: secret\r\nConnection: close\r\n\r\n"
)


@pytest.fixture
def address(tmp_path: Path) -> UnixAddress:
    return UnixAddress(f"{tmp_path}/admin")


async def shown(address: UnixAddress) -> dict[str, Any]:
    status, body = await get(address, "/page.json")
    assert status == 200
    assert "secret" not in body
    found: dict[str, Any] = json.loads(body)
    return found


async def shown_with(address: UnixAddress, requests: int) -> dict[str, Any]:
    """What is shown once there were so many: who hears that a connection has ended may be the first to."""
    while True:
        found = await shown(address)
        if len(found["requests"]) == requests and not found["callers"]["count"]:
            return found


async def test_the_document_runs_its_own_script_and_nothing_else(address: UnixAddress) -> None:
    async with running(admin=address):
        said = await say(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head, _, body = said.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert "\r\nContent-Type: text/html; charset=utf-8\r\n" in head
    assert "\r\nCache-Control: no-store\r\n" in head
    assert "\r\nX-Frame-Options: DENY\r\n" in head
    assert "\r\nCross-Origin-Resource-Policy: same-origin\r\n" in head
    (policy,) = re.findall(r"\r\nContent-Security-Policy: (.*)\r\n", head)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["form-action"] == "'none'"
    for element in ("script", "style"):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", body, re.DOTALL)
        digest = b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[f"{element}-src"] == f"'sha256-{digest}'"
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    "never",
    [
        r"innerHTML",
        r"outerHTML",
        r"insertAdjacent",
        r"document\.write",
        r"eval\(",
        r"\bon\w+=",
        r" style=",
    ],
)
async def test_what_peers_said_cannot_become_markup(never: str) -> None:
    assert not re.search(never, DOCUMENT)


async def test_nothing_of_it_comes_from_elsewhere() -> None:
    assert set(re.findall(r"https?://[^\s'`$]+", DOCUMENT)) == {
        "http://www.w3.org/2000/svg",
        "http://localhost/",
    }
    assert not re.search(r"<script |<link rel=\"(?!icon\")", DOCUMENT)


async def test_it_has_agents_names_callers_and_requests(address: UnixAddress) -> None:
    heard = anyio.Event()

    async def hear(stream: Any) -> None:
        await stream.receive()
        heard.set()
        await never_read(stream)

    doors = [Published(HERE, "blog"), Published(HERE, "lost")]
    async with running(admin=address, doors=doors) as gate:
        async with (
            agent(gate.url, hear, names=("blog",)) as session,
            await anyio.connect_tcp("127.0.0.1", gate.port) as caller,
        ):
            await caller.send(SECRET)
            await heard.wait()
            found = await shown(address)
            peer = f"127.0.0.1:{session.extra(anyio.abc.SocketAttribute.local_port)}"
            client = f"127.0.0.1:{caller.extra(anyio.abc.SocketAttribute.local_port)}"
        await shown_with(address, 1)
        await ask(gate.ports[1], b"SSH-2.0-none\r\n")
        later = await shown_with(address, 2)
    assert found["serving"] is True
    assert found["listen"] == gate.url
    (one,) = found["agents"]["rows"]
    assert 0 < one.pop("since") <= found["now"]
    one.pop("round_trip")
    assert one == {
        "peer": peer,
        "holder": None,
        "names": ["blog"],
        "more_names": 0,
        "callers": 1,
        "suspect": False,
    }
    assert found["names"]["rows"] == [
        {"name": "lost", "agents": 0, "callers": 0, "doors": [f"127.0.0.1:{gate.ports[1]}"]},
        {"name": "blog", "agents": 1, "callers": 1, "doors": [f"127.0.0.1:{gate.port}"]},
    ]
    (one,) = found["callers"]["rows"]
    assert one.pop("since") <= found["now"]
    assert one == {"client": client, "name": "blog", "agent": peer, "method": "GET", "path": "/a"}
    assert found["requests"] == []
    other, first = later["requests"]
    assert (first["number"], first["method"], first["path"]) == (1, "GET", "/a")
    assert (first["client"], first["name"], first["agent"]) == (client, "blog", peer)
    assert (other["number"], other["method"], other["path"], other["end"]) == (2, "", "", "refused")


async def test_at_the_http_door_each_request_is_one(address: UnixAddress) -> None:
    http = HttpDoor(Address("127.0.0.1", 0), "test")
    async with (
        running(admin=address, doors=[], http=http) as gate,
        agent(gate.url, Replying(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), names=("app",)),
        await anyio.connect_tcp("127.0.0.1", gate.ports[-1]) as caller,
    ):
        kept = SECRET.replace(b"Connection: close\r\n", b"")
        await caller.send(kept)
        await caller.receive()
        found = await shown(address)
        await caller.send(kept.replace(b"app", b"nobody"))
        await caller.receive()
        await caller.send(b"GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n")
        await caller.receive()
        await caller.send(b"what is this\r\n\r\n")
        while await caller.receive():
            if (await shown(address))["requests"][0]["status"] == 400:
                break
        await caller.aclose()
        requests = (await shown_with(address, 4))["requests"]
    assert found["callers"]["count"] == len(found["requests"]) == 1
    assert found["names"]["rows"][-1]["doors"] == [f"app.test:{gate.ports[-1]}"]
    (one,) = found["requests"]
    assert one["agent"].startswith("127.0.0.1:")
    assert (one["path"], one["name"], one["status"], one["end"]) == ("/a", "app", 404, "answered")
    assert [(it["name"], it["agent"], it["status"], it["end"]) for it in requests[:3]] == [
        (None, None, 400, "refused"),
        (None, None, 404, "refused"),
        ("nobody", None, 503, "refused"),
    ]


async def test_an_answer_that_breaks_off_is_cut_off(address: UnixAddress) -> None:
    half = Replying(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    http = HttpDoor(Address("127.0.0.1", 0), "test")
    async with (
        running(admin=address, doors=[], http=http) as gate,
        agent(gate.url, half, names=("app",)),
    ):
        with suppress(anyio.BrokenResourceError):
            await ask(gate.ports[-1], SECRET)
        (one,) = (await shown_with(address, 1))["requests"]
    assert (one["status"], one["end"]) == (200, "cut off")


@pytest.mark.slow
async def test_of_many_the_first_are_shown_and_all_are_counted(
    address: UnixAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "MAX_ROWS", 2)
    names = tuple(f"app-{number}" for number in range(20))
    async with (
        running(admin=address) as gate,
        agent(gate.url, never_read),
        agent(gate.url, never_read, names=names),
        agent(gate.url, never_read, names=("blog",)),
        await anyio.connect_tcp("127.0.0.1", gate.port) as one,
        await anyio.connect_tcp("127.0.0.1", gate.port) as two,
        await anyio.connect_tcp("127.0.0.1", gate.port) as three,
    ):
        for caller in (one, two, three):
            await caller.send(REQUEST)
        while (found := await shown(address))["callers"]["count"] < 3:
            pass
        gate.stop.set()
    assert {it: (found[it]["count"], len(found[it]["rows"])) for it in ("agents", "names")} == {
        "agents": (3, 2),
        "names": (22, 2),
    }
    assert len(found["callers"]["rows"]) == 2
    newest, second = found["agents"]["rows"]
    assert newest["names"] == ["blog"]
    assert (len(second["names"]), second["more_names"]) == (8, 12)


async def test_what_has_no_door_says_so_and_a_session_that_calls_is_no_agent(
    address: UnixAddress,
) -> None:
    async with (
        running(admin=address, doors=[], forwarded=["blog"]) as gate,
        agent(gate.url, serve_once, names=("blog",)),
        agent(gate.url, never_read) as calling,
    ):
        control = await calling.open_stream()
        await control.send(Call("blog").line())
        await Lines(control).next()
        found = await shown(address)
        control.reset()
    assert found["agents"]["count"] == 1
    assert found["names"]["rows"] == [{"name": "blog", "agents": 1, "callers": 0, "doors": []}]

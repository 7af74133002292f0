"""``muxado serve`` and ``muxado gateway`` as processes, and ordinary clients at the published port."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import anyio
import httpx
import pytest
import trustme
from websockets.sync.client import connect as connect_websocket

from .apps import LINES
from .processes import Running, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow  # each starts processes, or needs those that another started

GATEWAY = ("gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "127.0.0.1:0")


class Tunnel(NamedTuple):
    gateway: Running
    agent: Running
    url: str
    """Where agents connect."""
    port: int
    """Where callers connect."""


@contextmanager
def gateway(*arguments: str) -> Iterator[tuple[Running, str, int]]:
    with running(*(arguments or GATEWAY)) as process:
        url = process.wait_for(r"agents connect to (\S+)")
        yield process, url, int(process.wait_for(r"callers connect to \S+:(\d+)"))


@contextmanager
def tunnel(app: str, *options: str) -> Iterator[Tunnel]:
    with (
        gateway() as (process, url, port),
        running("serve", f"tests.cli.apps:{app}", "--connect", url, *options) as agent,
    ):
        process.wait_for(r"agent \S+ connected")
        yield Tunnel(process, agent, url, port)


def get(
    port: int, path: str = "/", *, source: str = "127.0.0.1", **headers: str
) -> tuple[int, str]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=30, source_address=(source, 0)
    )
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.fixture(
    scope="module",
    params=[
        ("starlette_app", "--loop", "uvloop"),
        ("starlette_app", "--loop", "trio"),
        ("flask_app", "--loop", "asyncio"),
        ("flask_app", "--loop", "trio"),
    ],
    ids=lambda param: f"{param[0]}-{param[2]}",
)
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """The published port of a tunnel to each kind of app, on each kind of loop."""
    with tunnel(*request.param) as open_tunnel:
        yield open_tunnel.port
        assert open_tunnel.agent.end() == 0
        assert open_tunnel.gateway.end(signal.SIGINT) == 0


def test_the_collector_of_an_agent_leaves_alone_what_the_start_has_made() -> None:
    with tunnel("collected", "--lifespan", "off") as open_tunnel:
        walked, left_alone = map(int, get(open_tunnel.port)[1].split())
    assert left_alone > 10 * walked


@pytest.mark.slow
def test_a_request_is_answered(port: int) -> None:
    assert get(port, "/?name=you") == (200, "hello you, start 1")


def test_one_connection_carries_many_requests(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for number in range(20):
            assert client.get("/", params={"name": number}).text == f"hello {number}, start 1"


def test_a_streamed_response_arrives_whole(port: int) -> None:
    status, body = get(port, "/stream")
    assert status == 200
    assert body == "".join(f"line {number}\n" for number in range(LINES))


def test_an_upload_arrives_whole(port: int) -> None:
    data = os.urandom(3_000_000)
    answer = httpx.post(f"http://127.0.0.1:{port}/upload", content=data, timeout=30)
    assert answer.text == hashlib.sha256(data).hexdigest()


@pytest.mark.slow
def test_64_clients_at_once_are_answered(port: int) -> None:
    def client(number: int) -> list[tuple[int, str]]:
        return [get(port, f"/?name={number}.{turn}") for turn in range(3)]

    with ThreadPoolExecutor(64) as clients:
        for number, answers in enumerate(clients.map(client, range(64))):
            assert answers == [(200, f"hello {number}.{turn}, start 1") for turn in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["uvloop", "trio"])
def test_a_websocket_passes(loop: str) -> None:
    with (
        tunnel("starlette_app", "--loop", loop) as open_tunnel,
        connect_websocket(f"ws://127.0.0.1:{open_tunnel.port}/echo") as websocket,
    ):
        for message in ("hello", "x" * 100_000, "bye"):
            websocket.send(message)
            assert websocket.recv(timeout=30) == message.upper()


@pytest.mark.slow
def test_the_agent_comes_back_when_the_gateway_does_with_the_same_lifespan() -> None:
    with gateway() as (first, url, port):
        arguments = ("--listen", url, "--publish", f"127.0.0.1:{port}")
        with running("serve", "tests.cli.apps:starlette_app", "--connect", url) as agent:
            agent.wait_for("connected to (.*)")
            assert get(port) == (200, "hello , start 1")
            assert first.end() == 0
            agent.wait_for("lost the connection(.*)")
            with gateway("gateway", *arguments) as (second, _, _):
                second.wait_for("agent (.*) connected")
                assert get(port) == (200, "hello , start 1")
                assert agent.end() == 0
                agent.wait_for("INFO    (no longer connected)")
                assert "WARNING" not in agent.said().split("SIGTERM")[1]  # it lost nothing
                second.wait_for(r"INFO    agent \S+ is gone: it closed the session")
                assert get(port)[0] == 503


@pytest.mark.slow
def test_tls_with_certificates_on_both_sides(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    names = {"server": authority, "agent": authority, "stranger": stranger}
    for name, issuer in names.items():
        issuer.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
            tmp_path / f"{name}.pem"
        )

    def tls(name: str) -> tuple[str, ...]:
        return (
            "--ssl-certfile",
            str(tmp_path / f"{name}.pem"),
            "--ssl-ca-certs",
            str(tmp_path / "ca.pem"),
        )

    publish = ("gateway", "--listen", "tls://127.0.0.1:0", "--publish", "127.0.0.1:0")
    any_name = ("--cert-names", "any")  # an authority that is not of muxado certs says none
    with gateway(*publish, *tls("server"), *any_name) as (process, url, port):
        serve = ("serve", "tests.cli.apps:starlette_app", "--connect", url)
        with running(*serve, *tls("stranger")) as agent:
            assert agent.wait() == 3
            agent.wait_for("(does not let this side in): unknown ca")
            process.wait_for("(shows a certificate that is not trusted here): ")
            assert get(port)[0] == 503
        with running(*serve, *tls("agent")) as agent:
            process.wait_for(r"agent \S+ connected")
            agent.wait_for("connected to (.*)")
            assert get(port) == (200, "hello , start 1")
        with running(*serve, "--loop", "asyncio") as agent:  # trusts the system's authorities
            assert agent.wait() == 3
            agent.wait_for("Name its authority with (--ssl-ca-certs)")


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_agents_come_through_websockets(loop: str) -> None:
    publish = ("--listen", "ws://127.0.0.1:0/agents", "--publish", "127.0.0.1:0")
    with gateway("gateway", "--loop", loop, *publish) as (process, url, port):
        assert url.startswith("ws://127.0.0.1:")
        assert url.endswith("/agents")
        serve = ("serve", "tests.cli.apps:starlette_app", "--loop", loop, "--connect")
        with running(*serve, url) as agent:
            process.wait_for(r"agent \S+ connected")
            agent.wait_for("connected to (.*)")
            assert get(port) == (200, "hello , start 1")
        with running(*serve, url.replace("agents", "nobody"), "--max-retries", "0") as agent:
            assert agent.wait() == 3
            agent.wait_for("(the server answered 404 Not Found)")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "seen"),
    [((), "http 127.0.0.1"), (("--forwarded-allow-ips", "127.0.0.1"), "https 192.0.2.7")],
)
@pytest.mark.parametrize("app", ["starlette_app", "flask_app"])
def test_a_caller_says_who_it_is_only_to_those_who_believe_it(
    app: str, options: tuple[str, ...], seen: str
) -> None:
    claims = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    with tunnel(app, "--loop", "asyncio", *options) as open_tunnel:
        assert get(open_tunnel.port, "/client", **claims) == (200, seen)
        client = seen.partition(" ")[2]
        open_tunnel.agent.wait_for(rf'({client}):\d+ - "GET /client HTTP/1\.1" 200')


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="127.0.0.2 is an address of this machine on Linux"
)
@pytest.mark.parametrize(
    ("app", "loop"),
    [("starlette_app", "uvloop"), ("starlette_app", "trio"), ("flask_app", "asyncio")],
)
def test_an_application_sees_who_calls_the_gateway(app: str, loop: str) -> None:
    with tunnel(app, "--loop", loop) as open_tunnel:
        for source in ("127.0.0.2", "127.0.0.3"):
            assert get(open_tunnel.port, "/client", source=source) == (200, f"http {source}")
            open_tunnel.agent.wait_for(rf"({source}):\d+ .*GET /client")


@pytest.mark.slow
def test_an_app_that_listens_serves_those_who_dial() -> None:
    import muxado_py as muxado

    async def call(url: str) -> str:
        async with muxado.connect(url) as session, muxado.httpx_client(session) as client:
            return (await client.get("http://app/?name=dialer")).text

    with running(
        "serve", "tests.cli.apps:make_app", "--factory", "--listen", "tcp://127.0.0.1:0"
    ) as agent:
        url = agent.wait_for(r"listening on (\S+)")
        assert anyio.run(call, url) == "hello dialer, start 1"
        agent.wait_for(r"\d left()")
        assert agent.end() == 0


@pytest.mark.slow
def test_a_request_in_flight_is_finished_before_the_agent_goes() -> None:
    with tunnel("starlette_app") as open_tunnel:
        connection = http.client.HTTPConnection("127.0.0.1", open_tunnel.port, timeout=30)
        connection.putrequest("POST", "/upload")
        connection.putheader("Content-Length", "10")
        connection.endheaders(b"01234")
        assert get(open_tunnel.port)[0] == 200  # by now the agent has the first half
        open_tunnel.agent.send(signal.SIGTERM)
        open_tunnel.agent.wait_for("SIGTERM: (stopping)")
        connection.send(b"56789")
        answer = connection.getresponse()
        assert answer.read().decode() == hashlib.sha256(b"0123456789").hexdigest()
        connection.close()
        assert open_tunnel.agent.wait() == 0


@pytest.mark.slow
def test_a_second_signal_does_not_wait() -> None:
    with tunnel("starlette_app", "--timeout-graceful-shutdown", "1h") as open_tunnel:
        connection = http.client.HTTPConnection("127.0.0.1", open_tunnel.port, timeout=30)
        connection.putrequest("POST", "/upload")
        connection.putheader("Content-Length", "10")
        connection.endheaders(b"01234")
        assert get(open_tunnel.port)[0] == 200
        open_tunnel.agent.send(signal.SIGINT)
        open_tunnel.agent.wait_for("SIGINT: (stopping)")
        assert open_tunnel.agent.end(signal.SIGINT) == 128 + signal.SIGINT
        connection.close()


def test_more_callers_than_a_session_takes_by_default_are_served() -> None:
    """Both sides were told so; each holds its connection until all of them have been answered."""
    many = 1_100
    limit = ("--limit-concurrency", str(many + 10))
    with (
        gateway(*GATEWAY, *limit) as (process, url, port),
        running(
            *("serve", "tests.cli.apps:starlette_app", "--connect", url, *limit),
            *("--timeout-keep-alive", "120s"),
        ),
        ExitStack() as callers,
    ):
        process.wait_for(r"agent \S+ connected")
        for _ in range(many):
            caller = callers.enter_context(socket.create_connection(("127.0.0.1", port), 30))
            caller.sendall(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
            assert caller.recv(15) == b"HTTP/1.1 200 OK"


def test_two_apps_and_a_unix_socket_behind_one_gateway(tmp_path: Path) -> None:
    """One of them dies and comes back; its callers are told so meanwhile, and nobody else notices."""
    publish = ("blog=127.0.0.1:0", "shop=127.0.0.1:0", f"blog=unix://{tmp_path}/blog")
    doors = [word for one in publish for word in ("--publish", one)]
    with running("gateway", "--listen", "tcp://127.0.0.1:0", *doors) as gate:
        url = gate.wait_for(r"agents connect to (\S+)")
        blog = int(gate.wait_for(r"callers of blog connect to 127\.0\.0\.1:(\d+)"))
        shop = int(gate.wait_for(r"callers of shop connect to \S+:(\d+)"))
        assert gate.wait_for(r"callers of blog connect to (unix:\S+)") == f"unix://{tmp_path}/blog"

        def serve(app: str, *names: str) -> tuple[str, ...]:
            said = [word for name in names for word in ("--name", name)]
            return "serve", f"tests.cli.apps:{app}", "--connect", url, *said

        with running(*serve("flask_app", "shop")):
            gate.wait_for(r"agent \S+ serves (shop)")
            with running(*serve("starlette_app", "blog", "news")) as agent:
                agent.wait_for("serving as (blog, news)")
                gate.wait_for("serves (blog, news)")
                assert get(blog, "/?name=you") == (200, "hello you, start 1")
                assert get(shop, "/upload")[0] == 405
                with httpx.Client(
                    transport=httpx.HTTPTransport(uds=f"{tmp_path}/blog"), timeout=30
                ) as client:
                    assert client.get("http://app/?name=unix").text == "hello unix, start 1"
                assert agent.end() == 0
            status, text = get(blog)
            assert (status, "No agent serves blog now." in text) == (503, True)
            assert get(shop)[0] == 200
            with running(*serve("starlette_app", "blog")):
                gate.wait_for("serves (blog)\n")
                assert get(blog)[0] == 200
        assert gate.end() == 0
    assert not (tmp_path / "blog").exists()


def test_a_name_that_two_agents_serve_survives_either_of_them() -> None:
    """One is stopped, and then killed: that costs who was with it, and nobody else."""
    publish = ("--publish", "app=127.0.0.1:0")
    with running("gateway", "--listen", "tcp://127.0.0.1:0", *publish) as gate:
        url = gate.wait_for(r"agents connect to (\S+)")
        port = int(gate.wait_for(r"callers of app connect to \S+:(\d+)"))
        serve = ("serve", "tests.cli.apps:starlette_app", "--name", "app", "--connect", url)
        with running(*serve) as first, running(*serve) as second:
            gate.wait_for(r"serves (app)", times=2)
            assert get(port)[0] == 200
            first.send(signal.SIGSTOP)
            with ThreadPoolExecutor(20) as clients:
                asked = [clients.submit(get, port) for _ in range(20)]
                gate.wait_for(r"agent \S+ (does not answer); others go first")
                for _ in range(5):
                    assert get(port)[0] == 200
                first.send(signal.SIGCONT)
                assert [call.result()[0] for call in asked] == [200] * 20
            gate.wait_for(r"agent \S+ (answers again)")
            second.send(signal.SIGKILL)
            gate.wait_for(r"agent \S+ (is gone)")
            for _ in range(5):
                assert get(port)[0] == 200
        assert gate.end() == 0


def test_a_local_port_is_published_by_its_name(tmp_path: Path) -> None:
    """A server that speaks first, one behind a Unix socket, and one that is not there."""
    publish = ("--publish", "mail=127.0.0.1:0", "--publish", "none=127.0.0.1:0")

    def greet() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"220 ready\r\n")
                while data := connection.recv(1000):
                    connection.sendall(data.upper())

    with (
        running("gateway", "--listen", "tcp://127.0.0.1:0", *publish) as gate,
        socket.create_server(("127.0.0.1", 0)) as listening,
        ThreadPoolExecutor(1) as servers,
    ):
        servers.submit(greet)
        url = gate.wait_for(r"agents connect to (\S+)")
        mail = int(gate.wait_for(r"callers of mail connect to \S+:(\d+)"))
        none = int(gate.wait_for(r"callers of none connect to \S+:(\d+)"))
        there = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        with (
            running("serve", there, "--connect", url, "--name", "mail") as agent,
            running("serve", f"unix://{tmp_path}/no", "--connect", url, "--name", "none") as other,
        ):
            agent.wait_for(f"serving ({there})")
            gate.wait_for(r"serves (mail)")
            gate.wait_for(r"serves (none)")
            with socket.create_connection(("127.0.0.1", mail), 30) as caller:
                assert caller.recv(100) == b"220 ready\r\n"
                caller.sendall(b"helo")
                assert caller.recv(100) == b"HELO"
                caller.shutdown(socket.SHUT_WR)
                assert caller.recv(100) == b""
            assert get(none)[0] == 503
            other.wait_for(r"a stream is refused: unix://\S+: (No such file or directory)")
            assert agent.end() == 0
        listening.shutdown(socket.SHUT_RDWR)
        assert gate.end() == 0


def test_an_agent_that_wants_a_name_alone_replaces_the_older_which_finishes_and_ends() -> None:
    publish = ("--publish", "app=127.0.0.1:0")
    with running("gateway", "--listen", "tcp://127.0.0.1:0", *publish) as gate:
        url = gate.wait_for(r"agents connect to (\S+)")
        port = int(gate.wait_for(r"callers of app connect to \S+:(\d+)"))
        serve = ("serve", "tests.cli.apps:starlette_app", "--name", "app", "--connect", url)
        with running(*serve) as older:
            gate.wait_for(r"serves (app)")
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.putrequest("POST", "/upload")
            connection.putheader("Content-Length", "10")
            connection.endheaders(b"01234")
            assert get(port)[0] == 200  # by now the older one has the first half
            with running(*serve, "--exclusive") as newer:
                older.wait_for("(the newer agent .* serves app now, alone)")
                connection.send(b"56789")
                answer = connection.getresponse()
                assert answer.read().decode() == hashlib.sha256(b"0123456789").hexdigest()
                connection.close()
                assert older.wait() == 4
                assert "There is nothing left to serve." in older.said()
                assert get(port)[0] == 200
                assert newer.end() == 0
        assert gate.end() == 0


def test_a_name_is_called_through_the_gateway() -> None:
    """It has no door, and comes back; who calls meanwhile is told so."""
    allow = ("--allow-forward", "app")
    with running("gateway", "--listen", "tcp://127.0.0.1:0", *allow) as gate:
        url = gate.wait_for(r"agents connect to (\S+)")
        with running("forward", "127.0.0.1:0", "--connect", url, "--name", "app") as near:
            port = int(near.wait_for(r"callers of app connect to \S+:(\d+)"))
            near.wait_for("calling (app)")
            assert "No agent serves app now." in get(port)[1]
            app = ("serve", "tests.cli.apps:starlette_app", "--name", "app", "--connect", url)
            with running(*app) as agent:
                gate.wait_for(r"serves (app)")
                assert get(port, "/?name=you") == (200, "hello you, start 1")
                with connect_websocket(f"ws://127.0.0.1:{port}/echo") as websocket:
                    websocket.send("hello")
                    assert websocket.recv(timeout=30) == "HELLO"
                assert agent.end() == 0
            assert near.end() == 0
        refused = ("forward", "0", "--connect", url, "--name", "other", "--max-retries", "0")
        with running(*refused) as near:
            assert near.wait() == 4
            assert "it refused: this gateway forwards no calls to other" in near.said()
        assert gate.end() == 0


@pytest.mark.parametrize("app", ["starlette_app", "flask_app"])
def test_agents_of_a_name_that_are_replaced_one_by_one_lose_no_request(app: str) -> None:
    publish = ("--publish", "app=127.0.0.1:0")
    with running("gateway", "--listen", "tcp://127.0.0.1:0", *publish) as gate, ExitStack() as all_:
        url = gate.wait_for(r"agents connect to (\S+)")
        port = int(gate.wait_for(r"callers of app connect to \S+:(\d+)"))
        serve = ("serve", f"tests.cli.apps:{app}", "--name", "app", "--connect", url)
        agents = [all_.enter_context(running(*serve)) for _ in range(2)]
        gate.wait_for(r"serves (app)", times=2)
        over = threading.Event()

        def call_on() -> list[int]:
            statuses = []
            while not over.is_set():
                statuses.append(get(port)[0])
            return statuses

        with ThreadPoolExecutor(4) as clients:
            calls = [clients.submit(call_on) for _ in range(4)]
            try:
                for number, agent in enumerate(agents):
                    all_.enter_context(running(*serve))
                    gate.wait_for(r"serves (app)", times=3 + number)
                    assert agent.end() == 0
            finally:
                over.set()
            statuses = [status for call in calls for status in call.result()]
        assert set(statuses) == {200}


@pytest.mark.parametrize("loop", ["uvloop", "asyncio", "trio"])
def test_a_gateway_that_has_nowhere_to_send_its_agents_waits_for_nothing(loop: str) -> None:
    """Its agents find that out, since it listens no more."""
    with (
        gateway(*GATEWAY, "--timeout-handover", "1h", "--loop", loop) as (process, url, _),
        running(
            *("serve", "tests.cli.apps:starlette_app", "--connect", url),
            *("--name", "blog", "--loop", loop),
        ) as agent,
    ):
        process.wait_for("serves (blog)")
        assert process.end() == 0
        assert "stays: nobody listens anywhere else" in process.said()
        agent.wait_for("lost the connection|(trying again)")
        assert agent.end() == 0


def test_an_agent_with_several_gateways_registers_though_it_has_no_name() -> None:
    with gateway() as (process, url, port):
        urls = ("--connect", url, "--connect", "tcp://127.0.0.1:1")
        with running("serve", "tests.cli.apps:starlette_app", *urls) as agent:
            process.wait_for("serves (doors without a name)")
            assert get(port)[0] == 200
            assert agent.end() == 0

"""``asgi_endpoint``: sessions at a route of an application, behind the servers people run it with."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anycorn
import anyio
import pytest
import uvicorn
from anyio import create_task_group, fail_after
from anyio.abc import SocketAttribute
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

import muxado_py as muxado
from muxado_py.integrations.asgi_transport import ASGITransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

SERVERS = ("anycorn", "websockets-sansio", "wsproto")
"""anycorn, and uvicorn with each of its websockets."""

PATIENCE = 120
"""Seconds until a test says that it hangs: no expectation, and more than a machine needs that has much else to do."""


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, anyio_backend: tuple[str, dict[str, Any]]) -> str:
    name: str = request.param
    backend, options = anyio_backend
    if name != "anycorn" and backend == "trio":
        pytest.skip("uvicorn runs on asyncio")
    if name == "anycorn" and "use_uvloop" in options:
        pytest.skip("anycorn is run on the loops of asyncio and trio")
    return name


@asynccontextmanager
async def running(server: str, app: Any) -> AsyncIterator[str]:
    """The URL of the application's host, served on this event loop."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        async with create_task_group() as tasks:
            if server == "anycorn":
                config = anycorn.Config()
                config.bind = [f"fd://{listening.detach()}"]
                config.accesslog = config.errorlog = None
                stop = anyio.Event()
                serve = partial(anycorn.serve, app, config, shutdown_trigger=stop.wait)
                await tasks.start(serve)
                try:
                    yield f"ws://{host}"
                finally:
                    stop.set()
                return
            settings: Any = {"ws": server, "log_config": None, "lifespan": "off"}
            one = uvicorn.Server(uvicorn.Config(app, **settings))
            tasks.start_soon(partial(one.serve, sockets=[listening]))
            while not one.started:  # noqa: ASYNC110 - it tells nobody
                await anyio.sleep(0.01)
            try:
                yield f"ws://{host}"
            finally:
                one.should_exit = True


def app_with(endpoint: Any) -> Starlette:
    """An application that has something else to do as well."""

    async def hello(request: Any) -> PlainTextResponse:
        return PlainTextResponse("hello")

    return Starlette(routes=[Route("/", hello), WebSocketRoute("/tunnel", endpoint)])


async def echo(session: muxado.Session) -> None:
    async def answer(stream: muxado.Stream) -> None:
        async with stream:
            await stream.send(b"".join([piece async for piece in stream]))

    await session.net_listener().serve(answer)


async def ask(session: muxado.Session, question: bytes) -> bytes:
    async with await session.open_stream() as stream, create_task_group() as tasks:
        tasks.start_soon(_say, stream, question)
        answer = b"".join([piece async for piece in stream])
    return answer


async def _say(stream: muxado.Stream, question: bytes) -> None:
    await stream.send(question)
    await stream.send_eof()


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["muxado", "yamux", "smux2"])
async def test_a_session_at_a_route(server: str, wire: str) -> None:
    question = bytes(range(256)) * 2400  # more than two windows
    endpoint = muxado.asgi_endpoint(echo, config=muxado.Config(wire="auto"))
    config = muxado.Config(wire=wire, half_close=True)
    with fail_after(PATIENCE):
        async with (
            running(server, app_with(endpoint)) as host,
            muxado.connect(f"{host}/tunnel", config=config) as session,
        ):
            assert await ask(session, b"short") == b"short"
            answers: list[bytes] = []

            async def ask_more(which: int) -> None:
                answers.append(await ask(session, question + bytes([which])))

            async with create_task_group() as tasks:
                for which in range(3):
                    tasks.start_soon(ask_more, which)
            assert sorted(answers) == [question + bytes([which]) for which in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("who", ["client", "server", "both", "abort"])
async def test_each_side_may_end_it_and_loses_nothing(server: str, who: str) -> None:
    told: list[Exception | None] = []
    ended = anyio.Event()

    async def handle(session: muxado.Session) -> None:
        stream = await session.open_stream()
        await stream.send(b"last words")
        await stream.aclose()
        if who in ("client", "abort"):
            try:
                await session.wait()
                told.append(None)
            except muxado.SessionError as exc:
                told.append(exc)
        await session.aclose()
        ended.set()

    with fail_after(PATIENCE):
        async with running(server, app_with(muxado.asgi_endpoint(handle))) as host:
            async with muxado.connect(f"{host}/tunnel") as session:
                stream = await session.accept_stream()
                if who != "server":
                    assert await stream.receive() == b"last words"
                if who == "abort":
                    session.abort()
                if who == "server":
                    await session.wait()
                    assert await stream.receive() == b"last words"
            await ended.wait()
    assert told in ([], [None]) if who != "abort" else len(told) == 1


@pytest.mark.slow
async def test_who_judges_decides_with_a_status(server: str) -> None:
    seen: list[muxado.WebSocketRequest] = []

    def check(request: muxado.WebSocketRequest) -> int | None:
        seen.append(request)
        return None if request.bearer_token == "secret" else 401

    endpoint = muxado.asgi_endpoint(echo, check_request=check, subprotocol="muxado")
    with fail_after(PATIENCE):
        async with running(server, app_with(endpoint)) as host:
            url = f"{host}/tunnel?x=%20y"
            with pytest.raises(muxado.UpgradeRefusedError, match="answered 401"):
                async with muxado.connect(url):
                    pytest.fail("was let in")
            headers = {"Authorization": "Bearer secret"}
            with pytest.raises(muxado.UpgradeRefusedError, match="answered 400"):
                async with muxado.connect(url, headers=headers):
                    pytest.fail("was let in")
            async with muxado.connect(url, headers=headers, subprotocol="muxado") as session:
                assert await ask(session, b"x") == b"x"
                assert session.extra(muxado.WebSocketAttribute.subprotocol) == "muxado"
    assert seen[-1].path == "/tunnel?x=%20y"


@pytest.mark.slow
async def test_a_mistake_of_who_judges_refuses_and_is_logged(
    server: str, caplog: pytest.LogCaptureFixture
) -> None:
    def check(request: muxado.WebSocketRequest) -> int | None:
        if request.header("Authorization") is None:
            raise LookupError("no such user")
        return None

    endpoint = muxado.asgi_endpoint(echo, check_request=check)
    async with running(server, app_with(endpoint)) as url:
        with fail_after(PATIENCE):
            with pytest.raises(muxado.UpgradeRefusedError) as info:
                async with muxado.connect(f"{url}/tunnel"):
                    pytest.fail("connected")
            assert info.value.status == 500
            headers = {"Authorization": "Bearer x"}  # and the application goes on
            async with muxado.connect(f"{url}/tunnel", headers=headers) as session:
                assert await ask(session, b"well?") == b"well?"
    (record,) = [one for one in caplog.records if one.exc_info]
    assert "whoever judges requests failed, at one for '/tunnel'" in record.getMessage()


@pytest.mark.slow
async def test_a_mistake_of_a_handler_is_its_own(
    server: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(session: muxado.Session) -> None:
        raise LookupError("a mistake")

    with fail_after(PATIENCE):
        async with running(server, app_with(muxado.asgi_endpoint(handle))) as host:
            for _ in range(2):
                async with muxado.connect(f"{host}/tunnel") as session:
                    await session.wait()
    assert "LookupError: a mistake" in caplog.text


@pytest.mark.slow
async def test_a_session_ends_with_its_server(server: str) -> None:
    connected = anyio.Event()

    async def dial(url: str) -> None:
        try:
            async with muxado.connect(url) as session:
                await session.ping()
                connected.set()
                await session.wait()
        except muxado.TransportError as exc:
            told.append(str(exc))

    told: list[str] = []
    with fail_after(PATIENCE):
        async with (
            create_task_group() as tasks,
            running(server, app_with(muxado.asgi_endpoint(echo))) as host,
        ):
            tasks.start_soon(dial, f"{host}/tunnel")
            await connected.wait()
    assert len(told) <= 1


# By the messages of ASGI alone.


class Server:
    """What a server says to an application, and what it hears."""

    def __init__(self, *messages: dict[str, Any], **scope: Any) -> None:
        self.scope = {
            "type": "websocket",
            "path": "/tunnel",
            "headers": [(b"host", b"h")],
            "query_string": b"",
            "client": ("192.0.2.7", 4711),
            "server": ("192.0.2.1", 80),
            "subprotocols": [],
            **scope,
        }
        self.said = [{"type": "websocket.connect"}, *messages]
        self.heard: list[dict[str, Any]] = []

    async def receive(self) -> Any:
        await anyio.lowlevel.checkpoint()
        if not self.said:
            await anyio.sleep_forever()
        return self.said.pop(0)

    async def send(self, message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        self.heard.append(message)

    async def run(self, endpoint: Any) -> None:
        with fail_after(PATIENCE):
            await endpoint(self.scope, self.receive, self.send)

    def transport(self) -> ASGITransport:
        self.said.pop(0)
        request = muxado.WebSocketRequest("/", ())
        return ASGITransport(self.scope, self.receive, self.send, request, None)


async def nobody(session: muxado.Session) -> None:
    pytest.fail("was let in")


@pytest.mark.parametrize("extensions", [{"websocket.http.response": {}}, {}, None])
async def test_a_page_in_a_browser_is_refused(
    extensions: dict[str, Any] | None, caplog: pytest.LogCaptureFixture
) -> None:
    headers = [(b"Origin", b"https://example.org")]
    server = Server(headers=headers, extensions=extensions, query_string=b"token=secret")
    await server.run(muxado.asgi_endpoint(nobody))
    assert "a request for '/tunnel' was refused (403)" in caplog.text
    if extensions:
        assert server.heard[0]["type"] == "websocket.http.response.start"
        assert server.heard[0]["status"] == 403
        assert server.heard[1]["type"] == "websocket.http.response.body"
    else:
        assert server.heard == [{"type": "websocket.close", "code": 1008}]


async def test_alone_it_is_an_application() -> None:
    endpoint = muxado.asgi_endpoint(nobody)
    server = Server(type="http")
    await server.run(endpoint)
    assert server.heard[0]["status"] == 426
    server = Server({"type": "lifespan.shutdown"}, type="lifespan")
    server.said[0] = {"type": "lifespan.startup"}
    await server.run(endpoint)
    assert [one["type"] for one in server.heard] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    with pytest.raises(NotImplementedError, match="expected a websocket"):
        await Server(type="mqtt").run(endpoint)


async def test_who_left_before_it_was_let_in_is_no_session() -> None:
    server = Server({"type": "websocket.disconnect", "code": 1006})
    server.said.pop(0)
    await server.run(muxado.asgi_endpoint(nobody))
    assert server.heard == []


async def test_a_session_knows_the_addresses() -> None:
    told: list[Any] = []

    async def handle(session: muxado.Session) -> None:
        told.append(session.extra(SocketAttribute.remote_address))
        told.append(session.extra(SocketAttribute.local_port))
        told.append(session.extra(muxado.WebSocketAttribute.request).header("host"))
        session.abort()

    await Server().run(muxado.asgi_endpoint(handle))
    assert told == [("192.0.2.7", 4711), 80, "h"]
    for client in (None, ("", 0)):
        transport = Server(client=client, server=("/run/x", None)).transport()
        assert SocketAttribute.remote_address not in transport.extra_attributes
        assert SocketAttribute.local_address not in transport.extra_attributes


def message(data: bytes) -> dict[str, Any]:
    return {"type": "websocket.receive", "bytes": data, "text": None}


async def test_messages_are_bytes_however_they_were_cut() -> None:
    transport = Server(message(b"abc"), message(b""), message(b"def")).transport()
    assert [await transport.receive(2) for _ in range(4)] == [b"ab", b"c", b"de", b"f"]


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, None])
async def test_an_orderly_end_is_an_end(code: int | None) -> None:
    server = Server(message(b"x"), {"type": "websocket.disconnect", "code": code})
    transport = server.transport()
    assert await transport.receive() == b"x"
    for _ in range(2):
        with pytest.raises(anyio.EndOfStream):
            await transport.receive()
    await transport.aclose()
    assert server.heard == []


@pytest.mark.parametrize("code", [1002, 1011, 1012, 4000])
async def test_any_other_end_says_why(code: int) -> None:
    end = {"type": "websocket.disconnect", "code": code, "reason": "so\nit is"}
    with pytest.raises(anyio.BrokenResourceError, match=rf"code {code}: so\\nit is"):
        await Server(end).transport().receive()


async def test_text_is_refused() -> None:
    text = {"type": "websocket.receive", "text": "text", "bytes": None}
    server = Server(text, message(b"nobody reads this"))
    transport = server.transport()
    for _ in range(2):
        with pytest.raises(anyio.BrokenResourceError, match="sent text"):
            await transport.receive()
    assert server.heard == [{"type": "websocket.close", "code": 1003}]


async def test_who_has_said_the_end_hears_of_the_peers() -> None:
    server = Server({"type": "websocket.disconnect", "code": 1000})
    transport = server.transport()
    await transport.send(b"last")
    await transport.send_eof()
    await transport.send_eof()
    with pytest.raises(anyio.ClosedResourceError):
        await transport.send(b"x")
    with pytest.raises(anyio.EndOfStream):
        await transport.receive()
    await transport.aclose()
    assert [one["type"] for one in server.heard] == ["websocket.send", "websocket.close"]


async def test_a_wire_that_nobody_knows_is_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server(message(b"GET / HTTP/1.1\r\n\r\n"))
    await server.run(muxado.asgi_endpoint(nobody, config=muxado.Config(wire="auto")))
    assert "a websocket from 192.0.2.7:4711 failed" in caplog.text


async def test_the_oldest_that_says_nothing_is_let_go(caplog: pytest.LogCaptureFixture) -> None:
    endpoint = muxado.asgi_endpoint(
        muxado.Session.wait, config=muxado.Config(max_mute_connections=2)
    )
    servers = [Server(client=("192.0.2.7", port)) for port in (1, 2, 3)]
    async with create_task_group() as tasks:
        for server in servers:
            tasks.start_soon(endpoint, server.scope, server.receive, server.send)
        with fail_after(PATIENCE):
            while "the oldest, from 192.0.2.7:" not in caplog.text:  # noqa: ASYNC110 - a log wakes nobody
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    "arguments", [{"handler": 5}, {"check_request": 5}, {"subprotocol": 5}, {"config": 5}]
)
async def test_arguments_of_another_type_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        muxado.asgi_endpoint(**{"handler": nobody, **arguments})

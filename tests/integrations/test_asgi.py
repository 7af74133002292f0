"""``serve_asgi``: a Starlette application behind uvicorn and anycorn, called through a session."""

from __future__ import annotations

import contextvars
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import anycorn
import anyio
import pytest
import uvicorn
from anyio.streams.tls import TLSListener

import muxado_py as muxado
from muxado_py.integrations import StartupError, httpx_client, serve_asgi, serve_wsgi

from ..helpers.blocked import all_tasks_blocked
from ..transports import memory_transports
from .apps import CHUNK, AsgiApp, CountingListener, WsgiApp, serving

if TYPE_CHECKING:
    import ssl

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["auto", "anycorn"])
def server(request: pytest.FixtureRequest) -> str:
    """uvicorn where there is asyncio, and anycorn everywhere."""
    name: str = request.param
    return name


async def read_to_the_end(stream: muxado.Stream) -> bytes:
    return b"".join([chunk async for chunk in stream])


@pytest.mark.slow
async def test_five_requests_use_one_stream(session_pair: SessionPair, server: str) -> None:
    app = AsgiApp()
    async with (
        serving(session_pair, serve_asgi, app.asgi, server=server) as (session, listener),
        httpx_client(session) as client,
    ):
        for _ in range(5):
            response = await client.get("http://app/")
            assert (response.status_code, response.text) == (200, "hello")
        assert len(listener.accepted) == 1
    assert app.log == ["startup", "shutdown"]


async def test_connections_after_each_other_are_served_by_one_task(
    session_pair: SessionPair, server: str
) -> None:
    """To start and to end a task is a good part of what a short connection costs."""
    app = AsgiApp()
    async with serving(session_pair, serve_asgi, app.asgi, server=server) as (session, listener):
        for _ in range(3):
            async with await session.open_stream() as stream:
                await stream.send(b"GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
                assert (await read_to_the_end(stream)).endswith(b"hello")
            await all_tasks_blocked()
        assert len(listener.served_by) == 3
        assert len(set(listener.served_by)) == 1


async def test_the_scope_has_the_lifespans_state(session_pair: SessionPair, server: str) -> None:
    app = AsgiApp()
    async with (
        serving(session_pair, serve_asgi, app.asgi, server=server) as (session, _),
        httpx_client(session) as client,
    ):
        scope = (await client.get("http://app/scope")).json()
    assert (scope["scheme"], scope["state"], scope["host"]) == ("http", "state", "app")


async def test_tcp_addresses_reach_the_application(server: str) -> None:
    app = AsgiApp()

    async def serve_back(session: muxado.Session) -> None:
        await serve_asgi(app.asgi, session.net_listener(), server=server)  # type: ignore[arg-type]

    async with muxado.listen("tcp://127.0.0.1:0") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve_back)
        async with muxado.connect(listener.url) as session, httpx_client(session) as client:
            scope = (await client.get("http://app/scope")).json()
            local = session.extra_attributes[anyio.abc.SocketAttribute.local_address]()
        tasks.cancel_scope.cancel()
    assert scope["client"] == list(local)


@pytest.mark.slow
async def test_a_reader_that_stops_holds_the_application_back(
    session_pair: SessionPair, server: str
) -> None:
    app = AsgiApp()
    chunks = 400  # 25 MiB, far more than all windows and buffers on the way
    async with (
        serving(session_pair, serve_asgi, app.asgi, server=server) as (session, _),
        httpx_client(session) as client,
        client.stream("GET", f"http://app/stream?chunks={chunks}") as response,
    ):
        await app.entered.wait()
        sent = -1
        while app.sent_chunks != sent:
            sent = app.sent_chunks
            await all_tasks_blocked()
            await anyio.sleep(0.05)
        assert sent < 40
        received = 0
        async for chunk in response.aiter_raw():
            received += len(chunk)
        assert received == chunks * len(CHUNK)


@pytest.mark.slow
async def test_an_upload_arrives_whole(session_pair: SessionPair, server: str) -> None:
    app = AsgiApp()

    async def body() -> Any:
        for _ in range(40):
            yield CHUNK

    async with (
        serving(session_pair, serve_asgi, app.asgi, server=server) as (session, _),
        httpx_client(session) as client,
    ):
        response = await client.post("http://app/upload", content=body())
        assert response.text == str(40 * len(CHUNK))


async def test_a_websocket_echoes_and_closes_with_its_code(
    session_pair: SessionPair, server: str
) -> None:
    app = AsgiApp()
    async with (
        serving(session_pair, serve_asgi, app.asgi, server=server) as (session, _),
        httpx_client(session) as client,
    ):
        async with client.websocket("ws://app/echo") as websocket:
            await websocket.send_text("one")
            assert await websocket.receive_text() == "echo one"
            await websocket.send_text("two")
            assert await websocket.receive_text() == "echo two"
            await websocket.close(4001)
        await app.disconnected.wait()
    assert "websocket closed with 4001" in app.log


async def test_the_application_sees_that_the_client_went_away(
    session_pair: SessionPair, server: str
) -> None:
    app = AsgiApp()
    async with (
        serving(session_pair, serve_asgi, app.asgi, server=server) as (session, _),
        httpx_client(session) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(client.get, "http://app/wait")
        await app.entered.wait()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await app.disconnected.wait()


async def test_a_streamed_response_ends_when_the_client_goes_away(
    session_pair: SessionPair, server: str
) -> None:
    app = AsgiApp()
    async with (
        serving(session_pair, serve_asgi, app.asgi, server=server) as (session, _),
        httpx_client(session) as client,
    ):
        async with client.stream("GET", "http://app/stream?chunks=100000"):
            pass
        await app.disconnected.wait()
        assert app.sent_chunks < 100


async def test_an_upload_that_breaks_off_is_seen(session_pair: SessionPair, server: str) -> None:
    app = AsgiApp()

    async def body() -> Any:
        yield CHUNK
        await anyio.sleep_forever()

    async with (
        serving(session_pair, serve_asgi, app.asgi, server=server) as (session, _),
        httpx_client(session) as client,
        anyio.create_task_group() as tasks,
    ):

        async def upload() -> None:
            await client.post("http://app/upload", content=body())

        tasks.start_soon(upload)
        await app.entered.wait()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await app.disconnected.wait()


async def test_a_request_in_flight_is_answered_when_serving_is_cancelled(
    session_pair: SessionPair, server: str
) -> None:
    app = AsgiApp()
    answers: list[Any] = []
    async with session_pair() as (dialed, accepted), httpx_client(accepted) as client:

        async def ask() -> None:
            answers.append(await client.get("http://app/slow"))

        async def release() -> None:
            await app.entered.wait()
            serving_scope.cancel()
            late = await accepted.net_dial("app", 80)
            with pytest.raises(muxado.StreamRefusedError):
                await late.receive()
            app.release.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(release)
            with anyio.CancelScope() as serving_scope:
                await serve_asgi(app.asgi, dialed.net_listener(), server=server)  # type: ignore[arg-type]
            assert serving_scope.cancelled_caught
    assert [answer.text for answer in answers] == ["slow"]
    assert app.log == ["startup", "answered", "shutdown"]


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/slow", "/stream?chunks=100000"])
async def test_what_does_not_end_is_reset_after_the_graceful_timeout(
    session_pair: SessionPair, server: str, path: str
) -> None:
    app = AsgiApp()
    async with session_pair() as (dialed, accepted):
        stream = await accepted.net_dial("app", 80)
        await stream.send(f"GET {path} HTTP/1.1\r\nhost: app\r\n\r\n".encode())

        async with anyio.create_task_group() as tasks:

            async def serve() -> None:
                with anyio.CancelScope() as scope:
                    tasks.start_soon(cancel_when_entered, scope)
                    await serve_asgi(
                        app.asgi,
                        dialed.net_listener(),
                        server=server,  # type: ignore[arg-type]
                        graceful_timeout=0.2,
                    )

            async def cancel_when_entered(scope: anyio.CancelScope) -> None:
                await app.entered.wait()
                scope.cancel()

            with anyio.fail_after(10):
                await serve()
        with pytest.raises(muxado.StreamResetError):
            await read_to_the_end(stream)
    assert app.log == ["startup", "shutdown"]


@pytest.mark.slow
async def test_serving_ends_with_the_session(session_pair: SessionPair, server: str) -> None:
    app = AsgiApp()
    async with session_pair() as (dialed, accepted):
        async with httpx_client(accepted) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(
                lambda: serve_asgi(app.asgi, dialed.net_listener(), server=server)  # type: ignore[arg-type]
            )
            await client.get("http://app/")
            await accepted.aclose()
        assert app.log == ["startup", "shutdown"]


async def test_a_stream_that_never_speaks_is_reset(session_pair: SessionPair, server: str) -> None:
    app = AsgiApp()
    async with serving(
        session_pair, serve_asgi, app.asgi, server=server, first_byte_timeout=0.05
    ) as (session, _):
        silent = await session.net_dial("app", 80)
        with pytest.raises(muxado.StreamResetError):
            await silent.receive()


async def test_a_silent_stream_does_not_delay_the_end(
    session_pair: SessionPair, server: str
) -> None:
    app = AsgiApp()
    async with session_pair() as (dialed, accepted):
        listener = CountingListener(dialed)
        silent = await accepted.net_dial("app", 80)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:

                async def serve(*, task_status: anyio.abc.TaskStatus[None]) -> None:
                    await serve_asgi(
                        app.asgi,
                        listener,
                        server=server,  # type: ignore[arg-type]
                        graceful_timeout=60,
                        first_byte_timeout=None,
                        task_status=task_status,
                    )

                await tasks.start(serve)
                await listener.has_accepted.wait()
                tasks.cancel_scope.cancel()
        with pytest.raises(muxado.StreamRefusedError) as refused:
            await silent.receive()
        assert refused.value.retry is muxado.Retry.REFUSED  # another server may have it


@pytest.mark.slow
@pytest.mark.parametrize("serve", [serve_asgi, serve_wsgi])
@pytest.mark.parametrize("wire", ["muxado", "muxado1", "yamux", "smux2"])
async def test_a_request_on_its_way_when_serving_ends_is_refused_safely_or_answered(
    session_pair: SessionPair, server: str, wire: Any, serve: Any
) -> None:
    options = {"server": server} if serve is serve_asgi else {}
    app: Any = AsgiApp().asgi if serve is serve_asgi else WsgiApp()
    async with (
        session_pair(muxado.Config(wire=wire)) as (dialed, accepted),
        anyio.create_task_group() as tasks,
    ):
        listener = CountingListener(dialed)
        await tasks.start(partial(serve, app, listener, **options))
        stream = await accepted.net_dial("app", 80)
        await listener.has_accepted.wait()
        tasks.cancel_scope.cancel()
        refused: muxado.StreamRefusedError | None = None
        with anyio.CancelScope(shield=True):
            try:
                await stream.send(b"GET / HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n")
                answer = await read_to_the_end(stream)
            except muxado.StreamRefusedError as exc:
                refused = exc
    if refused is None:
        assert answer.endswith(b"hello")
    else:
        assert wire == "muxado"  # others do not believe a refusal
        assert refused.retry is muxado.Retry.REFUSED


async def failing_lifespan(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
    raise RuntimeError("no database")


async def test_a_failed_start_is_an_exception_and_refuses_the_callers(
    session_pair: SessionPair, server: str
) -> None:
    async with session_pair() as (dialed, accepted):
        with pytest.raises(StartupError, match=r"start.*no database"):
            await serve_asgi(failing_lifespan, dialed.net_listener(), server=server)  # type: ignore[arg-type]
        stream = await accepted.net_dial("app", 80)
        with pytest.raises(muxado.StreamRefusedError):
            await stream.receive()


async def test_an_application_without_lifespan_is_served(
    session_pair: SessionPair, server: str
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with (
        serving(session_pair, serve_asgi, app, server=server) as (session, _),
        httpx_client(session) as client,
    ):
        assert (await client.get("http://app/")).status_code == 204


async def test_an_application_can_be_named(session_pair: SessionPair, server: str) -> None:
    async with (
        serving(session_pair, serve_asgi, f"{__package__}.named:package.app", server=server) as (
            session,
            _,
        ),
        httpx_client(session) as client,
    ):
        assert (await client.get("http://app/")).text == "named"


@pytest.mark.slow
async def test_a_servers_own_config_is_obeyed(
    session_pair: SessionPair, server: str, anyio_backend_name: str
) -> None:
    config: Any
    if server == "auto" and anyio_backend_name == "asyncio":
        config = uvicorn.Config("ignored:app", log_config=None, server_header=False)
    else:
        config = anycorn.Config.from_mapping(include_server_header=False, errorlog=None)
    app = AsgiApp()
    async with (
        serving(session_pair, serve_asgi, app.asgi, server=server, config=config) as (session, _),
        httpx_client(session) as client,
    ):
        response = await client.get("http://app/")
        assert (response.text, response.headers.get("server")) == ("hello", None)


async def test_the_config_of_another_server_is_refused(
    session_pair: SessionPair, server: str
) -> None:
    async with session_pair() as (dialed, _):
        with pytest.raises(TypeError, match=r"takes an? (uvicorn|anycorn)\.Config, got"):
            await serve_asgi(
                AsgiApp().asgi,
                dialed.net_listener(),
                server=server,  # type: ignore[arg-type]
                config=object(),
            )


async def test_a_failing_handler_costs_one_stream(session_pair: SessionPair, server: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/fail":
            raise RuntimeError("on purpose")
        await AsgiApp().asgi(scope, receive, send)

    async with (
        serving(session_pair, serve_asgi, app, server=server) as (session, _),
        httpx_client(session) as client,
    ):
        assert (await client.get("http://app/fail")).status_code == 500
        assert (await client.get("http://app/")).status_code == 200


@pytest.mark.slow
async def test_https_inside_a_stream(
    session_pair: SessionPair, server: str, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    server_context, client_context = tls
    app = AsgiApp()
    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        listener = TLSListener(dialed.net_listener(), server_context, standard_compatible=False)
        tasks.start_soon(partial(serve_asgi, app.asgi, listener, server=server))  # type: ignore[arg-type]
        async with httpx_client(accepted, verify=client_context) as client:
            scope = (await client.get("https://app/scope")).json()
            assert scope["scheme"] == "https"
            assert (await client.get("https://app/stream?chunks=40")).content == CHUNK * 40
        tasks.cancel_scope.cancel()
    assert app.log == ["startup", "shutdown"]


async def test_a_lost_transport_ends_serving_with_its_error(server: str) -> None:
    app = AsgiApp()
    near, far = memory_transports()
    async with (
        muxado.client(near) as dialed,
        muxado.server(far) as accepted,
        httpx_client(accepted) as client,
        anyio.create_task_group() as tasks,
    ):

        async def serve() -> None:
            with pytest.raises(muxado.TransportError):
                await serve_asgi(app.asgi, dialed.net_listener(), server=server)  # type: ignore[arg-type]

        tasks.start_soon(serve)
        await client.get("http://app/")
        await far.aclose()
    assert app.log == ["startup", "shutdown"]


@pytest.mark.slow
async def test_an_application_that_ignores_its_client_is_cancelled_and_may_clean_up(
    session_pair: SessionPair, server: str
) -> None:
    log: list[str] = []
    entered = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        entered.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.1)
                log.append("cleaned up")

    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        tasks.start_soon(
            partial(
                serve_asgi,
                app,
                dialed.net_listener(),
                server=server,  # type: ignore[arg-type]
                graceful_timeout=0.1,
            )
        )
        stream = await accepted.net_dial("app", 80)
        await stream.send(b"GET / HTTP/1.1\r\nhost: app\r\n\r\n")
        await entered.wait()
        tasks.cancel_scope.cancel()
    assert log == ["cleaned up"]


async def test_a_failed_lifespan_shutdown_is_logged(
    session_pair: SessionPair, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "still busy"})

    async with serving(session_pair, serve_asgi, app, server=server):
        pass
    assert "still busy" in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("short_notice")
@pytest.mark.parametrize("stage", ["startup", "shutdown"])
async def test_a_lifespan_that_hangs_is_left(
    session_pair: SessionPair, stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if stage == "shutdown":
            await send({"type": "lifespan.startup.complete"})
        await anyio.sleep_forever()

    config = anycorn.Config.from_mapping(
        startup_timeout=0.1, errorlog=logging.getLogger("anycorn.error")
    )
    async with session_pair() as (dialed, _):
        listener = dialed.net_listener()
        serve = partial(
            serve_asgi, app, listener, server="anycorn", config=config, graceful_timeout=0.1
        )
        with anyio.fail_after(10):
            if stage == "startup":
                with pytest.raises(StartupError, match="startup"):
                    await serve()
            else:
                async with anyio.create_task_group() as tasks:
                    await tasks.start(serve)
                    tasks.cancel_scope.cancel()
                assert "shutdown" in caplog.text


@pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {}), ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)
class TestUvicorn:
    """What only uvicorn has."""

    async def test_a_factory_that_fails_is_an_exception(self, session_pair: SessionPair) -> None:
        config = uvicorn.Config("ignored:app", factory=True, log_config=None)
        async with session_pair() as (dialed, _):
            with pytest.raises(StartupError, match=r"uvicorn\.error"):
                await serve_asgi(lambda needed: None, dialed.net_listener(), config=config)

    @pytest.mark.slow
    async def test_the_request_limit_ends_serving(self, session_pair: SessionPair) -> None:
        app = AsgiApp()
        config = uvicorn.Config("ignored:app", limit_max_requests=2, log_config=None)
        async with (
            session_pair() as (dialed, accepted),
            httpx_client(accepted) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(partial(serve_asgi, app.asgi, dialed.net_listener(), config=config))
            for _ in range(2):
                await client.get("http://app/")
        assert app.log == ["startup", "shutdown"]

    async def test_each_request_has_a_context_of_its_own(self, session_pair: SessionPair) -> None:
        variable = contextvars.ContextVar("variable", default="unset")
        seen: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            seen.append(variable.get())
            variable.set("from an earlier request")
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        request = b"GET / HTTP/1.1\r\nhost: app\r\n"
        async with serving(session_pair, serve_asgi, app) as (session, _):
            stream = await session.net_dial("app", 80)
            # Pipelined: uvicorn starts the next request from inside the one before.
            await stream.send(2 * (request + b"\r\n") + request + b"connection: close\r\n\r\n")
            assert (await read_to_the_end(stream)).count(b"204 No Content") == 3
        assert seen == ["unset"] * 3


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_uvicorn_under_trio_is_refused_with_advice(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, _):
        with pytest.raises(RuntimeError, match="anycorn"):
            await serve_asgi(AsgiApp().asgi, dialed.net_listener(), server="uvicorn")

"""``httpx_client``: what a user of httpx2 or httpx sees of a session."""

from __future__ import annotations

import importlib
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado
from muxado_py import Retry
from muxado_py.integrations import httpx_client, retry_verdict, serve_asgi

from ..helpers.blocked import all_tasks_blocked
from .apps import CHUNK, AsgiApp, CountingListener, respond, serving

if TYPE_CHECKING:
    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["httpx2", "httpx"])
def library(request: pytest.FixtureRequest) -> Any:
    """Each of the two libraries."""
    return importlib.import_module(request.param)


async def test_the_library_can_be_chosen(session_pair: SessionPair, library: Any) -> None:
    async with session_pair() as (session, _):
        by_default = httpx_client(session)
        by_name = httpx_client(session, module=library.__name__)
        by_module = httpx_client(session, module=library)
        assert type(by_default).__module__.startswith("httpx2")
        assert type(by_name) is type(by_module) is library.AsyncClient
        with pytest.raises(ValueError, match="requests"):
            httpx_client(session, module="requests")  # type: ignore[call-overload]
        for client in (by_default, by_name, by_module):
            await client.aclose()


async def test_requests_one_after_another_use_one_stream(
    session_pair: SessionPair, library: Any
) -> None:
    app = AsgiApp()
    async with (
        serving(session_pair, serve_asgi, app.asgi) as (session, listener),
        httpx_client(session, module=library) as client,
    ):
        for _ in range(5):
            assert (await client.get("http://app/")).text == "hello"
        assert len(listener.accepted) == 1


@pytest.mark.slow
async def test_a_stream_that_the_server_closed_while_idle_is_replaced(
    session_pair: SessionPair, library: Any
) -> None:
    app = AsgiApp()
    async with (
        serving(session_pair, serve_asgi, app.asgi) as (session, listener),
        httpx_client(session, module=library) as client,
    ):
        await client.get("http://app/")
        listener.accepted[0].close()
        await session.ping()
        assert (await client.get("http://app/")).text == "hello"
        assert len(listener.accepted) == 2


@pytest.mark.slow
async def test_concurrent_requests_get_streams_of_the_priority(
    session_pair: SessionPair, library: Any
) -> None:
    app = AsgiApp()
    async with (
        serving(session_pair, serve_asgi, app.asgi) as (session, listener),
        httpx_client(session, module=library, priority=muxado.Priority(urgency=1)) as client,
    ):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(client.get, "http://app/")
        urgencies = {stream.priority.urgency for stream in listener.accepted}
    assert urgencies == {1}


@pytest.mark.slow
async def test_the_users_options_are_kept(session_pair: SessionPair, library: Any) -> None:
    app = AsgiApp()

    async def elsewhere(request: Any) -> Any:
        return library.Response(200, text="mounted")

    async with (
        serving(session_pair, serve_asgi, app.asgi) as (session, listener),
        httpx_client(
            session,
            module=library,
            base_url="http://app",
            headers={"x-mine": "yes"},
            limits=library.Limits(max_connections=1),
            mounts={"all://other": library.MockTransport(elsewhere)},
            timeout=5,
        ) as client,
    ):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(client.get, "/")
        assert len(listener.accepted) == 1
        assert (await client.get("http://other/")).text == "mounted"
        assert client.headers["x-mine"] == "yes"


@pytest.mark.slow
async def test_a_streamed_response_and_an_upload(session_pair: SessionPair, library: Any) -> None:
    app = AsgiApp()

    async def body() -> Any:
        for _ in range(30):
            yield CHUNK

    async with (
        serving(session_pair, serve_asgi, app.asgi) as (session, _),
        httpx_client(session, module=library) as client,
    ):
        assert (await client.post("http://app/upload", content=body())).text == str(30 * 65536)
        size = 0
        async with client.stream("GET", "http://app/stream?chunks=30") as response:
            async for chunk in response.aiter_bytes():
                size += len(chunk)
        assert size == 30 * 65536


@pytest.mark.slow
@pytest.mark.usefixtures("short_notice")
async def test_timeouts_are_the_librarys(session_pair: SessionPair, library: Any) -> None:
    app = AsgiApp()
    limits = library.Limits(max_connections=1)
    async with (
        serving(session_pair, serve_asgi, app.asgi, graceful_timeout=0.1) as (session, _),
        httpx_client(session, module=library, timeout=30, limits=limits) as client,
    ):
        with pytest.raises(library.ReadTimeout) as read_timeout:
            await client.get("http://app/slow", timeout=library.Timeout(30, read=0.05))
        assert retry_verdict(read_timeout.value) is Retry.UNKNOWN
        async with client.stream("GET", "http://app/stream?chunks=100"):
            with pytest.raises(library.PoolTimeout):
                await client.get("http://app/", timeout=library.Timeout(30, pool=0.05))


@pytest.mark.filterwarnings(  # httpx leaves the generator of a body that timed out to the collector
    "ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning"
)
async def test_a_peer_that_does_not_read_is_a_write_timeout(
    session_pair: SessionPair, library: Any
) -> None:
    async with (
        session_pair() as (session, _),
        httpx_client(session, module=library, timeout=library.Timeout(30, write=0.05)) as client,
    ):
        with pytest.raises(library.WriteTimeout):
            await client.post("http://app/", content=bytes(2**20))


async def test_a_dead_session_is_a_connect_error_that_is_safe(
    session_pair: SessionPair, library: Any
) -> None:
    async with session_pair() as (session, peer):
        await peer.aclose()
        await session.wait()
        async with httpx_client(session, module=library) as client:
            with pytest.raises(library.ConnectError) as failed:
                await client.get("http://app/")
        assert retry_verdict(failed.value) is Retry.NEVER_SENT


async def test_a_refused_request_is_a_connect_error_that_is_safe(
    session_pair: SessionPair, library: Any
) -> None:
    async with session_pair() as (session, peer), httpx_client(session, module=library) as client:
        await peer.net_listener().aclose()
        with pytest.raises(library.ConnectError) as failed:
            await client.get("http://app/")
        assert retry_verdict(failed.value) is Retry.REFUSED


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ([], Retry.UNKNOWN),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome"], Retry.PROCESSED),
    ],
    ids=["before the answer", "in the body"],
)
async def test_a_reset_is_a_read_error_that_is_not_safe(
    session_pair: SessionPair, library: Any, parts: list[bytes], verdict: Retry
) -> None:
    async with (
        session_pair() as (session, peer),
        httpx_client(session, module=library) as client,
        anyio.create_task_group() as tasks,
    ):
        await tasks.start(partial(respond, peer, *parts))
        with pytest.raises(library.ReadError) as failed:
            await client.get("http://app/")
        assert retry_verdict(failed.value) is verdict
        assert "STREAM_CANCELLED" in str(failed.value)
        tasks.cancel_scope.cancel()


def second_attempt() -> None:
    try:
        raise muxado.StreamRefusedError("first attempt", retry=Retry.REFUSED)
    except muxado.StreamRefusedError:
        raise ValueError("second attempt, of which nothing is known")  # noqa: B904


async def test_the_verdict_of_an_earlier_attempt_is_not_taken() -> None:
    with pytest.raises(ValueError, match="second") as failed:
        second_attempt()
    assert retry_verdict(failed.value) is Retry.UNKNOWN


async def test_opening_is_retried_as_often_as_told(
    session_pair: SessionPair, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with session_pair() as (session, _):
        attempts = 0

        async def refuse(**_: object) -> Any:
            nonlocal attempts
            attempts += 1
            raise muxado.StreamLimitError("full", retry=Retry.NEVER_SENT)

        monkeypatch.setattr(session, "open_stream", refuse)
        async with httpx_client(session, module=library, retries=1) as client:
            with pytest.raises(library.ConnectError, match="full"):
                await client.get("http://app/")
        assert attempts == 2


async def test_a_unix_socket_of_the_users_is_the_session_too(
    session_pair: SessionPair, library: Any
) -> None:
    app = AsgiApp()
    async with (
        serving(session_pair, serve_asgi, app.asgi) as (session, _),
        httpx_client(session, module=library, uds="/no/such/socket") as client,
    ):
        assert (await client.get("http://app/")).text == "hello"


async def test_what_a_connection_says_of_itself(library: Any) -> None:
    async with muxado.listen("tcp://127.0.0.1:0") as listener, anyio.create_task_group() as tasks:

        async def serve_back(session: muxado.Session) -> None:
            await serve_asgi(AsgiApp().asgi, session.net_listener())

        tasks.start_soon(listener.serve, serve_back)
        async with (
            muxado.connect(listener.url) as session,
            httpx_client(session, module=library) as client,
            client.stream("GET", "http://app/") as response,
        ):
            connection = response.extensions["network_stream"]
            assert connection.get_extra_info("server_addr")[0] == "127.0.0.1"
            assert connection.get_extra_info("client_addr")[0] == "127.0.0.1"
            assert connection.get_extra_info("ssl_object") is None
            assert connection.get_extra_info("socket") is None
        tasks.cancel_scope.cancel()


async def test_an_error_of_nobody_here_has_no_verdict() -> None:
    assert retry_verdict(ValueError()) is Retry.UNKNOWN


async def test_https_through_a_stream(
    session_pair: SessionPair, library: Any, tls: tuple[Any, Any]
) -> None:
    server_context, client_context = tls
    app = AsgiApp()
    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        counting = CountingListener(dialed)
        listener = anyio.streams.tls.TLSListener(
            counting, server_context, standard_compatible=False
        )
        tasks.start_soon(serve_asgi, app.asgi, listener)
        async with httpx_client(accepted, module=library, verify=client_context) as client:
            for _ in range(3):
                assert (await client.get("https://app/")).text == "hello"
        assert len(counting.accepted) == 1
        async with httpx_client(accepted, module=library) as client:
            with pytest.raises(library.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get("https://app/")
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "through a proxy"])
@pytest.mark.parametrize("when", ["in the handshake", "at the first", "at the second"])
async def test_what_was_said_before_over_tls_is_no_answer_to_a_request(
    session_pair: SessionPair, library: Any, tls: tuple[Any, Any], when: str, proxied: bool
) -> None:
    """The handshake has bytes from the server, and so has the proxy's answer."""
    server_context, client_context = tls

    async def read_head(stream: anyio.abc.ByteStream) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await stream.receive()

    async def handle(stream: muxado.Stream) -> None:
        if proxied:
            await read_head(stream)
            await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
        if when == "in the handshake":
            await stream.receive()
        else:
            secure = await anyio.streams.tls.TLSStream.wrap(
                stream, server_side=True, ssl_context=server_context, standard_compatible=False
            )
            await read_head(secure)
            if when == "at the second":
                await secure.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                await read_head(secure)
        await all_tasks_blocked()
        stream.reset()

    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(peer.net_listener().serve, handle)
        options: dict[str, Any] = {"proxy": "http://proxy/"} if proxied else {}
        async with httpx_client(
            session, module=library, verify=client_context, **options
        ) as client:
            if when == "at the second":
                await client.post("https://app/", content=b"")
            with pytest.raises(library.NetworkError) as failed:
                await client.post("https://app/", content=b"")
            assert retry_verdict(failed.value) is Retry.UNKNOWN
        tasks.cancel_scope.cancel()


async def test_http2_by_prior_knowledge(session_pair: SessionPair, library: Any) -> None:
    app = AsgiApp()
    async with (
        serving(session_pair, serve_asgi, app.asgi, server="anycorn") as (session, listener),
        httpx_client(session, module=library, http1=False, http2=True) as client,
    ):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(client.get, "http://app/")
        response = await client.get("http://app/")
        assert response.http_version == "HTTP/2"
        assert len(listener.accepted) == 1

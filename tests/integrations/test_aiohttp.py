"""``aiohttp_connector``: what a user of aiohttp sees of a session."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
import pytest

import muxado_py as muxado
from muxado_py import Retry
from muxado_py.integrations import aiohttp_connector, retry_verdict, serve_asgi

from ..helpers.blocked import all_tasks_blocked
from .apps import CHUNK, AsgiApp, respond, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


def client_of(session: Any, **options: Any) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        "http://app",
        connector=aiohttp_connector(session, **options),
        timeout=aiohttp.ClientTimeout(total=60),
    )


async def test_requests_one_after_another_use_one_stream_which_ends_with_the_client(
    session_pair: SessionPair,
) -> None:
    async with serving(session_pair, serve_asgi, AsgiApp().asgi) as (session, listener):
        async with client_of(session, priority=muxado.Priority(urgency=1)) as client:
            for _ in range(5):
                async with client.get("/") as response:
                    assert await response.text() == "hello"
        assert [one.priority.urgency for one in listener.accepted] == [1]
        with anyio.fail_after(30):
            while session.open_streams:
                await session.ping()


async def test_a_streamed_answer_and_an_upload(session_pair: SessionPair) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield CHUNK

    async with (
        serving(session_pair, serve_asgi, AsgiApp().asgi) as (session, _),
        client_of(session) as client,
    ):
        async with client.post("/upload", data=body()) as response:
            assert await response.text() == str(30 * len(CHUNK))
        size = 0
        async with client.get("/stream?chunks=30") as response:
            async for chunk in response.content.iter_any():
                size += len(chunk)
        assert size == 30 * len(CHUNK)


async def test_an_answer_that_is_left_ends_for_its_application_too(
    session_pair: SessionPair,
) -> None:
    app = AsgiApp()
    async with (
        serving(session_pair, serve_asgi, app.asgi) as (session, _),
        client_of(session) as client,
    ):
        async with client.get("/stream?chunks=100000") as response:
            await response.content.readany()
        with anyio.fail_after(30):
            await app.disconnected.wait()


async def test_a_request_that_is_cancelled_ends_for_its_application_too(
    session_pair: SessionPair,
) -> None:
    app = AsgiApp()
    async with (
        serving(session_pair, serve_asgi, app.asgi) as (session, _),
        client_of(session) as client,
        anyio.create_task_group() as tasks,
    ):

        async def wait() -> None:
            await client.get("/wait")

        tasks.start_soon(wait)
        with anyio.fail_after(30):
            await app.entered.wait()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await app.disconnected.wait()


async def test_a_websocket(session_pair: SessionPair) -> None:
    async with (
        serving(session_pair, serve_asgi, AsgiApp().asgi) as (session, _),
        client_of(session) as client,
        client.ws_connect("/echo") as websocket,
    ):
        await websocket.send_str("here")
        assert await websocket.receive_str() == "echo here"


async def test_over_a_pool_a_request_waits_for_a_session_as_long_as_it_may() -> None:
    async with (
        muxado.listen("tcp://127.0.0.1:0") as listener,
        anyio.create_task_group() as tasks,
        muxado.connect_pool(listener.url) as pool,
        client_of(pool) as client,
    ):
        soon = aiohttp.ClientTimeout(sock_connect=0.05)
        with pytest.raises(aiohttp.ConnectionTimeoutError) as failed:
            await client.get("/", timeout=soon)
        assert retry_verdict(failed.value) is Retry.NEVER_SENT
        tasks.start_soon(serve_asgi, AsgiApp().asgi, listener.net_listener())
        async with client.get("/") as response:
            assert await response.text() == "hello"
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("patience", [None, 0, -1, 0.05, 60])
async def test_over_a_full_session_a_request_waits_for_a_slot_as_long_as_it_may(
    session_pair: SessionPair, patience: float | None
) -> None:
    """None, and what is not above 0, has no bound, as with aiohttp's own connectors."""
    pair = partial(session_pair, muxado.Config(max_streams=1))
    async with (
        serving(pair, serve_asgi, AsgiApp().asgi) as (session, _),
        client_of(session) as client,
        anyio.create_task_group() as tasks,
    ):
        await session.ping()  # the peer has told its limit
        before = await session.open_stream()
        answers: list[str] = []

        async def ask() -> None:
            async with client.get(
                "/", timeout=aiohttp.ClientTimeout(sock_connect=patience)
            ) as response:
                answers.append(await response.text())

        if patience == 0.05:
            with pytest.raises(aiohttp.ConnectionTimeoutError) as failed:
                await ask()
            assert retry_verdict(failed.value) is Retry.NEVER_SENT
            before.reset()
            return
        tasks.start_soon(ask)
        await all_tasks_blocked()
        assert not answers
        before.reset()
    assert answers == ["hello"]


async def test_a_dead_session_and_a_refusal_are_errors_of_a_connection_that_are_safe(
    session_pair: SessionPair,
) -> None:
    async with session_pair() as (session, peer), client_of(session) as client:
        await peer.net_listener().aclose()
        with pytest.raises(aiohttp.ClientOSError) as failed:
            await client.post("/")
        assert retry_verdict(failed.value) is Retry.REFUSED
        await peer.aclose()
        await session.wait()
        with pytest.raises(aiohttp.ClientConnectorError) as dead:
            await client.post("/")
        assert retry_verdict(dead.value) is Retry.NEVER_SENT


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ([], aiohttp.ClientOSError),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome"], aiohttp.ClientPayloadError),
    ],
    ids=["before the answer", "in the body"],
)
async def test_a_reset_is_an_error_that_is_not_safe(
    session_pair: SessionPair, parts: list[bytes], kind: type[Exception]
) -> None:
    async with (
        session_pair() as (session, peer),
        client_of(session) as client,
        anyio.create_task_group() as tasks,
    ):
        await tasks.start(partial(respond, peer, *parts))
        with pytest.raises(kind, match="STREAM_CANCELLED") as failed:
            async with client.post("/") as response:
                await response.read()
        assert retry_verdict(failed.value) is Retry.UNKNOWN
        tasks.cancel_scope.cancel()


async def test_an_answer_to_the_request_before_is_none_to_this_one(
    session_pair: SessionPair,
) -> None:
    answered = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

    async def answer_once(stream: muxado.Stream) -> None:
        await stream.receive()
        await stream.send(answered)
        await stream.receive()
        stream.reset()

    async with (
        session_pair() as (session, peer),
        client_of(session) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(peer.net_listener().serve, answer_once)
        async with client.post("/") as response:
            assert await response.text() == "ok"
        with pytest.raises(aiohttp.ClientOSError) as failed:
            await client.post("/")
        assert retry_verdict(failed.value) is Retry.UNKNOWN
        tasks.cancel_scope.cancel()


async def test_https_is_refused_with_a_reason(session_pair: SessionPair) -> None:
    async with (
        session_pair() as (session, _),
        aiohttp.ClientSession(connector=aiohttp_connector(session)) as client,
    ):
        with pytest.raises(aiohttp.InvalidURL, match="the session itself may have TLS"):
            await client.get("https://app/")
        with pytest.raises(TypeError, match="Priority"):
            aiohttp_connector(session, priority=1)  # type: ignore[arg-type]


async def test_no_proxy_is_asked_and_its_password_goes_nowhere(
    session_pair: SessionPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:1")
    heard: list[bytes] = []

    async def handle(stream: muxado.Stream) -> None:
        with suppress(anyio.EndOfStream):
            while True:
                heard.append(await stream.receive())
                await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async with (
        session_pair() as (session, peer),
        aiohttp.ClientSession(connector=aiohttp_connector(session), trust_env=True) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(peer.net_listener().serve, handle)
        for proxy in (None, None, "http://user:secret@127.0.0.1:2", "http://127.0.0.1:2"):
            async with client.get("http://app/path", proxy=proxy) as response:
                assert await response.text() == "ok"
        tasks.cancel_scope.cancel()
    assert [one.partition(b"\r\n")[0] for one in heard] == [b"GET /path HTTP/1.1"] * 4
    assert not any(b"proxy" in one.lower() for one in heard)


async def test_what_the_source_of_a_body_raises_says_nothing_of_the_request(
    session_pair: SessionPair,
) -> None:
    """It may be the error of another call, as in a relay."""
    begun = anyio.Event()

    async def hear(stream: muxado.Stream) -> None:
        await stream.receive()
        begun.set()
        await anyio.sleep_forever()

    async def body() -> AsyncIterator[bytes]:
        yield b"half of an order"
        await begun.wait()
        raise muxado.StreamRefusedError("of another call", retry=Retry.REFUSED)

    async with session_pair() as (session, accepted), anyio.create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, hear)
        async with client_of(session) as client:
            with pytest.raises(aiohttp.ClientError) as failed:
                await client.post("/", data=body())
        assert retry_verdict(failed.value) is Retry.UNKNOWN
        tasks.cancel_scope.cancel()

"""``serve_wsgi``: a WSGI application behind waitress, called through a session."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import flask
import pytest
from anyio import to_thread

import muxado_py as muxado
from muxado_py.integrations import StartupError, httpx_client, serve_wsgi

from ..descriptors import no_descriptor_left
from ..transports import memory_transports
from .apps import CHUNK, WsgiApp, serving

if TYPE_CHECKING:
    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio


async def test_requests_one_after_another_use_one_stream(session_pair: SessionPair) -> None:
    async with (
        serving(session_pair, serve_wsgi, WsgiApp()) as (session, listener),
        httpx_client(session) as client,
    ):
        for _ in range(5):
            assert (await client.get("http://app/")).text == "hello"
        assert len(listener.accepted) == 1


async def test_a_flask_application(session_pair: SessionPair) -> None:
    app = flask.Flask(__name__)
    app.add_url_rule("/<name>", view_func=lambda name: f"hello {name}")
    async with (
        serving(session_pair, serve_wsgi, app) as (session, _),
        httpx_client(session) as client,
    ):
        assert (await client.get("http://app/you")).text == "hello you"


@pytest.mark.slow
async def test_bodies_both_ways(session_pair: SessionPair) -> None:
    async def body() -> Any:
        for _ in range(40):
            yield CHUNK

    async with (
        serving(session_pair, serve_wsgi, WsgiApp()) as (session, _),
        httpx_client(session) as client,
    ):
        response = await client.post("http://app/upload", content=body())
        assert response.text == str(40 * len(CHUNK))
        response = await client.get("http://app/stream?100")
        assert response.content == CHUNK * 100


async def test_answers_without_a_body(session_pair: SessionPair) -> None:
    async with (
        serving(session_pair, serve_wsgi, WsgiApp()) as (session, _),
        httpx_client(session) as client,
    ):
        assert (await client.get("http://app/empty")).status_code == 204
        head = await client.head("http://app/")
        assert (head.status_code, head.headers["content-length"], head.content) == (200, "5", b"")
        assert (await client.get("http://app/")).text == "hello"


@pytest.mark.slow
async def test_a_reader_that_stops_holds_the_application_back_and_one_that_goes_ends_it(
    session_pair: SessionPair,
) -> None:
    app = WsgiApp()
    async with (
        serving(session_pair, serve_wsgi, app) as (session, _),
        httpx_client(session) as client,
    ):
        async with client.stream("GET", "http://app/stream?100000"):
            sent = -1
            while app.sent_chunks != sent or not sent:
                sent = app.sent_chunks
                await anyio.sleep(0.1)
            assert sent < 100
            assert not app.closed.is_set()
        assert await to_thread.run_sync(app.closed.wait, 10)


@pytest.mark.slow
@pytest.mark.parametrize(("wire", "safe"), [("muxado", True), ("yamux", False)])
async def test_a_stream_for_which_no_descriptor_is_left_was_seen_by_nobody(
    session_pair: SessionPair, wire: str, safe: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Its peer is told so, where the wire can; and there is no traceback for each of very many."""

    pair = partial(session_pair, muxado.Config(wire=wire))
    async with serving(pair, serve_wsgi, WsgiApp()) as (session, _):
        async with await session.open_stream() as stream:
            with no_descriptor_left():
                await stream.send(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
                with pytest.raises(muxado.StreamError) as refused:
                    await stream.receive()
        assert refused.value.retry.safe is safe
        async with httpx_client(session) as client:
            assert (await client.get("http://app/")).text == "hello"
    (line,) = [
        record
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name != "waitress.queue"
    ]
    assert "Too many open files" in line.message
    assert line.exc_info is None


async def test_a_request_in_flight_is_answered_when_serving_is_cancelled(
    session_pair: SessionPair,
) -> None:
    app = WsgiApp()
    answers: list[str] = []
    async with session_pair() as (dialed, accepted), httpx_client(accepted) as client:

        async def ask() -> None:
            answers.append((await client.get("http://app/slow")).text)

        async def stop() -> None:
            await to_thread.run_sync(app.entered.wait, 10)
            scope.cancel()
            late = await accepted.net_dial("app", 80)
            with pytest.raises(muxado.StreamRefusedError):
                await late.receive()
            app.release.set()

        before = threading.active_count()
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                tasks.start_soon(stop)
                with anyio.CancelScope() as scope:
                    await serve_wsgi(app, dialed.net_listener())
    assert answers == ["hello"]
    assert [t.name for t in threading.enumerate() if t.name.startswith("waitress")] == []
    assert threading.active_count() <= before + 3  # anyio keeps idle threads for a while


@pytest.mark.slow
async def test_a_stalled_reader_does_not_outlive_the_graceful_timeout(
    session_pair: SessionPair,
) -> None:
    app = WsgiApp()
    async with session_pair() as (dialed, accepted):
        stream = await accepted.net_dial("app", 80)
        await stream.send(b"GET /stream?100000 HTTP/1.1\r\nhost: app\r\n\r\n")
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(
                    partial(serve_wsgi, app, dialed.net_listener(), graceful_timeout=0.2)
                )
                await to_thread.run_sync(app.entered.wait, 10)
                tasks.cancel_scope.cancel()
        assert await to_thread.run_sync(app.closed.wait, 10)
        with pytest.raises(muxado.StreamResetError):
            await read_to_the_end(stream)


async def read_to_the_end(stream: muxado.Stream) -> bytes:
    return b"".join([chunk async for chunk in stream])


@pytest.mark.slow
@pytest.mark.usefixtures("short_notice")
async def test_a_thread_that_is_stuck_in_the_application_is_left_behind(
    session_pair: SessionPair,
) -> None:
    app = WsgiApp()
    async with session_pair() as (dialed, accepted):
        stream = await accepted.net_dial("app", 80)
        await stream.send(b"GET /slow HTTP/1.1\r\nhost: app\r\n\r\n")
        with anyio.fail_after(8):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(
                    partial(serve_wsgi, app, dialed.net_listener(), graceful_timeout=0.1)
                )
                await to_thread.run_sync(app.entered.wait, 10)
                tasks.cancel_scope.cancel()
        with pytest.raises(muxado.StreamResetError):
            await stream.receive()
        stuck = [thread for thread in threading.enumerate() if thread.name.startswith("waitress")]
        app.release.set()
        for thread in stuck:
            await to_thread.run_sync(thread.join, 5)
            assert not thread.is_alive()


async def test_a_lost_transport_ends_serving_with_its_error() -> None:
    near, far = memory_transports()
    async with (
        muxado.client(near) as dialed,
        muxado.server(far) as accepted,
        httpx_client(accepted) as client,
        anyio.create_task_group() as tasks,
    ):

        async def serve() -> None:
            with pytest.raises(muxado.TransportError):
                await serve_wsgi(WsgiApp(), dialed.net_listener())

        tasks.start_soon(serve)
        await client.get("http://app/")
        await far.aclose()


async def test_an_idle_connection_does_not_delay_the_end(session_pair: SessionPair) -> None:
    with anyio.fail_after(10):
        async with (
            session_pair() as (dialed, accepted),
            httpx_client(accepted) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(
                partial(serve_wsgi, WsgiApp(), dialed.net_listener(), graceful_timeout=60)
            )
            await client.get("http://app/")
            tasks.cancel_scope.cancel()


async def test_serving_ends_with_the_session(session_pair: SessionPair) -> None:
    async with (
        session_pair() as (dialed, accepted),
        httpx_client(accepted) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(serve_wsgi, WsgiApp(), dialed.net_listener())
        await client.get("http://app/")
        await accepted.aclose()


async def test_waitress_settings_are_passed_on(session_pair: SessionPair) -> None:
    async with (
        serving(session_pair, serve_wsgi, WsgiApp(), ident="mine") as (session, _),
        httpx_client(session) as client,
    ):
        assert (await client.get("http://app/")).headers["server"] == "mine"
    async with session_pair() as (dialed, _):
        with pytest.raises(ValueError, match="no_such_setting"):
            await serve_wsgi(WsgiApp(), dialed.net_listener(), no_such_setting=1)


async def test_a_name_that_names_nothing_is_said(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, _):
        with pytest.raises(StartupError, match="no module 'no_such'"):
            await serve_wsgi("no_such.module:app", dialed.net_listener())

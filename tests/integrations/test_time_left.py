"""The deadline of an HTTP request travels: the application that serves it sees it, and ends with it."""

from __future__ import annotations

import importlib
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute

import muxado_py as muxado
from muxado_py import Config, Retry
from muxado_py.integrations import httpx_client, retry_verdict, serve_asgi, serve_wsgi
from muxado_py.integrations.time_left import LATE, InTime

from .. import virtual_time
from ..frames_seen import data
from ..helpers.access_log import access_log
from ..helpers.blocked import all_tasks_blocked
from ..scripted_peer import ScriptedPeer
from ..transports import memory_transports
from .apps import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anyio.abc import ByteStream

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

AT_ONCE = 20
ROUNDED_UP = 0.0011
"""Seconds by which a peer may know of more than is left: it is told whole milliseconds."""
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
CHUNKED = [(b"transfer-encoding", b"chunked")]


@pytest.fixture(params=["auto", "anycorn"])
def serve(request: pytest.FixtureRequest) -> Any:
    """uvicorn where there is asyncio, and anycorn."""
    return partial(serve_asgi, server=request.param)


@pytest.fixture(params=["httpx2", "httpx"])
def library(request: pytest.FixtureRequest) -> Any:
    """Each of the two libraries."""
    return importlib.import_module(request.param)


class App:
    """An ASGI application that waits where its path says so.

    :ivar left: the seconds that each request had when it came; None for no deadline.
    """

    def __init__(self) -> None:
        self.left: list[float | None] = []
        self.cancelled = anyio.Event()
        self.went_on = anyio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        said = (scope.get("extensions") or {}).get("muxado")
        self.left.append(None if said is None else said["deadline"] - anyio.current_time())
        try:
            if scope["path"] == "/before":
                await anyio.sleep_forever()
            await send({"type": "http.response.start", "status": 200, "headers": CHUNKED})
            await send({"type": "http.response.body", "body": b"some", "more_body": True})
            if scope["path"] == "/within":
                await anyio.sleep_forever()
            await send({"type": "http.response.body", "body": b" more"})
            if scope["path"] == "/behind" and said is not None:
                await anyio.sleep_until(said["deadline"] + 0.05)
                self.went_on.set()
        except anyio.get_cancelled_exc_class():
            self.cancelled.set()
            raise


async def answer_to(session: muxado.Session, path: str, milliseconds: bytes) -> bytes:
    """All that comes for a request on a stream whose opener has said that it waits so long."""
    stream = await session.open_stream(metadata={"time-left": milliseconds})
    await stream.send(b"GET %s HTTP/1.1\r\nHost: app\r\n\r\n" % path.encode())
    answer = b""
    while not answer.endswith((b"0\r\n\r\n", b"is over", b"hello")):
        try:
            answer += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            break
    stream.reset()
    return answer


# The application.


async def test_an_application_that_has_not_begun_is_cancelled_and_the_answer_is_504(
    session_pair: SessionPair, serve: Any
) -> None:
    app = App()
    async with serving(session_pair, serve, app) as (session, _):
        with anyio.fail_after(30):
            answer = await answer_to(session, "/before", b"50")
            await app.cancelled.wait()
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert answer.endswith(b"\r\n\r\nthe time of the request is over")


@pytest.mark.slow
async def test_an_answer_that_has_begun_breaks_off(session_pair: SessionPair, serve: Any) -> None:
    app = App()
    async with serving(session_pair, serve, app) as (session, _):
        with anyio.fail_after(30):
            answer = await answer_to(session, "/within", b"1000")
            await app.cancelled.wait()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"some" in answer
    assert b"0\r\n\r\n" not in answer


@pytest.mark.slow
async def test_what_an_application_does_behind_its_answer_is_not_cancelled(
    session_pair: SessionPair, serve: Any
) -> None:
    app = App()
    async with serving(session_pair, serve, app) as (session, _):
        with anyio.fail_after(30):
            answer = await answer_to(session, "/behind", b"1000")
            await app.went_on.wait()
    assert answer.endswith(b"0\r\n\r\n")
    assert not app.cancelled.is_set()


@pytest.mark.parametrize("when", ["before", "meanwhile", "stubborn"])
async def test_a_server_is_given_no_part_of_a_head(when: str) -> None:
    """It would not know that it has begun, and begin another answer in the middle of that."""
    whole: list[str] = []
    begun: list[str] = []
    on_the_way, goes_on = anyio.Event(), anyio.Event()

    async def send(message: Any) -> None:
        begun.append(message["type"])
        if when == "meanwhile" and message["type"] == "http.response.start":
            on_the_way.set()
            await goes_on.wait()
        await anyio.lowlevel.checkpoint()
        whole.append(message["type"])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if when != "meanwhile":
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                if when == "before":
                    raise
        await send({"type": "http.response.start", "status": 200, "headers": CHUNKED})
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
        await anyio.sleep_forever()

    scope = {"type": "http", "method": "GET", "path": "/"}
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(InTime(app, 0.05), scope, None, send)
            if when == "meanwhile":
                await on_the_way.wait()
                await anyio.sleep(0.1)
                goes_on.set()
    assert begun.count("http.response.start") == whole.count("http.response.start") == 1
    if when != "meanwhile":
        assert whole == ["http.response.start", "http.response.body"]  # the 504


async def test_an_answer_that_begins_too_late_is_none_though_the_loop_does_not_know_yet() -> None:
    said: list[Any] = []

    async def send(message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        said.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        time.sleep(0.1)  # noqa: ASYNC251 - as one that computes
        await send({"type": "http.response.start", "status": 200, "headers": CHUNKED})
        await send({"type": "http.response.body", "body": b"all"})

    await InTime(app, 0.05)({"type": "http", "method": "GET", "path": "/"}, None, send)
    assert [one.get("status", one.get("body")) for one in said] == [504, LATE]


@pytest.mark.parametrize("said", [b"", b"-1", b"soon", b"1.5", b"9" * 13])
async def test_what_is_no_time_says_nothing(
    session_pair: SessionPair, serve: Any, said: bytes
) -> None:
    app = App()
    async with serving(session_pair, serve, app) as (session, _):
        with anyio.fail_after(30):
            assert (await answer_to(session, "/", said)).endswith(b"0\r\n\r\n")
    assert app.left == [None]


class WsgiApp:
    """A WSGI application that writes down the seconds that each request has."""

    def __init__(self) -> None:
        self.left: list[float | None] = []

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        deadline = environ.get("muxado.deadline")
        self.left.append(None if deadline is None else deadline - time.monotonic())
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return [b"hello"]


async def test_wsgi_finds_it_in_its_environ(session_pair: SessionPair) -> None:
    app = WsgiApp()
    async with (
        serving(session_pair, serve_wsgi, app) as (session, listener),
        httpx_client(session) as client,
    ):
        assert (await client.get("http://app/", extensions={"deadline": 50})).text == "hello"
        assert (await client.get("http://app/")).text == "hello"
        assert len(listener.accepted) == 1
    first, second = app.left
    assert first is not None
    assert 0 < first <= 50 + ROUNDED_UP
    assert second is None


async def test_wsgi_is_not_called_for_whom_nobody_waits(
    session_pair: SessionPair, caplog: pytest.LogCaptureFixture
) -> None:
    app = WsgiApp()
    caplog.set_level("INFO", "muxado.access")
    async with serving(session_pair, serve_wsgi, app) as (session, _):
        with anyio.fail_after(30):
            answer = await answer_to(session, "/late", b"0")
            assert answer.startswith(b"HTTP/1.1 504 ")
            assert b"the time of the request is over" in answer
            assert app.left == []
            assert (await answer_to(session, "/", b"50000")).endswith(b"hello")
    # Each of a thread of its own, behind its answer.
    assert sorted(access_log(caplog)) == ['"GET / HTTP/1.1" 200', '"GET /late HTTP/1.1" 504']


# The client.


async def test_a_deadline_is_told_of_each_request_that_has_one(
    session_pair: SessionPair, serve: Any, library: Any
) -> None:
    app = App()
    async with serving(session_pair, serve, app) as (session, listener):
        async with httpx_client(session, module=library) as client:
            for deadline in (None, 50, None, 40, 30, None):
                wanted = {} if deadline is None else {"deadline": deadline}
                response = await client.get("http://app/", extensions=wanted)
                assert response.text == "some more"
        assert len(listener.accepted) == 4  # a stream for each, and one from the beginning
        with anyio.fail_after(30):
            while session.open_streams:
                await session.ping()
    assert [left is not None for left in app.left] == [False, True, False, True, True, False]
    for left, most in zip(app.left, (0, 50, 0, 40, 30, 0), strict=True):
        assert left is None or 0 < left <= most + ROUNDED_UP


@pytest.mark.parametrize("wire", ["yamux", "smux2"])
async def test_a_peer_that_cannot_be_told_is_asked_all_the_same(
    session_pair: SessionPair, serve: Any, library: Any, wire: Any
) -> None:
    app = App()
    pair = partial(session_pair, Config(wire=wire))
    async with (
        serving(pair, serve, app) as (session, _),
        httpx_client(session, module=library) as client,
    ):
        for _ in range(2):
            response = await client.get("http://app/", extensions={"deadline": 50})
            assert response.text == "some more"
    assert app.left == [None, None]


@pytest.mark.parametrize("through", ["session", "pool"])
async def test_a_peer_that_says_nothing_before_it_is_asked_is_asked_in_time(
    library: Any, through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Go and Rust programs may; their first frame answers the first request."""
    monkeypatch.setattr("muxado_py.service.telling.WORD_WAIT", 0.1)
    deadlines = {"extensions": {"deadline": 20}, "timeout": 10}
    answered = 0

    async def answer(transport: ByteStream) -> None:
        nonlocal answered
        async with transport:
            peer = ScriptedPeer(transport)
            for stream in range(3, 9, 2):
                while b"\r\n\r\n" not in (await peer.expect("DATA", stream)).body:
                    pass
                answered += 1
                await peer.say(data(stream, ANSWER, fin=True))
            await anyio.sleep_forever()

    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(anyio.create_task_group())
        if through == "session":
            near, far = memory_transports()
            tasks.start_soon(answer, far)
            opener: Any = await stack.enter_async_context(muxado.client(near))
        else:
            listener = await stack.enter_async_context(
                await anyio.create_tcp_listener(local_host="127.0.0.1")
            )
            tasks.start_soon(listener.serve, answer)
            port = listener.extra(SocketAttribute.local_port)
            pool = muxado.connect_pool(f"tcp://127.0.0.1:{port}")
            opener = await stack.enter_async_context(pool)
        async with httpx_client(opener, module=library) as client:
            with anyio.fail_after(30):
                for _ in range(3):
                    assert (await client.get("http://app/", **deadlines)).text == "ok"
        tasks.cancel_scope.cancel()
    assert answered == 3


class TestTheTimeThatATellingTakes:
    """On a clock that jumps."""

    @pytest.fixture(params=virtual_time.BACKENDS)
    def anyio_backend(self, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        return virtual_time.backend(request.param)

    @pytest.mark.parametrize(
        ("wire", "deadline", "most"),
        [
            ("yamux", 20, 0),
            ("smux2", 20, 0),
            ("muxado1", 20, 0),
            ("muxado", 20, 1),
            ("muxado", 1, 0.5),
        ],
    )
    async def test_a_silent_peer_is_asked_after_a_moment_and_at_once_where_no_wire_can_tell(
        self, library: Any, wire: Any, deadline: float, most: float
    ) -> None:
        near, far = memory_transports()
        asked: list[float] = []
        async with (
            far,
            muxado.client(near, Config(wire=wire)) as session,
            anyio.create_task_group() as tasks,
            httpx_client(session, module=library) as client,
        ):

            async def read() -> None:
                said = b""
                while b"GET / " not in said:
                    said += await far.receive()
                asked.append(anyio.current_time() - began)
                tasks.cancel_scope.cancel()

            began = anyio.current_time()
            tasks.start_soon(read)
            await client.get("http://app/", extensions={"deadline": deadline}, timeout=100)
        session.abort()
        assert len(asked) == 1
        assert most <= asked[0] < most + 0.1


async def test_a_deadline_is_told_though_the_session_comes_later_than_the_request(
    library: Any,
) -> None:
    """The stream that only found out that there is a session never was."""
    app = App()
    async with (
        muxado.listen("tcp://127.0.0.1:0") as listener,
        anyio.create_task_group() as tasks,
        muxado.accept_pool(listener) as pool,
        httpx_client(pool, module=library) as client,
    ):
        answered: list[str] = []

        async def ask() -> None:
            response = await client.get("http://app/", extensions={"deadline": 50})
            answered.append(response.text)

        tasks.start_soon(ask)
        await all_tasks_blocked()
        async with muxado.connect(listener.url) as session:
            tasks.start_soon(serve_asgi, app, session.net_listener())
            with anyio.fail_after(30):
                while not answered:
                    await session.ping()
            assert [one.id for one in session.streams()] == [2]
        tasks.cancel_scope.cancel()
    assert answered == ["some more"]
    assert [left is not None for left in app.left] == [True]


async def test_a_stream_that_cannot_be_opened_for_a_deadline_was_never_asked(
    session_pair: SessionPair, library: Any
) -> None:
    app = App()
    async with (
        serving(session_pair, serve_asgi, app) as (session, _),
        httpx_client(session, module=library) as client,
    ):
        await client.get("http://app/")
        await session.aclose()
        with pytest.raises(library.ConnectError) as failed:
            await client.get("http://app/", extensions={"deadline": 50})
        assert retry_verdict(failed.value) is Retry.NEVER_SENT


@pytest.mark.slow
async def test_the_answer_to_another_on_a_shared_connection_is_none_to_this_one(
    session_pair: SessionPair,
) -> None:
    answers = App()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/never":
            while (await receive())["type"] != "http.disconnect":
                pass
        else:
            await answers(scope, receive, send)

    late: list[Exception] = []
    async with (
        serving(session_pair, partial(serve_asgi, server="anycorn"), app) as (session, _),
        httpx_client(session, http1=False, http2=True) as client,
    ):
        await client.get("http://app/")

        async def wait() -> None:
            try:
                await client.get("http://app/never", extensions={"deadline": 1})
            except Exception as exc:  # noqa: BLE001 - whichever
                late.append(exc)

        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):  # so that one writes what is there of others, too
                tasks.start_soon(wait)
            for _ in range(3):
                await client.get("http://app/")
    assert [retry_verdict(exc) for exc in late] == [Retry.UNKNOWN] * AT_ONCE

"""``requests_adapter``: what a user of requests sees of a pool."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import requests
from anyio.from_thread import start_blocking_portal

import muxado_py as muxado
from muxado_py import Retry, blocking
from muxado_py.integrations import requests_adapter, retry_verdict, serve_wsgi

from .apps import CHUNK, WsgiApp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

PATIENCE = 60.0


class Peer:
    """What listens, in a thread of its own.

    :ivar streams: those that it has accepted.
    """

    def __init__(self, handle: Callable[[muxado.Stream], Awaitable[None]] | None, app: Any) -> None:
        self.handle = handle
        self.app = app
        self.url = ""
        self.streams: list[muxado.Stream] = []
        self.sessions: list[muxado.Session] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            anyio.create_task_group() as tasks,
        ):
            self.url = listener.url
            if self.handle is None:
                tasks.start_soon(partial(serve_wsgi, self.app, listener.net_listener()))
            else:
                tasks.start_soon(listener.serve, self._attend)
            yield
            tasks.cancel_scope.cancel()

    async def _attend(self, session: muxado.Session) -> None:
        self.sessions.append(session)
        await session.net_listener().serve(self._serve)

    async def _serve(self, stream: muxado.Stream) -> None:
        assert self.handle is not None
        self.streams.append(stream)
        with suppress(muxado.MuxadoError, anyio.EndOfStream):
            await self.handle(stream)


@contextmanager
def peer(
    handle: Callable[[muxado.Stream], Awaitable[None]] | None = None, app: Any = None
) -> Iterator[Peer]:
    with start_blocking_portal() as portal:
        one = Peer(handle, app)
        with portal.wrap_async_context_manager(one.listening()):
            yield one


@contextmanager
def client_of(pool: blocking.Pool, **options: Any) -> Iterator[requests.Session]:
    with requests.Session() as client:
        client.mount("http://app/", requests_adapter(pool, **options))
        yield client


def answering(*parts: bytes) -> Callable[[muxado.Stream], Awaitable[None]]:
    """Answers each request with a part, and resets the stream behind the last."""

    async def handle(stream: muxado.Stream) -> None:
        for part in parts:
            await stream.receive()
            await stream.send(part)
        await stream.receive()
        stream.reset()

    return handle


def until_no_stream_is_open(pool: blocking.Pool) -> None:
    while any(one.open_streams for one in pool.state.targets):
        time.sleep(0.01)


def whole(text: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(text), text)


def test_requests_one_after_another_use_one_stream_of_the_priority() -> None:
    with (
        peer(answering(*[whole(b"ok")] * 5)) as server,
        blocking.connect_pool(server.url) as pool,
        client_of(pool, priority=muxado.Priority(urgency=1)) as client,
    ):
        for _ in range(5):
            assert client.get("http://app/", timeout=PATIENCE).text == "ok"
        assert [one.priority.urgency for one in server.streams] == [1]


def test_a_stream_that_the_server_has_ended_is_replaced() -> None:
    async def answer_once(stream: muxado.Stream) -> None:
        await stream.receive()
        await stream.send(whole(b"ok"))
        await stream.aclose()

    with (
        peer(answer_once) as server,
        blocking.connect_pool(server.url) as pool,
        client_of(pool) as client,
    ):
        for _ in range(3):
            assert client.get("http://app/", timeout=PATIENCE).text == "ok"
            until_no_stream_is_open(pool)
        assert len(server.streams) == 3


def test_a_streamed_answer_and_an_upload() -> None:
    app = WsgiApp()
    with (
        peer(app=app) as server,
        blocking.connect_pool(server.url) as pool,
        client_of(pool) as client,
    ):
        upload = client.post("http://app/upload", data=(CHUNK for _ in range(30)), timeout=PATIENCE)
        assert upload.text == str(30 * len(CHUNK))
        with client.get("http://app/stream?30", stream=True, timeout=PATIENCE) as response:
            assert sum(len(one) for one in response.iter_content(None)) == 30 * len(CHUNK)
        assert app.closed.wait(PATIENCE)
        app.closed.clear()  # not later: an iterator that is left closes the connection, before its response is closed
        with client.get("http://app/stream?100000", stream=True, timeout=PATIENCE) as response:
            next(response.iter_content(1))
        assert app.closed.wait(PATIENCE)  # who leaves ends it for the application too


def test_sockets_end_with_the_client() -> None:
    with peer(app=WsgiApp()) as server, blocking.connect_pool(server.url) as pool:
        with client_of(pool) as client:
            threads = [threading.Thread(target=client.get, args=("http://app/",)) for _ in range(8)]
            for one in threads:
                one.start()
            for one in threads:
                one.join(PATIENCE)
        until_no_stream_is_open(pool)


def test_without_a_session_the_time_out_says_that_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
    with blocking.connect_pool(url) as pool, client_of(pool) as client:
        with pytest.raises(requests.ConnectTimeout, match=url) as failed:
            client.post("http://app/", timeout=0.05)
        assert retry_verdict(failed.value) is Retry.NEVER_SENT
    with client_of(pool) as client:
        with pytest.raises(requests.ConnectionError, match="closed this pool") as closed:
            client.post("http://app/", timeout=PATIENCE)
        assert retry_verdict(closed.value) is Retry.NEVER_SENT


def test_a_refused_request_may_be_sent_again() -> None:
    async def refuse(stream: muxado.Stream) -> None:
        await stream.receive()
        stream.refuse()

    with (
        peer(refuse) as server,
        blocking.connect_pool(server.url) as pool,
        client_of(pool) as client,
    ):
        with pytest.raises(requests.ConnectionError) as failed:
            client.post("http://app/", data=b"x", timeout=PATIENCE)
        assert retry_verdict(failed.value) is Retry.REFUSED


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ([], requests.ConnectionError),
        ([whole(b"ok")], requests.ConnectionError),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome"], requests.RequestException),
    ],
    ids=["before the answer", "before the second answer", "in the body"],
)
def test_what_breaks_off_is_an_error_that_is_not_safe(
    parts: list[bytes], kind: type[Exception]
) -> None:
    async def break_off(stream: muxado.Stream) -> None:
        await stream.receive()
        for part in parts:
            await stream.send(part)
            if part == whole(b"ok"):
                await stream.receive()
        stream.reset()

    with (
        peer(break_off) as server,
        blocking.connect_pool(server.url) as pool,
        client_of(pool) as client,
    ):
        if parts == [whole(b"ok")]:
            assert client.post("http://app/", timeout=PATIENCE).text == "ok"
        with pytest.raises(kind) as failed:
            client.post("http://app/", timeout=PATIENCE)
        assert retry_verdict(failed.value) is Retry.UNKNOWN
        assert len(server.streams) == 1


UNTIL_THE_END = b"HTTP/1.1 200 OK\r\n\r\nsome"


@pytest.mark.parametrize("breaks_off", [False, True])
def test_an_answer_without_a_length_is_whole_where_its_stream_ends_and_not_where_that_breaks_off(
    breaks_off: bool,
) -> None:
    async def answer(stream: muxado.Stream) -> None:
        await stream.receive()
        await stream.send(UNTIL_THE_END)
        if not breaks_off:
            await stream.aclose()
            return
        await anyio.to_thread.run_sync(begun.wait)
        stream.reset()

    begun = threading.Event()
    with (
        peer(answer) as server,
        blocking.connect_pool(server.url) as pool,
        client_of(pool) as client,
        client.get("http://app/", timeout=PATIENCE, stream=True) as found,
    ):
        pieces = found.iter_content(4)
        assert next(pieces) == b"some"
        begun.set()
        if breaks_off:
            with pytest.raises(requests.exceptions.ChunkedEncodingError) as failed:
                next(pieces)
            assert retry_verdict(failed.value) is Retry.UNKNOWN
        else:
            assert list(pieces) == []


def test_a_time_out_breaks_the_request_off_and_says_what_is_known() -> None:
    ended = threading.Event()

    async def wait(stream: muxado.Stream) -> None:
        with suppress(muxado.MuxadoError):
            while True:
                await stream.receive()
        ended.set()

    with (
        peer(wait) as server,
        blocking.connect_pool(server.url) as pool,
        client_of(pool) as client,
    ):
        with pytest.raises(requests.ReadTimeout) as failed:
            client.post("http://app/", timeout=(PATIENCE, 0.1))
        assert retry_verdict(failed.value) is Retry.UNKNOWN
        assert ended.wait(PATIENCE)


def test_nothing_goes_around_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with (
        peer(answering(whole(b"ok"))) as server,
        blocking.connect_pool(server.url) as pool,
        client_of(pool) as client,
    ):
        assert client.get("http://app/", timeout=PATIENCE).text == "ok"
        client.mount("https://app/", requests_adapter(pool))
        with pytest.raises(requests.exceptions.InvalidSchema, match="may have TLS"):
            client.get("https://app/", timeout=PATIENCE)


def test_the_password_of_a_proxy_goes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """requests itself writes it into the request that a redirect leads to."""
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:9")
    heard: list[bytes] = []

    async def redirect(stream: muxado.Stream) -> None:
        there = b"HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n"
        for answer in (there, whole(b"ok")):
            heard.append(await stream.receive())
            await stream.send(answer)

    with (
        peer(redirect) as server,
        blocking.connect_pool(server.url) as pool,
        client_of(pool) as client,
    ):
        assert client.get("http://app/", timeout=PATIENCE).text == "ok"
    assert [one.partition(b"\r\n")[0] for one in heard] == [
        b"GET / HTTP/1.1",
        b"GET /there HTTP/1.1",
    ]
    assert not any(b"proxy" in one.lower() for one in heard)


def test_what_cannot_be_is_said_at_the_call() -> None:
    with pytest.raises(TypeError, match=r"muxado_py\.blocking"):
        requests_adapter(object())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Priority"):
        requests_adapter(object(), priority=1)  # type: ignore[arg-type]


def test_a_socket_that_is_given_up_says_what_became_of_its_stream() -> None:
    with (
        peer(answering()) as server,
        blocking.connect_pool(server.url) as pool,
        pool.open_socket(timeout=PATIENCE) as used,
        used.dup() as also,
    ):
        used.sendall(b"x")
        used.settimeout(PATIENCE)
        with pytest.raises(ConnectionResetError, match="broke off before its end"):
            used.recv(1)
        assert also.recv_into(bytearray()) == 0  # which asks for nothing, and so hears of nothing
        assert also.give_up() is Retry.UNKNOWN
    assert used.give_up() is Retry.UNKNOWN


def test_what_the_source_of_a_body_raises_says_nothing_of_the_request() -> None:
    """It may be the error of another call, as in a relay."""
    begun = threading.Event()

    async def hear(stream: muxado.Stream) -> None:
        await stream.receive()
        begun.set()
        await anyio.sleep_forever()

    def body() -> Iterator[bytes]:
        yield b"half of an order"
        assert begun.wait(PATIENCE)
        raise muxado.StreamRefusedError("of another call", retry=Retry.REFUSED)

    with (
        peer(hear) as listening,
        blocking.connect_pool(listening.url) as pool,
        requests.Session() as session,
    ):
        session.mount("http://", requests_adapter(pool))
        with pytest.raises(requests.ConnectionError) as failed:
            session.post("http://app/", data=body())
        assert retry_verdict(failed.value) is Retry.UNKNOWN

"""``httpx_client(pool, retry=...)``: servers are started again, killed or cut off under load, and nothing is executed twice."""

from __future__ import annotations

import importlib
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import create_task_group, current_time, fail_after

import muxado_py as muxado
from muxado_py import Retry, RetryPolicy
from muxado_py.integrations import httpx_client, retry_verdict, serve_asgi

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

REQUESTS = 240


@pytest.fixture(params=["httpx2", "httpx"])
def library(request: pytest.FixtureRequest) -> Any:
    """Each of the two libraries."""
    return importlib.import_module(request.param)


class Counting:
    """An ASGI application that writes down what it executes."""

    def __init__(self) -> None:
        self.executed: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body += event["body"]
            if not event["more_body"]:
                break
        self.executed.append(body)
        await anyio.sleep(0.002)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


class Server:
    """One server, at one address, that can be ended and started again.

    :ivar url: where.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self.url = "tcp://127.0.0.1:0"
        self._scope = anyio.CancelScope()
        self._drains = anyio.Event()
        self._over = anyio.Event()

    async def start(self, tasks: TaskGroup) -> None:
        await tasks.start(self._run)

    async def _run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        self._drains, self._over = anyio.Event(), anyio.Event()
        try:
            with anyio.CancelScope() as self._scope:
                async with muxado.listen(self.url) as listener, create_task_group() as tasks:
                    self.url = listener.url
                    tasks.start_soon(self._close_in_time, listener)
                    task_status.started()
                    await listener.serve(self._serve)
        finally:
            self._over.set()

    async def _close_in_time(self, listener: muxado.SessionListener) -> None:
        """Take no more sessions before those that are here are drained: they are dialed anew at once."""
        await self._drains.wait()
        await listener.aclose()

    async def _serve(self, session: muxado.Session) -> None:
        async with create_task_group() as tasks:
            tasks.start_soon(self._drain, session)
            with suppress(muxado.MuxadoError):
                await serve_asgi(self._app, session.net_listener(), graceful_timeout=5)
            with suppress(muxado.MuxadoError):
                await session.wait()
            tasks.cancel_scope.cancel()

    async def _drain(self, session: muxado.Session) -> None:
        await self._drains.wait()
        with suppress(muxado.MuxadoError):
            await session.drain(30)

    async def stop(self, how: str) -> None:
        """End it: in order, or at once with all that it has."""
        if how == "drain":
            self._drains.set()
        else:
            self._scope.cancel()
        await self._over.wait()


class Watch:
    """Whoever waits for something is told that something has changed."""

    def __init__(self) -> None:
        self._changed = anyio.Event()

    def tell(self, *_: object) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()


class Load:
    """POSTs, each with a body of its own.

    :ivar answered: the bodies that came back.
    :ivar failed: those that did not, and with which verdict.
    """

    def __init__(self, client: Any, watch: Watch) -> None:
        self._client = client
        self._watch = watch
        self._counted = 0
        self.answered: list[bytes] = []
        self.failed: list[tuple[bytes, Retry]] = []

    async def post(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            body = b"%d" % number
            try:
                answer = await self._client.post("http://app/", content=body)
            except Exception as exc:  # noqa: BLE001 - of either library; what counts is its verdict
                self.failed.append((body, retry_verdict(exc)))
            else:
                assert answer.content == body
                self.answered.append(body)
            self._watch.tell()

    def has_answered_more(self, count: int) -> bool:
        """Whether so many more are through than when this was true last, or all are."""
        through = len(self.answered) + len(self.failed)
        if through < min(REQUESTS, self._counted + count):
            return False
        self._counted = through
        return True

    async def run(self) -> None:
        async with create_task_group() as posting:
            for first in range(0, REQUESTS, REQUESTS // 12):
                posting.start_soon(self.post, first, REQUESTS // 12)


@pytest.mark.parametrize("how", ["drain", "abort"])
async def test_servers_that_are_started_again_one_after_another(library: Any, how: str) -> None:
    app = Counting()
    with fail_after(300):
        async with create_task_group() as serving:
            watch = Watch()
            servers = [Server(app) for _ in range(3)]
            for server in servers:
                await server.start(serving)
            async with (
                muxado.connect_pool(
                    *(server.url for server in servers), on_change=watch.tell
                ) as pool,
                httpx_client(pool, module=library, retry=RetryPolicy(), timeout=60) as client,
            ):
                load = Load(client, watch)
                async with create_task_group() as posting:
                    posting.start_soon(load.run)
                    for server in servers:
                        await watch.until(
                            lambda: all(one.status == "connected" for one in pool.state.targets)
                        )
                        await watch.until(partial(load.has_answered_more, REQUESTS // 6))
                        await server.stop(how)
                        await server.start(serving)
            for server in servers:
                await server.stop("abort")
            serving.cancel_scope.cancel()
    assert len(set(app.executed)) == len(app.executed), "a POST was executed twice"
    assert set(load.answered) <= set(app.executed)
    for body, verdict in load.failed:
        assert not (verdict.safe and body in app.executed)
    assert len(load.answered) > REQUESTS // 2
    if how == "drain":
        assert load.failed == []


async def test_a_request_waits_for_a_server_as_long_as_it_may(library: Any) -> None:
    app = Counting()
    async with create_task_group() as serving:
        server = Server(app)
        await server.start(serving)
        await server.stop("abort")
        async with (
            muxado.connect_pool(server.url) as pool,
            httpx_client(pool, module=library, retry=RetryPolicy()) as client,
        ):
            began = current_time()
            with pytest.raises(library.ConnectTimeout) as failed:
                await client.post("http://app/", timeout=library.Timeout(30, connect=0.1))
            assert retry_verdict(failed.value) is Retry.NEVER_SENT
            # uvloop's clock and timers have whole milliseconds.
            assert current_time() - began > 0.098
            async with create_task_group() as tasks:
                tasks.start_soon(server.start, serving)
                answer = await client.post("http://app/", content=b"x", timeout=60)
                assert answer.content == b"x"
        await server.stop("abort")
        serving.cancel_scope.cancel()

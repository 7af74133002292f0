"""One listener for the streams of all who dial in."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

import muxado_py as muxado

from ..helpers.blocked import until

pytestmark = pytest.mark.anyio


async def echo(stream: muxado.Stream) -> None:
    async for said in stream:
        await stream.send(said)


async def ask(session: muxado.Session, said: bytes) -> bytes:
    async with await session.open_stream() as stream:
        await stream.send(said)
        return await stream.receive()


async def test_one_handler_serves_all_who_dial_in() -> None:
    with anyio.fail_after(30):
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.net_listener().serve, echo)
            for _ in range(2):
                async with AsyncExitStack() as stack:
                    for number in range(5):
                        session = await stack.enter_async_context(muxado.connect(listener.url))
                        assert await ask(session, b"%d" % number) == b"%d" % number
            tasks.cancel_scope.cancel()


async def test_an_application_starts_once_for_all_of_them() -> None:
    seen: list[str] = []
    started = anyio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                event = (await receive())["type"]
                seen.append(event)
                await send({"type": f"{event}.complete"})
                if event == "lifespan.shutdown":
                    return
                started.set()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    with anyio.fail_after(30):
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(muxado.serve_asgi, app, listener.net_listener())
            await started.wait()
            for path in ("/a", "/b", "/c"):
                async with (
                    muxado.connect(listener.url) as session,
                    muxado.httpx_client(session) as http,
                ):
                    assert (await http.get(f"http://app{path}")).text == path
            tasks.cancel_scope.cancel()
    assert seen == ["lifespan.startup", "lifespan.shutdown"]


async def test_what_is_in_flight_when_the_server_is_told_to_end_is_finished() -> None:
    begun, answer = anyio.Event(), anyio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        begun.set()
        await answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"late"})

    with anyio.fail_after(30):
        async with muxado.listen("tcp://127.0.0.1:0") as listener:
            async with anyio.create_task_group() as tasks:
                server = anyio.CancelScope()
                said: list[str] = []

                async def serve() -> None:
                    with server:
                        await muxado.serve_asgi(app, listener.net_listener(), graceful_timeout=20)

                async def call() -> None:
                    async with (
                        muxado.connect(listener.url) as session,
                        muxado.httpx_client(session) as http,
                    ):
                        said.append((await http.get("http://app/")).text)

                tasks.start_soon(serve)
                tasks.start_soon(call)
                await begun.wait()
                server.cancel()
                while True:  # it takes no more connections
                    try:
                        async with muxado.connect(listener.url):
                            await anyio.lowlevel.checkpoint()
                    except (OSError, muxado.MuxadoError):
                        break
                answer.set()
            assert said == ["late"]


async def test_a_closed_one_refuses_streams_and_lets_sessions_go() -> None:
    with anyio.fail_after(30):
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            anyio.create_task_group() as tasks,
        ):
            streams = listener.net_listener()
            tasks.start_soon(streams.serve, echo)
            async with muxado.connect(listener.url) as session:
                stream = await session.open_stream()
                await stream.send(b"x")
                assert await stream.receive() == b"x"
                await streams.aclose()
                with pytest.raises(muxado.MuxadoError) as refused:
                    await ask(session, b"y")
                assert refused.value.retry.safe
                await stream.send(b"z")  # the one that is open goes on
                assert await stream.receive() == b"z"
                await stream.aclose()
                await until(lambda: session.closed)
            with pytest.raises(anyio.ClosedResourceError):
                await streams.serve(echo)


async def test_who_serves_it_may_be_cancelled_while_streams_are_open() -> None:
    async def never(stream: muxado.Stream) -> None:
        await anyio.sleep_forever()

    with anyio.fail_after(30):
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            anyio.create_task_group() as clients,
        ):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(listener.net_listener().serve, never)

                    async def hold() -> None:
                        async with muxado.connect(listener.url) as session:
                            stream = await session.open_stream()
                            await stream.send(b"x")
                            scope.cancel()
                            with pytest.raises(muxado.MuxadoError):
                                await stream.receive()

                    clients.start_soon(hold)

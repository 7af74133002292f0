"""HTTP over streams, both ways: an ASGI application for Go's net/http, and Go's server for httpx.

The first muxado was made for this: whoever dials, serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado

from .actors import MIB
from .conftest import PATIENCE

if TYPE_CHECKING:
    from .conftest import Far

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.interop,
    pytest.mark.needs("http"),
    pytest.mark.timeout(2 * PATIENCE, func_only=True),
]

LARGE = 8 * MIB


async def app(scope: Any, receive: Any, send: Any) -> None:
    """``/large`` is 8 MiB in pieces; everything else says what was asked."""
    if scope["type"] != "http":
        return
    head = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/x")]}
    await send(head)
    if scope["path"] == "/large":
        for _ in range(LARGE // MIB):
            await send({"type": "http.response.body", "body": bytes(MIB), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    else:
        body = f"{scope['method']} {scope['path']} from {scope['http_version']}".encode()
        await send({"type": "http.response.body", "body": body})


async def test_go_calls_the_asgi_application_that_python_serves_back(far: Far) -> None:
    async with far.session() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(muxado.serve_asgi, app, session.net_listener())
        answer = await peer.do("http_get", url="http://app/hello")
        assert (answer["status"], answer["text"]) == (200, "GET /hello from 1.1")
        large = await peer.do("http_get", url="http://app/large")
        assert (large["status"], large["bytes"]) == (200, LARGE)
        tasks.cancel_scope.cancel()


async def test_python_calls_the_server_that_go_serves_back(far: Far) -> None:
    async with far.session() as (session, peer):
        await peer.begin("http_serve")
        headers = {"connection": "close"} if far.peer.one_request else {}
        async with muxado.httpx_client(session, headers=headers) as client:
            answers = {}

            async def call(number: int) -> None:
                answer = await client.post(f"http://go/call/{number}", content=b"body")
                answers[number] = (answer.status_code, answer.text)

            async with anyio.create_task_group() as tasks:
                for number in range(20):
                    tasks.start_soon(call, number)
            assert answers == {n: (200, f"POST /call/{n} body") for n in range(20)}
            large = await client.post("http://go/large", content=bytes(LARGE))
            assert len(large.content) == len("POST /large ") + LARGE

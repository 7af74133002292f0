"""What an application answers through a session is what it answers on a TCP socket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread

import muxado_py as muxado
from muxado_py.cli.serving.serving import mounted
from muxado_py.integrations import serve_asgi

from .apps import serving
from .plain import ask, plain_anycorn, plain_uvicorn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

REQUEST = b"GET /a%20b?c=d HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n"


def body(answer: bytes) -> Any:
    head, _, text = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), answer
    return json.loads(text)


async def scope_app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with its scope, and never waits."""
    assert scope["type"] == "http"
    names = ("client", "server", "scheme", "path", "root_path", "query_string", "raw_path")
    text = json.dumps({name: scope[name] for name in names}, default=bytes.decode).encode()
    length = (b"content-length", str(len(text)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": text})


def plain(anyio_backend_name: str) -> Callable[..., Any]:
    """The server that ``serve_asgi`` chooses, on a socket."""
    return plain_uvicorn if anyio_backend_name == "asyncio" else plain_anycorn


async def ask_at_once(
    session: muxado.Session, request: bytes, *, half_close: bool = False
) -> bytes:
    """As :func:`.ask`; the request and its end arrive together."""
    stream = await session.open_stream()
    stream.send_nowait(request)
    if half_close:
        stream.send_eof_nowait()
    return b"".join([piece async for piece in stream])


@pytest.mark.slow
async def test_a_caller_that_closes_its_half_after_the_request_is_answered(
    session_pair: SessionPair, anyio_backend_name: str
) -> None:
    with plain(anyio_backend_name)(scope_app) as port:
        wanted = body(await to_thread.run_sync(lambda: ask(port, REQUEST, half_close=True)))
    async with serving(session_pair, serve_asgi, scope_app) as (session, _):
        seen = body(await ask_at_once(session, REQUEST, half_close=True))
    addresses = ("client", "server")
    assert {n: v for n, v in seen.items() if n not in addresses} == {
        n: v for n, v in wanted.items() if n not in addresses
    }


@pytest.mark.parametrize("server", ["auto", "anycorn"])
async def test_over_a_unix_socket_there_is_no_client_and_the_server_is_its_path(
    server: Any, tmp_path: Path
) -> None:
    async def serve_back(session: muxado.Session) -> None:
        await serve_asgi(scope_app, session.net_listener(), server=server)

    path = str(tmp_path / "socket")
    async with muxado.listen(f"unix://{path}") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve_back)
        async with muxado.connect(f"unix://{path}") as session:
            seen = body(await ask_at_once(session, REQUEST))
        tasks.cancel_scope.cancel()
    assert (seen["client"], seen["server"]) == (None, [path, None])


@pytest.mark.parametrize("server", ["auto", "anycorn"])
async def test_a_dialing_side_on_a_unix_socket_has_no_address_at_all(
    server: Any, tmp_path: Path
) -> None:
    answers: list[Any] = []

    async def call(session: muxado.Session) -> None:
        answers.append(body(await ask_at_once(session, REQUEST)))

    url = f"unix://{tmp_path / 'socket'}"
    async with muxado.listen(url) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, call)
        async with muxado.connect(url) as session:
            await serve_asgi(scope_app, session.net_listener(), server=server)
        tasks.cancel_scope.cancel()
    assert [(answer["client"], answer["server"]) for answer in answers] == [(None, None)]


async def test_a_root_path_means_on_every_server_what_it_means_to_uvicorn(
    session_pair: SessionPair,
) -> None:
    with plain_uvicorn(scope_app, root_path="/api") as port:
        wanted = body(await to_thread.run_sync(ask, port, REQUEST))
    async with serving(session_pair, serve_asgi, mounted(scope_app, "/api"), server="anycorn") as (
        session,
        _,
    ):
        seen = body(await ask_at_once(session, REQUEST))
    paths = ("path", "raw_path", "root_path", "query_string")
    assert [seen[name] for name in paths] == [wanted[name] for name in paths]
    assert seen["path"] == "/api/a b"

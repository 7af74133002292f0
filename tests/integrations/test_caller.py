"""Applications behind a gateway see who calls, where the gateway says it and is believed."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from muxado_py import Config
from muxado_py.integrations import serve_asgi, serve_wsgi
from muxado_py.integrations.asyncio_transport import open_connection

from ..by_url import sessions_by_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    import muxado_py as muxado

pytestmark = pytest.mark.anyio

CALLERS = {
    "IPv4": (b"192.0.2.7:4711", ("192.0.2.7", 4711)),
    "IPv6": (b"[2001:db8::7]:4711", ("2001:db8::7", 4711)),
}


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        body = json.dumps(scope["client"]).encode()
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})


def wsgi_app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    port = environ.get("REMOTE_PORT")
    body = json.dumps([environ.get("REMOTE_ADDR"), port and int(port)]).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


SERVERS: dict[str, Any] = {
    "asgi": partial(serve_asgi, asgi_app),
    "anycorn": partial(serve_asgi, asgi_app, server="anycorn"),
    "wsgi": partial(serve_wsgi, wsgi_app),
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Any:
    """uvicorn where there is asyncio, anycorn, and waitress."""
    return SERVERS[request.param]


@asynccontextmanager
async def serving(session: muxado.Session, server: Any) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server, session.net_listener())
        with anyio.fail_after(30):
            yield
        tasks.cancel_scope.cancel()


async def client_seen(session: muxado.Session, metadata: dict[str, bytes] | None) -> Any:
    """Whom the application behind the other side of ``session`` takes for its client."""
    async with await session.open_stream(metadata=metadata) as stream:
        await stream.send(b"GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
        answer = b"".join([piece async for piece in stream])
    return tuple(json.loads(answer.partition(b"\r\n\r\n")[2]))


@pytest.mark.parametrize("said", CALLERS)
async def test_the_client_is_the_caller(server: Any, said: str) -> None:
    """The side that dialed serves, as agents do."""
    caller, expected = CALLERS[said]
    async with sessions_by_url() as (agent, gateway), serving(agent, server):
        assert await client_seen(gateway, {"caller": caller}) == expected


@pytest.mark.parametrize(
    "metadata", [None, {"name": b"blog"}, {"caller": b"unix:/run/app.sock"}, {"caller": b"\0"}]
)
async def test_where_nobody_says_it_the_client_is_the_gateway(
    server: Any, metadata: dict[str, bytes] | None
) -> None:
    async with sessions_by_url() as (agent, gateway), serving(agent, server):
        expected = agent.extra(SocketAttribute.remote_address)
        assert await client_seen(gateway, metadata) == expected


async def test_who_dials_an_application_cannot_choose_its_address(server: Any) -> None:
    """Else everybody would be 127.0.0.1."""
    async with sessions_by_url() as (stranger, service), serving(service, server):
        expected = stranger.extra(SocketAttribute.local_address)
        assert await client_seen(stranger, {"caller": b"127.0.0.1:1"}) == expected


async def test_unless_the_service_knows_who_dials_it(server: Any) -> None:
    trusting = Config(trust_caller=True)
    async with sessions_by_url(Config(), trusting) as (front, service), serving(service, server):
        assert await client_seen(front, {"caller": b"192.0.2.7:4711"}) == ("192.0.2.7", 4711)


async def test_nor_need_an_agent_believe_its_gateway(server: Any) -> None:
    wary = Config(trust_caller=False)
    async with sessions_by_url(wary) as (agent, gateway), serving(agent, server):
        expected = agent.extra(SocketAttribute.remote_address)
        assert await client_seen(gateway, {"caller": b"192.0.2.7:4711"}) == expected


async def test_protocols_of_asyncio_have_it_as_their_peers_name(anyio_backend_name: str) -> None:
    if anyio_backend_name == "trio":
        return
    async with sessions_by_url() as (agent, gateway):
        stream = await gateway.open_stream(metadata={"caller": b"192.0.2.7:4711"})
        _, writer = await open_connection(await agent.accept_stream())
        assert writer.get_extra_info("peername") == ("192.0.2.7", 4711)
        writer.close()
        await stream.aclose()

"""Where a stream cannot be half closed (smux): what the adaptors do instead, and that nothing needs it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread
from anyio.streams.tls import TLSStream

import muxado_py as muxado
from muxado_py import Config
from muxado_py.integrations import (
    MuxTransport,
    httpx_client,
    open_connection,
    serve_asgi,
    serve_wsgi,
)
from muxado_py.integrations.pumped import PumpedStream

from ..transports import memory_transports
from .apps import CHUNK, AsgiApp, WsgiApp, serving

if TYPE_CHECKING:
    import socket
    import ssl

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

WIRES = ("smux1", "smux2")
BIG = bytes(range(256)) * 4096  # 1 MiB

on_asyncio = pytest.mark.parametrize(
    "anyio_backend",
    [pytest.param("asyncio"), pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")],
)


@pytest.fixture(params=WIRES)
def smux_pair(request: pytest.FixtureRequest, session_pair: SessionPair) -> SessionPair:
    """Two sessions of smux."""
    return partial(session_pair, Config(wire=request.param))


async def read_to_the_end(stream: Any) -> bytes:
    return b"".join([chunk async for chunk in stream])


# asyncio's transports.


@pytest.mark.slow
@on_asyncio
async def test_a_transport_says_that_it_cannot_write_an_end_and_closes_instead(
    smux_pair: SessionPair,
) -> None:
    async with smux_pair() as (session, peer):
        reader, writer = await open_connection(await session.net_dial())
        assert not writer.can_write_eof()
        writer.write(BIG)
        with pytest.raises(NotImplementedError, match="close"):
            writer.write_eof()
        theirs = await peer.accept_stream()
        await theirs.send(b"heard")
        assert await reader.readexactly(5) == b"heard"
        writer.close()
        assert await read_to_the_end(theirs) == BIG
        await writer.wait_closed()


@pytest.mark.slow
@on_asyncio
@pytest.mark.parametrize("wire", WIRES)
async def test_who_asks_for_half_closes_gets_them(session_pair: SessionPair, wire: str) -> None:
    async with session_pair(Config(wire=wire, half_close=True)) as (session, peer):
        reader, writer = await open_connection(await session.net_dial())
        assert writer.can_write_eof()
        writer.write(BIG)
        writer.write_eof()
        theirs = await peer.accept_stream()
        assert await read_to_the_end(theirs) == BIG
        await theirs.send(b"answer")
        await theirs.aclose()
        assert await reader.read() == b"answer"
        writer.close()
        await writer.wait_closed()


@pytest.mark.slow
@on_asyncio
async def test_the_end_of_the_peer_closes_a_protocol_that_does_not_object(
    smux_pair: SessionPair,
) -> None:
    async with smux_pair() as (session, peer):
        transport = MuxTransport(await session.net_dial(), asyncio.Protocol())
        transport.write(b"all of it")
        theirs = await peer.accept_stream()
        assert await theirs.receive() == b"all of it"
        await theirs.aclose()
        await transport.wait_lost()
        assert transport.is_closing()


@pytest.mark.slow
async def test_what_is_pumped_tells_whether_it_can(
    smux_pair: SessionPair, session_pair: SessionPair, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async with smux_pair() as (session, _), await session.net_dial() as stream:
        assert not PumpedStream(stream).can_half_close
    async with session_pair() as (session, _), await session.net_dial() as stream:
        assert PumpedStream(stream).can_half_close
    near, far = memory_transports()
    assert PumpedStream(near).can_half_close
    secured: list[TLSStream] = []

    async def accept() -> None:
        secured.append(await TLSStream.wrap(far, server_side=True, ssl_context=tls[0]))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept)
        over_tls = await TLSStream.wrap(near, hostname="app", ssl_context=tls[1])
    assert not PumpedStream(over_tls).can_half_close
    for one in (over_tls, *secured):
        await anyio.aclose_forcefully(one)


# Sockets.


@pytest.mark.slow
async def test_the_end_of_a_socket_closes_its_stream(smux_pair: SessionPair) -> None:
    """All that it sent arrives, and then the end; an answer after it has nobody to go to."""

    def talk(sock: socket.socket) -> None:
        with sock:
            sock.sendall(BIG)

    async with smux_pair() as (session, peer), anyio.create_task_group() as tasks:
        sock = await session.dial_socket()
        tasks.start_soon(to_thread.run_sync, talk, sock)
        theirs = await peer.accept_stream()
        assert await read_to_the_end(theirs) == BIG
        await theirs.send(b"late")
        await theirs.aclose()
        await session.drain(60)
        assert session.statistics().live_streams == 0


@pytest.mark.slow
async def test_the_end_of_a_stream_reaches_its_socket_whole(smux_pair: SessionPair) -> None:
    def talk(sock: socket.socket) -> bytes:
        sock.settimeout(10)
        with sock:
            sock.sendall(b"all, please")
            parts = []
            while part := sock.recv(65536):
                parts.append(part)
        return b"".join(parts)

    async def answer(stream: muxado.Stream) -> None:
        assert await stream.receive() == b"all, please"
        await stream.send(BIG)
        await stream.aclose()

    async with smux_pair() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(peer.net_listener().serve, answer)
        sock = await session.dial_socket()
        assert await to_thread.run_sync(talk, sock) == BIG
        tasks.cancel_scope.cancel()


# Servers and clients.


@pytest.mark.slow
@pytest.mark.parametrize("server", ["auto", "anycorn"])
async def test_asgi(smux_pair: SessionPair, server: str) -> None:
    app = AsgiApp()

    async def body() -> Any:
        for _ in range(20):
            yield CHUNK

    async with (
        serving(smux_pair, serve_asgi, app.asgi, server=server) as (session, listener),
        httpx_client(session) as client,
    ):
        assert (await client.get("http://app/")).text == "hello"
        uploaded = await client.post("http://app/upload", content=body())
        assert uploaded.text == str(20 * len(CHUNK))
        streamed = await client.get("http://app/stream?chunks=20")
        assert len(streamed.content) == 20 * len(CHUNK)
        closing = await client.get("http://app/", headers={"Connection": "close"})
        assert closing.text == "hello"
        assert (await client.get("http://app/")).text == "hello"
        assert len(listener.accepted) == 2
        async with client.websocket("ws://app/echo") as websocket:
            await websocket.send_text("one")
            assert await websocket.receive_text() == "echo one"
            await websocket.close(4001)
        await app.disconnected.wait()
    assert "websocket closed with 4001" in app.log


@pytest.mark.slow
@pytest.mark.parametrize("server", ["auto", "anycorn"])
async def test_an_asgi_application_sees_that_its_client_went_away(
    smux_pair: SessionPair, server: str
) -> None:
    app = AsgiApp()
    async with (
        serving(smux_pair, serve_asgi, app.asgi, server=server) as (session, _),
        httpx_client(session) as client,
    ):
        async with client.stream("GET", "http://app/stream?chunks=1000000"):
            await app.entered.wait()
        await app.disconnected.wait()


@pytest.mark.slow
async def test_wsgi(smux_pair: SessionPair) -> None:
    async with (
        serving(smux_pair, serve_wsgi, WsgiApp()) as (session, _),
        httpx_client(session) as client,
    ):
        for headers in ({}, {"Connection": "close"}, {}):
            response = await client.post("http://app/upload", content=BIG, headers=headers)
            assert response.text == str(len(BIG))
            response = await client.get("http://app/stream?20", headers=headers)
            assert response.content == CHUNK * 20

"""A side that listens with ``wire="auto"`` takes the wire of its dialer, or says why it cannot."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import pytest

import muxado_py as muxado
from muxado_py import Config
from muxado_py.frames import WIRES, candidates

from ..transports import memory_transports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio

AUTO = Config(wire="auto")

GREETINGS = {
    "muxado": "0000042c 7fffffff 6d787001",
    "muxado (Go)": "000001 12 00000003 79",
    "yamux": "00 01 0001 00000001 00000000",
    "yamux (ping)": "00 02 0001 00000000 00000000",
    "smux1": "01 00 0000 03000000",
    "smux1 (NOP)": "01 03 0000 00000000",
    "smux2": "02 00 0000 03000000",
    "muxado1": "0008 06 01 00000003 7fffffff fffffeff",
}
"""What dialers of each wire begin with."""


@asynccontextmanager
async def dialed() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    """Both ends of a connection, closed at the end whatever became of it."""
    near, far = memory_transports(64)
    try:
        yield near, far
    finally:
        await anyio.aclose_forcefully(near)
        await anyio.aclose_forcefully(far)


async def say(transport: ByteStream, data: bytes, step: int) -> None:
    with suppress(anyio.ClosedResourceError):  # its wire is known before the last byte, perhaps
        for start in range(0, len(data), step):
            await transport.send(data[start : start + step])


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 3, 100])
@pytest.mark.parametrize("who", GREETINGS)
async def test_the_first_bytes_tell_the_wire(who: str, step: int) -> None:
    async with dialed() as (near, far), anyio.create_task_group() as tasks:
        tasks.start_soon(say, far, bytes.fromhex(GREETINGS[who]), step)
        async with muxado.server(near, AUTO) as session:
            assert session.config.wire == who.partition(" ")[0]
            await anyio.aclose_forcefully(far)


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
async def test_a_stream_over_the_wire_that_was_found(wire: str) -> None:
    async def dial(far: ByteStream) -> None:
        async with muxado.client(far, Config(wire=wire)) as client:
            stream = await client.open_stream()
            await stream.send(b"question")
            assert await stream.receive() == b"answer"
            await stream.aclose()

    async with dialed() as (near, far), anyio.create_task_group() as tasks:
        tasks.start_soon(dial, far)
        async with muxado.server(near, AUTO) as session:
            assert session.config.wire == wire
            stream = await session.accept_stream()
            assert await stream.receive() == b"question"
            await stream.send(b"answer")
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
            await stream.aclose()
            await session.wait()


async def test_what_fits_two_wires_is_not_guessed() -> None:
    """A yamux Data frame with SYN is a SYN of the muxado of 2014, and its first bytes."""
    async with dialed() as (near, far):
        await far.send(bytes.fromhex("00 00 0001 00000003 00010003"))
        with pytest.raises(muxado.ProtocolError, match=r"fit yamux and muxado1.*Config\(wire="):
            async with muxado.server(near, AUTO):
                raise AssertionError("no session")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GET / HTTP/1.1\r\n", "looks like an HTTP request"),
        (bytes.fromhex("16030100f8010000f40303"), r"looks like TLS.*tls://"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "looks like SSH"),
        (b"\xff" * 12, "no wire begins with ff ff"),
    ],
)
async def test_what_fits_no_wire_is_named(data: bytes, words: str) -> None:
    async with dialed() as (near, far):
        await far.send(data)
        with pytest.raises(muxado.ProtocolError, match=words):
            async with muxado.server(near, AUTO):
                raise AssertionError("no session")
        with pytest.raises(anyio.EndOfStream):
            await far.receive()


async def test_a_dialer_that_says_nothing() -> None:
    async with dialed() as (near, _far):
        config = Config(wire="auto", recognize_timeout=0.01)
        with pytest.raises(muxado.PeerTimeoutError, match=r"0\.01 s.*waits to be asked"):
            async with muxado.server(near, config):
                raise AssertionError("no session")


async def test_a_dialer_that_leaves() -> None:
    async with dialed() as (near, far):
        await far.send(b"\x00")
        await far.aclose()
        with pytest.raises(muxado.TransportError, match="before its wire was known"):
            async with muxado.server(near, AUTO):
                raise AssertionError("no session")


@pytest.mark.slow
async def test_a_listener_takes_each_dialer_as_it_comes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "muxado.endpoints")
    found = []

    async def echo(session: muxado.Session) -> None:
        found.append(session.config.wire)
        async for stream in _streams(session):
            await stream.send(await stream.receive())
            await stream.aclose()

    async with (
        muxado.listen("tcp://127.0.0.1:0", config=AUTO) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, echo)
        port = int(listener.url.rpartition(":")[2])
        async with await anyio.connect_tcp("127.0.0.1", port) as stranger:
            await stranger.send(b"GET / HTTP/1.1\r\n\r\n")
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stranger.receive()
        for wire in WIRES:
            async with (
                muxado.connect(listener.url, config=Config(wire=wire)) as session,
                await session.open_stream() as stream,
            ):
                await stream.send(wire.encode())
                assert await stream.receive() == wire.encode()
        tasks.cancel_scope.cancel()
    assert found == list(WIRES)
    assert "looks like an HTTP request" in caplog.text


async def _streams(session: muxado.Session):  # type: ignore[no-untyped-def]
    while True:
        try:
            yield await session.accept_stream()
        except muxado.SessionError:
            return


async def test_a_dialer_must_name_its_wire() -> None:
    async with dialed() as (near, _far):
        with pytest.raises(ValueError, match="side that listens"):
            muxado.client(near, AUTO)


async def test_so_must_connect() -> None:
    with pytest.raises(ValueError, match="must name its wire"):
        async with muxado.connect("tcp://127.0.0.1:1", config=AUTO):
            raise AssertionError("no session")


def test_windows_must_fit_every_wire_that_may_come() -> None:
    with pytest.raises(ValueError, match="at least the initial window"):
        Config(wire="auto", initial_window=1024, stream_window=1024)


def test_no_byte_tells_nothing() -> None:
    assert candidates(b"") == list(WIRES)

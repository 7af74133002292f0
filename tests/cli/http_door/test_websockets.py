"""Websockets through the HTTP door: bytes both ways, once both sides have said so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from .door import OK, Replying, agent, door, everything, heard, request

if TYPE_CHECKING:
    import muxado_py as muxado

pytestmark = pytest.mark.anyio

HANDSHAKE = request(
    b"Connection: keep-alive, Upgrade",
    b"Upgrade: WebSocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


async def echo(stream: muxado.Stream) -> None:
    async for chunk in stream:
        await stream.send(chunk.upper())
    await stream.send_eof()


async def test_bytes_pass_both_ways_from_the_first() -> None:
    """Those that come with the handshake, too."""
    app = Replying(SWITCHING + b"welcome", echo)
    async with (
        door() as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect() as caller,
    ):
        await caller.send(HANDSHAKE + b"early")
        head, _, rest = (await heard(caller, b"EARLY")).partition(b"\r\n\r\n")
        assert b"\r\nUpgrade: websocket\r\nConnection: Upgrade" in head
        assert b"Sec-WebSocket-Accept" in head
        assert rest == b"welcomeEARLY"
        for text in (b"a\x00\xff", b"b" * 100_000):
            await caller.send(text)
            assert await heard(caller, text[-1:].upper() if text[0] == 98 else b"\xff")
        await caller.send_eof()
        await everything(caller)
    (raw,) = app.heard
    assert raw.endswith(b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")


async def test_an_agent_may_say_no_and_the_caller_ask_again() -> None:
    async with (
        door() as gate,
        agent(gate.url, Replying(), names=("app",)),
        await gate.connect() as caller,
    ):
        for _ in range(2):
            await caller.send(HANDSHAKE)
            assert await heard(caller, b"ok") == OK


async def test_who_asks_a_websocket_for_a_page_hears_what_it_is_and_may_ask_again() -> None:
    required = (
        b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n"
        b"Sec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n"
    )
    async with (
        door() as gate,
        agent(gate.url, Replying(required), names=("app",)),
        await gate.connect() as caller,
    ):
        for _ in range(2):
            await caller.send(request())
            head = await heard(caller, b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 426 ")
            assert b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" in head


async def test_what_switches_to_something_else_is_no_websocket() -> None:
    other = SWITCHING.replace(b"Upgrade: websocket", b"Upgrade: h2c")
    async with (
        door() as gate,
        agent(gate.url, Replying(other), names=("app",)),
        await gate.connect() as caller,
    ):
        await caller.send(HANDSHAKE)
        assert (await caller.receive()).startswith(b"HTTP/1.1 502 ")


async def test_each_side_learns_that_the_other_is_gone() -> None:
    gone = anyio.Event()

    async def wait(stream: muxado.Stream) -> None:
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()
        gone.set()

    async with door() as gate, agent(gate.url, Replying(SWITCHING, wait), names=("app",)):
        async with await gate.connect() as caller:
            await caller.send(HANDSHAKE)
            await heard(caller, b"\r\n\r\n")
        await gone.wait()


async def test_a_websocket_that_its_agent_cuts_off_is_cut_off() -> None:
    async def cut(stream: muxado.Stream) -> None:
        await stream.receive()
        stream.reset()

    async with (
        door() as gate,
        agent(gate.url, Replying(SWITCHING, cut), names=("app",)),
        await gate.connect() as caller,
    ):
        await caller.send(HANDSHAKE)
        await heard(caller, b"\r\n\r\n")
        await caller.send(b"a")
        with pytest.raises(anyio.BrokenResourceError):
            await caller.receive()


@pytest.mark.slow
async def test_what_a_caller_said_last_reaches_an_agent_that_reads_it_late() -> None:
    """Also what has not left the gateway when both sides have ended."""
    size = 270_000  # a window, and some
    ended, done = anyio.Event(), anyio.Event()
    came = b""

    async def late(stream: muxado.Stream) -> None:
        nonlocal came
        await stream.send_eof()
        await ended.wait()
        while len(came) < size:
            came += await stream.receive()
        done.set()

    async with (
        door() as gate,
        agent(gate.url, Replying(SWITCHING, late), names=("app",)),
        await gate.connect() as caller,
    ):
        await caller.send(HANDSHAKE)
        assert (await everything(caller)).startswith(b"HTTP/1.1 101 ")
        await caller.send(bytes(size))
        await caller.send_eof()
        await anyio.sleep(0.3)
        ended.set()
        await done.wait()

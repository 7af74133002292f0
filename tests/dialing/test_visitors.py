"""One visitor of a listener hurts nobody else, whatever it does and whatever that raises."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
from anyio import create_task_group, fail_after

import muxado_py as muxado
from muxado_py.scheduler import RoundRobinScheduler

from ..by_url import SCHEMES, TCP_SCHEMES, contexts_of

if TYPE_CHECKING:
    import ssl

    from muxado_py.scheduler import Send

pytestmark = pytest.mark.anyio

YAMUX_PING = bytes.fromhex("000200010000000000000000")


async def answer(session: muxado.Session) -> None:
    async def handle(stream: muxado.Stream) -> None:
        await stream.send(await stream.receive())

    await session.net_listener().serve(handle)


async def ask(session: muxado.Session) -> None:
    with fail_after(10):
        async with await session.open_stream() as stream:
            await stream.send(b"well?")
            assert await stream.receive() == b"well?"


def visit(url: str, context: ssl.SSLContext | None, said: bytes, reset: bool) -> None:
    """A health check or a scanner: it connects, says nothing or a little, and leaves."""
    raw = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10)
    if context is not None:
        raw = context.wrap_socket(raw, server_hostname="127.0.0.1")
    with raw:
        if said:
            raw.sendall(said)
        if reset:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["muxado", "yamux", "auto"])
@pytest.mark.parametrize("scheme", TCP_SCHEMES)
async def test_a_visitor_that_leaves_at_once_ends_nobody(scheme: str, wire: str) -> None:
    """asyncio's TLS transport had no socket any more when the session was made, and that ended all."""
    near_ssl, far_ssl = contexts_of(scheme)
    dialers_wire = "yamux" if wire == "auto" else wire
    async with (
        muxado.listen(
            f"{scheme}://127.0.0.1:0", ssl_context=far_ssl, config=muxado.Config(wire=wire)
        ) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, answer)
        async with muxado.connect(
            listener.url, ssl_context=near_ssl, config=muxado.Config(wire=dialers_wire)
        ) as session:
            for number in range(12):
                await anyio.to_thread.run_sync(
                    visit, listener.url, near_ssl, YAMUX_PING[: 12 * (number % 2)], number % 4 < 3
                )
                await ask(session)
        tasks.cancel_scope.cancel()


class Trouble:
    """What goes wrong with each further session of a listener: in its making, or when it runs."""

    phase = ""

    def scheduler(self) -> RoundRobinScheduler:
        if self.phase == "making":
            raise LookupError("no scheduler today")
        return Mistaken() if self.phase == "running" else RoundRobinScheduler()


class Mistaken(RoundRobinScheduler):
    """A scheduler of an application's, with a mistake in it."""

    def serve(self, send: Send, budget: int) -> None:
        raise LookupError("nothing to serve")


@pytest.mark.parametrize("phase", ["making", "running"])
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_mistake_in_one_session_is_logged_and_ends_nobody_else(
    scheme: str,
    phase: str,
    tmp_path: object,
    caplog: pytest.LogCaptureFixture,
) -> None:
    near_ssl, far_ssl = contexts_of(scheme)
    trouble = Trouble()
    config = muxado.Config(scheduler=trouble.scheduler)
    url = f"unix://{tmp_path}/socket" if scheme == "unix" else f"{scheme}://127.0.0.1:0"
    async with (
        muxado.listen(url, ssl_context=far_ssl, config=config) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, answer)
        async with muxado.connect(listener.url, ssl_context=near_ssl) as session:
            await ask(session)
            trouble.phase = phase
            with pytest.raises((muxado.SessionError, anyio.EndOfStream)):
                async with muxado.connect(listener.url, ssl_context=near_ssl) as other:
                    await ask(other)
            await ask(session)
        tasks.cancel_scope.cancel()
    assert f"a session of {listener.url} failed" in caplog.text
    assert "LookupError" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("scheme", TCP_SCHEMES)
async def test_of_too_many_that_say_nothing_the_oldest_goes(
    scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also those in the middle of a handshake; who has spoken stays, and newcomers get in."""
    near_ssl, far_ssl = contexts_of(scheme)
    config = muxado.Config(max_mute_connections=2)
    async with (
        muxado.listen(f"{scheme}://127.0.0.1:0", ssl_context=far_ssl, config=config) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, answer)
        port = int(listener.url.rpartition(":")[2])
        async with muxado.connect(listener.url, ssl_context=near_ssl) as session:
            await ask(session)
            mute = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(3)]
            with fail_after(10), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await mute[0].receive()
            for one in mute[1:]:  # these are still there
                with anyio.move_on_after(0.05) as waiting, suppress(anyio.WouldBlock):
                    while True:
                        await one.receive()
                assert waiting.cancelled_caught
            async with muxado.connect(listener.url, ssl_context=near_ssl) as other:
                await ask(other)
            await ask(session)
            for one in mute:
                await one.aclose()
        tasks.cancel_scope.cancel()
    assert "more than 2 connections say nothing; the oldest, from 127.0.0.1:" in caplog.text

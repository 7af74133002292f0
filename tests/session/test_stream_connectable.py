"""A session, or a pool, is what anyio makes connections with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import create_task_group, fail_after
from anyio.streams.buffered import BufferedConnectable
from anyio.streams.tls import TLSConnectable, TLSListener

import muxado_py as muxado

from ..check_byte_stream import receive_all
from ..transports import tls_contexts

if TYPE_CHECKING:
    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio


async def test_anyios_own_connectables_take_it(session_pair: SessionPair) -> None:
    near_ssl, far_ssl = tls_contexts()

    async def answer(stream: anyio.abc.AnyByteStream) -> None:
        async with stream:
            await stream.send(await stream.receive() + b" over TLS\n")

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        listener = TLSListener(accepted.net_listener(), far_ssl, standard_compatible=False)
        tasks.start_soon(listener.serve, answer)
        below = TLSConnectable(
            muxado.StreamConnectable(dialed, priority=muxado.Priority(0)),
            hostname="localhost",
            ssl_context=near_ssl,
            standard_compatible=False,
        )
        with fail_after(60):
            async with await BufferedConnectable(below).connect() as stream:
                await stream.send(b"a line")
                assert await stream.receive_until(b"\n", 100) == b"a line over TLS"
        tasks.cancel_scope.cancel()


async def test_a_session_inside_a_stream(session_pair: SessionPair) -> None:
    async def serve(stream: muxado.Stream) -> None:
        async with muxado.server(stream) as inner, await inner.accept_stream() as asked:
            await asked.send((await receive_all(asked)).upper())
            await asked.send_eof()
            await inner.wait()

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, serve)
        with fail_after(60):
            there = muxado.StreamConnectable(dialed)
            async with muxado.connect(there) as inner, await inner.open_stream() as stream:
                await stream.send(b"question")
                await stream.send_eof()
                assert await receive_all(stream) == b"QUESTION"
        tasks.cancel_scope.cancel()


async def test_a_stream_that_cannot_be_opened_is_a_connection_that_failed(
    session_pair: SessionPair,
) -> None:
    async with session_pair(muxado.Config(max_open_streams=1)) as (dialed, _):
        there = muxado.StreamConnectable(dialed)
        async with await there.connect():
            with pytest.raises(anyio.ConnectionFailed) as info:
                await there.connect()
        assert muxado.retry_verdict(info.value) is muxado.Retry.NEVER_SENT
    with pytest.raises(anyio.ConnectionFailed, match="closed"):
        await there.connect()


async def test_a_pool_connects_when_it_can() -> None:
    async with muxado.listen("tcp://127.0.0.1:0") as listener, create_task_group() as tasks:

        async def serve(session: muxado.Session) -> None:
            async with await session.accept_stream() as stream:
                await stream.send(b"connected")
            await session.wait()

        tasks.start_soon(listener.serve, serve)
        with fail_after(60):
            async with (
                muxado.connect_pool(listener.url) as pool,
                await muxado.StreamConnectable(pool, timeout=50).connect() as stream,
            ):
                assert await stream.receive() == b"connected"
        tasks.cancel_scope.cancel()

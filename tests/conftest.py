"""Fixtures for every test: the backends, and two sessions over a transport in memory."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import pytest
from anyio.streams.stapled import StapledByteStream

import muxado_py as muxado

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteStream


class SessionPair(Protocol):
    """Makes two connected sessions: ``async with session_pair() as (dialed, accepted)``."""

    def __call__(
        self,
        config: muxado.Config | None = None,
        server_config: muxado.Config | None = None,
    ) -> AbstractAsyncContextManager[tuple[muxado.Session, muxado.Session]]: ...


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"debug": True}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Each asynchronous test runs on each of these."""
    backend: tuple[str, dict[str, Any]] = request.param
    return backend


def memory_transports(depth: int = 16) -> tuple[ByteStream, ByteStream]:
    """Two ends of a connection in memory that holds ``depth`` sends in each direction."""
    a_send, b_receive = anyio.create_memory_object_stream[bytes](depth)
    b_send, a_receive = anyio.create_memory_object_stream[bytes](depth)
    return StapledByteStream(MemorySend(a_send), MemoryReceive(a_receive)), StapledByteStream(
        MemorySend(b_send), MemoryReceive(b_receive)
    )


class MemorySend(anyio.abc.ByteSendStream):
    """The sending side of a connection in memory."""

    def __init__(self, stream: anyio.abc.ObjectSendStream[bytes]) -> None:
        self._stream = stream

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def aclose(self) -> None:
        await self._stream.aclose()


class MemoryReceive(anyio.abc.ByteReceiveStream):
    """The receiving side; it cuts what was sent to what is asked for."""

    def __init__(self, stream: anyio.abc.ObjectReceiveStream[bytes]) -> None:
        self._stream = stream
        self._rest = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = self._rest or await self._stream.receive()
        self._rest = data[max_bytes:]
        return data[:max_bytes]

    async def aclose(self) -> None:
        await self._stream.aclose()


@pytest.fixture
def session_pair() -> SessionPair:
    """Two sessions over a connection in memory, closed with the context."""

    @asynccontextmanager
    async def make(
        config: muxado.Config | None = None, server_config: muxado.Config | None = None
    ) -> AsyncIterator[tuple[muxado.Session, muxado.Session]]:
        near, far = memory_transports()
        async with (
            muxado.client(near, config) as dialed,
            muxado.server(far, server_config or config) as accepted,
        ):
            yield dialed, accepted

    return make

"""Transports that break anyio's contract end their own session, which says what came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import fail_after

import muxado_py as muxado

from ..transports import Around, memory_transports

if TYPE_CHECKING:
    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio


class Odd(Around):
    """What it receives at its end is of its own kind."""

    def __init__(self, inner: ByteStream, said: object) -> None:
        super().__init__(inner)
        self._said: Any = said

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            return await super().receive(max_bytes)
        except anyio.EndOfStream:
            await anyio.lowlevel.checkpoint()
            said: bytes = self._said
            return said


@pytest.mark.parametrize("wire", ["muxado", "auto"])
@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", r"ended"),
        (bytearray(), r"ended"),
        (None, r"returned None, expected bytes"),
        ("text", r"returned 'text', expected bytes"),
        (7, r"returned 7, expected bytes"),
    ],
)
async def test_what_no_transport_may_receive_ends_the_session(
    said: object, words: str, wire: str
) -> None:
    near, far = memory_transports()
    await near.aclose()
    with fail_after(10), pytest.raises(muxado.TransportError, match=words):
        async with muxado.server(Odd(far, said), muxado.Config(wire=wire)) as session:
            await session.wait()


class Reusing(Around):
    """It receives into the same memory again and again."""

    def __init__(self, inner: ByteStream) -> None:
        super().__init__(inner)
        self._memory = bytearray()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        self._memory[:] = await super().receive(max_bytes)
        memory: Any = self._memory
        whole: bytes = memory
        return whole


async def test_memory_that_is_used_again_is_not_kept() -> None:
    near, far = memory_transports()
    async with muxado.client(near) as dialed, muxado.server(Reusing(far)) as accepted:
        stream = await dialed.open_stream()
        await stream.send(b"a" * 20_000)
        await dialed.ping()
        await stream.send(b"b" * 20_000)
        await dialed.ping()
        other = await accepted.accept_stream()
        with fail_after(10):
            found = b""
            while len(found) < 40_000:
                found += await other.receive()
    assert found == b"a" * 20_000 + b"b" * 20_000

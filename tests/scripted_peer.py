"""A peer that does what a test tells it, frame by frame, and no more.

It speaks like a Go or Rust program unless it is made to begin like a muxado_py.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio
from anyio import EndOfStream, create_task_group, fail_after

import muxado_py as muxado

from .frames_seen import Frame, split, whole
from .transports import memory_transports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteStream

PATIENCE = 3600
"""Seconds, mostly virtual ones, for a frame that must come."""


class ScriptedPeer:
    """The other end of a session.

    :ivar seen: every frame that came so far.
    """

    def __init__(self, transport: ByteStream) -> None:
        self.transport = transport
        self.wire = b""
        self.seen: list[Frame] = []
        self._rest = b""
        self._unread: list[Frame] = []

    async def say(self, *frames: bytes) -> None:
        """Send bytes as they are."""
        await self.transport.send(b"".join(frames))

    async def next(self) -> Frame:
        """The next frame."""
        while not self._unread:
            with fail_after(PATIENCE):
                data = await self.transport.receive()
            self.wire += data
            frames, self._rest = split(self._rest + data)
            self._unread += frames
            self.seen += frames
        return self._unread.pop(0)

    async def expect(self, kind: str, stream: int = 0) -> Frame:
        """The next frame of a kind on a stream; others on the way to it are passed over."""
        while True:
            frame = await self.next()
            if (frame.kind, frame.stream) == (kind, stream):
                return frame

    async def take(self, stream: int, nbytes: int) -> None:
        """DATA of a stream until there were ``nbytes``, and not one more."""
        taken = 0
        while taken < nbytes:
            taken += len((await self.expect("DATA", stream)).body)
        assert taken == nbytes

    async def to_the_end(self) -> list[Frame]:
        """Every frame until the transport ends, from the first; the last must be whole.

        Then this end of it ends, too, as that of every program does.
        """
        try:
            while True:
                await self.next()
        except EndOfStream:
            await self.transport.send_eof()
            return whole(self.wire)


@asynccontextmanager
async def scripted(
    config: muxado.Config | None = None, *, is_client: bool = True, depth: float = 64
) -> AsyncIterator[tuple[muxado.Session, ScriptedPeer]]:
    """A session whose peer is the test."""
    near, far = memory_transports(depth)
    make = muxado.client if is_client else muxado.server
    async with make(near, config) as session:
        try:
            yield session, ScriptedPeer(far)
        finally:
            # What is left to say goes nowhere from here on, and nobody minds.
            session.abort()
            await anyio.aclose_forcefully(far)


@asynccontextmanager
async def keeping(peer: ScriptedPeer) -> AsyncIterator[None]:
    """Takes what comes, in the background, so that nothing waits for the test."""
    async with create_task_group() as tasks:

        async def take() -> None:
            with suppress(EndOfStream):
                while True:
                    await peer.next()

        tasks.start_soon(take)
        yield
        tasks.cancel_scope.cancel()

"""A session, of any wire, whose peer says and hears bytes that the test writes out in hexadecimal.

For what has time or a transport in it; what has neither is played with :class:`~.pair.Script`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from anyio import EndOfStream, fail_after

import muxado_py as muxado

from ..transports import memory_transports
from .pair import spaced, split_frames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteStream

__all__ = ("Played", "played")

PATIENCE = 3600
"""Seconds, virtual ones, for a frame that must come."""


class Played:
    """The other end of a session."""

    def __init__(self, transport: ByteStream, wire: str) -> None:
        self.transport = transport
        self._wire = wire
        self._unread: list[str] = []

    async def say(self, data: str) -> None:
        await self.transport.send(bytes.fromhex(data))

    async def next(self) -> str:
        """The next frame; the session's sends hold whole frames."""
        while not self._unread:
            with fail_after(PATIENCE):
                data = await self.transport.receive(2**24)
            self._unread += [spaced(one, self._wire) for one in split_frames(data, self._wire)]
        return self._unread.pop(0)

    async def to_the_end(self) -> list[str]:
        """The frames that were not taken yet, until the transport ends."""
        frames = []
        try:
            while True:
                frames.append(await self.next())
        except EndOfStream:
            return frames


@asynccontextmanager
async def played(
    config: muxado.Config, *, client: bool = False
) -> AsyncIterator[tuple[muxado.Session, Played]]:
    """A session whose peer is the test."""
    near, far = memory_transports(1024)
    make = muxado.client if client else muxado.server
    async with make(near, config) as session:
        try:
            yield session, Played(far, config.wire)
        finally:
            session.abort()  # what is left to say goes nowhere from here on
            await anyio.aclose_forcefully(far)

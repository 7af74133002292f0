"""Held: an asyncio connection between its making and its session.

What it is.  The protocol of a transport whose link does not exist yet: while a listener finds out which wire
the peer speaks, while TLS is agreed on, while a session is being made.

Where data comes from and goes to.  What comes early is kept for the link, which takes over as the
transport's protocol; ``auto`` looks at it before.

The rule.  Nothing is lost and little is kept: reading is paused at once, and again whenever something came.

The trap.  Event loops differ in what they do unasked.  uvloop begins to read whatever it is told,
and an end that was scheduled before the link took over still comes here.
"""

from __future__ import annotations

import asyncio
from typing import cast

from anyio import EndOfStream

from ..runtime.checkpoints import wake

__all__ = ("Held",)


ROOM = 16 * 1024
"""Bytes to read at a time: the first bytes of a session are few."""


class Held(asyncio.BufferedProtocol):
    """A connection between its making and its session: nothing of it is lost.

    :ivar transport: to stop reading as soon as something came.
    :ivar early: what came before the session was there.  uvloop begins to read whatever it is told,
        and a listener may look for its wire.
    :ivar lost: how the connection ended, if it did.
    :ivar successor: the link, once there is one: an end that was scheduled before comes here still.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.early: list[bytes] = []
        self.ended = False
        self.lost: tuple[Exception | None] | None = None
        self.successor: asyncio.BaseProtocol | None = None
        self._room = memoryview(b"")
        self._looked_at = 0  # how many of ``early``
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.pause_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        self._room = memoryview(bytearray(ROOM))
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self.early.append(bytes(self._room[:nbytes]))
        if self.transport is not None:
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self.ended = True
        self._wake()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = (exc,)
        self._wake()
        if self.successor is not None:
            self.successor.connection_lost(exc)

    def _wake(self) -> None:
        if self._waiter is not None:
            wake(self._waiter)

    async def more(self) -> bytes:
        """Wait for the next of ``early``; see :meth:`~muxado_py.dialing.connected.Connected.look_ahead`."""
        assert self.transport is not None
        while self._looked_at == len(self.early):
            if self.lost is not None and self.lost[0] is not None:
                raise self.lost[0]
            if self.ended or self.lost is not None:
                raise EndOfStream
            self.transport.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._looked_at += 1
        return self.early[self._looked_at - 1]

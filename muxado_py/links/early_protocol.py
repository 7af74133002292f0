"""EarlyProtocol: an asyncio connection before its session.

It is the protocol of a transport whose link does not exist yet: while TLS is agreed on, while a listener detects the
peer's wire, while a session is being made.  What comes meanwhile is kept for the link, which takes over as the
transport's protocol.  Reading is paused at once, and again whenever something came, so that little is kept.
"""

from __future__ import annotations

import asyncio
from typing import cast

from anyio import EndOfStream

from ..runtime.checkpoints import wake

__all__ = ("EarlyProtocol",)


READ_SIZE = 16 * 1024
"""Bytes to read at a time: the first bytes of a session are few."""


class EarlyProtocol(asyncio.BufferedProtocol):
    """Keeps what comes on a connection that has no session yet.

    :ivar transport: None until the connection is made.
    :ivar received: what came so far.
    :ivar ended: whether the peer ended its direction.
    :ivar lost: how the connection ended, if it did.
    :ivar successor: the link, once there is one.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.received: list[bytes] = []
        self.ended = False
        self.lost: tuple[Exception | None] | None = None
        self.successor: asyncio.BaseProtocol | None = None
        self._buffer = memoryview(b"")
        self._peeked = 0  # how many of ``received``
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.pause_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        self._buffer = memoryview(bytearray(READ_SIZE))
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received.append(bytes(self._buffer[:nbytes]))
        if self.transport is not None:
            # Each time: uvloop resumes a paused transport by itself.
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
            # The loop had scheduled this call before the link took over.
            self.successor.connection_lost(exc)

    def _wake(self) -> None:
        if self._waiter is not None:
            wake(self._waiter)

    async def peek(self) -> bytes:
        """Wait for the next of ``received``; see :meth:`~muxado_py.dialing.pending.PendingConnection.peek`."""
        assert self.transport is not None
        while self._peeked == len(self.received):
            if self.lost is not None and self.lost[0] is not None:
                raise self.lost[0]
            if self.ended or self.lost is not None:
                raise EndOfStream
            self.transport.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._peeked += 1
        return self.received[self._peeked - 1]

    def discard(self, count: int) -> None:
        """The first ``count`` bytes of what was peeked are for nobody else; the others can be peeked again."""
        rest = b"".join(self.received[: self._peeked])[count:]
        self.received[: self._peeked] = [rest] if rest else []
        self._peeked = 0

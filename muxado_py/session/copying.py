"""Copying: both directions between two streams, and how it came to an end.

What it is.  What :func:`~muxado_py.bridge` and the gateway run.  It copies; what becomes of the two streams
afterwards is for its caller to decide, who finds here whether all went well and which side failed.

Where data comes from and goes to.  Each direction is one loop of ``receive`` and ``send``, so back-pressure
passes through: what a slow side does not take is not read from the other.

The rules.  Whatever a stream raises, of whatever type, ends this one connection and is not raised.  The end
of one side's bytes is passed on as a half close.  If that side is closed both ways, nobody takes the other's
bytes any more: the other may read what it was sent, for a moment, and then it is over.

The trap.  A full close looks like a half close at first.  A stream of ours finds out the difference
(:meth:`~muxado_py.Stream.wait_peer_closed`); a socket tells it only by refusing what is sent to it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from anyio import CancelScope, EndOfStream, Event, create_task_group, move_on_after

from ..links.layers import stop_reading_ahead
from .copy_budget import copying_both_ways, piece_size
from .stream import Stream

if TYPE_CHECKING:
    from anyio.abc import ByteStream

__all__ = ("LINGER_TIME", "Copying", "linger")

logger = logging.getLogger("muxado.bridge")

LINGER_TIME = 1.0
"""Seconds without a byte after which who sends to nobody is closed.  Until then what it sends is thrown away:
closing with unread bytes would destroy the answer that it has not read (nginx: lingering_timeout)."""

MAX_LINGER_TIME = 5.0
"""Seconds after which it is closed although it goes on sending (nginx: lingering_time)."""


class Copying:
    """Copies both ways between ``a`` and ``b``, once.

    :param ends_with_a: take the end of file of ``a`` for its full close; for a server that never closes
        half, since a socket does not tell the two apart.
    """

    def __init__(self, a: ByteStream, b: ByteStream, *, ends_with_a: bool = False) -> None:
        self._sides = a, b
        self._ends_with_a = ends_with_a
        self._directions = CancelScope(), CancelScope()  # the first from a to b
        self._over = Event(), Event()  # of each
        self._all = CancelScope()
        self._one_ended = False
        self._broken = Event()
        self._thrown_away: Event | None = None  # once bytes are thrown away, and set when that ends
        self.failed: ByteStream | None = None
        """The side that broke first; None if none did."""
        self.failure: Exception | None = None
        """What it raised."""

    async def run(self) -> None:
        """Copy until both sides ended, one is closed both ways, or one failed; raises no ``Exception``.

        Cancellation: bytes may be lost between the two.
        """
        for side in self._sides:
            stop_reading_ahead(side)
        with copying_both_ways(), self._all:
            async with create_task_group() as tasks:
                tasks.start_soon(self._direct, 0)
                tasks.start_soon(self._direct, 1)

    async def _direct(self, index: int) -> None:
        """One direction, and what its end means for the other."""
        source, sink = self._sides[index], self._sides[1 - index]
        try:
            with self._directions[index]:
                if not await self._copy(source, sink):
                    return
                if not self._one_ended:
                    self._one_ended = True
                    await self._closed(index)
                    await self._linger(1 - index)
                self._all.cancel()
        finally:
            self._over[index].set()

    async def _copy(self, source: ByteStream, sink: ByteStream) -> bool:
        """Copy until ``source`` ended and ``sink`` knows it; False if the rest is for the other direction."""
        while True:
            try:
                chunk = await source.receive(piece_size())
            except EndOfStream:
                chunk = b""  # which is how asyncio says it
            except Exception as exc:  # noqa: BLE001 - see the rules
                return self._fail(source, exc)
            if not chunk:
                return await self._pass_end(source, sink)
            try:
                await sink.send(chunk)
            except Exception as exc:  # noqa: BLE001 - EndOfStream too: this is no end of the source
                return await self._refused(source, sink, exc)

    async def _pass_end(self, source: ByteStream, sink: ByteStream) -> bool:
        try:
            await sink.send_eof()
        except NotImplementedError:  # it has no half close, so all is over
            self._all.cancel()
        except Exception as exc:  # noqa: BLE001 - see the rules
            return await self._refused(source, sink, exc)
        return True

    async def _refused(self, source: ByteStream, sink: ByteStream, exc: Exception) -> bool:
        """``sink`` takes nothing any more, but an answer of it may be on its way to ``source``.

        Who blocks in sending does not read an answer, so its bytes are taken, and thrown away.
        """
        first = self.failed is None
        if not first or isinstance(source, Stream):
            return self._fail(sink, exc)
        self._thrown_away = Event()
        self._note(sink, exc)
        try:
            while await source.receive():
                pass
        except EndOfStream:
            pass
        except Exception as also:  # noqa: BLE001 - see the rules
            self._fail(source, also)
        self._thrown_away.set()
        return False

    async def _closed(self, index: int) -> None:
        """Wait until the side that ended first takes nothing either; it may have half closed."""
        side = self._sides[index]
        if index == 0 and self._ends_with_a:
            return
        if isinstance(side, Stream):
            await side.wait_peer_closed()
        else:
            await self._broken.wait()

    async def _linger(self, index: int) -> None:
        """Nobody takes the bytes of this side any more; it may read what it was sent."""
        if self._thrown_away is not None:  # it is read already
            with move_on_after(LINGER_TIME):
                await self._thrown_away.wait()
        else:
            self._directions[index].cancel()
            await self._over[index].wait()  # two cannot receive of it
            await linger(self._sides[index])

    def _note(self, side: ByteStream, exc: Exception) -> None:
        if self.failed is None:
            self.failed, self.failure = side, exc
        self._broken.set()
        logger.debug("copying between %r and %r: %r failed: %r", *self._sides, side, exc)

    def _fail(self, side: ByteStream, exc: Exception) -> bool:
        """``side`` is broken: all is over."""
        self._note(side, exc)
        self._all.cancel()
        return False


async def linger(stream: ByteStream) -> None:
    """Let ``stream`` read what it was sent: throw away what it sends until it ends, is quiet or takes long.

    One of ours needs no time: what it was sent arrives although it is closed.

    Cancellation: safe.
    """
    if isinstance(stream, Stream):
        return
    with move_on_after(MAX_LINGER_TIME):
        while await _receive_soon(stream):
            pass


async def _receive_soon(stream: ByteStream) -> bytes:
    """What comes next; nothing if none does, for whatever reason."""
    with move_on_after(LINGER_TIME):
        try:
            return await stream.receive()
        except Exception:  # noqa: BLE001 - it is over, in one way or another
            return b""
    return b""

"""Link: the two tasks that carry bytes between a connection and its transport.

Where data comes from and goes to.  The reader task gives the core what the transport received; the
writer task gives the transport what the core wants sent.  After each of these the session is told,
so that it can take the core's events.

The rules.  One task, and only one, writes to the transport: application tasks never touch it, so
their cancellation cannot cut a frame in two.  The reader waits for nobody but the transport, except
while the peer leaves our replies lying.  Little is handed over at a time, because what was handed
over can no longer be prioritized: about as much as the transport took in the last milliseconds.

The trap.  A transport that ends need not end both directions at once.  When a write fails, the reader
is given a moment to find the goodbye that may lie before the end.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING

from anyio import (
    EndOfStream,
    Event,
    create_task_group,
    current_time,
    move_on_after,
)
from anyio.lowlevel import checkpoint

from .inbound import CLOSED_BY_PEER

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import ByteStream

    from .connection import Connection

__all__ = ("Link",)

logger = logging.getLogger("muxado.link")

RECEIVE_SIZE = 64 * 1024

MIN_FLUSH = 16 * 1024
MAX_FLUSH = 256 * 1024
"""Bytes handed to the transport at once.  On loopback 256 KiB is where throughput goes flat; on a
narrow link 16 KiB is what keeps a message of another stream from waiting."""

FAST_FLUSH = 0.001
SLOW_FLUSH = 0.004
"""Seconds: a flush taken faster than the first doubles the next one, slower than the second halves
it, so that a flush is one to four milliseconds of what the transport takes."""

GOODBYE_WAIT = 0.25
"""Seconds for the last exchange of an ending session, each step; Go's budget."""


class Link:
    """Drives ``connection`` over an anyio byte stream.

    :param changed: called after anything that may have left events in the connection.
    """

    def __init__(
        self, transport: ByteStream, connection: Connection, changed: Callable[[], None]
    ) -> None:
        self.transport = transport
        self._connection = connection
        self._changed = changed
        self._wake: Event | None = None  # rouses the writer
        self._resume: Event | None = None  # rouses the reader
        self._flushed: Event | None = None  # tells whoever waits for a flush
        self._input_over = Event()
        self.bytes_sent = 0
        self.bytes_received = 0
        self.last_heard = current_time()
        """When the transport last gave us anything."""
        self.writing_since: float | None = None
        """Since when the transport has held on to what it was given."""

    def rouse(self) -> None:
        """Something may have changed for the tasks: output waits, or input is welcome again."""
        if self._wake is not None and self._connection.has_output:
            self._wake.set()
            self._wake = None
        if self._resume is not None and self._connection.may_read:
            self._resume.set()
            self._resume = None

    async def next_flush(self) -> None:
        """Wait until the transport has taken the next of what there is, or until the end."""
        if self._flushed is None:
            self._flushed = Event()
        await self._flushed.wait()

    def _note_flush(self) -> None:
        if self._flushed is not None:
            self._flushed.set()
            self._flushed = None

    async def run(self, over: Event, close_timeout: float) -> None:
        """Carry bytes until ``over`` is set; then say what is left to say and close the transport.

        Closing a socket with unread bytes makes TCP throw our last ones away, so the peer's end is
        awaited for a moment, unless the peer said goodbye and has nothing more to send.  Whoever
        runs this shields it from cancellation; it is bounded in time after ``over``.
        """
        try:
            async with create_task_group() as tasks:
                tasks.start_soon(self._read)
                tasks.start_soon(self._write)
                await over.wait()
                self._note_flush()
                with move_on_after(min(close_timeout, 4 * GOODBYE_WAIT)):
                    while self._connection.has_output or self.writing_since is not None:
                        await self.next_flush()
                if self._connection.events.ended is not CLOSED_BY_PEER:
                    with move_on_after(GOODBYE_WAIT):
                        await self._input_over.wait()
                with move_on_after(GOODBYE_WAIT):
                    await self._close()
                tasks.cancel_scope.cancel()
        except BaseException:
            # Only a mistake of ours comes here; the peer must not wait for a session that is no more.
            await self._close()
            raise

    async def _close(self) -> None:
        try:
            await self.transport.aclose()
        except Exception as exc:  # noqa: BLE001 - a foreign transport may raise anything here, and it is over
            logger.debug("closing the transport failed: %r", exc)

    async def _read(self) -> None:
        connection = self._connection
        cause = ""
        while True:
            try:
                data = await self.transport.receive(RECEIVE_SIZE)
            except EndOfStream:
                break
            except Exception as exc:  # noqa: BLE001 - whatever the transport raises, it is the end of it
                cause = _describe(exc)
                break
            now = current_time()
            connection.elapsed(now - self.last_heard)
            self.last_heard = now
            self.bytes_received += len(data)
            connection.receive_data(data)
            self._changed()
            while not connection.may_read and connection.events.ended is None:
                self._resume = Event()
                await self._resume.wait()
        connection.receive_eof(cause)
        self._input_over.set()
        self._changed()

    async def _write(self) -> None:
        connection = self._connection
        budget = MIN_FLUSH
        while True:
            pieces = connection.data_to_send(budget)
            self._changed()
            if not pieces:
                self._note_flush()
                self._wake = Event()
                await self._wake.wait()
                # Whoever else runs in this turn of the loop may add to the same flush.
                await checkpoint()
                continue
            data = b"".join(pieces)
            self.writing_since = current_time()
            started = perf_counter()  # uvloop's own clock moves in whole milliseconds
            try:
                await self.transport.send(data)
            except Exception as exc:  # noqa: BLE001 - as above
                await self._write_failed(_describe(exc))
                return
            finally:
                self.writing_since = None
            self.bytes_sent += len(data)
            taken = perf_counter() - started
            if taken > SLOW_FLUSH:
                budget = max(MIN_FLUSH, budget // 2)
            elif taken < FAST_FLUSH and len(data) >= budget:
                budget = min(MAX_FLUSH, budget * 2)

    async def _write_failed(self, cause: str) -> None:
        with move_on_after(GOODBYE_WAIT):
            await self._input_over.wait()
        self._connection.receive_eof(cause)
        # Nobody writes from here on; what is queued must not be waited for.
        self._connection.data_to_send(0)
        self._changed()
        self._note_flush()


def _describe(exc: Exception) -> str:
    """What a transport's exception says; anyio's own often say nothing, and mean their cause."""
    return str(exc) or str(exc.__cause__ or "") or type(exc).__name__

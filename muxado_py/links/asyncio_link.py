"""AsyncioLink: the link that asyncio's own callbacks drive, on asyncio and uvloop.

Where data comes from and goes to.  The transport fills a buffer of :mod:`~muxado_py.links.recv_buffers` and calls
``buffer_updated``; the core is given a view of it, parses in place, and copies what is short.  Output waits
in the core until the end of the current turn of the loop: the first thing that is written in a turn schedules
one flush, and what other tasks add before it runs leaves in the same write.  So neither direction
has a task, and a message wakes only the task that waits for it.

What it buys.  A short stream costs a fraction of what it costs with the generic link and its tasks.  Of a bulk
transfer each byte is copied once, by the application's read, and uvloop writes the pieces as they are.  The
figures are in ``docs/measurements.md``.

The rule.  The transport's own buffer is kept empty: when the transport could not write all at once, no more is
handed over until it has.

The trap.  What these callbacks raise, asyncio logs and forgets.  A mistake of ours must end the session, so each
callback that calls the core gives what it raises to :meth:`AsyncioLink._fail`.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any

from anyio import Event

from ..runtime.checkpoints import callback_context
from .codec_transport import CodecTransport, salvaged
from .inflight_cap import RETRY_DELAY
from .link import Link, describe
from .recv_buffers import RecvBuffers

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from anyio.abc import TaskGroup

    from ..protocol.connection import Connection
    from .busy_poll import BusyPoll
    from .early_protocol import EarlyProtocol
    from .inflight_cap import InflightCap
    from .tcp_info import PathSource

__all__ = ("AsyncioLink",)

MIN_WRITELINES = 64 * 1024
"""Bytes from which on a copy costs more than a list of pieces for the transport."""


class AsyncioLink(Link, asyncio.BufferedProtocol):
    """Drives a connection over an asyncio transport; see :class:`~muxado_py.links.link.Link`.

    :param transport: one that does not read yet.
    :param early: its protocol until now.
    :param attributes: what the transport tells of itself.
    :param path: who knows what the peer's kernel has taken, if anybody does.
    :param inflight_cap: what says how much may be in flight, if anything does.
    :param busy_poll: what says whether to poll for what comes next, if anything does.
    """

    __slots__ = (
        "_attributes",
        "_buffers",
        "_busy_poll",
        "_call_later",
        "_call_soon",
        "_closed",
        "_context",
        "_early",
        "_flush_began",
        "_flush_was_full",
        "_flushing",
        "_in_pieces",
        "_layered",
        "_lost",
        "_pending_pieces",
        "_polling",
        "_reading",
        "_retry_timer",
        "_scheduled",
        "_tasks",
        "_time",
        "_transport",
        "_urgent",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        early: EarlyProtocol,
        connection: Connection,
        changed: Callable[[], None],
        attributes: Mapping[Any, Callable[[], Any]],
        *,
        path: PathSource | None = None,
        inflight_cap: InflightCap | None = None,
        busy_poll: BusyPoll | None = None,
    ) -> None:
        super().__init__(connection, changed, path, inflight_cap)
        loop = asyncio.get_running_loop()
        self._transport = transport
        self._early = early
        self._attributes = attributes
        self._time = loop.time
        self._call_soon = loop.call_soon
        self._call_later = loop.call_later
        self._tasks: TaskGroup | None = None
        self._context = callback_context()
        self._lost = False
        self._closed = Event()  # set with it
        self._buffers = RecvBuffers()
        self._reading = True
        self._scheduled = 1  # flushes that the loop is to call; at first the one of _start
        self._flushing = 0  # bytes of the flush under way
        self._pending_pieces: list[bytes | memoryview] | None = None  # it, once the transport waits
        self._flush_began = 0.0
        self._flush_was_full = False  # whether the last flush was all that it could be, or all that the kernel had room for
        self._retry_timer: asyncio.TimerHandle | None = None  # while the cap has no room
        self._urgent = False  # whether the application wrote something meanwhile
        self._busy_poll = busy_poll
        self._polling = False  # whether the loop is kept from sleeping
        self._layered = transport.get_extra_info("codec") is not None
        # asyncio's own writelines joins them too, or (3.12, 3.13.0) forgets to pause the writer
        # (python/cpython#127655), and a codec makes a record, or a message, of each.
        self._in_pieces = not (self._layered or isinstance(loop, asyncio.BaseEventLoop))

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._attributes

    def _start(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        early = self._early
        early.successor = self
        if early.lost is None:
            self._transport.set_protocol(self)
            # Not 0: asyncio's TLS transport would then ask for a pause at every write.
            self._transport.set_write_buffer_limits(high=1)
            # A transport that has something to write still, as behind a handshake, may have said so before.
            if self.writing_since is None and self._transport.get_write_buffer_size() > 1:
                self.pause_writing()
        for data in early.received:
            self._take(data)
        if early.ended:
            self.eof_received()
        if early.lost is not None:
            self.connection_lost(*early.lost)
            return
        if self._reading:
            self._transport.resume_reading()
        self._call_soon(self._flush)  # whatever has come until now

    async def send_end(self) -> bool:
        if self._transport.is_closing() or not self._transport.can_write_eof():
            return False
        # First: a heartbeat that is due now must not be written behind the end.
        self._write_closed = True
        try:
            self._transport.write_eof()
        except OSError:  # it was reset, and asyncio has not noticed yet
            return False
        return True

    async def _close_transport(self) -> None:
        self._transport.close()
        try:
            await self._closed.wait()
        finally:
            await self._abort_transport()

    async def _abort_transport(self) -> None:
        self._keep_rest(self._transport.get_write_buffer_size())
        self._transport.abort()

    def _keep_rest(self, nbytes: int) -> None:
        """The transport will not take the last ``nbytes`` of what it holds."""
        if self._pending_pieces and nbytes:
            frames = b"".join(self._pending_pieces)
            self._keep_unwritten(frames, max(0, len(frames) - nbytes))
        self._pending_pieces = None

    def _raw_socket(self) -> socket.socket | None:
        raw: socket.socket | None = self._transport.get_extra_info("socket")
        return raw

    # Reading.

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffers.next_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        self._take(self._buffers.filled(nbytes))

    def _take(self, data: bytes | memoryview) -> None:
        if (
            self._busy_poll is not None
            and self._busy_poll.received(perf_counter())
            and not self._polling
        ):
            self._start_polling()
        try:
            self._receive(data, self._time())
        except BaseException as exc:  # noqa: BLE001 - a mistake of ours, whatever it is
            self._fail(exc)
        # Twice, for most of what comes pays for one call then.
        if not (self._connection.may_read() or self._lost or self.should_read()):
            self._reading = False
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._receive_end("")
        return True  # else asyncio would end the other direction, too

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._closed.set()
        self._count_undelivered()
        self._keep_rest(self._flushing)
        self.writing_since = None
        if exc is not None and not self._layered:
            self._salvage()
        try:
            self._receive_end(describe(exc) if exc is not None else "")
            self._drop_output()
        except BaseException as mistake:  # noqa: BLE001 - as above
            self._fail(mistake)

    def _salvage(self) -> None:
        """After a failed write asyncio reads no more, but the peer's goodbye may lie in the socket."""
        for data in salvaged(self._transport.get_extra_info("socket")):
            self._take(data)

    # Writing.

    def wake(self) -> None:
        if self._scheduled:
            pass
        elif self._retry_timer is not None or (
            self.writing_since is None and self._connection.has_output()
        ):
            self._schedule()
        if not self._reading:
            self._go_on_reading()

    def wrote(self) -> None:
        if self._retry_timer is not None:
            self._urgent = True  # the next flush asks for one frame above the cap
        # What has no window yet is found out then.
        if not self._scheduled and self.writing_since is None:
            # As _schedule, without the call that each message would pay.
            self._scheduled = 1
            self._call_soon(self._flush)

    def expect_output(self) -> None:
        # Also if a flush is scheduled: that one runs before the tasks that were just woken, this one behind them.
        if self.writing_since is None:
            self._schedule()

    def expect_answers(self) -> None:
        if self.writing_since is None:
            self._scheduled += 1
            self._call_soon(self._flush_answers)

    def _flush_answers(self) -> None:
        if self._connection.has_output():
            self._flush()
        else:  # behind the tasks that were begun in this turn
            self._call_soon(self._flush)

    def _schedule(self) -> None:
        self._scheduled += 1
        self._call_soon(self._flush)

    def _go_on_reading(self) -> None:
        if self.should_read():
            self._reading = True
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def _flush(self) -> None:
        if self._retry_timer is not None:
            self._retry_timer.cancel()
            self._retry_timer = None
        more = self._connection.has_output()
        if more and self._may_write():
            try:
                capped = self._hand_over()
            except BaseException as exc:  # noqa: BLE001 - as above
                self._fail(exc)
                return
            if capped and self._may_write():
                self._retry_timer = self._call_later(RETRY_DELAY, self._retry)
            more = self._connection.has_output()
        self._scheduled -= 1
        # If another flush is scheduled, that one looks whether all is flushed.
        if self._scheduled or self._retry_timer is not None:
            return
        # What most flushes leave behind is asked first: nothing, and nobody who waits for that.
        if (more or self._flushed is not None) and self._may_write():
            if more:
                self._schedule()
            else:
                self._tell_flushed()

    def _given(self) -> int:
        transport = self._transport
        return transport.given if isinstance(transport, CodecTransport) else self.bytes_sent

    def _buffered(self) -> int:
        return 0 if self._lost else self._transport.get_write_buffer_size()

    def _may_write(self) -> bool:
        """Whether the transport is open, and has taken all that it was given."""
        return self.writing_since is None and not (self._lost or self._write_closed)

    def _retry(self) -> None:
        self._scheduled += 1
        self._flush()

    def _hand_over(self) -> bool:
        """Give the transport what is due; whether the cap has no room for all of it."""
        urgent, self._urgent = self._urgent, False
        wanted = budget = self._flush_size.now
        if self._inflight_cap is not None and (self._flush_was_full or self._inflight_cap.cap):
            wanted = min(wanted, self._inflight_cap.quantum)
            budget = self._inflight_cap.allow(wanted, urgent=urgent)
        pieces = self._connection.data_to_send(budget)
        if pieces:
            self._write(pieces)
        capped = budget < wanted and self._connection.has_output()
        self._changed()
        return capped

    def _write(self, pieces: list[bytes | memoryview]) -> None:
        joined = b""
        # By the size of a flush as a rule, and not of this one: its size is known only after a sum or a join.
        if self._in_pieces and self._flush_size.now >= MIN_WRITELINES:
            size = sum(map(len, pieces))
        else:
            joined = b"".join(pieces)
            size = len(joined)
        said = self._outgoing.sent + self._outgoing.fins_sent
        if said != self._said:
            self._said = said
            self._tail = None
        elif self._tail is None:
            self._tail = self._given()
        self.bytes_sent += size
        self._flush_was_full = size >= self._flush_size.now
        self._flushing = size
        self._flush_began = perf_counter()
        if joined:
            self._transport.write(joined)
        elif size >= MIN_WRITELINES:
            self._transport.writelines(pieces)
        else:
            self._transport.write(b"".join(pieces))
        if self._transport.is_closing():  # the write failed, and connection_lost will say so
            self._write_closed = True
        if self._write_closed or self.writing_since is not None:
            self._flush_was_full = True  # a stream may have less to give than a flush may have
            # Until resume_writing: what is lost of them may have to be told.
            self._pending_pieces = pieces
            return
        now = perf_counter()
        self._flush_size.taken(size, self._flush_began, now)
        if self._busy_poll is not None and self._busy_poll.sent(now) and not self._polling:
            self._start_polling()

    def _start_polling(self) -> None:
        self._polling = True
        self._call_soon(self._poll)

    def _poll(self) -> None:
        """A callback that is scheduled keeps the loop from sleeping; the loop takes its events all the same."""
        assert self._busy_poll is not None
        if self._busy_poll.goes_on(perf_counter()) and not self._lost:
            self._call_soon(self._poll)
        else:
            self._polling = False

    def pause_writing(self) -> None:
        """The transport has not taken all of the flush."""
        if self._hold(self._time()):
            self._call_soon(self._note_hold)  # not in the middle of a flush

    def _note_hold(self) -> None:
        try:
            self._changed()
        except BaseException as exc:  # noqa: BLE001 - as above
            self._fail(exc)

    def resume_writing(self) -> None:
        """By now it has."""
        if self.writing_since is not None:
            self.writing_since = None
            self._pending_pieces = None
            self._flush_size.taken(self._flushing, self._flush_began, perf_counter())
            # Not here: asyncio reports the end twice if a write in this callback fails
            # (python/cpython#156512).
            self._schedule()

    def _fail(self, exc: BaseException) -> None:
        """Let :meth:`run` raise a mistake of ours; the first ends it, and later ones are its consequences."""
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            self._context.run(tasks.start_soon, _raise, exc)


async def _raise(exc: BaseException) -> None:
    raise exc

"""StreamLink: the link over any anyio byte stream, on any backend.

Two tasks.  The reader gives the core what ``receive`` returned, the writer gives ``send`` what the
core wants sent.  TLS streams, pipes, transports of tests and everything on trio are carried so.

The trap.  A transport that ends need not end both directions at once.  When a write fails, the reader
is given a moment to find the goodbye that may lie before the end.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from anyio import EndOfStream, Event, current_time, move_on_after
from anyio.lowlevel import checkpoint

from .attributes import remembered
from .link import GOODBYE_WAIT, FlushSize, Link, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyio.abc import ByteStream, TaskGroup

    from .connection import Connection
    from .flight import PathSource

__all__ = ("StreamLink",)

RECEIVE_SIZE = 256 * 1024
"""Bytes asked for at once, as much as a flush brings.  With 64 KiB, sixteen bulk streams on trio took a
quarter more CPU to receive."""


BLIND_FLUSH = 16 * 1024
"""Bytes that a transport is given at once, at most, where only the return of ``send`` shows that it takes
something.  In each ``Config.write_timeout`` it must take so many: 273 a second at the default."""


class StreamLink(Link):
    """Drives a connection over ``transport``; see :class:`~muxado_py.link.Link`.

    :param early: what was received of it already.
    :param path: who knows what the peer's kernel has taken, if anybody does.
    """

    def __init__(
        self,
        transport: ByteStream,
        connection: Connection,
        changed: Callable[[], None],
        *,
        early: bytes = b"",
        path: PathSource | None = None,
    ) -> None:
        super().__init__(connection, changed, path)
        if path is None:
            self._flush_size = FlushSize(BLIND_FLUSH)
        self._early = early
        self._transport = transport
        self._attributes = remembered(transport)
        self._wake: Event | None = None  # rouses the writer
        self._expecting = False  # whether it is roused behind tasks that write at once
        self._resume: Event | None = None  # rouses the reader

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._attributes

    def rouse(self) -> None:
        if self._wake is not None and self._connection.has_output():
            self._wake.set()
            self._wake = None
        if self._resume is not None and self._connection.may_read():
            self._resume.set()
            self._resume = None

    def expect_output(self) -> None:
        if self._wake is not None:
            self._expecting = True
            self._wake.set()
            self._wake = None

    def _start(self, tasks: TaskGroup) -> None:
        tasks.start_soon(self._read)
        tasks.start_soon(self._write)

    async def _close_transport(self) -> None:
        await self._transport.aclose()

    async def _read(self) -> None:
        connection = self._connection
        cause = ""
        early, self._early = self._early, b""
        while True:
            try:
                data = early or await self._transport.receive(RECEIVE_SIZE)
            except EndOfStream:
                break
            except Exception as exc:  # noqa: BLE001 - whatever the transport raises, it is the end of it
                cause = describe(exc)
                break
            early = b""
            self._receive(data, current_time())
            while not connection.may_read() and connection.events.ended is None:
                self._resume = Event()
                await self._resume.wait()
        self._receive_end(cause)

    async def _write(self) -> None:
        connection = self._connection
        while True:
            pieces = connection.data_to_send(self._flush_size.now)
            self._changed()
            if not pieces:
                self._note_flush()
                self._wake = Event()
                await self._wake.wait()
                if not self._expecting:
                    # Whoever else runs in this turn of the loop may add to the same flush.
                    await checkpoint()
                self._expecting = False
                continue
            data = b"".join(pieces)
            self.writing_since = current_time()
            started = perf_counter()  # uvloop's own clock moves in whole milliseconds
            try:
                await self._transport.send(data)
            except Exception as exc:  # noqa: BLE001 - as above
                with move_on_after(GOODBYE_WAIT):
                    await self._input_over.wait()
                connection.receive_eof(describe(exc))
                self._drop_output()
                return
            finally:
                self.writing_since = None
            self.bytes_sent += len(data)
            self._flush_size.taken(len(data), started, perf_counter())

    def _held_back(self) -> int:
        return 0

"""AnyioLink: the link over any anyio byte stream, on any backend.

It has two tasks: the reader gives the core what ``receive`` returned, the writer gives ``send`` what the core wants
sent.  TLS streams, pipes, transports of tests and everything on trio are carried so.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

from anyio import EndOfStream, Event, aclose_forcefully, current_time, move_on_after
from anyio.lowlevel import checkpoint

from ..runtime.child_process import CommandStream
from .attributes import remembered
from .flush_size import FlushSize
from .kernel_queue import AddingStream
from .link import Link, describe
from .parting import GOODBYE_WAIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyio.abc import ByteStream, TaskGroup

    from ..protocol.connection import Connection
    from .tcp_info import PathSource

__all__ = ("AnyioLink", "checked")

logger = logging.getLogger("muxado.link")

RECEIVE_SIZE = 256 * 1024
"""Bytes asked for at once, as much as a flush brings: fewer calls for the same bytes."""

MAX_BLIND_FLUSH = 16 * 1024
"""Bytes that a transport is given at once, at most, where only the return of ``send`` shows that it takes
something.  In each ``Config.write_timeout`` it must take so many."""


def checked(data: object) -> bytes:
    """What ``receive`` of a transport returned, if it may.

    A transport that does not know its end from anyio returns nothing, again and again, as sockets do.

    :raises ~anyio.EndOfStream: if it is empty.
    :raises TypeError: if it is not bytes at all.
    """
    if type(data) is not bytes:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"its receive() returned {data!r:.80}, expected bytes")
        data = bytes(data)  # it may be changed when the transport receives again
    if not data:
        raise EndOfStream
    return data


class AnyioLink(Link):
    """Drives a connection over ``transport``; see :class:`~muxado_py.links.link.Link`.

    :param early: what was received of it already.
    :param path: who knows what the peer's kernel has taken, if anybody does.
    """

    __slots__ = (
        "_attributes",
        "_early",
        "_expecting",
        "_replying",
        "_resume",
        "_transport",
        "_wake",
    )

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
            self._flush_size = FlushSize(MAX_BLIND_FLUSH)
        self._early = early
        self._transport = transport
        self._attributes = remembered(transport)
        self._wake: Event | None = None  # set to wake the writer, while it waits
        self._expecting = False  # whether it wakes after tasks that write at once
        self._resume: Event | None = None  # set to wake the reader, while it waits
        self._replying = False  # whether the transport has something to say by itself
        if isinstance(transport, AddingStream):
            transport.on_reply = self._reply
        self._ends_with_us = isinstance(transport, CommandStream)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._attributes

    def wake(self) -> None:
        if self._wake is not None and self._connection.has_output():
            self._wake.set()
            self._wake = None
        if self._resume is not None and self.should_read():
            self._resume.set()
            self._resume = None

    def wrote(self) -> None:
        if self._wake is not None and self._connection.has_output():
            self._wake.set()
            self._wake = None

    def expect_output(self) -> None:
        if self._wake is not None:
            self._expecting = True
            self._wake.set()
            self._wake = None

    def _reply(self) -> None:
        self._replying = True
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    def _start(self, tasks: TaskGroup) -> None:
        tasks.start_soon(self._read)
        tasks.start_soon(self._write)

    async def _close_transport(self) -> None:
        await self._transport.aclose()

    async def _abort_transport(self) -> None:
        await aclose_forcefully(self._transport)

    async def send_end(self) -> bool:
        if self._write_closed:
            return False
        try:
            await self._transport.send_eof()
        except Exception as exc:  # noqa: BLE001 - as below; it may have none, too
            logger.debug("no end of what is sent: %r", exc)
            return False
        return True

    async def _read(self) -> None:
        cause = ""
        early, self._early = self._early, b""
        while True:
            try:
                data = early or checked(await self._transport.receive(RECEIVE_SIZE))
            except EndOfStream:
                break
            except Exception as exc:  # noqa: BLE001 - whatever the transport raises, it is the end of it
                cause = describe(exc)
                break
            early = b""
            self._receive(data, current_time())
            while not self.should_read():
                self._resume = Event()
                await self._resume.wait()
        self._receive_end(cause)

    async def _write(self) -> None:
        connection = self._connection
        while True:
            pieces = connection.data_to_send(self._flush_size.now)
            self._changed()
            if not (pieces or self._replying):
                self._tell_flushed()
                self._wake = Event()
                await self._wake.wait()
                if not self._expecting:
                    # Other tasks that run in this turn of the loop may add to the same flush.
                    await checkpoint()
                self._expecting = False
                continue
            data = b"".join(pieces)
            self._replying = False
            said = self._outgoing.sent + self._outgoing.fins_sent
            if said != self._said:
                self._said = said
                self._tail = None
            elif self._tail is None:
                self._tail = self._given()
            if self._hold(current_time()):
                self._changed()
            started = perf_counter()
            try:
                await self._transport.send(data)
            except Exception as exc:  # noqa: BLE001 - as above
                self._keep_unwritten(data, 0)
                await self._rest_of_input()
                connection.receive_eof(describe(exc))
                self._drop_output()
                return
            except BaseException:  # it was given up
                self._keep_unwritten(data, 0)
                raise
            finally:
                self.writing_since = None
            self.bytes_sent += len(data)
            self._flush_size.taken(len(data), started, perf_counter())

    def _given(self) -> int:
        transport = self._transport
        return transport.given if isinstance(transport, AddingStream) else self.bytes_sent

    def _buffered(self) -> int:
        return 0

    async def _rest_of_input(self) -> None:
        """Wait for the end of what is read, as long as something comes."""
        # A transport that fails a write need not have ended its other direction, where a goodbye may lie.
        before = -1
        while not self.input_over.is_set():
            waited_in_vain = before == self.bytes_received and self.should_read()
            if waited_in_vain:
                return
            before = self.bytes_received
            with move_on_after(GOODBYE_WAIT):
                await self.input_over.wait()

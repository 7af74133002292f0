"""Link: what carries bytes between a connection and a transport, and how that ends.

What it is.  The interface of the two links and what they share.  :mod:`~muxado_py.links.anyio_link` works on any
anyio byte stream, with a task for each direction; :mod:`~muxado_py.links.asyncio_link` is driven by asyncio's own
callbacks and needs no task.  Nothing above this module knows which it is.

Where data comes from and goes to.  The reading side gives the core what the transport received; the writing side gives
the transport what the core wants sent.  After each of these the session is told, so that it can take the core's
events.

The rules.  One place, and only one, writes to the transport: application tasks never touch it, so their cancellation
cannot cut a frame in two.  Reading goes on whatever the applications do, but for the core's own bounds
(``Connection.may_read``).  Little is handed over at a time, about what the transport takes in a millisecond, because
what was handed over can no longer be prioritized.

How a link ends is told in :mod:`~muxado_py.links.parting`, which is the contract of both.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from anyio import (
    CancelScope,
    Event,
    TypedAttributeProvider,
    create_task_group,
    current_time,
    move_on_after,
)
from anyio.abc import SocketAttribute

from ..errors import escaped
from ..protocol.connection import CLOSED_HERE
from ..protocol.session_ends import CLOSED_BY_PEER
from ..protocol.timers import AT_ONCE, NEVER, Timer
from .flush_size import FlushSize
from .kernel_queue import KernelQueue
from .parting import GOODBYE_WAIT, part, part_in_fault

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from ..config import Config
    from ..protocol.connection import Connection
    from .inflight_cap import InflightCap
    from .tcp_info import PathFigures, PathSource

__all__ = ("Link", "LinkFactory", "describe")

logger = logging.getLogger("muxado.link")


class Link(TypedAttributeProvider, ABC):
    """Drives ``connection`` over a transport, whose typed attributes are the link's.

    :param changed: called after anything that may have left events in the connection.
    :param path: who knows what the peer's kernel has taken, if anybody does.
    :param inflight_cap: what says how much may be in flight, if anything does.
    """

    __slots__ = (
        "_changed",
        "_connection",
        "_counted",
        "_ended_well",
        "_ends_with_us",
        "_figures",
        "_flush_size",
        "_flushed",
        "_inflight_cap",
        "_kernel",
        "_outgoing",
        "_path",
        "_said",
        "_tail",
        "_write_closed",
        "bytes_received",
        "bytes_sent",
        "holding",
        "input_over",
        "last_heard",
        "parting",
        "undelivered",
        "unwritten",
        "writing_since",
    )

    def __init__(
        self,
        connection: Connection,
        changed: Callable[[], None],
        path: PathSource | None,
        inflight_cap: InflightCap | None = None,
    ) -> None:
        self._path = path
        self._inflight_cap = inflight_cap
        self._figures: PathFigures | None = None  # what the kernel told last
        self._connection = connection
        self._changed = changed
        self._flushed: Event | None = None  # set at the next flush, while a task waits for one
        self.input_over = Event()
        """See :class:`.parting.Leaving`."""
        self.parting = CancelScope()
        """What is left to do once the session is over; a close sets its deadline."""
        self.unwritten: tuple[bytes, int] | None = None
        """The last frames for a transport that did not take them all, and how many of their bytes it did."""
        self.undelivered: int | None = 0
        """How many bytes more its kernel was not told to have arrived, when it was closed; None if that cannot be
        known: no kernel tells, and a peer that should have ended did not."""
        self._ended_well = False  # whether the peer's end came, and not a failure
        self._kernel: KernelQueue | None = None
        self._ends_with_us = False  # whether the transport is a program that ends with the session
        self._counted = False  # whether ``undelivered`` is known already
        self._outgoing = connection.outgoing
        self._said = 0  # ``Connection.said`` as of the last flush
        # Bytes that were given before the control frames behind the last payload or FIN; None while there are none.
        self._tail: int | None = None
        self._write_closed = False  # whether nothing is written any more
        self._flush_size = FlushSize()
        self.bytes_sent = 0
        self.bytes_received = 0
        self.last_heard = current_time()
        """When the transport last gave us anything."""
        self.writing_since: float | None = None
        """Since when the transport has held on to what it was given."""
        self.holding = Timer(connection.timers)
        """Somebody looks whether it still does: armed when it begins to, by whoever looks from then on."""

    @abstractmethod
    def wake(self) -> None:
        """Something may have changed: output waits, or input is welcome again."""

    @abstractmethod
    def wrote(self) -> None:
        """The application wrote something, which may be urgent."""

    def expect_output(self) -> None:
        """Tasks were woken that may have something to send in the loop's next turn."""

    def expect_answers(self) -> None:
        """The same of callbacks: what they have the loop call in its next turn may begin tasks, which send in the one after."""
        self.expect_output()

    def progress(self) -> int:
        """A count of bytes that grows while the transport takes what it was given: of bytes that the peer's
        kernel acknowledged, where ours tells."""
        if self._path is not None:
            return self._path.figures().acknowledged
        return self.bytes_sent - self._buffered()

    def in_flight(self) -> int:
        """Bytes that the kernel took and the peer's has not acknowledged; 0 where that is not known."""
        return 0 if self._path is None else self._path.in_flight()

    def figures(self) -> PathFigures | None:
        """What the kernel tells of the path, and of one that is closed, what it told at the end.

        None where that is not known, and before a round trip was measured.
        """
        if self._path is not None:
            figures = self._path.figures()
            if figures.round_trip:  # a closed socket tells nothing but zeros
                self._figures = figures
        return self._figures

    @property
    def cap(self) -> int:
        """How many bytes may be :meth:`in_flight`; 0 while there is no such bound."""
        return 0 if self._inflight_cap is None else self._inflight_cap.cap

    @abstractmethod
    def _buffered(self) -> int:
        """Bytes of :attr:`bytes_sent` that the transport still has, where it says so."""

    def _given(self) -> int:
        """A count of what the kernel was given, or is about to be."""
        return self.bytes_sent

    @abstractmethod
    def _start(self, tasks: TaskGroup) -> None:
        """Begin to carry bytes; what fails in ``tasks`` fails :meth:`run`."""

    @abstractmethod
    async def send_end(self) -> bool:
        """See :class:`.parting.Leaving`."""

    @abstractmethod
    async def _close_transport(self) -> None:
        """Close the transport; the caller bounds it in time."""

    @abstractmethod
    async def _abort_transport(self) -> None:
        """Close it without waiting for anything."""

    def should_read(self) -> bool:
        """Whether reading goes on."""
        # After the end in any case: a socket that is closed with unread bytes makes TCP throw our last ones away.
        return self._connection.may_read() or self._connection.events.failure is not None

    async def flushed(self) -> None:
        """See :class:`.parting.Leaving`."""
        while not self._write_closed and (
            self._connection.has_output() or self.writing_since is not None
        ):
            if self._flushed is None:
                self._flushed = Event()
            await self._flushed.wait()
        self._mark()

    def _mark(self) -> None:
        # Where the last write failed, too: what is behind it is counted apart, and the kernel has what came before.
        if self._kernel is not None and self.writing_since is None:
            tail = 0 if self._tail is None else self._given() - self._tail
            self._kernel.mark(self._connection.said, tail)

    def _tell_flushed(self) -> None:
        if self._flushed is not None:
            self._flushed.set()
            self._flushed = None

    def begin_parting(self) -> None:
        """This side is about to close the session."""
        self._kernel = KernelQueue.of(self._raw_socket())
        if not self._connection.has_unsent:
            self._mark()

    def unacknowledged(self) -> int | None:
        """See :class:`.parting.Leaving`."""
        return None if self._kernel is None else self._kernel.waiting()

    def _raw_socket(self) -> socket.socket | None:
        try:
            raw: socket.socket | None = self.extra(SocketAttribute.raw_socket, None)
        except Exception:  # noqa: BLE001 - of one that is gone already
            return None
        return raw

    def _count_undelivered(self) -> None:
        """While the socket is there: what a close of ours may lose with it."""
        self.figures()  # remembered: nothing can be asked of the socket later
        connection = self._connection
        if connection.events.failure is not CLOSED_HERE:
            return
        if self._kernel is not None:
            self.undelivered = self._kernel.missing(connection.said)
            self._kernel = None
        elif not self._counted and self._owes_end() and not self._ended_well:
            self.undelivered = None
        self._counted = True

    def _owes_end(self) -> bool:
        """Whether the peer's end, and nothing else, says that all has arrived."""
        connection = self._connection
        return connection.is_muxado_py is True or (
            self._ends_with_us and connection.traits.answers_end
        )

    async def run(self, ended: Event, close_timeout: float) -> None:
        """Carry bytes until ``ended`` is set; then say what is left to say and close the transport.

        The caller shields it from cancellation; it is bounded in time after ``ended``.
        """
        try:
            async with create_task_group() as tasks:
                self._start(tasks)
                await ended.wait()
                self._tell_flushed()
                deadline = current_time() + close_timeout
                self.parting.deadline = min(self.parting.deadline, deadline)
                with self.parting:
                    await self._part()
                await self._close()
                tasks.cancel_scope.cancel()
        except BaseException:
            # Only a mistake of ours comes here; the peer must not wait for a session that has ended.
            await self._close()
            raise

    async def _part(self) -> None:
        connection = self._connection
        ended_here = connection.events.failure is CLOSED_HERE
        owed = ended_here or connection.events.failure is CLOSED_BY_PEER
        if not owed or (self.input_over.is_set() and not ended_here):
            await part_in_fault(self)
            return
        if self._kernel is None:
            self._kernel = KernelQueue.of(self._raw_socket())
        await part(
            self,
            ended_here=ended_here,
            is_muxado_py=connection.is_muxado_py is True,
            answers_end=connection.traits.answers_end,
            ends_with_us=self._ends_with_us,
        )

    async def _close(self) -> None:
        self._count_undelivered()
        try:
            if self.parting.cancel_called:
                await self._abort_transport()
                return
            with move_on_after(GOODBYE_WAIT):
                await self._close_transport()
        except Exception as exc:  # noqa: BLE001 - a foreign transport may raise anything here, and it is over
            logger.debug("closing the transport failed: %r", exc)

    def _hold(self, now: float) -> bool:
        """The transport holds on to what it is given; whether somebody is to be told."""
        self.writing_since = now
        if self.holding.deadline < NEVER:
            return False
        self.holding.arm(AT_ONCE)
        return True

    # What the subclasses tell the core.

    def _receive(self, data: bytes | memoryview, now: float) -> None:
        """The transport received ``data``."""
        connection = self._connection
        self.last_heard = now
        self.bytes_received += len(data)
        connection.receive_data(data)
        self._changed()

    def _receive_end(self, cause: str) -> None:
        """The transport has nothing more to give; ``cause`` says why if it failed."""
        if not self.input_over.is_set():
            self._connection.receive_eof(cause)
            self._ended_well = not cause
            self.input_over.set()
            self._changed()

    def _keep_unwritten(self, frames: bytes, skip: int) -> None:
        """The transport took ``skip`` bytes of ``frames``, and nothing of what would have come behind them.

        That is taken from the core too: its resets tell of which streams nothing is lost.
        """
        frames += b"".join(self._connection.data_to_send(0))
        if frames:
            self.unwritten = frames, skip

    def _drop_output(self) -> None:
        """Nothing is written from here on; what is queued must not be waited for, and may have to be told."""
        self._write_closed = True
        frames, skip = self.unwritten or (b"", 0)
        self._keep_unwritten(frames, skip)
        self._changed()
        self._tell_flushed()


class LinkFactory(Protocol):
    """Makes the link of a session over a transport that it knows."""

    def __call__(
        self, connection: Connection, config: Config, changed: Callable[[], None]
    ) -> Link: ...


def describe(exc: BaseException) -> str:
    """What a transport's exception says; anyio's own often say nothing, and mean their cause."""
    return escaped(str(exc) or str(exc.__cause__ or "")) or type(exc).__name__

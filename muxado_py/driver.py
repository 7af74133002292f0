"""Driver: a connection with its link and its clock, and the wake-ups between them.

Where data comes from and goes to.  The link carries bytes between the transport and the core;
sessions and streams act on the core directly.  After each act of either kind ``changed`` takes the
core's events: whoever waits is woken, and the link if there is something for it.

How it ends.  Whatever the reason, the core's ``ended`` is set once, and ``over`` with it.  The link
then says what is left to say within a deadline and closes the transport; ``closed`` is set last.

The rule.  Its tasks raise nothing into the application's task group: a session that fails shows it
where the application uses it.

The trap.  The tasks live in a task group that the application's cancellation reaches.  They are
shielded from it; ``end`` is what ends them, and that is bounded in time.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, Event, create_task_group
from anyio.abc import SocketAttribute
from anyio.lowlevel import checkpoint

from .connection import CLOSED_HERE, Connection
from .errors import ErrorCode, Retry, StreamClosedError
from .link import Link
from .pings import Pings
from .timekeeper import Timekeeper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyio.abc import ByteStream, TaskGroup

    from .config import Config
    from .errors import Failure
    from .events import Events
    from .halves import StreamState

__all__ = ("Driver",)

logger = logging.getLogger("muxado.session")


class Driver:
    """What drives one session; see the module essay."""

    def __init__(self, transport: ByteStream, config: Config, *, is_client: bool) -> None:
        self.config = config
        self.connection = Connection(config, client=is_client)
        self.link = Link(transport, self.connection, self.changed)
        self.pings = Pings(config, self.connection, self.changed)
        self._timekeeper = Timekeeper(config, self.connection, self.link, self.pings, self.changed)
        self.stream_attributes = _addresses(transport)
        """What a stream knows of the transport: its addresses."""
        self.over = Event()
        """Set when the session is over."""
        self.closed = Event()
        """Set when the transport is closed, too."""
        # Asking anyio.Event for one costs a look-up of the running backend each time.
        self.new_event = type(self.over)
        self._accepting = True
        self._offered = Event()  # set, and replaced, when a stream waits for accept
        self._idle: Event | None = None  # tells a drain that the last stream is done
        self._running = Event()
        self._tasks: TaskGroup | None = None

    # For sessions, listeners and streams.

    def check(self) -> None:
        """Raise the error that stands, if the session is over.

        :raises SessionError: with the verdict ``UNKNOWN``.
        """
        ended = self.connection.events.ended
        if ended is not None:
            raise ended.error(Retry.UNKNOWN)

    async def accept(self) -> StreamState:
        """See :meth:`Session.accept_stream`."""
        if self.connection.backlog or self.over.is_set() or not self._accepting:
            await checkpoint()
        while (state := self.connection.accept()) is None:
            self.check()
            if not self._accepting:
                raise StreamClosedError(
                    "you closed the listener of this session", code=ErrorCode.SESSION_CLOSED
                )
            await self._offered.wait()
        return state

    def stop_accepting(self) -> None:
        """Refuse the streams that wait for ``accept`` and those that come."""
        self._accepting = False
        self.connection.stop_accepting()
        self._offered.set()
        self.changed()

    def close_stream(self, state: StreamState) -> None:
        """Close a stream, and give what it has to flush its time."""
        self.connection.close(state)
        self._timekeeper.let_linger(state)
        self.changed()

    async def wait_idle(self) -> None:
        """Wait until no stream is open, for the wire or for a handler of ours, or until the end."""
        while self._busy and not self.over.is_set():
            if self._idle is None or self._idle.is_set():
                self._idle = Event()
            await self._idle.wait()

    @property
    def _busy(self) -> bool:
        """Whether a stream is open that carries more than heartbeats."""
        ours, theirs = self.pings.streams
        connection = self.connection
        return connection.live_streams > ours + theirs or connection.peer_streams > theirs

    async def tasks(self) -> TaskGroup:
        """The session's task group, for tasks that raise nothing; what runs there ends with it."""
        while self._tasks is None:
            await self._running.wait()
        return self._tasks

    def end(self, failure: Failure) -> None:
        """The session is over for a reason that the core does not know."""
        self.connection.terminate(failure)
        self.changed()

    # What drives it.

    def changed(self) -> None:
        """Take the core's events: wake whoever waits, and the link if there is something for it."""
        events = self.connection.events
        if events.noted:
            events.noted = False
            self._take(events)
        if self._idle is not None and not self._busy:
            self._idle.set()
        self.link.rouse()

    def _take(self, events: Events) -> None:
        while events.readable or events.writable:
            readable, events.readable = events.readable, []
            for state in readable:
                state.wake_read = False
                if state.owner is not None:
                    state.owner.wake_reader()
            writable, events.writable = events.writable, []
            for state in writable:
                state.wake_write = False
                if state.owner is not None:
                    state.owner.wake_writer()
        if events.offered:
            events.offered = False
            self._offered.set()
            self._offered = Event()
        self.pings.take_events()
        if events.ended is not None and not self.over.is_set():
            logger.debug("%r is over: %s", self, events.ended.message)
            self.over.set()
            self._offered.set()
            if self._idle is not None:
                self._idle.set()

    async def run(self) -> None:
        """Drive the session until it is over and its transport is closed; shielded."""
        with CancelScope(shield=True):
            try:
                async with create_task_group() as tasks:
                    self._tasks = tasks
                    self._running.set()
                    tasks.start_soon(self._timekeeper.run)
                    await self.link.run(self.over, self.config.close_timeout)
                    tasks.cancel_scope.cancel()
            finally:
                self.end(CLOSED_HERE)
                self.closed.set()


def _addresses(transport: ByteStream) -> Mapping[Any, Callable[[], Any]]:
    """The transport's addresses as ``(str, int)`` pairs, where it has any.

    Servers tell a client's address from a path by the pair; IPv6 has four parts and a Unix socket
    none.
    """
    attributes: dict[Any, Callable[[], Any]] = {}
    for attribute in (SocketAttribute.local_address, SocketAttribute.remote_address):
        try:
            address: object = transport.extra(attribute, None)
        except Exception:  # noqa: BLE001 - a socket that is gone already may raise anything here
            continue
        if isinstance(address, tuple):
            attributes[attribute] = partial(_same, address[:2])
        elif isinstance(address, str):
            attributes[attribute] = partial(_same, (address, 0))
    return attributes


def _same(address: tuple[Any, ...]) -> tuple[Any, ...]:
    return address

"""Driver: a connection with its link and its clock, and the wake-ups between them.

Where data comes from and goes to.  The link carries bytes between the transport and the core;
sessions and streams act on the core directly.  After each act of either kind ``process_events`` takes the
core's events: whoever waits is woken, and the link if there is something for it.

How it ends.  Whatever the reason, the core's ``failure`` is set once, and ``ended`` with it.  The link
then says what is left to say within a deadline and closes the transport; ``transport_closed`` is set last.  What that has
to keep is in :mod:`~muxado_py.links.parting`.

The rule.  Its tasks raise nothing into the application's task group: a session that fails shows it
where the application uses it.

The trap.  The tasks live in a task group that the application's cancellation reaches.  They are
shielded from it; ``end`` is what ends them, and that is bounded in time.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, Event, create_task_group, current_time
from anyio.abc import SocketAttribute

from ..errors import Retry
from ..links.attributes import asked
from ..links.parting import GOODBYE_WAIT
from ..protocol.connection import CLOSED_HERE, Connection
from ..protocol.stream_state import RecvState
from ..runtime.checkpoints import Callback, current_backend
from .acceptors import WAKES_PER_FLUSH, Acceptors
from .alarms import Alarms
from .delivery import undelivered
from .frame_log import frame_log
from .pings import Pings
from .slots import Slots
from .timekeeper import Timekeeper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyio.abc import TaskGroup

    from ..config import Config
    from ..errors import Failure
    from ..links.link import Link, LinkFactory
    from ..protocol.events import Events
    from ..protocol.stream_state import StreamState

__all__ = ("Driver",)

logger = logging.getLogger("muxado.session")

_OPEN = RecvState.OPEN


class Driver:
    """What drives one session; see the module essay."""

    def __init__(self, make_link: LinkFactory, config: Config, *, is_client: bool) -> None:
        self.config = config
        backend = current_backend()
        (
            self.checkpoint_due,
            self.backend_checkpoint,
            self.new_waiter,
            now,
            self.check_here,
            self._soon,
        ) = backend
        self.connection = Connection(config, client=is_client, clock=now)
        self.outgoing = self.connection.outgoing
        self.can_half_close = self.connection.traits.half_close or config.half_close
        """See :attr:`.Stream.can_half_close`."""
        self.link = make_link(self.connection, config, self.process_events)
        self.pings = Pings(config, self.connection, self.process_events)
        self._timekeeper = Timekeeper(
            config, self.connection, self.link, self.pings, self.process_events, now
        )
        self.stream_attributes = _addresses(self.link)
        """What a stream knows of the transport: its addresses."""
        self.trusts_caller = is_client if config.trust_caller is None else config.trust_caller
        """Whether the peer's word for who calls is taken; see :mod:`.caller_address`."""
        self._frame_log = frame_log(
            self.connection, config, self.stream_attributes, is_client=is_client
        )
        self.leaving = Event()
        """Set when either side goes away, or the session is over."""
        self.ended = Event()
        """Set when the session is over."""
        self.transport_closed = Event()
        """Set when the transport is closed, too."""
        self.events = self.connection.events
        self.wrote = self.link.wrote
        self._wake_link = self.link.wake
        self.acceptors = Acceptors(
            self.connection, backend, self.check, self.process_events, self.link.expect_output
        )
        self.slots = Slots(self.connection, self.new_waiter)
        self.alarms = Alarms(self.connection.timers, self.process_events)
        self._reports_loss = True  # whether whoever closes the session is told what it lost
        self._awaited: list[tuple[Callable[[], bool], Event]] = []  # see wait_until
        self._running = Event()
        self._tasks: TaskGroup | None = None

    # For sessions, listeners and streams.

    def check(self) -> None:
        """Raise the error that stands, if the session is over.

        :raises SessionError: with the verdict ``UNKNOWN``.
        """
        ended = self.connection.events.failure
        if ended is not None:
            raise ended.error(Retry.UNKNOWN)

    async def checkpoint(self) -> None:
        """Every call that need not wait is one; see :mod:`~muxado_py.runtime.checkpoints`."""
        if self.checkpoint_due():
            await self.backend_checkpoint()

    def stream_dropped(self, state: StreamState) -> None:
        """Nobody has this stream any more, which was not closed.

        The garbage collector says so, in whatever thread and in the middle of whatever: it is ended later.
        """
        with suppress(RuntimeError):  # there is no later in a loop that has ended
            self._soon(partial(self._drop_stream, state))

    def _drop_stream(self, state: StreamState) -> None:
        if not (state.released or self.ended.is_set()):
            state.read_waiter = state.write_waiter = None  # nobody can look at what they would tell
            self.connection.drop(state)
            self.process_events()

    def stop_accepting(self) -> None:
        """Refuse the streams that wait for ``accept`` and those that come."""
        self.acceptors.close()
        self.process_events()

    async def wait_until(self, done: Callable[[], bool]) -> None:
        """Wait until ``done()``, which is asked whenever something changed, or until the end."""
        while not (self.ended.is_set() or done()):
            one = done, Event()
            self._awaited.append(one)
            try:
                await one[1].wait()
            finally:
                self._awaited.remove(one)

    def is_idle(self) -> bool:
        """Whether no stream is open, for the wire or for a handler of ours, but for heartbeats."""
        return self.connection.live_streams == 0 and self.connection.peer_streams == 0

    def is_flushed(self) -> bool:
        """Whether all that was sent, and can be, was cut into frames."""
        return not self.connection.has_unsent

    async def tasks(self) -> TaskGroup:
        """The session's task group, for tasks that raise nothing; what runs there ends with it."""
        while self._tasks is None:
            await self._running.wait()
        return self._tasks

    def check_unless_over(self) -> None:
        """Refuse a close from another loop, before it does anything; what is over may be closed from anywhere."""
        if not self.ended.is_set():
            self.check_here()

    async def close(self, flush_by: float, close_by: float) -> None:
        """End the session by the contract of :mod:`~muxado_py.links.parting`.

        :param flush_by: until when what was written may be cut into frames.
        :param close_by: until when all of it may take.
        :raises UndeliveredError: if bytes were lost; the first time, unless somebody gave up.

        Cancellation: gives up.
        """
        parting = self.link.parting
        parting.deadline = min(parting.deadline, close_by)
        if not self.ended.is_set():
            try:
                self.link.begin_parting()
                with CancelScope(deadline=flush_by):
                    await self.wait_until(self.is_flushed)
            except BaseException:
                self.give_up(GOODBYE_WAIT)
                raise
            finally:
                self.end(CLOSED_HERE)
        try:
            await self.transport_closed.wait()
        except BaseException:
            self.give_up(0.0)
            raise
        self._report_loss()

    def give_up(self, seconds: float) -> None:
        """Whoever closes the session does not care for what it held; ``seconds`` for the goodbye."""
        parting = self.link.parting
        parting.deadline = min(parting.deadline, current_time() + seconds)
        self._reports_loss = False

    def _report_loss(self) -> None:
        reports, self._reports_loss = self._reports_loss, False
        error = undelivered(self.connection, self.link, self.pings.arrived) if reports else None
        if error is not None:
            raise error

    def end(self, failure: Failure) -> None:
        """The session is over for a reason that the core does not know."""
        # A mistake, of ours or of an application's scheduler, is raised, but nobody waits for ever for its end.
        try:
            self.connection.terminate(failure)
        finally:
            try:
                self.process_events()
            finally:
                self.leaving.set()
                self.ended.set()
                self.acceptors.wake_all()
                self.slots.distribute()

    # What drives it.

    def process_events(self) -> None:
        """Take the core's events: wake whoever waits, and the link if there is something for it."""
        events = self.events
        try:
            if events.pending:
                events.pending = False
                self._wake_waiters(events)
        finally:
            for done, event in self._awaited:
                if self.ended.is_set() or done():
                    event.set()
            self._wake_link()

    def _wake_waiters(self, events: Events) -> None:
        woken = called = 0
        anybody = events.offered
        mistake: Exception | None = None
        while events.readable or events.writable:
            readable, events.readable = events.readable, []
            for state in readable:
                state.in_readable = False
                waiter = state.read_waiter
                # Of an adaptor without the question, for each message would pay for it.
                if waiter is not None and (type(waiter) is Callback or not waiter.done()):
                    try:
                        waiter.set_result(None)
                    except Exception as exc:  # noqa: BLE001 - of an adaptor: the others are woken all the same
                        mistake = mistake or exc
                    if type(waiter) is Callback:
                        if waiter.answers:
                            called += 1
                            if called % WAKES_PER_FLUSH == 0:
                                self.link.expect_answers()
                        continue
                    anybody = True
                    if state.recv_state is _OPEN:
                        woken += 1
                        if woken == WAKES_PER_FLUSH:
                            woken = 0
                            self.link.expect_output()
            if events.writable:
                mistake = self._wake_writers(events) or mistake
        if events.offered:
            events.offered = False
            self.acceptors.distribute()
        if anybody:
            self.link.expect_output()
        if called % WAKES_PER_FLUSH:
            self.link.expect_answers()
        if events.session_changed:
            events.session_changed = False
            self._process_session_events(events)
        if mistake is not None:
            raise mistake

    def _wake_writers(self, events: Events) -> Exception | None:
        mistake: Exception | None = None
        writable, events.writable = events.writable, []
        for state in writable:
            state.in_writable = False
            waiter = state.write_waiter
            if waiter is not None and not waiter.done():
                try:
                    waiter.set_result(None)
                except Exception as exc:  # noqa: BLE001 - as above
                    mistake = mistake or exc
        return mistake

    def _process_session_events(self, events: Events) -> None:
        self._timekeeper.wake()
        self.pings.take_events()
        if self.connection.opening.why_never() is not None:
            self.leaving.set()
        if events.failure is not None and not self.ended.is_set():
            logger.debug("%r is over: %s", self, events.failure.message)
            self.ended.set()
            self.acceptors.wake_all()
        if self.slots.is_awaited:
            self.slots.distribute()

    async def run(self) -> None:
        """Drive the session until it is over and its transport is closed; shielded."""
        with CancelScope(shield=True), self._frame_log:
            try:
                async with create_task_group() as tasks:
                    self._tasks = tasks
                    self._running.set()
                    tasks.start_soon(self._timekeeper.run)
                    await self.link.run(self.ended, self.config.close_timeout)
                    tasks.cancel_scope.cancel()
            finally:
                try:
                    self.end(CLOSED_HERE)
                finally:
                    self.transport_closed.set()


def _addresses(link: Link) -> Mapping[Any, Callable[[], Any]]:
    """The transport's addresses as ``(str, int)`` pairs, where it has any.

    Servers tell a client's address from a path by the pair; IPv6 has four parts and a Unix socket
    none.
    """
    attributes: dict[Any, Callable[[], Any]] = {}
    for attribute in (SocketAttribute.local_address, SocketAttribute.remote_address):
        address: object = asked(link, attribute)
        if isinstance(address, tuple):
            attributes[attribute] = partial(_same, address[:2])
        elif isinstance(address, str):
            attributes[attribute] = partial(_same, (address, 0))
    return attributes


def _same(address: tuple[Any, ...]) -> tuple[Any, ...]:
    return address

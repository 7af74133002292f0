"""Session: one instance of the protocol over one transport, for the application.

Where data comes from and goes to.  The link's tasks carry bytes between the transport and the core;
applications open, accept and use streams, which act on the core directly.  After each act of either
kind ``changed`` takes the core's events: whoever waits is woken, and the writer if there is
something to send.

How it ends.  Whatever the reason, the core's ``ended`` is set once.  The link then says what is left
to say within a deadline and closes the transport; the scope that made the session waits for that.

The rule.  A session's tasks raise nothing into the application's task group: a session that fails
shows it where the application uses it.

The trap.  The tasks live in a task group that the application's cancellation reaches.  They are
shielded from it; leaving the scope is what ends them, and leaving is bounded in time.
"""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from anyio import (
    CancelScope,
    Event,
    create_task_group,
    current_time,
    move_on_after,
)
from anyio.abc import SocketAttribute
from anyio.lowlevel import checkpoint

from .connection import CLOSED_HERE, Connection
from .errors import (
    ErrorCode,
    GoneAwayError,
    MuxadoError,
    Retry,
    SessionClosedError,
    StreamClosedError,
)
from .link import GOODBYE_WAIT, Link
from .listener import NetListener
from .stream import Stream
from .timekeeper import Timekeeper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyio.abc import ByteStream

    from .config import Config
    from .errors import Failure
    from .events import Events
    from .halves import StreamState
    from .scheduler import Priority

__all__ = ("Session", "SessionStatistics")

logger = logging.getLogger("muxado.session")


class SessionStatistics(NamedTuple):
    """A snapshot of one session."""

    live_streams: int
    """Streams that either side may still mention."""
    peer_streams: int
    """Streams the peer opened, whose handlers are not done."""
    backlog: int
    """Streams that wait for ``accept_stream``."""
    unread: int
    """Bytes received that no application has read."""
    bytes_sent: int
    """Bytes given to the transport."""
    bytes_received: int
    """Bytes taken from the transport."""
    round_trip: float | None
    """Seconds of the latest answered heartbeat or ``ping``; None before one."""


class Session:
    """One instance of the protocol over one transport; made by ``client``, ``server``, ``connect``
    or ``listen``, never directly.

    Either side opens streams with :meth:`open_stream` and takes the peer's with
    :meth:`accept_stream`, or as a dialer and a listener with :meth:`net_dial` and
    :meth:`net_listener`.
    """

    def __init__(self, transport: ByteStream, config: Config, *, is_client: bool) -> None:
        self.config = config
        self.is_client = is_client
        self.connection = Connection(config, client=is_client)
        self.link = Link(transport, self.connection, self.changed)
        self.stream_attributes = _addresses(transport)
        self.lingering: deque[tuple[float, StreamState]] = deque()
        """Streams that were closed before everything was sent, and until when they may flush."""
        self.going_away = False
        """Whether this side takes no more streams."""
        self._timekeeper = Timekeeper(self)
        self._accepting = True
        self._offered = Event()  # set, and replaced, when a stream waits for accept
        self._idle: Event | None = None  # tells a drain that the last stream is done
        self._over = Event()
        self._closed = Event()
        # Asking anyio.Event for one costs a look-up of the running backend each time.
        self.new_event = type(self._closed)

    def __repr__(self) -> str:
        side = "client" if self.is_client else "server"
        return f"<muxado_py.Session {side} {id(self):#x}{' closed' if self.closed else ''}>"

    # What it is.

    @property
    def closed(self) -> bool:
        """Whether the session is over; no stream can be opened or accepted any more."""
        return self.connection.events.ended is not None

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The typed attributes of the transport, TLS ones too, but no raw socket."""
        attributes: dict[Any, Callable[[], Any]] = {**self.link.transport.extra_attributes}
        attributes.pop(SocketAttribute.raw_socket, None)
        attributes.update(self.stream_attributes)
        return attributes

    def statistics(self) -> SessionStatistics:
        """A snapshot of what the session holds and has done."""
        connection = self.connection
        return SessionStatistics(
            live_streams=connection.live_streams,
            peer_streams=connection.peer_streams,
            backlog=connection.backlog,
            unread=connection.unread,
            bytes_sent=self.link.bytes_sent,
            bytes_received=self.link.bytes_received,
            round_trip=self._timekeeper.round_trip,
        )

    # Streams.

    async def open_stream(
        self, *, priority: Priority | None = None, stream_type: int | None = None
    ) -> Stream:
        """Open a stream to the peer.

        The peer learns of it with the next flush; bytes sent before that travel in the same frame.

        :param priority: its place among this session's streams, told to a muxado_py peer too.
        :param stream_type: 0 to 0xFFFFFFFE; required with ``Config(typed_streams=True)``, and not
            allowed without.
        :raises GoneAwayError: if this side or the peer is going away.
        :raises StreamLimitError: if as many streams are open as the peer takes, or the ids are used
            up.
        :raises SessionError: if the session is over.  All of these are also ``OSError``, with
            ``retry`` ``NEVER_SENT``.

        Cancellation: no stream is opened.
        """
        await checkpoint()
        if (stream_type is None) is self.config.typed_streams:
            raise ValueError(
                "stream_type is required in a session with typed_streams"
                if self.config.typed_streams
                else f"stream_type {stream_type!r} needs Config(typed_streams=True) on both sides"
            )
        if stream_type is not None and not 0 <= stream_type < 0xFFFF_FFFF:
            raise ValueError(f"stream_type must be from 0 to 0xFFFFFFFE, got {stream_type!r}")
        return self.open_stream_nowait(priority, stream_type)

    def open_stream_nowait(self, priority: Priority | None, stream_type: int | None) -> Stream:
        """Like ``open_stream``, without a checkpoint and without a look at ``stream_type``."""
        stream = Stream(self, self.connection.open(priority, stream_type))
        self.changed()
        return stream

    async def accept_stream(self) -> Stream:
        """Wait for the next stream that the peer opens.

        Once it returned, the stream is ours: the peer is never told that it was refused.

        :raises SessionError: if the session is over; streams that still wait are gone with it.
        :raises ~anyio.ClosedResourceError: if the listener of the session was closed.

        Cancellation: no stream is lost; the next call gets it.
        """
        if self.connection.backlog or self.closed or not self._accepting:
            await checkpoint()
        while (state := self.connection.accept()) is None:
            self._check_over()
            if not self._accepting:
                raise StreamClosedError(
                    "you closed the listener of this session", code=ErrorCode.SESSION_CLOSED
                )
            await self._offered.wait()
        return Stream(self, state)

    def _check_over(self) -> None:
        ended = self.connection.events.ended
        if ended is not None:
            raise ended.error(Retry.UNKNOWN)

    async def net_dial(
        self,
        *address: object,
        priority: Priority | None = None,
        stream_type: int | None = None,
    ) -> Stream:
        """``open_stream`` in the shape of a dial function; any address is taken and ignored.

        :raises OSError: at once, if the session is over, going away or full.

        Cancellation: no stream is opened.
        """
        return await self.open_stream(priority=priority, stream_type=stream_type)

    def net_listener(self) -> NetListener:
        """The peer's streams as an ``anyio.abc.Listener``: what takes a listener takes this."""
        return NetListener(self)

    def close_stream(self, state: StreamState) -> None:
        """A stream was closed; what it has to flush gets ``Config.linger_timeout`` seconds."""
        self.connection.close(state)
        if self.connection.is_lingering(state):
            if len(self.lingering) > 2 * self.connection.live_streams + 16:
                # Those that flushed meanwhile must not pile up until their time has come.
                self.lingering = deque(
                    entry for entry in self.lingering if self.connection.is_lingering(entry[1])
                )
            self.lingering.append((current_time() + self.config.linger_timeout, state))
        self.changed()

    # The session.

    async def ping(self, timeout: float | None = None) -> float:
        """The round trip to the peer, from the moment the ping leaves the queue.

        :param timeout: seconds to wait at most; default ``Config.heartbeat_timeout``.
        :raises PeerTimeoutError: if there was no answer in time (the session stays).
        :raises SessionError: if the session ends before.
        :raises MuxadoError: if the peer is no muxado_py and ``typed_streams`` is off: the muxado
            wire has no ping for such a session.

        Cancellation: safe; a late answer is ignored.
        """
        return await self._timekeeper.ping(timeout)

    def stop_accepting(self) -> None:
        """Refuse the streams that wait for ``accept_stream`` and those that come."""
        self._accepting = False
        self.connection.stop_accepting()
        self._offered.set()
        self.changed()

    def go_away(self, code: int = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """Take no more streams of the peer; those that wait for ``accept_stream`` are refused.

        Streams that were accepted go on.  A muxado_py peer closes the session after the last.

        :param debug: a text for the peer's logs, cut to 1 KiB.
        """
        if not self.closed:
            self.going_away = True
            self.connection.go_away(code, debug)
            self.changed()

    async def drain(self, deadline: float = 30.0) -> None:
        """End gracefully: no new streams, finish the open ones, close.

        The peer is told in two steps, a round trip apart, so that no stream that was on its way is
        refused by surprise; what still waits for ``accept_stream`` after that is refused.

        :param deadline: seconds for all of it; streams still open then are cut off.

        Cancellation: the session is closed at once.
        """
        try:
            with move_on_after(deadline):
                if not self.closed:
                    self.connection.announce_go_away()
                    self.changed()
                    await self._wait_round_trip()
                    self.go_away()
                while not self.closed and self._busy:
                    if self._idle is None or self._idle.is_set():
                        self._idle = Event()
                    await self._idle.wait()
        finally:
            await self.aclose()

    async def _wait_round_trip(self) -> None:
        if self._timekeeper.can_ask:
            with suppress(MuxadoError):
                await self.ping()
                return
        # Nobody answers pings here; what is on its way arrives while we wait this long.
        with move_on_after(GOODBYE_WAIT):
            await self._over.wait()

    @property
    def _busy(self) -> bool:
        """Whether a stream is open, for the wire or for a handler of ours; heartbeats do not count."""
        ours, theirs = self._timekeeper.streams
        connection = self.connection
        return connection.live_streams > ours + theirs or connection.peer_streams > theirs

    async def aclose(self) -> None:
        """Flush what was sent, say goodbye, close the transport; streams still open end.

        Takes at most ``Config.close_timeout`` seconds, and less than one more for the goodbye.

        Cancellation: the rest of the flush is given up; the session is closed all the same.
        """
        if not self.closed:
            self.go_away()
            try:
                with move_on_after(self.config.close_timeout):
                    while self.connection.unsent and not self.closed:
                        await self.link.next_flush()
            finally:
                self.end(CLOSED_HERE)
        with CancelScope(shield=True):
            await self._closed.wait()
        await checkpoint()

    def abort(self) -> None:
        """Close without waiting: nothing more is flushed; a goodbye is still tried."""
        self.go_away()
        self.end(CLOSED_HERE)

    def end(self, failure: Failure) -> None:
        """The session is over for a reason that the core does not know; for the session's parts."""
        self.connection.terminate(failure)
        self.changed()

    async def wait(self) -> None:
        """Wait until the session is over and its transport closed.

        :raises SessionError: if it ended otherwise than by ``aclose``, ``drain``, ``abort`` or the
            peer's goodbye.

        Cancellation: safe.
        """
        await self._closed.wait()
        ended = self.connection.events.ended
        if ended is not None and not issubclass(ended.kind, SessionClosedError | GoneAwayError):
            raise ended.error(Retry.UNKNOWN)

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
        self._timekeeper.take_events()
        if events.ended is not None and not self._over.is_set():
            logger.debug("%r is over: %s", self, events.ended.message)
            self._over.set()
            self._offered.set()
            if self._idle is not None:
                self._idle.set()

    async def run(self) -> None:
        """Drive the session until it is over and its transport is closed; shielded."""
        with CancelScope(shield=True):
            try:
                async with create_task_group() as tasks:
                    tasks.start_soon(self._timekeeper.run)
                    await self.link.run(self._over, self.config.close_timeout)
                    tasks.cancel_scope.cancel()
            finally:
                self.end(CLOSED_HERE)
                self._closed.set()


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

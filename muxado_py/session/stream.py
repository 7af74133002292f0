"""Stream: one byte stream of a session, as an anyio stream and as nowait calls.

Where data comes from and goes to.  ``send`` puts bytes into the core's stream and rouses the session's
writer; ``receive`` pulls them out of the core, which returns their credit.  Whoever has to wait leaves in
the core's stream whom to wake; the driver does it when the core says that something changed.

The rule.  No task of the application ever touches the transport or waits for it: what it writes lies
in the core until the scheduler picks the stream.  So a cancelled ``send`` can simply take back what
no frame was cut from, and a cancelled ``receive`` has taken nothing.

The trap.  Between looking at the state and acting on it there must be no ``await``.  Every call is a
checkpoint, and yields *before* it acts: a cancellation can then never swallow bytes that were
already taken.

Its ends, one way and both, are the class below it: :mod:`~muxado_py.session.ending`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio import BusyResourceError

from ..arguments import octets, view_of
from ..protocol.stream_state import RecvState, SendState
from ..runtime.checkpoints import Callback
from .caller_address import with_caller
from .ending import EndingStream
from .statistics import of_stream
from .stream_errors import check_sendable, why_no_bytes
from .waking import (
    call_back,
    check_idle_sender,
    giving_way,
    giving_way_to_send,
    until_room,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..protocol.stream_state import StreamState
    from ..scheduler import Priority
    from .driver import Driver
    from .statistics import StreamStatistics

__all__ = ("Stream",)

# An enumeration looks for its members in two classes, and some calls ask for each message.
_OPEN, _SENDING = RecvState.OPEN, SendState.OPEN
_FIN_RECEIVED = RecvState.FIN_RECEIVED


class Stream(EndingStream):
    """One full-duplex byte stream; made by a :class:`~muxado_py.Session`, never directly.

    An ``anyio.abc.ByteStream``.  One task may send while another receives; two tasks in the same
    direction raise :exc:`~anyio.BusyResourceError`.  Every error of the stream carries ``retry``.

    One that is dropped while it is open is a :exc:`ResourceWarning`.  What was sent on it still goes out, within
    ``Config.linger_timeout``; then it is reset, which gives its slot back on both sides (on smux it is closed).
    Until the peer has said something on it, that time is waited for, because the peer may not have accepted it.
    """

    __slots__ = ()

    def __init__(self, driver: Driver, state: StreamState) -> None:
        self._driver = driver
        self._state = state

    def __repr__(self) -> str:
        return f"<muxado_py.Stream {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other._state is self._state

    def __hash__(self) -> int:
        return id(self._state)

    # What it is.

    def belongs_to(self, driver: Driver) -> bool:
        """Whether it is a stream of that session's; see :meth:`.Session.has_stream`."""
        return driver is self._driver

    @property
    def id(self) -> int | None:
        """The id on the wire; None until the stream's first frame goes out."""
        return self._state.id

    @property
    def stream_type(self) -> int | None:
        """The four-byte type, in a session with ``Config(typed_streams=True)``; else None."""
        return self._state.stream_type

    @property
    def metadata(self) -> Mapping[str, bytes]:
        """What its opener said of it, ``open_stream(metadata=...)``; empty if that was nothing.

        It is all there when :meth:`Session.accept_stream` returns the stream.  What stands there is what the peer
        wrote: believe it as far as you believe the peer.  Each look at it makes a new dict.
        """
        return self._driver.connection.metadata_of(self._state)

    @property
    def priority(self) -> Priority:
        """Its place among the session's streams, from the next frame on.

        A muxado_py peer is told what is set here and orders its own answers by it; what the peer
        sets shows here.

        :raises TypeError: if it is set to what is no :class:`Priority`.
        """
        return self._state.priority

    @priority.setter
    def priority(self, priority: Priority) -> None:
        self._driver.connection.set_priority(self._state, priority)
        self._driver.process_events()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The transport's addresses, as ``SocketAttribute.local_address`` and ``remote_address``.

        The latter is the caller's, if the peer says whose stream this is and is believed (``Config.trust_caller``).
        """
        driver, state = self._driver, self._state
        if driver.trusts_caller and state.metadata and not state.local:
            return with_caller(driver.stream_attributes, self.metadata)
        return driver.stream_attributes

    def statistics(self) -> StreamStatistics:
        """A snapshot of what the stream has carried and what it holds; also after its end.  Never waits."""
        return of_stream(self._driver.connection, self._state)

    # Receiving.

    @property
    def is_readable(self) -> bool:
        """Whether ``receive_nowait`` would not raise ``WouldBlock``."""
        state = self._state
        # Not state.fin_received, which adaptors would pay for with each message.
        return bool(state.unread or state.recv_state is _FIN_RECEIVED or state.failure)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait for bytes of the peer.

        :param max_bytes: the most to return, at least 1.
        :returns: 1 to ``max_bytes`` bytes.
        :raises ~anyio.EndOfStream: if the peer finished sending and everything was received.
        :raises ~anyio.BrokenResourceError: (a :class:`StreamError` or :class:`SessionError`) if the
            stream or the session ended otherwise; what arrived before is received first.
        :raises ~anyio.ClosedResourceError: if this side closed the stream.
        :raises ~anyio.BusyResourceError: if another task is receiving.

        Cancellation: nothing is lost; the bytes stay for the next call.
        """
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, got {max_bytes}")
        state, driver = self._state, self._driver
        if state.read_waiter is not None:
            raise BusyResourceError("receiving from")
        if state.unread or state.recv_state is not _OPEN or state.failure is not None:
            if driver.checkpoint_due():
                await giving_way(driver, state)
        else:
            try:
                while True:
                    state.read_waiter = waiter = driver.new_waiter()
                    await waiter
                    state = self._state  # or mypy holds that waiting changed nothing
                    if state.unread or state.recv_state is not _OPEN or state.failure is not None:
                        break
            finally:
                state.read_waiter = None
        if not state.unread:
            raise why_no_bytes(state)
        data = driver.connection.read(state, max_bytes)
        if driver.events.pending:
            driver.process_events()
        return data

    def receive_nowait(self, max_bytes: int = 65536) -> bytes:
        """Like ``receive``, without waiting.

        :raises ~anyio.WouldBlock: if nothing is there yet.
        """
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, got {max_bytes}")
        state = self._state
        if state.unread:
            driver = self._driver
            data = driver.connection.read(state, max_bytes)
            if driver.events.pending:
                driver.process_events()
            return data
        raise why_no_bytes(state)

    # Sending.

    async def send(self, item: bytes | bytearray | memoryview) -> None:
        """Send bytes; waits only while more than ``Config.send_buffer`` is unsent, or its share of
        ``Config.session_send_buffer`` where that is short, and then until no more than half of it is.

        :param item: any length; ``bytes`` are kept without a copy.
        :raises TypeError: if ``item`` is nothing that has bytes.
        :raises ~anyio.BrokenResourceError: (a :class:`StreamError` or :class:`SessionError`) if the
            stream or the session is over; part of ``item`` may have been sent.
        :raises ~anyio.ClosedResourceError: if this side closed the stream or half closed it.
        :raises ~anyio.BusyResourceError: if another task is sending.

        Cancellation: what is in no frame yet is taken back; what was sent is a prefix of ``item``.
        """
        state, driver = self._state, self._driver
        if state.write_waiter is not None:
            check_idle_sender(state)
        data = item if type(item) is bytes else octets(item)
        if driver.checkpoint_due():
            await giving_way_to_send(driver, state)
        if state.failure is not None or state.send_state is not _SENDING:
            check_sendable(state)
        if data:
            driver.connection.write(state, data)
            driver.wrote()
        if state.unsent > driver.outgoing.min_unsent and driver.outgoing.room(state) < 0:
            await until_room(driver, state, len(data))

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """Send what there is room for; ``on_writable`` is called when there is room for the rest.

        :returns: how many bytes were taken, from 0 to all of ``data``.
        :raises: what ``send`` raises.
        """
        state = self._state
        waiter = state.write_waiter
        if waiter is not None and type(waiter) is not Callback:  # which would cost adaptors a call
            check_idle_sender(state)
        check_sendable(state)
        whole = data if type(data) is bytes else view_of(data)
        taken = min(len(whole), max(0, self._driver.outgoing.room(state)))
        if taken:
            # Slicing bytes whole gives the same object; others are copied, for they may change.
            self._driver.connection.write(state, bytes(whole[:taken]))
            self._driver.wrote()
        if taken < len(whole):
            state.wants_writable = True
        return taken

    def send_whole_nowait(self, data: bytes) -> bool:
        """Send all of it, as ``send`` does, and do not wait for room afterwards.

        :returns: whether there is room for more; if not, ``on_writable`` is called when there is.
        :raises: what ``send`` raises.
        """
        state, driver = self._state, self._driver
        waiter = state.write_waiter
        if waiter is not None and type(waiter) is not Callback:  # as above
            check_idle_sender(state)
        if state.failure is not None or state.send_state is not _SENDING:
            check_sendable(state)
        if data:
            driver.connection.write(state, data)
            driver.wrote()
        if state.unsent > driver.outgoing.min_unsent and driver.outgoing.room(state) < 0:
            state.wants_writable = True
            return False
        return True

    # Wake-ups.

    def set_callbacks(
        self,
        on_readable: Callable[[], object] | None,
        on_writable: Callable[[], object] | None,
    ) -> None:
        """For adaptors that drive the stream by its nowait calls, without a task.

        :param on_readable: called when bytes, the end or a failure arrived, and when this side closed the stream.
        :param on_writable: called when there is room after ``send_nowait`` took less than it was
            given, or when the stream failed.

        Both are called from the session's tasks and must not raise.  While there is an
        ``on_readable``, ``receive`` raises :exc:`~anyio.BusyResourceError`.

        :raises ~anyio.BusyResourceError: if a task is receiving or sending: its wake-up has this place.
        :raises TypeError: if either is no function.
        """
        call_back(self._state, on_readable, on_writable)

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
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio import BusyResourceError, EndOfStream
from anyio.abc import ByteStream

from ..arguments import octets, view_of
from ..errors import ErrorCode
from ..protocol.stream_state import Owner, RecvState, SendState
from ..runtime.checkpoints import Callback
from .caller_address import with_caller
from .statistics import of_stream
from .stream_errors import (
    abort_stream,
    check_finishable,
    check_refusable,
    check_reset_code,
    check_sendable,
    dropped,
    why_no_bytes,
)
from .waking import (
    call_back,
    check_idle_sender,
    giving_way,
    giving_way_to_send,
    until_peer_closed,
    until_room,
    wake_all,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from ..protocol.stream_state import StreamState
    from ..scheduler import Priority
    from .driver import Driver
    from .statistics import StreamStatistics

__all__ = ("Stream",)

# An enumeration looks for its members in two classes, and some calls ask for each message.
_OPEN, _SENDING, _RELEASED = RecvState.OPEN, SendState.OPEN, Owner.RELEASED


class Stream(ByteStream):
    """One full-duplex byte stream; made by a :class:`~muxado_py.Session`, never directly.

    An ``anyio.abc.ByteStream``.  One task may send while another receives; two tasks in the same
    direction raise :exc:`~anyio.BusyResourceError`.  Every error of the stream carries ``retry``.

    One that is dropped while it is open is a :exc:`ResourceWarning`.  What was sent on it still goes out, within
    ``Config.linger_timeout``; then it is reset, which gives its slot back on both sides (on smux it is closed).
    Until the peer has said something on it, that time is waited for, because the peer may not have accepted it.
    """

    __slots__ = ("_driver", "_state")

    def __init__(self, driver: Driver, state: StreamState) -> None:
        self._driver = driver
        self._state = state

    def __del__(self) -> None:
        if self._state.owner is not _RELEASED:
            dropped(self, self._driver, self._state)

    def __repr__(self) -> str:
        return f"<muxado_py.Stream {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other._state is self._state

    def __hash__(self) -> int:
        return id(self._state)

    # What it is.

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
        return bool(state.unread or state.fin_received or state.failure)

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
        if state.write_waiter is not None:
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

    @property
    def can_half_close(self) -> bool:
        """Whether ``send_eof`` is possible: not on smux, unless ``Config(half_close=True)``."""
        return self._driver.can_half_close

    async def send_eof(self) -> None:
        """Half close: the peer receives the end after the last byte; receiving goes on.

        A second call does nothing.

        :raises ~anyio.BrokenResourceError: if the stream or the session is over.
        :raises ~anyio.ClosedResourceError: if this side closed the stream.
        :raises ~anyio.BusyResourceError: if another task is sending.
        :raises NotImplementedError: on a wire whose peers can lose data by it (smux), unless
            ``Config(half_close=True)``.

        Cancellation: the end is sent all the same.
        """
        due = self._driver.checkpoint_due()  # first, for it raises in another loop
        self.send_eof_nowait()
        if due:
            await self._driver.backend_checkpoint()

    def send_eof_nowait(self) -> None:
        """Like ``send_eof``, without a checkpoint."""
        if self._state.write_waiter is not None:
            check_idle_sender(self._state)
        if self._state.finishing and not self._state.released:
            return
        check_finishable(self._driver, self._state)
        self._driver.connection.finish(self._state)
        self._driver.process_events()

    # Ending.

    async def wait_peer_closed(self) -> None:
        """After :exc:`~anyio.EndOfStream`: wait until the peer takes nothing on this stream any more either.

        A half close of the peer may be the first part of its full close.  A muxado peer is asked, every
        ``Config.probe_interval``; on yamux it may say it after minutes; an end without half close is both.
        Returns too when the stream was reset or closed, when this side's end was sent as well, or the session is over.

        :raises ~anyio.BusyResourceError: if another task is receiving.

        Cancellation: safe.
        """
        if self._state.read_waiter is not None:
            raise BusyResourceError("receiving from")
        await until_peer_closed(self._driver, self._state)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the stream; reset it if the block was left by an exception before ``send_eof``.

        What was sent until then is a part of something, and must not look like the whole.  The end
        of the *peer's* bytes (:exc:`~anyio.EndOfStream`) is no such exception.
        """
        whole = self._state.finishing or exc is None or isinstance(exc, EndOfStream)
        if whole:
            await self.aclose()
        else:
            self.reset()

    async def aclose(self) -> None:
        """Close both ways: what was sent still goes out, and the peer's further sends fail.

        Does not wait for the flush, which has ``Config.linger_timeout`` seconds.  Blocked calls of
        other tasks on this stream raise :exc:`~anyio.ClosedResourceError`.

        Cancellation: the stream is closed all the same.
        """
        due = self._driver.checkpoint_due()  # first, for it raises in another loop
        self.close()
        if due:
            await self._driver.backend_checkpoint()

    def close(self) -> None:
        """Like ``aclose``, without a checkpoint."""
        state, driver = self._state, self._driver
        if state.owner is not _RELEASED:
            driver.connection.close(state)
            driver.process_events()
            if state.read_waiter is not None or state.write_waiter is not None:
                wake_all(state)

    def reset(self, code: int = ErrorCode.STREAM_CANCELLED) -> None:
        """Abort both directions at once: unsent bytes are dropped, the peer is told ``code``.

        A stream of which nothing was sent yet leaves no trace.  On a closed stream that still has
        bytes to flush it stops the flush; after that it does nothing.

        :raises TypeError: if ``code`` is no int.
        :raises ValueError: if it does not fit into 32 bits; and for the codes that tell the peer its
            application was never asked (``STREAM_REFUSED``, ``ACCEPT_QUEUE_FULL``): it would send again
            what you have seen.
        """
        check_reset_code(code)
        abort_stream(self._driver, self._state, code)

    def refuse(self) -> None:
        """End a stream of the peer's that nobody here has looked at: it may send all of it again elsewhere.

        For a server that stops, or has too much to do, and received nothing of it yet.

        :raises ValueError: if bytes of it were received here or sent on it, or this side opened it.
        :raises NotImplementedError: unless the peer is a muxado_py on the muxado wire: only that believes it of
            an accepted stream.
        """
        check_refusable(self._driver.connection, self._state)
        abort_stream(self._driver, self._state, ErrorCode.STREAM_REFUSED)

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

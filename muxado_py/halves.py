"""Stream halves: the state of one direction of a stream, and the pair of them.

Where data comes from and goes to.  The application's bytes wait in a :class:`SendHalf` until the
core cuts a frame from them; the peer's bytes wait in a :class:`RecvHalf` until the application
reads them.  A :class:`StreamState` is the two together with what belongs to neither direction.

Each half is ``OPEN`` until its last byte is through; there is no product of states to enumerate, a
stream is over when both halves are.  A failure ends both at once and stands on the pair.

The rule.  The halves know no frame and no other stream.  They count bytes; they never decide.

The trap.  ``unwrite`` may take back only bytes that no frame was cut from, and only from the end:
what the peer gets must be a prefix of what the application wrote.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .errors import Failure, Retry, StreamClosedError
from .windows import RecvWindow, SendWindow

if TYPE_CHECKING:
    from .scheduler import Priority

__all__ = ("RecvHalf", "SendHalf", "StreamState")


class SendHalf:
    """Bytes on their way out, handed on without a copy."""

    __slots__ = ("_chunks", "buffered", "finished", "finishing", "window")

    def __init__(self, window: int) -> None:
        self.window = SendWindow(window)
        self.buffered = 0
        self.finishing = False
        """The application writes no more: a FIN follows the last byte."""
        self.finished = False
        """The FIN was cut into a frame."""
        self._chunks: deque[bytes | memoryview] | None = None

    def write(self, data: bytes) -> None:
        """Queue ``data``; it is kept, not copied."""
        if self._chunks is None:
            self._chunks = deque()
        self._chunks.append(data)
        self.buffered += len(data)

    def unwrite(self, nbytes: int) -> int:
        """Take back up to ``nbytes`` of the last bytes written; how many were still here."""
        left = taken = min(nbytes, self.buffered)
        self.buffered -= taken
        chunks = self._chunks
        while left and chunks:
            chunk = chunks.pop()
            if len(chunk) > left:
                chunks.append(memoryview(chunk)[: len(chunk) - left])
                break
            left -= len(chunk)
        return taken

    def take(self, nbytes: int, out: list[bytes | memoryview]) -> None:
        """Move the next ``nbytes`` (at most ``buffered``) to ``out``."""
        self.buffered -= nbytes
        chunks = self._chunks
        while nbytes and chunks:
            chunk = chunks.popleft()
            size = len(chunk)
            if size > nbytes:
                view = memoryview(chunk)
                out.append(view[:nbytes])
                chunks.appendleft(view[nbytes:])
                return
            out.append(chunk)
            nbytes -= size
        if not chunks:
            self._chunks = None

    def drop(self) -> None:
        """Forget what was written and not sent."""
        self._chunks = None
        self.buffered = 0

    @property
    def sendable(self) -> int:
        """Bytes that are here and that the peer has room for."""
        return max(0, min(self.buffered, self.window.available))

    @property
    def due_fin(self) -> bool:
        """Whether nothing but the FIN is left to send."""
        return self.finishing and not self.finished and not self.buffered


class RecvHalf:
    """Bytes on their way in.

    One chunk is handed on as it came; more than one are gathered in a bytearray, so that a flood
    of tiny frames costs its bytes and not an object for each.
    """

    __slots__ = ("_data", "finished", "tiny", "window")

    def __init__(self, initial: int, size: int) -> None:
        self.window = RecvWindow(initial, size)
        self.finished = False
        """The peer's FIN arrived."""
        self.tiny = 0
        """Frames of a few bytes that the application has not read, or a few more."""
        self._data: bytes | bytearray = b""

    @property
    def unread(self) -> int:
        return len(self._data)

    def append(self, chunk: bytes) -> None:
        """Keep what arrived; the window was asked before."""
        data = self._data
        if not data:
            self._data = chunk
        elif isinstance(data, bytearray):
            data += chunk
        else:
            self._data = bytearray(data) + chunk

    def read(self, nbytes: int) -> bytes:
        """The next bytes, at most ``nbytes``."""
        data = self._data
        if len(data) <= nbytes:
            self._data = b""
            self.tiny = 0
            return bytes(data)
        if self.tiny:
            # Where frames end is not kept; at a byte each, reading can only forgive too many.
            self.tiny = max(0, self.tiny - nbytes)
        if isinstance(data, bytes):
            # The rest is likely to be read in pieces too, and a bytearray loses its head cheaply.
            self._data = data = bytearray(data)
        chunk = bytes(memoryview(data)[:nbytes])
        del data[:nbytes]
        return chunk

    def drop(self) -> int:
        """Forget what was not read; how many bytes that were."""
        dropped = len(self._data)
        self._data = b""
        return dropped


class StreamState:
    """One stream as the core sees it: two halves, an id once it has one, and how it ended.

    :ivar id: the wire's id, None until the SYN is cut into a frame.
    :ivar local: whether this side opened it.
    :ivar owner: whatever the IO layer wants to find it by; the core only hands it back.
    """

    __slots__ = (
        "answered",
        "failure",
        "handed_off",
        "heard",
        "id",
        "local",
        "offered",
        "owner",
        "priority",
        "recv",
        "released",
        "retry",
        "send",
        "stream_type",
        "unread_lost",
        "wake_read",
        "wake_write",
        "writer_waits",
    )

    def __init__(
        self, stream_id: int | None, priority: Priority, send: SendHalf, recv: RecvHalf
    ) -> None:
        self.id = stream_id
        self.local = stream_id is None
        self.priority = priority
        self.send = send
        self.recv = recv
        self.owner: Any = None
        self.stream_type: int | None = None
        self.failure: Failure | None = None
        """Why the stream ended before both halves were through, once it did."""
        self.retry = Retry.UNKNOWN
        """The verdict that belongs to ``failure``."""
        self.heard = False
        """Whether the peer sent any frame of this stream."""
        self.answered = False
        """Whether the peer sent any byte on it."""
        self.offered = False
        """Whether it waits, or waited, for ``accept``."""
        self.handed_off = self.local
        """Whether the application has it."""
        self.released = False
        """Whether the application is done with it."""
        self.unread_lost = False
        """Whether bytes of the peer were thrown away: a RST must say so after our FIN."""
        self.writer_waits = False
        """Whether the application wants to know when there is room to write again."""
        self.wake_read = False
        """Whether it stands in the core's list of readable streams."""
        self.wake_write = False
        """Whether it stands in the core's list of writable streams."""

    def verdict(self, *, refused: bool = False) -> Retry:
        """May the caller send again, if this stream ends in error now?

        :param refused: whether the peer said, credibly, that its application never saw it.
        """
        if not self.local:
            return Retry.UNKNOWN
        if self.id is None:
            return Retry.NEVER_SENT
        if self.answered:
            return Retry.PROCESSED
        return Retry.REFUSED if refused and not self.heard else Retry.UNKNOWN

    def fail(self, failure: Failure, *, refused: bool = False) -> None:
        """End both halves with ``failure``, unless an earlier one stands; unsent bytes are lost."""
        if self.failure is None:
            self.failure = failure
            self.retry = self.verdict(refused=refused)
        self.send.drop()

    def error(self) -> Exception:
        """A new exception for the failure that stands."""
        failure = self.failure or _CLOSED
        return failure.error(self.retry)


_CLOSED = Failure(StreamClosedError, "this stream is closed", 0, False)

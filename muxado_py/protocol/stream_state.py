"""Stream state: all that is known of one stream, in one object.

What it is.  The slots of a stream and what they start with, what follows from them, who has the stream, and the
error that its application is told.  What is done with its two directions are functions over this record, in
:mod:`~muxado_py.protocol.send_half` and :mod:`~muxado_py.protocol.recv_half`; what leads from one state to another is in
:mod:`~muxado_py.protocol.end_table`.

Why one object.  A short stream costs what its objects cost: one is made in less time than one for each
direction and one for each window.

Where it is kept.  In the :class:`~muxado_py.protocol.stream_table.StreamTable` while the wire may mention it; the
application's ``Stream`` holds it as long as it likes.

The rules.  Whoever adds a field gives its value here, says what it means, and says who may change it if that is
not the module it belongs to.  And a failure stands: what comes later changes neither it nor its verdict, for callers
send again on the strength of the verdict (see :mod:`~muxado_py.errors`).

The trap.  Attributes of a class with slots have no defaults: a field that ``__init__`` forgets is an
AttributeError in the first stream that needs it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from ..errors import ErrorCode, Failure, Retry, StreamClosedError

if TYPE_CHECKING:
    from collections import deque

    from ..scheduler import Priority

__all__ = ("DROPPED", "Owner", "Pace", "RecvState", "SendState", "StreamState")


class SendState(IntEnum):
    """How far this side's direction is, as the wire knows it."""

    OPEN = 0
    FIN_QUEUED = 1
    """The application writes no more: a FIN follows the last byte."""
    FIN_SENT = 2
    """The FIN was cut into a frame."""


class RecvState(IntEnum):
    """How far the peer's direction is."""

    OPEN = 0
    FIN_RECEIVED = 1
    """The peer's FIN arrived: what is unread lies before it."""
    TORN = 2
    """Bytes were thrown away, or came behind the FIN: nothing may look like a whole any more."""


class Owner(IntEnum):
    """Who has the stream.  Each only follows those before it."""

    NOBODY = 0
    """The peer opened it, and its type is still to come."""
    OFFERED = 1
    """It waits for ``accept``."""
    APPLICATION = 2
    RELEASED = 3
    """Nobody will ask for it again."""


# An enumeration looks for its members in two classes.
_UNKNOWN = Retry.UNKNOWN
_SENDING = SendState.OPEN
_FIN_QUEUED = SendState.FIN_QUEUED
_RECEIVING = RecvState.OPEN
_NOBODY = Owner.NOBODY
_APPLICATION = Owner.APPLICATION


class Pace:
    """How fast one stream is read; made with its first credit, so that small streams have none.

    :ivar announced_at: when the credit was announced whose effect is awaited.
    :ivar since: when the present span began.
    :ivar consumed: how much had been read by then.
    """

    __slots__ = ("announced_at", "consumed", "since")

    def __init__(self, now: float, consumed: int) -> None:
        self.announced_at = self.since = now
        self.consumed = consumed


class StreamState:
    """One stream of one connection.

    :param stream_id: the wire's id; None for a stream of ours until its SYN is cut into a frame.
    :param send_window: bytes that may be sent before the peer gives credit.
    :param recv_window: bytes that the peer assumes it may send.
    :param max_recv_window: bytes that may be unread in all; what ``recv_window`` lacks of it is owed from the start.
    """

    __slots__ = (
        "consumed",
        "delay_over",
        "discarded",
        "discarded_unread",
        "failure",
        "failure_raised",
        "grown",
        "id",
        "in_readable",
        "in_writable",
        "local",
        "max_recv_window",
        "metadata",
        "owed_credit",
        "owner",
        "pace",
        "peer_max_window",
        "peer_sent_data",
        "peer_spoke",
        "place",
        "priority",
        "read_waiter",
        "recv_first",
        "recv_rest",
        "recv_state",
        "recv_window",
        "retry",
        "send_first",
        "send_rest",
        "send_state",
        "send_window",
        "stream_type",
        "tiny_frames",
        "total_credit",
        "unread",
        "unseen_credit",
        "unsent",
        "update_threshold",
        "wants_writable",
        "write_waiter",
    )

    def __init__(
        self,
        stream_id: int | None,
        priority: Priority,
        send_window: int,
        recv_window: int,
        max_recv_window: int,
    ) -> None:
        # What it is.

        self.id = stream_id
        self.local = local = stream_id is None
        """Whether this side opened it."""
        self.stream_type: int | None = None
        self.metadata = b""
        """What its opener says of it, packed; see :mod:`~muxado_py.frames.metadata`."""
        self.priority = priority
        self.place: Any = None
        """The scheduler's own."""

        # What is sent.

        self.unsent = 0
        """Bytes that were written and are in no frame yet."""
        self.send_window = send_window
        """Bytes that the peer has room for; below 0 if it took some back."""
        self.peer_max_window = send_window
        """Bytes that may be on their way or unread there: what ``send_window`` lacks of it is."""
        self.total_credit = send_window
        """All that it ever gave; less ``send_window``, it is what was sent."""
        self.send_state = _SENDING
        self.send_first: bytes | memoryview = b""
        """The first of the pieces that were written; see :mod:`~muxado_py.protocol.send_half`."""
        self.send_rest: deque[bytes | memoryview] | None = None
        """Those behind it, if it is not alone."""

        # What is received.

        self.unread = 0
        """Bytes that arrived and that the application has not read."""
        self.recv_window = recv_window
        """Bytes that the peer may still send."""
        self.max_recv_window = max_recv_window
        """How many may be unread in all."""
        self.owed_credit = max_recv_window - recv_window
        """Bytes of credit that it has not been given yet."""
        self.consumed = 0
        """Bytes that were read or dropped so far, but for those behind the peer's FIN."""
        self.grown = 0
        """How much of ``max_recv_window`` was added later, by the session's tuner."""
        self.unseen_credit = 0
        """How much of ``recv_window`` is credit whose effect has not been seen yet, from the first of it on."""
        self.pace: Pace | None = None
        """How fast the stream is read, once credit was given."""
        self.tiny_frames = 0
        """Frames of a few bytes that the application has not read, or a few more."""
        self.recv_state = _RECEIVING
        self.update_threshold = (max_recv_window + 1) // 2
        """How much owed credit makes a frame worth while."""
        self.recv_first: bytes | bytearray | memoryview = b""
        """The first of the pieces that arrived; see :mod:`~muxado_py.protocol.recv_half`."""
        self.recv_rest: deque[bytes | bytearray | memoryview] | None = None
        """Those behind it, if it is not alone."""

        # Who has it.

        self.peer_spoke = False
        """Whether the peer sent any frame of this stream."""
        self.peer_sent_data = False
        """Whether the peer sent any byte on it."""
        self.owner = _APPLICATION if local else _NOBODY
        self.read_waiter: Any = None
        """Whom the IO layer wakes when there is something to read; the core never looks at it."""
        self.write_waiter: Any = None
        """Whom it wakes when there is room to write."""
        self.wants_writable = False
        """Whether the application wants to know when there is room to write again."""
        self.in_readable = False
        """Whether it stands in the core's list of readable streams."""
        self.in_writable = False
        """Whether it stands in the core's list of writable streams."""

        # How it ends.

        self.failure: Failure | None = None
        """Why it ended before both directions were through, once it did."""
        self.retry = _UNKNOWN
        """The verdict that belongs to ``failure``."""
        self.failure_raised = False
        """Whether a call of the application has raised it."""
        self.discarded = 0
        """Bytes of the peer that came after this side closed it."""
        self.discarded_unread = False
        """Whether bytes of the peer were thrown away: a RST must say so after our FIN."""
        self.delay_over = False
        """Whether it was delayed, and the delay is over (see :mod:`~muxado_py.protocol.outbound`)."""

    # Its directions.

    @property
    def finishing(self) -> bool:
        """Whether a FIN follows what was written, or was sent."""
        return self.send_state is not SendState.OPEN

    @property
    def fin_sent(self) -> bool:
        """Whether our FIN was cut into a frame."""
        return self.send_state is SendState.FIN_SENT

    @property
    def fin_received(self) -> bool:
        """Whether all of the peer's bytes came, with its FIN."""
        return self.recv_state is RecvState.FIN_RECEIVED

    @property
    def sendable(self) -> int:
        """Bytes that are here and that the peer has room for."""
        # Not min() and max(): this is asked several times for each frame.
        unsent, credit = self.unsent, self.send_window
        if unsent <= credit:
            return unsent
        return credit if credit > 0 else 0  # noqa: FURB136

    @property
    def fin_is_next(self) -> bool:
        """Whether nothing but the FIN is left to send."""
        return self.send_state is _FIN_QUEUED and not self.unsent

    @property
    def sent(self) -> int:
        """Bytes that were cut into frames so far."""
        return self.total_credit - self.send_window

    @property
    def received(self) -> int:
        """Bytes that came so far, whether they were read or thrown away.

        ``consumed`` does not tell: what is read behind the peer's FIN needs no credit and is not counted there.
        """
        return self.consumed + self.max_recv_window - self.recv_window - self.owed_credit

    @property
    def announced(self) -> int:
        """How many of the bytes that were read are in the credit given so far.

        A wire of totals says this one: the latest count would promise what is still owed, and a peer
        that used it would look like one that sends too much.
        """
        return self.consumed - self.owed_credit

    # Its application, and how it ends.

    @property
    def released(self) -> bool:
        """Whether the application is done with it."""
        return self.owner is Owner.RELEASED

    def verdict(self, *, refused: bool = False) -> Retry:
        """May the caller send again, if this stream ends in error now?

        :param refused: whether the peer said, credibly, that its application never saw it.
        """
        if not self.local:
            return Retry.UNKNOWN
        if self.id is None:
            return Retry.NEVER_SENT
        if self.peer_sent_data:
            return Retry.PROCESSED
        return Retry.REFUSED if refused and not self.peer_spoke else Retry.UNKNOWN

    def fail(self, failure: Failure, *, refused: bool = False) -> None:
        """End both directions, unless an earlier failure stands."""
        if self.failure is None:
            self.failure = failure
            self.retry = self.verdict(refused=refused)

    def error(self) -> Exception:
        """A new exception for the failure that stands."""
        self.failure_raised = True
        failure = self.failure or _CLOSED
        return failure.error(self.retry)


_CLOSED = Failure(StreamClosedError, "this stream is closed", 0, False)
DROPPED = Failure(
    StreamClosedError, "nobody has this stream any more", ErrorCode.STREAM_CANCELLED, False
)
"""How a stream stands that is to be reset as soon as what was written is sent."""

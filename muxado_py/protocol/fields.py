"""Fields: what is known of one stream, in one object.

What it is.  The slots of a stream and what they start with, laid down in one place like a record.  Its two
directions are :mod:`~muxado_py.protocol.sending` and :mod:`~muxado_py.protocol.receiving`, which add what is done with them;
:mod:`~muxado_py.protocol.state` is both together.

Why one object.  A short stream costs what its objects cost: one is made in less time than one for each
direction and one for each window.

The rule.  Whoever adds a field gives its value here, says what it means, and says who may change it if that is
not the class it belongs to.

The trap.  Attributes of a class with slots have no defaults: a field that ``__init__`` forgets is an
AttributeError in the first stream that needs it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from ..errors import Retry

if TYPE_CHECKING:
    from collections import deque

    from ..errors import Failure
    from ..scheduler import Priority

__all__ = ("Owner", "Pace", "RecvState", "SendState", "StreamFields")


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


class StreamFields:
    """One stream of one connection.

    :param stream_id: the wire's id; None for a stream of ours until its SYN is cut into a frame.
    :param credit: bytes that may be sent before the peer gives more.
    :param allowed: bytes that the peer assumes it may send.
    :param window: bytes that may be unread in all; what ``allowed`` lacks of it is owed from the start.
    """

    __slots__ = (
        "_came",
        "_came_more",
        "_portion",
        "_to_go",
        "_to_go_more",
        "allowed",
        "answered",
        "consumed",
        "credit",
        "discarded",
        "edge",
        "failure",
        "granted",
        "grown",
        "heard",
        "id",
        "local",
        "owed",
        "owner",
        "pace",
        "peer_window",
        "place",
        "priority",
        "raised",
        "reader",
        "recv_state",
        "retry",
        "send_state",
        "settled",
        "stream_type",
        "tiny",
        "unread",
        "unread_lost",
        "unsent",
        "wake_read",
        "wake_write",
        "window",
        "writer",
        "writer_waits",
    )

    def __init__(
        self, stream_id: int | None, priority: Priority, credit: int, allowed: int, window: int
    ) -> None:
        # What it is.

        self.id = stream_id
        self.local = local = stream_id is None
        """Whether this side opened it."""
        self.stream_type: int | None = None
        self.priority = priority
        self.place: Any = None
        """The scheduler's own."""

        # What is sent.

        self.unsent = 0
        """Bytes that were written and are in no frame yet."""
        self.credit = credit
        """Bytes that the peer has room for; below 0 if it took some back."""
        self.peer_window = credit
        """Bytes that may be on their way or unread there: what it lacks of ``credit`` is."""
        self.granted = credit
        """All that it ever gave; less ``credit``, it is what was sent."""
        self.send_state = _SENDING
        self._to_go: bytes | memoryview = b""
        self._to_go_more: deque[bytes | memoryview] | None = None  # behind it, if it is not alone

        # What is received.

        self.unread = 0
        """Bytes that arrived and that the application has not read."""
        self.allowed = allowed
        """Bytes that the peer may still send."""
        self.window = window
        """How many may be unread in all."""
        self.owed = window - allowed
        """Bytes of credit that it has not been given yet."""
        self.consumed = 0
        """Bytes that were read or dropped so far, but for those behind the peer's FIN."""
        self.grown = 0
        """How much of ``window`` was added later, by the session's tuner."""
        self.edge = 0
        """How much of ``allowed`` is credit whose effect has not been seen yet, from the first of it on."""
        self.pace: Pace | None = None
        """How fast the stream is read, once credit was given."""
        self.tiny = 0
        """Frames of a few bytes that the application has not read, or a few more."""
        self.recv_state = _RECEIVING
        self._portion = (window + 1) // 2
        self._came: bytes | bytearray | memoryview = b""
        self._came_more: deque[bytes | bytearray | memoryview] | None = None  # likewise

        # Who has it.

        self.heard = False
        """Whether the peer sent any frame of this stream."""
        self.answered = False
        """Whether the peer sent any byte on it."""
        self.owner = _APPLICATION if local else _NOBODY
        self.reader: Any = None
        """Whom the IO layer wakes when there is something to read; the core never looks at it."""
        self.writer: Any = None
        """Whom it wakes when there is room to write."""
        self.writer_waits = False
        """Whether the application wants to know when there is room to write again."""
        self.wake_read = False
        """Whether it stands in the core's list of readable streams."""
        self.wake_write = False
        """Whether it stands in the core's list of writable streams."""

        # How it ends.

        self.failure: Failure | None = None
        """Why it ended before both directions were through, once it did."""
        self.retry = _UNKNOWN
        """The verdict that belongs to ``failure``."""
        self.raised = False
        """Whether a call of the application has raised it."""
        self.discarded = 0
        """Bytes of the peer that came after this side closed it."""
        self.unread_lost = False
        """Whether bytes of the peer were thrown away: a RST must say so after our FIN."""
        self.settled = False
        """Whether it was held for a moment, and let go (see :mod:`~muxado_py.protocol.outbound`)."""

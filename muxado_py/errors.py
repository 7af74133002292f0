"""Error codes, the exception tree, and the verdict every error carries: may the caller send again?

What it is.  The one place where a failure gets its type.  Two axes decide it: how far the damage
reaches (one stream, or the whole session) and who ended it (we did, the peer did, the transport
did).  On both axes stands a third thing, the reason this library exists: ``retry``.

Where it comes from and goes to.  The core records a failure as a plain :class:`Failure` value on
the stream it ended; the seam to the application turns that value into a *new* exception each time
it is raised, so that tracebacks never pile up on a shared object.

The rule.  An exception that reaches the application is always also one that an anyio user already
catches: ``BrokenResourceError`` when the peer, the transport or a limit ended it,
``ClosedResourceError`` when the application itself did.  Those that stop an *open* are ``OSError``
too, because HTTP clients map ``OSError`` to "could not connect".

What a peer said goes into a message only as :func:`escaped` gives it.

The trap.  A verdict must err on the side of ``UNKNOWN``.  ``NEVER_SENT`` and ``REFUSED`` promise
that the peer's application never saw the stream; a test cuts the transport at every byte to hold
us to it.

::

    MuxadoError
    ├── StreamError (BrokenResourceError)              this stream is over
    │   ├── StreamResetError (ConnectionResetError)    the peer, or a limit of ours, reset it
    │   └── StreamRefusedError (ConnectionRefusedError)  refused before its application saw it
    ├── StreamClosedError (ClosedResourceError)        you closed or reset it
    ├── PoolError (BrokenResourceError, ConnectionError)  no session of a pool could take a stream
    │   └── PoolTimeoutError (TimeoutError)            nor in the time that there was
    └── SessionError (BrokenResourceError, ConnectionError)  the whole session is over
        ├── SessionClosedError                         closed, by us or by the peer's goodbye
        ├── GoneAwayError (ConnectionRefusedError)     open refused: one side is going away
        ├── StreamLimitError (ConnectionRefusedError)  open refused: too many streams, or ids used up
        ├── TransportError (ConnectionResetError)      the transport ended without a goodbye
        ├── PeerTimeoutError (TimeoutError)            the peer fell silent
        ├── UndeliveredError                           closed before all that was sent could arrive
        └── ProtocolError                              somebody broke the protocol
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple

from anyio import BrokenResourceError, ClosedResourceError

from .arguments import check_whole

__all__ = (
    "ErrorCode",
    "Failure",
    "GoneAwayError",
    "MuxadoError",
    "PeerTimeoutError",
    "PoolError",
    "PoolTimeoutError",
    "ProtocolError",
    "Retry",
    "SessionClosedError",
    "SessionError",
    "StreamClosedError",
    "StreamError",
    "StreamLimitError",
    "StreamRefusedError",
    "StreamResetError",
    "TransportError",
    "UndeliveredError",
    "check_code",
    "code_name",
    "escaped",
)


class ErrorCode(IntEnum):
    """The codes of RST and GOAWAY on the muxado wire (ngrok/muxado-go, ``errors.go``)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 4
    STREAM_REFUSED = 5
    STREAM_CANCELLED = 6
    STREAM_RESET = 7
    FRAME_SIZE_ERROR = 8
    ACCEPT_QUEUE_FULL = 9
    ENHANCE_YOUR_CALM = 10
    REMOTE_GONE_AWAY = 11
    STREAMS_EXHAUSTED = 12
    WRITE_TIMEOUT = 13
    SESSION_CLOSED = 14
    PEER_EOF = 15


def code_name(code: int) -> str:
    """``"STREAM_REFUSED(5)"``, or ``"unknown(77)"`` for a code no table has."""
    try:
        return f"{ErrorCode(code).name}({code})"
    except ValueError:
        return f"unknown({code})"


def check_code(code: int) -> None:
    """Whether ``code`` can be sent with a reset or a goodbye, on every wire: 32 bits.

    :raises TypeError: if it is no int.
    :raises ValueError: if it is out of range.
    """
    check_whole("code", code, 0, 0xFFFF_FFFF)


def escaped(text: str) -> str:
    """What a peer said, for a message or a log: on one line, and with nothing that acts on a terminal.

    Whatever is not printable is written as in a Python literal: control characters, line ends (those of
    Unicode too), and what turns the direction of the text around it.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


class Retry(Enum):
    """May the caller send the same thing again?"""

    NEVER_SENT = "never sent"
    """Yes: no byte of the stream was given to the transport, or the open itself failed."""

    REFUSED = "refused"
    """Yes: the peer said that its application never saw the stream."""

    UNKNOWN = "unknown"
    """Only if the call is idempotent: the peer's application may have seen it."""

    PROCESSED = "processed"
    """No: the peer's application answered."""

    @property
    def safe(self) -> bool:
        """Whether sending again cannot make anything happen twice."""
        return self in (Retry.NEVER_SENT, Retry.REFUSED)


class MuxadoError(Exception):
    """The root of every error that muxado_py raises on its own behalf.

    :ivar code: what the wire said, or would say, as an :class:`ErrorCode` or an unlisted int.
    :ivar retry: whether the same thing may be sent again.
    :ivar remote: True if the peer (or the transport) ended it, False if this side did.
    """

    code: int
    retry: Retry
    remote: bool

    def __init__(
        self,
        message: str,
        *,
        code: int = ErrorCode.INTERNAL_ERROR,
        retry: Retry = Retry.UNKNOWN,
        remote: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry = retry
        self.remote = remote


class StreamError(MuxadoError, BrokenResourceError):
    """This stream is over; the session is not."""


class StreamResetError(StreamError, ConnectionResetError):
    """The stream was reset: by the peer (``remote``), or here because the peer broke a limit."""


class StreamRefusedError(StreamError, ConnectionRefusedError):
    """The peer refused the stream before its application saw it."""


class StreamClosedError(MuxadoError, ClosedResourceError):
    """The application used a stream (or one direction of it) that it had closed itself."""


class PoolError(MuxadoError, BrokenResourceError, ConnectionError):
    """No stream could be opened on any session of a pool, and waiting would not mend it."""


class PoolTimeoutError(PoolError, TimeoutError):
    """No session of a pool could take a stream in the time that there was; the message says why not."""


class SessionError(MuxadoError, BrokenResourceError, ConnectionError):
    """The session is over, and every stream with it."""


class SessionClosedError(SessionError):
    """The session was closed: by this side, or by a goodbye of the peer."""


class GoneAwayError(SessionError, ConnectionRefusedError):
    """No new stream can be opened: this side or the peer said that it is going away."""


class StreamLimitError(SessionError, ConnectionRefusedError):
    """No new stream can be opened: the peer's limit is reached, or the ids are used up."""


class TransportError(SessionError, ConnectionResetError):
    """The transport ended or failed without a goodbye of the peer."""


class PeerTimeoutError(SessionError, TimeoutError):
    """The peer answered no heartbeat, or the transport took no byte, for too long."""


class UndeliveredError(SessionError):
    """The session is closed, and bytes that ``send`` took did not arrive.

    Raised by what closes a session: ``aclose``, ``drain``, the end of its block; once.

    :ivar nbytes: how many bytes of streams were not given to the transport, or not taken by it.
    :ivar streams: of how many streams they are.
    :ivar unacknowledged: how many bytes more the peer's kernel had not acknowledged, frames and all.  Where
        no kernel can be asked: with a muxado_py that did not end in time, how many bytes of streams had
        left since the last ping that it answered, the end of one counted as a byte; else 0.  They may arrive all the same.
    """

    nbytes: int
    streams: int
    unacknowledged: int

    def __init__(
        self,
        message: str,
        *,
        nbytes: int = 0,
        streams: int = 0,
        unacknowledged: int = 0,
        code: int = ErrorCode.WRITE_TIMEOUT,
        retry: Retry = Retry.UNKNOWN,
        remote: bool = True,
    ) -> None:
        super().__init__(message, code=code, retry=retry, remote=remote)
        self.nbytes = nbytes
        self.streams = streams
        self.unacknowledged = unacknowledged


class ProtocolError(SessionError):
    """Bytes arrived (``remote`` False: we say so; True: the peer says so) that break the protocol."""


class Failure(NamedTuple):
    """Why something ended: what an exception is made from, as often as it is raised."""

    kind: type[MuxadoError]
    message: str
    code: int
    remote: bool

    def error(self, retry: Retry) -> MuxadoError:
        """A new exception for this failure with the verdict of one stream."""
        return self.kind(self.message, code=self.code, retry=retry, remote=self.remote)

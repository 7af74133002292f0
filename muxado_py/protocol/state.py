"""State: one stream as the core sees it.

What it is.  Both directions together, who has the stream, and the error that its application is told.  The states and
what leads from one to another are in :mod:`~muxado_py.protocol.stream_ends`.

Where it is kept.  In the :class:`~muxado_py.protocol.table.StreamTable` while the wire may mention it; the
application's ``Stream`` holds it as long as it likes.

The rule.  A failure stands: what comes later changes neither it nor its verdict.

The trap.  Callers send again on the strength of the verdict; see :mod:`~muxado_py.errors`.
"""

from __future__ import annotations

from ..errors import ErrorCode, Failure, Retry, StreamClosedError
from .fields import Owner, RecvState, SendState
from .receiving import Receiving
from .sending import Sending

__all__ = ("DROPPED", "StreamState")


class StreamState(Sending, Receiving):
    """One stream; see :class:`~muxado_py.protocol.fields.StreamFields` for what it is made of."""

    __slots__ = ()

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
        if self.answered:
            return Retry.PROCESSED
        return Retry.REFUSED if refused and not self.heard else Retry.UNKNOWN

    def fail(self, failure: Failure, *, refused: bool = False) -> None:
        """End both directions, unless an earlier failure stands."""
        if self.failure is None:
            self.failure = failure
            self.retry = self.verdict(refused=refused)

    def error(self) -> Exception:
        """A new exception for the failure that stands."""
        self.raised = True
        failure = self.failure or _CLOSED
        return failure.error(self.retry)


_CLOSED = Failure(StreamClosedError, "this stream is closed", 0, False)
DROPPED = Failure(
    StreamClosedError, "nobody has this stream any more", ErrorCode.STREAM_CANCELLED, False
)
"""How a stream stands that is to be reset as soon as what was written is sent."""

"""Closing: how the application ends a stream.

Where data comes from and goes to.  The connection calls ``close`` and ``reset`` on the application's
behalf, and ``drop`` when it has lost the stream; they release the stream, throw away what was not read, and
queue what the peer must be told.

The rule.  What was written before a close still goes out, and what comes in after it is never kept.  What
the peer is told depends on what its wire can say without harm: a RST, a FIN while the rest is drained,
or nothing but the FIN.

Where a wire drains what it closed, a stream stays known after its close until its peer has finished too.

The trap.  A stream whose SYN has not gone has no id, and its peer knows nothing of it: closing sends it
all the same, because the bytes were accepted; resetting leaves no trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ErrorCode, Failure, Retry, StreamClosedError
from .state import DROPPED

if TYPE_CHECKING:
    from ..frames import Wire
    from .events import Events
    from .inbound import Inbound
    from .outbound import Outbound
    from .state import StreamState
    from .table import StreamTable

__all__ = ("Closing",)


class Closing:
    """The ends that the application of one connection makes."""

    def __init__(
        self, wire: Wire, table: StreamTable, outbound: Outbound, inbound: Inbound, events: Events
    ) -> None:
        self._has_reset = wire.traits.has_reset
        self._drains_closed = wire.traits.drains_closed
        self._table = table
        self._out = outbound
        self._in = inbound
        self._events = events

    def close(self, stream: StreamState) -> None:
        """Full close: what was written still goes out; what comes in is thrown away, and answered
        with a RST where that does no harm."""
        if not stream.released:
            stream.released = True
            if not stream.local:
                self._table.peer_open -= 1
        drains = self._drains_closed and not stream.finished_there
        if drains and stream.failure is None and stream.id is not None:
            self._in.drain(stream)
        elif stream.unread:
            self._in.drop_unread(stream)
            stream.unread_lost = True
        if stream.failure is None:
            stream.failure = _CLOSED_HERE
            if stream.local and stream.id is not None:
                # Without an id it is still to be sent, so "never sent" would be a lie.
                stream.retry = _PROCESSED if stream.answered else stream.verdict()
            if not stream.finished_here:
                self._out.finish(stream)
                if not stream.finished_here:
                    self._table.lingering.add(stream)
            elif not (stream.finished_there or drains):
                self._out.retire(stream)
                self._out.report_loss(stream)
                self._in.close_if_idle()
        if self._in.paused:
            self._in.go_on()

    def drop(self, stream: StreamState) -> None:
        """Nobody has ``stream`` any more, and nobody ended it: what was written still goes out, and then a
        reset, for nobody said that it is the whole.  Where there is no reset it is closed.

        A reset withdraws what the peer has not accepted.  So one that was opened here, and on which nothing has
        come, stays for ``Config.linger_timeout``.
        """
        if stream.failure is not None or stream.finishing or not self._has_reset:
            self.close(stream)
            return
        unanswered = stream.local and not stream.answered
        if not (stream.unsent or unanswered):
            self.reset(stream, ErrorCode.STREAM_CANCELLED)
            return
        self._table.release(stream)
        self._in.drop_unread(stream)
        stream.failure = DROPPED
        stream.finishing = not unanswered  # in the place of the FIN goes the reset
        self._table.lingering.add(stream)
        if self._in.paused:
            self._in.go_on()

    def reset(self, stream: StreamState, code: int) -> None:
        """Abort both directions; a stream whose SYN has not gone leaves no trace on the wire."""
        self._table.release(stream)
        alive = stream.id in self._table.live
        self._out.drop_unsent(stream)
        stream.fail(_RESET_HERE)
        if self._has_reset or not alive:
            self._out.retire(stream)
            self._in.drop_unread(stream)
        else:
            self._abandon(stream)
        self._events.both(stream)
        if alive and stream.id is not None and self._has_reset:
            self._out.control.reset(stream.id, code)
        self._in.close_if_idle()
        if self._in.paused:
            self._in.go_on()

    def _abandon(self, stream: StreamState) -> None:
        """Where no reset can be said: a FIN at once, and what still comes is thrown away."""
        drains = self._drains_closed and not stream.finished_there
        if not stream.finished_here:
            self._out.finish(stream)  # nothing is left to send but the FIN
            if not stream.finished_here:
                self._table.lingering.add(stream)
        elif not drains:
            self._out.retire(stream)
        if drains:
            self._in.drain(stream)
        else:
            self._in.drop_unread(stream)


_PROCESSED = Retry.PROCESSED
_CLOSED_HERE = Failure(StreamClosedError, "you closed this stream", ErrorCode.STREAM_CLOSED, False)
_RESET_HERE = Failure(StreamClosedError, "you reset this stream", ErrorCode.STREAM_RESET, False)

"""Peer resets: what a RST of the peer says of a stream, and whether it is to be believed.

Where data comes from and goes to.  The decoder calls :meth:`~PeerResets.was_reset` by way of :class:`~muxado_py.protocol.inbound.Inbound`,
which has it as its own; the stream ends with what it comes to (:mod:`~muxado_py.protocol.stream_ends`), which is
its verdict, too.

The rule.  "Refused" says that the peer's application never saw the stream, and what was said on it may be said again.  So it is
believed only where nothing speaks against it; whatever else ends a stream is a reset, of which nothing is known.

The traps.  Go sends a RST on a stream that it refused and keeps that stream in its table, until somebody resets it.  And a peer that
opens streams and resets them before they are accepted costs much more than it pays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ErrorCode, Failure, StreamRefusedError, StreamResetError, code_name
from .end_table import Event
from .stream_state import Owner

if TYPE_CHECKING:
    from ..frames import Wire
    from .flow_control import FlowControl
    from .gates import Gates
    from .intake import Intake
    from .session_ends import SessionEnds
    from .stream_ends import StreamEnds
    from .stream_state import StreamState
    from .stream_table import StreamTable

__all__ = ("PeerResets",)


class PeerResets:
    """Those of one connection's peer."""

    __slots__ = (
        "_flow",
        "_intake",
        "_session_ends",
        "_stream_ends",
        "_table",
        "_traits",
        "_unwanted",
    )

    def __init__(
        self,
        wire: Wire,
        table: StreamTable,
        gates: Gates,
        flow: FlowControl,
        intake: Intake,
        stream_ends: StreamEnds,
        session_ends: SessionEnds,
    ) -> None:
        self._traits = wire.traits
        self._table = table
        self._unwanted = gates.control.unwanted
        self._flow = flow
        self._intake = intake
        self._stream_ends = stream_ends
        self._session_ends = session_ends

    def was_reset(self, stream_id: int, code: int) -> None:
        """The peer ended a stream."""
        self._unwanted.append(stream_id)
        stream = self._table.live.get(stream_id)
        if stream is None:
            return
        refused = self._was_refused(stream, code)
        if refused:
            self._table.local_refused += 1
            stream.peer_spoke = False  # or its verdict would go by the credit that came before
        kind = StreamRefusedError if refused else StreamResetError
        message = f"the peer {'refused' if refused else 'reset'} stream {stream_id}"
        if self._traits.reset_codes or code:
            message += f": {code_name(code)}"
        early = stream.owner < Owner.APPLICATION
        failure = Failure(kind, message, code, True)
        self._stream_ends.end(stream, Event.PEER_RESET, failure, refused=refused)
        if refused and code == ErrorCode.ACCEPT_QUEUE_FULL and not self._flow.is_muxado_py:
            # Go keeps a stream that it refused in its table until somebody resets it.
            self._stream_ends.reply_reset(stream_id, ErrorCode.STREAM_CANCELLED)
        if early:
            text = "too many streams reset before they were accepted"
            self._intake.spend(self._intake.early_resets, text)
        self._session_ends.close_if_idle()

    def _was_refused(self, stream: StreamState, code: int) -> bool:
        """Whether a RST of the peer says, credibly, that its application never saw ``stream``."""
        if not stream.local:
            return False
        if stream.peer_spoke and (
            not self._flow.is_muxado_py or stream.peer_sent_data or stream.fin_received
        ):
            # Credit alone says that an application has looked; a muxado_py's may, and refuse it then (Stream.refuse).
            return False
        if self._traits.reset_codes:
            return code in (ErrorCode.STREAM_REFUSED, ErrorCode.ACCEPT_QUEUE_FULL)
        # After our FIN the peer's application may have had the stream without a word to us.
        return self._flow.acknowledges and not stream.fin_sent

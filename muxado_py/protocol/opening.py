"""Opening: a new stream of this side, or which limit is in the way.

And whether the peer understands what is to be said of it (metadata): a frame that it does not know would open nothing.

Where data comes from and goes to.  What the peer has told of its limit stands in
:mod:`~muxado_py.protocol.flow_control`; the stream is put on the list of those that have something to send.

The rule.  The limit that stands against it is named, with its number and with what the caller can do.

The trap.  A limit of the peer's counts our streams; the one that old peers have without saying so counts all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..errors import ErrorCode, Failure, GoneAwayError, Retry, StreamLimitError
from ..frames import pack
from ..scheduler import DEFAULT_PRIORITY, check_priority

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..config import Config
    from ..frames import Wire
    from ..scheduler import Priority
    from .events import Events
    from .flow_control import FlowControl
    from .gates import Gates
    from .session_ends import SessionEnds
    from .stream_state import StreamState
    from .stream_table import StreamTable

__all__ = ("OpenStream", "Opening")


class OpenStream(Protocol):
    """How :meth:`Opening.open` is called."""

    def __call__(
        self,
        priority: Priority | None,
        stream_type: int | None,
        metadata: Mapping[str, bytes] | None = None,
    ) -> StreamState: ...


class Opening:
    """How one side opens streams: as many as it may."""

    __slots__ = ("_config", "_events", "_flow", "_gates", "_session_ends", "_table", "_traits")

    def __init__(
        self,
        wire: Wire,
        table: StreamTable,
        gates: Gates,
        flow: FlowControl,
        session_ends: SessionEnds,
        events: Events,
        config: Config,
    ) -> None:
        self._traits = wire.traits
        self._table = table
        self._gates = gates
        self._flow = flow
        self._session_ends = session_ends
        self._events = events
        self._config = config

    def open(
        self,
        priority: Priority | None,
        stream_type: int | None,
        metadata: Mapping[str, bytes] | None = None,
    ) -> StreamState:
        """A new stream of ours; its SYN goes with the next flush that has room for it.

        :param metadata: what the peer is to know of it from its beginning.
        :raises NotImplementedError: if the peer is not known to understand metadata.
        :raises: as :meth:`check`.
        """
        # As check, without the call that each stream would pay.
        if priority is not None:
            check_priority(priority)
        packed = b"" if metadata is None else pack(metadata)
        failure = self._why_no_stream()
        if failure is not None:
            raise failure.error(Retry.NEVER_SENT)
        if packed:
            self._check_metadata()
        stream = self._flow.new_stream(None, priority or DEFAULT_PRIORITY)
        if stream_type is not None:
            stream.stream_type = stream_type
        self._table.open_local(stream)
        if packed:
            stream.metadata = packed
            self._gates.scheduler.mark_ready(stream, len(packed))
        else:
            self._gates.scheduler.mark_ready(stream, 0)  # its SYN, with what is written until then
        if stream_type is not None and not self._traits.types_in_syn:
            self._gates.write(stream, stream_type.to_bytes(4, "big"))
        return stream

    def check(self, priority: Priority | None, metadata: Mapping[str, bytes]) -> None:
        """Whether such a stream could be opened now, if the peer understands metadata.

        :raises GoneAwayError: if either side is going away.
        :raises StreamLimitError: if as many streams are open as the peer takes, or the ids are used up.
        :raises SessionError: if the session is over.
        :raises TypeError: if ``priority`` is no :class:`Priority`, or ``metadata`` no mapping of ``str`` to
            ``bytes``.
        :raises ValueError: if ``metadata`` cannot be packed.
        """
        if priority is not None:
            check_priority(priority)
        pack(metadata)
        failure = self._why_no_stream()
        if failure is not None:
            raise failure.error(Retry.NEVER_SENT)

    def _why_no_stream(self) -> Failure | None:
        """Why this side may open no stream now; None if it may."""
        events, table = self._events, self._table
        if events.failure is not None:
            return events.failure
        if events.go_away is not None:
            code = ErrorCode.REMOTE_GONE_AWAY
            return Failure(GoneAwayError, "the peer is going away", code, True)
        if self._session_ends.leaving:
            code = ErrorCode.SESSION_CLOSED
            return Failure(GoneAwayError, "this side is going away", code, False)
        if table.local_open + table.peer_live >= self._flow.most_open and (
            failure := self._too_many()
        ):
            return failure
        if not table.has_ids():
            text = "the stream ids of this session are used up; open a new session"
            return Failure(StreamLimitError, text, ErrorCode.STREAMS_EXHAUSTED, False)
        return None

    def _check_metadata(self) -> None:
        """:raises NotImplementedError: unless the peer is known to understand metadata."""
        if not self._traits.recognizes:
            raise NotImplementedError(
                f"the {self._config.wire} wire has no frame for metadata: only the muxado wire has, between two "
                "muxado_py peers"
            )
        if self._flow.is_muxado_py is None:
            raise NotImplementedError(
                "the peer has not said yet whether it is a muxado_py, and no other understands metadata: "
                "await open_stream(), or wait_for_peer() before"
            )
        if not self._flow.is_muxado_py:
            raise NotImplementedError(
                "the peer is no muxado_py, and no other understands metadata: say it in the first bytes of the stream"
            )

    def _too_many(self) -> Failure | None:
        """Which limit stands against one more stream."""
        limit = self._flow.stream_limit
        if limit is not None and self._table.local_open >= limit:
            text = f"the peer's limit of open streams, {limit}, is reached; close some first"
            return Failure(StreamLimitError, text, ErrorCode.STREAM_REFUSED, True)
        here = self._too_many_here()
        if here is None:
            return None
        return Failure(StreamLimitError, here, ErrorCode.STREAM_REFUSED, False)

    def _too_many_here(self) -> str | None:
        """Which limit of this side's does, in words."""
        table, most = self._table, self._config.max_open_streams
        if most is not None:
            if table.local_open < most:
                return None
            return f"Config.max_open_streams, {most}, is reached; close some streams first"
        most = self._traits.most_streams
        if most is None or self._flow.is_muxado_py is not False:
            return None
        if table.local_open + table.peer_live < most:
            return None
        return (
            f"{most} streams are open in all, and there are peers that end the session at one more; "
            "close some first, or set Config(max_open_streams=...) if yours takes more"
        )

"""Opening: whether this side may open one more stream, and which limit is in the way.

And whether the peer understands what is to be said of it (metadata): a frame that it does not know would open nothing.

Where data comes from and goes to.  The connection asks before it opens a stream; what the peer has told of its
limit stands in :mod:`~muxado_py.protocol.flow_control`.

The rule.  The limit that stands against it is named, with its number and with what the caller can do.

The trap.  A limit of the peer's counts our streams; the one that old peers have without saying so counts all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ErrorCode, Failure, GoneAwayError, StreamLimitError

if TYPE_CHECKING:
    from ..config import Config
    from ..frames import Wire
    from .events import Events
    from .flow_control import FlowControl
    from .session_ends import SessionEnds
    from .stream_table import StreamTable

__all__ = ("Opening",)


class Opening:
    """How one side opens streams: as many as it may."""

    __slots__ = ("_config", "_events", "_flow", "_session_ends", "_table", "_traits")

    def __init__(
        self,
        wire: Wire,
        table: StreamTable,
        flow: FlowControl,
        session_ends: SessionEnds,
        events: Events,
        config: Config,
    ) -> None:
        self._traits = wire.traits
        self._table = table
        self._flow = flow
        self._session_ends = session_ends
        self._events = events
        self._config = config

    def why_no_stream(self) -> Failure | None:
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

    def check_metadata(self) -> None:
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

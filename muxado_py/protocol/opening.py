"""Opening: a new stream of this side, or which limit is in the way.

And whether the peer understands what is to be said of it (metadata): a frame that it does not know would open nothing.

Where data comes from and goes to.  What the peer has told of its limit stands in
:mod:`~muxado_py.protocol.flow_control`; the stream is put on the list of those that have something to send.

A *slot* is room for one more stream.  Who does not want to wait for one is told why there is none.  Who does is asked
of less than the peer may take: on yamux a stream whose SYN would have to wait counts as none, and before a muxado_py
has said its limit so do those above :data:`UNTOLD_STREAMS`, because what comes with them is refused as often as not.

The rules.  The limit that stands against it is named, with its number and with what the caller can do.  A slot that
is *reserved* for one who waited counts as taken, whoever asks.

The trap.  A limit of the peer's counts our streams; the one that old peers have without saying so counts all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..errors import ErrorCode, Failure, GoneAwayError, Retry, StreamLimitError
from ..frames import MAX_METADATA, Prepared, pack
from ..scheduler import DEFAULT_PRIORITY, check_priority
from .timers import NEVER, Timer

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

__all__ = ("UNTOLD_STREAMS", "OpenStream", "Opening", "metadata_room", "prepared")

UNTOLD_STREAMS = 100
"""How many streams those who wait for slots open before the peer has told its limit (golang/net, ``http2/transport.go``:
``initialMaxConcurrentStreams``)."""


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

    __slots__ = (
        "_config",
        "_events",
        "_flow",
        "_gates",
        "_max_unacknowledged",
        "_session_ends",
        "_table",
        "_traits",
        "_untold",
        "_was_awaited",
    )

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
        self._max_unacknowledged = wire.traits.max_unacknowledged
        self._untold = Timer(table.timers, self._stop_waiting_to_be_told)
        self._was_awaited = False  # whether the peer's limit was, for as long as it may take

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
            self.check_metadata()
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

    def check(
        self,
        priority: Priority | None,
        metadata: Mapping[str, bytes] | None,
        *,
        waits: bool = False,
    ) -> None:
        """Whether such a stream could be opened now, if the peer understands metadata.

        :param waits: whether the caller waits for a slot, if there is none now.
        :raises GoneAwayError: if either side is going away.
        :raises StreamLimitError: if as many streams are open as the peer takes, or the ids are used up.
        :raises SessionError: if the session is over.
        :raises TypeError: if ``priority`` is no :class:`Priority`, or ``metadata`` no mapping of ``str`` to
            ``bytes``.
        :raises ValueError: if ``metadata`` cannot be packed.
        """
        if priority is not None:
            check_priority(priority)
        if metadata is not None:
            pack(metadata)
        failure = self.why_never() if waits else self._why_no_stream()
        if failure is not None:
            raise failure.error(Retry.NEVER_SENT)

    # Slots, for those who wait.

    def has_slot(self) -> bool:
        """Whether a stream may be opened now, and is likely to be taken by the peer."""
        if self._why_no_stream() is not None:
            return False
        return self._why_no_slot() is None

    def reserve(self) -> None:
        """Keep a slot that is free for one who has waited for it."""
        self._table.reserve()

    def release(self) -> None:
        """He opens his stream now, or has given up."""
        self._table.release()

    def await_slots(self, *, waits: bool) -> None:
        """Whether anybody waits: then whatever may make a slot free is noted as a change of the session."""
        self._table.slot_freed = self._events.note_session if waits else None
        if not waits:
            self._untold.disarm()
        elif self._limit_is_awaited and self._untold.deadline == NEVER:
            timers = self._table.timers
            self._untold.arm(timers.clock() + self._config.recognize_timeout)

    @property
    def _limit_is_awaited(self) -> bool:
        """Whether the peer may yet say how many streams it takes."""
        flow = self._flow
        may_be_told = self._traits.recognizes and not flow.knows_settings
        return may_be_told and flow.is_muxado_py is not False and not self._was_awaited

    def _stop_waiting_to_be_told(self, _now: float) -> None:
        """The peer has said nothing in ``Config.recognize_timeout``, so it has no limit that it would say."""
        self._was_awaited = True
        self._events.note_session()

    def why_not_yet(self, seconds: float) -> Failure:
        """What kept one who waited from a slot for so many seconds."""
        failure = self._why_no_stream()
        if failure is None:
            text = self._why_no_slot() or "others had waited longer"
            failure = Failure(StreamLimitError, text, ErrorCode.STREAM_REFUSED, True)
        return failure._replace(message=f"no slot was free in {seconds:g} s: {failure.message}")

    def _why_no_slot(self) -> str | None:
        """What the peer would refuse, or keep waiting, though no limit stands against it."""
        table, most = self._table, self._max_unacknowledged
        if most is not None:
            if len(table.unacknowledged) + len(table.unopened) + table.reserved < most:
                return None
            return f"{most} streams wait for the peer's acknowledgement, as many as may"
        if table.local_open >= UNTOLD_STREAMS and self._limit_is_awaited:
            return f"{UNTOLD_STREAMS} streams are open, and the peer has not said how many it takes"
        return None

    # What stands against it.

    def why_never(self) -> Failure | None:
        """Why this side may open no stream, now or later; None if there may be a slot at some time."""
        events = self._events
        if events.failure is not None:
            return events.failure
        if events.go_away is not None:
            code = ErrorCode.REMOTE_GONE_AWAY
            return Failure(GoneAwayError, "the peer is going away", code, True)
        if self._session_ends.leaving:
            code = ErrorCode.SESSION_CLOSED
            return Failure(GoneAwayError, "this side is going away", code, False)
        if not self._table.has_ids():
            text = "the stream ids of this session are used up; open a new session"
            return Failure(StreamLimitError, text, ErrorCode.STREAMS_EXHAUSTED, False)
        return None

    def _why_no_stream(self) -> Failure | None:
        """Why this side may open no stream now; None if it may."""
        events, table = self._events, self._table
        # As why_never, without the call that each stream would pay.
        if (
            events.failure is None
            and events.go_away is None
            and not self._session_ends.leaving
            and table.has_ids()
        ):
            near = table.local_open + table.peer_live >= self._flow.most_open
            return self._too_many() if near else None
        return self.why_never()

    def tell(self, stream: StreamState, metadata: Mapping[str, bytes]) -> bool:
        """Say ``metadata`` of a stream whose SYN is not cut yet; whether the peer understands it."""
        if not (self._traits.recognizes and self._flow.is_muxado_py):
            return False
        if stream not in self._table.unopened:
            return False
        stream.metadata = pack(metadata)
        return True

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


def prepared(metadata: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """The same, for many streams: it is packed here, and not with each of them.  It must not be changed.

    :raises: as :func:`metadata_room`.
    """
    return Prepared(metadata)


def metadata_room(metadata: Mapping[str, bytes]) -> int:
    """How many bytes more there may be of a stream's metadata, 3 for each pair, its key and its value.

    :raises TypeError: if it is no mapping of ``str`` to ``bytes``.
    :raises ValueError: if it cannot be packed.
    """
    return MAX_METADATA - len(pack(metadata))

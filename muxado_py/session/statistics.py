"""Statistics: what an application can ask to be counted of a session, of its path, and of one stream.

Where data comes from and goes to.  Nothing is counted for them: they are made, when somebody asks, from what the
core, the link and the kernel know anyway.  So they cost a stream no memory and no call until then.

The rule.  Whatever can be asked can be asked after the end: of the stream, of the session, of its transport.

The trap.  What is read behind a peer's FIN needs no credit, so the count of what was consumed stands still there;
and the type of a typed stream is bytes like any other to the core, though no application wrote or reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..protocol.send_half import MAX_WINDOW

if TYPE_CHECKING:
    from ..links.link import Link
    from ..protocol.connection import Connection
    from ..protocol.stream_state import StreamState
    from ..scheduler import Priority
    from .driver import Driver

__all__ = (
    "PathStatistics",
    "SessionStatistics",
    "StreamStatistics",
    "of_path",
    "of_session",
    "of_stream",
)

_TYPE_SIZE = 4


class PathStatistics(NamedTuple):
    """What the kernel tells of the TCP connection below a session."""

    round_trip: float
    """Seconds, smoothed, until the peer's kernel acknowledges; its application has no part in it."""
    least_round_trip: float
    """Seconds, the least of the last minutes (``net.ipv4.tcp_min_rtt_wlen``)."""
    retransmits: int
    """Segments that were sent again since the connection began."""
    in_flight: int
    """Bytes that the kernel was given and that the peer's has not acknowledged, frames and TLS records and all;
    0 once the transport is closed."""
    cap: int | None
    """Bytes that ``in_flight`` is held to, because the path has queued before; None while it is not, and
    without ``Config.cap_in_flight``."""


class SessionStatistics(NamedTuple):
    """A snapshot of one session."""

    live_streams: int
    """Streams that either side may still mention."""
    peer_streams: int
    """Streams the peer opened, whose handlers are not done."""
    backlog: int
    """Streams that wait for ``accept_stream``."""
    unread: int
    """Bytes received that no application has read."""
    bytes_sent: int
    """Bytes given to the transport."""
    bytes_received: int
    """Bytes taken from the transport."""
    round_trip: float | None
    """Seconds of the latest answered heartbeat or ``ping``; None before one."""
    path: PathStatistics | None
    """What the kernel tells of the connection, and when it is closed, what it told last.  None where none tells:
    on other systems than Linux, over Unix sockets, over transports with no TCP socket below; and before a round
    trip was measured."""


class StreamStatistics(NamedTuple):
    """A snapshot of one stream.  All counts are of its own bytes, without frames."""

    bytes_sent: int
    """Bytes that were cut into frames; the transport has them, or is given them next."""
    unsent: int
    """Bytes that ``send`` took and that wait here: for the transport, for more urgent streams, or for the peer,
    if ``send_window`` is 0."""
    bytes_received: int
    """Bytes that arrived, received by the application or not, those thrown away after a close too."""
    unread: int
    """Bytes of these that wait for ``receive``."""
    send_window: int | None
    """Bytes that the peer has room for now on this stream; 0 or less if its application does not read.  None on
    ``smux1``, which has no windows."""
    receive_window: int | None
    """Bytes that may be unread here in all; grows with a stream that is read as fast as it comes, to
    ``Config.max_stream_window``.  None on ``smux1``."""
    priority: Priority
    """Its place among the session's streams."""
    end_sent: bool
    """Whether nothing is left to send, and the end behind it was cut into a frame or is in the next; not by a reset."""
    end_received: bool
    """Whether the peer's end came; what is ``unread`` lies before it."""


def of_stream(connection: Connection, state: StreamState) -> StreamStatistics:
    """See :meth:`.Stream.statistics`."""
    sent, unsent, received = state.sent, state.unsent, state.received
    if state.stream_type is not None and connection.types_in_payload:
        if state.local:
            of_type = min(_TYPE_SIZE, sent)
            sent -= of_type
            unsent -= min(unsent, _TYPE_SIZE - of_type)
        else:
            received -= _TYPE_SIZE
    return StreamStatistics(
        bytes_sent=sent,
        unsent=unsent,
        bytes_received=received,
        unread=state.unread,
        send_window=None if state.send_window > MAX_WINDOW else state.send_window,
        receive_window=None if state.max_recv_window > MAX_WINDOW else state.max_recv_window,
        priority=state.priority,
        end_sent=state.fin_sent,
        end_received=state.fin_received,
    )


def of_session(driver: Driver) -> SessionStatistics:
    """See :meth:`.Session.statistics`."""
    connection, link = driver.connection, driver.link
    return SessionStatistics(
        live_streams=connection.live_streams,
        peer_streams=connection.peer_streams,
        backlog=connection.backlog,
        unread=connection.unread,
        bytes_sent=link.bytes_sent,
        bytes_received=link.bytes_received,
        round_trip=driver.pings.round_trip,
        path=of_path(link),
    )


def of_path(link: Link) -> PathStatistics | None:
    """What is known of the connection below ``link``."""
    figures = link.figures()
    if figures is None:
        return None
    return PathStatistics(
        round_trip=figures.round_trip,
        least_round_trip=figures.least_round_trip,
        retransmits=figures.retransmits,
        in_flight=link.in_flight(),
        cap=link.cap or None,
    )

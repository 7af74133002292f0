"""The bounds of a connection, as it says of itself what it keeps: queues, windows, memory, and what is left.

The rule.  Each bound is a field of ``Config`` or a fact of the wire, and what was received at once; none
is a figure that happened to fit.  Of the memory as a whole only the order of magnitude is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muxado_py.frames import UNLIMITED

from .pair import held

if TYPE_CHECKING:
    from muxado_py import Config
    from muxado_py.protocol.connection import Connection
    from muxado_py.protocol.stream_state import StreamState

__all__ = ("check_memory", "check_nothing_is_left", "check_queues")

FIXED = 400_000  # bytes that a connection may hold beside what is counted
A_STREAM = 6_000
A_REPLY = 300
A_RECORD = 600  # a stream without bytes
A_FEW = 40  # timers: one of each kind, and as many entries that are out of date


def check_queues(connection: Connection, config: Config, *, opened: int, largest: int) -> None:
    """Every queue keeps its bound.

    :param opened: how many streams this side has opened.
    :param largest: the most bytes that were received at once.
    """
    streams, control, _, receiving, timers, known = connection.inspect()
    unlimited = connection.traits.initial_window == UNLIMITED
    most = config.max_streams + opened
    assert 0 <= connection.unread <= config.session_window + (largest if unlimited else 0)
    assert 0 <= connection.peer_streams <= config.max_streams + 1  # a heartbeat
    assert 0 <= connection.backlog <= min(config.accept_backlog, config.max_streams)
    assert connection.live_streams >= 0
    assert streams.astray == 0
    assert streams.live + streams.unopened <= 2 * most
    assert streams.discarding <= max(1, config.max_streams)
    assert streams.unacknowledged <= (connection.traits.max_unacknowledged or 0)
    assert streams.id_gaps <= 1024
    assert streams.backlog + streams.withdrawn <= 2 * config.accept_backlog + 17
    assert control.replies <= config.max_control_frames + 2 * most + 16
    assert control.credits + control.delayed_credits <= streams.live
    assert control.priorities <= streams.live
    assert receiving.undecoded <= largest + 1032
    assert timers <= A_FEW, "streams do not have timers of their own"
    if not unlimited:
        for stream in known:
            assert stream.unread <= stream.max_recv_window
            assert stream.max_recv_window <= max(config.stream_window, config.max_stream_window)
            assert stream.recv_window >= 0
        assert receiving.grown == receiving.grown_of_streams
        assert receiving.grown <= config.session_window // 2


def check_memory(
    connection: Connection, accepted: set[StreamState], *, largest: int, chunk: int
) -> None:
    """What the connection holds is what these figures account for.

    :param accepted: the streams that the application has.
    :param largest: the most bytes that were received at once.
    :param chunk: the most that the application wrote at once: what is left of it keeps the whole.
    """
    inspection = connection.inspect()
    streams = {*inspection.known} | accepted
    buffered = sum(stream.unsent and stream.unsent + chunk for stream in streams)
    counted = 3 * connection.unread + buffered + A_STREAM * len(streams)
    counted += A_REPLY * (inspection.control.replies + inspection.control.delayed) + 2 * largest
    assert held(connection) <= FIXED + counted, "memory grows"


def check_nothing_is_left(connection: Connection) -> None:
    """The session is over and the application is done with it."""
    streams, control, sending, receiving, _, known = connection.inspect()
    assert connection.live_streams == connection.peer_streams == connection.unread == 0
    assert connection.backlog == streams.local_open == receiving.grown == 0
    assert not known, "something is left"
    for size in (
        *(
            streams.live,
            streams.unopened,
            streams.ended_unread,
            streams.discarding,
            streams.stalled,
        ),
        *(streams.unacknowledged, streams.unaccepted, streams.lingering, streams.heartbeats),
        *(
            sending.blocked,
            sending.below_floor,
            sending.awaiting_ack,
            sending.ready,
            sending.unsent,
        ),
        *(control.replies, control.credits, control.delayed_credits, control.delayed),
    ):
        assert not size, "something is left"
    assert sending.written == sending.sent
    assert not connection.has_output()
    assert not connection.has_unsent
    assert held(connection) < FIXED + A_RECORD * streams.cut_off, "memory grew"

"""The bounds of a connection, looked up where it keeps things: queues, windows, memory, and what is left.

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
    from muxado_py.protocol.state import StreamState

__all__ = ("check_memory", "check_nothing_is_left", "check_queues")

FIXED = 400_000  # bytes that a connection may hold beside what is counted
A_STREAM = 6_000
A_REPLY = 300


def check_queues(connection: Connection, config: Config, *, opened: int, largest: int) -> None:
    """Every queue keeps its bound.

    :param opened: how many streams this side has opened.
    :param largest: the most bytes that were received at once.
    """
    table, control = connection._table, connection._out.control
    unlimited = connection.traits.initial_window == UNLIMITED
    known = config.max_streams + opened
    assert 0 <= connection.unread <= config.session_window + (largest if unlimited else 0)
    assert 0 <= connection.peer_streams <= config.max_streams + 1  # a heartbeat
    assert 0 <= connection.backlog <= min(config.accept_backlog, config.max_streams)
    assert connection.live_streams >= 0
    assert len(table.live) + len(table.waiting) <= 2 * known
    assert len(table.draining) <= max(1, config.max_streams)
    assert len(table.unacknowledged) <= (connection.traits.max_unacknowledged or 0)
    assert len(table.ledger._gaps) <= 1024
    assert len(table._backlog) <= 2 * config.accept_backlog + 17
    assert control.queued <= config.max_control_frames + 2 * known + 16
    assert len(control._credits) + len(control._held_credits) <= len(table.live)
    assert len(control._priorities) <= len(table.live)
    kept: bytes = getattr(connection._in._decoder, "_partial")  # noqa: B009 - the protocol hides it
    assert len(kept) <= largest + 1032
    if not unlimited:
        _check_windows(connection, config)


def _check_windows(connection: Connection, config: Config) -> None:
    table = connection._table
    for stream in (*table.live.values(), *table.left_behind):
        assert stream.unread <= stream.window
        assert stream.window <= max(config.stream_window, config.max_stream_window)
        assert stream.allowed >= 0
    assert table.grown == sum(stream.grown for stream in table.live.values())
    assert table.grown <= config.session_window // 2


def check_memory(
    connection: Connection, accepted: set[StreamState], *, largest: int, chunk: int
) -> None:
    """What the connection holds is what these figures account for.

    :param accepted: the streams that the application has.
    :param largest: the most bytes that were received at once.
    :param chunk: the most that the application wrote at once: what is left of it keeps the whole.
    """
    table, control = connection._table, connection._out.control
    streams = {*table.live.values(), *table.waiting, *table.left_behind, *table._backlog} | accepted
    buffered = sum(stream.unsent and stream.unsent + chunk for stream in streams)
    counted = 3 * connection.unread + buffered + A_STREAM * len(streams)
    counted += A_REPLY * (control.queued + len(control.held)) + 2 * largest
    assert held(connection) <= FIXED + counted, "memory grows"


def check_nothing_is_left(connection: Connection) -> None:
    """The session is over and the application is done with it."""
    table, out = connection._table, connection._out
    assert connection.live_streams == connection.peer_streams == connection.unread == 0
    assert connection.backlog == table.local_open == table.grown == 0
    for queue in (
        *(table.live, table.waiting, table.left_behind, table.draining, table.stalled),
        *(table.unacknowledged, table.unaccepted, out.blocked, out._unopened, out.scheduler),
    ):
        assert not len(queue), "something is left"
    assert not connection.has_output()
    assert not connection.unsent
    assert held(connection) < FIXED, "memory grew"

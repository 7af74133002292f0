"""Inspection: the sizes of the core's own tables and queues, for tests and debuggers.

What it is.  A snapshot of the sizes of everything that can grow, for tests that hold bounds and for whoever debugs
a session that hangs or grows.  What applications are told is in ``session.statistics()``.

Where data comes from.  Nothing is counted for it.  It is read from the objects of one connection when somebody
asks, at a step for each stream, so that no hot path pays.

The rule.  It looks and changes nothing.  Whoever adds a queue or a set to the core adds its size here, and
whoever moves one changes this module instead of the tests.

The trap.  It is the one module that looks into the private parts of its neighbours; it gives no private object away,
or those who ask would come to depend on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .stream_state import Owner

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .flow_control import FlowControl
    from .gates import Gates
    from .inbound import Inbound
    from .intake import Intake
    from .losses import Losses
    from .session_ends import SessionEnds
    from .stream_state import StreamState
    from .stream_table import StreamTable
    from .timeouts import Timeouts

__all__ = (
    "BudgetSizes",
    "ControlSizes",
    "Inspection",
    "ReceiveSizes",
    "SendSizes",
    "StreamSizes",
    "inspect",
)


class StreamSizes(NamedTuple):
    """How many streams stand where; one may stand in several places."""

    live: int
    """Have an id, and the wire may still mention them."""
    unopened: int
    """Ours, whose SYN is not cut yet."""
    heartbeats: int
    """Live or waiting, and no application's."""
    discarding: int
    """Live, closed here and not by a peer that has to finish them: what comes is thrown away."""
    lingering: int
    """Closed here, with bytes or a FIN still to send."""
    stalled: int
    """Finished by a peer that takes nothing on them."""
    unacknowledged: int
    """Ours, that the peer was not heard on, where it has to be."""
    unaccepted: int
    """The peer's, that no application took, where their time is bounded."""
    awaiting_peer_close: int
    """Those of which the application waits for the peer's full close."""
    ended_unread: int
    """The wire is through with them, and they hold bytes that were not read."""
    backlog: int
    """Wait for ``accept``."""
    withdrawn: int
    """Ended while they waited for ``accept``, and are skipped when their turn comes."""
    local_open: int
    """Ours that are live or waiting, but for heartbeats."""
    peer_live: int
    """The peer's that are live, but for heartbeats."""
    peer_open: int
    """The peer's that the application is not done with, but for heartbeats."""
    id_gaps: int
    """Ranges of ids that the peer skipped and that are remembered."""
    cut_off: int
    """Were live or waiting when the session ended, and are kept for the question what they lost by it."""
    remembered: int
    """Noted when the core probed last: they are not read in a full session, or go on sending to a peer that is through.
    A stream that is noted twice counts twice."""
    astray: int
    """Stand somewhere above, or wait for something below, where only a stream may that is live or waiting, and are
    neither; or lack their floor of the session's room without being blocked.  More than 0 is a fault of the core."""


class ControlSizes(NamedTuple):
    """What waits in the control queue, by kind."""

    replies: int
    """All that a peer can provoke without end, which is bounded: ``frames`` and both kinds of resets."""
    frames: int
    fins: int
    pings: int
    priorities: int
    credits: int
    resets: int
    delayed: int
    """Streams that nothing may be sent on yet."""
    delayed_credits: int
    delayed_resets: int
    awaited_pings: int
    """Pings that left, whose answer somebody waits for."""
    goodbyes: int
    """GOAWAYs behind the streams that were opened before them."""


class SendSizes(NamedTuple):
    """What waits to be sent as data; bytes, but for those that count streams."""

    written: int
    """Given to streams so far, less what was taken back or dropped."""
    sent: int
    """Cut into frames so far."""
    unsent: int
    """In no frame yet, as the streams that are live or waiting say: ``written`` less ``sent``."""
    ready: int
    """Streams whose turn the scheduler will give."""
    blocked: int
    """Streams that may use no more of the session's room."""
    below_floor: int
    """Those of them that hold not even their floor of it."""
    awaiting_ack: int
    """Streams whose SYN waits for acknowledgements of others."""
    session_room: int
    """What the peer takes in all, beyond ``sent``."""
    max_unsent: int
    """How much may wait on one stream, as of the last look."""
    low_water: int
    """How much may wait when there is room again."""


class BudgetSizes(NamedTuple):
    """How many frames of each cheap kind the peer could send at once when it sent the last of that kind."""

    pings: float
    noises: float
    early_resets: float
    faults: float


class ReceiveSizes(NamedTuple):
    """What came in, in bytes, and what is known of who sent it."""

    received: int
    """Payload so far."""
    unread: int
    """Payload that waits for the application."""
    undecoded: int
    """Kept by the decoder: the beginning of a frame, or what came during a pause."""
    grown: int
    """What the windows of streams have grown by, as the table counts it."""
    grown_of_streams: int
    """The same as the live streams say."""
    pressed: bool
    """Whether the session's room is short."""
    paused: bool
    """Whether nothing more is decoded for now."""
    leaving: bool
    """Whether this side said that it is going away."""
    remembered_resets: int
    """Ids of streams that either side reset lately."""
    budgets: BudgetSizes


class Inspection(NamedTuple):
    """A snapshot of one connection; see the module essay."""

    streams: StreamSizes
    control: ControlSizes
    sending: SendSizes
    receiving: ReceiveSizes
    timers: int
    """Entries of their heap: those that are armed, and no more than about as many that are out of date."""
    known: tuple[StreamState, ...]
    """Every stream that is held anywhere, once, in no order: live, waiting, left behind, or in the backlog, those that
    were withdrawn from it too."""


def inspect(
    table: StreamTable,
    gates: Gates,
    flow: FlowControl,
    intake: Intake,
    session_ends: SessionEnds,
    inbound: Inbound,
    timeouts: Timeouts,
) -> Inspection:
    """See :meth:`.Connection.inspect`."""
    cared_for = dict.fromkeys(table)
    known = (*dict.fromkeys((*cared_for, *table.ended_unread, *table.backlog.held())),)
    remembered = len(inbound._overflow._seen) + len(timeouts._sending_on)
    return Inspection(
        streams=_streams(table, session_ends.losses, remembered, _astray(cared_for, table, gates)),
        control=_control(gates),
        sending=_sending(gates, cared_for),
        receiving=_receiving(table, gates, flow, intake, session_ends, inbound),
        timers=len(table.timers),
        known=known,
    )


def _streams(table: StreamTable, losses: Losses, remembered: int, astray: int) -> StreamSizes:
    return StreamSizes(
        live=len(table.live),
        unopened=len(table.unopened),
        heartbeats=len(table.heartbeats),
        discarding=len(table.discarding),
        lingering=len(table.lingering),
        stalled=len(table.stalled),
        unacknowledged=len(table.unacknowledged),
        unaccepted=len(table.backlog.unaccepted),
        awaiting_peer_close=len(table.awaiting_peer_close),
        ended_unread=len(table.ended_unread),
        backlog=table.backlog.size,
        withdrawn=len(table.backlog.held()) - table.backlog.size,
        local_open=table.local_open,
        peer_live=table.peer_live,
        peer_open=table.peer_open,
        id_gaps=len(table.ledger._gaps),
        cut_off=len(losses._ended),
        remembered=remembered,
        astray=astray,
    )


def _astray(cared_for: dict[StreamState, None], table: StreamTable, gates: Gates) -> int:
    control = gates.control
    places: tuple[Iterable[StreamState], ...] = (
        *(table.heartbeats, table.discarding, table.lingering, table.stalled),
        *(table.unacknowledged, gates.blocked, gates._awaiting_ack),
        *(control._credits, control._delayed_credits),
    )
    strangers = {stream for place in places for stream in place if stream not in cared_for}
    strangers |= {
        stream for stream in table.backlog.unaccepted if stream.owner is not Owner.OFFERED
    }  # beyond the peer's end
    return len(strangers | {one for one in gates._below_floor if one not in gates.blocked})


def _control(gates: Gates) -> ControlSizes:
    control = gates.control
    return ControlSizes(
        replies=control.queued,
        frames=len(control._frames),
        fins=len(control.fins),
        pings=len(control._pings),
        priorities=len(control._priorities),
        credits=len(control._credits),
        resets=len(control._resets),
        delayed=len(control.delayed),
        delayed_credits=len(control._delayed_credits),
        delayed_resets=len(control._delayed_resets),
        awaited_pings=len(control.awaited_pings),
        goodbyes=len(gates.goodbyes),
    )


def _sending(gates: Gates, cared_for: Iterable[StreamState]) -> SendSizes:
    return SendSizes(
        written=gates.written,
        sent=gates.sent,
        unsent=sum(stream.unsent for stream in cared_for),
        ready=len(gates.scheduler),
        blocked=len(gates.blocked),
        below_floor=len(gates._below_floor),
        awaiting_ack=len(gates._awaiting_ack),
        session_room=gates.session_limit - gates.sent,
        max_unsent=gates.max_unsent,
        low_water=gates.low_water,
    )


def _receiving(
    table: StreamTable,
    gates: Gates,
    flow: FlowControl,
    intake: Intake,
    session_ends: SessionEnds,
    inbound: Inbound,
) -> ReceiveSizes:
    return ReceiveSizes(
        received=flow.received,
        unread=flow.unread,
        undecoded=inbound._decoder.undecoded,
        grown=table.grown,
        grown_of_streams=sum(stream.grown for stream in table.live.values()),
        pressed=flow.pressed,
        paused=inbound.paused,
        leaving=session_ends.leaving,
        remembered_resets=len(gates.control.unwanted),
        budgets=BudgetSizes(
            pings=intake.pings._left,
            noises=intake.noises._left,
            early_resets=intake.early_resets._left,
            faults=intake.faults._left,
        ),
    )

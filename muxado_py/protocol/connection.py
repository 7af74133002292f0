"""Connection: the protocol of one session, without sockets, clock or tasks.

What it is.  The whole of what two peers owe each other, driven from outside.  Its methods fall in
four groups, as in quinn-proto:

A. questions: ``is_muxado_py``, ``may_read``, ``has_output`` ...;
B. input: ``receive_data``, ``receive_eof``, and ``timers.expire`` for what time brings;
C. commands of the application: ``open``, ``accept``, ``write``, ``read``, ``finish``, ``close``,
   ``reset``, ``set_priority``, ``ping``, ``go_away`` ...;
D. output: ``data_to_send`` and ``events``.

After any B or C, look at D: take the events, and send what there is to send.  No method waits and
none calls back.

Where data comes from and goes to.  Bytes of the transport go through the wire's decoder to
:class:`~muxado_py.protocol.inbound.Inbound`; bytes of the application wait in their stream until
:class:`~muxado_py.protocol.outbound.Outbound` cuts a frame.  This module holds the two together and does what
the application asks.

The rule.  Anything that a peer can send is dealt with in ``inbound`` and raises nothing; anything
that raises here is a mistake of the caller.

The trap.  ``accept`` is the commit point: a stream it returned may never again be refused, by code
or by a GOAWAY's last id, whatever happens next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import (
    ErrorCode,
    Failure,
    Retry,
    SessionClosedError,
)
from ..frames import HEAD, WIRES, mistaken, unpack
from ..frames.reporting import Reporting, SentFrames
from ..scheduler import check_priority
from .admission import Admission
from .events import Events
from .flow_control import FlowControl
from .gates import Gates
from .heartbeat_streams import Heartbeats
from .inbound import Inbound
from .inbound_control import InboundControl
from .inspection import inspect
from .intake import Intake
from .opening import Opening
from .outbound import Outbound
from .session_ends import SessionEnds
from .stream_ends import StreamEnds
from .stream_table import StreamTable
from .timeouts import Timeouts
from .timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Config
    from ..frames import Traits
    from ..frames.reporting import Report
    from ..scheduler import Priority
    from .inspection import Inspection
    from .opening import OpenStream
    from .stream_state import StreamState

__all__ = ("CLOSED_HERE", "Connection")


class Connection:
    """One end of a session, sans-IO; see the module essay.

    :param client: whether this side dialed, which decides the parity of its stream ids.
    :param clock: the time in seconds, for receive windows that grow, for budgets, and for
        :mod:`~muxado_py.protocol.timers`.  One that stands still, the default, makes none grow.
    """

    # Of every message and stream, so without a step between; see docs/measurements.md.
    open: OpenStream
    """Open a stream; see :meth:`.Opening.open`."""
    has_output: Callable[[], bool]
    """Whether to ask :meth:`data_to_send`; it gives nothing if the session has no room."""
    write: Callable[[StreamState, bytes], None]
    """Queue bytes on a stream; the caller looks at :attr:`outgoing`'s ``room`` to know when to stop."""
    unwrite: Callable[[StreamState, int], int]
    """Take back up to so many of the bytes written last that are in no frame yet; how many these were."""
    read: Callable[[StreamState, int], bytes]
    """Up to so many bytes that arrived on a stream, ``b""`` if there are none; the peer gets the credit."""

    close: Callable[[StreamState], None]
    """Full close of a stream: what was written still goes out; what comes in is thrown away, and answered with
    a RST where that does no harm."""

    def __init__(
        self, config: Config, *, client: bool, clock: Callable[[], float] = lambda: 0.0
    ) -> None:
        wire = WIRES[config.wire](client=client)
        self._config = config
        self._wire = wire
        self.events = Events()
        self.timers = Timers(clock, self.events.note_session)
        self._table = StreamTable(
            wire.first_id, wire.first_peer_id, wire.max_id, config, self.timers
        )
        events, table = self.events, self._table
        gates = self._gates = Gates(wire, table, events, config)
        flow = self._flow = FlowControl(wire, table, gates, config, clock)
        intake = self._intake = Intake(gates.control, config, clock)
        stream_ends = self._stream_ends = StreamEnds(
            wire, table, gates, flow, intake, events, config
        )
        ends = self._session_ends = SessionEnds(
            wire, table, gates, flow, intake, stream_ends, events, config
        )
        self.opening = Opening(wire, table, gates, flow, ends, events, config)
        self.heartbeats = Heartbeats(wire, table, gates, flow, stream_ends, events)
        admission = self._admission = Admission(
            wire, table, gates, flow, intake, stream_ends, ends, self.heartbeats, events, config
        )
        control = InboundControl(wire, table, gates, flow, intake, stream_ends, events)
        self._in = Inbound(
            wire, table, gates, flow, intake, stream_ends, ends, admission, control, events, config
        )
        self._out = Outbound(wire, table, gates, flow, stream_ends, events, config)
        self.timeouts = Timeouts(wire, table, gates, stream_ends, config)
        self._cut = self._out.data_to_send
        # The peer's first bytes, until they tell its wire; empty, too, where they told that it is another.
        self._head: bytes | None = b""
        gates.control.frame(wire.hello())
        self.outgoing = gates
        """How much may wait on one stream: its ``room``, and its ``low_water`` when there is room again."""
        self.application_streams = table.application_streams
        """See :meth:`.StreamTable.application_streams`."""
        self.open = self.opening.open
        self.first_id = wire.first_id
        """What the first stream of this side has."""
        self.has_output = self._out.has_output
        self.write = gates.write
        self.unwrite = gates.unwrite
        self.read = self._in.read
        self.close = stream_ends.close
        stream_ends.settle = self._settle

    def log_frames(self, report: Report) -> None:
        """Call ``report`` with what each frame says, sent and received; before the first byte."""
        self._in.decode_through(Reporting(report, "received", self._in))
        self._cut = SentFrames(self._wire, report, self._cut).cut

    # A. Questions.

    @property
    def is_muxado_py(self) -> bool | None:
        """Whether the peer is a muxado_py; None before its first frame."""
        return self._flow.is_muxado_py

    @property
    def heard(self) -> bool:
        """Whether the peer has shown that it speaks this wire: its first frame, or the head of a long
        one, came and is valid."""
        head = self._head
        if head == b"":
            return False
        if self._wire.traits.recognizes:
            return self.is_muxado_py is not None
        return head is None or not self._in.midway

    @property
    def traits(self) -> Traits:
        """What the wire can do."""
        return self._wire.traits

    @property
    def answers_pings(self) -> bool:
        """Whether the peer gives a ping back, as far as is known."""
        return self._wire.traits.answers_pings or self._flow.is_muxado_py is True

    @property
    def echoes_heartbeats(self) -> bool:
        """Whether Go's heartbeats, on a stream of their own type, can be used."""
        return self._config.typed_streams or self._wire.traits.types_in_syn

    @property
    def types_in_payload(self) -> bool:
        """Whether the type of a typed stream goes as its first four bytes."""
        return self._config.typed_streams and not self._wire.traits.types_in_syn

    def may_read(self) -> bool:
        """Whether more input is welcome: not while the peer leaves our replies lying, or while a
        session without windows is full."""
        return not self._in.paused

    @property
    def has_unsent(self) -> bool:
        """Whether anything written, or a FIN, has not been cut into a frame yet."""
        return self._out.has_output() or any(
            (stream.unsent or stream.fin_is_next) and stream not in self._table.heartbeats
            for stream in self._table
        )

    @property
    def said(self) -> int:
        """What streams have said so far, in bytes cut into frames; the end of one counts as a byte."""
        return self._gates.sent + self._gates.fins_sent

    @property
    def live_streams(self) -> int:
        """Streams that one side has not finished, or that wait for their SYN to go.

        Not those that are closed here and only wait for a peer that need not finish, and none that carry
        heartbeats; these count nowhere.
        """
        table = self._table
        known = len(table.live) + len(table.unopened)
        return known - len(table.discarding) - len(table.heartbeats)

    @property
    def local_streams(self) -> int:
        """Streams that this side opened and that the wire may still mention."""
        return self._table.local_open

    @property
    def refused_streams(self) -> int:
        """Streams of this side that the peer has refused by a reset, in all."""
        return self._table.local_refused

    @property
    def unread(self) -> int:
        """Bytes that arrived and that no application has read."""
        return self._flow.unread

    @property
    def peer_streams(self) -> int:
        """Streams of the peer that the application is not done with."""
        return self._table.peer_open

    @property
    def backlog(self) -> int:
        """Streams of the peer that wait for ``accept``."""
        return self._table.backlog.size

    def inspect(self) -> Inspection:
        """The sizes of all that it holds, for tests and whoever debugs it; see :mod:`~muxado_py.protocol.inspection`."""
        return inspect(
            self._table,
            self._gates,
            self._flow,
            self._intake,
            self._session_ends,
            self._in,
            self.timeouts,
        )

    # B. Input.

    def receive_data(self, data: bytes | memoryview) -> None:
        """The transport received ``data``; it is thrown away once the connection is over."""
        if self.events.failure is not None:
            return
        if self._head is None:
            self._in.receive(data)
        else:
            self._receive_first((self._head + data)[:HEAD], data)

    def _receive_first(self, head: bytes, data: bytes | memoryview) -> None:
        """The peer's first bytes, ``head``, end in ``data``: they may be of another wire, or of no wire at all."""
        wire = type(self._wire)
        self._head = head if len(head) < HEAD else None
        what = mistaken(head, wire)
        if what is not None:
            self._session_ends.break_off(ErrorCode.PROTOCOL_ERROR, what)
        else:
            self._in.receive(data)
        if self.events.failure is not None and (what is not None or not wire.matches(head)):
            self._head = b""  # nothing of this wire was heard

    def receive_eof(self, cause: str = "") -> None:
        """The transport ended: foreseen after a GOAWAY, else an error on every stream.

        :param cause: what the transport said, if it failed.
        """
        self._in.decode_rest()
        self._session_ends.transport_ended(cause, self._in.midway)

    # What an end has cost.

    def lost(self, *, unsaid: bool) -> list[tuple[int | None, int]]:
        """Streams with what was in no frame when the session ended; see :meth:`Losses.count`."""
        return self._session_ends.losses.count(unsaid=unsaid)

    def payload_of(self, frames: bytes, skip: int, *, unsaid: bool) -> dict[int, int]:
        """What of ``frames`` of ours, from there on, is whose; see :meth:`Losses.payload_of`."""
        return self._session_ends.losses.payload_of(frames, skip, unsaid=unsaid)

    # C. Commands: streams.

    @staticmethod
    def metadata_of(stream: StreamState) -> dict[str, bytes]:
        """What the opener of ``stream`` said of it, in a dict of its own."""
        return unpack(stream.metadata)

    def verdict_of(self, stream: StreamState) -> Retry:
        """May what was said on ``stream`` be said again elsewhere, as it stands now?"""
        if stream.failure is None:
            return stream.verdict()
        if stream.local and stream.id is None and stream not in self._table.unopened:
            return Retry.NEVER_SENT  # it was closed here, and withdrawn before its SYN was cut
        return stream.retry

    def accept(self) -> StreamState | None:
        """The next stream of the peer, handed off for good; None if none waits."""
        stream = self._table.backlog.hand_off()
        if stream is not None and self._flow.speaks_at_hand_off and stream.id in self._table.live:
            self._admission.handed_off(stream)
        return stream

    def finish(self, stream: StreamState) -> None:
        """A FIN follows what was written."""
        self._stream_ends.finish(stream)

    def reset(self, stream: StreamState, code: int) -> None:
        """Abort both directions; a stream whose SYN has not gone leaves no trace on the wire."""
        if stream.id is not None:
            # Where no frame says so: what is lost of it from here on is no loss.
            self._gates.control.unwanted.append(stream.id)
        self._stream_ends.reset(stream, code)

    def drop(self, stream: StreamState) -> None:
        """Nobody has ``stream`` any more, and nobody ended it; see :meth:`.StreamEnds.drop`."""
        self._stream_ends.drop(stream)

    def set_priority(self, stream: StreamState, priority: Priority) -> None:
        """From the next frame on; a muxado_py peer is told, for what it sends."""
        check_priority(priority)
        stream.priority = priority
        self._gates.scheduler.moved(stream)
        if stream.id in self._table.live:
            self._gates.control.priority(stream)

    def watch(self, stream: StreamState) -> None:
        """Ask now and then, where that is possible, whether the peer has closed ``stream`` altogether."""
        self._table.awaiting_peer_close[stream] = None
        if self._wire.traits.resets_unknown:
            self._table.looks.begin()

    def unwatch(self, stream: StreamState) -> None:
        """Ask no longer."""
        self._table.awaiting_peer_close.pop(stream, None)

    # C. Commands: session.

    def ping(self, payload: bytes) -> None:
        """Send 8 bytes that the peer gives back; where a ping is shorter, only its end differs."""
        self._gates.control.ping(payload)

    def forget_ping(self, payload: bytes) -> None:
        """Nobody waits for the answer to this ping any more."""
        self._gates.control.forget_ping(payload)

    def keep_alive(self) -> None:
        """Say nothing but that this side lives."""
        self._gates.control.frame(self._wire.keep_alive())

    def stop_accepting(self) -> None:
        """Refuse the streams that wait and those that come."""
        self._session_ends.stop_accepting()

    def announce_go_away(self) -> None:
        """See :meth:`.SessionEnds.announce`."""
        self._session_ends.announce()

    def go_away(self, code: int, debug: bytes) -> None:
        """Take no more streams; those that wait are refused, whatever their id."""
        self._session_ends.go_away(code, debug)

    def terminate(self, failure: Failure) -> None:
        """The session is over for a reason of ours; streams end, and nothing more is taken in."""
        self._session_ends.end(failure)

    # D. Output.

    def data_to_send(self, budget: int) -> list[bytes | memoryview]:
        """The next frames, in pieces; see :meth:`Outbound.data_to_send`."""
        out = self._cut(budget)
        if self.events.unsettled:
            self._settle()  # a FIN of ours may have been the last frame of the last stream
        return out

    def _settle(self) -> None:
        """Something was freed or ended: there may be room for more input, or no stream left to wait for."""
        self._in.go_on()
        self._session_ends.close_if_idle()


CLOSED_HERE = Failure(SessionClosedError, "you closed the session", ErrorCode.SESSION_CLOSED, False)

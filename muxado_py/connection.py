"""Connection: the protocol of one session, without sockets, clock or tasks.

What it is.  The whole of what two peers owe each other, driven from outside.  Its methods fall in
four groups, as in quinn-proto:

A. questions: ``is_muxado_py``, ``may_read``, ``has_output``, ``statistics``;
B. input: ``receive_data``, ``receive_eof``, ``elapsed``;
C. commands of the application: ``open``, ``accept``, ``write``, ``read``, ``finish``, ``close``,
   ``reset``, ``set_priority``, ``ping``, ``go_away`` ...;
D. output: ``data_to_send`` and ``events``.

After any B or C, look at D: take the events, and send what there is to send.  No method waits and
none calls back.

Where data comes from and goes to.  Bytes of the transport go through the wire's decoder to
:class:`~muxado_py.inbound.Inbound`; bytes of the application wait in their stream until
:class:`~muxado_py.outbound.Outbound` cuts a frame.  This module holds the two together and does what
the application asks.

The rule.  Anything that a peer can send is dealt with in ``inbound`` and raises nothing; anything
that raises here is a mistake of the caller.

The trap.  ``accept`` is the commit point: a stream it returned may never again be refused, by code
or by a GOAWAY's last id, whatever happens next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import (
    ErrorCode,
    Failure,
    GoneAwayError,
    Retry,
    SessionClosedError,
    StreamClosedError,
    StreamLimitError,
    TransportError,
)
from .events import Events
from .frames import WIRES
from .halves import StreamState
from .inbound import CLOSED_BY_PEER, Inbound
from .outbound import Outbound
from .scheduler import DEFAULT_PRIORITY
from .table import StreamTable

if TYPE_CHECKING:
    from .config import Config
    from .scheduler import Priority

__all__ = ("CLOSED_HERE", "Connection")


class Connection:
    """One end of a session, sans-IO; see the module essay.

    :param client: whether this side dialed, which decides the parity of its stream ids.
    """

    def __init__(self, config: Config, *, client: bool) -> None:
        wire = WIRES[config.wire](client=client)
        self._config = config
        self._wire = wire
        self._table = StreamTable(wire.first_id, wire.first_peer_id, wire.max_id)
        self.events = Events()
        self._out = Outbound(wire, self._table, self.events, config)
        self._in = Inbound(wire, self._table, self._out, self.events, config)
        self._decoder = wire.decoder(self._in)
        self._out.control(wire.hello())

    # A. Questions.

    @property
    def is_muxado_py(self) -> bool | None:
        """Whether the peer is a muxado_py; None before its first frame."""
        return self._in.peer.is_muxado_py

    @property
    def may_read(self) -> bool:
        """Whether more input is welcome: not while the peer leaves our replies lying."""
        return not self._in.paused

    @property
    def has_output(self) -> bool:
        return self._out.has_output()

    @property
    def unsent(self) -> bool:
        """Whether anything written, or a FIN, has not been cut into a frame yet."""
        return self._out.has_output() or any(
            stream.send.buffered or stream.send.due_fin for stream in self._table
        )

    @property
    def live_streams(self) -> int:
        """Streams that either side may still mention, or that wait for their SYN to go."""
        return len(self._table.live) + len(self._table.waiting)

    @property
    def unread(self) -> int:
        """Bytes that arrived and that no application has read."""
        return self._in.peer.unread

    @property
    def peer_streams(self) -> int:
        """Streams of the peer that the application is not done with."""
        return self._table.peer_open

    @property
    def backlog(self) -> int:
        """Streams of the peer that wait for ``accept``."""
        return self._table.backlog_size

    # B. Input.

    def receive_data(self, data: bytes) -> None:
        """The transport received ``data``; it is thrown away once the connection is over."""
        if self.events.ended is None:
            self._decoder.feed(data)

    def receive_eof(self, cause: str = "") -> None:
        """The transport ended: foreseen after a GOAWAY, else an error on every stream.

        :param cause: what the transport said, if it failed.
        """
        if self.events.go_away is not None:
            self._in.end(CLOSED_BY_PEER)
            return
        where = " in the middle of a frame" if self._decoder.midway else ""
        message = f"the transport ended{where} without a goodbye of the peer"
        self._in.end(
            Failure(
                TransportError,
                f"{message}: {cause}" if cause else message,
                ErrorCode.PEER_EOF,
                True,
            )
        )

    def elapsed(self, seconds: float) -> None:
        """Time passed: what a peer may do in bursts fills up again."""
        for budget in self._in.budgets:
            budget.refill(seconds)

    # C. Commands: streams.

    def open(self, priority: Priority | None, stream_type: int | None) -> StreamState:
        """A new stream of ours; its SYN goes with the next flush that has room for it.

        :raises GoneAwayError: if either side is going away.
        :raises StreamLimitError: if as many streams are open as the peer takes, or the ids are used
            up.
        :raises SessionError: if the session is over.
        """
        self._check_open()
        stream = StreamState(None, priority or DEFAULT_PRIORITY, *self._in.peer.make_halves())
        if stream_type is not None:
            stream.stream_type = stream_type
            stream.send.write(stream_type.to_bytes(4, "big"))
        self._table.open_local(stream)
        self._out.open(stream)
        return stream

    def _check_open(self) -> None:
        limit = self._in.peer.stream_limit
        if self.events.ended is not None:
            raise self.events.ended.error(Retry.NEVER_SENT)
        if self.events.go_away is not None:
            failure = Failure(
                GoneAwayError, "the peer is going away", ErrorCode.REMOTE_GONE_AWAY, True
            )
        elif self._in.last_id < self._wire.max_id:
            failure = Failure(
                GoneAwayError, "this side is going away", ErrorCode.SESSION_CLOSED, False
            )
        elif limit is not None and self._table.local_open >= limit:
            failure = Failure(
                StreamLimitError,
                f"the peer's limit of open streams, {limit}, is reached; close some first",
                ErrorCode.STREAM_REFUSED,
                True,
            )
        elif not self._table.has_ids:
            failure = Failure(
                StreamLimitError,
                "the stream ids of this session are used up; open a new session",
                ErrorCode.STREAMS_EXHAUSTED,
                False,
            )
        else:
            return
        raise failure.error(Retry.NEVER_SENT)

    def accept(self) -> StreamState | None:
        """The next stream of the peer, handed off for good; None if none waits."""
        stream = self._table.hand_off()
        if stream is not None and stream.id in self._table.live:
            frame = self._wire.accepted(stream.id)
            if frame:
                self._out.control(frame)
        return stream

    def write(self, stream: StreamState, data: bytes) -> None:
        """Queue ``data``; the caller looks at ``stream.send.buffered`` to know when to stop."""
        stream.send.write(data)
        self._out.wake(stream, len(data))

    def unwrite(self, stream: StreamState, nbytes: int) -> int:
        """Take back up to ``nbytes`` of what was written last and is in no frame yet."""
        taken = stream.send.unwrite(nbytes)
        if stream.send.due_fin:
            # What held the FIN up is gone, and with it what would have woken the stream.
            self._out.wake(stream, 0)
        return taken

    def read(self, stream: StreamState, nbytes: int) -> bytes:
        """Up to ``nbytes`` that arrived, ``b""`` if there are none; gives their credit back."""
        return self._in.read(stream, nbytes)

    def finish(self, stream: StreamState) -> None:
        """Half close: a FIN follows what was written."""
        stream.send.finishing = True
        self._out.wake(stream, 0)

    def close(self, stream: StreamState) -> None:
        """Full close: what was written still goes out, what comes in is answered with a RST."""
        self._table.release(stream)
        if self._in.drop_unread(stream):
            stream.unread_lost = True
        if stream.failure is not None:
            return
        stream.failure = _CLOSED_HERE
        if stream.id is not None:
            # Without an id it is still to be sent, so "never sent" would be a lie.
            stream.retry = stream.verdict()
        if not stream.send.finished:
            self.finish(stream)
        elif not stream.recv.finished:
            self._out.retire(stream)
            if stream.unread_lost and stream.id is not None:
                self._out.reset(stream.id, ErrorCode.STREAM_CANCELLED)
            self._in.close_if_idle()

    def reset(self, stream: StreamState, code: int) -> None:
        """Abort both directions; a stream whose SYN has not gone leaves no trace on the wire."""
        self._table.release(stream)
        alive = stream.id in self._table.live
        stream.fail(_RESET_HERE)
        self._out.retire(stream)
        self._in.drop_unread(stream)
        self.events.both(stream)
        if alive and stream.id is not None:
            self._out.reset(stream.id, code)
        self._in.close_if_idle()

    def set_priority(self, stream: StreamState, priority: Priority) -> None:
        """From the next frame on; a muxado_py peer is told, for what it sends."""
        stream.priority = priority
        self._out.scheduler.set_priority(stream, priority)
        if stream.id in self._table.live:
            self._out.tell_priority(stream)

    def is_lingering(self, stream: StreamState) -> bool:
        """Whether ``stream`` was closed and still has bytes or its FIN to send."""
        return not stream.send.finished and (
            stream.id in self._table.live or stream in self._table.waiting
        )

    def probe_stalled(self) -> bool:
        """Ask about each stream that is blocked by its window after the peer's FIN.

        Such a peer may have closed the stream altogether; only a frame tells (peers.md, X22).
        Returns whether there is any.
        """
        stalled = [
            stream_id
            for stream_id, stream in self._table.live.items()
            if stream.recv.finished and stream.send.buffered and stream.send.window.available <= 0
        ]
        for stream_id in stalled:
            self._out.control(self._wire.probe(stream_id))
        return bool(stalled)

    # C. Commands: session.

    def ping(self, payload: bytes) -> None:
        """Send 8 bytes that a muxado_py peer gives back."""
        self._out.ping(payload)

    def stop_accepting(self) -> None:
        """Refuse the streams that wait and those that come."""
        self._in.accepting = False
        self.refuse_backlog()

    def refuse_backlog(self) -> None:
        """Refuse every stream that no application has accepted."""
        for stream in self._table:
            if not stream.local and not stream.handed_off and stream.id is not None:
                self._in.refuse(stream, ErrorCode.STREAM_REFUSED)

    def announce_go_away(self) -> None:
        """The first half of a drain: take no more, but refuse nothing that is on its way."""
        self._out.go_away(self._wire.max_id, ErrorCode.NO_ERROR, b"")

    def go_away(self, code: int, debug: bytes) -> None:
        """Take no more streams; those that wait are refused, whatever their id."""
        self._in.last_id = min(self._in.last_id, self._table.handed_off_id)
        self.stop_accepting()
        self._out.go_away(self._in.last_id, code, debug)

    def terminate(self, failure: Failure) -> None:
        """The session is over for a reason of ours; streams end, and nothing more is taken in."""
        self._in.end(failure)

    # D. Output.

    def data_to_send(self, budget: int) -> list[bytes | memoryview]:
        """The next frames, in pieces; see :meth:`Outbound.data_to_send`."""
        out = self._out.data_to_send(budget)
        if self._in.paused and self.events.ended is None:
            self._in.paused = False
            self._decoder.feed(b"")
        self._in.close_if_idle()  # a FIN of ours may have been the last frame of the last stream
        return out


_CLOSED_HERE = Failure(StreamClosedError, "you closed this stream", ErrorCode.STREAM_CLOSED, False)
_RESET_HERE = Failure(StreamClosedError, "you reset this stream", ErrorCode.STREAM_RESET, False)
CLOSED_HERE = Failure(SessionClosedError, "you closed the session", ErrorCode.SESSION_CLOSED, False)

"""Pings: asking the peer and measuring the round trip, and the answers to the peer's; when is keepalive's.

What it is.  Between muxado_py peers a ping is a frame.  A Go or Rust peer answers none, but echoes
four bytes on a typed stream of its own (ngrok/muxado-go, ``heartbeat.go``), if both sides use typed
streams; without those the muxado wire has no heartbeat at all.

Where data comes from and goes to.  The core notes when a ping left its queue and when an answer came;
the time between is the round trip.  Heartbeat streams, ours and the peer's, are used here and never
reach the application.

The rule.  The clock of a ping starts when it leaves the queue, not when it is asked for: a round trip
that grows with our own backlog measures the wrong thing.  Go's heartbeat is bytes on a stream, of which nobody
says when they leave: there it starts when they are written.

The trap.  A Go peer that nobody has asked for anything sends nothing to be known by: where every peer
echoes heartbeats, a ping must not wait to learn who it is.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING

from anyio import Event, move_on_after
from anyio.lowlevel import checkpoint

from ..errors import ErrorCode, MuxadoError, PeerTimeoutError, Retry
from ..runtime.checkpoints import Callback

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Config
    from ..protocol.connection import Connection
    from ..protocol.stream_state import StreamState

__all__ = ("Pings",)

_HEARTBEAT = bytes(8)
"""What a heartbeat carries; pings that somebody waits for are numbered from 1."""


class Pings:
    """The pings of one session.

    :param changed: called after anything that left output or events in the connection.
    """

    def __init__(self, config: Config, connection: Connection, changed: Callable[[], None]) -> None:
        self._config = config
        self._connection = connection
        self._changed = changed
        self._numbers = count(1)
        self._sent_at: dict[bytes, float] = {}  # pings that left, by payload
        self._said_before: dict[bytes, int] = {}  # what streams had said before which
        self._answers: dict[bytes, Event] = {}  # who waits for which
        self._times: dict[bytes, float] = {}  # what they are told
        self._known = Event()  # the peer's first frame came
        self._knows = False  # the same, cheaper to ask
        self._heartbeat: StreamState | None = None  # our stream to a foreign peer's echo
        self.round_trip: float | None = None
        """Seconds of the latest answered ping or heartbeat."""
        self.arrived = 0
        """How much of ``Connection.said`` has arrived for certain: what left before an answered ping."""

    async def ping(self, timeout: float | None) -> float:
        """See :meth:`Session.ping`."""
        connection = self._connection
        seconds = self._config.heartbeat_timeout if timeout is None else timeout
        payload = next(self._numbers).to_bytes(8, "big")
        self._answers[payload] = answer = Event()
        try:
            await checkpoint()
            with move_on_after(seconds):
                while not (self.can_ask or connection.events.failure):
                    await self._known.wait()
                if not connection.events.failure:
                    self._send_ping(payload)
                    self._changed()
                    await answer.wait()
            ended = connection.events.failure
            if payload in self._answers and ended is not None:
                raise ended.error(Retry.UNKNOWN)
            if payload in self._answers:
                raise PeerTimeoutError(
                    f"no answer to a ping in {seconds:g} s", code=ErrorCode.NO_ERROR, remote=True
                )
            return self._times[payload]
        finally:
            self._answers.pop(payload, None)
            self._times.pop(payload, None)
            self._sent_at.pop(payload, None)
            self._said_before.pop(payload, None)
            connection.forget_ping(payload)

    @property
    def can_ask(self) -> bool:
        """Whether it is known how to ask.  With typed streams every peer echoes Go's heartbeat, and
        a Go peer that waits to be asked sends nothing to be known by."""
        connection = self._connection
        return connection.echoes_heartbeats or connection.is_muxado_py is not None

    def _send_ping(self, payload: bytes) -> None:
        connection = self._connection
        if connection.answers_pings:
            self._said_before[payload] = connection.said
            connection.ping(payload)
        elif connection.echoes_heartbeats:
            self._beat(payload)
        else:
            raise MuxadoError(
                f"this peer answers no pings: on the {self._config.wire} wire only a muxado_py does, "
                "or, with typed_streams, every peer"
                if connection.traits.recognizes
                else f"the {self._config.wire} wire has no ping",
                code=ErrorCode.NO_ERROR,
            )

    def _beat(self, payload: bytes) -> None:
        """Go's heartbeat: four bytes on a stream of their own, that come back."""
        connection = self._connection
        if self._heartbeat is None or self._heartbeat.failure is not None:
            self._heartbeat = connection.heartbeats.open()
            self._heartbeat.read_waiter = Callback(partial(self._take_echo, self._heartbeat))
        connection.write(self._heartbeat, payload[-4:])
        self._sent_at[payload] = perf_counter()

    def take_events(self) -> None:
        """The core noted something about pings, heartbeats or the peer's first frame."""
        connection = self._connection
        events = connection.events
        if events.pings_sent:
            now = perf_counter()
            for payload in events.pings_sent:
                self._sent_at[payload] = now
            events.pings_sent.clear()
        if events.pongs:
            for payload in events.pongs:
                self._answered(payload)
            events.pongs.clear()
        if events.heartbeats:
            for stream in events.heartbeats:
                stream.read_waiter = Callback(partial(self._echo, stream))
                self._echo(stream)  # the first beat may have come with the type
            events.heartbeats.clear()
        if events.failure is not None:
            self._known.set()
            for answer in self._answers.values():
                answer.set()
        elif not self._knows and connection.is_muxado_py is not None:
            self._knows = True
            self._known.set()

    def _answered(self, payload: bytes) -> None:
        sent_at = self._sent_at.pop(payload, None)
        if sent_at is not None:
            self.arrived = max(self.arrived, self._said_before.pop(payload, 0))
            self.round_trip = seconds = perf_counter() - sent_at
            answer = self._answers.pop(payload, None)
            if answer is not None:
                self._times[payload] = seconds
                answer.set()

    @property
    def has_left(self) -> bool:
        """Whether the latest heartbeat is with the transport; Go's counts as soon as it is written."""
        return _HEARTBEAT in self._sent_at

    def beat(self) -> bool:
        """Send a heartbeat; False if this peer answers none."""
        self._sent_at.pop(_HEARTBEAT, None)
        try:
            self._send_ping(_HEARTBEAT)
        except MuxadoError:
            return False
        return True

    def _echo(self, stream: StreamState) -> None:
        """The peer's heartbeat: what it sends on the stream goes back."""
        connection = self._connection
        data = connection.read(stream, 65536)
        if stream.failure is not None or stream.fin_received:
            connection.heartbeats.end(stream)
        elif stream.unsent + len(data) > self._config.send_buffer:
            # Beats are four bytes each; this peer does not take them back.
            connection.heartbeats.end(stream, ErrorCode.ENHANCE_YOUR_CALM)
        elif data:
            connection.write(stream, data)

    def _take_echo(self, stream: StreamState) -> None:
        """The answer to our heartbeat."""
        connection = self._connection
        while stream.unread >= 4:
            self._answered(_HEARTBEAT[:4] + connection.read(stream, 4))
        if stream.fin_received and stream.failure is None:
            connection.heartbeats.end(stream)

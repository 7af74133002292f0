"""Timekeeper: what a session does because time passed.

What it is.  One task per session that looks around in regular steps: is the peer alive, does the
transport take what it is given, has a closed stream flushed, is a stream blocked by a peer that is
gone.  And the pings that measure the round trip.

Heartbeats.  Between muxado_py peers a ping is a frame.  A Go or Rust peer answers none, but echoes
four bytes on a typed stream of its own (ngrok/muxado-go, ``heartbeat.go``), if both sides use typed
streams; without those the muxado wire has no heartbeat at all.

The rule.  Any byte from the peer proves it alive, so a heartbeat is sent only when it was silent.  Its
own heartbeats prove nothing by their absence: Go's stop for good after one time-out.

The trap.  While our side has stopped reading, silence says nothing about the peer.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from anyio import Event, current_time, move_on_after, sleep
from anyio.lowlevel import checkpoint

from .errors import ErrorCode, Failure, MuxadoError, PeerTimeoutError, Retry
from .inbound import HEARTBEAT_TYPE

if TYPE_CHECKING:
    from .halves import StreamState
    from .session import Session

__all__ = ("Timekeeper",)


class Timekeeper:
    """The clock of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._numbers = count(1)
        self._sent_at: dict[bytes, float] = {}  # pings that left, by payload
        self._answers: dict[bytes, Event] = {}  # who waits for which
        self._known = Event()  # the peer's first frame came
        self._heartbeat: StreamState | None = None  # our stream to a foreign peer's echo
        self._echoes: set[StreamState] = set()  # the streams of its heartbeats
        self.round_trip: float | None = None
        """Seconds of the latest answered ping."""

    # Pings.

    async def ping(self, timeout: float | None) -> float:
        """See :meth:`Session.ping`."""
        session = self._session
        seconds = session.config.heartbeat_timeout if timeout is None else timeout
        payload = next(self._numbers).to_bytes(8, "big")
        self._answers[payload] = answer = Event()
        try:
            await checkpoint()
            with move_on_after(seconds):
                while not (self.can_ask or session.closed):
                    await self._known.wait()
                if not session.closed:
                    self._send_ping(payload)
                    session.changed()
                    await answer.wait()
            ended = session.connection.events.ended
            if payload in self._answers and ended is not None:
                raise ended.error(Retry.UNKNOWN)
            if payload in self._answers:
                raise PeerTimeoutError(
                    f"no answer to a ping in {seconds:g} s", code=ErrorCode.NO_ERROR, remote=True
                )
            assert self.round_trip is not None
            return self.round_trip
        finally:
            self._answers.pop(payload, None)
            self._sent_at.pop(payload, None)

    @property
    def can_ask(self) -> bool:
        """Whether it is known how to ask.  With typed streams every peer echoes Go's heartbeat, and
        a Go peer that waits to be asked sends nothing to be known by."""
        session = self._session
        return session.config.typed_streams or session.connection.is_muxado_py is not None

    def _send_ping(self, payload: bytes) -> None:
        connection = self._session.connection
        if connection.is_muxado_py:
            connection.ping(payload)
        elif self._session.config.typed_streams:
            self._beat(payload)
        else:
            raise MuxadoError(
                "this peer answers no pings: it is not a muxado_py, and typed_streams is off",
                code=ErrorCode.NO_ERROR,
            )

    def _beat(self, payload: bytes) -> None:
        """Go's heartbeat: four bytes on a stream of their own, that come back."""
        connection = self._session.connection
        if self._heartbeat is None or self._heartbeat.failure is not None:
            self._heartbeat = connection.open(None, HEARTBEAT_TYPE)
            self._heartbeat.owner = _Heartbeat(self._heartbeat, self)
        connection.write(self._heartbeat, payload[-4:])
        self._sent_at[payload] = current_time()

    @property
    def streams(self) -> tuple[int, int]:
        """How many streams carry nothing but heartbeats: ours, and the peer's."""
        own = self._heartbeat is not None and self._heartbeat.failure is None
        return int(own), len(self._echoes)

    def take_events(self) -> None:
        """The core noted something about pings, heartbeats or the peer's first frame."""
        connection = self._session.connection
        events = connection.events
        if events.pings_sent:
            now = current_time()
            for payload in events.pings_sent:
                self._sent_at[payload] = now
            events.pings_sent.clear()
        if events.pongs:
            for payload in events.pongs:
                self._answered(payload)
            events.pongs.clear()
        if events.heartbeats:
            for stream in events.heartbeats:
                stream.owner = _Echo(stream, self)
                self._echoes.add(stream)
                stream.owner.wake_reader()  # the first beat may have come with the type
            events.heartbeats.clear()
        if events.ended is not None:
            self._known.set()
            for answer in self._answers.values():
                answer.set()
        elif connection.is_muxado_py is not None:
            self._known.set()

    def _answered(self, payload: bytes) -> None:
        sent_at = self._sent_at.pop(payload, None)
        if sent_at is not None:
            self.round_trip = current_time() - sent_at
            answer = self._answers.pop(payload, None)
            if answer is not None:
                answer.set()

    # The task.

    async def run(self) -> None:
        """Look around until cancelled."""
        session = self._session
        config = session.config
        step = min(
            config.heartbeat_interval or config.heartbeat_timeout,
            config.heartbeat_timeout,
            config.write_timeout,
            config.probe_interval,
            config.linger_timeout or config.probe_interval,
        )
        next_probe = current_time() + config.probe_interval
        beat_at: float | None = None
        while True:
            await sleep(step)
            now = current_time()
            self._end_lingering(now)
            if now >= next_probe:
                session.connection.probe_stalled()
                next_probe = now + config.probe_interval
            since = session.link.writing_since
            if since is not None and now - since > config.write_timeout:
                self._end(
                    f"the transport took nothing for {config.write_timeout:g} s",
                    ErrorCode.WRITE_TIMEOUT,
                )
            beat_at = self._watch(now, beat_at)
            session.changed()

    def _watch(self, now: float, beat_at: float | None) -> float | None:
        """Is the peer alive?  Takes and returns when the unanswered heartbeat was sent."""
        session = self._session
        config = session.config
        heard = session.link.last_heard
        if config.heartbeat_interval is None or not session.connection.may_read:
            return None
        if beat_at is not None and heard <= beat_at:
            if now - beat_at >= config.heartbeat_timeout:
                self._end(f"the peer was silent for {now - heard:.3g} s", ErrorCode.NO_ERROR)
            return beat_at
        if now - heard < config.heartbeat_interval:
            return None
        try:
            self._send_ping(next(self._numbers).to_bytes(8, "big"))
        except MuxadoError:
            return None  # a peer that answers none, or that takes no stream for them any more
        return now

    def _end_lingering(self, now: float) -> None:
        """Closed streams that did not flush in time are reset."""
        session = self._session
        lingering = session.lingering
        while lingering and lingering[0][0] <= now:
            stream = lingering.popleft()[1]
            if session.connection.is_lingering(stream):
                session.connection.reset(stream, ErrorCode.STREAM_CANCELLED)

    def _end(self, message: str, code: ErrorCode) -> None:
        self._session.end(Failure(PeerTimeoutError, message, code, True))


class _Echo:
    """Answers a foreign peer's heartbeats: what it sends on the stream goes back."""

    def __init__(self, stream: StreamState, timekeeper: Timekeeper) -> None:
        self._stream = stream
        self._timekeeper = timekeeper
        self._session = timekeeper._session

    def wake_reader(self) -> None:
        stream, connection = self._stream, self._session.connection
        data = connection.read(stream, 65536)
        if stream.failure is not None or stream.recv.finished:
            self._timekeeper._echoes.discard(stream)
            connection.close(stream)
        elif stream.send.buffered + len(data) > self._session.config.send_buffer:
            # Beats are four bytes each; this peer does not take them back.
            connection.reset(stream, ErrorCode.ENHANCE_YOUR_CALM)
        elif data:
            connection.write(stream, data)

    def wake_writer(self) -> None:
        """The stream failed; its reader is told too."""


class _Heartbeat:
    """Takes the echo of our heartbeats."""

    def __init__(self, stream: StreamState, timekeeper: Timekeeper) -> None:
        self._stream = stream
        self._timekeeper = timekeeper

    def wake_reader(self) -> None:
        stream = self._stream
        connection = self._timekeeper._session.connection
        while stream.recv.unread >= 4:
            echo = connection.read(stream, 4)
            self._timekeeper._answered(b"\0\0\0\0" + echo)
        if stream.recv.finished and stream.failure is None:
            connection.close(stream)

    def wake_writer(self) -> None:
        """The stream failed; the next heartbeat opens another."""

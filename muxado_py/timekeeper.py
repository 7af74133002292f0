"""Timekeeper: what a session does because time passed.

What it is.  One task per session that looks around in regular steps: is the peer alive, does the
transport take what it is given, has a closed stream flushed, is a stream blocked by a peer that is
gone.

The rule.  Any byte from the peer proves it alive, so a heartbeat is sent only when it was silent.  Its
own heartbeats prove nothing by their absence: Go's stop for good after one time-out.

The trap.  While our side has stopped reading, silence says nothing about the peer.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from anyio import current_time, sleep

from .errors import ErrorCode, Failure, PeerTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .config import Config
    from .connection import Connection
    from .halves import StreamState
    from .link import Link
    from .pings import Pings

__all__ = ("Timekeeper",)


class Timekeeper:
    """The clock of one session.

    :param changed: called after anything that left output or events in the connection.
    """

    def __init__(
        self,
        config: Config,
        connection: Connection,
        link: Link,
        pings: Pings,
        changed: Callable[[], None],
    ) -> None:
        self._config = config
        self._connection = connection
        self._link = link
        self._pings = pings
        self._changed = changed
        self._beat_at: float | None = None  # when the unanswered heartbeat was sent
        # What had come by then; a clock of whole milliseconds would not show an answer in the same.
        self._heard_then = 0
        self._lingering: deque[tuple[float, StreamState]] = deque()  # closed, and until when

    async def run(self) -> None:
        """Look around until cancelled."""
        config = self._config
        step = min(
            config.heartbeat_interval or config.heartbeat_timeout,
            config.heartbeat_timeout,
            config.write_timeout,
            config.probe_interval,
            config.linger_timeout or config.probe_interval,
        )
        next_probe = current_time() + config.probe_interval
        while True:
            await sleep(step)
            now = current_time()
            self._end_lingering(now)
            if now >= next_probe:
                self._connection.probe_stalled()
                next_probe = now + config.probe_interval
            since = self._link.writing_since
            if since is not None and now - since > config.write_timeout:
                self._end(
                    f"the transport took nothing for {config.write_timeout:g} s",
                    ErrorCode.WRITE_TIMEOUT,
                )
            self._watch(now)
            self._changed()

    def _watch(self, now: float) -> None:
        """Is the peer alive?"""
        config, link = self._config, self._link
        if config.heartbeat_interval is None or not self._connection.may_read:
            self._beat_at = None
        elif self._beat_at is not None and link.bytes_received == self._heard_then:
            if now - self._beat_at >= config.heartbeat_timeout:
                silent = now - link.last_heard
                self._end(f"the peer was silent for {silent:.3g} s", ErrorCode.NO_ERROR)
        elif now - link.last_heard >= config.heartbeat_interval and self._pings.beat():
            self._beat_at = now
            self._heard_then = link.bytes_received
        else:
            self._beat_at = None

    def _end(self, message: str, code: ErrorCode) -> None:
        self._connection.terminate(Failure(PeerTimeoutError, message, code, True))

    # Closed streams.

    def let_linger(self, stream: StreamState) -> None:
        """``stream`` was closed: what it has to flush gets ``Config.linger_timeout`` seconds."""
        if self._connection.is_lingering(stream):
            if len(self._lingering) > 2 * self._connection.live_streams + 16:
                self._forget_flushed()
            self._lingering.append((current_time() + self._config.linger_timeout, stream))

    def _forget_flushed(self) -> None:
        """Streams that flushed meanwhile must not pile up until their time has come."""
        still = self._connection.is_lingering
        self._lingering = deque(entry for entry in self._lingering if still(entry[1]))

    def _end_lingering(self, now: float) -> None:
        """Closed streams that did not flush in time are reset."""
        if self._lingering:
            self._forget_flushed()
        while self._lingering and self._lingering[0][0] <= now:
            self._connection.reset(self._lingering.popleft()[1], ErrorCode.STREAM_CANCELLED)

"""Timekeeper: what a session does because time passed.

What it is.  One task per session that looks around in regular steps: is the peer alive, does the
transport take what it is given, has a closed stream flushed, is a stream blocked by a peer that is
gone.

The rule.  Any byte from the peer proves it alive, so a heartbeat is sent only when it was silent.  Its
own heartbeats prove nothing by their absence: Go's stop for good after one time-out.

The trap.  While our side has stopped reading, silence says nothing about the peer.  And on a wire whose
peers answer nothing (smux), silence is all there is to go by: they send something in every interval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import sleep

from .errors import ErrorCode, Failure, PeerTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .config import Config
    from .connection import Connection
    from .link import Link
    from .pings import Pings

__all__ = ("Timekeeper",)


class _Chore:
    """Something to do again and again."""

    __slots__ = ("_do", "_due", "_every")

    def __init__(self, every: float, do: Callable[[], object], now: float) -> None:
        self._every = every
        self._do = do
        self._due = now + every

    def do_if_due(self, now: float) -> None:
        if now >= self._due:
            self._do()
            self._due = now + self._every


class Timekeeper:
    """The clock of one session.

    :param changed: called after anything that left output or events in the connection.
    :param now: the clock of the event loop.
    """

    def __init__(
        self,
        config: Config,
        connection: Connection,
        link: Link,
        pings: Pings,
        changed: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self._now = now
        self._config = config
        self._connection = connection
        self._link = link
        self._pings = pings
        self._changed = changed
        self._beat_at: float | None = None  # when the unanswered heartbeat was sent
        # What had come by then; a clock of whole milliseconds would not show an answer in the same.
        self._heard_then = 0
        self._deaf_until = float("-inf")  # when this side was last seen not reading

    async def run(self) -> None:
        """Look around until cancelled."""
        config = self._config
        step = min(
            config.heartbeat_interval or config.heartbeat_timeout,
            config.heartbeat_timeout,
            config.write_timeout,
            config.probe_interval,
            config.linger_timeout / 2 or config.probe_interval,
            config.accept_timeout / 2,
            config.discard_timeout / 2,
            config.stall_timeout / 2,
        )
        chores = self._chores(self._now())
        while True:
            await sleep(step)
            now = self._now()
            for chore in chores:
                chore.do_if_due(now)
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
        if not self._connection.may_read():
            self._beat_at = None
            self._deaf_until = now
        elif config.heartbeat_interval is None:
            return
        elif self._connection.traits.keeps_alive:
            silent = now - max(link.last_heard, self._deaf_until)
            if silent >= config.heartbeat_interval + config.heartbeat_timeout:
                self._end(f"the peer was silent for {silent:.3g} s", ErrorCode.NO_ERROR)
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

    def _chores(self, now: float) -> list[_Chore]:
        config, upkeep = self._config, self._connection.upkeep
        chores = [
            _Chore(config.probe_interval, upkeep.ask_stalled, now),
            _Chore(config.probe_interval, upkeep.forgive_silence, now),
            _Chore(config.linger_timeout / 2, upkeep.reset_flushing, now),
            _Chore(config.accept_timeout / 2, upkeep.refuse_unaccepted, now),
            _Chore(config.discard_timeout / 2, upkeep.give_up_draining, now),
            _Chore(config.stall_timeout / 2, upkeep.give_up_stalled, now),
        ]
        if config.heartbeat_interval is not None and self._connection.traits.keeps_alive:
            chores.append(_Chore(config.heartbeat_interval, self._connection.keep_alive, now))
        return chores

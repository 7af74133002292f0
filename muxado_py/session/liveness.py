"""Liveness: is the peer there, and does the transport take what it is given?

What it is.  The two ways in which a session finds out that it is dead while its connection is not closed.
The :mod:`~muxado_py.session.timekeeper` calls ``look``, and again when that said to.

The rules.  Any byte from the peer proves it alive, so a heartbeat is sent only when it was silent, and its
time begins when it has been delivered, where that can be known: one that waits behind bytes which the
peer takes, however slowly, is no silence.  A transport is stuck only when it lets go of nothing at all.
The peer's own heartbeats prove nothing by their absence: Go's stop for good after one time-out.

The traps.  While our side has stopped reading, silence says nothing about the peer.  Nor does it before
what lies in the socket was read: the loop gets a few turns to do that before a verdict.  On a wire whose
peers answer nothing (smux), silence is all there is to go by: they send something in every interval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from ..errors import ErrorCode, Failure, PeerTimeoutError
from ..protocol.timers import NEVER, TICK
from .inactivity import LOOKS_PER_TIMEOUT, Inactivity

if TYPE_CHECKING:
    from ..config import Config
    from ..links.link import Link
    from ..protocol.connection import Connection
    from .pings import Pings

__all__ = ("TURNS", "Heartbeat", "Writing")

TURNS = 8
"""Turns of the loop in which a reader gives the core what its socket holds: one to be told, some for the
layers of a TLS stream."""


class Heartbeat:
    """Whether the peer is alive."""

    def __init__(
        self, config: Config, connection: Connection, link: Link, pings: Pings, now: float
    ) -> None:
        self._interval = config.heartbeat_interval
        self._timeout = config.heartbeat_timeout
        self._connection = connection
        self._link = link
        self._pings = pings
        self._silence = Inactivity(now)
        self._heard = link.bytes_received
        self._asked: Inactivity | None = None  # since the heartbeat that is unanswered
        self._taken = 0  # what the link had let go of at the last look
        self._behind = False  # whether the heartbeat was not delivered yet at the last look
        self._delivered_at = NEVER  # what it has let go of when the heartbeat is delivered

    async def look(self, due: float, now: float) -> float:
        """Look around; when to do it next.

        :param due: when this should have happened; far from ``now``, if this side was busy.
        """
        if self._interval is None:
            return NEVER
        self._listen(now)
        self._overslept(due, now)
        if self._connection.traits.keeps_alive:
            return await self._watch_silence(now, self._interval)
        return await self._ask(now, self._interval)

    def _overslept(self, due: float, now: float) -> None:
        if now - due > self._timeout / (2 * LOOKS_PER_TIMEOUT):
            self._silence.overslept(due, now)
            if self._asked is not None:
                self._asked.overslept(due, now)

    def _listen(self, now: float) -> None:
        """Take note of what came since the last look."""
        link = self._link
        if link.bytes_received != self._heard:
            self._heard = link.bytes_received
            self._silence.happened(link.last_heard)
            self._asked = None
        if not self._connection.may_read():
            self._silence.happened(now)
            self._asked = None

    async def _watch_silence(self, now: float, interval: float) -> float:
        """Peers of this wire say something in every interval."""
        taken, before = self._link.progress(), self._taken
        self._taken = taken
        if self._link.writing_since is not None and taken != before:
            self._silence.happened(now)
        silent = self._silence.seconds(now)
        if silent < interval:
            return now + interval - silent
        left = interval + self._timeout - silent
        if left <= TICK and await self._is_deaf():
            return self._end(now)
        return now + min(max(left, TICK), self._timeout / LOOKS_PER_TIMEOUT)

    async def _ask(self, now: float, interval: float) -> float:
        """Peers of this wire answer, if they are asked."""
        if self._asked is None:
            left = interval - self._silence.seconds(now)
            if left > TICK:
                return now + left
            if not self._pings.beat():
                return now + interval
            self._asked = Inactivity(now)
            self._taken = self._link.progress()
            self._delivered_at = NEVER
            self._behind = False
        elif self._is_taken():
            self._asked.happened(now)
        left = self._timeout - self._asked.seconds(now)
        if left <= TICK and await self._is_deaf():
            return self._end(now)
        return now + min(max(left, TICK), self._timeout / LOOKS_PER_TIMEOUT)

    def _is_taken(self) -> bool:
        """Whether the peer has taken something since the last look that went before the heartbeat."""
        link = self._link
        taken, before = link.progress(), self._taken
        self._taken = taken
        if self._delivered_at == NEVER and self._pings.has_left and link.writing_since is None:
            self._delivered_at = taken + link.in_flight()
        behind, self._behind = self._behind, taken < self._delivered_at
        return taken != before and (behind or self._behind)

    async def _is_deaf(self) -> bool:
        """Whether nothing of the peer lies in our socket either."""
        for _ in range(TURNS):
            await checkpoint()
        return self._link.bytes_received == self._heard and self._connection.may_read()

    def _end(self, now: float) -> float:
        silent = now - self._link.last_heard
        return _end(self._connection, f"the peer was silent for {silent:.3g} s", ErrorCode.NO_ERROR)


class Writing:
    """Whether the transport takes what it is given."""

    def __init__(self, config: Config, connection: Connection, link: Link) -> None:
        self._timeout = config.write_timeout
        self._connection = connection
        self._link = link
        self._flush: tuple[float, int] | None = None  # when it began, and behind how many bytes
        self._stuck = Inactivity(0.0)
        self._taken = 0

    async def look(self, due: float, now: float) -> float:
        """Look around; when to do it next."""
        since = self._link.writing_since
        if since is None:
            return (
                now + self._timeout / LOOKS_PER_TIMEOUT
            )  # or the first look at a flush would be the last
        flush = since, self._link.bytes_sent  # two may begin in the same tick of the clock
        if flush != self._flush:
            self._flush = flush
            self._stuck = Inactivity(since)
            self._taken = self._link.progress()
        elif self._is_taken():
            self._stuck.happened(now)
        if now - due > self._timeout / (2 * LOOKS_PER_TIMEOUT):
            self._stuck.overslept(max(due, since), now)
        left = self._timeout - self._stuck.seconds(now)
        if left <= TICK:
            if await self._is_stuck():
                message = f"the transport took nothing for {self._timeout:g} s"
                return _end(self._connection, message, ErrorCode.WRITE_TIMEOUT)
            self._stuck.happened(now)  # in these turns
            left = self._timeout
        return now + min(max(left, TICK), self._timeout / LOOKS_PER_TIMEOUT)

    def _is_taken(self) -> bool:
        taken, before = self._link.progress(), self._taken
        self._taken = taken
        return taken != before

    async def _is_stuck(self) -> bool:
        """Whether a few turns of the loop change nothing."""
        for _ in range(TURNS):
            await checkpoint()
        flush = self._link.writing_since, self._link.bytes_sent
        return flush == self._flush and not self._is_taken()


def _end(connection: Connection, message: str, code: ErrorCode) -> float:
    """The session is over; there is nothing to look at any more."""
    connection.terminate(Failure(PeerTimeoutError, message, code, True))
    return NEVER

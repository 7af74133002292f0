"""Keepalive: when this side says that it lives, and when the peer, or the transport, is given up.

What it is.  The two ways in which a session finds out that it is dead while its connection is not closed: a
:class:`Watch` each, with a timer for its looks; and the keep-alive of this side.  The
:mod:`~muxado_py.session.timekeeper` asks a watch that is in doubt for its judgement.

The rules.  Any byte from the peer proves it alive, so a heartbeat is sent only when it was silent, and its
time begins when it has been delivered, where that can be known: one that waits behind bytes which the
peer takes, however slowly, is no silence.  A transport is stuck only when it lets go of nothing at all.
The peer's own heartbeats prove nothing by their absence: Go's stop for good after one time-out.

Inactivity.  What counts is not the time that went by: a process that was stopped, or busy for two seconds, or whose
machine was, has heard nothing because it did not listen.  Of a look that comes late, the time by which it is late
does not count, for as long as nobody looked nobody read.  The time until then does: on a machine on which every
one comes late, a peer that is truly silent is found out after as many of them as anywhere.

The traps.  While our side has stopped reading, silence says nothing about the peer.  Nor does it before
what lies in the socket was read: the loop gets a few turns to do that before a judgement.  On a wire whose
peers answer nothing (smux), silence is all there is to go by: they send something in every interval.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ..errors import ErrorCode, Failure, PeerTimeoutError
from ..protocol.timers import CLOCK_TOLERANCE, NEVER, Interval, Timer

if TYPE_CHECKING:
    from ..config import Config
    from ..links.link import Link
    from ..protocol.connection import Connection
    from .pings import Pings

__all__ = ("Heartbeat", "Inactivity", "Watch", "Writing", "keep_alive")

LOOKS_PER_TIMEOUT = 4
"""How often to look in the time that is waited for, at least.  With a single one at its end, a process that was
stopped in between would count all of the time as silence and have heard nothing of it."""


class Inactivity:
    """How long something has not happened, while this side could have noticed.

    :param now: the loop's clock, in seconds; it happened then, as far as this is concerned.
    """

    __slots__ = ("_since",)

    def __init__(self, now: float) -> None:
        self._since = now

    def happened(self, at: float) -> None:
        """It happened then."""
        if at > self._since:
            self._since = at

    def overslept(self, due: float, now: float) -> None:
        """Nobody looked from ``due`` to ``now``."""
        since = max(self._since, due)
        if now > since:
            self._since += now - since

    def seconds(self, now: float) -> float:
        """Since it happened, without what was overslept."""
        return now - self._since


class Watch(ABC):
    """Looks whether something still happens, often beside the time in which it has to.

    :param timer: of its looks.
    :param timeout: the time.
    """

    def __init__(self, connection: Connection, timer: Timer, timeout: float) -> None:
        self._connection = connection
        self._timer = timer
        self._timeout = timeout
        self.doubts = False
        """Whether nothing happened in all the time: a few turns of the loop later ``judge`` is to be called."""
        timer.act = self._look

    @abstractmethod
    def _look(self, now: float) -> None:
        """Look around, and say when to do it next."""

    @abstractmethod
    def judge(self, now: float) -> None:
        """End the session, if the doubt was right."""

    def _is_late(self, now: float) -> bool:
        """Whether this side was too busy to look when it should have."""
        return now - self._timer.was_due > self._timeout / (2 * LOOKS_PER_TIMEOUT)

    def _wait(self, now: float, left: float) -> None:
        """Look again; ``left`` seconds remain in which it may happen."""
        self.doubts = left <= CLOCK_TOLERANCE
        self._timer.arm(now + min(max(left, CLOCK_TOLERANCE), self._timeout / LOOKS_PER_TIMEOUT))

    def _end(self, message: str, code: ErrorCode) -> None:
        """The session is over; there is nothing to look at any more."""
        self._timer.disarm()
        self._connection.terminate(Failure(PeerTimeoutError, message, code, True))


class Heartbeat(Watch):
    """Whether the peer is alive."""

    def __init__(
        self, config: Config, connection: Connection, link: Link, pings: Pings, now: float
    ) -> None:
        super().__init__(connection, Timer(connection.timers), config.heartbeat_timeout)
        self._interval = NEVER if config.heartbeat_interval is None else config.heartbeat_interval
        self._link = link
        self._pings = pings
        self._silence = Inactivity(now)
        self._heard = link.bytes_received
        self._asked: Inactivity | None = None  # since the heartbeat that is unanswered
        self._taken = 0  # what the link had let go of at the last look
        self._behind = False  # whether the heartbeat was not delivered yet at the last look
        self._delivered_at = NEVER  # what it has let go of when the heartbeat is delivered
        self._timer.arm(now + self._interval)

    def _look(self, now: float) -> None:
        self._listen(now)
        if self._is_late(now):
            self._overslept(self._timer.was_due, now)
        if self._connection.traits.keeps_alive:
            self._watch_silence(now)
        else:
            self._ask(now)

    def judge(self, now: float) -> None:
        self.doubts = False
        if self._is_deaf():
            silent = now - self._link.last_heard
            self._end(f"the peer was silent for {silent:.3g} s", ErrorCode.NO_ERROR)

    def _overslept(self, due: float, now: float) -> None:
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

    def _watch_silence(self, now: float) -> None:
        """Peers of this wire say something in every interval."""
        taken, before = self._link.progress(), self._taken
        self._taken = taken
        if self._link.writing_since is not None and taken != before:
            self._silence.happened(now)
        silent = self._silence.seconds(now)
        if silent < self._interval:
            self._timer.arm(now + self._interval - silent)
        else:
            self._wait(now, self._interval + self._timeout - silent)

    def _ask(self, now: float) -> None:
        """Peers of this wire answer, if they are asked."""
        if self._asked is None:
            left = self._interval - self._silence.seconds(now)
            if left > CLOCK_TOLERANCE:
                self._timer.arm(now + left)
                return
            if not self._pings.beat():
                self._timer.arm(now + self._interval)
                return
            self._asked = Inactivity(now)
            self._taken = self._link.progress()
            self._delivered_at = NEVER
            self._behind = False
        elif self._is_taken():
            self._asked.happened(now)
        self._wait(now, self._timeout - self._asked.seconds(now))

    def _is_taken(self) -> bool:
        """Whether the peer has taken something since the last look that went before the heartbeat."""
        link = self._link
        taken, before = link.progress(), self._taken
        self._taken = taken
        if self._delivered_at == NEVER and self._pings.has_left and link.writing_since is None:
            self._delivered_at = taken + link.in_flight()
        behind, self._behind = self._behind, taken < self._delivered_at
        return taken != before and (behind or self._behind)

    def _is_deaf(self) -> bool:
        """Whether nothing of the peer lay in our socket either."""
        return self._link.bytes_received == self._heard and self._connection.may_read()


class Writing(Watch):
    """Whether the transport takes what it is given.  It looks from the moment on at which a flush is not taken at
    once, and for as long as anything is sent."""

    def __init__(self, config: Config, connection: Connection, link: Link) -> None:
        super().__init__(connection, link.holding, config.write_timeout)
        self._link = link
        self._flush: tuple[float, int] | None = None  # when it began, and behind how many bytes
        self._sent = 0  # how many bytes, at the last look
        self._stuck = Inactivity(0.0)
        self._taken = 0

    def _look(self, now: float) -> None:
        since, sent, before = self._link.writing_since, self._link.bytes_sent, self._sent
        self._sent = sent
        if since is None:
            if sent != before:
                self._timer.arm(now + self._timeout / LOOKS_PER_TIMEOUT)
            return
        flush = since, sent  # two may begin in the same tick of the clock
        if flush != self._flush:
            self._flush = flush
            self._stuck = Inactivity(since)
            self._taken = self._link.progress()
        elif self._is_taken():
            self._stuck.happened(now)
        if self._is_late(now):
            self._stuck.overslept(max(self._timer.was_due, since), now)
        self._wait(now, self._timeout - self._stuck.seconds(now))

    def judge(self, now: float) -> None:
        self.doubts = False
        flush = self._link.writing_since, self._link.bytes_sent
        if flush == self._flush and not self._is_taken():
            message = f"the transport took nothing for {self._timeout:g} s"
            self._end(message, ErrorCode.WRITE_TIMEOUT)
        else:
            self._stuck.happened(now)
            self._wait(now, self._timeout)

    def _is_taken(self) -> bool:
        taken, before = self._link.progress(), self._taken
        self._taken = taken
        return taken != before


def keep_alive(config: Config, connection: Connection) -> None:
    """Say in each interval that this side lives, where peers ask nothing and answer nothing."""
    if connection.traits.keeps_alive and config.heartbeat_interval is not None:

        def say(_now: float) -> bool:
            connection.keep_alive()
            return True

        Interval(connection.timers, config.heartbeat_interval, say).begin()

"""Timekeeper: what a session does because time passed.

What it is.  One task per session that sleeps until something is due: a look at whether the peer is
alive and the transport takes what it is given (:mod:`~muxado_py.session.liveness`), a timer of the core's
(:mod:`~muxado_py.protocol.timers`), a sign of our own life.

The rule.  It wakes for what is due and for nothing else: a setting of something that the wire does not
use, or that no stream waits for, costs no turn.

The trap.  What came while it sleeps may be due earlier than it meant to wake.  The core knows what it was told
last, and notes an event; the driver rouses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import Event, move_on_after
from anyio.lowlevel import checkpoint

from ..protocol.timers import AT_ONCE, NEVER, TICK
from .liveness import TURNS, Heartbeat, Writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Config
    from ..links.link import Link
    from ..protocol.connection import Connection
    from .pings import Pings

__all__ = ("Timekeeper",)


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
        self._connection = connection
        self._changed = changed
        self._keeps_alive = connection.traits.keeps_alive
        self._interval = config.heartbeat_interval
        self._heartbeat = Heartbeat(config, connection, link, pings, now())
        self._writing = Writing(config, connection, link)
        self._write_timeout = config.write_timeout
        self._until = NEVER  # for how long it sleeps
        self._earlier = Event()

    def wake(self) -> None:
        """Something may be due earlier than was known."""
        if self._connection.timers.expected < self._until:
            self._earlier.set()

    async def run(self) -> None:
        """Look around until cancelled."""
        now = self._now()
        beat, write = await self._heartbeat.look(now, now), await self._writing.look(now, now)
        sign = now + self._interval if self._keeps_alive and self._interval is not None else NEVER
        timers = self._connection.timers
        while True:
            await self._sleep(min(beat, write, sign, timers.next_deadline()))
            now = self._now()
            timers.expire(now)
            if now >= sign - TICK and self._interval is not None:
                self._connection.keep_alive()
                sign = now + self._interval
            if now >= beat - TICK:
                beat = await self._heartbeat.look(beat, now)
            if now >= write - TICK:
                write = await self._writing.look(write, now)
            self._changed()

    async def _sleep(self, until: float) -> None:
        self._until = until
        self._earlier = Event()
        left = until - self._now()
        if left > 0:
            with move_on_after(left):
                await self._earlier.wait()
            return
        # What has just begun to linger may leave with the flush that is due.
        for _ in range(1 if until == AT_ONCE else TURNS):
            await checkpoint()

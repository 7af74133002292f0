"""Timekeeper: the one task of a session that waits for time to pass.

What it is.  It sleeps until the first of the connection's :mod:`timers <muxado_py.protocol.timers>` is due, lets all act
that are, and tells the session.  Those of the core are in :mod:`~muxado_py.protocol.timeouts`, those of the session in
:mod:`~muxado_py.session.keepalive`.

The rule.  It wakes for what is due and for nothing else.  An idle session wakes for its heartbeats; without them,
never.

The trap.  What came while it sleeps may be due earlier than it meant to wake.  The timers know what it was told
last, and note an event; the driver wakes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import Event, move_on_after
from anyio.lowlevel import checkpoint

from ..protocol.timers import AT_ONCE, NEVER
from .keepalive import Heartbeat, Watch, Writing, keep_alive

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Config
    from ..links.link import Link
    from ..protocol.connection import Connection
    from .pings import Pings

__all__ = ("Timekeeper",)

LOOP_TURNS = 8
"""Turns of the loop in which a reader gives the core what its socket holds, and a writer takes what is due: one to be
told, some for the layers of a TLS stream."""


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
        self._timers = connection.timers
        self._changed = changed
        self._watches: tuple[Watch, ...] = (
            Heartbeat(config, connection, link, pings, now()),
            Writing(config, connection, link),
        )
        keep_alive(config, connection)
        self._until = NEVER  # when it means to wake
        self._earlier = Event()

    def wake(self) -> None:
        """Something may be due earlier than was known."""
        if self._timers.expected < self._until:
            self._earlier.set()

    async def run(self) -> None:
        """Let time pass until cancelled."""
        while True:
            await self._sleep()
            self._timers.expire(self._now())
            await self._judge()
            self._changed()

    async def _sleep(self) -> None:
        """Until the first timer is due."""
        while True:
            self._until = until = self._timers.next_deadline()
            self._earlier = Event()
            left = until - self._now()
            if left <= 0:  # what has just begun to linger may leave with the flush that is due
                return await _turns(1 if until == AT_ONCE else LOOP_TURNS)
            with move_on_after(left) as slept:
                await self._earlier.wait()
            if slept.cancelled_caught:
                return None

    async def _judge(self) -> None:
        doubtful = [watch for watch in self._watches if watch.doubts]
        if doubtful:
            await _turns(LOOP_TURNS)
            for watch in doubtful:
                watch.judge(self._now())


async def _turns(times: int) -> None:
    for _ in range(times):
        await checkpoint()

"""Names: this gateway says which names its agents serve, in batches, until it is heard.

What it is.  For each name a count of agents.  What changes is said a moment later, together with what else has changed by
then; all of it is said again every half a minute, before the registry lets go of it (:data:`.redis.NAME_LIFE`).

The rules.  What is said is what holds at that moment, not what has happened: so a batch that nobody heard is no loss, and
the next one says it.  One task says it all, one batch after the other.

A command that came late, when others that were sent after it are done, may bring back what was taken away.  So what is not
served any more is said once more with the next sweep.  And who ends takes all of it away: what nobody asks for would stand
there as long as anybody else serves the name, once for each start of a gateway.

The trap.  A thousand agents come back at once when a gateway has gone.  One that asked for each of them alone, and took a
failure for an answer, never had half of their names registered.
"""

from __future__ import annotations

import logging
import random
from itertools import islice
from typing import TYPE_CHECKING

import anyio

from .leases import PAUSE
from .registry import RegistryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ("GATHER", "SWEEP", "Names")

logger = logging.getLogger("muxado.cli")

GATHER = 0.02
"""Seconds in which changes are gathered."""

SWEEP = 30.0
"""Seconds after which all is said again, a fifth more or less."""

MAX_BATCH = 500
"""Names that are said before the next look at what else has changed."""


class Names:
    """What is served here.

    :param say: tells the registry; raises :class:`.registry.RegistryError` if nobody hears.
    """

    def __init__(self, say: Callable[[Mapping[str, int]], Awaitable[None]]) -> None:
        self._say = say
        self._counts: dict[str, int] = {}
        self._unsaid: dict[str, None] = {}  # in the order in which they changed
        self._dropped: set[str] = set()  # since the last sweep
        self._news = anyio.Event()

    def changed(self, name: str, count: int) -> None:
        """So many agents serve ``name`` now."""
        if count:
            self._counts[name] = count
            self._dropped.discard(name)
        else:
            self._counts.pop(name, None)
            self._dropped.add(name)
        self._unsaid[name] = None
        self._news.set()

    def are_served(self, name: str) -> bool:
        """Whether an agent of this gateway serves ``name``."""
        return name in self._counts

    def repeat(self) -> None:
        """All of it is to be said once more."""
        self._unsaid |= dict.fromkeys([*self._counts, *self._dropped])
        self._news.set()

    async def leave(self) -> None:
        """Nothing is served here any more; :meth:`run` is over.

        Cancellation: safe.
        """
        names = [*self._counts, *self._unsaid, *self._dropped]
        self._counts.clear()
        try:
            await self._say(dict.fromkeys(names, 0))
        except RegistryError as exc:
            logger.debug("nobody heard what is not served any more: %s", exc)

    async def run(self) -> None:
        """Say what changes, until it is cancelled."""
        sweep = anyio.current_time() + SWEEP
        while True:
            with anyio.move_on_after(sweep - anyio.current_time()) as until_sweep:
                await self._news.wait()
            if until_sweep.cancelled_caught:
                sweep = anyio.current_time() + SWEEP * random.uniform(0.8, 1.2)
                self.repeat()
                self._dropped.clear()
            self._news = anyio.Event()
            await anyio.sleep(GATHER)
            while self._unsaid:
                await self._flush()

    async def _flush(self) -> None:
        batch = list(islice(self._unsaid, MAX_BATCH))
        counts = {name: self._counts.get(name, 0) for name in batch}
        try:
            await self._say(counts)
        except RegistryError:
            await anyio.sleep(PAUSE)
            return
        for name, count in counts.items():
            if self._counts.get(name, 0) == count:  # it may have changed meanwhile
                self._unsaid.pop(name, None)

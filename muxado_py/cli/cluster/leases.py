"""Leases: this gateway says that it is there, again and again, and hears who else is.

What it is.  A beat every three seconds, for a lease of three beats; with each it reads who has one.

The rules.  A gateway that ends says so first, by its state, and leaves last.  While the registry does not answer, it is
asked by this task alone (:mod:`.breaker`), at once and then after each :data:`PAUSE`, so that everybody is back as soon as it is.

The trap.  A registry that was started anew, or one that lost what it was told, looks like any other; only that it does not
know a lease that has not ended tells it.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

import anyio

from .registry import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .breaker import Breaker
    from .directory import Directory
    from .nodes import Node
    from .registry import Registry

__all__ = ("BEAT", "LEASE", "PAUSE", "Lease")

logger = logging.getLogger("muxado.cli")

BEAT = 3.0
"""Seconds between two beats, a tenth more or less: not all gateways at once."""

LEASE = 9.0
"""Seconds for which one beat lasts."""

PAUSE = 0.5
"""Seconds between two beats that nobody hears."""


class Lease:
    """That of one gateway.

    :param forgotten: called when the registry has lost what it was told.
    """

    def __init__(
        self,
        node: Node,
        registry: Registry,
        breaker: Breaker,
        directory: Directory,
        forgotten: Callable[[], None],
    ) -> None:
        self.node = node
        self._registry = registry
        self._breaker = breaker
        self._directory = directory
        self._forgotten = forgotten
        self._was_said = False
        self._soon = anyio.Event()
        breaker.when_broken(self._hurry)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self._soon = anyio.Event()
            seconds = BEAT * random.uniform(0.9, 1.1)
            try:
                await self.beat()
            except RegistryError:
                seconds = PAUSE
            with anyio.move_on_after(seconds):
                await self._soon.wait()

    async def beat(self) -> None:
        """Say that it is there, and hear who is.

        :raises RegistryError: if nobody hears.
        """
        was_known = await self._breaker.try_again(self._registry.beat, self.node, LEASE)
        if self._was_said and not was_known:
            logger.warning("the registry has forgotten this gateway; it is told again")
            self._directory.distrust()
            self._forgotten()
        self._was_said = True
        await self.look()

    async def look(self) -> None:
        """Hear who is there.

        :raises RegistryError: if there is no answer.
        """
        self._directory.read(await self._breaker.ask(self._registry.nodes))

    def drain(self) -> None:
        """This gateway is about to end: the others know it as soon as they look."""
        self.node = self.node._replace(is_draining=True)
        self._hurry()

    def _hurry(self) -> None:
        self._soon.set()

    async def leave(self) -> None:
        """It is not there any more; that nobody hears it is no trouble.

        Cancellation: safe.
        """
        try:
            await self._breaker.ask(self._registry.leave, self.node)
        except RegistryError as exc:
            logger.debug("nobody heard that this gateway leaves: %s", exc)

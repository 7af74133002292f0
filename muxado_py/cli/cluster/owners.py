"""Owners: which names an agent of one gateway serves alone, at all gateways.

What it is.  Who registers a name to be alone has it at once at its own gateway, which claims it in the registry.  There the
claim stands that is newest: by when the agent came, in the time of the registry's clock.  Every gateway reads all claims each
:data:`LOOK` seconds, and takes a name from its own agents that another gateway's has.

The rules.  A claim holds as long as its gateway has its lease, and nobody refreshes it.  It may be said twice, or late: how old it
is goes with it, so the newest agent wins in whatever order claims come, also those that nobody heard for a while, or of an agent that
comes back from a connection that was dead.  Without the
registry each gateway's agents keep what they have, two of them if need be; when it is back the newer stays.

The traps.  A registry that forgot is told again, by the gateway that finds its claim gone; but one that finds another's there, of
a gateway that is not known, asks who that is first.  And what was claimed a moment ago must be said before anything is read, or
an agent would lose what it has just taken over.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import anyio

from .registry import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .breaker import Breaker
    from .directory import Directory
    from .leases import Lease
    from .registry import Registry

__all__ = ("LOOK", "Owners")

LOOK = 1.0
"""Seconds between two looks at all claims, a tenth more or less."""


class _Claim:
    """One of an agent of this gateway."""

    __slots__ = ("is_said", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.is_said = False


class Owners:
    """What one gateway knows of them.

    :param now: the time, in seconds.
    """

    def __init__(
        self,
        registry: Registry,
        breaker: Breaker,
        directory: Directory,
        lease: Lease,
        now: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._breaker = breaker
        self._directory = directory
        self._lease = lease
        self._now = now
        self._claims: dict[str, _Claim] = {}
        self._released: dict[str, None] = {}  # and nobody has heard that yet
        self._elsewhere: dict[str, str] = {}  # the ids of other gateways, by name
        self._taken: list[Callable[[str], None]] = []
        self._news = anyio.Event()
        breaker.when_mended(self._hurry)

    def when_taken(self, told: Callable[[str], None]) -> None:
        """``told`` is called with each name that agents here lose, if any serve it."""
        self._taken.append(told)

    def claim(self, name: str, age: float = 0.0) -> None:
        """An agent of this gateway serves ``name`` alone, and has for ``age`` seconds."""
        self._claims[name] = _Claim(self._now() - age)
        self._released.pop(name, None)
        self._hurry()

    def release(self, name: str) -> None:
        """It does not any more."""
        if self._claims.pop(name, None) is not None:
            self._released[name] = None
            self._hurry()

    def is_elsewhere(self, name: str) -> bool:
        """Whether an agent of another gateway serves ``name`` alone."""
        return self._elsewhere.get(name) in self._directory.nodes

    async def run(self) -> None:
        """Say what is claimed here, and read what is elsewhere, until it is cancelled."""
        while True:
            self._news = anyio.Event()
            try:
                await self._say()
                await self._look()
            except RegistryError:
                pass  # the lease's task asks until there is an answer
            with anyio.move_on_after(LOOK * random.uniform(0.9, 1.1)):
                await self._news.wait()

    async def leave(self) -> None:
        """Nothing is claimed here any more; :meth:`run` is over.

        :raises RegistryError: if nobody hears; what this gateway claimed ends with its lease.
        """
        for name in [*self._claims, *self._released]:
            await self._breaker.ask(self._registry.release, self._lease.node.id, name)

    async def _say(self) -> None:
        node_id = self._lease.node.id
        for name in list(self._released):
            await self._breaker.ask(self._registry.release, node_id, name)
            self._released.pop(name, None)
        for name, claim in list(self._claims.items()):
            if claim.is_said:
                continue
            age = max(0.0, self._now() - claim.since)
            owner = await self._breaker.ask(self._registry.claim, node_id, name, age)
            if owner == node_id:
                claim.is_said = True
            elif self._claims.get(name) is claim:
                await self._meet({owner})
                self._lose(name, owner)

    async def _look(self) -> None:
        # Before it is asked: what is new by then may be newer than the answer.
        claims = dict(self._claims)
        owners = await self._breaker.ask(self._registry.owners)
        own_id = self._lease.node.id
        self._elsewhere = {name: owner for name, owner in owners.items() if owner != own_id}
        await self._meet(set(self._elsewhere.values()))
        for name in self._claims.keys() - owners.keys():
            # It is said again, and not at once: who forgets might go on so.
            self._claims[name].is_said = False
        for name, owner in self._elsewhere.items():
            claim = claims.get(name)
            if self._claims.get(name) is claim and (claim is None or claim.is_said):
                self._lose(name, owner)
        for name, owner in owners.items():
            if owner == own_id and name not in self._claims:  # nobody heard that it is over
                self._released[name] = None
        gone = self._directory.gone(set(self._elsewhere.values()))
        for name in [name for name, owner in self._elsewhere.items() if owner in gone]:
            await self._breaker.ask(self._registry.release, self._elsewhere.pop(name), name)

    async def _meet(self, node_ids: set[str]) -> None:
        """Learn of those that nobody knows; they came a moment ago, or are gone."""
        unknown = [one for one in node_ids if one not in self._directory.nodes]
        if unknown and not self._directory.are_missed(unknown):
            await self._lease.look()

    def _lose(self, name: str, owner: str) -> None:
        if owner not in self._directory.nodes:
            return
        self._claims.pop(name, None)
        for told in self._taken:
            told(name)

    def _hurry(self) -> None:
        self._news.set()

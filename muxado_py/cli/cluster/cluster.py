"""Cluster: what one gateway has to do with the others.

What it is.  The parts of this folder, put together: what is said of this gateway (:mod:`.leases`, :mod:`.names`), what is
known of the others (:mod:`.directory`, :mod:`.routes`), which names one agent has alone (:mod:`.owners`), and how callers get there (:mod:`.neighbours`).

The rule.  The registry is asked by tasks of its own, and by a caller of whose name nothing is known.  Whoever is known
is led at once.  Where nobody can be asked, callers of a name that was served a moment ago wait for its agents, which may be on
their way from one gateway to another: what that takes depends on them, and on how soon the registry hears of it.

The trap.  A gateway that stops is still asked until all others know it.  It says so at its beginning, serves on, and refuses
what it cannot serve.
"""

from __future__ import annotations

import random
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import anyio

from ...errors import escaped
from ...runtime.checkpoints import event_loop
from ..agents.beyond import Beyond
from ..agents.registration import Hop
from .breaker import Breaker
from .directory import Directory
from .leases import Lease
from .names import Names
from .neighbours import Neighbour, Neighbours
from .nodes import Node, new_id
from .owners import Owners
from .registry import RegistryError
from .routes import Routes

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from ..agents.agent import Agent
    from .registry import Registry
    from .tokens import ClusterTokens

__all__ = ("Cluster", "Membership", "joined")

LEAVING = 1.0
"""Seconds that saying goodbye may take; what a registry keeps of this gateway ends anyway."""

MAX_WARM = 32
"""Gateways with which one that ends has a session, whoever they are."""

MAX_HOPS = 4
"""Gateways that one caller is led to, one after the other."""


class Membership(NamedTuple):
    """How a gateway becomes one of several."""

    registry: AbstractAsyncContextManager[Registry]
    tokens: ClusterTokens
    """What all of them know, and nobody else."""
    url: str | None = None
    """Where the others reach it; None: where its agents do."""
    context: Callable[[str], ssl.SSLContext | None] = lambda url: None
    """What ``connect`` needs for the URL of another one."""


@asynccontextmanager
async def joined(membership: Membership, url: str) -> AsyncIterator[Cluster]:
    """Take part for the length of a block, at whose end the others are told.

    :param url: where agents reach this gateway.
    """
    loop = event_loop()
    now = anyio.current_time if loop is None else loop.time
    async with membership.registry as registry:
        cluster = Cluster(
            membership.url or url, registry, membership.tokens, membership.context, now
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cluster.run)
            yield cluster
            tasks.cancel_scope.cancel()
        await cluster.leave()


class Cluster(Beyond):
    """The gateway at ``url``, among others.

    :param url: where the others reach it.
    :param tokens: what all of them know, and nobody else.
    :param context: what ``connect`` needs for the URL of another one.
    :param now: the time, in seconds.
    """

    is_there = True

    def __init__(
        self,
        url: str,
        registry: Registry,
        tokens: ClusterTokens,
        context: Callable[[str], ssl.SSLContext | None] = lambda url: None,
        now: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._registry = registry
        self._now = now
        self.tokens = tokens
        node = Node(new_id(), url)
        self._id = node.id
        self._breaker = Breaker()
        self._directory = Directory(node.id, now)
        self._names = Names(self._say)
        self._lease = Lease(node, registry, self._breaker, self._directory, self._names.repeat)
        self._owners = Owners(registry, self._breaker, self._directory, self._lease, now)
        self._routes = Routes(registry, self._breaker, self._directory, self._lease, now)
        self._neighbours = Neighbours(self._hop, context, now)
        self._stale: dict[str, None] = {}
        self._news = anyio.Event()
        self._breaker.when_mended(self._directory.distrust)
        self._breaker.when_mended(self._names.repeat)

    async def run(self) -> None:
        """Take part, until it is cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._neighbours.run)
            tasks.start_soon(self._names.run)
            tasks.start_soon(self._owners.run)
            tasks.start_soon(self._refresh)
            tasks.start_soon(self._lease.run)

    def drain(self) -> None:
        """This gateway is about to end; others go first from now on.

        Its agents are elsewhere in a moment, so its callers are led there.
        """
        self._lease.drain()
        self._neighbours.warm(islice(self._directory.nodes.values(), MAX_WARM))

    async def leave(self) -> None:
        """This gateway has ended: :meth:`run` is over.

        Cancellation: safe.
        """
        with anyio.move_on_after(LEAVING):
            await self._lease.leave()
            await self._names.leave()
            with suppress(RegistryError):
                await self._owners.leave()

    # What a destination asks.

    def agents(self, name: str) -> Sequence[Agent]:
        node_ids = self._routes.known(name)
        if node_ids and not self._routes.is_fresh(name):
            self._stale[name] = None
            self._news.set()
        found: list[Agent] = []
        for node_id in node_ids:
            neighbour = self._neighbours.get(node_id)
            if neighbour is not None:
                node = self._directory.nodes.get(node_id)
                neighbour.distance = 1 if node is None else 1 + node.is_draining
                found.append(neighbour)
        if found:
            self._routes.reached(name)
        return found

    async def seek(self, name: str, tried: Collection[Agent]) -> bool:
        hops = sum(isinstance(agent, Neighbour) for agent in tried)
        if hops >= MAX_HOPS:
            return False
        if await self._reach(name, tried, anew=hops > 0):
            return True
        since = self._now()
        while True:
            # Somebody else may have found them meanwhile.  Whoever can be reached and has been tried does not move.
            if found := self.agents(name):
                return any(one not in tried for one in found)
            if (pause := self._routes.unreached(name, since)) is None:
                return False
            # Its agents are on their way to another gateway, to this one, or back.
            await anyio.sleep(pause)
            if self._names.are_served(name) or await self._reach(name, tried):
                return True

    async def _reach(self, name: str, tried: Collection[Agent], *, anew: bool = False) -> bool:
        node_ids = await self._routes.find(name, anew=anew)
        nodes = self._directory.nodes
        if node_ids is None:
            node_ids = tuple(random.sample(sorted(nodes), min(MAX_HOPS, len(nodes))))
            tried_ids = {agent.node.id for agent in tried if isinstance(agent, Neighbour)}
            tried_ids |= {one for one in node_ids if self._routes.is_empty(name, one)}
            node_ids = tuple(one for one in node_ids if one not in tried_ids)
            self._routes.guess(name, node_ids)
        known = [nodes[one] for one in node_ids if one in nodes]
        random.shuffle(known)
        return await self._neighbours.reach(known, tried)

    def lost(self, name: str, agent: Agent) -> None:
        if isinstance(agent, Neighbour):
            self._routes.refused(name, agent.node.id)

    def serve(self, name: str, count: int) -> None:
        self._names.changed(name, count)
        if not count:
            self._routes.left(name)

    def claim(self, name: str, age: float) -> None:
        self._owners.claim(name, age)

    def release(self, name: str) -> None:
        self._owners.release(name)

    def has_alone(self, name: str) -> bool:
        return self._owners.is_elsewhere(name)

    def when_taken(self, told: Callable[[str], None]) -> None:
        self._owners.when_taken(told)

    def may_hop(self, hop: Hop) -> str | None:
        if not self.tokens.has(hop.token):
            return "its token is not that of this cluster (--cluster-token-file)"
        if hop.node == self._id:
            return "it is this gateway itself: its --node-url leads to more than one gateway"
        if hop.to not in (None, self._id):
            return f"this is not the gateway {escaped(hop.to)}, whose --node-url leads here"
        return None

    def _hop(self, node: Node) -> Hop:
        return Hop(self._id, self.tokens.shown, node.id)

    async def _say(self, counts: Mapping[str, int]) -> None:
        await self._breaker.ask(self._registry.serve, self._lease.node, counts)

    async def _refresh(self) -> None:
        """Ask again for what was used and is old."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            for name in list(self._stale):
                del self._stale[name]
                node_ids = await self._routes.find(name) or ()
                nodes = self._directory.nodes
                self._neighbours.warm(nodes[one] for one in node_ids if one in nodes)

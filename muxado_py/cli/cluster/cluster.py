"""Cluster: what one gateway has to do with the others.

What it is.  The parts of this folder, put together: what is said of this gateway (:mod:`.leases`, :mod:`.names`), what is
known of the others (:mod:`.directory`, :mod:`.routes`), and how callers get there (:mod:`.neighbours`).

The rule.  The registry is asked by tasks of its own, and by a caller of whose name nothing is known.  Whoever is known
is led at once.

The trap.  A gateway that stops is still asked until all others know it.  It says so at its beginning, serves on, and refuses
what it cannot serve.
"""

from __future__ import annotations

import hmac
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import anyio

from ...runtime.checkpoints import event_loop
from ..beyond import Beyond
from ..registration import Hop
from .breaker import Breaker
from .directory import Directory
from .leases import Lease
from .names import Names
from .neighbours import Neighbour, Neighbours
from .nodes import Node, new_id
from .routes import Routes

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from ..agent import Agent
    from .registry import Registry

__all__ = ("Cluster", "Membership", "joined")

MAX_HOPS = 4
"""Gateways that one caller is led to, one after the other."""


class Membership(NamedTuple):
    """How a gateway becomes one of several."""

    registry: AbstractAsyncContextManager[Registry]
    token: str
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
    async with membership.registry as registry, anyio.create_task_group() as tasks:
        cluster = Cluster(
            membership.url or url, registry, membership.token, membership.context, now
        )
        tasks.start_soon(cluster.run)
        yield cluster
        await cluster.leave()
        tasks.cancel_scope.cancel()


class Cluster(Beyond):
    """The gateway at ``url``, among others.

    :param url: where the others reach it.
    :param token: what all of them know, and nobody else.
    :param context: what ``connect`` needs for the URL of another one.
    :param now: the time, in seconds.
    """

    is_there = True

    def __init__(
        self,
        url: str,
        registry: Registry,
        token: str,
        context: Callable[[str], ssl.SSLContext | None] = lambda url: None,
        now: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._registry = registry
        self._token = token
        node = Node(new_id(), url)
        self._id = node.id
        self._breaker = Breaker(now)
        self._directory = Directory(node.id, now)
        self._names = Names(self._say)
        self._lease = Lease(node, registry, self._breaker, self._directory, self._names.repeat)
        self._routes = Routes(registry, self._breaker, self._directory, self._lease, now)
        self._neighbours = Neighbours(Hop(node.id, token), context, now)
        self._stale: dict[str, None] = {}
        self._news = anyio.Event()
        self._breaker.when_mended(self._directory.distrust)
        self._breaker.when_mended(self._names.repeat)

    async def run(self) -> None:
        """Take part, until it is cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._neighbours.run)
            tasks.start_soon(self._names.run)
            tasks.start_soon(self._refresh)
            tasks.start_soon(self._lease.run)

    def drain(self) -> None:
        """This gateway is about to end; others go first from now on."""
        self._lease.drain()

    async def leave(self) -> None:
        """This gateway ends.

        Cancellation: safe.
        """
        await self._lease.leave()

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
        return found

    async def seek(self, name: str, tried: Collection[Agent]) -> bool:
        hops = sum(isinstance(agent, Neighbour) for agent in tried)
        if hops >= MAX_HOPS:
            return False
        if await self._reach(name, tried, anew=hops > 0):
            return True
        self._routes.unreached(name)
        return not self._routes.is_fresh(name) and await self._reach(name, tried)

    async def _reach(self, name: str, tried: Collection[Agent], *, anew: bool = False) -> bool:
        node_ids = await self._routes.find(name, anew=anew)
        nodes = self._directory.nodes
        if node_ids is None:
            node_ids = tuple(random.sample(sorted(nodes), min(MAX_HOPS, len(nodes))))
            tried_ids = {agent.node.id for agent in tried if isinstance(agent, Neighbour)}
            node_ids = tuple(one for one in node_ids if one not in tried_ids)
            self._routes.guess(name, node_ids)
        known = [nodes[one] for one in node_ids if one in nodes]
        random.shuffle(known)
        return await self._neighbours.reach(known, tried)

    def doubt(self, name: str, agent: Agent) -> None:
        if isinstance(agent, Neighbour):
            self._routes.refused(name, agent.node.id)

    def serve(self, name: str, count: int) -> None:
        self._names.changed(name, count)

    def may_hop(self, hop: Hop) -> str | None:
        if not hmac.compare_digest(hop.token.encode(), self._token.encode()):
            return "its token is not that of this cluster (--cluster-token-file)"
        if hop.node == self._id:
            return "it is this gateway itself: its --node-url leads to more than one gateway"
        return None

    async def _say(self, counts: Mapping[str, int]) -> None:
        await self._breaker.ask(self._registry.serve, self._lease.node, counts)

    async def _refresh(self) -> None:
        """Ask again for what was used and is old."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            for name in list(self._stale):
                del self._stale[name]
                await self._routes.find(name)

"""Routes: which gateways serve a name, as far as it is known, without asking each time.

What it is.  For each name that was asked for the nodes that serve it, for a while.  Who wants a name that is known gets what
is known, however old; older than :data:`FRESH` it is asked for again beside that.

The rules.  A node that refused is taken off the route at once.  Where the registry does not answer, or what it does not
say proves nothing, a name without a route is asked for at every node: a gateway that does not serve it refuses, which costs
a try and is safe.  What they say becomes the route.

The traps.  Callers make up names: what is kept, and how often the registry is asked for what is not known, is bounded.  And
many callers of one name may come at once: one question is asked for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anyio

from .registry import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .breaker import Breaker
    from .directory import Directory
    from .leases import Lease
    from .registry import Registry

__all__ = ("FRESH", "NOBODY", "Routes")

FRESH = 2.0
"""Seconds after which who serves a name is asked again."""

NOBODY = 0.3
"""The same, where nobody did."""

LOOK = 0.5
"""Seconds between two looks for nodes that a name has and nobody knows."""

MAX_ROUTES = 10_000
"""Names that are known; the oldest goes first."""

UNKNOWN_RATE = 200.0
"""Names that nobody knows, asked for in a second; more are served by nobody."""


class Route(NamedTuple):
    """What is known of one name."""

    node_ids: tuple[str, ...]
    asked: float
    """When it was asked for."""
    until: float
    """When it is to be asked for again."""


class Routes:
    """Those of one gateway.

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
        self._routes: dict[str, Route] = {}
        self._asking: dict[str, anyio.Event] = {}
        self._looked = -LOOK
        self._allowance = UNKNOWN_RATE
        self._counted = now()

    def known(self, name: str) -> tuple[str, ...]:
        """Who serves it, as far as anybody knows."""
        route = self._routes.get(name)
        return () if route is None else route.node_ids

    def is_fresh(self, name: str) -> bool:
        """Whether that need not be asked again."""
        route = self._routes.get(name)
        return route is not None and self._now() < route.until

    async def find(self, name: str, *, anew: bool = False) -> tuple[str, ...] | None:
        """Who serves it; None: nobody knows.

        :param anew: whether what is known turned out to be wrong.

        Cancellation: safe.
        """
        if not anew and self.is_fresh(name):
            return self._routes[name].node_ids
        if name not in self._routes and not self._may_ask():
            return ()
        if (others := self._asking.get(name)) is not None:
            await others.wait()
        else:
            asking = self._asking[name] = anyio.Event()
            try:
                await self._ask(name)
            finally:
                del self._asking[name]
                asking.set()
        route = self._routes.get(name)
        return None if route is None else route.node_ids

    def guess(self, name: str, node_ids: Iterable[str]) -> None:
        """These may serve it."""
        self._keep(name, tuple(node_ids))

    def refused(self, name: str, node_id: str) -> None:
        """That node does not serve it."""
        route = self._routes.get(name)
        if route is None:
            return
        left = tuple(one for one in route.node_ids if one != node_id)
        if left:
            self._routes[name] = route._replace(node_ids=left)
        else:
            del self._routes[name]

    def unreached(self, name: str) -> None:
        """None of those who serve it could be reached: it is asked for again as soon as if nobody did."""
        route = self._routes.get(name)
        if route is not None and route.node_ids:
            until = min(route.until, route.asked + NOBODY)
            self._routes[name] = route._replace(until=until)

    async def _ask(self, name: str) -> None:
        try:
            counts = await self._breaker.ask(self._registry.serving, name)
            counts.pop(self._lease.node.id, None)
            unknown = counts.keys() - self._directory.nodes.keys()
            if unknown and self._now() - self._looked >= LOOK:
                self._looked = self._now()
                await self._lease.look()
                gone = self._directory.gone(unknown)
                if gone:
                    await self._breaker.ask(self._registry.forget, name, gone)
        except RegistryError:
            return
        found = tuple(one for one in counts if one in self._directory.nodes)
        if found or not self._directory.is_distrusted:
            self._keep(name, found)

    def _keep(self, name: str, node_ids: tuple[str, ...]) -> None:
        self._routes.pop(name, None)
        now = self._now()
        self._routes[name] = Route(node_ids, now, now + (FRESH if node_ids else NOBODY))
        if len(self._routes) > MAX_ROUTES:
            del self._routes[next(iter(self._routes))]

    def _may_ask(self) -> bool:
        now = self._now()
        self._allowance += (now - self._counted) * UNKNOWN_RATE
        self._allowance = min(self._allowance, UNKNOWN_RATE)
        self._counted = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

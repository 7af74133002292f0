"""Routes: which gateways serve a name, as far as it is known, without asking each time.

What it is.  For each name that was asked for the nodes that serve it, for a while.  Who wants a name that is known gets what
is known, however old; older than :data:`FRESH` it is asked for again beside that.

The rules.  A node that has nobody for a name is taken off its route at once, and put on again when the registry has said meanwhile
that it served it no more, or says for :data:`AGAIN` that it does: so agents that come back to it are found, and a registry that is late
sends nobody there in vain all the time.  Where the registry does not answer, or what it does not
say proves nothing, a name without a route is asked for at every node: a gateway that does not serve it refuses, which costs
a try and is safe.  What they say becomes the route.

There is *hope* for a name while its agents may be on their way from one gateway to another, which takes them some time and the
registry some more to hear of it.  So callers wait for a name whose last node went off its route, or whose last agent here left,
:data:`MOVING` seconds ago at most, or of whose nodes none could be reached for so long, and not for one that nobody ever served.

The traps.  Callers make up names: what is kept, and how often the registry is asked for what is not known, is bounded.  And
many callers of one name may come at once: one question is asked for all of them, by the next one if who asked has left.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import anyio

from .registry import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from .breaker import Breaker
    from .directory import Directory
    from .leases import Lease
    from .registry import Registry

__all__ = ("FRESH", "MOVING", "NOBODY", "Routes")

FRESH = 2.0
"""Seconds after which who serves a name is asked again."""

NOBODY = 0.3
"""The same, where nobody did."""

MOVING = 5.0
"""Seconds in which agents of a name may come to another gateway; who was told 503 is told to come again after as long."""

NEVER = -math.inf

AGAIN = 1.0
"""Seconds after which a node that had nobody is asked again if the registry has said all the while that it has."""

LOOK = 0.5
"""Seconds between two looks for nodes that a name has and that were missed before; a new one is looked for at once."""

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
    hope: float | None
    """Until when callers wait for somebody who serves it, since nobody could be reached; None: those who serve it can be."""
    is_guess: bool = False
    """Whether it is not known to be true."""
    empty: Mapping[str, float] = MappingProxyType({})
    """Which nodes had nobody, though the registry says that they have, and when they said so."""


class Question:
    """What one caller asks the registry for all that want the same name."""

    __slots__ = ("is_asked", "over")

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.is_asked = False
        """Whether the registry has had its time; no: who asked has left."""


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
        self._asking: dict[str, Question] = {}
        self._begun = now()
        self._looked = -LOOK
        self._looking = anyio.Lock()
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
        while (question := self._asking.get(name)) is not None:
            await question.over.wait()
            if question.is_asked:
                break
        else:
            question = self._asking[name] = Question()
            try:
                await self._ask(name)
                question.is_asked = True
            finally:
                del self._asking[name]
                question.over.set()
        route = self._routes.get(name)
        if route is None or not (route.node_ids or self.is_fresh(name)):
            return None
        return route.node_ids

    def guess(self, name: str, node_ids: Iterable[str]) -> None:
        """These may serve it."""
        route = self._routes.get(name)
        hope = NEVER if route is None else self._lost(route)
        self._keep(name, tuple(node_ids), hope, is_guess=True)

    def refused(self, name: str, node_id: str) -> None:
        """That node has nobody for it."""
        route = self._routes.get(name)
        if route is None or node_id not in route.node_ids:
            return
        left = tuple(one for one in route.node_ids if one != node_id)
        empty = {**route.empty, node_id: self._now()}
        if left:
            self._routes[name] = route._replace(node_ids=left, empty=empty)
        else:
            lost = self._lost(route)
            self._routes[name] = Route((), route.asked, self._now(), lost, empty=empty)

    def is_empty(self, name: str, node_id: str) -> bool:
        """Whether that node has said a moment ago that it has nobody for it."""
        route = self._routes.get(name)
        said = None if route is None else route.empty.get(node_id)
        return said is not None and self._now() < said + AGAIN

    def left(self, name: str) -> None:
        """The last agent that served it here has gone."""
        route, now = self._routes.get(name), self._now()
        if route is None:
            self._put(name, Route((), now, now, now + MOVING))
        elif route.hope is not None:
            self._routes[name] = route._replace(hope=now + MOVING)

    def reached(self, name: str) -> None:
        """Somebody on its route can be asked."""
        route = self._routes.get(name)
        if route is not None and route.hope is not None and route.node_ids and not route.is_guess:
            self._routes[name] = route._replace(hope=None)

    def unreached(self, name: str, since: float) -> float | None:
        """Nobody on its route can be asked: it is asked for again as soon as if nobody were on it.

        :param since: when its caller was told so first.
        :returns: the seconds until then, which its caller waits; None if there is nothing to wait for.
        """
        route = self._routes.get(name)
        if route is None:
            return None
        now = self._now()
        until, hope = min(route.until, route.asked + NOBODY), self._lost(route)
        self._routes[name] = route._replace(until=until, hope=hope)
        if not self._directory.is_read:  # the registry has never answered
            hope = max(hope, self._begun + MOVING)
        return max(0.0, until - now) if now < min(hope, since + MOVING) else None

    def _lost(self, route: Route) -> float:
        """What hope there is now that nobody on it can be asked."""
        return self._now() + MOVING if route.hope is None else route.hope

    async def _ask(self, name: str) -> None:
        try:
            counts = await self._breaker.ask(self._registry.serving, name)
            counts.pop(self._lease.node.id, None)
            await self._look_for(name, counts)
        except RegistryError:
            self._put_off(name)
            return
        route = self._routes.get(name)
        if route is not None and route.empty:
            empty = {one: said for one, said in route.empty.items() if one in counts}
            route = self._routes[name] = route._replace(empty=empty)
        found = tuple(
            one for one in counts if one in self._directory.nodes and not self.is_empty(name, one)
        )
        if found:
            is_old = route is not None and not route.is_guess and set(found) <= set(route.node_ids)
            self._keep(name, found, route.hope if route is not None and is_old else None)
        elif self._directory.is_distrusted:
            self._put_off(name)
        else:
            self._keep(name, found, NEVER if route is None else self._lost(route))

    def _put_off(self, name: str) -> None:
        """There was no answer, or none that proves anything: who is known is asked for again in a moment."""
        route, now = self._routes.get(name), self._now()
        if route is not None and route.node_ids:
            self._routes[name] = route._replace(asked=now, until=now + NOBODY)

    async def _look_for(self, name: str, node_ids: Collection[str]) -> None:
        """Learn of those that nobody knows; they came a moment ago, or are gone.

        :raises RegistryError: if there is no answer.
        """
        async with self._looking:  # who waits here may know them then
            unknown = [one for one in node_ids if one not in self._directory.nodes]
            is_soon = self._now() - self._looked < LOOK
            if not unknown or (is_soon and self._directory.are_missed(unknown)):
                return
            self._looked = self._now()
            await self._lease.look()
        gone = self._directory.gone(unknown)
        if gone:
            await self._breaker.ask(self._registry.forget, name, gone)

    def _keep(
        self, name: str, node_ids: tuple[str, ...], hope: float | None, *, is_guess: bool = False
    ) -> None:
        now = self._now()
        until = now + (FRESH if node_ids else NOBODY)
        known = self._routes.get(name)
        empty = {} if known is None else known.empty
        self._put(name, Route(node_ids, now, until, hope, is_guess, empty))

    def _put(self, name: str, route: Route) -> None:
        self._routes.pop(name, None)
        self._routes[name] = route
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

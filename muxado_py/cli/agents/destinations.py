"""Destinations: where the callers of a door are led.

What it is.  A destination is a name and the agents that serve it; the one without a name has the agents that
registered none.

Which agent.  Of a name: of two that are drawn, the one that has fewer callers.  So no agent is left out, none gets all
that come at once, and one that stands still has one caller more than the others and then no more.  Without a
name: the one that connected last.  A new agent thus takes over from the one it replaces, and an agent that came back
after its network failed takes over from its own dead session, which the gateway may not have noticed yet.

In either case agents here go before those of other gateways (:mod:`.beyond`), and others go before these: who does not answer (:mod:`.suspicion`); who took no caller a moment ago, and
would get them all, since it has none; and a connection that never sent a frame, which may be a Go agent, which says
nothing until it is asked, or a port scan.

The rule.  Whatever is wrong with one agent, the next is asked.

The traps.  A door is there when nobody serves its name, and so is its destination; one that nobody publishes goes with
its last agent, or names that peers make up would be kept for ever.  But a caller may have it still, and wait for agents that
come: so as long as anybody has it there is no other one of its name.
"""

from __future__ import annotations

import logging
import math
from random import sample
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import anyio

from .beyond import Alone
from .introductions import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from .agent import Agent, Passage
    from .beyond import Beyond

__all__ = ("Destination", "Destinations")

logger = logging.getLogger("muxado.cli")


NOBODY: Mapping[str, bytes] = {}
"""What is said of a caller of whom nothing is known."""

DOUBT = 1.0
"""Seconds in which an agent that took no caller is asked after the others."""

UNHEARD = 1.0
"""Seconds for which who comes back is given credit: it gives up a registration as soon that is not answered, so one that has the name
since then may be its own former session."""

ALONE = Alone()


class Destination:
    """A name and who serves it.

    :param name: None for those agents that registered none.
    :param now: the time, in seconds, also where no task runs.
    :param beyond: who else may serve it.
    """

    def __init__(
        self,
        name: str | None = None,
        now: Callable[[], float] = anyio.current_time,
        beyond: Beyond = ALONE,
    ) -> None:
        self.name = name
        self._now = now
        self._beyond = beyond
        self.agents: list[Agent] = []
        """The newest last."""
        self.owner: Agent | None = None
        """Who serves it alone, if one does."""
        self.owned_since = -math.inf
        """When that one came; one that came back: when it knew last that it has the name."""
        self.speak_http = False
        """Whether the last answer was one of HTTP/1, where nobody waits for the server's first word."""

    async def reach(
        self, tried: Collection[Agent] = (), caller: Mapping[str, bytes] = NOBODY
    ) -> Passage:
        """The same as :meth:`dial`; where it finds nobody, other gateways are asked for.

        :raises ConnectionRefusedError: if none opens a stream.

        Cancellation: safe.
        """
        try:
            return self.dial(tried, caller)
        except ConnectionRefusedError:
            if self.name is None or not await self._beyond.seek(self.name, tried):
                raise
        return self.dial(tried, caller)

    def dial(
        self,
        tried: Collection[Agent] = (),
        caller: Mapping[str, bytes] = NOBODY,
        *,
        here: bool = False,
    ) -> Passage:
        """A passage to an agent that is not among ``tried``.

        :param caller: what it is told of the caller, besides which name that wants, if it understands it.
        :param here: whether those of other gateways are left out.
        :raises ConnectionRefusedError: if none opens a stream.
        """
        metadata = caller if self.name is None else {**caller, NAME: self.name.encode()}
        agents = [agent for agent in self.agents if agent not in tried]
        if not here and self.name is not None:
            agents += [one for one in self._beyond.agents(self.name) if one not in tried]
        while agents:
            agent = self._choose(agents)
            try:
                return agent.open(metadata)
            except Exception as exc:  # noqa: BLE001 - it is that agent's trouble, not the caller's
                logger.debug("agent %s opens no stream: %r", agent.peer, exc)
            agents.remove(agent)
        raise ConnectionRefusedError(self._why_none())

    def _choose(self, agents: list[Agent]) -> Agent:
        if len(agents) == 1:
            return agents[0]
        now = self._now()
        ranks = [_rank(agent, now) for agent in agents]
        first = min(ranks)
        best = [agent for agent, rank in zip(agents, ranks, strict=True) if rank == first]
        if self.name is None:
            return best[-1]
        return min(sample(best, min(2, len(best))), key=lambda agent: len(agent.passages))

    def doubt(self, passage: Passage, failure: BaseException | None) -> None:
        """The agent of ``passage``, which ended so, took no caller; others go first for a moment."""
        passage.agent.doubted_until = self._now() + DOUBT
        if self.name is not None and passage.found_nobody(failure):
            self._beyond.lost(self.name, passage.agent)

    def _why_none(self) -> str:
        if self.agents:
            return "No connected agent takes more connections."
        if self.name is None:
            return "No agent is connected to this gateway."
        return f"No agent serves {self.name} now."


def _rank(agent: Agent, now: float) -> tuple[bool, bool, int, bool]:
    """Who has the lower one goes first."""
    is_doubted = agent.doubted_until > now
    return agent.is_suspect, is_doubted, agent.distance, not agent.session.heard


class Destinations:
    """All destinations of a gateway, and who serves which.

    :param now: the time, in seconds, also where no task runs.
    :param beyond: who else may serve them, and is told what is served here.
    """

    def __init__(self, now: Callable[[], float], beyond: Beyond = ALONE) -> None:
        self._now = now
        self._beyond = beyond
        self.nameless = Destination(None, now)
        self._named: dict[str, Destination] = {}  # published, or with an agent
        self._held: WeakValueDictionary[str, Destination] = WeakValueDictionary()  # by anybody
        self._published: set[str] = set()
        self._of: dict[Agent, list[Destination]] = {}

    def publish(self, name: str | None) -> Destination:
        """Where the callers of a door are led, from now on; None: those of no name."""
        if name is None:
            return self.nameless
        self._published.add(name)
        return self._of_name(name)

    def _of_name(self, name: str) -> Destination:
        destination = self._named.get(name)
        if destination is None:
            destination = self._named[name] = self._hold(name)
        return destination

    def _hold(self, name: str) -> Destination:
        destination = self._held.get(name)
        if destination is None:
            destination = self._held[name] = Destination(name, self._now, self._beyond)
        return destination

    def served(self, name: str) -> Destination | None:
        """That of ``name``, if anybody may serve it; asking keeps nothing."""
        destination = self._named.get(name)
        if destination is None and self._beyond.is_there:
            return self._hold(name)
        if destination is not None and (destination.agents or self._beyond.is_there):
            return destination
        return None

    def served_here(self, name: str) -> Destination | None:
        """That of ``name``, if an agent of this gateway serves it."""
        destination = self._named.get(name)
        return destination if destination is not None and destination.agents else None

    def names(self) -> list[str]:
        """What is published or served, in order."""
        return sorted(self._named)

    def serving(self) -> list[tuple[str, list[Agent]]]:
        """Who serves each of them, that without a name first."""
        named = [(name, self._named[name].agents) for name in self.names()]
        return [("", self.nameless.agents), *named]

    def has(self, agent: Agent) -> bool:
        """Whether ``agent`` serves anything."""
        return bool(self._of.get(agent))

    def owned(self, agent: Agent, names: Collection[str]) -> list[str]:
        """Those of ``names`` that an agent other than ``agent`` serves alone, here or at another gateway."""
        return [name for name in names if self._is_owned(agent, name)]

    def _is_owned(self, agent: Agent, name: str) -> bool:
        owner = self._named[name].owner if name in self._named else None
        return owner is not agent and (owner is not None or self._beyond.has_alone(name))

    def join(self, agent: Agent, name: str | None) -> None:
        """``agent`` serves ``name`` too."""
        if name is None:
            destination = self.nameless
        else:
            destination = self._of_name(name)
            destination.speak_http = False  # it may be another application
        destination.agents.append(agent)
        self._of.setdefault(agent, []).append(destination)
        self._tell(destination)

    def _tell(self, destination: Destination) -> None:
        if destination.name is not None:
            self._beyond.serve(destination.name, len(destination.agents))

    def newer(self, agent: Agent, names: Collection[str], age: float) -> dict[str, Agent]:
        """Who serves those of ``names`` alone, of the agents here but ``agent``, and came after that had them last, ``age`` seconds ago."""
        since = self._now() - age + UNHEARD
        found = [self._named[name] for name in names if name in self._named]
        return {
            str(one.name): one.owner
            for one in found
            if one.owner not in (None, agent) and one.owned_since > since
        }

    def own(self, agent: Agent, name: str, age: float = 0.0) -> list[Agent]:
        """``agent``, which serves ``name``, does so alone; the others lose it.

        :param age: the seconds for which it has had it, as far as others are newer.
        :returns: those others.
        """
        destination = self._named[name]
        others = self._leave_to(destination, agent)
        destination.owned_since = self._now() - age
        self._beyond.claim(name, max(0.0, age - UNHEARD))
        return others

    def lose(self, name: str) -> list[Agent]:
        """An agent of another gateway serves ``name`` alone.

        :returns: those who served it here.
        """
        destination = self._named.get(name)
        if destination is None or not destination.agents:
            return []
        others = self._leave_to(destination, None)
        if name not in self._published:
            del self._named[name]
        return others

    def _leave_to(self, destination: Destination, owner: Agent | None) -> list[Agent]:
        others = [other for other in destination.agents if other is not owner]
        for other in others:
            destination.agents.remove(other)
            self._of[other].remove(destination)
        destination.owner = owner
        self._tell(destination)
        return others

    def leave(self, agent: Agent) -> None:
        """``agent`` serves nothing from here on; callers that it has go on."""
        for destination in self._of.pop(agent, ()):
            destination.agents.remove(agent)
            self._tell(destination)
            name = destination.name
            if name is not None and destination.owner is agent:
                destination.owner = None
                self._beyond.release(name)
            if name is not None and not destination.agents and name not in self._published:
                del self._named[name]

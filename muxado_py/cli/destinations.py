"""Destinations: where the callers of a door are led.

What it is.  A destination is a name and the agents that serve it; the one without a name has the agents that
registered none.

Which agent.  The one that connected last; an older one if that opens no more streams.  A new agent
thus takes over from the one it replaces, and an agent that came back after its network failed takes
over from its own dead session, which the gateway may not have noticed yet.  A connection that never
sent a frame comes last: it may be a Go agent, which says nothing until it is asked, or a port scan.

The rule.  Whatever is wrong with one agent, the next is asked.

The trap.  A door is there when nobody serves its name, and so is its destination; one that nobody publishes goes with
its last agent, or names that peers make up would be kept for ever.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from .agent import Agent, Passage

__all__ = ("Destination", "Destinations")

logger = logging.getLogger("muxado.cli")


class Destination:
    """A name and who serves it.

    :param name: None for those agents that registered none.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self.agents: list[Agent] = []
        """The newest last."""
        self.speak_http = False
        """Whether the last answer was one of HTTP/1, where nobody waits for the server's first word."""

    def dial(self, tried: Collection[Agent] = ()) -> Passage:
        """A passage to an agent that is not among ``tried``.

        :raises ConnectionRefusedError: if none opens a stream.
        """
        newest_first = [agent for agent in reversed(self.agents) if agent not in tried]
        for agent in sorted(newest_first, key=lambda agent: not agent.session.heard):
            try:
                return agent.open()
            except Exception as exc:  # noqa: BLE001 - it is that agent's trouble, not the caller's
                logger.debug("agent %s opens no stream: %r", agent.peer, exc)
        raise ConnectionRefusedError(self._why_none())

    def _why_none(self) -> str:
        if self.agents:
            return "No connected agent takes more connections."
        if self.name is None:
            return "No agent is connected to this gateway."
        return f"No agent serves {self.name} now."


class Destinations:
    """All destinations of a gateway, and who serves which."""

    def __init__(self) -> None:
        self.nameless = Destination()
        self._named: dict[str, Destination] = {}
        self._published: set[str] = set()
        self._of: dict[Agent, list[Destination]] = {}

    def publish(self, name: str | None) -> Destination:
        """Where the callers of a door are led, from now on; None: those of no name."""
        if name is None:
            return self.nameless
        self._published.add(name)
        return self._named.setdefault(name, Destination(name))

    def names(self) -> list[str]:
        """What is published or served, in order."""
        return sorted(self._named)

    def join(self, agent: Agent, name: str | None) -> None:
        """``agent`` serves ``name`` too."""
        if name is None:
            destination = self.nameless
        else:
            destination = self._named.setdefault(name, Destination(name))
            destination.speak_http = False  # it may be another application
        destination.agents.append(agent)
        self._of.setdefault(agent, []).append(destination)

    def leave(self, agent: Agent) -> None:
        """``agent`` serves nothing from here on; callers that it has go on."""
        for destination in self._of.pop(agent, ()):
            destination.agents.remove(agent)
            name = destination.name
            if name is not None and not destination.agents and name not in self._published:
                del self._named[name]

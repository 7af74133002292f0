"""Holdings: what the holder of each token or certificate has here at once, and how much that may be.

What it is.  Sessions come from agents and from those who call; whose they are says the token that they show, or else their
certificate.  A :class:`~..trust.holding.Holding` stands for one holder, and counts the callers that come to its agents or by its
sessions.  So who floods the gateway, with a token that is good, uses up what is his, and nothing of the others'.

The rules.  What a token says of itself (:class:`~..trust.permits.Bounds`) goes before what the gateway says for all.  Those who show
nothing have one holding together.  Where there is no room for a session, one that does not answer makes some: nobody shall
wait for his own dead session.  Where there is no room for a caller, another holder's agent is asked, as if this one's took none.

The traps.  A holding goes with its last session, or names that somebody signs would be kept for ever.  And a session that
nobody calls is never suspected (:mod:`.suspicion`): so who finds no room has some of them asked, and comes again.
"""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING

from ..trust.holding import Holding
from ..trust.permits import Bounds
from .registration import TryLater

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .agent import Agent

__all__ = ("DEFAULT_BOUNDS", "Holdings")

logger = logging.getLogger("muxado.cli")

DEFAULT_BOUNDS = Bounds(sessions=1000)
"""Of each holder, where neither its token nor the gateway says another number: agents of one token are a fleet, often."""

RETRY_AFTER = 5.0
"""Seconds until who found no room for a session may come again: longer than it takes to suspect one."""

MAX_ASKED = 8
"""Sessions that are asked whether they answer, for one that finds no room; the next one has others asked."""


class Holdings:
    """Those of all holders.

    :param bounds: of each of them, where a token does not say otherwise.
    """

    def __init__(self, bounds: Bounds = DEFAULT_BOUNDS) -> None:
        self._bounds = bounds
        self._holdings: dict[Hashable, Holding] = {}
        self._sessions: dict[Holding, dict[Agent, None]] = {}  # who was asked last is last

    def __len__(self) -> int:
        return len(self._holdings)

    def enter(self, agent: Agent) -> None:
        """``agent``, whose permit is known, is one of its holder's.

        :raises TryLater: if that has as many as it may have, and all of them answer.
        """
        key = _holder(agent)
        holding = self._holdings.get(key)
        if holding is None:
            holding = Holding(key, self._bounds)
        sessions = self._sessions.get(holding, {})
        most = holding.most_sessions(agent.permit)
        staying = sum(one.moving is None for one in sessions)  # who moves may move to here
        if agent not in sessions and most is not None and staying >= most:
            self._make_room(sessions, agent, most)
        self.leave(agent)
        self._holdings[key] = holding
        self._sessions[holding] = sessions
        sessions[agent] = None
        agent.holding = holding

    def _make_room(self, sessions: dict[Agent, None], newcomer: Agent, most: int) -> None:
        for other in sessions:
            if other.is_suspect:
                logger.warning(
                    "agent %s is cut off: it does not answer, and %s takes its place",
                    other.peer,
                    newcomer.peer,
                )
                self.leave(other)
                other.session.abort()
                return
        for other in list(islice(sessions, MAX_ASKED)):
            other.was_dialed()
            sessions[other] = sessions.pop(other)
        whose = "who shows no token" if newcomer.holder is None else newcomer.holder
        raise TryLater(f"{whose} has {most} session(s) here, and may have no more", RETRY_AFTER)

    def leave(self, agent: Agent) -> None:
        """``agent`` is nobody's any more; what it has of callers is counted until they have left."""
        holding = agent.holding
        if holding is None:
            return
        agent.holding = None
        sessions = self._sessions[holding]
        del sessions[agent]
        if not sessions:
            del self._sessions[holding]
            del self._holdings[holding.key]


def _holder(agent: Agent) -> Hashable:
    """Whose it is: by name, as in the log; a certificate without one is its own holder."""
    if agent.holder is None and agent.certificate is not None:
        return agent.certificate.serial
    return agent.holder

"""Holding: what one holder of a token or certificate has of the gateway, and how much that may be.

What it is.  The count of one holder's callers, which each of its agents has at hand; :mod:`..agents.holdings` has them all, and
counts sessions.

The rule.  A permit that says a number goes before what the gateway says for all.

The trap.  A caller is counted where it came: whoever counts one keeps the holding, since its agent may be somebody else's by
the time when it leaves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .permits import Bounds, Permit

__all__ = ("Holding",)


class Holding:
    """What one holder has.

    :param key: whose it is.
    :param bounds: how much that may be, where a permit does not say.
    """

    __slots__ = ("_bounds", "callers", "key")

    def __init__(self, key: Hashable, bounds: Bounds) -> None:
        self.key = key
        self._bounds = bounds
        self.callers = 0
        """That come to its agents, or by its sessions."""

    def takes_caller(self, permit: Permit | None) -> bool:
        """Whether there is room for one more, of an agent that has ``permit``."""
        most = None if permit is None else permit.bounds.callers
        if most is None:
            most = self._bounds.callers
        return most is None or self.callers < most

    def most_sessions(self, permit: Permit | None) -> int | None:
        """How many sessions it may have, by ``permit``; None: any number."""
        most = None if permit is None else permit.bounds.sessions
        return self._bounds.sessions if most is None else most

    def session_ttl(self, permit: Permit | None) -> float:
        """Seconds that one of them lasts, by ``permit``."""
        seconds = None if permit is None else permit.bounds.session_ttl
        if seconds is None:
            seconds = self._bounds.session_ttl
        return math.inf if seconds is None else seconds

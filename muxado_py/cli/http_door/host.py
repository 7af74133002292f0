"""Host: what all callers of an HTTP door have in common, and how one of them goes from callbacks to a task.

What it is.  The names, the limits, and what is bounded for all of them together.  A caller tells its host when it waits
for nothing but its next request, since those that wait make room for others (:mod:`.guests`).

The rule.  What goes over to a task is all of it: what the caller has said, and the request that an agent has, with what that was
sent and has said.  So nothing is lost or said twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from ...service.retry_budget import RetryBudget
from .fronts import Fronts
from .rates import Rates

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..callers.kept import Kept
    from .asked import Asked
    from .limits import Limits
    from .routes import Routes

__all__ = ("Guest", "Host", "TakenOver")


class Host:
    """What all conversations of a door have in common.

    :param now: the time, in seconds, also where no task runs.
    :param scheme: what callers speak, ``http`` or ``https``.
    :param fronts: the proxies that are trusted.
    """

    def __init__(
        self,
        routes: Routes,
        kept: Kept,
        limits: Limits,
        now: Callable[[], float],
        scheme: str = "http",
        fronts: Fronts | None = None,
    ) -> None:
        self.now = now
        self.routes = routes
        self.kept = kept
        self.limits = limits
        self.rates = Rates(limits.caller_rate, limits.name_rate, now)
        self.budget = RetryBudget(now)
        self.scheme = scheme
        self.fronts = fronts or Fronts()
        self.is_draining = False
        """Whether each answer is the last of its connection, and says so."""

    def waits(self, guest: Guest) -> None:
        """It has no request, from now on."""

    def asks(self, guest: Guest) -> None:
        """It has one."""


class Guest(Protocol):
    """A caller, as its host sees it."""

    stops: bool
    """Whether it has no further requests."""

    def let_go(self, why: str) -> None:
        """End it if it has no request, and after the one that it has."""


class TakenOver(NamedTuple):
    """What a conversation goes on from."""

    said: bytes
    """What the caller said that nobody has taken."""
    has_ended: bool
    """Whether it says no more."""
    asked: Asked | None = None
    """Its request, if an agent has that."""

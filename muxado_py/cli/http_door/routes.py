"""Routes: which name a request asks for.

What it is.  The first label of Host, below the domain of the door, is the name: ``blog.example.org`` leads to those that
serve ``blog``.

The rule.  Only what is exactly a name below the domain is one; anything else is not found, and leads to nobody else.

The trap.  Callers make up names.  So nothing is kept for a name that nobody serves.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ..trust.names import check_name
from .fields import BadMessage

if TYPE_CHECKING:
    from ..agents.agents import Agents
    from ..agents.destinations import Destination

__all__ = ("Routes",)


class Routes:
    """The names below ``domain``."""

    def __init__(self, domain: str, agents: Agents) -> None:
        self.domain = domain
        self._agents = agents
        self._below = "." + domain

    def name(self, host: bytes) -> str | None:
        """What a request with this Host is for; None: nothing that is here."""
        name = host.decode().lower().partition(":")[0].removesuffix(".")
        if name.endswith(self._below):
            with suppress(ValueError):
                return check_name(name.removesuffix(self._below))
        return None

    def find(self, name: str | None) -> Destination:
        """Where a request for this :meth:`name` goes.

        :raises BadMessage: 404 or 503.
        """
        if name is None:
            raise BadMessage(404, f"Here are the hosts NAME.{self.domain}, and not this one.")
        destination = self._agents.served(name)
        if destination is None:
            raise BadMessage(503, f"No agent serves {name} now.")
        return destination

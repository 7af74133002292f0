"""Routes: which name a request asks for.

What it is.  The first label of Host, below the domain of the door, is the name: ``blog.example.org`` leads to those that
serve ``blog``.

The rule.  Only what is exactly a name below the domain is one; anything else is not found, and leads to nobody else.

The trap.  Callers make up names.  So nothing is kept for a name that nobody serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..names import check_name
from .fields import BadMessage

if TYPE_CHECKING:
    from ..agents import Agents
    from ..destinations import Destination

__all__ = ("Routes",)


class Routes:
    """The names below ``domain``."""

    def __init__(self, domain: str, agents: Agents) -> None:
        self.domain = domain
        self._agents = agents
        self._below = "." + domain

    def find(self, host: bytes) -> Destination:
        """Where a request with this Host goes.

        :raises BadMessage: 404 or 503.
        """
        name = self._name(host.decode())
        destination = self._agents.served(name)
        if destination is None:
            raise BadMessage(503, f"No agent serves {name} now.")
        return destination

    def _name(self, host: str) -> str:
        name = host.lower().partition(":")[0].removesuffix(".")
        if name.endswith(self._below):
            try:
                return check_name(name.removesuffix(self._below))
            except ValueError:
                pass
        raise BadMessage(404, f"Here are the hosts NAME.{self.domain}, and not this one.")

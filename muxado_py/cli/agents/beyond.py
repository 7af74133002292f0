"""Beyond: who else may serve a name, where agents of other gateways can be reached.

What it is.  What a destination asks when nobody here takes a caller.  A gateway that is alone has nobody to ask; one of
several has a :class:`~muxado_py.cli.cluster.cluster.Cluster`.

The rule.  Who is known is known at once, and asked like any agent here, after those.  Only where nobody is known anybody waits.

The trap.  Names are made up by callers: nothing may be kept for each that is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from .agent import Agent
    from .registration import Hop

__all__ = ("Alone", "Beyond")


class Beyond(Protocol):
    """The other gateways."""

    is_there: bool
    """Whether a name that nobody serves here may be served elsewhere."""

    def agents(self, name: str) -> Sequence[Agent]:
        """Those gateways that are known to serve ``name`` and can be asked now."""

    async def seek(self, name: str, tried: Collection[Agent]) -> bool:
        """Find more of them than there are in ``tried``, or wait for agents here; no: there are none.

        It takes a while where agents may be on their way.

        Cancellation: safe.
        """

    def lost(self, name: str, agent: Agent) -> None:
        """``agent``, which is another gateway, has nobody for ``name``."""

    def serve(self, name: str, count: int) -> None:
        """So many agents serve ``name`` here."""

    def claim(self, name: str, age: float) -> None:
        """An agent here serves ``name`` alone, and has for ``age`` seconds: whoever has elsewhere for longer loses it."""

    def release(self, name: str) -> None:
        """It does not any more."""

    def has_alone(self, name: str) -> bool:
        """Whether an agent elsewhere serves ``name`` alone, as far as it is known."""

    def when_taken(self, told: Callable[[str], None]) -> None:
        """``told`` is called with each name that an agent elsewhere serves alone, which agents here lose."""

    def may_hop(self, hop: Hop) -> str | None:
        """Why a gateway may not lead its callers here; None if it may."""


class Alone(Beyond):
    """No others."""

    is_there = False

    def agents(self, name: str) -> Sequence[Agent]:
        return ()

    async def seek(self, name: str, tried: Collection[Agent]) -> bool:
        return False

    def lost(self, name: str, agent: Agent) -> None:
        pass

    def serve(self, name: str, count: int) -> None:
        pass

    def claim(self, name: str, age: float) -> None:
        pass

    def release(self, name: str) -> None:
        pass

    def has_alone(self, name: str) -> bool:
        return False

    def when_taken(self, told: Callable[[str], None]) -> None:
        pass

    def may_hop(self, hop: Hop) -> str | None:
        return "this gateway is alone: it has no --registry"

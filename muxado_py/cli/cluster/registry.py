"""Registry: where gateways say what they are and what they serve, and learn it of each other.

What it is.  A few questions and answers, and nothing of who answers: :mod:`.memory` for gateways in one process,
:mod:`.redis` for those on many machines.

The rules.  Everything here may be said twice, and means the same then; so nothing is lost by saying it again when nobody
knows whether it was heard.  A lease ends by itself.  What is served by a node without a lease is served by nobody.

The trap.  An answer is what somebody said some time ago.  Only the node itself knows what it serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .nodes import Node

__all__ = ("RefusedError", "Registry", "RegistryError")


class RegistryError(ConnectionError):
    """The registry does not answer, or not in time."""


class RefusedError(RegistryError):
    """The registry answers, and does not do what it was asked: it is full, say, or what stands there is nobody's of us."""


class Registry(Protocol):
    """What gateways have in common.  Each method raises :class:`RegistryError`; cancellation: it may have been heard."""

    async def beat(self, node: Node, seconds: float) -> bool:
        """``node`` is there, and so for ``seconds`` from now on.

        :returns: whether its lease was known; no: it is new, or everything of it was forgotten.
        """

    async def nodes(self) -> dict[str, Node]:
        """Those that have a lease, by their ids."""

    async def leave(self, node: Node) -> None:
        """``node`` is not there any more."""

    async def serve(self, node: Node, counts: Mapping[str, int]) -> None:
        """``node`` has so many agents for each of these names; 0: it does not serve it any more."""

    async def serving(self, name: str) -> dict[str, int]:
        """How many agents each node, by its id, said that it has for ``name``; it may have no lease."""

    async def claim(self, node_id: str, name: str, age: float) -> str:
        """An agent of that node serves ``name`` alone, and came ``age`` seconds ago.

        :returns: the id of the node whose agent does so, which is the one that came last.
        """

    async def owners(self) -> dict[str, str]:
        """Which node's agent serves a name alone, for each such name; the node may have no lease."""

    async def release(self, node_id: str, name: str) -> None:
        """No agent of that node serves ``name`` alone any more."""

    async def forget(self, name: str, node_ids: Collection[str]) -> None:
        """Those nodes, which are gone, do not serve ``name``."""

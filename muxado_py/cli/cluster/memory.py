"""A registry in memory: for gateways in one process, and to know what every registry does.

What it is.  Three dictionaries.  All gateways of a cluster are given the same one.

The rule.  It does what the one on Redis does, and the same tests say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint

from .registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from .nodes import Node

__all__ = ("MemoryRegistry",)


class MemoryRegistry(Registry):
    """What gateways of one process have in common.

    :param now: the time, in seconds.
    """

    def __init__(self, now: Callable[[], float] = anyio.current_time) -> None:
        self._now = now
        self._leases: dict[str, tuple[Node, float]] = {}
        self._names: dict[str, dict[str, int]] = {}
        self._owners: dict[str, tuple[float, str]] = {}

    async def beat(self, node: Node, seconds: float) -> bool:
        await checkpoint()
        was_known = node.id in await self.nodes()
        self._leases[node.id] = node, self._now() + seconds
        return was_known

    async def nodes(self) -> dict[str, Node]:
        await checkpoint()
        now = self._now()
        return {node.id: node for node, until in self._leases.values() if until > now}

    async def leave(self, node: Node) -> None:
        await checkpoint()
        self._leases.pop(node.id, None)

    async def serve(self, node: Node, counts: Mapping[str, int]) -> None:
        await checkpoint()
        for name, count in counts.items():
            if count:
                self._names.setdefault(name, {})[node.id] = count
            else:
                self._drop(name, node.id)

    async def serving(self, name: str) -> dict[str, int]:
        await checkpoint()
        return dict(self._names.get(name, {}))

    async def claim(self, node_id: str, name: str, age: float) -> str:
        await checkpoint()
        mine = self._now() - age, node_id
        self._owners[name] = max(self._owners.get(name, mine), mine)
        return self._owners[name][1]

    async def owners(self) -> dict[str, str]:
        await checkpoint()
        return {name: node_id for name, (_, node_id) in self._owners.items()}

    async def release(self, node_id: str, name: str) -> None:
        await checkpoint()
        if self._owners.get(name, (0, ""))[1] == node_id:
            del self._owners[name]

    async def forget(self, name: str, node_ids: Collection[str]) -> None:
        await checkpoint()
        for node_id in node_ids:
            self._drop(name, node_id)

    def clear(self) -> None:
        """Forget everything, as a server does that starts anew."""
        self._leases.clear()
        self._names.clear()
        self._owners.clear()

    def _drop(self, name: str, node_id: str) -> None:
        counts = self._names.get(name, {})
        counts.pop(node_id, None)
        if not counts:
            self._names.pop(name, None)

"""Directory: the other gateways, as far as this one knows them.

What it is.  What the registry said last.  While it does not answer that stays as it is.

The rules.  A registry that has just come back may have forgotten everything, and hears it again from each gateway only with
its next beat, and what that serves a moment later.  So for :data:`DISTRUST` what it does *not* say proves nothing: who was there stays, and a name that nobody
is said to serve is asked for at the gateways themselves.

The trap.  What is left over in a registry of gateways that are gone is taken away by those who see it, and a gateway that
only paused comes back.  So nobody counts as gone before it was missed for a lease's time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .nodes import Node

__all__ = ("DISTRUST", "Directory")

DISTRUST = 5.0
"""Seconds: a beat of every gateway, which may be a tenth late, and time to say what it serves."""

GONE_AFTER = 9.0
"""Seconds for which a node must have been missed."""

MAX_MISSED = 1_000
"""Nodes that are missed; more are not noted."""


class Directory:
    """The nodes that are there.

    :param own_id: that of this gateway, which is none of the others.
    :param now: the time, in seconds.
    """

    def __init__(self, own_id: str, now: Callable[[], float]) -> None:
        self._own_id = own_id
        self._now = now
        self._distrusted_until = 0.0
        self._missed: dict[str, float] = {}
        self.nodes: dict[str, Node] = {}
        """The others, by their ids."""
        self.is_read = False
        """Whether the registry has ever said who is there."""

    @property
    def is_distrusted(self) -> bool:
        """Whether what the registry does not say proves nothing."""
        return self._now() < self._distrusted_until

    def distrust(self) -> None:
        """The registry may have forgotten."""
        self._distrusted_until = self._now() + DISTRUST

    def read(self, nodes: dict[str, Node]) -> None:
        """The registry says that these are there."""
        self.is_read = True
        others = {node_id: node for node_id, node in nodes.items() if node_id != self._own_id}
        self.nodes = {**self.nodes, **others} if self.is_distrusted else others
        for node_id in others:
            self._missed.pop(node_id, None)

    def are_missed(self, node_ids: Iterable[str]) -> bool:
        """Whether ``node_ids`` are not there, and that is nothing new."""
        is_full = len(self._missed) >= MAX_MISSED
        return is_full or all(node_id in self._missed for node_id in node_ids)

    def gone(self, node_ids: Iterable[str]) -> list[str]:
        """Those of ``node_ids`` that have been missed for long; the others are noted."""
        now = self._now()
        found = []
        for node_id in node_ids:
            if node_id in self.nodes or node_id == self._own_id:
                continue
            if node_id not in self._missed and len(self._missed) < MAX_MISSED:
                self._missed[node_id] = now
            elif now - self._missed.get(node_id, now) >= GONE_AFTER:
                found.append(node_id)
        for node_id in found:
            del self._missed[node_id]
        return found

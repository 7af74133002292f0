"""Nodes: what gateways say of themselves to each other, and under which keys a registry has it.

What it is.  A *node* is one gateway from its start to its end: one that starts again is another node, with another id.
So nothing that was said of the old one is ever true of the new one.

The keys.  Each command names one of them, so that a server that shards needs nothing of us.  A node has its record for
as long as its lease, a name a count of agents for each node that serves it.

The trap.  A registry is shared: what is read may be of another version, or of nobody's making.  Records that cannot be read
are nodes that are not there, and never an error.
"""

from __future__ import annotations

import json
import secrets
from typing import NamedTuple

from ...dialing.schemes import parse_url

__all__ = ("NODES", "OWNERS", "Node", "name_key", "new_id", "node_key")

VERSION = 1
PREFIX = f"mx:{VERSION}:"

NODES = f"{PREFIX}nodes"
"""The ids of all nodes, some of which may be gone."""

OWNERS = f"{PREFIX}owners"
"""For each name that an agent serves alone since when that is so, in microseconds of the server's clock, and the id of its node."""

MAX_RECORD = 1024
"""Bytes of a node's record."""


def node_key(node_id: str) -> str:
    """Where the record of a node is, while it has its lease."""
    return f"{PREFIX}node:{node_id}"


def name_key(name: str) -> str:
    """Where it is said which nodes serve ``name``."""
    return f"{PREFIX}name:{name}"


def new_id() -> str:
    """That of a node that starts now."""
    return secrets.token_hex(8)


class Node(NamedTuple):
    """One gateway, as it says itself."""

    id: str
    url: str
    """Where others reach it."""
    is_draining: bool = False
    """Whether it is about to end, and others go first."""

    def record(self) -> str:
        """As a registry has it."""
        said = {"url": self.url, "state": "draining" if self.is_draining else "active"}
        return json.dumps(said, separators=(",", ":"))

    @classmethod
    def parse(cls, node_id: str, record: str) -> Node:
        """What a registry has of it.

        :raises ValueError: if it is no record of this version's.
        """
        try:
            said = json.loads(record) if len(record) <= MAX_RECORD else None
        except RecursionError:
            said = None
        if not isinstance(said, dict) or not isinstance(url := said.get("url"), str):
            raise ValueError(f"the node {node_id} has no record that could be read")
        parse_url(url)
        return cls(node_id, url, said.get("state") == "draining")

"""Introductions: what an agent is told of a caller, in the metadata of its stream.

What it is.  Who calls, and which name was asked for.  The keys stand in docs/protocol.md.

The rule.  Both are the gateway's own knowledge: the address is that of the connection's peer, and nothing that a caller says
comes in here, unless that is a proxy which is trusted (:mod:`..http_door.fronts`).  A caller by a stream has the address of its
session (:mod:`~muxado_py.session.caller_address`); what another gateway says of its callers is passed on
(:mod:`..cluster.hops`).

The trap.  A connection may be gone by now, and with it its address; its caller is led on all the same, for what it said
may be here already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio.abc import SocketAttribute

from ...links.attributes import asked
from ...runtime.plain_sockets import PlainSocket
from ...session.caller_address import CALLER, written_caller

if TYPE_CHECKING:
    from anyio.abc import ByteStream

__all__ = ("NAME", "introduce")

NAME = "name"
"""The key of the name that was asked for, which the caller's destination knows."""


def introduce(connection: ByteStream) -> dict[str, bytes]:
    """Who calls by ``connection``; nothing, if that has no address."""
    # Of each caller of a door, so without a step between.
    if isinstance(connection, PlainSocket):
        try:
            address = connection.raw_socket.getpeername()
        except OSError:  # it is gone
            return {}
        if type(address) is tuple and len(address) == 2:
            # Of IPv4, which the kernel writes as it is said.
            return {CALLER: f"{address[0]}:{address[1]}".encode()}
    else:
        address = asked(connection, SocketAttribute.remote_address)
    caller = written_caller(address)
    return {} if caller is None else {CALLER: caller}

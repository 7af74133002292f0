"""Binding: a listening socket at an address that somebody wrote, TCP or Unix.

The rule.  What is bound knows its real address: who wrote port 0 is told which it became.

The trap.  A Unix socket is a file: whoever closes what is bound removes the path too, and one that a killed process left
behind is taken over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anyio
from anyio.abc import SocketAttribute, SocketListener

from ..dialing.unix_paths import UnixPath
from .options import Address, UnixAddress

if TYPE_CHECKING:
    from anyio.abc import Listener, SocketStream

__all__ = ("Bound", "bind")


class Bound(NamedTuple):
    """A socket that listens."""

    address: Address | UnixAddress
    """Where it is, with the port that it got."""
    listener: Listener[SocketStream]
    path: UnixPath | None
    """What is to be removed with it."""


async def bind(address: Address | UnixAddress) -> Bound:
    """Listen at ``address``.

    :raises OSError: if that is not possible.
    """
    if isinstance(address, UnixAddress):
        path = UnixPath(address.path)
        return Bound(address, await SocketListener.from_socket(path.socket), path)
    listener = await anyio.create_tcp_listener(
        local_host=address.host or None, local_port=address.port
    )
    port = listener.extra(SocketAttribute.local_port)
    return Bound(address._replace(port=port), listener, None)

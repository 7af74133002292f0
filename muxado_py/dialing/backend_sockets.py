"""Which sockets, and so which link, the running backend has: chosen here, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..runtime.checkpoints import event_loop
from .anyio_sockets import AnyioSockets
from .asyncio_sockets import AsyncioSockets

if TYPE_CHECKING:
    from .anyio_sockets import Sockets

__all__ = ("sockets_here",)


def sockets_here() -> Sockets[Any]:
    """What makes connections here: the asyncio link's, or anyio's for the generic link."""
    return AnyioSockets() if event_loop() is None else AsyncioSockets()

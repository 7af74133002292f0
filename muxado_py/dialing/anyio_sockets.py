"""Sockets: who makes connections for ``connect`` and ``listen``; and the one that uses anyio's, on any backend.

The other is :mod:`~muxado_py.dialing.asyncio_sockets`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from anyio import connect_tcp
from anyio.abc import SocketStream

from ..runtime.accept_loop import AcceptingListener
from ..runtime.connecting import connect_unix
from .pending import AnyioPending

if TYPE_CHECKING:
    from anyio.abc import Listener

    from .pending import PendingConnection

__all__ = ("AnyioSockets", "Sockets")

Accepted = TypeVar("Accepted")


class Sockets(ABC, Generic[Accepted]):
    """Makes connections; what a listener accepts is an ``Accepted`` first."""

    @abstractmethod
    async def dial_tcp(self, host: str, port: int) -> PendingConnection:
        """A connection to the first address of ``host`` that answers.

        :raises OSError: if none does.
        """

    @abstractmethod
    async def dial_unix(self, path: str) -> PendingConnection:
        """A connection to a Unix socket.

        :raises OSError: if no process listens there.
        """

    @abstractmethod
    async def connected(self, sock: Any) -> PendingConnection:
        """The connection over a connected socket: the standard library's, or trio's on trio."""

    @abstractmethod
    def listener(self, bound: Listener[SocketStream]) -> Listener[Accepted]:
        """What accepts at the sockets of a listener of anyio's, and closes them."""

    @abstractmethod
    async def pending(self, accepted: Accepted) -> PendingConnection:
        """The connection of what was accepted, which is closed if none comes about."""


class AnyioSockets(Sockets["SocketStream"]):
    """anyio's; see :class:`Sockets`."""

    async def dial_tcp(self, host: str, port: int) -> PendingConnection:
        return AnyioPending(await connect_tcp(host, port))

    async def dial_unix(self, path: str) -> PendingConnection:
        return AnyioPending(await connect_unix(path))

    async def connected(self, sock: Any) -> PendingConnection:
        return AnyioPending(await SocketStream.from_socket(sock.detach()))

    def listener(self, bound: Listener[SocketStream]) -> Listener[SocketStream]:
        return AcceptingListener(bound, _accept)

    async def pending(self, accepted: SocketStream) -> PendingConnection:
        return AnyioPending(accepted)


async def _accept(listener: Listener[SocketStream]) -> SocketStream:
    # anyio's listeners of sockets can do this, and no type of anyio's says so.
    stream: SocketStream = await cast("Any", listener).accept()
    return stream

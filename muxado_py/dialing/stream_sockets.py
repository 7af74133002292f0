"""StreamSockets: connections by anyio's own sockets, for the generic link; and the interface.

What it is.  ``connect`` and ``listen`` ask a :class:`Sockets` for connections.  There are two: this
one, on any backend, and :mod:`~muxado_py.dialing.asyncio_sockets`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from anyio import connect_tcp, connect_unix

from ..runtime.accept_loop import AcceptingListener
from .connected import StreamConnected

if TYPE_CHECKING:
    from anyio.abc import Listener, SocketStream

    from .connected import Connected

__all__ = ("Sockets", "StreamSockets")

Accepted = TypeVar("Accepted")


class Sockets(ABC, Generic[Accepted]):
    """Makes connections; what a listener accepts is an ``Accepted`` first."""

    @abstractmethod
    async def dial_tcp(self, host: str, port: int) -> Connected:
        """A connection to the first address of ``host`` that answers.

        :raises OSError: if none does.
        """

    @abstractmethod
    async def dial_unix(self, path: str) -> Connected:
        """A connection to a Unix socket.

        :raises OSError: if nobody listens there.
        """

    @abstractmethod
    def listening(self, bound: Listener[SocketStream]) -> Listener[Accepted]:
        """What accepts at the sockets of a listener of anyio's, and closes them."""

    @abstractmethod
    async def accepted(self, one: Accepted) -> Connected:
        """The connection of what was accepted, which is closed if none comes about."""


class StreamSockets(Sockets["SocketStream"]):
    """anyio's; see :class:`Sockets`."""

    async def dial_tcp(self, host: str, port: int) -> Connected:
        return StreamConnected(await connect_tcp(host, port))

    async def dial_unix(self, path: str) -> Connected:
        return StreamConnected(await connect_unix(path))

    def listening(self, bound: Listener[SocketStream]) -> Listener[SocketStream]:
        return AcceptingListener(bound, _accept)

    async def accepted(self, one: SocketStream) -> Connected:
        return StreamConnected(one)


async def _accept(listening: Listener[SocketStream]) -> SocketStream:
    # It has the one method more, and no type of its own that says so.
    stream: SocketStream = await cast("Any", listening).accept()
    return stream

"""PendingConnection: a connection that has no session yet.

It has the options of its socket set, can do the handshakes of TLS and of a websocket, show the peer's first bytes, and make the link of a session, which begins with the peer's
first byte whatever was read before.  :class:`AnyioPending` is one over any anyio byte stream;
:mod:`~muxado_py.dialing.asyncio_sockets` has the other.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from anyio import BrokenResourceError, aclose_forcefully
from anyio.abc import SocketAttribute

from ..links.anyio_link import AnyioLink, checked
from ..links.attributes import peer_of, remembered
from ..links.codec_stream import CodecStream
from ..links.layers import pause_reading
from ..links.tcp_info import TcpInfo, least_unsent
from ..links.tls import TLSCodec
from ..runtime.congestion import unpaced_here

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from anyio.abc import ByteStream

    from ..config import Config
    from ..links.codec import Codec
    from ..links.link import Link
    from ..protocol.connection import Connection

__all__ = ("AnyioPending", "PendingConnection")


# Not every system has it.
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)


class PendingConnection(ABC):
    """What ``connect``, ``listen``, ``client`` and ``server`` make a session of."""

    @abstractmethod
    def raw_socket(self) -> socket.socket:
        """For socket options."""

    def set_socket_options(self, config: Config) -> None:
        """Those of a TCP socket; a Unix socket has none of them.

        :raises OSError: if the connection is gone.
        """
        raw = self.raw_socket()
        if raw.family not in (socket.AF_INET, socket.AF_INET6):
            return
        try:
            self._set_options(raw, config)
        except ValueError as exc:  # what a socket says that uvloop has closed
            raise ConnectionResetError("it ended before its session began") from exc

    def _set_options(self, raw: socket.socket, config: Config) -> None:
        # Small frames leave at once; and little waits in the kernel, where no priority can overtake it any more.
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if config.notsent_lowat is None:
            return  # what is dialed is as the system makes it
        unpaced_here(raw)
        if _NOTSENT_LOWAT is not None:
            mark = max(config.notsent_lowat, least_unsent(raw))
            raw.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, mark)

    @property
    @abstractmethod
    def peer(self) -> str:
        """Who is at the other end, for a log."""

    async def secure(
        self, context: ssl.SSLContext, *, server_side: bool, hostname: str | None = None
    ) -> None:
        """Do the TLS handshake; see :meth:`add_layer`.

        TLS is used without waiting for the peer's closing alert: muxado says goodbye by itself, so a
        cut is noticed anyway.
        """
        await self.add_layer(TLSCodec(context, server_side=server_side, hostname=hostname))

    @abstractmethod
    async def add_layer(self, codec: Codec) -> None:
        """Do the handshake of a protocol that all bytes go through from then on; the caller bounds it in time, and aborts if it failed.

        :raises OSError: what went wrong; ``ConnectionResetError`` if the peer ended it.
        """

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Say something before there is a session: a few bytes, which nothing waits for.

        :raises ConnectionResetError: if the connection is gone.
        """

    @abstractmethod
    async def peek(self) -> bytes:
        """Wait for more of what the peer says, which the link will receive all the same, or the next layer.

        :raises ~anyio.EndOfStream: if it says no more.
        :raises Exception: whatever the transport raises.

        Cancellation: nothing is lost.
        """

    @abstractmethod
    def discard(self, count: int) -> None:
        """The first ``count`` bytes of what was peeked are for nobody else."""

    @abstractmethod
    def link(self, connection: Connection, config: Config, changed: Callable[[], None]) -> Link:
        """Its link; a :class:`~muxado_py.links.link.LinkFactory`."""

    @abstractmethod
    async def abort(self) -> None:
        """Close it without a word."""


class AnyioPending(PendingConnection):
    """An anyio byte stream as a :class:`PendingConnection`."""

    def __init__(self, stream: ByteStream) -> None:
        # anyio's own sockets read ahead on asyncio, without bound, until the first receive().
        pause_reading(stream)
        self._stream = stream
        self._early = b""
        self._peeked = 0  # how many bytes of it

    def raw_socket(self) -> socket.socket:
        raw: socket.socket = self._stream.extra(SocketAttribute.raw_socket)
        return raw

    @property
    def peer(self) -> str:
        return peer_of(remembered(self._stream))

    async def add_layer(self, codec: Codec) -> None:
        layer = CodecStream(self._stream, codec)
        try:
            await layer.handshake(self._early)
        except BrokenResourceError as exc:
            raise ConnectionResetError(f"it ended during the {codec.name} handshake") from exc
        self._stream = layer
        self._early, self._peeked = b"", 0

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send(data)
        except BrokenResourceError as exc:
            raise ConnectionResetError("it ended before its session began") from exc

    async def peek(self) -> bytes:
        if self._peeked == len(self._early):
            self._early += checked(await self._stream.receive())
        data, self._peeked = self._early[self._peeked :], len(self._early)
        return data

    def discard(self, count: int) -> None:
        self._early, self._peeked = self._early[count:], 0

    def link(self, connection: Connection, config: Config, changed: Callable[[], None]) -> Link:
        return AnyioLink(self._stream, connection, changed, early=self._early, path=self._path())

    def _path(self) -> TcpInfo | None:
        """What the kernel knows, if there is a TCP socket below; a foreign transport may raise anything."""
        try:
            return TcpInfo.of(self._stream.extra(SocketAttribute.raw_socket))
        except Exception:  # noqa: BLE001 - and then it knows nothing
            return None

    async def abort(self) -> None:
        await aclose_forcefully(self._stream)

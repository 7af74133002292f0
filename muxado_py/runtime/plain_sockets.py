"""Plain sockets: accepted connections of which nothing is read that nobody asked for.

What it is.  A byte stream over a socket itself, for the gateway's doors and for ``dial_socket``.

Why not anyio's own.  On asyncio and uvloop those read from the moment they are accepted, and whenever they
read, as much as comes in that turn of the loop: with libuv up to 8 MiB.  Five hundred callers that send as fast
as they can would fill gigabytes before anybody looked at them.

The rule.  Try first, wait for the loop only if the kernel has nothing; then a caller costs what it is asked for.

How accepting is quick.  A connection that :func:`accept_now` took knows its peer from then on, and on Linux it has
``TCP_NODELAY`` from its listener (:func:`undelayed`): nothing of that is a call for each of them.

The trap.  No socket may be closed that the event loop still watches: who closes tells the loop, and
gives it a turn.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from anyio import (
    BrokenResourceError,
    BusyResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    notify_closing,
    wait_readable,
    wait_writable,
)
from anyio.abc import SocketAttribute, SocketStream
from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from typing import Any

    from anyio.abc import AsyncResource, Listener

__all__ = (
    "AcceptedSocket",
    "PlainSocket",
    "accept_now",
    "accept_plain",
    "is_reset_when_closed",
    "plain_socket",
    "reset_when_closed",
    "taken_over",
    "undelayed",
)

_INHERITS_NODELAY = sys.platform == "linux"  # tcp_create_openreq_child copies the listener
_LINGER_ZERO = struct.pack("ii" if os.name == "posix" else "hh", 1, 0)


class PlainSocket(SocketStream):
    """A connected socket as an anyio stream that reads nothing ahead.

    :param unread: what somebody else had read of it.
    """

    def __init__(self, sock: socket.socket, unread: bytes = b"") -> None:
        if sock.gettimeout() != 0.0:
            sock.setblocking(False)
        self._socket = sock
        self._unread = unread
        self._closed = False
        self._finished = False
        # Not guards of anyio's: each of most connections would pay for two that it never asks.
        self._receiving = False
        self._sending = False

    @property
    def raw_socket(self) -> socket.socket:
        """The socket itself, for who waits for it in another way, while no call here does."""
        return self._socket

    @property
    def _raw_socket(self) -> socket.socket:
        return self._socket

    def take_unread(self) -> bytes:
        """What is to be received before anything of the socket; for who reads that itself."""
        unread, self._unread = self._unread, b""
        return unread

    def put_back(self, data: bytes) -> None:
        """Receive ``data``, which was too much, once more before anything else; no call may be waiting."""
        self._unread = data + self._unread

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, got {max_bytes}")
        if self._receiving:
            raise BusyResourceError("reading from")
        self._receiving = True
        try:
            await checkpoint()
            while not self._closed:
                if self._unread:
                    data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
                    return data
                try:
                    data = self._socket.recv(max_bytes)
                except BlockingIOError:
                    await wait_readable(self._socket)
                except OSError as exc:
                    raise self._broken(exc) from exc
                else:
                    if data:
                        return data
                    raise EndOfStream
        finally:
            self._receiving = False
        raise ClosedResourceError

    async def send(self, item: bytes) -> None:
        self._begin_sending()
        try:
            await checkpoint()
            rest = memoryview(item)
            while True:
                if self._closed or self._finished:
                    raise ClosedResourceError
                if not rest:
                    return
                try:
                    rest = rest[self._socket.send(rest) :]
                except BlockingIOError:
                    await wait_writable(self._socket)
                except OSError as exc:
                    raise self._broken(exc) from exc
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        self._begin_sending()
        try:
            await checkpoint()
            if self._closed:
                raise ClosedResourceError
            while not self._finished:
                try:
                    self._socket.shutdown(socket.SHUT_WR)
                except BlockingIOError:  # of TLS, which has to say so
                    await wait_writable(self._socket)
                except OSError as exc:
                    raise self._broken(exc) from exc
                else:
                    self._finished = True
        finally:
            self._sending = False

    def _begin_sending(self) -> None:
        if self._sending:
            raise BusyResourceError("writing to")
        self._sending = True

    def _broken(self, exc: OSError) -> Exception:
        return ClosedResourceError() if self._closed else BrokenResourceError(str(exc))

    def close(self) -> None:
        """Like ``aclose``, for who has no task: no call may be waiting, and the loop may not watch the socket."""
        self._closed = True
        self._socket.close()

    def abort(self) -> None:
        """The same, and the peer is told that this did not end: it broke off."""
        with suppress(OSError):  # it is gone
            reset_when_closed(self._socket)
        self.close()

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            notify_closing(self._socket)
            with CancelScope(shield=True):
                await checkpoint()
            self._socket.close()
        await checkpoint()


def reset_when_closed(raw: socket.socket) -> None:
    """On TCP a close without this sends FIN; a Unix socket knows no other end."""
    if raw.family in (socket.AF_INET, socket.AF_INET6):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)


def is_reset_when_closed(raw: socket.socket) -> bool:
    """Whether somebody asked for that.

    :raises OSError: if the socket is closed.
    """
    if raw.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    return raw.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_LINGER_ZERO)) == _LINGER_ZERO


class AcceptedSocket(socket.socket):
    """A connection of a listener; its peer has the address with which it came, also when it is gone."""

    __slots__ = ("_peer",)

    _peer: Any

    def getpeername(self) -> Any:
        return self._peer


def undelayed(listening: socket.socket) -> tuple[int, int, int]:
    """Let what :func:`accept_now` takes of ``listening`` send at once, where that is inherited.

    :returns: what that function needs to know of it.
    """
    family, kind, proto = listening.family, listening.type, listening.proto
    if _INHERITS_NODELAY and family in (socket.AF_INET, socket.AF_INET6):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return int(family), int(kind), proto


def accept_now(listening: socket.socket, kind: tuple[int, int, int]) -> AcceptedSocket:
    """The next connection of ``listening``; what ``accept`` does, but for what it asks the listener each time.

    :param kind: what :func:`undelayed` gave.
    :raises OSError: as ``accept`` does.
    """
    fd, address = listening._accept()  # type: ignore[attr-defined]  # as in every CPython
    try:
        accepted = AcceptedSocket(*kind, fd)
    except BaseException:
        os.close(fd)
        raise
    accepted._peer = address
    return accepted


def plain_socket(accepted: socket.socket) -> PlainSocket:
    """The stream over a connection that was just accepted."""
    inherits = _INHERITS_NODELAY and type(accepted) is AcceptedSocket
    if not inherits and accepted.family in (socket.AF_INET, socket.AF_INET6):
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return PlainSocket(accepted)


def taken_over(stream: AsyncResource) -> PlainSocket | None:
    """The connection of one of anyio's socket streams on asyncio, which is over for that stream.

    What anyio had read ahead is received first.  None if it is no such stream, if it has ended, or if no descriptor is
    left for it: a transport gives its own not away.
    """
    transport, protocol = (getattr(stream, name, None) for name in ("_transport", "_protocol"))
    ahead = getattr(protocol, "read_queue", None)
    if not isinstance(stream, SocketStream) or ahead is None or transport is None:
        return None
    if transport.is_closing():
        return None
    transport.pause_reading()
    raw = stream.extra(SocketAttribute.raw_socket)
    try:
        own = socket.socket(raw.family, raw.type, raw.proto, os.dup(raw.fileno()))
    except OSError:
        return None
    unread = b"".join(ahead)
    transport.abort()
    return PlainSocket(own, unread)


async def accept_plain(listener: Listener[SocketStream]) -> PlainSocket:
    """Wait for the next connection of ``listener``; for :class:`~muxado_py.runtime.accept_loop.AcceptingListener`.

    :raises OSError: if there is none for now.

    Cancellation: no connection is lost.
    """
    raw = listener.extra(SocketAttribute.raw_socket)
    while True:
        # Not the listener's accept: on asyncio, cancelled in the wrong turn, that loses one (bpo-41317).
        await wait_readable(raw)
        try:
            accepted, _ = raw.accept()
        except BlockingIOError:  # another process took it
            continue
        return plain_socket(accepted)

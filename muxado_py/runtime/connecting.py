"""Connecting: a socket that is connected to one address, without a transport, on any backend.

What it is.  Who dials gets the socket itself: it has no reader yet that reads ahead, and nobody was asked for what the
address says already.

Why not by the event loop.  uvloop's loses the zone of an address.  And asyncio's and trio's take a Unix socket for connected
whose listener has no room for it.

How it is quick.  An address of this machine answers within the call that connects, which says all the same that it is under
way: the socket had no time to look.  A second call says how it went, and spares a wait.

The trap.  A connect that does not block, to a Unix socket whose listener has a full backlog, fails with EAGAIN, and nothing
says when there is room (unix(7), connect(2)); where TCP lets a caller wait.  A socket that is not connected can be
written to in the eyes of a selector, and has no error.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import sys
from typing import TYPE_CHECKING

import anyio
from anyio.abc import UNIXSocketStream

if TYPE_CHECKING:
    from typing import Any

__all__ = ("BACKLOG_WAIT", "connect_socket", "connect_unix", "start_connecting")

BACKLOG_WAIT = 0.01
"""Seconds until a Unix socket whose listener has a full backlog is connected to again."""

_UNBLOCKED = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)
_NOT_YET = (errno.EINPROGRESS, errno.EALREADY, errno.EAGAIN)


def start_connecting(family: int, address: Any) -> tuple[socket.socket, int]:
    """A socket that does not block, and what its connect to ``address`` says so far, as an errno.

    0: it is connected.  EAGAIN: connect again, after :data:`BACKLOG_WAIT`.  EINPROGRESS or EALREADY: once it can be
    written to, its ``SO_ERROR`` says more.  All else stands.

    :raises OSError: if there is no socket.
    """
    sock = socket.socket(family, _UNBLOCKED)
    try:
        if sock.gettimeout() != 0.0:
            sock.setblocking(False)
        error = sock.connect_ex(address)
        if error == errno.EINPROGRESS and sys.platform == "linux":
            error = sock.connect_ex(address)
    except BaseException:
        sock.close()
        raise
    return sock, error


async def connect_socket(family: int, address: Any, seconds: float = math.inf) -> socket.socket:
    """A socket that does not block, connected to ``address``.

    :param seconds: how long it may wait, if it has to.
    :raises OSError: if nobody listens there, and :exc:`TimeoutError`.

    Cancellation: nothing is left open.
    """
    sock, error = start_connecting(family, address)
    try:
        if error in _NOT_YET:
            with anyio.fail_after(seconds):
                error = await _connected(sock, address, error)
        if error:
            raise OSError(error, os.strerror(error))
    except BaseException:
        sock.close()
        raise
    return sock


async def _connected(sock: socket.socket, address: Any, error: int) -> int:
    """Wait for what becomes of a connect that has said ``error`` so far."""
    while error == errno.EAGAIN:
        await anyio.sleep(BACKLOG_WAIT)
        error = sock.connect_ex(address)
    if error in _NOT_YET:
        await anyio.wait_writable(sock)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return error


async def connect_unix(path: str) -> UNIXSocketStream:
    """The same for a Unix socket, as a stream of anyio's.

    :raises OSError: if nobody listens there.

    Cancellation: nothing is left open.
    """
    sock = await connect_socket(socket.AF_UNIX, path)
    try:
        return await UNIXSocketStream.from_socket(sock)
    except BaseException:
        sock.close()
        raise

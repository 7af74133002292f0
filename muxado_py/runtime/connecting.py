"""Connecting: a socket that is connected to one address, without a transport, on any backend.

What it is.  Who dials gets the socket itself: it has no reader yet that reads ahead, and nobody was asked for what the
address says already.

Why not by the event loop.  uvloop's loses the zone of an address.  And asyncio's and trio's take a Unix socket for connected
whose listener has no room for it.

The trap.  A connect that does not block, to a Unix socket whose listener has a full backlog, fails with EAGAIN, and nothing
says when there is room (unix(7), connect(2)); where TCP lets a caller wait.  A socket that is not connected can be
written to in the eyes of a selector, and has no error.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import anyio
from anyio.abc import UNIXSocketStream

if TYPE_CHECKING:
    from typing import Any

__all__ = ("connect_socket", "connect_unix")

BACKLOG_WAIT = 0.01
"""Seconds until a Unix socket whose listener has a full backlog is connected to again."""


async def connect_socket(family: int, address: Any) -> socket.socket:
    """A socket that does not block, connected to ``address``; who bounds the time does it around this call.

    :raises OSError: if nobody listens there.

    Cancellation: nothing is left open.
    """
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while (error := sock.connect_ex(address)) == errno.EAGAIN:  # noqa: ASYNC110 - no event tells of room
            await anyio.sleep(BACKLOG_WAIT)
        if error == errno.EINPROGRESS:
            await anyio.wait_writable(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
    except BaseException:
        sock.close()
        raise
    return sock


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

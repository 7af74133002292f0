"""Pipes: a byte stream over two descriptors, one to read and one to write, on any backend.

What it is.  What carries a session over a child's stdin and stdout, or over this process's own.  Either descriptor may be that
of a pipe or of a socket, and both of the same one: what sshd and inetd give a command.

Why not the loops' own.  asyncio's keep 64 KiB of what is written, which no priority can overtake any more, and 128 KiB of what is
read; and neither its nor trio's can end one direction of a socket.

The rule.  Try first, wait for the loop only if the kernel has nothing.  For that the descriptors must not block, which is a
property of what they are open on, and is given back at the end: others may have it too.

The traps.  Where both are of one socket, that must not block until both are closed: whoever reads on would stop the loop.  And no
descriptor may be closed that the event loop still watches: who closes tells the loop, and gives it a turn.
"""

from __future__ import annotations

import os
import socket
import stat

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    ResourceGuard,
    notify_closing,
    wait_readable,
    wait_writable,
)
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

__all__ = ("PipeStream", "is_pipe")


def is_pipe(fd: int) -> bool:
    """Whether the loop can wait for it: a pipe or a socket, and no file and no terminal."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


class PipeStream(ByteStream):
    """Receives from ``reading`` and sends to ``writing``, and closes both."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading: int | None = reading
        self._writing: int | None = writing
        self._closed = False
        self._blocking = [fd for fd in (reading, writing) if os.get_blocking(fd)]
        for fd in self._blocking:
            os.set_blocking(fd, False)
        self._receiving = ResourceGuard("reading from")
        self._sending = ResourceGuard("writing to")

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, got {max_bytes}")
        with self._receiving:
            await checkpoint()
            while self._reading is not None:
                try:
                    data = os.read(self._reading, max_bytes)
                except BlockingIOError:
                    await wait_readable(self._reading)
                except OSError as exc:
                    raise BrokenResourceError from exc
                else:
                    if data:
                        return data
                    raise EndOfStream
        raise ClosedResourceError

    async def send(self, item: bytes) -> None:
        with self._sending:
            await checkpoint()
            rest = memoryview(item)
            while self._writing is not None:
                if not rest:
                    return
                try:
                    rest = rest[os.write(self._writing, rest) :]
                except BlockingIOError:
                    await wait_writable(self._writing)
                except OSError as exc:
                    raise BrokenResourceError from exc
        raise ClosedResourceError

    async def send_eof(self) -> None:
        with self._sending:
            await checkpoint()
            if self._closed:
                raise ClosedResourceError
            writing, self._writing = self._writing, None
            if writing is None:
                return
            try:
                if stat.S_ISSOCK(os.fstat(writing).st_mode):
                    # To close it would say nothing while others have it; the descriptor that is read may be one of them.
                    with socket.socket(fileno=os.dup(writing)) as sock:
                        sock.shutdown(socket.SHUT_WR)
            except OSError as exc:  # the other side has closed it
                raise BrokenResourceError from exc
            finally:
                self._close(writing)

    def _close(self, fd: int) -> None:
        if fd in self._blocking:
            self._blocking.remove(fd)
            if not any(os.path.sameopenfile(fd, other) for other in self._blocking):
                os.set_blocking(fd, True)
        os.close(fd)

    async def aclose(self) -> None:
        self._closed = True
        open_ = [fd for fd in (self._reading, self._writing) if fd is not None]
        self._reading = self._writing = None
        for fd in open_:
            notify_closing(fd)
        with CancelScope(shield=True):
            await checkpoint()
        for fd in open_:
            self._close(fd)
        await checkpoint()

"""Unix paths: a listener's place in the file system, from its binding to its removal.

As with TCP, an address where a process listens is in use.  A path that a killed process left behind is taken over.  A
listener that stops removes its path, unless another has taken the place meanwhile.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress

__all__ = ("UnixPath",)

BACKLOG = 65_536
"""Connections that wait to be accepted; the kernel takes less if it wants to, as with anyio's listeners."""


class UnixPath:
    """A path with a socket that listens there.

    :ivar socket: it does not block; the caller closes it.
    :raises IsADirectoryError: if the path is a directory.
    :raises FileExistsError: if something else than a socket is there.
    :raises OSError: ``EADDRINUSE`` if a process listens there; or whatever else keeps it from being bound.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)  # the working directory may change
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.setblocking(False)
            # Without an await in between: a socket that is bound and does not listen yet refuses connections, and
            # another process would take the path over (_make_way).
            self._bind(path)
            self.socket.listen(BACKLOG)
            self._identity: tuple[int, int] | None = _identity(self._path)
        except BaseException:
            self.socket.close()
            raise

    def _bind(self, path: str) -> None:
        try:
            self.socket.bind(path)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
            _make_way(path)
            self.socket.bind(path)

    def remove(self) -> None:
        """Remove the path; nothing, if it is another's by now."""
        # Only once: when the path is gone, its inode's number may become another's.
        identity, self._identity = self._identity, None
        with suppress(OSError):
            if _identity(self._path) == identity:
                os.unlink(self._path)


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _make_way(path: str) -> None:
    """Remove a socket where no process listens any more."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory, expected the path of a socket")
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "A file is there that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        visitor.setblocking(False)
        if visitor.connect_ex(path) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    os.unlink(path)

"""``stdio:``: this process's own stdin and stdout carry a session: of one whom somebody has started for that.

Where data comes from and goes to.  Whoever started this process is at the other end of both: sshd, inetd, an ``exec:`` of
another muxado_py.  To dial and to listen are the same here, but for which side of the session this one is.

The rule.  There is one such connection in the life of a process.  A listener is done when its session is.

The trap.  What anything prints would be bytes of the session.  So the session takes the descriptors for itself: from then on stdin is
empty, and what is written to stdout goes to stderr; or nowhere, where there is none, or the same socket, as inetd gives it.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

from anyio import ClosedResourceError, ResourceGuard
from anyio.abc import Listener
from anyio.lowlevel import checkpoint

from ..runtime.pipes import PipeStream, is_pipe
from .addresses import Address
from .pending import AnyioPending
from .scheme import Bound, Scheme

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from ..config import Config
    from .pending import PendingConnection
    from .scheme import Dialing

__all__ = ("STDIO",)

STDIN, STDOUT, STDERR = range(3)


class _StdioScheme(Scheme):
    name = "stdio"
    form = "stdio:"
    has_host = False
    dials_again = False

    def __init__(self) -> None:
        self._taken = False

    def read(self, url: str) -> Address | None:
        _, colon, rest = url.partition(":")
        return None if rest or not colon else Address("stdio")

    def write(self, address: Address) -> str:
        return "stdio:"

    async def dial(self, dialing: Dialing) -> PendingConnection:
        return AnyioPending(self._take())

    async def listen(self, address: Address) -> Bound:
        return _StdioBound(self._take(), address)

    def _take(self) -> PipeStream:
        if self._taken:
            raise OSError(errno.EADDRINUSE, "stdin and stdout have carried a session already")
        _check("stdin", STDIN, sys.__stdin__)
        _check("stdout", STDOUT, sys.__stdout__)
        stream = PipeStream(os.dup(STDIN), os.dup(STDOUT))
        self._taken = True
        has_stderr = sys.__stderr__ is not None and _is_open(STDERR)
        is_session = has_stderr and os.path.sameopenfile(STDERR, STDOUT)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, STDIN)
        os.dup2(STDERR if has_stderr and not is_session else nothing, STDOUT)
        if is_session:
            os.dup2(nothing, STDERR)
        os.close(nothing)
        return stream


def _check(name: str, fd: int, began_as: object) -> None:
    # A process that began without one has something else there by now, the event loop's own perhaps.
    if began_as is None:
        raise OSError(errno.EBADF, f"there is no {name}, a session needs a pipe or a socket")
    if is_pipe(fd):
        return
    what = "a terminal" if os.isatty(fd) else "a file" if _is_file(fd) else "a device"
    hint = "; ssh gives one without -t" if what == "a terminal" else ""
    raise OSError(errno.EINVAL, f"{name} is {what}, a session needs a pipe or a socket{hint}")


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _is_file(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


class _StdioBound(Bound):
    def __init__(self, stream: PipeStream, address: Address) -> None:
        self.address = address
        self.listener: Listener[Any] = _OneStream(stream)

    async def pending(self, accepted: Any, config: Config) -> PendingConnection:
        return AnyioPending(accepted)


class _OneStream(Listener[PipeStream]):
    """Gives one stream, and is done when what was made of it is."""

    def __init__(self, stream: PipeStream) -> None:
        self._stream: PipeStream | None = stream
        self._serving = ResourceGuard("accepting from")

    async def serve(
        self, handler: Callable[[PipeStream], Any], task_group: TaskGroup | None = None
    ) -> None:
        with self._serving:
            await checkpoint()
            stream, self._stream = self._stream, None
            if stream is None:
                raise ClosedResourceError
            await handler(stream)

    async def aclose(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()


STDIO = _StdioScheme()

"""StreamSocket: a real socket that leads to a stream, and knows what became of it.

What it is.  One end of a pair; the background copies the other end to a stream.  To its user it is a socket of the kernel's.

The rule.  The pair tells of an end and of no reset.  So at its end the stream is asked, in the background, whether it has ended
too: what a stream that broke off has said is not to be taken for the whole.  But who shuts it down here, as to wake a thread that
reads, has made that end, and is told of nothing else, as by the kernel's.

The traps.  What was sent may have been refused, or never have left; that also only the stream knows.  And whoever reads the
descriptor past this object (a subprocess, ``ssl``) sees an end at a reset.
"""

from __future__ import annotations

import errno
import socket
from threading import Event
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..errors import Retry

__all__ = ("StreamSocket",)


class StreamSocket(socket.socket):
    """A connected socket; made by :meth:`.Pool.open_socket`, never directly."""

    reset_stream: Callable[[], Retry]
    has_ended: Callable[[], bool]
    shut_here: Event

    @classmethod
    def over(
        cls, end: socket.socket, reset_stream: Callable[[], Retry], has_ended: Callable[[], bool]
    ) -> Self:
        """The socket that ``end`` was.

        :param reset_stream: resets its stream, and says what verdict that has.
        :param has_ended: whether the peer has ended the stream.
        """
        made = cls(fileno=end.detach())
        made.reset_stream = reset_stream
        made.has_ended = has_ended
        made.shut_here = Event()
        return made

    def dup(self) -> Self:
        copy = super().dup()
        copy.reset_stream = self.reset_stream
        copy.has_ended = self.has_ended
        copy.shut_here = self.shut_here  # it shuts down the connection, not the descriptor
        return copy

    def shutdown(self, how: int, /) -> None:
        """As of any socket."""
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            self.shut_here.set()  # first: who reads is woken at once
        super().shutdown(how)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """As of any socket; :exc:`ConnectionResetError` where the stream broke off."""
        data = super().recv(bufsize, flags)
        if not data and bufsize:
            self._check_end()
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """The same; what is read as a file (``makefile``) comes by this."""
        size = super().recv_into(buffer, nbytes, flags)
        if not size and (nbytes or memoryview(buffer).nbytes):
            self._check_end()
        return size

    def _check_end(self) -> None:
        if not (self.shut_here.is_set() or self.has_ended()):
            raise ConnectionResetError(errno.ECONNRESET, "the stream broke off before its end")

    def give_up(self) -> Retry:
        """Break the stream off, if it is not over, and say whether what was written may be sent again.

        Nothing of it leaves after that, so the verdict is final; the socket still has to be closed.

        :returns: as :attr:`muxado_py.Stream.retry`; ``UNKNOWN`` after the pool was closed.
        :raises ForkedError: in a process that was forked from the pool's.
        :raises RuntimeError: in the pool's own thread.
        """
        return self.reset_stream()

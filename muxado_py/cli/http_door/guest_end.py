"""GuestEnd: the socket of a caller of the HTTP door that has no task, its time, and how its connection ends.

What it is.  What :class:`~.regulars.Regular` does with its connection whatever it was asked on it.  An end in order says so to the
caller, and gives it a moment to read what it was sent: who closes a socket with unread bytes takes that away.

The rule.  Who has left is told to its host once, and nobody is called any more.

The trap.  Over TLS an end may have to wait until the kernel takes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...session.socket_end import SocketEnd
from .deadline import Deadline

if TYPE_CHECKING:
    import asyncio

    from ...runtime.plain_sockets import PlainSocket
    from .host import Host

__all__ = ("GuestEnd",)


class GuestEnd(SocketEnd):
    """That of one caller; who serves it derives from this.

    :param host: what all callers of the door have in common.
    """

    __slots__ = (
        "_connection",
        "_deadline",
        "_has_ended",
        "_host",
        "_is_closing",
        "_said",
        "stops",
    )

    def __init__(
        self, host: Host, loop: asyncio.AbstractEventLoop, connection: PlainSocket
    ) -> None:
        super().__init__(loop, connection.raw_socket)
        self._host = host
        self._connection = connection
        self._deadline = Deadline(loop, self._late)
        self._said = bytearray()  # what nobody has taken
        self._has_ended = False  # whether it says no more
        self._is_closing = False  # whether nothing but its end is waited for
        self.stops = False
        """Whether it has no further requests."""

    # For who serves it to define.

    def let_go(self, why: str) -> None:
        """End it if it has no request, and after the one that it has."""
        raise NotImplementedError

    def _late(self) -> None:
        """What was waited for did not come in time."""
        raise NotImplementedError

    def _left(self) -> None:
        """Its connection is closed."""
        raise NotImplementedError

    # The end.

    def _close(self) -> None:
        """Close the connection, behind an answer that the caller is to read."""
        self._is_closing = True
        self._host.asks(self)  # nothing of the next request any more
        self._deadline.set(self._host.limits.write)
        if self._end():
            self._took_end()

    def _took_end(self) -> None:
        if self._has_ended and not self._said:
            self._leave(in_order=True)
        else:
            self._deadline.clear()
            self._linger()

    def _discarded(self) -> None:
        self._leave(in_order=True)

    def _leave(self, *, in_order: bool) -> None:
        self._is_closing = True
        self._unwatch()
        self._deadline.stop()
        if in_order:
            self._connection.close()
        else:
            self._connection.abort()
        self._left()

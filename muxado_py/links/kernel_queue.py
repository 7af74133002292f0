"""KernelQueue: whether what the kernel was given has arrived in the peer's.

Where data comes from and goes to.  :mod:`~muxado_py.links.tcp_info` has the figures; the end of a session asks.

The rule.  What a Unix socket took lies in its peer's queue already.  Of a TCP connection the kernel knows how much is
in flight, on Linux; of anything else it is not known.

The traps.  A connection that was reset has no queue, but its figures stand: what they lack was lost.  And behind the
last thing that a stream said, its bytes or its end, there may be credit and a goodbye.  A peer that ends when it
has read what it wanted acknowledges neither, and nothing is lost by that; hence the mark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio.abc import ByteStream

from .tcp_info import TcpInfo, is_unix

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ("AddingStream", "KernelQueue")


class AddingStream(ByteStream):
    """A stream that gives the one below more bytes than it was given: the frames of a protocol between.

    :ivar given: how many the stream below took.
    :ivar on_reply: called by ``receive`` when the protocol has something to say by itself; ``send(b"")`` sends it.
    """

    given: int = 0
    on_reply: Callable[[], None] | None = None


class KernelQueue:
    """What is on its way from one socket; ask :meth:`of` for one."""

    def __init__(self, info: TcpInfo | None) -> None:
        self._info = info
        self._said = -1  # what streams had said at the mark
        self._mark = 0  # where the last byte of it stood

    @classmethod
    def of(cls, raw: socket.socket | None) -> KernelQueue | None:
        """Of a connected socket; None where no kernel tells."""
        if raw is None:
            return None
        info = TcpInfo.of(raw)
        return cls(info) if info is not None or is_unix(raw) else None

    def mark(self, said: int, tail: int) -> None:
        """Everything was handed over; streams said something in it (``Connection.said``), but not in the last ``tail`` bytes."""
        if self._info is not None and said != self._said:
            self._said = said
            self._mark = self._info.figures().acknowledged + self._info.in_flight() - tail

    def waiting(self) -> int | None:
        """How many bytes are not acknowledged; None if none will be any more."""
        if self._info is None:
            return 0
        return self._info.in_flight() if self._info.is_connected() else None

    def missing(self, said: int) -> int:
        """How many bytes have not arrived that streams said, or that stand before such."""
        if self._info is None or not (said and self._info.is_open()):
            return 0
        if said == self._said:
            return max(0, self._mark - self._info.figures().acknowledged)
        in_flight = self._info.in_flight()
        return in_flight if in_flight > 1 else 0  # our FIN counts as a byte

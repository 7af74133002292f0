"""Receiving: one stream's bytes on their way in, and the credit that the peer has for more.

Where data comes from and goes to.  The inbound side puts here what arrived, and the application reads it from
here; a read says how much credit is to be announced for it.

The rules.  What came is handed on as it came, and copied only to make one of the pieces that a read takes.
Short pieces are gathered in a bytearray, so that a flood of tiny frames costs its bytes and not an object
for each.

Credit is given back when the application *reads*, never when bytes arrive: a window that is refilled on
receipt bounds nothing.  It is given back in portions of half a window, because a credit frame for each
read (Go muxado's habit) costs a frame for each message, and waiting for the whole window would stop the
sender once per window.  Less than half is given back when the sender stands still for want of it: else it
comes to rest with just under half a window owed to it, for good, and moves the other half in each round
trip.

The trap.  Where frames end is not kept, so what is counted by the frame can only be forgiven too early.
"""

from __future__ import annotations

from collections import deque
from operator import index

from .fields import StreamFields

__all__ = ("Receiving",)

SHORT = 4 * 1024
"""Pieces of fewer bytes are gathered: the object of a longer one is at most a fortieth of it."""

LONG = 16 * 1024
"""Views of fewer bytes are copied."""


class Receiving(StreamFields):
    """What is done with the bytes that a stream receives."""

    __slots__ = ()

    # Bytes.

    def append(self, chunk: bytes | memoryview) -> None:
        """Keep what arrived; ``allowed`` was asked before.

        :param chunk: a view is kept only if it is long, so that it does not keep much more than itself.
        """
        if type(chunk) is not bytes and len(chunk) < LONG:
            chunk = bytes(chunk)
        if not self.unread:
            self._came = chunk
        elif len(chunk) < SHORT:
            self._gather(bytes(chunk))
        elif self._came_more is None:
            self._came_more = deque((chunk,))
        else:
            self._came_more.append(chunk)
        self.unread += len(chunk)

    def _gather(self, chunk: bytes) -> None:
        more = self._came_more
        if more is None:
            more = self._came_more = deque()
        if more and isinstance(more[-1], bytearray):
            more[-1] += chunk
        else:
            more.append(bytearray(chunk))

    def read(self, nbytes: int) -> bytes:
        """The next bytes, ``nbytes`` if as many are here."""
        if nbytes < self.unread:
            return self._read_some(nbytes)
        first, more = self._came, self._came_more
        self._came = b""
        self.unread = self.tiny = 0
        if more is None:
            return first if type(first) is bytes else bytes(first)
        self._came_more = None
        return b"".join((first, *more))

    def _read_some(self, nbytes: int) -> bytes:
        nbytes = index(nbytes)  # half a byte would be found out when half of it is done
        self.unread -= nbytes
        if self.tiny:
            self.tiny = max(0, self.tiny - nbytes)
        pieces: list[bytes | bytearray | memoryview] = []
        while len(self._came) <= nbytes:
            assert self._came_more, "there is more than nbytes"
            pieces.append(self._came)
            nbytes -= len(self._came)
            self._came = self._came_more.popleft()
        if not self._came_more:
            self._came_more = None
        if nbytes:
            view = memoryview(self._came)
            pieces.append(view[:nbytes])
            self._came = view[nbytes:]
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)

    def drop_unread(self) -> int:
        """Forget what was not read; how many bytes that were."""
        dropped = self.unread
        self._came = b""
        self._came_more = None
        self.unread = 0
        return dropped

    # Credit.

    def consume(self, nbytes: int) -> int:
        """The application read ``nbytes``: how much credit to announce now, perhaps 0.

        Less than a portion only if the peer has used up all it may know of, and everything that
        came was read.
        """
        self.consumed += nbytes
        self.owed = credit = self.owed + nbytes
        if credit < self._portion and (
            self.allowed != self.edge or self.allowed + credit != self.window
        ):
            return 0
        self.owed = 0
        self.allowed += credit
        self.edge += credit
        return credit

    def dole(self, nbytes: int, window: int, least: int) -> int:
        """The same where room is short: no more than ``window`` allows, but in portions of ``least``."""
        self.consumed += nbytes
        self.owed += nbytes
        credit = min(self.owed, window - self.unread - self.allowed)
        if credit < max(1, least):
            return 0
        self.owed -= credit
        self.allowed += credit
        self.edge += credit
        return credit

    def read_owing(self, nbytes: int) -> bytes:
        """The next ``nbytes``, which are here; their credit is announced with that of a later read."""
        self.consumed += nbytes
        self.owed += nbytes
        return self.read(nbytes)

    def grow(self, nbytes: int) -> None:
        """The credit that is about to be announced allows ``nbytes`` more than was read.

        A window of one and a half times what is on its way keeps the sender going if it gets credit
        by the quarter; by the half it would need twice as much.
        """
        self.window += nbytes
        self._portion = self.window // 4
        self.grown += nbytes
        self.allowed += nbytes
        self.edge += nbytes

    @property
    def received(self) -> int:
        """Bytes that came so far, whether they were read or thrown away.

        ``consumed`` does not tell: what is read behind the peer's FIN needs no credit and is not counted there.
        """
        return self.consumed + self.window - self.allowed - self.owed

    @property
    def announced(self) -> int:
        """How many of the bytes that were read are in the credit given so far.

        A wire of totals says this one: the latest count would promise what is still owed, and a peer
        that used it would look like one that sends too much.
        """
        return self.consumed - self.owed

    def told(self) -> None:
        """The peer learned ``window`` by other means (settings): what was owed at the start is given."""
        self.allowed += self.owed
        self.owed = 0

"""Windows: flow-control credit as integers.

What it is.  The two ends of one stream's credit in one direction.  A sender holds a
:class:`SendWindow` (what it may still send); the receiver holds the :class:`RecvWindow` that says
what the peer may still send, and when to give credit back.  Nothing here knows of frames or bytes.

The rule.  Credit is given back when the application *reads*, never when bytes arrive: a window that
is refilled on receipt bounds nothing.  It is given back in portions of half a window, because a
credit frame for each read (Go muxado's habit) costs a frame for each message, and waiting for the
whole window would stop the sender once per window.

The trap.  A sum of credits can pass 2^31-1 (CVE-2026-31814 in another multiplexer was just that):
``SendWindow.credit`` says so, and the caller resets the stream.
"""

from __future__ import annotations

__all__ = ("MAX_WINDOW", "RecvWindow", "SendWindow")

MAX_WINDOW = 2**31 - 1


class SendWindow:
    """What this side may still send on a stream, in bytes."""

    __slots__ = ("available",)

    def __init__(self, initial: int) -> None:
        self.available = initial

    def take(self, nbytes: int) -> None:
        """Use up ``nbytes``, which must not be more than ``available``."""
        self.available -= nbytes

    def credit(self, nbytes: int) -> bool:
        """The peer gives ``nbytes`` more; False if the sum passes 2^31-1."""
        self.available += nbytes
        return self.available <= MAX_WINDOW


class RecvWindow:
    """What the peer may still send on a stream, and what it is owed, in bytes.

    :param initial: what the peer assumes without being told.
    :param size: how much may be unread in all; the difference is owed from the start.
    """

    __slots__ = ("allowed", "owed", "size")

    def __init__(self, initial: int, size: int) -> None:
        self.size = size
        self.allowed = initial
        self.owed = size - initial

    def receive(self, nbytes: int, pending: int) -> bool:
        """``nbytes`` arrived and ``pending`` more of the same frame are announced.

        False if the peer had no right to them; nothing is counted then.
        """
        if nbytes + pending > self.allowed:
            return False
        self.allowed -= nbytes
        return True

    def consume(self, nbytes: int) -> int:
        """The application read ``nbytes``: how much credit to announce now, perhaps 0."""
        self.owed += nbytes
        if self.owed * 2 < self.size:
            return 0
        credit = self.owed
        self.owed = 0
        self.allowed += credit
        return credit

    def told(self) -> None:
        """The peer learned ``size`` by other means (settings): what was owed at the start is given."""
        self.allowed += self.owed
        self.owed = 0

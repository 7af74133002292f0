"""Sending: one stream's bytes on their way out, and the peer's credit for them.

Where data comes from and goes to.  The application's bytes wait here, as the pieces that were written, until
the outbound side cuts a frame from them; the peer's credit comes from the inbound side.

The rule.  Nothing here knows a frame or another stream, and nothing decides: bytes are counted.  Pieces are
handed on, not copied.

The traps.  ``unwrite`` may take back only bytes that no frame was cut from, and only from the end: what
the peer gets must be a prefix of what the application wrote.  And a sum of credits can pass 2^31-1
(CVE-2026-31814 in another multiplexer was just that): ``add_credit`` says so, and the caller resets the
stream.
"""

from __future__ import annotations

from collections import deque

from .fields import SendState, StreamFields

__all__ = ("MAX_WINDOW", "Sending")

MAX_WINDOW = 2**31 - 1
_FIN_QUEUED = SendState.FIN_QUEUED


class Sending(StreamFields):
    """What is done with the bytes that a stream sends."""

    __slots__ = ()

    def write(self, data: bytes) -> int:
        """Queue ``data``, and give its length; it is kept, not copied."""
        if not self.unsent:
            self._to_go = data
        elif self._to_go_more is None:
            self._to_go_more = deque((data,))
        else:
            self._to_go_more.append(data)
        size = len(data)
        self.unsent += size
        return size

    def unwrite(self, nbytes: int) -> int:
        """Take back up to ``nbytes`` of the last bytes written; how many were still here."""
        left = taken = min(nbytes, self.unsent)
        pieces = [self._to_go, *(self._to_go_more or ())]
        while left:
            piece = pieces.pop()
            if len(piece) > left:
                pieces.append(memoryview(piece)[:-left])
            left -= min(left, len(piece))
        self.unsent -= taken
        self._to_go, *more = pieces or (b"",)
        self._to_go_more = deque(more) if more else None
        return taken

    def take(self, nbytes: int, out: list[bytes | memoryview]) -> None:
        """Move the next ``nbytes`` to ``out``, no more than ``sendable``, and use up their credit."""
        self.credit -= nbytes
        self.unsent -= nbytes
        first, more = self._to_go, self._to_go_more
        if more is None and not self.unsent:
            out.append(first)
            self._to_go = b""
            return
        while (size := len(first)) <= nbytes:
            out.append(first)
            nbytes -= size
            if not more:
                first = b""
                break
            first = more.popleft()
        if nbytes:
            view = memoryview(first)
            out.append(view[:nbytes])
            first = view[nbytes:]
        self._to_go, self._to_go_more = first, more or None

    def drop_unsent(self) -> None:
        """Forget what was written and not sent."""
        self._to_go = b""
        self._to_go_more = None
        self.unsent = 0

    @property
    def sendable(self) -> int:
        """Bytes that are here and that the peer has room for."""
        # Not min() and max(): this is asked several times for each frame.
        unsent, credit = self.unsent, self.credit
        if unsent <= credit:
            return unsent
        return credit if credit > 0 else 0  # noqa: FURB136

    @property
    def due_fin(self) -> bool:
        """Whether nothing but the FIN is left to send."""
        return self.send_state is _FIN_QUEUED and not self.unsent

    @property
    def sent(self) -> int:
        """Bytes that were cut into frames so far."""
        return self.granted - self.credit

    def add_credit(self, nbytes: int) -> bool:
        """The peer gives ``nbytes`` more; False if the sum passes 2^31-1."""
        self.granted += nbytes
        self.credit += nbytes
        return self.credit <= MAX_WINDOW

    def update_credit(self, consumed: int, window: int) -> bool:
        """The peer has read ``consumed`` bytes (modulo 2^32) so far and takes ``window`` beyond them.

        The window may shrink below what is on its way: then there is no credit for a while.  False if that
        many bytes were never sent, or the window passes 2^31-1.
        """
        # Not .sent, whose call this wire would pay for each credit.
        sent = self.granted - self.credit
        on_its_way = (sent - consumed) & 0xFFFF_FFFF
        if on_its_way > MAX_WINDOW or window > MAX_WINDOW:
            return False
        self.credit = window - on_its_way
        self.granted = sent + self.credit
        return True

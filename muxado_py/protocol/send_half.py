"""Send half: one stream's bytes on their way out, and the peer's credit for them.

Where data comes from and goes to.  The application's bytes wait here, as the pieces that were written, until
the outbound side cuts a frame from them; the peer's credit comes from the inbound side.  Functions over the record
:class:`~muxado_py.protocol.stream_state.StreamState`; what only asks it is a property there.

The rule.  Nothing here knows a frame or another stream, and nothing decides: bytes are counted.  Pieces are
handed on, not copied.

The traps.  ``unwrite`` may take back only bytes that no frame was cut from, and only from the end: what
the peer gets must be a prefix of what the application wrote.  And a sum of credits can pass 2^31-1
(CVE-2026-31814 in another multiplexer was just that): ``add_credit`` says so, and the caller resets the
stream.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .stream_state import StreamState

__all__ = (
    "MAX_WINDOW",
    "add_credit",
    "discard_unsent",
    "take",
    "unwrite",
    "update_window",
    "write",
)

MAX_WINDOW = 2**31 - 1
"""Bytes: no send window may be larger."""


def write(stream: StreamState, data: bytes) -> int:
    """Queue ``data``, and give its length; it is kept, not copied."""
    if not stream.unsent:
        stream.send_first = data
    elif stream.send_rest is None:
        stream.send_rest = deque((data,))
    else:
        stream.send_rest.append(data)
    size = len(data)
    stream.unsent += size
    return size


def unwrite(stream: StreamState, nbytes: int) -> int:
    """Take back up to ``nbytes`` of the last bytes written; how many were still here."""
    left = taken = min(nbytes, stream.unsent)
    pieces = [stream.send_first, *(stream.send_rest or ())]
    while left:
        piece = pieces.pop()
        if len(piece) > left:
            pieces.append(memoryview(piece)[:-left])
        left -= min(left, len(piece))
    stream.unsent -= taken
    stream.send_first, *more = pieces or (b"",)
    stream.send_rest = deque(more) if more else None
    return taken


def take(stream: StreamState, nbytes: int, out: list[bytes | memoryview]) -> None:
    """Move the next ``nbytes`` to ``out``, no more than ``sendable``, and use up their credit."""
    stream.send_window -= nbytes
    stream.unsent -= nbytes
    first, more = stream.send_first, stream.send_rest
    if more is None and not stream.unsent:
        out.append(first)
        stream.send_first = b""
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
    stream.send_first, stream.send_rest = first, more or None


def discard_unsent(stream: StreamState) -> None:
    """Forget what was written and not sent."""
    stream.send_first = b""
    stream.send_rest = None
    stream.unsent = 0


def add_credit(stream: StreamState, nbytes: int) -> bool:
    """The peer gives ``nbytes`` more; False if the sum passes 2^31-1."""
    stream.total_credit += nbytes
    stream.send_window += nbytes
    return stream.send_window <= MAX_WINDOW


def update_window(stream: StreamState, consumed: int, window: int) -> bool:
    """The peer has read ``consumed`` bytes (modulo 2^32) so far and takes ``window`` beyond them.

    The window may shrink below what is on its way: then there is no credit for a while.  False if that
    many bytes were never sent, or the window passes 2^31-1.
    """
    # Not .sent, whose call this wire would pay for each credit.
    sent = stream.total_credit - stream.send_window
    on_its_way = (sent - consumed) & 0xFFFF_FFFF
    if on_its_way > MAX_WINDOW or window > MAX_WINDOW:
        return False
    stream.send_window = window - on_its_way
    stream.total_credit = sent + stream.send_window
    return True

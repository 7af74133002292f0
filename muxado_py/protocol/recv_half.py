"""Receive half: one stream's bytes on their way in, and the credit that the peer has for more.

Where data comes from and goes to.  The inbound side puts here what arrived, and the application reads it from
here; a read says how much credit is to be announced for it.  Functions over the record
:class:`~muxado_py.protocol.stream_state.StreamState`; what only asks it is a property there.

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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .stream_state import StreamState

__all__ = (
    "append",
    "consume",
    "credit_partly",
    "credit_sent",
    "discard_unread",
    "grow_window",
    "read",
    "read_without_credit",
)

GATHER_BELOW = 4 * 1024
"""Pieces of fewer bytes are gathered: the object of a longer one is at most a fortieth of it."""

VIEW_FROM = 16 * 1024
"""Views of fewer bytes are copied."""


# Bytes.


def append(stream: StreamState, chunk: bytes | memoryview) -> None:
    """Keep what arrived; ``recv_window`` was asked before.

    :param chunk: a view is kept only if it is long, so that it does not keep much more than itself.
    """
    if type(chunk) is not bytes and len(chunk) < VIEW_FROM:
        chunk = bytes(chunk)
    if not stream.unread:
        stream.recv_first = chunk
    elif len(chunk) < GATHER_BELOW:
        _gather(stream, bytes(chunk))
    elif stream.recv_rest is None:
        stream.recv_rest = deque((chunk,))
    else:
        stream.recv_rest.append(chunk)
    stream.unread += len(chunk)


def _gather(stream: StreamState, chunk: bytes) -> None:
    more = stream.recv_rest
    if more is None:
        more = stream.recv_rest = deque()
    if more and isinstance(more[-1], bytearray):
        more[-1] += chunk
    else:
        more.append(bytearray(chunk))


def read(stream: StreamState, nbytes: int) -> bytes:
    """The next bytes, ``nbytes`` if as many are here."""
    if nbytes < stream.unread:
        return _read_some(stream, nbytes)
    first, more = stream.recv_first, stream.recv_rest
    stream.recv_first = b""
    stream.unread = stream.tiny_frames = 0
    if more is None:
        return first if type(first) is bytes else bytes(first)
    stream.recv_rest = None
    return b"".join((first, *more))


def _read_some(stream: StreamState, nbytes: int) -> bytes:
    nbytes = index(nbytes)  # half a byte would be found out when half of it is done
    stream.unread -= nbytes
    if stream.tiny_frames:
        stream.tiny_frames = max(0, stream.tiny_frames - nbytes)
    pieces: list[bytes | bytearray | memoryview] = []
    while len(stream.recv_first) <= nbytes:
        assert stream.recv_rest, "there is more than nbytes"
        pieces.append(stream.recv_first)
        nbytes -= len(stream.recv_first)
        stream.recv_first = stream.recv_rest.popleft()
    if not stream.recv_rest:
        stream.recv_rest = None
    if nbytes:
        view = memoryview(stream.recv_first)
        pieces.append(view[:nbytes])
        stream.recv_first = view[nbytes:]
    return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)


def discard_unread(stream: StreamState) -> int:
    """Forget what was not read; how many bytes that were."""
    dropped = stream.unread
    stream.recv_first = b""
    stream.recv_rest = None
    stream.unread = 0
    return dropped


# Credit.


def consume(stream: StreamState, nbytes: int) -> int:
    """The application read ``nbytes``: how much credit to announce now, perhaps 0.

    Less than a portion only if the peer has used up all it may know of, and everything that
    came was read.
    """
    stream.consumed += nbytes
    stream.owed_credit = credit = stream.owed_credit + nbytes
    if credit < stream.update_threshold and (
        stream.recv_window != stream.unseen_credit
        or stream.recv_window + credit != stream.max_recv_window
    ):
        return 0
    stream.owed_credit = 0
    stream.recv_window += credit
    stream.unseen_credit += credit
    return credit


def credit_partly(stream: StreamState, nbytes: int, window: int, least: int) -> int:
    """The same where room is short: no more than ``window`` allows, but in portions of ``least``."""
    stream.consumed += nbytes
    stream.owed_credit += nbytes
    credit = min(stream.owed_credit, window - stream.unread - stream.recv_window)
    if credit < max(1, least):
        return 0
    stream.owed_credit -= credit
    stream.recv_window += credit
    stream.unseen_credit += credit
    return credit


def read_without_credit(stream: StreamState, nbytes: int) -> bytes:
    """The next ``nbytes``, which are here; their credit is announced with that of a later read."""
    stream.consumed += nbytes
    stream.owed_credit += nbytes
    return read(stream, nbytes)


def grow_window(stream: StreamState, nbytes: int) -> None:
    """The credit that is about to be announced allows ``nbytes`` more than was read.

    A window of one and a half times what is on its way keeps the sender going if it gets credit
    by the quarter; by the half it would need twice as much.
    """
    stream.max_recv_window += nbytes
    stream.update_threshold = stream.max_recv_window // 4
    stream.grown += nbytes
    stream.recv_window += nbytes
    stream.unseen_credit += nbytes


def credit_sent(stream: StreamState) -> None:
    """The peer learned ``max_recv_window`` by other means (settings): what was owed at the start is given."""
    stream.recv_window += stream.owed_credit
    stream.owed_credit = 0

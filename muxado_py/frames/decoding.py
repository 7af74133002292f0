"""Decoding: what the decoders of all wires have in common.

What it is.  The state of a decoder between two pieces of input: what it keeps of an incomplete header, and
the DATA frame whose body has begun.  How frames follow one another is each wire's own loop, for that
is where the time goes: a shared one would cost a call for each frame.

Where data comes from and goes to.  A wire's ``feed`` calls ``_begin`` for a body that has not arrived
whole, and ``_go_on`` for its pieces; both hand on what is there to the receiver at once.

The rule.  Nothing of a body is ever kept: a frame of 16 MiB passes through in the pieces it comes in.

The input may be a view, and bodies are handed on as views of it: whoever feeds one does not use its memory
again while the receiver has them.  What a decoder itself keeps is copied.

The trap.  The core judges a frame by its whole length, so it is told of a body of which nothing has
arrived yet, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .wire import Input, Receiver

__all__ = ("BodyDecoder",)


class BodyDecoder:
    """The base of a :class:`~muxado_py.frames.wire.Decoder`, without its ``feed``."""

    __slots__ = ("_body", "_fin", "_id", "_partial", "_receiver")

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._partial = b""  # an incomplete header or fixed body, or what came during a pause
        self._body = 0  # bytes of the DATA frame that are still to come
        self._id = 0  # its stream
        self._fin = False  # whether it finishes the stream

    @property
    def midway(self) -> bool:
        return bool(self._partial or self._body)

    @property
    def undecoded(self) -> int:
        return len(self._partial)

    def _begin(self, stream_id: int, length: int, fin: bool, nothing_here: bool) -> None:
        """A body of ``length`` bytes begins that is not whole yet."""
        self._body = length
        self._id = stream_id
        self._fin = fin
        if nothing_here:
            self._receiver.data(stream_id, b"", length)

    def _go_on(self, data: Input, pos: int, end: int) -> int:
        """The next piece of the body that has begun, from ``pos``; where it ends."""
        stop = min(end, pos + self._body)
        self._body -= stop - pos
        self._receiver.data(self._id, data[pos:stop], self._body)
        if self._fin and not self._body:
            self._receiver.finished(self._id)
        return stop

    def _violation(self, code: int, message: str) -> int:
        """The format is broken; -1, for a frame that is not gone past."""
        self._receiver.violated(code, message)
        return -1

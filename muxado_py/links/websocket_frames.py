"""FrameSieve: the bytes of a session out of the frames of a websocket, and everything else for the library.

Why.  What carries a session is one plain kind of frame after the other: a whole binary message.  Of these the payload is taken here,
unmasked by the library's own C, as it comes; so a short message costs two thirds of what it does in the library, and how long one
is does not matter.  All other frames are the library's to judge: control frames, fragments, and what breaks the rules.

The library gives a frame when it is whole, and keeps it until then.  How long a fragment is, its sender decides, and a bound
would turn peers away that mean no harm: so long ones are cut first.  A frame in pieces means the same (RFC 6455, section 5.4).

The rule.  What is wrong in a length is judged here, because the library would wait for so many bytes; whatever else is not
quite plain passes as it is, and the library says so.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

try:
    from websockets.speedups import apply_mask
except ImportError:  # it was built without a compiler
    from websockets.utils import apply_mask

__all__ = ("MAX_HEADER", "FrameSieve", "plain_frame")

PIECE = 32 * 1024
"""Bytes of a piece.  A multiple of four: the mask goes on in the next as it would have in the whole."""

FIN = 0x80
CONTROL = 0x08
MASKED = 0x80
LENGTH = 0x7F
PLAIN = 0x82
"""The first byte of a whole binary message."""

MAX_HEADER = 8
"""Bytes before the payload of a :func:`plain_frame`, at most."""

# It takes whatever has bytes; websockets 15 says so of bytes alone.
_mask: Callable[[Any, bytes], bytes] = apply_mask

_LENGTH_16 = struct.Struct("!H")
_LENGTH_64 = struct.Struct("!Q")


def plain_frame(data: bytes | bytearray | memoryview, *, masked: bool) -> bytes:
    """A whole binary message, of less than 64 KiB."""
    size, bit = len(data), MASKED if masked else 0
    head = (
        bytes((PLAIN, bit | size))
        if size < 126
        else bytes((PLAIN, bit | 126)) + _LENGTH_16.pack(size)
    )
    if not masked:
        return b"".join((head, data))
    key = os.urandom(4)  # nobody may foresee it (section 10.3)
    return b"".join((head, key, _mask(data, key)))


class FrameSieve:
    """Sifts the frames of one direction; it is given the bytes behind the handshake.

    :param masked: whether its sender has to mask.
    """

    __slots__ = (
        "_fin",
        "_header",
        "_in_message",
        "_is_plain",
        "_left",
        "_mask",
        "_masked",
        "_rest",
    )

    def __init__(self, *, masked: bool) -> None:
        self._masked = masked
        self._header = b""  # of the next frame, while it is not whole
        self._left = 0  # bytes of the payload that are still to come, of the frame or of its piece
        self._is_plain = False  # whether they are taken here
        self._in_message = (
            False  # whether a message has begun that came in fragments, and has not ended
        )
        self._mask = b""  # the key for the next of them, if there is one
        self._rest = 0  # of a frame that is cut: bytes of it behind this piece
        self._fin = 0  # its bit

    def sift(self, data: bytes | memoryview) -> Iterator[tuple[bool, bytes | memoryview]]:
        """Payload of plain messages, with True, and what the library is to see, with False; in the order in which they came.

        :raises ValueError: with a word about what is wrong with a length, behind what came before it.
        """
        view = memoryview(self._header + data if self._header else data)
        size, position, given = len(view), 0, 0
        while True:
            if self._left:
                step = min(self._left, size - position)
                self._left -= step
                if self._is_plain:
                    if step:
                        yield True, self._unmasked(view[position : position + step])
                    given = position + step
                position += step
                if self._left:
                    break
            if self._rest:
                yield False, view[given:position]
                yield False, self._next_piece(0)
                given = position
                continue
            if size - position < 2:
                break
            first, second = view[position], view[position + 1]
            length = second & LENGTH
            key = 4 if second & MASKED else 0
            payload_at = position + key + (2 if length < 126 else 4 if length == 126 else 10)
            if length >= 126 and first & CONTROL:
                raise ValueError("control frame too long")
            if payload_at > size:
                break
            if length == 126:
                (length,) = _LENGTH_16.unpack_from(view, position + 2)
            elif length == 127:
                (length,) = _LENGTH_64.unpack_from(view, position + 2)
                if length >> 63:
                    raise ValueError("length with its highest bit set")
            self._mask = bytes(view[payload_at - key : payload_at])
            self._is_plain = first == PLAIN and (key > 0) == self._masked and not self._in_message
            if self._is_plain:
                if given < position:
                    yield False, view[given:position]
                given = payload_at
                self._left = length
                if not length:
                    yield True, b""
            else:
                if not first & CONTROL:
                    self._in_message = not first & FIN
                if length > 0xFFFF:
                    yield False, view[given:position]
                    self._rest, self._fin = length, first & FIN
                    yield False, self._next_piece(first & ~FIN)
                    given = payload_at
                else:
                    self._left = length
            position = payload_at
        self._header = b"" if self._left else bytes(view[position:])
        if given < position:
            yield False, view[given:position]

    def _unmasked(self, payload: memoryview) -> bytes:
        if not self._masked:
            return bytes(payload)
        mask = self._mask
        if turned := len(payload) % 4:
            self._mask = mask[turned:] + mask[:turned]
        return _mask(payload, mask)

    def _next_piece(self, first: int) -> bytes:
        """The header of the next piece; ``first`` has its bits and its kind, without its end."""
        self._left = min(PIECE, self._rest)
        self._rest -= self._left
        if not self._rest:
            first |= self._fin
        bit = MASKED if self._mask else 0
        if self._left < 126:
            return bytes((first, bit | self._left)) + self._mask
        return bytes((first, bit | 126)) + _LENGTH_16.pack(self._left) + self._mask

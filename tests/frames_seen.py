"""The muxado wire, read and written a second time, apart from the package.

Tests that look at bytes use this, so that a mistake of the package's own codec cannot hide itself.
The format is that of ngrok/muxado-go; see ``muxado_py/frames/muxado.py`` for the picture of it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

FIN, SYN, ACK = 1, 2, 1
NAMES = {
    0x0: "RST",
    0x1: "DATA",
    0x2: "WNDINC",
    0x3: "GOAWAY",
    0x4: "PRIORITY",
    0x5: "PING",
    0x6: "SETTINGS",
    0x7: "CREDIT",
    0x8: "WINDOW",
    0x9: "OPEN",
    0xF: "PAD",
}
KINDS = {name: kind for kind, name in NAMES.items()}
HELLO = bytes.fromhex("0000042c7fffffff6d787001")
"""The first frame of a muxado_py."""

PAD = bytes.fromhex("000000f000000000")
"""What follows each GOAWAY of a muxado_py."""


class Frame(NamedTuple):
    """One frame."""

    kind: str
    stream: int
    flags: int
    body: bytes

    @property
    def code(self) -> int:
        """The code of an RST or a GOAWAY, the number of a WNDINC."""
        return int(struct.unpack(">I", self.body[4:8] if self.kind == "GOAWAY" else self.body)[0])

    @property
    def last_id(self) -> int:
        """The last id of a GOAWAY."""
        return int.from_bytes(self.body[:4], "big")


def split(wire: bytes) -> tuple[list[Frame], bytes]:
    """The frames of ``wire``, and what is left of one that is not whole."""
    frames, start = [], 0
    while len(wire) - start >= 8:
        body = start + 8
        end = body + int.from_bytes(wire[start : start + 3], "big")
        if len(wire) < end:
            break
        kind = NAMES[wire[start + 3] >> 4]
        stream = int.from_bytes(wire[start + 4 : body], "big")
        frames.append(Frame(kind, stream, wire[start + 3] & 15, wire[body:end]))
        start = end
    return frames, wire[start:]


def whole(wire: bytes) -> list[Frame]:
    """The frames of ``wire``, which must end with a whole one."""
    frames, rest = split(wire)
    assert not rest, f"the wire ends in the middle of a frame: {rest[:40].hex()}"
    return frames


def payload(frames: Iterable[Frame], stream: int) -> bytes:
    """Everything that was sent on a stream."""
    return b"".join(one.body for one in frames if one.kind == "DATA" and one.stream == stream)


def of(frames: Iterable[Frame], stream: int) -> list[Frame]:
    """The frames of one stream, without those that only give credit or priority."""
    return [one for one in frames if one.stream == stream and one.kind in ("DATA", "RST")]


def frame(kind: str, stream: int, body: bytes = b"", flags: int = 0) -> bytes:
    """One frame in bytes."""
    head = len(body).to_bytes(3, "big") + bytes((KINDS[kind] << 4 | flags,))
    return head + stream.to_bytes(4, "big") + body


def data(stream: int, body: bytes = b"", *, syn: bool = False, fin: bool = False) -> bytes:
    return frame("DATA", stream, body, (SYN if syn else 0) | (FIN if fin else 0))


def rst(stream: int, code: int) -> bytes:
    return frame("RST", stream, struct.pack(">I", code))


def wndinc(stream: int, nbytes: int) -> bytes:
    return frame("WNDINC", stream, struct.pack(">I", nbytes))


def goaway(last_id: int, code: int = 0, debug: bytes = b"") -> bytes:
    """As Go sends it: without the pad."""
    return frame("GOAWAY", 0, struct.pack(">II", last_id, code) + debug)

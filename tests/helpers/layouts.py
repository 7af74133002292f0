"""Where frames begin and end, and where their fields are: what tests know of each wire by themselves.

The rule.  Nothing here comes from the package, so that a mistake in a wire cannot hide behind itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("LAYOUTS", "Layout", "spaced", "split", "split_frames")

Field = tuple[int, int]
"""Offset and size."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The frames of one wire."""

    order: Literal["big", "little"]
    sizes: tuple[int, ...]
    """Of the header's fields, in their order."""
    length: int
    """Which of them is the length."""
    body: Callable[[bytes], int]
    """How many bytes follow a header."""

    @property
    def header(self) -> int:
        return sum(self.sizes)

    @property
    def fields(self) -> list[Field]:
        return list(zip(accumulate((0, *self.sizes)), self.sizes, strict=False))

    @property
    def id(self) -> Field:
        """The stream's, which has four bytes everywhere, before a length of four if there is one."""
        return next(field for field in self.fields if field[1] == 4)

    def get(self, frame: bytes | bytearray, field: Field) -> int:
        offset, size = field
        return int.from_bytes(frame[offset : offset + size], self.order)

    def put(self, frame: bytearray, field: Field, value: int) -> None:
        offset, size = field
        frame[offset : offset + size] = (value % 256**size).to_bytes(size, self.order)


def _muxado1_body(header: bytes) -> int:
    # A GOAWAY's length counts a text that is never there.
    return 8 if header[3] & 0x1F == 6 else int.from_bytes(header[:2], "big") & 0x3FFF


_SMUX = Layout("little", (1, 1, 2, 4), 2, lambda header: int.from_bytes(header[2:4], "little"))

LAYOUTS = {
    "muxado": Layout("big", (3, 1, 4), 0, lambda header: int.from_bytes(header[:3], "big")),
    "yamux": Layout(
        "big",
        (1, 1, 2, 4, 4),
        4,
        lambda header: int.from_bytes(header[8:], "big") if header[1] == 0 else 0,
    ),
    "smux1": _SMUX,
    "smux2": _SMUX,
    "muxado1": Layout("big", (2, 1, 1, 4), 0, _muxado1_body),
}
"""The layouts by the names of their wires."""


def split(data: bytes, wire: str) -> list[bytes]:
    """The frames of ``data``; what is no whole frame comes last."""
    layout = LAYOUTS[wire]
    header = layout.header
    frames = []
    pos = 0
    while pos + header <= len(data):
        stop = pos + header + layout.body(data[pos : pos + header])
        frames.append(data[pos:stop])
        pos = stop
    if pos < len(data):
        frames.append(data[pos:])
    return frames


def split_frames(data: bytes, wire: str = "muxado") -> list[bytes]:
    """The frames of ``data``, which has nothing but whole ones."""
    layout = LAYOUTS[wire]
    frames = split(data, wire)
    if frames:
        header = frames[-1][: layout.header]
        whole = len(header) == layout.header
        assert whole, f"cut short: {data.hex()}"
        assert len(frames[-1]) == layout.header + layout.body(header), f"cut short: {data.hex()}"
    return frames


def spaced(frame: bytes, wire: str = "muxado") -> str:
    """``"000001 12 00000005 79"``: the fields of the header, and the body."""
    parts = []
    for size in LAYOUTS[wire].sizes:
        parts.append(frame[:size])
        frame = frame[size:]
    return " ".join(part.hex() for part in (*parts, frame) if part)

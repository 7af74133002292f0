"""Mutations of what a peer said: bits, fields and whole frames, at random but the same for a seed.

What it knows.  Of each wire only where frames begin and where their fields are, so that most of a
mutation still means something: bytes changed blindly end a session at the first frame.

The trap.  What was mutated need not consist of frames any more; what is left over is one last frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .layouts import LAYOUTS, split

if TYPE_CHECKING:
    from random import Random

__all__ = ("mutate",)

EDGES = (
    *(0, 1, 2, 3, 4, 5, 7, 8, 16, 0x7F, 0x80, 0xFF, 0x100, 0x3FFF, 0x4000, 0x7FFF, 0xFFFF),
    *(0x10000, 2**18, 2**24 - 1, 2**31 - 3, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1),
)
"""Values at which counters, masks and windows end."""

MANY = 3000
"""Copies of one frame: more than any budget."""


def mutate(source: Random, wire: str, data: bytes, other: bytes) -> bytes:
    """``data`` with one to eight changes, some of them taken from ``other``."""
    for _ in range(source.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        change = source.choice(_CHANGES)
        data = change(source, wire, data, other)
    return data


# Changes of bytes.


def _flip(source: Random, wire: str, data: bytes, other: bytes) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[source.randrange(len(data))] ^= 1 << source.randrange(8)
    return bytes(changed)


def _set(source: Random, wire: str, data: bytes, other: bytes) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[source.randrange(len(data))] = source.choice((0, 1, 0x7F, 0x80, 0xFF))
    return bytes(changed)


def _range(source: Random, data: bytes) -> tuple[int, int]:
    start = source.randrange(len(data) + 1)
    longest = source.choice((1, 4, 12, 100, len(data)))
    return start, min(len(data), start + source.randint(0, longest))


def _drop(source: Random, wire: str, data: bytes, other: bytes) -> bytes:
    start, stop = _range(source, data)
    return data[:start] + data[stop:]


def _repeat(source: Random, wire: str, data: bytes, other: bytes) -> bytes:
    start, stop = _range(source, data)
    return data[:stop] + data[start:]


def _splice(source: Random, wire: str, data: bytes, other: bytes) -> bytes:
    start, stop = _range(source, other)
    place = source.randint(0, len(data))
    return data[:place] + other[start:stop] + data[place:]


def _noise(source: Random, wire: str, data: bytes, other: bytes) -> bytes:
    place = source.randint(0, len(data))
    return data[:place] + source.randbytes(source.randint(1, 30)) + data[place:]


def _cut(source: Random, wire: str, data: bytes, other: bytes) -> bytes:
    return data[: source.randint(0, len(data))]


def _join(source: Random, wire: str, data: bytes, other: bytes) -> bytes:
    return data + other


# Changes of frames.


def _field(source: Random, wire: str, data: bytes, other: bytes) -> bytes:
    """One field of a header, to an edge, to its neighbours, or to what another frame has there."""
    frames = split(data, wire)
    if not frames:
        return data
    layout = LAYOUTS[wire]
    index = source.randrange(len(frames))
    changed = bytearray(frames[index])
    field = source.choice(layout.fields)
    value = layout.get(changed, field)
    value = source.choice(
        (
            source.choice(EDGES),
            value + source.choice((-2, -1, 1, 2)),
            value ^ 1 << source.randrange(8 * field[1]),
            layout.get(source.choice(frames), field),
        )
    )
    layout.put(changed, field, value)
    frames[index] = bytes(changed)
    return b"".join(frames)


def _word(source: Random, wire: str, data: bytes, other: bytes) -> bytes:
    """A word of a body: codes, credit, totals."""
    frames = split(data, wire)
    layout = LAYOUTS[wire]
    places = [n for n, frame in enumerate(frames) if len(frame) >= layout.header + 4]
    if not places:
        return data
    index = source.choice(places)
    changed = bytearray(frames[index])
    place = layout.header + source.choice((0, 0, 4))
    layout.put(changed, (place, 4), source.choice(EDGES))
    frames[index] = bytes(changed)
    return b"".join(frames)


def _body(source: Random, wire: str, data: bytes, other: bytes) -> bytes:
    """A byte of a short body: urgencies, flags and keys."""
    frames = split(data, wire)
    header = LAYOUTS[wire].header
    places = [n for n, frame in enumerate(frames) if header < len(frame) < 100]
    if not places:
        return data
    index = source.choice(places)
    changed = bytearray(frames[index])
    changed[source.randrange(header, len(changed))] = source.choice((0, 1, 8, 0x7F, 0x80, 0xFF))
    frames[index] = bytes(changed)
    return b"".join(frames)


def _resize(source: Random, wire: str, data: bytes, other: bytes) -> bytes:
    """Another length with a body that has it."""
    frames = split(data, wire)
    if not frames:
        return data
    layout = LAYOUTS[wire]
    index = source.randrange(len(frames))
    length = source.choice((0, 1, 3, 4, 8, 15, 16, 1031, 5000, 0x3FFF, 100_000))
    changed = bytearray(frames[index][: layout.header].ljust(layout.header, b"\0"))
    layout.put(changed, layout.fields[layout.length], length)
    frames[index] = bytes(changed) + frames[index][layout.header :][:length].ljust(length, b"\0")
    return b"".join(frames)


def _shuffle(source: Random, wire: str, data: bytes, other: bytes) -> bytes:
    """Drop, repeat, swap, move or take over whole frames."""
    frames = split(data, wire)
    if not frames:
        return data
    first, second = (source.randrange(len(frames)) for _ in range(2))
    kind = source.randrange(6)
    if kind == 0:
        del frames[first : first + source.choice((1, 1, 2, 10))]
    elif kind == 1:
        frames[first:first] = frames[first : first + 1] * source.choice((1, 2, 5, 40))
    elif kind == 2:
        frames[first], frames[second] = frames[second], frames[first]
    elif kind == 3:
        frames.insert(second, frames.pop(first))
    elif kind == 4:
        frames[first:first] = _some(source, split(other, wire))
    else:
        frames += _some(source, frames)
    return b"".join(frames)


def _some(source: Random, frames: list[bytes]) -> list[bytes]:
    start = source.randint(0, len(frames))
    return frames[start : start + source.choice((1, 1, 3, 20))]


def _flood(source: Random, wire: str, data: bytes, other: bytes) -> bytes:
    """One small frame or two of them, again and again, perhaps each for a stream of its own."""
    frames = [frame for frame in split(data, wire) if len(frame) < 100]
    if not frames or source.random() < 0.8:
        return data
    layout = LAYOUTS[wire]
    start = source.randrange(len(frames))
    flood = [bytearray(frame) for frame in frames[start : start + source.choice((1, 1, 2, 3))]]
    step = source.choice((0, 0, 0, 2, 4))
    out = bytearray()
    for _ in range(MANY // len(flood)):
        for frame in flood:
            out += frame
            if step and len(frame) >= layout.header:
                layout.put(frame, layout.id, layout.get(frame, layout.id) + step)
    return source.choice((data, b"")) + bytes(out)


_CHANGES = (
    *(_field, _field, _field, _field, _shuffle, _shuffle, _shuffle, _word, _word, _body, _resize),
    *(_flip, _set, _drop, _repeat, _splice, _noise, _cut, _join, _flood),
)

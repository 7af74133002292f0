"""Whatever arrives, and however it is cut: each decoder says the same and never raises."""

from __future__ import annotations

from itertools import pairwise
from struct import pack
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.frames import WIRES, metadata

from ..helpers.recording import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

ids = st.one_of(
    st.integers(0, 12), st.sampled_from([0x7FFFFFFD, 0x7FFFFFFE, 0x7FFFFFFF, 0x80000001])
)
lengths = st.one_of(st.integers(0, 24), st.sampled_from([1031, 1032, 1033, 1040, 2**24 - 1]))


def body(draw: st.DrawFn, length: int) -> bytes:
    """What is likely to fit a header that says ``length``."""
    data = draw(st.binary(min_size=min(length, 64), max_size=min(length, 64)))
    return data.ljust(min(length, 2000), b"\0") if draw(st.booleans()) else data


keys = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=6)
pairs = st.dictionaries(keys, st.binary(max_size=40), max_size=4)


@st.composite
def opening(draw: st.DrawFn) -> bytes:
    """A stream of muxado_py with metadata."""
    return WIRES["muxado"](client=True).opening(draw(ids), metadata.pack(draw(pairs)))


@st.composite
def muxado(draw: st.DrawFn) -> bytes:
    """A header that is likely to mean something, and its body."""
    if draw(st.integers(0, 7)) == 0:
        return draw(opening())
    length = draw(lengths)
    header = length.to_bytes(3, "big") + bytes([draw(st.integers(0, 255))])
    return header + draw(ids).to_bytes(4, "big") + body(draw, length)


@st.composite
def yamux(draw: st.DrawFn) -> bytes:
    length = draw(lengths)
    flags = draw(st.one_of(st.integers(0, 15), st.integers(0, 0xFFFF)))
    kind = draw(st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4]))
    version = draw(st.sampled_from([0] * 9 + [1]))
    header = pack(">BBHII", version, kind, flags, draw(ids), length)
    return header + (body(draw, length) if kind == 0 else b"")


@st.composite
def smux(draw: st.DrawFn, version: int) -> bytes:
    length = min(draw(lengths), 0xFFFF)
    command = draw(st.sampled_from([0, 1, 2, 2, 2, 3, 4, 4, 5]))
    if command != 2 and draw(st.booleans()):
        length = 8 if command == 4 else 0
    seen = draw(st.sampled_from([version] * 9 + [3 - version]))
    return pack("<BBHI", seen, command, length, draw(ids)) + body(draw, length)


@st.composite
def muxado1(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from([1, 1, 1, 2, 3, 3, 3, 4, 6, 0x23, 5, 0]))
    flags = draw(st.one_of(st.integers(0, 7), st.integers(0, 255)))
    length = draw(lengths) & 0xFFFF
    if kind == 1 and draw(st.booleans()):
        length = 2 * (flags & 2) + (flags & 4)
    elif kind != 3 and draw(st.booleans()):
        length = 8 if kind == 6 else 4
    return pack(">HBBI", length, flags, kind, draw(ids)) + body(draw, length & 0x3FFF)


FRAMES = {
    "muxado": muxado(),
    "yamux": yamux(),
    "smux1": smux(1),
    "smux2": smux(2),
    "muxado1": muxado1(),
}
"""Frames of each wire, whole and broken ones."""


def streams(wire: str) -> st.SearchStrategy[bytes]:
    """The bytes of a session, in which what fits and what does not stand side by side."""
    parts = st.lists(st.one_of(FRAMES[wire], st.binary(max_size=30)), max_size=12)
    hello = WIRES[wire](client=True).hello()
    return st.builds(
        lambda begin, parts: begin + b"".join(parts), st.sampled_from([b"", hello]), parts
    )


wires = pytest.mark.parametrize("wire", FRAMES)


def check_pieces(wire: str, data: bytes, pieces: Iterator[bytes | memoryview], pause: int) -> None:
    """``pieces``, each decoded before the next is asked for, say what ``data`` says as a whole."""
    whole, cut = Recorder(), Recorder(pause_every=pause)
    WIRES[wire](client=False).decoder(whole).feed(data)
    decoder = WIRES[wire](client=False).decoder(cut)
    for piece in pieces:
        decoder.feed(piece)
        while cut.paused and not violated(cut):
            cut.paused = False
            decoder.feed(b"")
    assert cut.calls == whole.calls


@pytest.mark.slow
@wires
@given(st.data(), st.lists(st.integers(0, 4000), max_size=30), st.integers(0, 3))
def test_any_bytes_at_any_chunking_say_the_same(
    wire: str, drawn: st.DataObject, cuts: list[int], pause: int
) -> None:
    data = drawn.draw(streams(wire))
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    check_pieces(wire, data, (data[start:end] for start, end in pairwise(edges)), pause)


@pytest.mark.slow
@wires
@given(st.data(), st.integers(1, 100), st.integers(0, 3))
def test_a_decoder_keeps_nothing_of_a_buffer_that_is_used_again(
    wire: str, drawn: st.DataObject, size: int, pause: int
) -> None:
    data = drawn.draw(streams(wire))
    buffer = memoryview(bytearray(size))

    def pieces() -> Iterator[memoryview]:
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            buffer[: len(piece)] = piece
            yield buffer[: len(piece)]
            buffer[:] = b"?" * size

    check_pieces(wire, data, pieces(), pause)


@pytest.mark.slow
@wires
@given(st.data())
def test_any_bytes_byte_by_byte_say_the_same(wire: str, drawn: st.DataObject) -> None:
    data = drawn.draw(streams(wire))
    whole = Recorder()
    WIRES[wire](client=False).decoder(whole).feed(data)
    pieces = Recorder()
    decoder = WIRES[wire](client=False).decoder(pieces)
    for i in range(len(data)):
        decoder.feed(data[i : i + 1])
    assert pieces.calls == whole.calls


@wires
def test_nothing_is_decoded_while_paused(wire: str) -> None:
    recorder = Recorder()
    one = WIRES[wire](client=True)
    decoder = one.decoder(recorder)
    recorder.paused = True
    decoder.feed(one.fin(3))
    decoder.feed(one.fin(5)[:5])
    assert recorder.calls == []
    recorder.paused = False
    decoder.feed(b"")
    assert recorder.calls[-1] == ("finished", 3)
    decoder.feed(one.fin(5)[5:])
    assert recorder.calls[-2:] == [("finished", 3), ("finished", 5)]


def violated(recorder: Recorder) -> bool:
    return bool(recorder.calls) and recorder.calls[-1][0] == "violated"

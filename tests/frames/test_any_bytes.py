"""Whatever arrives, and however it is cut: the decoder says the same and never raises."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from muxado_py.frames.muxado import Muxado

from ..helpers.pair import HELLO
from ..helpers.recording import Recorder

WIRE = Muxado(client=False)

ids = st.one_of(
    st.integers(0, 12), st.sampled_from([0x7FFFFFFD, 0x7FFFFFFE, 0x7FFFFFFF, 0x80000001])
)
lengths = st.one_of(st.integers(0, 24), st.sampled_from([1031, 1032, 1033, 1040, 2**24 - 1]))


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A header that is likely to mean something, and a body that is likely to fit."""
    length = draw(lengths)
    header = length.to_bytes(3, "big") + bytes([draw(st.integers(0, 255))])
    body = draw(st.binary(min_size=min(length, 64), max_size=min(length, 64)))
    if draw(st.booleans()):
        body = body.ljust(min(length, 2000), b"\0")
    return header + draw(ids).to_bytes(4, "big") + body


streams = st.builds(
    lambda hello, parts: (HELLO if hello else b"") + b"".join(parts),
    st.booleans(),
    st.lists(st.one_of(frames(), st.binary(max_size=30)), max_size=12),
)


@settings(deadline=None)
@given(data=streams, cuts=st.lists(st.integers(0, 4000), max_size=30), pause=st.integers(0, 3))
def test_any_bytes_at_any_chunking_say_the_same(data: bytes, cuts: list[int], pause: int) -> None:
    whole = Recorder()
    WIRE.decoder(whole).feed(data)

    pieces = Recorder(pause_every=pause)
    decoder = WIRE.decoder(pieces)
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for start, end in pairwise(edges):
        decoder.feed(data[start:end])
        while pieces.paused and not violated(pieces):
            pieces.paused = False
            decoder.feed(b"")
    assert pieces.calls == whole.calls


@settings(deadline=None)
@given(data=streams)
def test_any_bytes_byte_by_byte_say_the_same(data: bytes) -> None:
    whole = Recorder()
    WIRE.decoder(whole).feed(data)
    pieces = Recorder()
    decoder = WIRE.decoder(pieces)
    for i in range(len(data)):
        decoder.feed(data[i : i + 1])
    assert pieces.calls == whole.calls


def violated(recorder: Recorder) -> bool:
    return bool(recorder.calls) and recorder.calls[-1][0] == "violated"

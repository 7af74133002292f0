"""What is sifted out of frames is what was sent, however it came, and long ones are given on in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from muxado_py.links.websocket_frames import PIECE, FrameSieve, plain_frame

LONGEST = 64 * 1024


def payload(length: int) -> bytes:
    return bytes(index % 251 for index in range(length))


def payload_of(data: bytes, sizes: list[int], *, masked: bool) -> bytes:
    """All that a session has of these frames, however they come; the library judges what it is given."""
    sieve = FrameSieve(masked=masked)
    library = Protocol(Side.SERVER if masked else Side.CLIENT, max_size=None)
    found = b""
    while data:
        size = sizes.pop(0) if sizes else len(data)
        for is_payload, piece in sieve.sift(data[:size]):
            if is_payload:
                found += piece
                continue
            library.receive_data(piece)  # type: ignore[arg-type]
            assert library.close_sent is None, library.close_sent
            for frame in library.events_received():
                assert isinstance(frame, Frame)
                assert len(frame.data) < LONGEST
                if frame.opcode is not Opcode.PING:
                    found += frame.data
        data = data[size:]
    return found


LENGTHS = st.one_of(
    st.sampled_from([0, 1, 125, 126, LONGEST - 1, LONGEST, LONGEST + 1, 2 * PIECE, 3 * PIECE + 5]),
    st.integers(0, 200_000),
)


@given(
    lengths=st.lists(st.tuples(LENGTHS, st.booleans()), min_size=1, max_size=4),
    sizes=st.lists(st.integers(0, 70_000), max_size=6),
    masked=st.booleans(),
)
def test_frames_in_pieces_say_the_same(
    lengths: list[tuple[int, bool]], sizes: list[int], masked: bool
) -> None:
    data = b""
    expected = b""
    for length, fragmented in lengths:
        expected += payload(length)
        first = length // 3 if fragmented else length
        data += Frame(Opcode.BINARY, payload(length)[:first], not fragmented).serialize(mask=masked)
        data += Frame(Opcode.PING, b"?").serialize(mask=masked)
        if fragmented:
            data += Frame(Opcode.CONT, payload(length)[first:], True).serialize(mask=masked)
    assert payload_of(data, sizes, masked=masked) == expected


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", [5, 300, LONGEST + 7])
def test_a_header_may_be_cut_anywhere(length: int, masked: bool) -> None:
    fragment = Frame(Opcode.BINARY, payload(length), False).serialize(mask=masked)
    rest = Frame(Opcode.CONT, payload(length), True).serialize(mask=masked)
    whole = Frame(Opcode.BINARY, payload(length)).serialize(mask=masked)
    for first in range(16):
        sizes = [1] * first + [len(fragment) - first] + [1] * first + [len(rest) - first]
        found = payload_of(fragment + rest + whole, sizes + [1] * first, masked=masked)
        assert found == 3 * payload(length)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535])
@pytest.mark.parametrize("masked", [False, True])
def test_a_plain_frame_is_what_the_library_would_send(size: int, masked: bool) -> None:
    frame = plain_frame(payload(size), masked=masked)
    library = Protocol(Side.SERVER if masked else Side.CLIENT, max_size=None)
    library.receive_data(frame)
    (found,) = library.events_received()
    assert isinstance(found, Frame)
    assert (found.opcode, bytes(found.data), found.fin) == (Opcode.BINARY, payload(size), True)
    plain = Frame(Opcode.BINARY, payload(size)).serialize(mask=False)
    assert masked or frame == plain


@pytest.mark.parametrize("first", [0x82, 0x02])
def test_what_has_come_of_a_long_frame_is_given_on(first: int) -> None:
    sieve = FrameSieve(masked=False)
    head = bytes((first, 0x7F)) + (2**40).to_bytes(8, "big")
    assert sum(len(piece) for _, piece in sieve.sift(head)) <= 4
    for _ in range(100):
        given = sum(len(piece) for _, piece in sieve.sift(bytes(10_000)))
        assert 10_000 <= given <= 10_004  # and so nothing is kept


def test_a_message_inside_another_is_the_librarys_to_judge() -> None:
    data = Frame(Opcode.BINARY, b"one", False).serialize(mask=False)
    data += Frame(Opcode.BINARY, b"two", True).serialize(mask=False)
    assert [is_payload for is_payload, _ in FrameSieve(masked=False).sift(data)] == [False]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (bytes((0x82, 0x7F)) + (2**63).to_bytes(8, "big"), "highest bit"),
        (bytes((0x89, 0x7E, 0, 200)), "control frame"),
        (bytes((0x89, 0x7F)) + (2**40).to_bytes(8, "big"), "control frame"),
    ],
)
def test_a_length_that_is_wrong_is_not_waited_for(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        list(FrameSieve(masked=False).sift(data))

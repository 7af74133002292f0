"""The muxado wire of 2014, byte for byte: one table of frames, read in both directions and at every
split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.errors import ErrorCode
from muxado_py.frames import WIRES, candidates
from muxado_py.frames.muxado1 import Muxado1

from ..helpers.decoding import Call, decode, singly
from ..helpers.recording import Recorder
from .golden_rows import Row, RowChecks

WIRE = Muxado1(client=True)
HEARTBEAT = 0xFFFF_FFFF
"""The core's name for the type that is 0xfffffeff here."""


# Frames that the Go of 2014 sends are marked (Go).
ROWS = {
    "open (Go)": Row(
        "0000 00 01 00000003",
        [("opened", 3)],
        lambda wire: wire.syn(3, 0, None, None),
    ),
    "open, and the first data (Go)": Row(
        "0000 00 01 00000003  0001 00 03 00000003 79",
        [("opened", 3), ("data", 3, b"y", 0)],
        lambda wire: wire.syn(3, 1, None, None) + b"y",
    ),
    "open and half close (Go)": Row("0000 01 01 00000005", [("opened", 5), ("finished", 5)]),
    "open a heartbeat (Go)": Row(
        "0008 06 01 00000003 7fffffff fffffeff",
        [("opened", 3, HEARTBEAT), ("prioritized", 3, 0, 256)],
    ),
    "open a heartbeat": Row(
        "0004 04 01 00000002 fffffeff",
        [("opened", 2, HEARTBEAT)],
        lambda wire: wire.syn(2, 0, None, HEARTBEAT),
    ),
    "open with a type (Go)": Row(
        "0004 04 01 00000003 00000007",
        [("opened", 3, 7)],
        lambda wire: wire.syn(3, 0, None, 7),
    ),
    "open with a type of 0": Row(
        "0004 04 01 00000003 00000000",
        [("opened", 3, 0)],
        lambda wire: wire.syn(3, 0, None, 0),
    ),
    "open with the type that is a heartbeat elsewhere": Row(
        "0004 04 01 00000003 ffffffff",
        [("opened", 3, 0xFFFF_FEFF)],
        lambda wire: wire.syn(3, 0, None, 0xFFFF_FEFF),
    ),
    "open with the highest priority": Row(
        "0004 02 01 00000003 7ff00001",
        [("opened", 3), ("prioritized", 3, 0, 256)],
        lambda wire: wire.syn(3, 0, (0, 256), None),
    ),
    "open with the lowest priority": Row(
        "0004 02 01 00000003 00000001",
        [("opened", 3), ("prioritized", 3, 7, 1)],
        lambda wire: wire.syn(3, 0, (7, 1), None),
    ),
    "open with a priority of Go's (Go)": Row(
        "0004 02 01 00000003 40f00000", [("opened", 3), ("prioritized", 3, 3, 16)]
    ),
    "open with a priority of 0": Row("0004 02 01 00000003 00000000", [("opened", 3)]),
    "open with all there is": Row(
        "0008 06 01 00000003 50700001 00000009  0002 00 03 00000003 6869",
        [("opened", 3, 9), ("prioritized", 3, 2, 8), ("data", 3, b"hi", 0)],
        lambda wire: wire.syn(3, 2, (2, 8), 9) + b"hi",
    ),
    "open with all there is, and half close": Row(
        "0008 07 01 00000003 50700001 00000009",
        [("opened", 3, 9), ("prioritized", 3, 2, 8), ("finished", 3)],
    ),
    "data (Go)": Row(
        "0003 00 03 7fffffff 616263",
        [("data", 0x7FFFFFFF, b"abc", 0)],
        lambda wire: wire.data_header(0x7FFFFFFF, 3, fin=False) + b"abc",
    ),
    "data and half close (Go)": Row(
        "0002 01 03 00000002 6869",
        [("data", 2, b"hi", 0), ("finished", 2)],
        lambda wire: wire.data_header(2, 2, fin=True) + b"hi",
    ),
    "half close (Go)": Row("0000 01 03 00000007", [("finished", 7)], lambda wire: wire.fin(7)),
    "zero-window probe": Row(
        "0000 00 03 00000009", [("data", 9, b"", 0)], lambda wire: wire.probe(9)
    ),
    "reset of a stream that is gone (Go)": Row(
        "0004 00 02 00000003 00000004",
        [("was_reset", 3, ErrorCode.STREAM_CLOSED)],
        lambda wire: wire.reset(3, ErrorCode.STREAM_CLOSED),
    ),
    "credit for a read (Go)": Row(
        "0004 00 04 00000005 00000001", [("credited", 5, 1)], lambda wire: wire.credit(5, 1, 10, 20)
    ),
    "credit, the high bit masked": Row("0004 00 04 00000005 80000001", [("credited", 5, 1)]),
    "credit of nothing": Row("0004 00 04 00000005 00000000", [("credited", 5, 0)]),
    "goaway": Row(
        "0008 00 06 00000000 00000005 00000000",
        [("going_away", 5, 0, b"")],
        lambda wire: wire.go_away(5, ErrorCode.NO_ERROR, b"a text that nobody would read"),
    ),
    "goaway of Session.Close, whose length counts a text that is not there (Go)": Row(
        "001f 00 06 00000000 00000005 00000000", [("going_away", 5, 0, b"")]
    ),
    "goaway of an empty text (Go)": Row(
        "0010 00 06 00000000 00000005 00000001", [("going_away", 5, 1, b"")]
    ),
    "goaway, the high bit masked": Row(
        "0008 00 06 00000000 80000005 00000000", [("going_away", 5, 0, b"")]
    ),
    "the bits above each field": Row("c001 00 e3 80000003 79", [("data", 3, b"y", 0)]),
    "unknown flags": Row("0001 fe 03 00000003 79", [("data", 3, b"y", 0)]),
}

MALFORMED = {
    "open of stream 0": ("0000 00 01 00000000", 1, "a frame of type 1 for stream 0"),
    "data for stream 0": ("0001 00 03 00000000 61", 1, "a frame of type 3 for stream 0"),
    "credit for stream 0": ("0004 00 04 80000000 00000001", 1, "a frame of type 4 for stream 0"),
    "type 0": ("0000 00 00 00000003", 1, "a muxado1 frame of type 0"),
    "a priority of its own": ("0004 00 05 00000003 00000001", 1, "a muxado1 frame of type 5"),
    "the last type": ("3fff 00 1f 00000003", 1, "a muxado1 frame of type 31"),
    "open with a body and no flags": (
        "0004 00 01 00000003 00000007",
        8,
        "SYN of 4 bytes, expected 0",
    ),
    "open with flags and no body": ("0000 06 01 00000003", 8, "SYN of 0 bytes, expected 8"),
    "open with half a body": ("0004 06 01 00000003 7fffffff", 8, "SYN of 4 bytes, expected 8"),
    "reset of 8 bytes": ("0008 00 02 00000003", 8, "RST of 8 bytes, expected 4"),
    "reset of no bytes": ("0000 00 02 00000003", 8, "RST of 0 bytes, expected 4"),
    "credit of 16383 bytes": ("3fff 00 04 00000003", 8, "WNDINC of 16383 bytes, expected 4"),
    "goaway of 7 bytes": ("0007 00 06 00000000", 8, "GOAWAY of 7 bytes, expected 8"),
}


class TestRows(RowChecks):
    wire = WIRE
    rows = ROWS
    behind = "0002 00 03 00000063 6f6b"


@pytest.mark.parametrize(
    ("frame", "code", "message"), [pytest.param(*row, id=name) for name, row in MALFORMED.items()]
)
def test_malformed(frame: str, code: int, message: str) -> None:
    """Told from the header alone: nothing of a body is waited for, and nothing behind it is read."""
    data = bytes.fromhex(frame)
    verdict: list[Call] = [("violated", code, message)]
    assert decode(WIRE, data)[0] == verdict
    assert decode(WIRE, data[:8])[0] == verdict
    assert decode(WIRE, *singly(data))[0] == verdict
    assert decode(WIRE, data + bytes.fromhex("0001 00 03 00000005 78"))[0] == verdict


CODES = {
    ErrorCode.NO_ERROR: 0,
    ErrorCode.PROTOCOL_ERROR: 1,
    ErrorCode.INTERNAL_ERROR: 2,
    ErrorCode.FLOW_CONTROL_ERROR: 3,
    ErrorCode.STREAM_CLOSED: 4,
    ErrorCode.FRAME_SIZE_ERROR: 5,
    ErrorCode.STREAM_REFUSED: 6,
    ErrorCode.STREAM_CANCELLED: 7,
}
"""The codes that 2014 had, by ours."""


@pytest.mark.parametrize(("code", "said"), CODES.items())
def test_codes_of_2014_are_told_from_ours(code: int, said: int) -> None:
    word = said.to_bytes(4, "big")
    assert WIRE.reset(3, code)[8:] == WIRE.go_away(9, code, b"")[12:] == word
    assert decode(WIRE, WIRE.reset(3, code))[0] == [("was_reset", 3, code)]
    assert decode(WIRE, WIRE.go_away(9, code, b""))[0] == [("going_away", 9, code, b"")]


def test_a_full_backlog_is_a_refusal() -> None:
    frame = WIRE.reset(3, ErrorCode.ACCEPT_QUEUE_FULL)
    assert decode(WIRE, frame)[0] == [("was_reset", 3, ErrorCode.STREAM_REFUSED)]


@pytest.mark.parametrize(
    "code", [ErrorCode.STREAM_RESET, ErrorCode.ENHANCE_YOUR_CALM, 77, 2**32 - 1]
)
def test_any_other_code_is_an_internal_error(code: int) -> None:
    """Also one that is read: 9 would be our ACCEPT_QUEUE_FULL, and safe to retry."""
    assert WIRE.reset(3, code)[8:] == b"\0\0\0\2"
    read = bytes.fromhex("0004 00 02 00000003") + max(code, 8).to_bytes(4, "big")
    assert decode(WIRE, read)[0] == [("was_reset", 3, ErrorCode.INTERNAL_ERROR)]


priorities = st.tuples(st.integers(0, 7), st.integers(1, 256))
ids = st.integers(1, 2**31 - 1)
OPERATIONS: st.SearchStrategy[tuple[bytes, list[Call]]] = st.one_of(
    st.builds(
        lambda i, body, priority, kind: (
            WIRE.syn(i, len(body), priority, kind) + body,
            [
                ("opened", i, *(() if kind is None else (kind,))),
                *([("prioritized", i, *priority)] if priority else []),
                *([("data", i, body, 0)] if body else []),
            ],
        ),
        ids,
        st.binary(max_size=40),
        st.none() | priorities,
        st.none() | st.integers(0, 2**32 - 1),
    ),
    st.builds(
        lambda i, body, fin: (
            WIRE.data_header(i, len(body), fin) + body,
            [("data", i, body, 0), *([("finished", i)] if fin else [])],
        ),
        ids,
        st.binary(min_size=1, max_size=40),
        st.booleans(),
    ),
    ids.map(lambda i: (WIRE.fin(i), [("finished", i)])),
    st.builds(
        lambda i, code: (WIRE.reset(i, code), [("was_reset", i, code)]),
        ids,
        st.sampled_from(list(CODES)),
    ),
    st.builds(lambda i, n: (WIRE.credit(i, n, 0, 0), [("credited", i, n)]), ids, ids),
    ids.map(lambda i: (WIRE.go_away(i, 0, b""), [("going_away", i, 0, b"")])),
)


@pytest.mark.slow
@given(st.lists(OPERATIONS, max_size=10), st.integers(1, 60))
def test_what_is_encoded_is_decoded(said: list[tuple[bytes, list[Call]]], step: int) -> None:
    data = b"".join(frame for frame, _ in said)
    pieces = [data[i : i + step] for i in range(0, len(data), step)]
    assert decode(WIRE, *pieces) == ([call for _, calls in said for call in calls], False)


def test_ids_of_the_two_roles() -> None:
    client, server = Muxado1(client=True), Muxado1(client=False)
    assert (client.first_id, client.first_peer_id) == (3, 2)
    assert (server.first_id, server.first_peer_id) == (2, 3)
    assert WIRES["muxado1"] is Muxado1


def test_what_the_format_cannot_say() -> None:
    said = [WIRE.hello(), WIRE.ack(2), WIRE.keep_alive(), WIRE.settings({1: 2})]
    said += [WIRE.ping(bytes(8)), WIRE.pong(bytes(8)), WIRE.priority(1, 2, 3)]
    assert b"".join([*said, WIRE.session_credit(4)]) == b""


def test_the_length_of_data_is_told_before_any_of_it_arrives() -> None:
    assert decode(WIRE, bytes.fromhex("3fff 00 03 00000003"))[0] == [("data", 3, b"", 16383)]


def test_data_is_handed_on_in_the_pieces_it_came_in() -> None:
    recorder = Recorder()
    decoder = WIRE.decoder(recorder)
    for piece in (bytes.fromhex("0005 01 03 00000003 6162"), b"cd", b"e"):
        decoder.feed(piece)
    assert recorder.pieces == [2, 2, 1]
    assert recorder.calls == [("data", 3, b"abcde", 0), ("finished", 3)]


FIRST_FRAMES = {
    "a client's heartbeat (Go)": "0008 06 01 00000003 7fffffff",
    "a server's heartbeat (Go)": "0008 06 01 00000002 7fffffff",
    "a first stream before the heartbeat (Go)": "0000 00 01 00000003 00010003",
    "open and half close (Go)": "0000 01 01 00000003",
    "a type": "0004 04 01 00000003 00000007",
    "the server answers (Go)": "0003 00 03 00000003 616263",
    "the server finishes (Go)": "0000 01 03 00000003",
    "the server gives credit (Go)": "0004 00 04 00000003 00000005",
    "the server resets (Go)": "0004 00 02 00000003 00000004",
    "the server goes away (Go)": "001f 00 06 00000000 00000003",
}


@pytest.mark.parametrize("frame", FIRST_FRAMES.values(), ids=FIRST_FRAMES)
def test_what_a_session_may_begin_with(frame: str) -> None:
    head = bytes.fromhex(frame)
    for length in range(13):
        assert Muxado1.matches(head[:length])
    assert "muxado1" in candidates(head)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param("0000042c 7fffffff 6d787001", id="the hello of a muxado_py"),
        pytest.param("00000112 00000003 61", id="Go muxado v2 opens with a byte"),
        pytest.param("00000011 00000003", id="Go muxado v2 finishes"),
        pytest.param("00001030 00000000 00000003", id="Go muxado v2 goes away"),
        pytest.param("00010001 00000001 00000000", id="yamux opens"),
        pytest.param("00000001 00000001 00000005", id="yamux opens on data"),
        pytest.param("00020001 00000000 00000000", id="yamux pings"),
        pytest.param("00030000 00000000 00000000", id="yamux goes away"),
        pytest.param("00010002 00000001 00000000", id="yamux acknowledges"),
        pytest.param("00000002 00000001 00000100", id="yamux acknowledges on data"),
        pytest.param("01000000 03000000", id="smux 1 opens"),
        pytest.param("02000000 03000000", id="smux 2 opens"),
        pytest.param("01030000 00000000", id="smux 1 keeps alive"),
        pytest.param("00000001 00000005", id="a stream that is not the first"),
        pytest.param("00000801 00000003", id="an unknown flag"),
        pytest.param("00000003 00000003", id="a probe"),
        pytest.param("00" * 12, id="zeros"),
        pytest.param(b"GET / HTTP/1".hex(), id="HTTP"),
        pytest.param("160301020001000100000000", id="TLS"),
    ],
)
def test_what_a_session_does_not_begin_with(head: str) -> None:
    assert not Muxado1.matches(bytes.fromhex(head))

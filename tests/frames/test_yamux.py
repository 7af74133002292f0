"""The yamux wire, byte for byte: one table of frames, read in both directions and at every split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.errors import ErrorCode
from muxado_py.frames import WIRES, candidates
from muxado_py.frames.yamux import Yamux

from ..helpers.decoding import Call, Sink, decode, peak_while, singly
from ..helpers.recording import Recorder
from .golden_rows import Row, RowChecks

WIRE = Yamux(client=True)
NO_ID = 0xFFFFFFFF


# Reference bytes of hashicorp/yamux are marked (Go), of rust-yamux (Rust), of js-libp2p (JS).
ROWS = {
    "open (Go)": Row(
        "00 01 0001 00000001 00000000",
        [("opened", 1)],
        lambda wire: wire.syn(1, 0, (0, 256), 7),
    ),
    "open, with a window of 1 MiB (Go)": Row(
        "00 01 0001 00000003 000c0000", [("opened", 3), ("credited", 3, 0xC0000)]
    ),
    "open, and the first data": Row(
        "00 01 0001 00000005 00000000  00 00 0000 00000005 00000001 79",
        [("opened", 5), ("data", 5, b"y", 0)],
        lambda wire: wire.syn(5, 1, None, None) + b"y",
    ),
    "open on data (Rust)": Row(
        "00 00 0001 00000005 00000002 6869", [("opened", 5), ("data", 5, b"hi", 0)]
    ),
    "open on empty data": Row("00 00 0001 00000005 00000000", [("opened", 5)]),
    "open, data and half close": Row(
        "00 00 0005 00000007 00000002 6869",
        [("opened", 7), ("data", 7, b"hi", 0), ("finished", 7)],
    ),
    "open and half close": Row("00 01 0005 00000007 00000000", [("opened", 7), ("finished", 7)]),
    "acknowledgement (Go)": Row(
        "00 01 0002 00000001 00000000",
        [("acknowledged", 1, True)],
        lambda wire: wire.ack(1),
    ),
    "acknowledgement, with a window of 1 MiB (Go)": Row(
        "00 01 0002 00000001 000c0000", [("acknowledged", 1, False), ("credited", 1, 0xC0000)]
    ),
    "acknowledgement on data (Rust)": Row(
        "00 00 0002 00000001 00000001 61", [("acknowledged", 1, False), ("data", 1, b"a", 0)]
    ),
    "acknowledgement on a half close (Rust)": Row(
        "00 00 0006 00000001 00000000", [("acknowledged", 1, False), ("finished", 1)]
    ),
    "acknowledgement on a half close (JS)": Row(
        "00 01 0006 00000001 00000000", [("acknowledged", 1, False), ("finished", 1)]
    ),
    "data (Go)": Row(
        "00 00 0000 00000001 00000003 616263",
        [("data", 1, b"abc", 0)],
        lambda wire: wire.data_header(1, 3, fin=False) + b"abc",
    ),
    "data for the highest id": Row(
        "00 00 0000 ffffffff 00000001 61", [("data", 0xFFFFFFFF, b"a", 0)]
    ),
    "data and half close": Row(
        "00 00 0004 00000002 00000002 6869", [("data", 2, b"hi", 0), ("finished", 2)]
    ),
    "data of nothing": Row("00 00 0000 00000009 00000000", [("data", 9, b"", 0)]),
    "half close (Go)": Row(
        "00 01 0004 00000007 00000000", [("finished", 7)], lambda wire: wire.fin(7)
    ),
    "half close (Rust)": Row("00 00 0004 00000007 00000000", [("finished", 7)]),
    "half close with credit": Row(
        "00 01 0004 00000007 00000010", [("credited", 7, 16), ("finished", 7)]
    ),
    "credit (Go)": Row(
        "00 01 0000 00000001 00020000",
        [("credited", 1, 131072)],
        lambda wire: wire.credit(1, 131072, 10, 20),
    ),
    "credit, the largest": Row(
        "00 01 0000 00000001 ffffffff",
        [("credited", 1, 0xFFFFFFFF)],
        lambda wire: wire.credit(1, 0xFFFFFFFF, 10, 20),
    ),
    "credit of nothing": Row("00 01 0000 00000001 00000000", [("noise",)]),
    "reset (Go)": Row(
        "00 01 0008 00000001 00000000",
        [("was_reset", 1, 0)],
        lambda wire: wire.reset(1, 0),
    ),
    "reset with a code": Row(
        "00 01 0008 00000001 00000006",
        [("was_reset", 1, 6)],
        lambda wire: wire.reset(1, ErrorCode.STREAM_CANCELLED),
    ),
    "reset on data (Rust)": Row("00 00 0008 00000001 00000000", [("was_reset", 1, 0)]),
    "reset on data that is there": Row(
        "00 00 0008 00000001 00000001 61", [("was_reset", 1, 0), ("data", 1, b"a", 0)]
    ),
    "open and reset": Row("00 01 0009 00000001 00000000", [("opened", 1), ("was_reset", 1, 0)]),
    "ping (Go)": Row(
        "00 02 0001 00000000 00000007",
        [("pinged", bytes.fromhex("0000000000000007"))],
        lambda wire: wire.ping(bytes.fromhex("0000000000000007")),
    ),
    "ping with a stream's id": Row("00 02 0001 00000009 00000000", [("pinged", bytes(8))]),
    "pong (Go)": Row(
        "00 02 0002 00000000 ffffffff",
        [("ponged", bytes.fromhex("00000000ffffffff"))],
        lambda wire: wire.pong(bytes.fromhex("00000000ffffffff")),
    ),
    "ping that is neither": Row("00 02 0000 00000000 00000007", [("noise",)]),
    "goaway (Go)": Row(
        "00 03 0000 00000000 00000000",
        [("going_away", NO_ID, 0, b"")],
        lambda wire: wire.go_away(5, ErrorCode.NO_ERROR, b"bye"),
    ),
    "goaway after a protocol error (Go)": Row(
        "00 03 0000 00000000 00000001",
        [("going_away", NO_ID, 1, b"")],
        lambda wire: wire.go_away(5, ErrorCode.PROTOCOL_ERROR, b""),
    ),
    "goaway after an internal error": Row(
        "00 03 0000 00000000 00000002",
        [("going_away", NO_ID, 2, b"")],
        lambda wire: wire.go_away(5, ErrorCode.INTERNAL_ERROR, b""),
    ),
    "goaway with a code of no table": Row(
        "00 03 0000 00000000 0000004d", [("going_away", NO_ID, 77, b"")]
    ),
    "unknown flags": Row("00 00 fff0 00000003 00000001 61", [("data", 3, b"a", 0)]),
    "unknown flags beside a known one": Row("00 01 8001 00000003 00000000", [("opened", 3)]),
}

MALFORMED = {
    "another version": ("01 00 0000 00000001 00000000", "a yamux frame of version 1"),
    "the last version": ("ff 03 0000 00000000 00000000", "a yamux frame of version 255"),
    "an unknown type": ("00 04 0000 00000000 00000010", "a yamux frame of type 4"),
    "the last type": ("00 ff 0000 00000001 ffffffff", "a yamux frame of type 255"),
    "data for stream 0": ("00 00 0000 00000000 00000005", "a Data frame for stream 0"),
    "open of stream 0 on data": ("00 00 0001 00000000 00000000", "a Data frame for stream 0"),
    "open of stream 0": ("00 01 0001 00000000 00000000", "a WindowUpdate for stream 0"),
    "credit for stream 0": ("00 01 0000 00000000 00000001", "a WindowUpdate for stream 0"),
}


class TestRows(RowChecks):
    wire = WIRE
    rows = ROWS
    behind = "00 00 0000 00000063 00000002 6f6b"


@pytest.mark.parametrize(
    ("frame", "message"), [pytest.param(*row, id=name) for name, row in MALFORMED.items()]
)
def test_malformed(frame: str, message: str) -> None:
    """Told from the header alone: nothing of a body is waited for, and nothing behind it is read."""
    data = bytes.fromhex(frame)
    verdict: list[Call] = [("violated", ErrorCode.PROTOCOL_ERROR, message)]
    assert decode(WIRE, data)[0] == verdict
    assert decode(WIRE, *singly(data))[0] == verdict
    assert decode(WIRE, data + bytes.fromhex("00 00 0000 00000005 00000001 78"))[0] == verdict


ids = st.integers(1, 2**31 - 1)
words = st.integers(0, 2**32 - 1)
OPERATIONS: st.SearchStrategy[tuple[bytes, list[Call]]] = st.one_of(
    st.builds(
        lambda i, body: (
            WIRE.syn(i, len(body), None, None) + body,
            [("opened", i), *([("data", i, body, 0)] if body else [])],
        ),
        ids,
        st.binary(max_size=40),
    ),
    st.builds(
        lambda i, body: (WIRE.data_header(i, len(body), False) + body, [("data", i, body, 0)]),
        ids,
        st.binary(min_size=1, max_size=40),
    ),
    ids.map(lambda i: (WIRE.fin(i), [("finished", i)])),
    ids.map(lambda i: (WIRE.ack(i), [("acknowledged", i, True)])),
    st.builds(lambda i, code: (WIRE.reset(i, code), [("was_reset", i, code)]), ids, words),
    st.builds(
        lambda i, n: (WIRE.credit(i, n, 0, 0), [("credited", i, n)]),
        ids,
        st.integers(1, 2**32 - 1),
    ),
    words.map(lambda n: (WIRE.ping(n.to_bytes(8, "big")), [("pinged", n.to_bytes(8, "big"))])),
    words.map(lambda n: (WIRE.pong(n.to_bytes(8, "big")), [("ponged", n.to_bytes(8, "big"))])),
    st.integers(0, 2).map(lambda n: (WIRE.go_away(0, n, b""), [("going_away", NO_ID, n, b"")])),
)


@pytest.mark.slow
@given(st.lists(OPERATIONS, max_size=10), st.integers(1, 60))
def test_what_is_encoded_is_decoded(said: list[tuple[bytes, list[Call]]], step: int) -> None:
    data = b"".join(frame for frame, _ in said)
    pieces = [data[i : i + step] for i in range(0, len(data), step)]
    assert decode(WIRE, *pieces) == ([call for _, calls in said for call in calls], False)


def test_ids_of_the_two_roles() -> None:
    client, server = Yamux(client=True), Yamux(client=False)
    assert (client.first_id, client.first_peer_id) == (1, 2)
    assert (server.first_id, server.first_peer_id) == (2, 1)
    assert WIRES["yamux"] is Yamux


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (ErrorCode.NO_ERROR, 0),
        (ErrorCode.PROTOCOL_ERROR, 1),
        (ErrorCode.FLOW_CONTROL_ERROR, 1),
        (ErrorCode.ENHANCE_YOUR_CALM, 1),
        (ErrorCode.INTERNAL_ERROR, 2),
        (ErrorCode.SESSION_CLOSED, 2),
        (4711, 2),
    ],
)
def test_a_goaway_has_three_codes(code: int, said: int) -> None:
    """What the peer did wrong is a protocol error, and all other trouble is ours."""
    assert WIRE.go_away(3, code, b"why") == bytes.fromhex("00030000 00000000") + bytes(
        (0, 0, 0, said)
    )


def test_what_the_format_cannot_say() -> None:
    said = [WIRE.hello(), WIRE.probe(1), WIRE.keep_alive(), WIRE.settings({1: 2})]
    assert said == [b""] * 4
    assert WIRE.priority(1, 2, 3) + WIRE.session_credit(4) == b""


def test_a_frame_of_4_gib_is_never_held() -> None:
    sink = Sink()
    decoder = WIRE.decoder(sink)
    chunk = bytes(2**16)

    def feed() -> None:
        decoder.feed(bytes.fromhex("00 00 0000 00000001 ffffffff"))
        for _ in range(2**8):
            decoder.feed(chunk)

    assert peak_while(feed) < 2 * len(chunk)
    assert decoder.midway
    assert sink.total == 2**24


def test_the_length_of_data_is_told_before_any_of_it_arrives() -> None:
    header = bytes.fromhex("00 00 0001 00000003 ffffffff")
    assert decode(WIRE, header)[0] == [("opened", 3), ("data", 3, b"", 0xFFFFFFFF)]


def test_data_is_handed_on_in_the_pieces_it_came_in() -> None:
    recorder = Recorder()
    decoder = WIRE.decoder(recorder)
    for piece in (bytes.fromhex("00 00 0004 00000003 00000005 6162"), b"cd", b"e"):
        decoder.feed(piece)
    assert recorder.pieces == [2, 2, 1]
    assert recorder.calls == [("data", 3, b"abcde", 0), ("finished", 3)]


FIRST_FRAMES = {
    "open (Go)": "00 01 0001 00000001 00000000",
    "open with a larger window (Go)": "00 01 0001 00000001 000c0000",
    "open on data (Rust)": "00 00 0001 00000001 00000005",
    "ping (Go)": "00 02 0001 00000000 00000000",
    "the server opens": "00 01 0001 00000002 00000000",
    "the server acknowledges": "00 01 0002 00000001 00000000",
    "the server acknowledges on data (Rust)": "00 00 0002 00000001 00000100",
    "the server refuses": "00 01 0008 00000001 00000000",
    "the server answers without an acknowledgement (Go)": "00 00 0000 00000001 00000003",
    "the server gives credit": "00 01 0000 00000001 00020000",
    "the server finishes": "00 01 0004 00000001 00000000",
    "the server answers a ping": "00 02 0002 00000000 00000000",
    "the server goes away": "00 03 0000 00000000 00000000",
}


@pytest.mark.parametrize("frame", FIRST_FRAMES.values(), ids=FIRST_FRAMES)
def test_what_a_session_may_begin_with(frame: str) -> None:
    head = bytes.fromhex(frame)
    for length in range(13):
        assert Yamux.matches(head[:length])
    assert "yamux" in candidates(head)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param("0000042c 7fffffff 6d787001", id="the hello of a muxado_py"),
        pytest.param("00000112 00000003 61", id="Go muxado opens with a byte"),
        pytest.param("00000012 00000003", id="Go muxado opens"),
        pytest.param("00000810 00000003", id="Go muxado sends 8 bytes"),
        pytest.param("00001030 00000000 00000003", id="Go muxado goes away"),
        pytest.param("01000000 03000000", id="smux 1 opens"),
        pytest.param("02000000 03000000", id="smux 2 opens"),
        pytest.param("00020001 00000003", id="a ping of a stream"),
        pytest.param("00020000 00000000", id="a ping that is neither"),
        pytest.param("00030001 00000000", id="a GoAway with flags"),
        pytest.param("00040000 00000000", id="an unknown type"),
        pytest.param("00010001 00000000", id="stream 0"),
        pytest.param("00" * 12, id="zeros"),
        pytest.param(b"GET / HTTP/1".hex(), id="HTTP"),
        pytest.param("160301020001000100000000", id="TLS"),
    ],
)
def test_what_a_session_does_not_begin_with(head: str) -> None:
    assert not Yamux.matches(bytes.fromhex(head))

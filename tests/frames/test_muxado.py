"""The muxado wire, byte for byte: one table of frames, read in both directions and at every split."""

from __future__ import annotations

import pytest

from muxado_py.errors import ErrorCode
from muxado_py.frames import WIRES, Setting, pack
from muxado_py.frames.muxado import Muxado

from ..helpers.decoding import Call, Sink, decode, peak_while, singly
from ..helpers.pair import HELLO, PAD, spaced
from ..helpers.recording import Recorder
from .golden_rows import Row, RowChecks

WIRE = Muxado(client=True)


# Reference bytes of Go peers are marked (Go); the others follow from the format.
ROWS = {
    "open with a byte (Go)": Row(
        "000001 12 00000005 79",
        [("opened", 5), ("data", 5, b"y", 0)],
        lambda wire: wire.syn(5, 1, None, None) + b"y",
    ),
    "open and close (Go)": Row(
        "000000 13 00000005",
        [("opened", 5), ("finished", 5)],
        None,
    ),
    "open": Row(
        "000000 12 00000003",
        [("opened", 3)],
        lambda wire: wire.syn(3, 0, None, None),
    ),
    "half close (Go)": Row(
        "000000 11 00000007",
        [("finished", 7)],
        lambda wire: wire.fin(7),
    ),
    "data": Row(
        "000003 10 7ffffffd 616263",
        [("data", 0x7FFFFFFD, b"abc", 0)],
        lambda wire: wire.data_header(0x7FFFFFFD, 3, fin=False) + b"abc",
    ),
    "data and half close": Row(
        "000002 11 00000002 6869",
        [("data", 2, b"hi", 0), ("finished", 2)],
        lambda wire: wire.data_header(2, 2, fin=True) + b"hi",
    ),
    "open, data and half close": Row(
        "000002 13 00000002 6869",
        [("opened", 2), ("data", 2, b"hi", 0), ("finished", 2)],
        None,
    ),
    "zero-window probe": Row(
        "000000 10 00000009", [("data", 9, b"", 0)], lambda wire: wire.probe(9)
    ),
    "reset": Row(
        "000004 00 00000003 00000006",
        [("was_reset", 3, 6)],
        lambda wire: wire.reset(3, ErrorCode.STREAM_CANCELLED),
    ),
    "reset with a code of no table": Row(
        "000004 00 00000003 ffffffff",
        [("was_reset", 3, 0xFFFFFFFF)],
        lambda wire: wire.reset(3, 0xFFFFFFFF),
    ),
    "credit for a read (Go)": Row(
        "000004 20 00000005 00000001", [("credited", 5, 1)], lambda wire: wire.credit(5, 1, 10, 20)
    ),
    "credit, the largest": Row(
        "000004 20 00000005 7fffffff",
        [("credited", 5, 0x7FFFFFFF)],
        lambda wire: wire.credit(5, 0x7FFFFFFF, 10, 20),
    ),
    "credit, the high bit masked": Row("000004 20 00000005 80000001", [("credited", 5, 1)], None),
    "credit of nothing": Row("000004 20 00000005 00000000", [("credited", 5, 0)], None),
    "goaway of a closing session (Go)": Row(
        "000010 30 00000000 00000005 00000000 6e6f206572726f72",
        [("going_away", 5, 0, b"no error")],
        None,
    ),
    "goaway at the end of the input (Go)": Row(
        "000021 30 00000000 00000005 0000000f 7265616420454f462066726f6d2072656d6f74652070656572",
        [("going_away", 5, 15, b"read EOF from remote peer")],
        None,
    ),
    "goaway, padded": Row(
        "000008 30 00000000 00000003 00000001 000000 f0 00000000",
        [("going_away", 3, 1, b""), ("noise",)],
        lambda wire: wire.go_away(3, ErrorCode.PROTOCOL_ERROR, b""),
    ),
    "goaway with a text, padded": Row(
        "00000b 30 00000000 7ffffffd 0000000a 627965 000000 f0 00000000",
        [("going_away", 0x7FFFFFFD, 10, b"bye"), ("noise",)],
        lambda wire: wire.go_away(0x7FFFFFFD, ErrorCode.ENHANCE_YOUR_CALM, b"bye"),
    ),
    "goaway, the high bit masked": Row(
        "000008 30 00000000 80000003 00000000", [("going_away", 3, 0, b"")], None
    ),
    "unknown type": Row("000003 f7 00000009 010203", [("noise",)], None),
    "unknown type without a body, any id": Row("000000 9f ffffffff", [("noise",)], None),
    "priority": Row(
        "000002 40 00000003 07ff",
        [("prioritized", 3, 7, 256)],
        lambda wire: wire.priority(3, 7, 256),
        extended=True,
    ),
    "ping": Row(
        "000008 50 00000000 0102030405060708",
        [("pinged", bytes(range(1, 9)))],
        lambda wire: wire.ping(bytes(range(1, 9))),
        extended=True,
    ),
    "pong": Row(
        "000008 51 00000000 0102030405060708",
        [("ponged", bytes(range(1, 9)))],
        lambda wire: wire.pong(bytes(range(1, 9))),
        extended=True,
    ),
    "settings": Row(
        "00000c 60 00000000 000100040000 0002000003e8",
        [("settings", {Setting.INITIAL_WINDOW: 262144, Setting.MAX_STREAMS: 1000})],
        lambda wire: wire.settings({Setting.INITIAL_WINDOW: 262144, Setting.MAX_STREAMS: 1000}),
        extended=True,
    ),
    "settings, none": Row(
        "000000 60 00000000", [("settings", {})], lambda wire: wire.settings({}), extended=True
    ),
    "settings with a key of another version": Row(
        "000006 60 00000000 ffff00000001", [("settings", {0xFFFF: 1})], None, extended=True
    ),
    "session credit": Row(
        "000008 70 00000000 0000000004000000",
        [("session_credited", 64 * 2**20)],
        lambda wire: wire.session_credit(64 * 2**20),
        extended=True,
    ),
    "a window that has grown": Row(
        "000004 80 00000003 00080000",
        [("widened", 3, 2**19)],
        lambda wire: wire.window(3, 2**19),
        extended=True,
    ),
    "open with metadata": Row(
        "00000c 90 00000003 01 0002 6b 7631 03 0000 6e616d",
        [("opened", 3, bytes.fromhex("01 0002 6b 7631 03 0000 6e616d"))],
        lambda wire: wire.opening(3, pack({"k": b"v1", "nam": b""})),
        extended=True,
    ),
    "open with metadata that is empty": Row(
        "000000 90 00000003", [("opened", 3)], None, extended=True
    ),
    # Between muxado_py peers a frame of the wrong size is no violation: it may be of another version.
    "priority of another size": Row("000001 40 00000003 07", [("noise",)], None, extended=True),
    "ping of another size": Row("000004 50 00000000 01020304", [("noise",)], None, extended=True),
    "settings of another size": Row(
        "000007 60 00000000 00010004000000", [("noise",)], None, extended=True
    ),
    "session credit of another size": Row(
        "000004 70 00000000 00000000", [("noise",)], None, extended=True
    ),
    # Nobody but a muxado_py is understood to speak of these.
    "priority from a foreign peer": Row("000002 40 00000003 07ff", [("noise",)], None),
    "ping from a foreign peer": Row("000008 50 00000000 0102030405060708", [("noise",)], None),
    "open with metadata from a foreign peer": Row(
        "000006 90 00000003 01 0002 6b 7631", [("noise",)], None
    ),
}

MALFORMED = {
    "data for stream 0": ("000001 10 00000000 61", ErrorCode.PROTOCOL_ERROR, "DATA for stream 0x0"),
    "open of stream 0": ("000000 12 00000000", ErrorCode.PROTOCOL_ERROR, "DATA for stream 0x0"),
    "data, bit 31 of the id": (
        "000000 12 80000003",
        ErrorCode.PROTOCOL_ERROR,
        "DATA for stream 0x80000003",
    ),
    "data for the id of the hello": (
        "000000 12 7fffffff 00000000",
        ErrorCode.PROTOCOL_ERROR,
        "DATA for stream 0x7fffffff",
    ),
    "data for the id beside it": (
        "000000 12 7ffffffe",
        ErrorCode.PROTOCOL_ERROR,
        "DATA for stream 0x7ffffffe",
    ),
    "reset of 3 bytes": (
        "000003 00 00000003 000000",
        ErrorCode.FRAME_SIZE_ERROR,
        "RST of 3 bytes, expected 4",
    ),
    "reset of no bytes": (
        "000000 00 00000003",
        ErrorCode.FRAME_SIZE_ERROR,
        "RST of 0 bytes, expected 4",
    ),
    "reset for stream 0": (
        "000004 00 00000000 00000006",
        ErrorCode.PROTOCOL_ERROR,
        "RST for stream 0",
    ),
    "credit of 5 bytes": (
        "000005 20 00000003 0000000001",
        ErrorCode.FRAME_SIZE_ERROR,
        "WNDINC of 5 bytes, expected 4",
    ),
    "credit of 16 MiB": (
        "ffffff 20 00000003",
        ErrorCode.FRAME_SIZE_ERROR,
        "WNDINC of 16777215 bytes, expected 4",
    ),
    "credit for stream 0": (
        "000004 20 00000000 00000001",
        ErrorCode.PROTOCOL_ERROR,
        "WNDINC for stream 0",
    ),
    "goaway of 7 bytes": (
        "000007 30 00000000 00000000000000",
        ErrorCode.FRAME_SIZE_ERROR,
        "GOAWAY of 7 bytes, expected at least 8",
    ),
    "goaway for a stream": (
        "000008 30 00000003 00000000 00000000",
        ErrorCode.PROTOCOL_ERROR,
        "GOAWAY for stream 0x3, expected 0",
    ),
}


MALFORMED_OF_MUXADO_PY = {
    "4,097 bytes of metadata": (
        "001001 90 00000003",
        ErrorCode.FRAME_SIZE_ERROR,
        "OPEN of 4097 bytes, expected at most 4096",
    ),
    "16 MiB of metadata": (
        "ffffff 90 00000003",
        ErrorCode.FRAME_SIZE_ERROR,
        "OPEN of 16777215 bytes, expected at most 4096",
    ),
    "metadata for stream 0": (
        "000000 90 00000000",
        ErrorCode.PROTOCOL_ERROR,
        "OPEN for stream 0x0",
    ),
    "metadata for the id of the hello": (
        "000000 90 7fffffff",
        ErrorCode.PROTOCOL_ERROR,
        "OPEN for stream 0x7fffffff",
    ),
    "a pair whose lengths are not whole": (
        "000002 90 00000003 01 00",
        ErrorCode.PROTOCOL_ERROR,
        "OPEN whose metadata ends in the middle of a pair",
    ),
    "a pair whose value is not whole": (
        "000005 90 00000003 01 0002 6b 76",
        ErrorCode.PROTOCOL_ERROR,
        "OPEN whose metadata ends in the middle of a pair",
    ),
    "a pair without a key": (
        "000004 90 00000003 00 0001 76",
        ErrorCode.PROTOCOL_ERROR,
        "OPEN whose metadata has the key ''",
    ),
    "a key that is no text": (
        "000005 90 00000003 02 0000 6b0a",
        ErrorCode.PROTOCOL_ERROR,
        "OPEN whose metadata has the key 'k\\n'",
    ),
    "a key that is no ASCII": (
        "000004 90 00000003 01 0000 e9",
        ErrorCode.PROTOCOL_ERROR,
        "OPEN whose metadata has the key '\xe9'",
    ),
    "a key that comes twice": (
        "000009 90 00000003 01 0000 6b 01 0001 6b 76",
        ErrorCode.PROTOCOL_ERROR,
        "OPEN whose metadata has the key 'k' twice",
    ),
}


class TestRows(RowChecks):
    wire = WIRE
    rows = ROWS
    behind = "000002 10 00000063 6f6b"

    def session(self, row: Row) -> tuple[bytes, list[Call]]:
        data = bytes.fromhex(row.frame)
        if row.extended:
            known: list[Call] = [("recognized", True)]
            return HELLO + data, [*known, *row.calls]
        if data[3] >> 4 > 3:  # nobody begins so
            first = bytes.fromhex("000004 20 00000005 00000001")
            return first + data, [("recognized", False), ("credited", 5, 1), *row.calls]
        return data, [("recognized", False), *row.calls]


@pytest.mark.parametrize(
    ("frame", "code", "message"), [pytest.param(*row, id=name) for name, row in MALFORMED.items()]
)
def test_malformed(frame: str, code: int, message: str) -> None:
    """Told from the header alone: nothing of a body is waited for, and nothing behind it is read."""
    data = bytes.fromhex(frame)
    verdict: list[Call] = [("recognized", False), ("violated", code, message)]
    assert decode(WIRE, data)[0] == verdict
    assert decode(WIRE, *singly(data))[0] == verdict
    header_only = data[:8] + bytes(4) if data[4:8] == b"\x7f\xff\xff\xff" else data[:8]
    assert decode(WIRE, header_only)[0] == verdict
    assert decode(WIRE, data + bytes.fromhex("000001 10 00000005 78"))[0] == verdict


@pytest.mark.parametrize(
    ("frame", "code", "message"),
    [pytest.param(*row, id=name) for name, row in MALFORMED_OF_MUXADO_PY.items()],
)
def test_malformed_metadata(frame: str, code: int, message: str) -> None:
    """No stream is opened, and nothing behind it is read."""
    data = HELLO + bytes.fromhex(frame)
    verdict: list[Call] = [("recognized", True), ("violated", code, message)]
    assert decode(WIRE, data)[0] == verdict
    assert decode(WIRE, *singly(data))[0] == verdict
    assert decode(WIRE, data + bytes.fromhex("000001 10 00000005 78"))[0] == verdict


def test_each_stream_says_its_own_metadata_and_is_judged_by_it() -> None:
    sound, other = "000005 90 {:08x} 01 0001 6b 76", "000005 90 {:08x} 01 0001 6b 77"
    opened = [sound.format(3), sound.format(5), other.format(7), sound.format(9)]
    malformed = "000005 90 0000000b 01 0002 6b 76"
    assert decode(WIRE, HELLO + bytes.fromhex("".join([*opened, malformed])))[0] == [
        ("recognized", True),
        *(
            ("opened", number, bytes.fromhex("01 0001 6b") + value)
            for number, value in ((3, b"v"), (5, b"v"), (7, b"w"), (9, b"v"))
        ),
        (
            "violated",
            ErrorCode.PROTOCOL_ERROR,
            "OPEN whose metadata ends in the middle of a pair",
        ),
    ]


def test_metadata_of_the_greatest_length_is_taken() -> None:
    metadata = pack({"k": bytes(4092)})
    assert len(metadata) == 4096
    assert decode(WIRE, *singly(HELLO + WIRE.opening(3, metadata))) == (
        [("recognized", True), ("opened", 3, metadata)],
        False,
    )


@pytest.mark.parametrize("pause_every", [0, 1])
def test_a_frame_that_nobody_begins_with_says_nothing_of_the_peer(pause_every: int) -> None:
    """Three quarters of all random bytes are one."""
    unknown = bytes.fromhex("000003 d7 00000009 010203")
    opening = bytes.fromhex("000001 12 00000003 61")
    for first, seen in ((HELLO, ("recognized", True)), (opening, ("recognized", False))):
        data = unknown + unknown + first
        for at in range(len(data) + 1):
            calls, _ = decode(WIRE, data[:at], data[at:], pause_every=pause_every)
            assert calls[:3] == [("noise",), ("noise",), seen], at
    assert decode(WIRE, unknown) == ([("noise",)], False)


def test_the_hello_is_recognized_only_whole_and_only_first() -> None:
    hello = spaced(HELLO)
    assert hello == "000004 2c 7fffffff 6d787001"
    credited = ("credited", 0x7FFFFFFF, 0x6D787001)
    assert decode(WIRE, HELLO)[0] == [("recognized", True)]
    other_version = HELLO[:-1] + b"\x02"
    assert decode(WIRE, other_version)[0] == [("recognized", False), (*credited[:2], 0x6D787002)]
    without_flags = bytes.fromhex("000004 20 7fffffff 6d787001")
    assert decode(WIRE, without_flags)[0] == [("recognized", False), credited]
    late = bytes.fromhex("000000 12 00000003") + HELLO + WIRE.ping(bytes(8))
    assert decode(WIRE, late)[0] == [("recognized", False), ("opened", 3), credited, ("noise",)]


def test_ids_of_the_two_roles() -> None:
    client, server = Muxado(client=True), Muxado(client=False)
    assert (client.first_id, client.first_peer_id) == (3, 2)
    assert (server.first_id, server.first_peer_id) == (2, 3)
    assert WIRES["muxado"] is Muxado


def test_acceptance_has_no_frame() -> None:
    assert WIRE.ack(2) == b""


def test_a_long_goaway_text_is_cut_on_the_way_out() -> None:
    frame = WIRE.go_away(3, 0, b"x" * 5000)
    assert frame[:3] == (8 + 1024).to_bytes(3, "big")
    assert frame.endswith(b"x" * 1024 + PAD)
    assert decode(WIRE, frame)[0] == [
        ("recognized", False),
        ("going_away", 3, 0, b"x" * 1024),
        ("noise",),
    ]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("ffffff 10 00000003", id="data"),
        pytest.param("ffffff 30 00000000", id="goaway"),
        pytest.param("ffffff f0 00000000", id="unknown type"),
        pytest.param("ffffff 60 00000000", id="settings"),
    ],
)
def test_a_frame_of_16_mib_is_never_held(header: str) -> None:
    sink = Sink()
    decoder = WIRE.decoder(sink)
    decoder.feed(HELLO)
    chunk = bytes(2**16)

    def feed() -> None:
        decoder.feed(bytes.fromhex(header))
        for _ in range(2**8 - 1):
            decoder.feed(chunk)
        assert decoder.midway
        decoder.feed(chunk[:-1])

    assert peak_while(feed) < 2 * len(chunk)
    assert not decoder.midway
    assert sink.total in (0, 2**24 - 1)
    decoder.feed(WIRE.reset(3, 6))
    assert sink.calls[-1] == ("was_reset", 3, 6)


def test_the_length_of_data_is_told_before_any_of_it_arrives() -> None:
    assert decode(WIRE, bytes.fromhex("ffffff 12 00000003"))[0] == [
        ("recognized", False),
        ("opened", 3),
        ("data", 3, b"", 2**24 - 1),
    ]


def test_data_is_handed_on_in_the_pieces_it_came_in() -> None:
    recorder = Recorder()
    decoder = WIRE.decoder(recorder)
    decoder.feed(bytes.fromhex("000005 11 00000003 6162"))
    decoder.feed(b"cd")
    decoder.feed(b"e")
    assert recorder.pieces == [2, 2, 1]
    assert recorder.calls == [("recognized", False), ("data", 3, b"abcde", 0), ("finished", 3)]

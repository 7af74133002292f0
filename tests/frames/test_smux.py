"""The smux wires, byte for byte: one table of frames, read in both directions and at every split.

``V`` in a frame stands for the version, where the two versions agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.errors import ErrorCode
from muxado_py.frames import WIRES, candidates, mistaken
from muxado_py.frames.smux import Smux1, Smux2

from ..helpers.decoding import Call, Sink, decode, peak_while, singly
from ..helpers.recording import Recorder
from .golden_rows import Row, RowChecks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from muxado_py.frames import Wire


# Reference bytes of xtaci/smux are marked (Go).
ROWS = {
    "open (Go)": Row(
        "V 00 0000 03000000", [("opened", 3)], lambda wire: wire.syn(3, 0, (0, 256), 7)
    ),
    "open, and the first data (Go)": Row(
        "V 00 0000 03000000  V 02 0200 03000000 6869",
        [("opened", 3), ("data", 3, b"hi", 0)],
        lambda wire: wire.syn(3, 2, None, None) + b"hi",
    ),
    "open, the highest id": Row("V 00 0000 ffffffff", [("opened", 0xFFFFFFFF)]),
    "data (Go)": Row(
        "V 02 0200 03000000 6869",
        [("data", 3, b"hi", 0)],
        lambda wire: wire.data_header(3, 2, fin=False) + b"hi",
    ),
    "data of 258 bytes": Row(
        "V 02 0201 04030201" + "61" * 258, [("data", 0x01020304, b"a" * 258, 0)]
    ),
    "data of nothing": Row("V 02 0000 03000000", [("data", 3, b"", 0)]),
    "data for stream 0": Row("V 02 0100 00000000 61", [("data", 0, b"a", 0)]),
    "finish (Go)": Row("V 01 0000 03000000", [("finished", 3)], lambda wire: wire.fin(3)),
    "finish twice (Go)": Row(
        "V 01 0000 03000000  V 01 0000 03000000", [("finished", 3), ("finished", 3)]
    ),
    "reset, for want of one": Row(
        "V 01 0000 03000000", [("finished", 3)], lambda wire: wire.reset(3, 6)
    ),
    "keep alive (Go)": Row("V 03 0000 00000000", [("noise",)], lambda wire: wire.keep_alive()),
    "refusal (muxado_py)": Row("V 03 0000 03000000", [("was_reset", 3, ErrorCode.STREAM_REFUSED)]),
}

UPDATES = {
    "update after the first read of 10 bytes (Go)": Row(
        "02 04 0800 03000000 0a000000 00000100",
        [("consumed", 3, 10, 65536)],
        lambda wire: wire.credit(3, 10, 10, 65536),
    ),
    "update past 4 GiB": Row(
        "02 04 0800 03000000 05000000 00000400",
        [("consumed", 3, 5, 262144)],
        lambda wire: wire.credit(3, 131072, 2**32 + 5, 262144),
    ),
    "update, the largest numbers": Row(
        "02 04 0800 03000000 ffffffff ffffffff", [("consumed", 3, 2**32 - 1, 2**32 - 1)]
    ),
}

wires = pytest.mark.parametrize("wire", [Smux1, Smux2])


def of_version(digits: str, table: Mapping[str, Row]) -> dict[str, Row]:
    return {name: row._replace(frame=row.frame.replace("V", digits)) for name, row in table.items()}


class TestRowsOfVersion1(RowChecks):
    wire = Smux1(client=True)
    rows = of_version("01", ROWS)
    behind = "01 02 0200 63000000 6f6b"


class TestRowsOfVersion2(RowChecks):
    wire = Smux2(client=True)
    rows = of_version("02", ROWS | UPDATES)
    behind = "02 02 0200 63000000 6f6b"


MALFORMED = {
    "version 0": (
        "00 00 0000 03000000",
        ErrorCode.PROTOCOL_ERROR,
        "a header of version 0, and this side speaks smux version V",
    ),
    "version 255": (
        "ff 00 0000 03000000",
        ErrorCode.PROTOCOL_ERROR,
        "a header of version 255, and this side speaks smux version V",
    ),
    "an unknown command": (
        "V 05 0000 03000000",
        ErrorCode.PROTOCOL_ERROR,
        "command 5, unknown to smux V",
    ),
    "the last command": (
        "V ff 0000 03000000",
        ErrorCode.PROTOCOL_ERROR,
        "command 255, unknown to smux V",
    ),
    "open of stream 0": ("V 00 0000 00000000", ErrorCode.PROTOCOL_ERROR, "SYN for stream 0"),
    "open with a body": (
        "V 00 0200 03000000 6869",
        ErrorCode.FRAME_SIZE_ERROR,
        "SYN of 2 bytes, expected 0",
    ),
    "finish with a body": (
        "V 01 ffff 03000000",
        ErrorCode.FRAME_SIZE_ERROR,
        "FIN of 65535 bytes, expected 0",
    ),
    "keep alive with a body": (
        "V 03 0100 00000000 00",
        ErrorCode.FRAME_SIZE_ERROR,
        "NOP of 1 bytes, expected 0",
    ),
}
MALFORMED_1 = {
    "version 2 in version 1": (
        "02 00 0000 03000000",
        ErrorCode.PROTOCOL_ERROR,
        'a header of version 2, and this side speaks smux version 1: set Config(wire="smux2") here, '
        "or Version: 1 in Go",
    ),
    "update in version 1": (
        "01 04 0800 03000000 0000000000000000",
        ErrorCode.PROTOCOL_ERROR,
        "command 4, unknown to smux 1",
    ),
}
MALFORMED_2 = {
    "version 1 in version 2": (
        "01 02 0500 03000000",
        ErrorCode.PROTOCOL_ERROR,
        'a header of version 1, and this side speaks smux version 2: set Config(wire="smux1") here, '
        "or Version: 2 in Go",
    ),
    "update of 4 bytes": (
        "02 04 0400 03000000 00000000",
        ErrorCode.FRAME_SIZE_ERROR,
        "UPD of 4 bytes, expected 8",
    ),
    "update of 9 bytes": (
        "02 04 0900 03000000",
        ErrorCode.FRAME_SIZE_ERROR,
        "UPD of 9 bytes, expected 8",
    ),
}


@pytest.mark.parametrize(
    ("wire", "frame", "code", "message"),
    [
        pytest.param(
            wire,
            frame.replace("V", f"0{wire.version}"),
            code,
            message.replace("V", str(wire.version)) if name not in own else message,
            id=f"{wire.name} {name}",
        )
        for wire, own in ((Smux1, MALFORMED_1), (Smux2, MALFORMED_2))
        for name, (frame, code, message) in (MALFORMED | own).items()
    ],
)
def test_malformed(wire: type[Wire], frame: str, code: int, message: str) -> None:
    """Told from the header alone: nothing of a body is waited for, and nothing behind it is read."""
    data = bytes.fromhex(frame)
    verdict: list[Call] = [("violated", code, message)]
    behind = data[:1] + bytes.fromhex("02 0100 05000000 78")
    for chunks in ([data], singly(data), [data[:8]], [data + behind]):
        assert decode(wire(client=True), *chunks)[0] == verdict


def test_a_wrong_version_in_the_middle_ends_the_session_too() -> None:
    said = bytes.fromhex("01 00 0000 03000000  02 01 0000 03000000")
    calls, _ = decode(Smux1(client=False), said)
    assert [call[0] for call in calls] == ["opened", "violated"]


ids = st.integers(1, 2**32 - 1)
words = st.integers(0, 2**32 - 1)


def operations(wire: Wire) -> st.SearchStrategy[tuple[bytes, list[Call]]]:
    """What can be said, in bytes, and what is heard of it."""
    said: list[st.SearchStrategy[tuple[bytes, list[Call]]]] = [
        st.builds(
            lambda i, body: (
                wire.syn(i, len(body), None, None) + body,
                [("opened", i), *([("data", i, body, 0)] if body else [])],
            ),
            ids,
            st.binary(max_size=40),
        ),
        st.builds(
            lambda i, body: (wire.data_header(i, len(body), False) + body, [("data", i, body, 0)]),
            ids,
            st.binary(min_size=1, max_size=40),
        ),
        ids.map(lambda i: (wire.fin(i), [("finished", i)])),
        ids.map(lambda i: (wire.reset(i, 6), [("finished", i)])),
        st.just((wire.keep_alive(), [("noise",)])),
    ]
    if wire.name == "smux2":
        said.append(
            st.builds(
                lambda i, total, window: (
                    wire.credit(i, 1, total, window),
                    [("consumed", i, total % 2**32, window)],
                ),
                ids,
                st.integers(0, 2**40),
                words,
            )
        )
    return st.one_of(said)


@pytest.mark.slow
@wires
@given(st.data(), st.integers(1, 60))
def test_what_is_encoded_is_decoded(wire: type[Wire], drawn: st.DataObject, step: int) -> None:
    one = wire(client=True)
    said = drawn.draw(st.lists(operations(one), max_size=10))
    data = b"".join(frame for frame, _ in said)
    pieces = [data[i : i + step] for i in range(0, len(data), step)]
    assert decode(one, *pieces) == ([call for _, calls in said for call in calls], False)


@wires
def test_ids_of_the_two_roles(wire: type[Wire]) -> None:
    client, server = wire(client=True), wire(client=False)
    assert (client.first_id, server.first_id) == (3, 2)
    assert (client.first_peer_id, server.first_peer_id) == (2, 1)
    assert WIRES[wire.name] is wire
    assert wire.max_id == 2**32 - 1


@wires
def test_what_the_format_cannot_say(wire: type[Wire]) -> None:
    one = wire(client=True)
    said = [one.hello(), one.ack(3), one.probe(3), one.go_away(3, 1, b"why")]
    said += [one.ping(bytes(8)), one.pong(bytes(8)), one.settings({1: 2})]
    said += [one.priority(1, 2, 3), one.session_credit(4)]
    assert said == [b""] * 9


def test_version_1_gives_no_credit() -> None:
    assert Smux1(client=True).credit(3, 10, 10, 65536) == b""


@wires
def test_the_length_of_data_is_told_before_any_of_it_arrives(wire: type[Wire]) -> None:
    header = wire(client=True).data_header(3, 65535, False)
    assert decode(wire(client=False), header) == ([("data", 3, b"", 65535)], True)


@wires
def test_data_is_handed_on_in_the_pieces_it_came_in(wire: type[Wire]) -> None:
    recorder = Recorder()
    one = wire(client=True)
    decoder = one.decoder(recorder)
    for piece in (one.data_header(3, 5, False) + b"ab", b"cd", b"e" + one.fin(3)):
        decoder.feed(piece)
    assert recorder.pieces == [2, 2, 1]
    assert recorder.calls == [("data", 3, b"abcde", 0), ("finished", 3)]


@wires
def test_a_flood_of_data_is_never_held(wire: type[Wire]) -> None:
    sink = Sink()
    one = wire(client=True)
    decoder = one.decoder(sink)
    frame = one.data_header(3, 65535, False) + bytes(65535)

    def feed() -> None:
        for _ in range(100):
            decoder.feed(frame[:40000])
            decoder.feed(frame[40000:])

    assert peak_while(feed) < 2 * len(frame)
    assert not decoder.midway
    assert sink.total == 100 * 65535


FIRST_FRAMES = {
    "open (Go)": "V 00 0000 03000000 V 02 0500",
    "keep alive (Go)": "V 03 0000 00000000",
    "the server opens": "V 00 0000 02000000",
    "the server answers": "V 02 0001 03000000 00000000",
    "the server finishes": "V 01 0000 03000000",
}


@wires
@pytest.mark.parametrize("frame", FIRST_FRAMES.values(), ids=FIRST_FRAMES)
def test_what_a_session_may_begin_with(wire: type[Wire], frame: str) -> None:
    head = bytes.fromhex(frame.replace("V", wire.name[-1:].rjust(2, "0")))
    for length in range(len(head) + 1):
        assert wire.matches(head[:length])
    assert wire.name in candidates(head)
    assert mistaken(head, wire) is None


def test_only_version_2_begins_with_an_update() -> None:
    update = bytes.fromhex("02 04 0800 03000000 0a000000")
    assert Smux2.matches(update)
    assert not Smux1.matches(b"\x01" + update[1:])


@wires
@pytest.mark.parametrize(
    "head",
    [
        pytest.param("0000042c 7fffffff 6d787001", id="the hello of a muxado_py"),
        pytest.param("00000112 00000003 61", id="Go muxado opens with a byte"),
        pytest.param("00010001 00000001 00000000", id="yamux opens"),
        pytest.param("00020001 00000000 00000000", id="yamux pings"),
        pytest.param("V 00 0000 00000000", id="opens stream 0"),
        pytest.param("V 00 0100 03000000", id="opens with a body"),
        pytest.param("V 02 0000 03000000", id="data of nothing"),
        pytest.param("V 02 0100 00000000", id="data of stream 0"),
        pytest.param("V 03 0100 00000000", id="keeps alive with a body"),
        pytest.param("V 04 0900 03000000", id="an update of 9 bytes"),
        pytest.param("V 05", id="an unknown command"),
        pytest.param("03", id="version 3"),
        pytest.param("00" * 12, id="zeros"),
        pytest.param(b"GET / HTTP/1".hex(), id="HTTP"),
        pytest.param("160301020001000100000000", id="TLS"),
    ],
)
def test_what_a_session_does_not_begin_with(wire: type[Wire], head: str) -> None:
    assert not wire.matches(bytes.fromhex(head.replace("V", wire.name[-1:].rjust(2, "0"))))


@pytest.mark.parametrize(("wire", "other"), [(Smux1, Smux2), (Smux2, Smux1)])
def test_the_other_version_is_named_with_what_to_configure(
    wire: type[Wire], other: type[Wire]
) -> None:
    head = other(client=True).syn(3, 0, None, None)
    assert mistaken(head, wire) == (
        f"this looks like {other.name}, and this side speaks {wire.name}: "
        f'set Config(wire="{other.name}") here, or {wire.name} on the other side'
    )

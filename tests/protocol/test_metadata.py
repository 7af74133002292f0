"""Streams with metadata, without IO: the frame that opens them, and what a peer can do with it."""

from __future__ import annotations

import pytest

from muxado_py import Config, ErrorCode, Priority, Retry, StreamLimitError
from muxado_py.frames import WIRES, pack
from muxado_py.protocol.connection import CLOSED_HERE

from ..helpers.pair import Pair, Script, held, read_all, spaced

SAID = {"caller": b"192.0.2.7:4711"}
KIB = 1024


def opening(stream_id: int, metadata: dict[str, bytes]) -> bytes:
    """The frame, as a client or a server says it."""
    return WIRES["muxado"](client=True).opening(stream_id, pack(metadata))


@pytest.mark.parametrize("chunk", [0, 1])
def test_both_ends_of_a_stream_have_it(chunk: int) -> None:
    pair = Pair(chunk=chunk)
    for by in (pair.client, pair.server):
        near, far = pair.open(b"question", metadata=SAID, by=by)
        assert by.metadata_of(near) == by.metadata_of(far) == SAID
        assert read_all(pair.other(by), far) == b"question"
    near, far = pair.open(b"question")
    assert pair.client.metadata_of(near) == pair.client.metadata_of(far) == {}


def test_it_is_there_as_soon_as_the_stream_is() -> None:
    """Nothing of the stream can be known to the peer before the last byte of its metadata is."""
    peer = Script(extended=True)
    frame = opening(3, SAID)
    for at in range(len(frame)):
        peer.feed(frame[at : at + 1])
        last = at + 1 == len(frame)
        assert peer.connection.backlog == last
    assert peer.connection.metadata_of(peer.accept()) == SAID


def test_the_frame_takes_the_place_of_the_syn() -> None:
    peer = Script(client=True, extended=True)
    stream = peer.connection.open(Priority(1, 3), None, SAID)
    peer.connection.write(stream, b"hi")
    peer.connection.finish(stream)
    assert peer.sent() == [
        spaced(opening(3, SAID), "muxado"),
        "000002 11 00000003 6869",
        "000002 40 00000003 0102",
    ]


def test_a_priority_behind_the_last_bytes_is_heeded() -> None:
    pair = Pair()
    pair.run_until_idle()
    near = pair.client.open(Priority(1, 3), None, SAID)
    pair.client.write(near, b"hi")
    pair.client.finish(near)
    pair.run_until_idle()
    far = pair.server.accept()
    assert far is not None
    assert far.priority == Priority(1, 3)
    assert read_all(pair.server, far) == b"hi"
    assert far.fin_received


def test_without_data_it_is_the_frame_alone() -> None:
    peer = Script(client=True, extended=True)
    peer.connection.open(None, None, SAID)
    assert peer.sent() == [spaced(opening(3, SAID), "muxado")]


def test_what_is_empty_is_an_ordinary_syn() -> None:
    """So it can be said to every peer."""
    peer = Script(client=True)
    peer.connection.open(None, None, {})
    assert peer.sent() == ["000000 12 00000003"]


def test_a_type_comes_behind_it() -> None:
    pair = Pair(Config(typed_streams=True))
    near, far = pair.open(b"question", stream_type=7, metadata=SAID)
    assert far.stream_type == 7
    assert pair.server.metadata_of(far) == pair.client.metadata_of(near) == SAID
    assert read_all(pair.server, far) == b"question"


@pytest.mark.parametrize("wire", [wire for wire in WIRES if wire != "muxado"])
def test_a_wire_without_the_frame_says_so(wire: str) -> None:
    pair = Pair(Config(wire=wire))
    pair.run_until_idle()
    with pytest.raises(NotImplementedError, match=f"the {wire} wire has no frame for metadata"):
        pair.client.open(None, None, SAID)
    assert not pair.client.live_streams
    pair.client.open(None, None, {})


def test_a_peer_that_is_no_muxado_py_is_not_told() -> None:
    pair = Pair(foreign=True)
    pair.open(b"x")
    pair.server.ping(bytes(8))  # whatever it says
    pair.run_until_idle()
    with pytest.raises(NotImplementedError, match="no muxado_py"):
        pair.server.open(None, None, SAID)


def test_a_peer_that_has_not_said_what_it_is_is_waited_for() -> None:
    pair = Pair()
    with pytest.raises(NotImplementedError, match="has not said yet"):
        pair.client.open(None, None, SAID)
    pair.run_until_idle()
    pair.client.open(None, None, SAID)


def test_what_is_no_metadata_leaves_no_stream() -> None:
    pair = Pair()
    pair.run_until_idle()
    with pytest.raises(TypeError, match="must be bytes"):
        pair.client.open(None, None, {"k": "v"})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="4096"):
        pair.client.open(None, None, {"k": bytes(4093)})
    assert not pair.client.live_streams
    assert not pair.client.has_output()


# Verdicts.


def test_before_it_is_cut_nothing_was_sent() -> None:
    pair = Pair()
    pair.run_until_idle()
    never, cut = (pair.client.open(None, None, SAID) for _ in range(2))
    pair.client.reset(never, ErrorCode.STREAM_CANCELLED)
    assert never.retry is Retry.NEVER_SENT
    pair.pump(pair.client)
    pair.client.terminate(CLOSED_HERE)
    assert cut.retry is Retry.UNKNOWN
    assert bytes(pair.sent[pair.client]).endswith(opening(3, SAID)), "the first left no trace"


def test_it_can_be_refused_like_any_other() -> None:
    pair = Pair(Config(), Config(max_streams=5, accept_backlog=1))
    pair.run_until_idle()
    first, second = (pair.client.open(None, None, SAID) for _ in range(2))
    pair.run_until_idle()
    assert (first.failure, second.retry) == (None, Retry.REFUSED)
    pair.server.stop_accepting()
    pair.run_until_idle()
    assert first.retry is Retry.REFUSED


def test_limits_come_before_what_the_peer_understands() -> None:
    """The verdict of a limit is that the same may be sent elsewhere."""
    peer = Script(Config(max_open_streams=0), client=True)
    with pytest.raises(StreamLimitError):
        peer.connection.open(None, None, SAID)


def test_what_of_it_was_lost_is_payload_alone() -> None:
    """Frames that were not taken are looked at from one in the middle of the session on."""
    peer = Script(Config(typed_streams=True), client=True, extended=True)
    stream = peer.connection.open(None, 7, SAID)
    peer.connection.write(stream, b"question")
    frames = b"".join(peer.connection.data_to_send(2**20))
    assert frames.startswith(opening(3, SAID))
    peer.connection.terminate(CLOSED_HERE)
    assert peer.connection.payload_of(frames, 0, unsaid=False) == {3: len(b"question")}


# What a peer can do with it.


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(opening(3, SAID), id="metadata again"),
        pytest.param(opening(3, {"k": b"other"}), id="other metadata"),
        pytest.param(bytes.fromhex("000000 12 00000003"), id="a SYN"),
    ],
)
@pytest.mark.parametrize("data", [b"", bytes.fromhex("000002 10 00000003 6869")])
def test_a_stream_is_opened_once(again: bytes, data: bytes) -> None:
    peer = Script(extended=True)
    peer.feed(opening(3, SAID) + data + again)
    assert peer.ended_code == ErrorCode.PROTOCOL_ERROR


def test_metadata_behind_a_syn_opens_a_second_time() -> None:
    peer = Script(extended=True)
    peer.feed(bytes.fromhex("000000 12 00000003") + opening(3, SAID))
    assert peer.ended_code == ErrorCode.PROTOCOL_ERROR


def test_of_a_peer_that_is_no_muxado_py_it_is_a_frame_that_nobody_knows() -> None:
    peer = Script()
    peer.feed(bytes.fromhex("000004 20 00000005 00000001") + opening(3, SAID))
    assert not peer.ended
    assert not peer.connection.backlog


def test_an_id_of_ours_is_no_id_for_it() -> None:
    peer = Script(extended=True)
    peer.feed(opening(2, SAID))
    assert peer.ended_code == ErrorCode.PROTOCOL_ERROR


def test_what_is_kept_of_it_is_bounded_by_the_streams() -> None:
    """As many pairs as there can be, on as many streams, and then on as many more."""
    metadata = {chr(0x21 + n % 64) + chr(0x21 + n // 64): b"" for n in range(4096 // 5)}
    peer = Script(Config(max_streams=10, accept_backlog=10), extended=True)
    before = held(peer.connection)
    peer.feed(b"".join(opening(3 + 2 * n, metadata) for n in range(200)))
    assert not peer.ended
    assert peer.connection.backlog == 10
    assert held(peer.connection) - before < 10 * 8 * KIB
    assert sum(frame.startswith("000004 00") for frame in peer.sent()) == 190


def test_a_flush_is_bounded_though_metadata_is_no_payload() -> None:
    pair = Pair()
    pair.run_until_idle()
    for _ in range(100):
        pair.client.open(None, None, {"k": bytes(4000)})
    sizes = []
    while out := pair.client.data_to_send(20_000):
        sizes.append(sum(map(len, out)))
    assert max(sizes) < 20_000 + 2 * 4096
    assert len(sizes) > 10


def test_a_frame_log_tells_how_long_it_is_and_nothing_of_it() -> None:
    lines: list[dict[str, object]] = []
    pair = Pair()
    pair.client.log_frames(lines.append)
    pair.open(b"", metadata={"authorization": b"secret"})
    (line,) = [one for one in lines if one["frame"] == "open"]
    assert line == {"direction": "sent", "frame": "open", "stream": 3, "metadata": 22}
    assert all("secret" not in str(one) for one in lines)

"""What Go muxado v2 and the Rust crate do on the muxado wire, row by row, and what we answer.

The bytes are those that Go sends (ngrok/muxado-go, probed over TCP).  "Rust" is the crate of
ngrok/ngrok-rust, which speaks the same wire and is stricter.  The rows stand in the table of
``interop/README.md``.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio import create_task_group

import muxado_py as muxado
from muxado_py import Config, Priority, Retry
from muxado_py.errors import ErrorCode

from .. import virtual_time
from ..frames_seen import data
from ..helpers.pair import HELLO, PAD, Script, read_all, spaced, split_frames
from ..scripted_peer import ScriptedPeer, scripted
from ..transports import Around, Stuck, memory_transports

GOAWAY_PAD = spaced(PAD)
TYPED = Config(typed_streams=True)


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


def server(config: Config | None = None) -> Script:
    return Script(config, client=False)


def client(config: Config | None = None) -> Script:
    return Script(config, client=True)


def assert_died(peer: Script, code: int, last_id: int) -> None:
    """The session is over: a GOAWAY with this code and its pad, and not a byte more."""
    goodbye, pad = [frame for frame in peer.sent() if frame[7] in "3f"]
    assert goodbye.split()[1:3] == ["30", "00000000"]
    assert goodbye.split()[3].startswith(f"{last_id:08x}{code:08x}")
    assert pad == GOAWAY_PAD
    assert peer.ended_code == code
    peer.feed("000000 12 00000065")
    assert peer.connection.accept() is None
    assert peer.sent() == []


@pytest.mark.parametrize("debug", [b"", b"bye", b"x" * 5000])
def test_x_01_eight_bytes_follow_every_goaway(debug: bytes) -> None:
    """Go up to v2.0.1 takes eight bytes too many after a GOAWAY: a header of an unknown type is there
    for it.  Its text is short, and Go itself sends no such pad."""
    peer = client()
    stream = peer.connection.open(None, None)
    peer.connection.go_away(ErrorCode.NO_ERROR, debug)
    wire = b"".join(peer.connection.data_to_send(1000))
    peer.connection.write(stream, b"x")
    wire += b"".join(peer.connection.data_to_send(1000))
    frames = [spaced(frame) for frame in split_frames(wire)]
    assert frames[1].startswith(f"{8 + min(len(debug), 1024):06x} 30 00000000 0000000000000000")
    assert frames[2] == GOAWAY_PAD
    seen_by_go = []
    while wire:
        kind, length = wire[3], int.from_bytes(wire[:3], "big")
        seen_by_go.append(kind)
        wire = wire[8 + length + (8 if kind == 0x30 else 0) :]
    assert seen_by_go == [0x12, 0x30, 0x10], "what it reads next is a header"


@pytest.mark.parametrize("first", [b"", b"x"], ids=["empty", "with a byte"])
@pytest.mark.parametrize("how", ["finish", "close"])
def test_x_02_syn_and_fin_never_share_a_frame(first: bytes, how: str) -> None:
    """A Go acceptor could not answer such a stream: its write window is closed by that frame."""
    peer = client()
    stream = peer.connection.open(None, None)
    if first:
        peer.connection.write(stream, first)
    getattr(peer.connection, how)(stream)
    assert [frame.split()[1] for frame in peer.sent()] == ["12", "11"]


@pytest.mark.parametrize("body", ["", "616263"], ids=["empty", "with data"])
def test_x_03_syn_and_fin_in_one_frame_are_taken(body: str) -> None:
    """Go sends that for a stream that it opened and closed: an end, and a side we may write to."""
    peer = server()
    peer.feed(f"{len(body) // 2:06x} 13 00000003 {body}")
    stream = peer.accept()
    assert read_all(peer.connection, stream).hex() == body
    assert stream.fin_received
    peer.connection.write(stream, b"ok")
    assert peer.sent() == ["000002 10 00000003 6f6b"]


@pytest.mark.parametrize("state", ["live", "half closed by us", "closed"])
def test_x_04_a_second_fin_is_ignored(state: str) -> None:
    """Go sends one for each CloseWrite and one more for Close."""
    peer = server()
    peer.feed("000000 12 00000003 000000 11 00000003")
    stream = peer.accept()
    if state != "live":
        peer.connection.finish(stream)
    if state == "closed":
        peer.connection.close(stream)
    peer.sent()
    for _ in range(3):
        peer.feed("000000 11 00000003")
    assert peer.sent() == []
    assert not peer.ended


def test_x_05_an_empty_fin_for_an_unknown_stream_is_ignored() -> None:
    """Rust sends one for a stream that was shut down before its first write, which had no SYN."""
    peer = server()
    for _ in range(2000):
        peer.feed("000000 11 00000007")
    assert peer.sent() == []
    peer.feed("000000 12 00000007")
    assert peer.accept().id == 7, "it opened nothing, and used no id up"


@pytest.mark.parametrize("flags", ["10", "11"])
@pytest.mark.parametrize("cut", [0, 8, 10])
def test_x_06_data_for_an_unknown_stream_is_answered_with_a_reset(flags: str, cut: int) -> None:
    """One RST for each frame, as Go does, once its payload is out of the way."""
    peer = server()
    frame = bytes.fromhex(f"000003 {flags} 00000007 616263")
    for _ in range(2):
        peer.feed(frame[:cut])
        assert peer.sent() == []
        peer.feed(frame[cut:])
        assert peer.sent() == ["000004 00 00000007 00000004"]
    peer.feed("000001 12 00000003 79")
    assert peer.connection.read(peer.accept(), 10) == b"y"
    assert not peer.ended


def test_x_07_an_empty_frame_asks_whether_a_stream_lives() -> None:
    """A live stream takes no notice; one that is not is answered with RST(4).  We use it likewise."""
    peer = server()
    peer.feed("000001 12 00000003 79")
    stream = peer.accept()
    peer.feed("000000 10 00000003")
    assert peer.sent() == []
    assert (peer.connection.read(stream, 9), stream.fin_received) == (b"y", False)
    peer.feed("000000 10 00000007")
    assert peer.sent() == ["000004 00 00000007 00000004"]
    assert not peer.ended


@pytest.mark.parametrize(
    "frame",
    ["000004 20 00000007 00000001", "000004 20 00000007 00000000", "000004 00 00000007 00000006"],
    ids=["credit", "credit of nothing", "reset"],
)
def test_x_08_credit_and_resets_for_unknown_streams_are_ignored(frame: str) -> None:
    peer = server()
    for _ in range(2000):
        peer.feed(frame)
    assert peer.sent() == []
    assert not peer.ended


def test_x_09_credit_of_nothing_resets_the_stream() -> None:
    """Go's session dies of it; Rust does not mind.  We reset the stream, and never send one."""
    peer = server()
    peer.feed("000000 12 00000003 000004 20 00000003 00000000")
    assert peer.sent() == ["000004 00 00000003 00000001"]
    assert not peer.ended
    peer.feed("000000 12 00000005")
    assert peer.connection.read(peer.accept(), 9) == b""
    assert peer.sent() == []


def test_x_10_credit_above_the_largest_window_resets_the_stream() -> None:
    """Go adds without a check, Rust clamps to the initial size."""
    peer = server()
    peer.feed("000000 12 00000003")
    stream = peer.accept()
    peer.feed(f"000004 20 00000003 {2**31 - 1 - 262144:08x}")
    assert stream.send_window == 2**31 - 1
    assert peer.sent() == []
    peer.feed("000004 20 00000003 00000001")
    assert peer.sent() == ["000004 00 00000003 00000003"]
    assert "2^31-1" in str(stream.error())
    assert not peer.ended


def test_x_11_the_high_bit_of_credit_is_masked() -> None:
    peer = server(Config(initial_window=1, stream_window=1))
    peer.feed("000000 12 00000003")
    stream = peer.accept()
    peer.connection.write(stream, b"abc")
    assert peer.sent() == ["000001 10 00000003 61"]
    peer.feed("000004 20 00000003 80000001")
    assert peer.sent() == ["000001 10 00000003 62"]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param("000003 00 00000003 000000", id="reset of 3 bytes"),
        pytest.param("000005 20 00000003 0000000000", id="credit of 5 bytes"),
        pytest.param("000007 30 00000000 00000000000000", id="goaway of 7 bytes"),
    ],
)
def test_x_12_a_wrong_length_ends_the_session(frame: str) -> None:
    """As with Go.  Rust resets the stream, and panics at the GOAWAY."""
    peer = server()
    peer.feed("000000 12 00000063")
    stream = peer.accept()
    peer.feed(frame[:18])  # told from the header
    assert_died(peer, ErrorCode.FRAME_SIZE_ERROR, 0x63)
    assert stream.failure is not None
    assert stream.failure.kind is muxado.ProtocolError
    assert not stream.failure.remote


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param("000001 10 00000000 78", id="data"),
        pytest.param("000004 00 00000000 00000000", id="reset"),
        pytest.param("000004 20 00000000 00000001", id="credit"),
        pytest.param("000008 30 00000001 00000000 00000000", id="goaway for a stream"),
    ],
)
def test_x_13_stream_0_is_for_goaways_alone(frame: str) -> None:
    peer = server()
    peer.feed("000000 12 00000063")
    peer.accept()
    peer.feed(frame)
    assert_died(peer, ErrorCode.PROTOCOL_ERROR, 0x63)


@pytest.mark.parametrize("frame", ["000000 12 80000003", "000001 10 80000003 78"])
def test_x_14_an_id_of_32_bits_ends_the_session(frame: str) -> None:
    """Go takes the SYN, and dies of what comes after it."""
    peer = server()
    peer.feed(frame)
    assert_died(peer, ErrorCode.PROTOCOL_ERROR, 0)


@pytest.mark.parametrize("going_away", [False, True])
def test_x_15_an_id_of_our_parity_ends_the_session(going_away: bool) -> None:
    """Go that is going away refuses such a SYN without taking its payload out of the way, and reads
    nonsense from there.  We do not, whatever the SYN."""
    peer = server()
    if going_away:
        peer.connection.go_away(ErrorCode.NO_ERROR, b"")
        peer.sent()
        peer.feed("000003 12 00000003 616263 000000 12 00000005")
        assert peer.sent() == [
            "000004 00 00000003 00000005",
            "000004 00 00000005 00000005",
        ]
    peer.feed("000000 12 00000002")
    assert_died(peer, ErrorCode.PROTOCOL_ERROR, 0)


@pytest.mark.parametrize("state", ["live", "over"])
def test_x_16_an_id_is_used_once(state: str) -> None:
    """Go up to v2.0.1 silently replaces a live stream; newer ones reject the SYN, as we do."""
    peer = server()
    peer.feed("000000 13 00000003")
    if state == "over":
        peer.feed("000004 00 00000003 00000007")
    peer.feed("000000 12 00000003")
    assert_died(peer, ErrorCode.PROTOCOL_ERROR, 0)


def test_x_17_ids_out_of_order_and_with_gaps_are_normal() -> None:
    """Go sends its SYN with the first write, so a stream opened later can come first.  Ours leave in
    order, because Go's GOAWAY names the last SYN it saw."""
    peer = server()
    for stream_id in (9, 5, 2001, 7, 3, 1999):
        peer.feed(f"000000 12 {stream_id:08x}")
    assert [peer.accept().id for _ in range(6)] == [9, 5, 2001, 7, 3, 1999]
    for urgency in (7, 3, 0):
        peer.connection.open(Priority(urgency), None)
    assert [frame.split()[2] for frame in peer.sent()] == ["00000002", "00000004", "00000006"]


def test_x_18_unknown_types_are_skipped_and_never_sent() -> None:
    """Rust dies of one; so a peer that is no muxado_py gets none but the pad behind a GOAWAY, when it
    is gone already."""
    peer = server()
    peer.feed("000003 45 00000003 616263 000001 f0 80000000 78 000001 12 00000003 79")
    stream = peer.accept()
    assert peer.connection.read(stream, 10) == b"y"
    peer.connection.set_priority(stream, Priority(0))
    peer.connection.open(Priority(7, 1), None)
    assert peer.sent() == ["000000 12 00000002"]


def test_x_19_a_full_backlog_refuses_the_stream_and_go_is_told_to_free_it() -> None:
    """Go keeps what it refused with code 9 in its table; one reset frees it, and none follows.  Rust
    stops reading instead, and ends a session of more than 512 streams."""
    peer = server(Config(accept_backlog=2))
    for stream_id in (3, 5, 7):
        peer.feed(f"000001 12 {stream_id:08x} 78")
    assert peer.sent() == ["000004 00 00000007 00000009"]
    peer.accept()
    peer.feed("000000 12 00000009")
    assert peer.sent() == []
    go = client()
    stream = go.connection.open(None, None)
    go.sent()
    go.feed("000004 00 00000003 00000009")
    assert stream.retry is Retry.REFUSED
    assert go.sent() == ["000004 00 00000003 00000006"]
    go.feed("000004 00 00000003 00000009")
    assert go.sent() == []


def test_x_20_the_window_is_exact_to_the_byte() -> None:
    """Go resets the stream that overruns it, and the session lives; so do we."""
    peer = server()
    peer.feed("000000 12 00000003")
    stream = peer.accept()
    peer.connection.write(stream, bytes(262145))
    assert sum(int(frame[:6], 16) for frame in peer.sent()) == 262144
    peer.feed(bytes.fromhex("040000 10 00000003") + bytes(262144))
    assert peer.sent() == []
    assert stream.unread == 262144
    peer.feed("000001 10 00000003 78")
    assert peer.sent() == ["000004 00 00000003 00000003"]
    assert stream.failure is not None
    assert stream.failure.code == ErrorCode.FLOW_CONTROL_ERROR
    assert not peer.ended


def test_x_21_data_that_crosses_our_reset_is_tolerated() -> None:
    """Go swallows it for 5 s; we answer with one more RST, that means nothing to it."""
    peer = server()
    peer.feed("000001 12 00000003 78")
    stream = peer.accept()
    peer.connection.reset(stream, ErrorCode.STREAM_CANCELLED)
    assert peer.sent() == ["000004 00 00000003 00000006"]
    peer.feed("000001 10 00000003 78 000001 11 00000003 78")
    assert peer.sent() == ["000004 00 00000003 00000004"]
    assert peer.connection.read(stream, 9) == b""
    assert not peer.ended


def test_x_22_a_writer_blocked_behind_a_fin_probes() -> None:
    """Go's Close sends only a FIN, and no credit: whether it still reads can only be asked."""
    peer = client(Config(initial_window=1, stream_window=1))
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, b"ab")
    peer.sent()
    peer.connection.timeouts.ask_stalled()
    assert peer.sent() == []
    peer.feed("000000 11 00000003")
    peer.connection.timeouts.ask_stalled()
    assert peer.sent() == ["000000 10 00000003"]
    peer.feed("000004 00 00000003 00000004")
    assert "STREAM_CLOSED(4)" in str(stream.error())
    peer.connection.timeouts.ask_stalled()
    assert peer.sent() == []


def test_x_23_data_before_a_reset_stays_readable() -> None:
    """Here as in Go, so that a RST behind the last bytes does not harm them."""
    peer = server()
    peer.feed("000002 12 00000003 6869 000004 00 00000003 00000006")
    assert peer.connection.accept() is None, "nobody had it yet, and nobody gets it"
    peer.feed("000002 12 00000005 6869")
    stream = peer.accept()
    peer.feed("000004 00 00000005 00000006")
    assert peer.connection.read(stream, 9) == b"hi"
    assert str(stream.error()) == "the peer reset stream 5: STREAM_CANCELLED(6)"
    assert peer.sent() == []


@pytest.mark.parametrize("flags", ["12", "13"], ids=["data", "data and FIN"])
@pytest.mark.parametrize("cut", [4, 8, 10], ids=["in the header", "before the body", "in the body"])
def test_x_24_a_frame_cut_short_is_an_error_and_never_an_end(flags: str, cut: int) -> None:
    """Go hands the part to its application as if it were whole, with the FIN as a clean end."""
    peer = server()
    peer.feed("000000 12 00000005")
    other = peer.accept()
    peer.feed(bytes.fromhex(f"000005 {flags} 00000003 6162636465")[:cut])
    stream = peer.connection.accept()
    peer.connection.receive_eof("[Errno 104] Connection reset by peer")
    message = (
        "the transport ended in the middle of a frame without a goodbye of the peer: "
        "[Errno 104] Connection reset by peer"
    )
    for one in filter(None, (stream, other)):
        assert not one.fin_received
        assert str(one.error()) == message
        assert one.retry is Retry.UNKNOWN
    assert (stream is None) == (cut == 4)
    if stream is not None:
        assert peer.connection.read(stream, 9) == b"ab"[: cut - 8]


def test_x_25_a_stream_without_a_syn_is_unknown() -> None:
    """Go loses the SYN flag if the first write is an empty one; nothing better exists than X6."""
    peer = server()
    peer.feed("000000 10 00000003")
    assert peer.sent() == ["000004 00 00000003 00000004"]
    peer.feed("000001 10 00000003 78")
    assert peer.sent() == ["000004 00 00000003 00000004"]
    assert peer.connection.accept() is None


def test_x_26_data_before_its_syn_is_lost_and_never_ends_clean() -> None:
    """Two first writes at once in Go: the SYN may come second.  Our RST kills the stream there; what
    we have of it is one of the two writes, and no end."""
    peer = server()
    peer.feed("000001 10 00000003 62")
    assert peer.sent() == ["000004 00 00000003 00000004"]
    peer.feed("000001 12 00000003 61")
    stream = peer.accept()
    assert peer.connection.read(stream, 9) == b"a"
    peer.connection.write(stream, b"answer")
    assert peer.sent() == ["000006 10 00000003 616e73776572"]
    peer.feed("000004 00 00000003 00000004")
    assert not stream.fin_received
    assert stream.retry is Retry.UNKNOWN


def test_x_27_the_type_travels_with_the_syn() -> None:
    """Go reads it with one Read: split in two it would be wrong, and shift the data.  We take it in
    any pieces, and offer no stream before it is whole, nor one that ends without it."""
    peer = client(TYPED)
    stream = peer.connection.open(None, 7)
    assert peer.sent() == ["000004 12 00000003 00000007"]
    peer.connection.write(stream, b"x")
    assert peer.sent() == ["000001 10 00000003 78"]
    peer.connection.write(peer.connection.open(None, 8), b"y")
    assert peer.sent() == ["000005 12 00000005 0000000879"]
    peer.feed("000002 12 00000002 0000")
    assert peer.connection.accept() is None
    peer.feed("000003 10 00000002 000778")
    theirs = peer.accept()
    assert (theirs.stream_type, peer.connection.read(theirs, 9)) == (7, b"x")
    peer.feed("000000 12 00000004 000000 11 00000004")
    assert peer.sent() == ["000004 00 00000004 00000001"]
    assert peer.connection.accept() is None


@pytest.mark.anyio
async def test_x_28_heartbeats_are_echoed_and_their_absence_proves_nothing() -> None:
    """A stream of type 0xffffffff, four bytes each way in one frame.  Go's own may stop for good after
    one time-out, so we go by the answers to ours."""
    async with scripted(TYPED) as (session, peer):
        await peer.say(data(2, b"\xff\xff\xff\xff", syn=True), data(2, b"\xca\xfe\xba\xbe"))
        assert (await peer.expect("DATA", 2)).body == b"\xca\xfe\xba\xbe"
        beat = (await peer.expect("DATA", 3)).body
        assert beat[:4] == b"\xff\xff\xff\xff"
        for _ in range(100):
            beat = beat[4:] or (await peer.expect("DATA", 3)).body
            assert len(beat) == 4
            await peer.say(data(3, beat))
            beat = b""
        assert not session.closed
        assert session.statistics().backlog == 0, "no application sees heartbeats"


class HalfClosing(Around):
    """Notes a half close."""

    half_closed = False

    async def send_eof(self) -> None:
        self.half_closed = True


@pytest.mark.anyio
async def test_x_29_the_transport_is_half_closed_only_behind_the_goodbye() -> None:
    """Go takes that for the end of everything: GOAWAY(15), and it closes.  It has a moment before."""
    near, far = memory_transports(64)
    transport, peer = HalfClosing(near), ScriptedPeer(far)
    async with muxado.client(transport) as session, create_task_group() as tasks:
        stream = await session.open_stream()
        await stream.send(b"x")
        await stream.send_eof()
        await peer.expect("DATA", 3)
        tasks.start_soon(session.aclose)
        await peer.expect("PAD")
        assert not transport.half_closed
        frames = await peer.to_the_end()
    await anyio.aclose_forcefully(far)
    assert [frame.kind for frame in frames[-2:]] == ["GOAWAY", "PAD"]
    assert transport.half_closed
    go = client()
    mine = go.connection.open(None, None)
    go.sent()
    go.feed(
        "000021 30 00000000 00000000 0000000f 7265616420454f462066726f6d2072656d6f74652070656572"
    )
    assert go.ended_code == ErrorCode.PEER_EOF
    assert str(mine.error()) == (
        "the peer ended the session, PEER_EOF(15): read EOF from remote peer"
    )


def test_x_30_the_goodbye_of_go_is_its_last_frame() -> None:
    """The end of the transport is expected after it; what is unfinished then fails, and no last id of
    a foreign peer proves anything."""
    peer = client()
    streams = [peer.connection.open(None, None) for _ in range(2)]
    peer.sent()
    peer.feed("000010 30 00000000 00000003 00000000 6e6f206572726f72")
    assert not peer.ended
    assert [stream.failure for stream in streams] == [None, None]
    with pytest.raises(muxado.GoneAwayError):
        peer.connection.open(None, None)
    peer.connection.receive_eof()
    ended = peer.connection.events.failure
    assert ended is not None
    assert ended.kind is muxado.SessionClosedError
    assert ended.message == "the peer closed the session"
    assert [stream.retry for stream in streams] == [Retry.UNKNOWN, Retry.UNKNOWN]


@pytest.mark.parametrize("streams", [1, 2])
def test_x_31_frames_are_short_and_leave_whole(streams: int) -> None:
    """Go's application waits for a frame to be whole, even with bytes before it to read."""
    peer = client()
    for _ in range(streams):
        peer.connection.write(peer.connection.open(None, None), bytes(100_000))
    lengths = []
    while pieces := peer.connection.data_to_send(1):
        lengths += [len(frame) - 8 for frame in split_frames(b"".join(pieces))]
    assert max(lengths) <= 16384
    assert sum(lengths) == streams * 100_000


@pytest.mark.anyio
async def test_x_32_reading_never_waits_for_writing() -> None:
    """Two readers that both wait for their writers would stop for good; Go's stops with 64 replies."""
    near, far = memory_transports(64)
    transport, peer = Stuck(near), ScriptedPeer(far)
    async with muxado.server(transport) as session:
        await peer.say(HELLO)
        await peer.expect("SETTINGS")
        transport.hold()
        unknown = b"".join(data(stream_id, b"x") for stream_id in range(1001, 1401, 2))
        await peer.say(unknown, *(data(stream_id, b"x", syn=True) for stream_id in (3, 5, 7)))
        accepted = [await session.accept_stream() for _ in range(3)]
        for stream in accepted:
            assert await stream.receive() == b"x"
            await stream.send(b"answer")
        transport.release()
        for stream_id in (3, 5, 7):
            assert (await peer.expect("DATA", stream_id)).body == b"answer"
        resets = {frame.stream for frame in peer.seen if frame.kind == "RST"}
        assert resets == set(range(1001, 1401, 2))
        await anyio.aclose_forcefully(far)

"""What a Go or Rust peer does on the wire, byte for byte, and what we answer.

The peer is a script.  The bytes are those that Go muxado sends (ngrok/muxado-go, probed over TCP);
each test is one habit of a real peer, or one rule that a peer expects of us.
"""

from __future__ import annotations

import pytest

from muxado_py import Config, Retry
from muxado_py.errors import ErrorCode

from .helpers.pair import PAD, Script, read_all, spaced, split_frames

GOAWAY_PAD = spaced(PAD)


def server(config: Config | None = None) -> Script:
    return Script(config, client=False)


def client(config: Config | None = None) -> Script:
    return Script(config, client=True)


# Opening and closing.


def test_open_with_the_first_byte() -> None:
    peer = server()
    peer.feed("000001 12 00000005 79")
    stream = peer.accept()
    assert (stream.id, peer.connection.read(stream, 10)) == (5, b"y")


def test_what_we_send_to_open_write_and_close() -> None:
    peer = client()
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, b"y")
    assert peer.sent() == ["000001 12 00000003 79"]
    peer.connection.finish(stream)
    assert peer.sent() == ["000000 11 00000003"]


def test_the_first_ids_are_those_of_go() -> None:
    for script, frame in ((client(), "000000 12 00000003"), (server(), "000000 12 00000002")):
        script.connection.open(None, None)
        assert script.sent() == [frame]


@pytest.mark.parametrize("data", [b"", b"x"], ids=["empty", "with a byte"])
@pytest.mark.parametrize("how", ["finish", "close"])
def test_syn_and_fin_never_share_a_frame(data: bytes, how: str) -> None:
    """A Go acceptor could not answer such a stream: its write window is closed by that frame."""
    peer = client()
    stream = peer.connection.open(None, None)
    if data:
        peer.connection.write(stream, data)
    getattr(peer.connection, how)(stream)
    assert [frame.split()[1] for frame in peer.sent()] == ["12", "11"]


def test_syn_and_fin_in_one_frame_are_taken() -> None:
    """Go sends that for a stream that it opened and closed: an end, and a side we may write to."""
    peer = server()
    peer.feed("000000 13 00000003")
    stream = peer.accept()
    assert stream.recv.finished
    peer.connection.write(stream, b"ok")
    assert peer.sent() == ["000002 10 00000003 6f6b"]


@pytest.mark.parametrize("state", ["live", "half closed by us", "closed", "never opened"])
def test_a_second_fin_is_ignored(state: str) -> None:
    """Go sends one for each CloseWrite and each Close, and the Rust crate for streams of no SYN."""
    peer = server()
    if state != "never opened":
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


# Streams we do not know.


@pytest.mark.parametrize("flags", ["10", "11"])
def test_data_for_an_unknown_stream_is_answered_with_a_reset(flags: str) -> None:
    peer = server()
    peer.feed(f"000003 {flags} 00000007 616263")
    assert peer.sent() == ["000004 00 00000007 00000004"]
    peer.feed(f"000003 {flags} 00000007 616263")
    assert peer.sent() == ["000004 00 00000007 00000004"]
    assert not peer.ended


def test_its_payload_is_drained_in_pieces() -> None:
    peer = server()
    peer.feed("000005 10 00000007 6162")
    assert peer.sent() == []
    peer.feed("636465")
    assert peer.sent() == ["000004 00 00000007 00000004"]
    peer.feed("000001 12 00000003 79")
    assert peer.connection.read(peer.accept(), 10) == b"y"


def test_a_probe_of_an_unknown_stream_is_answered_with_a_reset() -> None:
    peer = server()
    peer.feed("000000 10 00000007")
    assert peer.sent() == ["000004 00 00000007 00000004"]


def test_a_probe_of_a_live_stream_has_no_effect() -> None:
    peer = server()
    peer.feed("000001 12 00000003 79")
    stream = peer.accept()
    peer.feed("000000 10 00000003")
    assert peer.sent() == []
    assert (peer.connection.read(stream, 9), stream.recv.finished, peer.ended) == (
        b"y",
        False,
        False,
    )


@pytest.mark.parametrize(
    "frame",
    ["000004 20 00000007 00000001", "000004 20 00000007 00000000", "000004 00 00000007 00000006"],
    ids=["credit", "credit of nothing", "reset"],
)
def test_credit_and_resets_for_unknown_streams_are_ignored(frame: str) -> None:
    peer = server()
    for _ in range(2000):
        peer.feed(frame)
    assert peer.sent() == []
    assert not peer.ended


def test_a_stream_without_a_syn_is_unknown() -> None:
    """Go loses the SYN flag if the first write is an empty one."""
    peer = server()
    peer.feed("000001 10 00000003 78")
    assert peer.sent() == ["000004 00 00000003 00000004"]


# Credit.


def test_credit_of_nothing_resets_the_stream() -> None:
    peer = server()
    peer.feed("000000 12 00000003 000004 20 00000003 00000000")
    assert peer.sent() == ["000004 00 00000003 00000001"]
    assert not peer.ended


def test_credit_above_the_largest_window_resets_the_stream() -> None:
    peer = server()
    peer.feed("000000 12 00000003")
    stream = peer.accept()
    room = f"{2**31 - 1 - 262144:08x}"
    peer.feed(f"000004 20 00000003 {room}")
    assert stream.send.window.available == 2**31 - 1
    assert peer.sent() == []
    peer.feed("000004 20 00000003 00000001")
    assert peer.sent() == ["000004 00 00000003 00000003"]
    assert "2^31-1" in str(stream.error())
    assert not peer.ended


def test_the_high_bit_of_credit_is_masked() -> None:
    peer = server(Config(initial_window=1, stream_window=1))
    peer.feed("000000 12 00000003")
    stream = peer.accept()
    peer.connection.write(stream, b"abc")
    assert peer.sent() == ["000001 10 00000003 61"]
    peer.feed("000004 20 00000003 80000001")
    assert peer.sent() == ["000001 10 00000003 62"]


def test_a_peer_may_credit_every_single_read() -> None:
    peer = client()
    stream = peer.connection.open(None, None)
    for _ in range(5000):
        peer.connection.write(stream, b"x")
        peer.sent()
        peer.feed("000004 20 00000003 00000001")
    assert stream.send.window.available == 262144
    assert not peer.ended


def test_the_window_is_exact_to_the_byte() -> None:
    peer = server()
    peer.feed("000000 12 00000003")
    stream = peer.accept()
    peer.feed(bytes.fromhex("040000 10 00000003") + bytes(262144))
    assert peer.sent() == []
    assert stream.recv.unread == 262144
    peer.feed("000001 10 00000003 78")
    assert peer.sent() == ["000004 00 00000003 00000003"]
    assert not peer.ended
    assert stream.failure is not None
    assert stream.failure.code == ErrorCode.FLOW_CONTROL_ERROR


def test_one_frame_may_carry_the_whole_window() -> None:
    """Go cuts none: what is written in one call is one frame."""
    peer = server()
    peer.feed(bytes.fromhex("040000 12 00000003"))
    for _ in range(4):
        peer.feed(bytes(65536))
    stream = peer.accept()
    assert read_all(peer.connection, stream) == bytes(262144)
    assert peer.sent() == ["000004 20 00000003 00040000"]


def test_credit_comes_in_halves_of_the_window() -> None:
    peer = server()
    peer.feed(bytes.fromhex("040000 12 00000003") + bytes(262144))
    stream = peer.accept()
    for _ in range(131071):
        peer.connection.read(stream, 1)
    assert peer.sent() == []
    peer.connection.read(stream, 1)
    assert peer.sent() == ["000004 20 00000003 00020000"]


def test_no_credit_for_a_stream_that_the_peer_finished() -> None:
    peer = server()
    peer.feed(bytes.fromhex("040000 13 00000003") + bytes(262144))
    stream = peer.accept()
    assert read_all(peer.connection, stream) == bytes(262144)
    assert peer.sent() == []


def test_credit_of_a_late_reader_is_tolerated() -> None:
    """Go credits what it reads after our FIN, and after it closed the stream itself."""
    peer = client()
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, b"abc")
    peer.connection.finish(stream)
    peer.sent()
    peer.feed("000004 20 00000003 00000001 000000 11 00000003 000004 20 00000003 00000002")
    assert peer.sent() == []
    assert stream.failure is None


def test_a_larger_window_is_told_to_a_foreign_peer_as_credit() -> None:
    config = Config(stream_window=1024 * 1024)
    peer = server(config)
    peer.feed("000000 12 00000003")
    assert peer.sent() == ["000004 20 00000003 000c0000"]
    stream = peer.accept()
    peer.feed(bytes.fromhex("0fffff 10 00000003") + bytes(2**20 - 1))
    peer.feed("000001 10 00000003 78")
    assert peer.sent() == []
    assert stream.recv.unread == 2**20


def test_a_slightly_larger_window_waits_for_the_first_half() -> None:
    peer = server(Config(initial_window=1000, stream_window=1100))
    peer.feed("000000 12 00000003")
    assert peer.sent() == []
    stream = peer.accept()
    peer.feed(bytes.fromhex("0003e8 10 00000003") + bytes(1000))
    peer.connection.read(stream, 450)
    assert peer.sent() == ["000004 20 00000003 00000226"]


def test_our_streams_get_the_larger_window_once_the_peer_spoke() -> None:
    peer = client(Config(stream_window=1024 * 1024))
    stream = peer.connection.open(None, None)
    assert peer.sent() == ["000000 12 00000003"]
    peer.feed("000000 11 00000005")
    assert peer.sent() == ["000004 20 00000003 000c0000"]
    assert stream.recv.window.allowed == 2**20


# Violations.


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param("000003 00 00000003 000000", 8, id="reset of 3 bytes"),
        pytest.param("000005 20 00000003 0000000000", 8, id="credit of 5 bytes"),
        pytest.param("000007 30 00000000 00000000000000", 8, id="goaway of 7 bytes"),
        pytest.param("000001 10 00000000 78", 1, id="data for stream 0"),
        pytest.param("000004 00 00000000 00000000", 1, id="reset for stream 0"),
        pytest.param("000004 20 00000000 00000001", 1, id="credit for stream 0"),
        pytest.param("000008 30 00000001 00000000 00000000", 1, id="goaway for a stream"),
        pytest.param("000000 12 80000003", 1, id="an id of 32 bits"),
        pytest.param("000000 12 00000002", 1, id="an id of our parity"),
        pytest.param("000000 12 00000003 000000 12 00000003", 1, id="a live id again"),
        pytest.param(
            "000000 13 00000003 000004 00 00000003 00000007 000000 12 00000003",
            1,
            id="a used id again",
        ),
    ],
)
def test_what_ends_the_session(frame: str, code: int) -> None:
    peer = server()
    peer.feed("000000 12 00000063")
    stream = peer.accept()
    peer.feed(frame)
    goodbye, pad = [frame for frame in peer.sent() if frame[7] in "3f"]
    assert goodbye.split()[1:3] == ["30", "00000000"]
    assert goodbye.split()[3].startswith(f"00000063{code:08x}")
    assert pad == GOAWAY_PAD
    assert peer.ended_code == code
    assert stream.failure is not None
    assert stream.failure.kind.__name__ == "ProtocolError"
    assert not stream.failure.remote
    assert "broke the protocol" in stream.failure.message
    peer.feed("000000 12 00000065")
    assert peer.connection.accept() is None
    assert peer.sent() == []


def test_two_clients_are_told_that_they_are() -> None:
    peer = client()
    peer.feed("000000 12 00000003")
    ended = peer.connection.events.ended
    assert ended is not None
    assert "are both ends clients?" in ended.message


def test_ids_out_of_order_and_with_gaps_are_normal() -> None:
    """Go sends its SYN with the first write, so a stream opened later can come first."""
    peer = server()
    for stream_id in (9, 5, 2001, 7, 3, 1999):
        peer.feed(f"000000 12 {stream_id:08x}")
    assert [peer.accept().id for _ in range(6)] == [9, 5, 2001, 7, 3, 1999]
    assert peer.sent() == []


def test_unknown_types_are_skipped_with_their_body() -> None:
    peer = server()
    peer.feed("000003 45 00000003 616263 000001 f0 80000000 78 000001 12 00000003 79")
    assert peer.connection.read(peer.accept(), 10) == b"y"
    assert peer.sent() == []


# Refusals.


def test_a_full_backlog_refuses_the_stream() -> None:
    peer = server(Config(accept_backlog=2))
    for stream_id in (3, 5, 7):
        peer.feed(f"000001 12 {stream_id:08x} 78")
    assert peer.sent() == ["000004 00 00000007 00000009"]
    peer.accept()
    peer.feed("000000 12 00000009")
    assert peer.sent() == []


def test_too_many_streams_are_refused_one_by_one() -> None:
    peer = server(Config(max_streams=2))
    for stream_id in (3, 5, 7, 9):
        peer.feed(f"000000 12 {stream_id:08x}")
    assert peer.sent() == ["000004 00 00000007 00000005", "000004 00 00000009 00000005"]
    assert not peer.ended


def test_a_stream_counts_until_its_handler_is_done() -> None:
    """Opening and resetting must win nothing (CVE-2023-44487)."""
    peer = server(Config(max_streams=1))
    peer.feed("000000 12 00000003")
    stream = peer.accept()
    peer.feed("000004 00 00000003 00000006 000000 12 00000005")
    assert peer.sent() == ["000004 00 00000005 00000005"]
    peer.connection.close(stream)
    peer.feed("000000 12 00000007")
    assert peer.sent() == []
    assert peer.accept().id == 7


@pytest.mark.parametrize("code", [5, 9])
def test_a_refusal_is_safe_to_retry(code: int) -> None:
    peer = client()
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, b"call")
    peer.sent()
    peer.feed(f"000004 00 00000003 {code:08x}")
    error = stream.error()
    assert stream.retry is Retry.REFUSED
    assert type(error).__name__ == "StreamRefusedError"
    assert "the peer refused stream 3" in str(error)


def test_go_is_told_to_free_a_stream_that_it_had_no_room_for() -> None:
    """Go keeps what it refused with code 9 in its table; one reset frees it, and none follows."""
    peer = client()
    peer.connection.open(None, None)
    peer.sent()
    peer.feed("000004 00 00000003 00000009")
    assert peer.sent() == ["000004 00 00000003 00000006"]
    peer.feed("000004 00 00000003 00000009")
    assert peer.sent() == []


@pytest.mark.parametrize(
    "before",
    ["000004 20 00000003 00000001", "000000 11 00000003", "000000 10 00000003"],
    ids=["credit", "fin", "probe"],
)
def test_a_refusal_after_any_other_frame_proves_nothing(before: str) -> None:
    peer = client()
    stream = peer.connection.open(None, None)
    peer.sent()
    peer.feed(before + "000004 00 00000003 00000005")
    assert stream.retry is Retry.UNKNOWN


def test_a_refusal_after_an_answer_means_it_was_processed() -> None:
    peer = client()
    stream = peer.connection.open(None, None)
    peer.sent()
    peer.feed("000001 10 00000003 78 000004 00 00000003 00000005")
    assert stream.retry is Retry.PROCESSED
    assert peer.connection.read(stream, 9) == b"x"


@pytest.mark.parametrize("code", [0, 1, 3, 4, 6, 7, 14, 0xFFFFFFFF])
def test_any_other_reset_proves_nothing(code: int) -> None:
    peer = client()
    stream = peer.connection.open(None, None)
    peer.sent()
    peer.feed(f"000004 00 00000003 {code:08x}")
    assert stream.retry is Retry.UNKNOWN
    assert stream.failure is not None
    assert (stream.failure.code, stream.failure.remote) == (code, True)


# Resets.


def test_data_before_a_reset_stays_readable() -> None:
    peer = server()
    peer.feed("000002 12 00000003 6869 000004 00 00000003 00000006")
    # Nobody had accepted it: a stream reset in the backlog is not handed off.
    assert peer.connection.accept() is None
    peer.feed("000002 12 00000005 6869")
    stream = peer.accept()
    peer.feed("000004 00 00000005 00000006")
    assert peer.connection.read(stream, 9) == b"hi"
    assert str(stream.error()) == "the peer reset stream 5: STREAM_CANCELLED(6)"
    assert peer.sent() == []


def test_data_that_crosses_our_reset_is_tolerated() -> None:
    peer = server()
    peer.feed("000001 12 00000003 78")
    stream = peer.accept()
    peer.connection.reset(stream, ErrorCode.STREAM_CANCELLED)
    assert peer.sent() == ["000004 00 00000003 00000006"]
    peer.feed("000001 10 00000003 78 000001 11 00000003 78")
    assert peer.sent() == ["000004 00 00000003 00000004"]
    assert peer.connection.read(stream, 9) == b""
    assert not peer.ended


def test_data_after_the_fin_resets_the_stream() -> None:
    peer = server()
    peer.feed("000001 13 00000003 78")
    stream = peer.accept()
    peer.feed("000001 10 00000003 79")
    assert peer.sent() == ["000004 00 00000003 00000004"]
    assert "data after its FIN" in str(stream.error())


# Close with data still coming.


def test_closing_a_stream_with_unread_data_ends_in_a_reset_behind_the_fin() -> None:
    peer = server()
    peer.feed("000003 12 00000003 616263")
    stream = peer.accept()
    peer.connection.write(stream, b"bye")
    peer.connection.close(stream)
    assert peer.sent() == ["000003 11 00000003 627965"]
    assert peer.sent() == ["000004 00 00000003 00000006"]
    assert peer.connection.live_streams == 0


def test_data_that_comes_after_a_close_is_answered_with_a_reset() -> None:
    peer = server()
    peer.feed("000000 12 00000003")
    peer.connection.close(peer.accept())
    assert peer.sent() == ["000000 11 00000003"]
    peer.feed("000001 10 00000003 78")
    assert peer.sent() == ["000004 00 00000003 00000004"]


def test_a_half_closed_side_still_reads_and_closing_then_says_nothing_more() -> None:
    peer = client()
    stream = peer.connection.open(None, None)
    peer.connection.finish(stream)
    peer.sent()
    peer.feed("000001 11 00000003 78")
    assert peer.connection.read(stream, 9) == b"x"
    assert stream.recv.finished
    peer.connection.close(stream)
    assert peer.sent() == []
    assert peer.connection.live_streams == 0


def test_closing_after_a_half_close_rejects_what_is_unread() -> None:
    peer = client()
    stream = peer.connection.open(None, None)
    peer.connection.finish(stream)
    peer.sent()
    peer.feed("000001 10 00000003 78")
    peer.connection.close(stream)
    assert peer.sent() == ["000004 00 00000003 00000006"]
    assert peer.connection.live_streams == 0


def test_data_that_comes_while_a_closed_stream_flushes_is_lost_and_said_so() -> None:
    peer = server(Config(initial_window=2, stream_window=2))
    peer.feed("000000 12 00000003")
    stream = peer.accept()
    peer.connection.write(stream, b"abc")
    peer.connection.close(stream)
    assert peer.sent() == ["000002 10 00000003 6162"]
    peer.feed("000002 10 00000003 7878")
    assert peer.connection.unread == 0
    peer.feed("000004 20 00000003 00000002")
    assert peer.sent() == ["000001 11 00000003 63"]
    assert peer.sent() == ["000004 00 00000003 00000006"]


def test_a_writer_blocked_behind_a_fin_probes() -> None:
    """Go's Close sends only a FIN: whether it still reads can only be asked."""
    peer = client(Config(initial_window=1, stream_window=1))
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, b"ab")
    peer.sent()
    assert not peer.connection.probe_stalled()
    peer.feed("000000 11 00000003")
    assert peer.connection.probe_stalled()
    assert peer.sent() == ["000000 10 00000003"]
    peer.feed("000004 00 00000003 00000004")
    assert "STREAM_CLOSED(4)" in str(stream.error())
    assert not peer.connection.probe_stalled()


# Goodbyes.


def test_every_goaway_is_followed_by_eight_bytes_for_the_reader_that_eats_them() -> None:
    peer = server()
    peer.connection.go_away(ErrorCode.NO_ERROR, b"bye")
    assert peer.sent() == ["00000b 30 00000000 000000000000000062796" + "5", GOAWAY_PAD]
    peer.connection.announce_go_away()
    assert peer.sent() == ["000008 30 00000000 7ffffffd00000000", GOAWAY_PAD]


@pytest.mark.parametrize("debug", [b"", b"bye", b"x" * 5000])
def test_a_reader_that_eats_eight_bytes_too_many_stays_in_step(debug: bytes) -> None:
    """Go muxado up to v2.0.1, played: what it reads next must be a frame header."""
    peer = client()
    stream = peer.connection.open(None, None)
    peer.connection.go_away(ErrorCode.NO_ERROR, debug)
    pieces = peer.connection.data_to_send(1000)
    peer.connection.write(stream, b"x")
    data = b"".join([*pieces, *peer.connection.data_to_send(1000)])
    seen = []
    while data:
        length = int.from_bytes(data[:3], "big")
        eaten = length + 8 if data[3] == 0x30 else length
        seen.append(data[3])
        data = data[8 + eaten :]
    assert seen == [0x12, 0x30, 0x10]


def test_the_goodbye_of_go_ends_the_session_without_an_error() -> None:
    peer = client()
    stream = peer.connection.open(None, None)
    peer.sent()
    peer.feed("000010 30 00000000 00000000 00000000 6e6f206572726f72")
    assert not peer.ended
    assert stream.failure is None
    peer.connection.receive_eof()
    ended = peer.connection.events.ended
    assert ended is not None
    assert (ended.kind.__name__, ended.message) == (
        "SessionClosedError",
        "the peer closed the session",
    )
    assert stream.failure is not None
    assert stream.retry is Retry.UNKNOWN, "no last id of a foreign peer proves anything"


def test_the_goodbye_of_go_with_an_error() -> None:
    peer = client()
    stream = peer.connection.open(None, None)
    peer.sent()
    peer.feed(
        "000021 30 00000000 00000000 0000000f 7265616420454f462066726f6d2072656d6f74652070656572"
    )
    assert peer.ended_code == 15
    assert str(stream.error()) == (
        "the peer ended the session, PEER_EOF(15): read EOF from remote peer"
    )
    assert stream.retry is Retry.UNKNOWN


def test_a_transport_that_ends_without_a_goodbye_is_an_error() -> None:
    peer = server()
    peer.feed("000002 12 00000003 6869")
    stream = peer.accept()
    peer.connection.receive_eof()
    assert peer.connection.read(stream, 9) == b"hi"
    assert not stream.recv.finished
    assert str(stream.error()) == "the transport ended without a goodbye of the peer"


def test_a_frame_cut_short_is_never_an_end() -> None:
    """With the FIN of the frame that was cut, Go reports a clean end of file."""
    peer = server()
    peer.feed("000005 13 00000003 6162")
    stream = peer.accept()
    peer.connection.receive_eof("[Errno 104] Connection reset by peer")
    assert peer.connection.read(stream, 9) == b"ab"
    assert not stream.recv.finished
    assert str(stream.error()) == (
        "the transport ended in the middle of a frame without a goodbye of the peer: "
        "[Errno 104] Connection reset by peer"
    )


# Typed streams.

TYPED = Config(typed_streams=True)


def test_the_type_travels_with_the_syn() -> None:
    """Go reads it with one Read: split in two it would be wrong, and shift the data."""
    peer = client(TYPED)
    stream = peer.connection.open(None, 7)
    assert peer.sent() == ["000004 12 00000003 00000007"]
    peer.connection.write(stream, b"x")
    assert peer.sent() == ["000001 10 00000003 78"]


def test_a_typed_stream_is_offered_once_its_type_is_here() -> None:
    peer = server(TYPED)
    peer.feed("000002 12 00000003 0000")
    assert peer.connection.accept() is None
    peer.feed("000003 10 00000003 000778")
    stream = peer.accept()
    assert (stream.stream_type, peer.connection.read(stream, 9)) == (7, b"x")


@pytest.mark.parametrize("flags", ["11", "10"])
def test_a_typed_stream_that_ends_without_a_type_is_offered_to_nobody(flags: str) -> None:
    """Most Go servers take an error of Accept for the end of everything."""
    peer = server(TYPED)
    peer.feed("000000 12 00000003" + f"000003 {flags} 00000003 000000")
    peer.feed("000000 11 00000003")
    assert peer.sent() == ["000004 00 00000003 00000001"]
    assert peer.connection.accept() is None
    assert (peer.connection.peer_streams, peer.connection.live_streams) == (0, 0)


def test_a_typed_stream_that_is_reset_without_a_type_is_gone() -> None:
    peer = server(TYPED)
    peer.feed("000000 12 00000003 000004 00 00000003 00000006")
    assert (peer.connection.peer_streams, peer.connection.live_streams) == (0, 0)
    assert not peer.ended


def test_a_heartbeat_stream_is_not_offered() -> None:
    peer = server(TYPED)
    peer.feed("000004 12 00000003 ffffffff 000004 10 00000003 01020304")
    assert peer.connection.accept() is None
    (stream,) = peer.connection.events.heartbeats
    assert peer.connection.read(stream, 9) == b"\1\2\3\4"
    peer.connection.write(stream, b"\1\2\3\4")
    assert peer.sent() == ["000004 10 00000003 01020304"]


def test_heartbeats_go_on_while_a_session_drains() -> None:
    peer = server(TYPED)
    peer.feed("000004 12 00000003 ffffffff 000004 12 00000005 00000007")
    peer.connection.go_away(ErrorCode.NO_ERROR, b"")
    assert peer.sent() == [
        "000004 00 00000005 00000005",
        "000008 30 00000000 0000000000000000",
        GOAWAY_PAD,
    ]
    assert peer.connection.live_streams == 1


# How we send.


def test_a_lone_stream_sends_large_frames() -> None:
    """Up to 64 KiB; Go's application waits for a frame to be whole."""
    peer = client()
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, bytes(200_000))
    lengths = [int(frame[:6], 16) for frame in peer.sent()]
    assert lengths == [65536, 65536, 65536, 200_000 - 3 * 65536]


def test_beside_others_frames_are_small() -> None:
    peer = client()
    for _ in range(2):
        peer.connection.write(peer.connection.open(None, None), bytes(40_000))
    lengths = [int(frame[:6], 16) for frame in peer.sent()]
    assert max(lengths) == 16384
    assert sum(lengths) == 80_000


def test_header_and_payload_leave_together() -> None:
    peer = client()
    peer.connection.write(peer.connection.open(None, None), bytes(100_000))
    while pieces := peer.connection.data_to_send(1):
        assert split_frames(b"".join(pieces)), "whole frames only"


def test_reading_never_waits_for_writing() -> None:
    """Two readers that both wait for their writers would stop for good."""
    peer = server()
    for stream_id in range(3, 203, 2):
        peer.feed(f"000001 12 {stream_id:08x} 78")
    assert peer.connection.may_read
    assert peer.connection.backlog == 100

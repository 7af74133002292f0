"""What a Go or Rust peer does on the wire, byte for byte, and what we answer.

The peer is a script.  The bytes are those that Go muxado sends (ngrok/muxado-go, probed over TCP);
each test is one habit of a real peer, or one rule that a peer expects of us, beside those that have a
row in ``rows/test_muxado_rows.py``.
"""

from __future__ import annotations

import pytest

from muxado_py import Config, Retry
from muxado_py.errors import ErrorCode

from ..helpers.pair import PAD, Script, read_all, spaced

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


# Credit.


def test_a_peer_may_credit_every_single_read() -> None:
    peer = client()
    stream = peer.connection.open(None, None)
    for _ in range(5000):
        peer.connection.write(stream, b"x")
        peer.sent()
        peer.feed("000004 20 00000003 00000001")
    assert stream.send_window == 262144
    assert not peer.ended


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
    assert peer.sent() == [], "a refusal may still follow, and is to be believed"
    stream = peer.accept()
    assert peer.sent() == ["000004 20 00000003 000c0000"]
    peer.feed(bytes.fromhex("0fffff 10 00000003") + bytes(2**20 - 1))
    peer.feed("000001 10 00000003 78")
    assert peer.sent() == []
    assert stream.unread == 2**20


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
    assert stream.recv_window == 2**20


# Violations.


def test_two_clients_are_told_that_they_are() -> None:
    peer = client()
    peer.feed("000000 12 00000003")
    ended = peer.connection.events.failure
    assert ended is not None
    assert "are both ends clients?" in ended.message


# Refusals.


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
    assert stream.fin_received
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


# Goodbyes.


def test_a_transport_that_ends_without_a_goodbye_is_an_error() -> None:
    peer = server()
    peer.feed("000002 12 00000003 6869")
    stream = peer.accept()
    peer.connection.receive_eof()
    assert peer.connection.read(stream, 9) == b"hi"
    assert not stream.fin_received
    assert str(stream.error()) == "the transport ended without a goodbye of the peer"


# Typed streams.

TYPED = Config(typed_streams=True)


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


def test_heartbeats_go_on_while_a_session_drains() -> None:
    peer = server(TYPED)
    peer.feed("000004 12 00000003 ffffffff 000004 12 00000005 00000007")
    peer.connection.go_away(ErrorCode.NO_ERROR, b"")
    assert peer.sent() == [
        "000004 00 00000005 00000005",
        "000008 30 00000000 0000000300000000",
        GOAWAY_PAD,
    ]
    assert peer.connection.events.failure is None


# How we send.


def test_a_lone_stream_sends_large_frames() -> None:
    """Up to 64 KiB; Go's application waits for a frame to be whole."""
    peer = client()
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, bytes(200_000))
    lengths = [int(frame[:6], 16) for frame in peer.sent()]
    assert lengths == [65536, 65536, 65536, 200_000 - 3 * 65536]

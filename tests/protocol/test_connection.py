"""Two connections and a wire: what muxado_py peers owe each other."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from muxado_py import (
    Config,
    GoneAwayError,
    MuxadoError,
    Priority,
    Retry,
    SessionClosedError,
    SessionError,
    StreamLimitError,
)
from muxado_py.errors import ErrorCode, Failure, PeerTimeoutError
from muxado_py.frames import WIRES
from muxado_py.protocol.connection import CLOSED_HERE, Connection
from muxado_py.scheduler import DEFAULT_PRIORITY

from ..helpers.inside import begin_with_ids
from ..helpers.pair import HELLO, Pair, Script, read_all, split_frames

if TYPE_CHECKING:
    from muxado_py.protocol.stream_state import StreamState

foreign = pytest.mark.parametrize("foreign", [False, True], ids=["muxado_py", "foreign"])
chunks = pytest.mark.parametrize("chunk", [0, 1, 7, 1000], ids=["whole", "1", "7", "1000"])


def is_idle(connection: Connection) -> bool:
    """Nothing is left of any stream."""
    return not (
        connection.live_streams
        or connection.peer_streams
        or connection.backlog
        or connection.unread
        or connection.has_output()
        or connection.has_unsent
    )


def transfer(
    pair: Pair, sender: Connection, stream: StreamState, receiver: StreamState, data: bytes
) -> bytes:
    """Write all of it and read all of it, a piece at a time."""
    reader = pair.other(sender)
    got = bytearray()
    for start in range(0, len(data), 50_000):
        sender.write(stream, data[start : start + 50_000])
        while stream.unsent:
            before = stream.unsent
            pair.run_until_idle()
            got += read_all(reader, receiver, 3000)
            assert stream.unsent < before, "stuck"
    pair.run_until_idle()
    return bytes(got + read_all(reader, receiver))


# Bytes both ways.


@chunks
@foreign
def test_an_exchange_with_half_closes_leaves_nothing_behind(chunk: int, foreign: bool) -> None:
    pair = Pair(chunk=chunk, foreign=foreign)
    near, far = pair.open(b"request")
    pair.client.finish(near)
    pair.run_until_idle()
    assert pair.server.read(far, 100) == b"request"
    assert far.fin_received
    pair.server.write(far, b"answer")
    pair.server.finish(far)
    pair.run_until_idle()
    assert pair.client.read(near, 100) == b"answer"
    assert near.fin_received
    pair.client.close(near)
    pair.server.close(far)
    pair.run_until_idle()
    assert is_idle(pair.client)
    assert is_idle(pair.server)
    assert pair.client.is_muxado_py is not foreign


@foreign
def test_the_server_opens_streams_too(foreign: bool) -> None:
    pair = Pair(foreign=foreign)
    near, far = pair.open(b"hello", by=pair.server)
    assert (near.id, pair.client.read(far, 9)) == (2, b"hello")


@foreign
@pytest.mark.parametrize("window", [1, 100, 262144])
def test_a_transfer_larger_than_every_window(foreign: bool, window: int) -> None:
    config = Config(initial_window=window, stream_window=window, session_window=65536)
    pair = Pair(config, foreign=foreign)
    near, far = pair.open(b"x")
    pair.server.read(far, 1)
    data = bytes(i % 251 for i in range(2000 if window == 1 else 300_000))
    assert transfer(pair, pair.client, near, far, data) == data
    assert transfer(pair, pair.server, far, near, data) == data
    assert near.send_window == far.recv_window
    assert near.recv_window == far.send_window


def test_an_end_that_follows_data_is_seen_after_it() -> None:
    pair = Pair()
    near, far = pair.open(b"abc")
    pair.client.finish(near)
    pair.run_until_idle()
    assert pair.server.read(far, 2) == b"ab"
    assert pair.server.read(far, 2) == b"c"
    assert pair.server.read(far, 2) == b""
    assert far.fin_received


def test_bytes_can_be_read_after_the_stream_is_over() -> None:
    pair = Pair()
    near, far = pair.open(b"abc")
    pair.client.finish(near)
    pair.server.finish(far)
    pair.run_until_idle()
    assert (pair.server.live_streams, pair.server.unread) == (0, 3)
    assert pair.server.read(far, 9) == b"abc"
    assert pair.server.unread == 0


@pytest.mark.parametrize("how", ["close", "reset"])
def test_bytes_left_behind_are_let_go_with_their_stream(how: str) -> None:
    pair = Pair()
    near, far = pair.open(b"abc")
    pair.client.finish(near)
    pair.server.finish(far)
    pair.run_until_idle()
    assert pair.server.inspect().known == (far,)
    assert pair.server.inspect().streams.ended_unread == 1
    getattr(pair.server, how)(far, *([6] if how == "reset" else []))
    assert pair.server.unread == 0
    assert not pair.server.inspect().known


def test_streams_that_wait_for_their_syn_count_as_live() -> None:
    pair = Pair()
    pair.open()
    pair.client.open(None, None)
    pair.client.open(None, None)
    assert pair.client.live_streams == 3


def test_bytes_can_be_read_after_the_session_is_over() -> None:
    pair = Pair()
    _near, far = pair.open(b"abc")
    pair.server.receive_eof()
    assert pair.server.read(far, 2) == b"ab"
    assert pair.server.read(far, 9) == b"c"


def test_what_was_taken_back_is_not_sent() -> None:
    pair = Pair()
    near, far = pair.open()
    pair.client.write(near, b"keep")
    pair.client.write(near, b"drop")
    assert pair.client.unwrite(near, 4) == 4
    pair.run_until_idle()
    assert pair.server.read(far, 99) == b"keep"


def test_taking_everything_back_sends_nothing() -> None:
    pair = Pair()
    near, _far = pair.open()
    pair.client.write(near, b"drop")
    pair.client.unwrite(near, 4)
    assert pair.pump(pair.client) == 0
    assert not pair.client.has_output()


def test_taking_back_what_a_fin_waits_behind_lets_it_go() -> None:
    pair = Pair(Config(initial_window=2, stream_window=2))
    near, far = pair.open(b"ab")
    pair.client.write(near, b"cd")
    pair.client.finish(near)
    pair.run_until_idle()
    assert not far.fin_received
    pair.client.unwrite(near, 2)
    pair.run_until_idle()
    assert far.fin_received


# Closing.


@foreign
def test_a_full_close_makes_the_peers_writes_fail(foreign: bool) -> None:
    pair = Pair(foreign=foreign)
    near, far = pair.open(b"hello")
    pair.server.close(far)
    pair.run_until_idle()
    pair.client.write(near, b"more")
    pair.run_until_idle()
    assert near.failure is not None
    assert (near.failure.code, near.failure.remote) == (ErrorCode.STREAM_CANCELLED, True)
    assert is_idle(pair.server)


@foreign
def test_a_close_flushes_what_was_written(foreign: bool) -> None:
    pair = Pair(foreign=foreign)
    near, far = pair.open()
    pair.client.write(near, bytes(400_000))
    pair.client.close(near)
    assert pair.client.inspect().streams.lingering == 1
    got = 0
    for _ in range(10):
        pair.run_until_idle()
        got += len(read_all(pair.server, far))
    assert got == 400_000
    assert far.fin_received
    assert not pair.client.inspect().streams.lingering
    pair.server.close(far)
    pair.run_until_idle()
    assert is_idle(pair.client)
    assert is_idle(pair.server)


def test_a_closed_stream_whose_syn_is_not_out_lingers_too() -> None:
    pair = Pair()
    stream = pair.client.open(None, None)
    pair.client.write(stream, b"x")
    pair.client.close(stream)
    assert pair.client.inspect().streams.lingering == 1
    pair.run_until_idle()
    far = pair.server.accept()
    assert far is not None
    assert pair.server.read(far, 9) == b"x"


def test_closing_before_the_syn_went_is_no_promise_that_nothing_was_sent() -> None:
    """The stream goes out all the same, so a call on it must not be made again."""
    pair = Pair()
    stream = pair.client.open(None, None)
    pair.client.write(stream, b"call")
    pair.client.close(stream)
    assert stream.error().__class__.__name__ == "StreamClosedError"
    assert stream.retry is Retry.UNKNOWN


@pytest.mark.parametrize("answered", [False, True])
def test_closing_an_answered_stream_knows_that_it_was_processed(answered: bool) -> None:
    pair = Pair()
    near, far = pair.open(b"call")
    if answered:
        pair.server.write(far, b"answer")
    pair.run_until_idle()
    pair.client.close(near)
    assert near.retry is (Retry.PROCESSED if answered else Retry.UNKNOWN)


def test_closing_twice_is_closing_once() -> None:
    pair = Pair()
    near, far = pair.open(b"abc")
    for _ in range(2):
        pair.client.close(near)
        pair.server.close(far)
    pair.run_until_idle()
    pair.client.close(near)
    assert is_idle(pair.client)
    assert is_idle(pair.server)


@foreign
def test_a_reset_ends_both_directions(foreign: bool) -> None:
    pair = Pair(foreign=foreign)
    near, far = pair.open(b"abc")
    pair.client.write(near, b"lost")
    pair.client.reset(near, 77)
    pair.run_until_idle()
    assert pair.server.read(far, 9) == b"abc"
    assert str(far.error()) == "the peer reset stream 3: unknown(77)"
    assert near.error().__class__.__name__ == "StreamClosedError"
    pair.server.close(far)
    assert is_idle(pair.client)
    assert is_idle(pair.server)


def test_a_stream_reset_before_its_syn_leaves_no_trace() -> None:
    pair = Pair()
    stream = pair.client.open(None, None)
    pair.client.write(stream, b"never")
    pair.client.reset(stream, 7)
    assert stream.retry is Retry.NEVER_SENT
    pair.run_until_idle()
    assert b"never" not in pair.sent[pair.client]
    assert pair.server.accept() is None
    assert is_idle(pair.client)
    near, _ = pair.open(b"next")
    assert near.id == 3, "no id was used up"


def test_resetting_a_stream_that_is_over_says_nothing() -> None:
    pair = Pair()
    near, far = pair.open()
    pair.client.finish(near)
    pair.server.finish(far)
    pair.run_until_idle()
    pair.client.reset(near, 7)
    assert pair.pump(pair.client) == 0
    assert pair.client.live_streams == 0


def test_a_reset_stops_the_flush_of_a_closed_stream() -> None:
    pair = Pair(Config(initial_window=2, stream_window=2))
    near, far = pair.open(b"abcdef")
    pair.client.close(near)
    pair.run_until_idle()
    pair.client.reset(near, ErrorCode.STREAM_CANCELLED)
    pair.run_until_idle()
    assert not pair.client.inspect().streams.lingering
    assert "STREAM_CANCELLED" in str(far.error())


def test_resets_and_credit_of_one_stream_coalesce() -> None:
    pair = Pair()
    _near, far = pair.open(bytes(262144))
    pair.server.read(far, 131072)
    pair.server.reset(far, 6)
    pair.server.reset(far, 7)
    frames = split_frames(b"".join(pair.server.data_to_send(0)))
    assert [frame.hex() for frame in frames if frame[3] == 0] == ["000004000000000300000006"]
    assert not [frame for frame in frames if frame[3] == 0x20]


# Order of what is sent.


def test_syns_leave_in_id_order_whatever_the_priority() -> None:
    pair = Pair()
    streams = [
        pair.client.open(Priority(urgency=urgency), None) for urgency in (7, 0, 3, 5, 1, 7, 0)
    ]
    pair.run_until_idle()
    frames = split_frames(bytes(pair.sent[pair.client]))
    syns = [int.from_bytes(frame[4:8], "big") for frame in frames if frame[3] & 0xF2 == 0x12]
    assert syns == [3, 5, 7, 9, 11, 13, 15]
    by_id = sorted(streams, key=lambda stream: stream.id or 0)
    assert [stream.priority.urgency for stream in by_id] == [0, 0, 1, 3, 5, 7, 7]


def test_control_goes_before_data() -> None:
    pair = Pair()
    near, far = pair.open(bytes(200_000))
    pair.server.write(far, bytes(100_000))
    pair.server.read(far, 200_000)
    pair.server.ping(b"12345678")
    kinds = [frame[3] & 0xF0 for frame in split_frames(b"".join(pair.server.data_to_send(2**20)))]
    assert kinds[:2] == [0x50, 0x20]
    assert set(kinds[2:]) == {0x10}
    assert near.id is not None


def test_a_budget_of_nothing_gives_control_alone() -> None:
    pair = Pair()
    near, _far = pair.open()
    pair.client.write(near, b"data")
    pair.client.ping(b"12345678")
    frames = split_frames(b"".join(pair.client.data_to_send(0)))
    assert [frame[3] for frame in frames] == [0x50]
    assert pair.client.has_output()


def test_little_is_handed_over_at_a_time() -> None:
    pair = Pair()
    for _ in range(4):
        pair.client.write(pair.client.open(None, None), bytes(100_000))
    pair.client.data_to_send(0)
    for _ in range(6):
        assert len(b"".join(pair.client.data_to_send(20_000))) <= 20_000 + 16384 + 8


def test_the_urgent_stream_overtakes_what_is_not_yet_framed() -> None:
    pair = Pair()
    bulk, _ = pair.open(priority=Priority(urgency=7))
    call, _ = pair.open(priority=Priority(urgency=0))
    pair.client.write(bulk, bytes(200_000))
    pair.client.data_to_send(1)
    pair.client.write(call, b"now")
    (frame,) = split_frames(b"".join(pair.client.data_to_send(1)))
    assert int.from_bytes(frame[4:8], "big") == call.id


@pytest.mark.parametrize("scheduler", ["priority", "round-robin", "fifo"])
def test_any_scheduler_moves_everything(scheduler: str) -> None:
    pair = Pair(Config(scheduler=scheduler, initial_window=5000, stream_window=5000))
    ends = [pair.open(priority=Priority(urgency=i % 8)) for i in range(10)]
    for near, _ in ends:
        pair.client.write(near, bytes(20_000))
        pair.client.finish(near)
    got = dict.fromkeys(range(10), 0)
    for _ in range(20):
        pair.run_until_idle()
        for i, (_, far) in enumerate(ends):
            got[i] += len(read_all(pair.server, far))
    assert set(got.values()) == {20_000}
    assert all(far.fin_received for _, far in ends)


# Waking whoever waits.


def test_a_waiting_writer_is_woken_at_half_its_buffer() -> None:
    pair = Pair(Config(send_buffer=1000, initial_window=600, stream_window=600))
    near, far = pair.open()
    pair.client.write(near, bytes(1200))
    near.wants_writable = True
    pair.run_until_idle()
    assert near.unsent == 600
    assert pair.client.events.writable == []
    pair.server.read(far, 600)
    pair.run_until_idle()
    assert pair.client.events.writable == [near]
    assert not near.wants_writable


def test_a_reader_is_noted_once_until_somebody_looks() -> None:
    pair = Pair()
    near, far = pair.open(b"a")
    pair.client.write(near, b"b")
    pair.run_until_idle()
    pair.client.finish(near)
    pair.run_until_idle()
    assert pair.server.events.readable == [far]


def test_a_failure_wakes_both_sides_of_a_stream() -> None:
    pair = Pair()
    near, far = pair.open()
    pair.client.reset(near, 7)
    pair.run_until_idle()
    assert pair.server.events.readable == [far]
    assert pair.server.events.writable == [far]
    assert pair.client.events.readable == [near]


# Recognizing a muxado_py.


def test_the_hello_is_the_first_frame_of_both() -> None:
    pair = Pair()
    pair.run_until_idle()
    assert pair.sent[pair.client].startswith(HELLO)
    assert pair.sent[pair.server].startswith(HELLO)
    assert (pair.client.is_muxado_py, pair.server.is_muxado_py) == (True, True)


def test_nothing_is_known_of_a_peer_that_said_nothing() -> None:
    assert Pair().client.is_muxado_py is None


def test_nothing_but_the_hello_is_sent_that_a_foreign_peer_does_not_know() -> None:
    pair = Pair(foreign=True)
    near, _far = pair.open(b"x", priority=Priority(0, 256))
    pair.client.set_priority(near, Priority(1))
    pair.run_until_idle()
    for side in (pair.client, pair.server):
        assert {frame[3] & 0xF0 for frame in split_frames(bytes(pair.sent[side]))} <= {0, 16, 32}


def test_a_stream_opened_before_the_hello_arrives_gets_the_larger_window() -> None:
    pair = Pair(Config(stream_window=2**20))
    early = pair.client.open(None, None)
    pair.pump(pair.client)
    pair.run_until_idle()
    accepted = pair.server.accept()
    assert accepted is not None
    late, far = pair.open()
    assert early.send_window == late.send_window == 2**20
    assert early.recv_window == late.recv_window == 2**20
    for stream in (accepted, far):
        assert stream.send_window == stream.recv_window == 2**20


def test_windows_that_differ_between_the_sides() -> None:
    pair = Pair(Config(stream_window=300_000), Config(stream_window=900_000))
    near, far = pair.open()
    assert near.send_window == far.recv_window == 900_000
    assert far.send_window == near.recv_window == 300_000
    data = bytes(i % 251 for i in range(2_000_000))
    assert transfer(pair, pair.client, near, far, data) == data
    assert transfer(pair, pair.server, far, near, data) == data


def test_a_foreign_peer_learns_of_a_larger_window_right_behind_the_syn() -> None:
    peer = Script(Config(stream_window=2**20), client=True)
    peer.feed("000000 12 00000002")
    peer.sent()
    peer.connection.open(None, None)
    assert peer.sent() == ["000000 12 00000003", "000004 20 00000003 000c0000"]


def test_raised_windows_with_a_foreign_peer_keep_the_sums_right() -> None:
    pair = Pair(Config(stream_window=900_000), foreign=True)
    pair.open()
    near, far = pair.open()
    pair.run_until_idle()
    assert near.send_window == far.recv_window == 900_000
    data = bytes(i % 251 for i in range(2_000_000))
    assert transfer(pair, pair.client, near, far, data) == data


def test_the_peer_tells_how_many_streams_it_takes() -> None:
    pair = Pair(server_config=Config(max_streams=2))
    pair.run_until_idle()
    first = pair.client.open(None, None)
    pair.client.open(None, None)
    with pytest.raises(StreamLimitError, match="limit of open streams, 2, is reached") as caught:
        pair.client.open(None, None)
    assert (caught.value.retry, caught.value.remote) == (Retry.NEVER_SENT, True)
    pair.client.reset(first, 7)
    pair.client.open(None, None)


def test_a_peer_that_takes_none() -> None:
    pair = Pair(server_config=Config(max_streams=0))
    pair.run_until_idle()
    with pytest.raises(StreamLimitError):
        pair.client.open(None, None)
    pair.open(by=pair.server)


def test_a_stream_that_filled_the_small_window_goes_on_when_it_is_raised() -> None:
    pair = Pair(Config(stream_window=2**20))
    early = pair.client.open(None, None)
    pair.client.write(early, bytes(2**20))
    while pair.pump(pair.client):
        pass
    assert early.unsent == 2**20 - 262_144
    pair.run_until_idle()
    assert early.unsent == 0
    assert pair.server.unread == 2**20


def test_settings_are_taken_once() -> None:
    """They touch every stream: a peer that tells them for ever must not win by it."""
    peer = Script(extended=True)
    stream = peer.connection.open(None, None)
    peer.feed("00000c 60 00000000 000100050000 000200000001")
    assert stream.send_window == 0x50000
    peer.feed("00000c 60 00000000 000100060000 000200000002")
    assert stream.send_window == 0x50000
    with pytest.raises(StreamLimitError, match="limit of open streams, 1,"):
        peer.connection.open(None, None)


# Priorities told to the peer.


def test_the_priority_of_an_open_is_told() -> None:
    pair = Pair()
    pair.run_until_idle()
    _near, far = pair.open(b"x", priority=Priority(1, 99))
    assert far.priority == Priority(1, 99)


def test_the_priority_of_an_open_before_the_hello_is_told_later() -> None:
    pair = Pair()
    stream = pair.client.open(Priority(1, 99), None)
    pair.pump(pair.client)
    pair.run_until_idle()
    far = pair.server.accept()
    assert far is not None
    assert (stream.id, far.priority) == (3, Priority(1, 99))


def test_a_default_priority_costs_nothing() -> None:
    pair = Pair()
    pair.run_until_idle()
    before = len(pair.sent[pair.client])
    pair.open(b"x", priority=DEFAULT_PRIORITY)
    assert len(pair.sent[pair.client]) - before == 9


def test_a_priority_set_later_is_told_in_both_directions() -> None:
    pair = Pair()
    near, far = pair.open()
    pair.client.set_priority(near, Priority(0, 1))
    pair.client.set_priority(near, Priority(2, 2))
    pair.run_until_idle()
    assert far.priority == Priority(2, 2)
    pair.server.set_priority(far, DEFAULT_PRIORITY)
    pair.run_until_idle()
    assert near.priority == DEFAULT_PRIORITY


def test_the_told_priority_orders_the_answers() -> None:
    pair = Pair()
    bulk, bulk_far = pair.open(priority=Priority(7))
    call, call_far = pair.open(priority=Priority(0))
    pair.server.write(bulk_far, bytes(100_000))
    pair.server.write(call_far, b"answer")
    pair.pump(pair.server, budget=1)
    pair.deliver(pair.server)
    assert pair.client.read(call, 9) == b"answer"
    assert pair.client.read(bulk, 9) == b""


def test_a_priority_set_before_the_syn_goes_with_it() -> None:
    pair = Pair()
    pair.run_until_idle()
    stream = pair.client.open(None, None)
    pair.client.set_priority(stream, Priority(6, 6))
    pair.run_until_idle()
    far = pair.server.accept()
    assert far is not None
    assert far.priority == Priority(6, 6)


def test_a_priority_out_of_range_or_for_no_stream_is_ignored() -> None:
    peer = Script(extended=True)
    peer.feed("000000 12 00000003 000002 40 00000003 080f 000002 40 00000063 0000")
    assert peer.accept().priority == DEFAULT_PRIORITY
    assert not peer.ended


# Pings.


def test_a_ping_comes_back_once() -> None:
    pair = Pair()
    pair.run_until_idle()
    events = pair.client.events
    pair.client.ping(b"abcdefgh")
    events.pending = False
    pair.pump(pair.client)
    assert (events.pings_sent, events.pending) == ([b"abcdefgh"], True)
    events.pending = False
    pair.run_until_idle()
    assert (events.pongs, events.pending) == ([b"abcdefgh"], True)


@pytest.mark.parametrize("asked", ["never", "and answered", "and forgotten"])
def test_an_answer_that_nobody_waits_for_is_harmless(asked: str) -> None:
    peer = Script(extended=True)
    pong = "000008 51 00000000 0000000000000001"
    if asked != "never":
        peer.connection.ping(bytes(7) + b"\1")
        peer.sent()
    if asked == "and answered":
        peer.feed(pong)
        peer.connection.events.pongs.clear()
    elif asked == "and forgotten":
        peer.connection.forget_ping(bytes(7) + b"\1")
    peer.feed(pong)
    assert peer.connection.events.pongs == []
    assert peer.sent() == []
    assert not peer.ended


# The session-wide bound.


def session_room(pair: Pair, reader: Connection) -> int:
    """What the other side believes it may still send in this session."""
    return pair.other(reader).inspect().sending.session_room


SMALL = Config(session_window=100_000, initial_window=80_000, stream_window=80_000)


def test_a_session_full_of_unread_bytes_takes_no_more_and_resumes() -> None:
    pair = Pair(SMALL)
    ends = [pair.open() for _ in range(3)]
    for near, _ in ends:
        pair.client.write(near, bytes(80_000))
    pair.run_until_idle()
    assert 50_000 < pair.server.unread <= 100_000
    got = 0
    for _ in range(100):
        for _, far in ends:
            got += len(pair.server.read(far, 5_000))
        pair.run_until_idle()
        assert pair.server.unread <= 100_000
    assert got == 240_000
    assert not pair.server.events.failure


def discard_by_close(pair: Pair, far: StreamState) -> None:
    pair.server.close(far)


def discard_by_reset(pair: Pair, far: StreamState) -> None:
    pair.server.reset(far, 6)


def discard_by_reading(pair: Pair, far: StreamState) -> None:
    read_all(pair.server, far)
    pair.server.close(far)


@pytest.mark.parametrize("discard", [discard_by_close, discard_by_reset, discard_by_reading])
@pytest.mark.parametrize("finished", [False, True])
def test_session_credit_does_not_leak(discard: object, finished: bool) -> None:
    """Whatever becomes of the bytes, the peer may send as many again (golang/go #40423)."""
    assert callable(discard)
    pair = Pair(SMALL)
    for _ in range(30):
        near, far = pair.open(bytes(50_000))
        if finished:
            pair.client.finish(near)
            pair.server.finish(far)
            pair.run_until_idle()
        discard(pair, far)
        pair.client.close(near)
        pair.run_until_idle()
        assert pair.server.unread == 0
        assert session_room(pair, pair.server) > 75_000 - 1


def test_session_credit_does_not_leak_where_nobody_reads() -> None:
    """In flight to a closed stream, refused with its data, reset in the backlog, over its window."""
    pair = Pair(SMALL, Config(session_window=100_000, accept_backlog=1))
    for _ in range(30):
        near, far = pair.open(b"x")
        pair.client.write(near, bytes(20_000))
        pair.pump(pair.client)
        pair.server.close(far)
        waiting = pair.client.open(None, None)
        pair.client.write(waiting, bytes(10_000))
        refused = pair.client.open(None, None)
        pair.client.write(refused, bytes(10_000))
        pair.run_until_idle()
        assert refused.retry is Retry.REFUSED
        pair.client.reset(waiting, 6)
        pair.client.close(near)
        pair.run_until_idle()
        assert pair.server.accept() is None
        assert pair.server.unread == 0
        assert session_room(pair, pair.server) > 75_000 - 1
    assert not pair.server.events.failure


def test_opens_and_ends_do_not_wait_for_session_credit() -> None:
    """One reader that is late must not hide from the others that their peer is done."""
    pair = Pair(SMALL)
    done, done_far = pair.open(b"x")
    for _ in range(30):  # more than there are floors in so small a session
        pair.client.write(pair.open()[0], bytes(80_000))
    pair.run_until_idle()
    assert session_room(pair, pair.server) == 0
    pair.client.finish(done)
    new = pair.client.open(None, None)
    pair.client.write(new, b"later")
    pair.run_until_idle()
    assert done_far.fin_received
    new_far = pair.server.accept()
    assert new_far is not None
    assert (new_far.id, pair.server.read(new_far, 9)) == (new.id, b"")
    assert not pair.client.has_output()
    pair.client.reset(new, 6)
    late = pair.client.open(None, None)
    pair.client.write(late, b"later")
    pair.client.close(late)
    pair.run_until_idle()
    late_far = pair.server.accept()
    assert late_far is not None
    assert not late_far.fin_received
    for _ in range(30):
        for stream in (*pair.server.inspect().known, done_far):
            if stream is not late_far:
                read_all(pair.server, stream)
        pair.run_until_idle()
    assert pair.server.read(late_far, 9) == b"later"
    assert late_far.fin_received


def test_session_credit_that_is_told_late_may_be_used_up_already() -> None:
    peer = Script(extended=True)
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, b"abcdefgh")
    assert peer.sent() == ["000008 12 00000002 6162636465666768"]
    peer.feed("000008 70 00000000 0000000000000005")
    peer.connection.write(stream, b"i")
    assert peer.sent() == []
    peer.feed("000008 70 00000000 0000000000000009")
    assert peer.sent() == ["000001 10 00000002 69"]


def test_session_credit_that_shrinks_is_ignored() -> None:
    peer = Script(extended=True)
    peer.feed("000008 70 00000000 0000000000000005")
    peer.feed("000008 70 00000000 0000000000000003")
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, b"abcdefgh")
    assert peer.sent() == ["000005 12 00000002 6162636465"]
    assert not peer.connection.has_output()
    assert peer.connection.has_unsent
    peer.feed("000008 70 00000000 0000000000000006")
    assert peer.connection.has_output()
    assert peer.sent() == ["000001 10 00000002 66"]


def test_without_a_muxado_py_the_stream_that_holds_most_pays() -> None:
    pair = Pair(Config(session_window=2**40), Config(session_window=400_000), foreign=True)
    greedy, greedy_far = pair.open(bytes(250_000))
    modest = [pair.open(bytes(60_000)) for _ in range(3)]
    pair.run_until_idle()
    assert pair.server.unread == 180_000
    assert greedy.failure is not None
    assert greedy.failure.code == ErrorCode.ENHANCE_YOUR_CALM
    assert "held most of the session's 400000 unread bytes" in str(greedy_far.error())
    assert all(read_all(pair.server, far) == bytes(60_000) for _, far in modest)


def test_a_finished_stream_that_pays_does_not_read_as_complete() -> None:
    pair = Pair(Config(), Config(session_window=300_000), foreign=True)
    near, far = pair.open(bytes(200_000))
    pair.client.finish(near)
    pair.server.finish(far)
    pair.run_until_idle()
    assert pair.server.live_streams == 0
    pair.open(bytes(150_000))
    assert pair.server.read(far, 9) == b""
    assert not far.fin_received
    assert "held most" in str(far.error())


# Going away.


def test_a_session_that_goes_away_opens_and_takes_no_streams() -> None:
    pair = Pair()
    pair.open()
    pair.server.go_away(ErrorCode.NO_ERROR, b"maintenance")
    with pytest.raises(GoneAwayError, match="this side is going away") as caught:
        pair.server.open(None, None)
    assert (caught.value.retry, caught.value.remote) == (Retry.NEVER_SENT, False)
    pair.run_until_idle()
    with pytest.raises(GoneAwayError, match="the peer is going away") as caught:
        pair.client.open(None, None)
    assert (caught.value.retry, caught.value.remote) == (Retry.NEVER_SENT, True)


def test_streams_above_the_last_id_were_never_seen() -> None:
    pair = Pair()
    _taken, far = pair.open(b"taken")
    late = pair.client.open(None, None)
    pair.client.write(late, b"late")
    unsent = pair.client.open(None, None)
    pair.pump(pair.client, budget=1)
    assert (late.id, unsent.id) == (5, None)
    pair.server.go_away(ErrorCode.NO_ERROR, b"")
    pair.pump(pair.server)
    pair.deliver(pair.server)
    assert (late.retry, unsent.retry) == (Retry.REFUSED, Retry.NEVER_SENT)
    assert isinstance(unsent.error(), GoneAwayError)
    assert "without taking stream 5" in str(late.error())
    pair.run_until_idle()
    assert pair.server.accept() is None
    assert pair.server.read(far, 9) == b"taken"


def test_streams_that_were_accepted_go_on_to_their_end() -> None:
    pair = Pair()
    near, far = pair.open(b"call")
    pair.server.go_away(ErrorCode.NO_ERROR, b"")
    pair.client.finish(near)
    pair.server.write(far, b"answer")
    pair.server.finish(far)
    pair.run_until_idle()
    assert pair.client.read(near, 9) == b"answer"
    assert near.fin_received
    ended = pair.client.events.failure
    assert ended is not None
    assert ended.message == "the peer closed the session"


def test_the_waiting_are_refused_by_name() -> None:
    """Below the last id there can be streams that nobody took: ids need not come in order."""
    pair = Pair()
    pair.run_until_idle()
    peer = Script(extended=True)
    peer.feed("000000 12 00000007 000000 12 00000003")
    assert peer.accept().id == 7
    peer.connection.go_away(ErrorCode.NO_ERROR, b"")
    assert [frame for frame in peer.sent() if frame[7] in "03"] == [
        "000004 00 00000003 00000005",
        "000008 30 00000000 0000000700000000",
    ]
    peer.feed("000000 12 00000005")
    assert peer.sent() == ["000004 00 00000005 00000005"], (
        "none is taken any more, below it neither"
    )


def test_a_drain_in_two_steps_refuses_nothing_that_was_on_its_way() -> None:
    pair = Pair()
    pair.run_until_idle()
    crossing = pair.client.open(None, None)
    pair.pump(pair.client)
    pair.server.announce_go_away()
    pair.run_until_idle()
    assert crossing.failure is None
    accepted = pair.server.accept()
    assert accepted is not None
    pair.server.go_away(ErrorCode.NO_ERROR, b"")
    pair.run_until_idle()
    assert crossing.failure is None
    pair.client.finish(crossing)
    pair.server.finish(accepted)
    pair.run_until_idle()
    assert pair.server.live_streams == pair.client.live_streams == 0


def test_an_idle_peer_answers_a_goodbye_with_one() -> None:
    """Without it the side that drains would see its transport end without a word."""
    pair = Pair()
    pair.run_until_idle()
    pair.server.announce_go_away()
    pair.run_until_idle()
    assert pair.client.events.failure is not None
    pair.server.receive_eof()
    ended = pair.server.events.failure
    assert ended is not None
    assert ended.kind is SessionClosedError
    assert ended.message == "the peer closed the session"


@foreign
def test_a_goodbye_goes_behind_the_streams_opened_before_it(foreign: bool) -> None:
    """A peer without streams closes when it hears one: what was written would be lost."""
    pair = Pair(foreign=foreign)
    pair.run_until_idle()
    stream = pair.client.open(Priority(7), None)
    pair.client.write(stream, b"last words")
    pair.client.go_away(ErrorCode.NO_ERROR, b"")
    while pair.client.has_output():
        pair.pump(pair.client, budget=1)
    pair.run_until_idle()
    far = pair.server.accept()
    assert far is not None
    assert pair.server.read(far, 99) == b"last words"
    assert pair.server.events.failure is None


def test_the_last_id_never_rises() -> None:
    pair = Pair()
    pair.open()
    pair.server.go_away(ErrorCode.NO_ERROR, b"")
    pair.server.go_away(ErrorCode.NO_ERROR, b"")
    pair.pump(pair.server)
    frames = split_frames(bytes(pair.sent[pair.server]))
    assert [frame[8:12].hex() for frame in frames if frame[3] == 0x30] == ["00000003"] * 2


@pytest.mark.parametrize(
    ("wire", "syn"),
    [
        ("muxado", "000000 12 7ffffffd"),
        ("yamux", "00 01 0001 ffffffff 00000000"),  # hashicorp counts that far
    ],
)
def test_going_away_after_the_peers_last_id(wire: str, syn: str) -> None:
    peer = Script(Config(wire=wire))
    peer.feed(syn)
    peer.accept()
    peer.connection.go_away(ErrorCode.NO_ERROR, b"")
    with pytest.raises(GoneAwayError, match="this side is going away"):
        peer.connection.open(None, None)


def test_what_waits_can_be_refused_without_going_away() -> None:
    pair = Pair()
    pair.run_until_idle()
    first = pair.client.open(None, None)
    pair.run_until_idle()
    pair.server.stop_accepting()
    second = pair.client.open(None, None)
    pair.run_until_idle()
    assert (first.retry, second.retry) == (Retry.REFUSED, Retry.REFUSED)
    assert (pair.server.backlog, pair.server.peer_streams) == (0, 0)
    pair.open(by=pair.server)


def test_an_end_of_our_own_ends_every_stream() -> None:
    pair = Pair()
    near, _far = pair.open(b"x")
    waiting = pair.client.open(None, None)
    pair.client.terminate(CLOSED_HERE)
    assert (near.retry, waiting.retry) == (Retry.UNKNOWN, Retry.NEVER_SENT)
    assert "you closed the session" in str(near.error())
    with pytest.raises(SessionError) as caught:
        pair.client.open(None, None)
    assert caught.value.retry is Retry.NEVER_SENT
    pair.client.terminate(CLOSED_HERE._replace(message="later"))
    assert pair.client.events.failure == CLOSED_HERE


def test_what_arrives_after_the_end_is_thrown_away() -> None:
    pair = Pair()
    pair.open()
    pair.server.terminate(CLOSED_HERE)
    pair.client.open(None, None)
    pair.pump(pair.client)
    pair.server.receive_data(bytes(pair.wire[pair.client]))
    assert pair.server.accept() is None
    assert pair.server.backlog == 0


def test_ids_that_are_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    begin_with_ids(monkeypatch, "muxado", client=0x7FFFFFFD, server=2)
    pair = Pair()
    pair.open(b"last")
    with pytest.raises(MuxadoError, match="ids of this session are used up") as caught:
        pair.client.open(None, None)
    assert caught.value.retry is Retry.NEVER_SENT
    assert isinstance(caught.value, StreamLimitError)


def test_an_exchange_of_many_streams_leaves_nothing_behind() -> None:
    pair = Pair()
    for round_ in range(20):
        ends = [pair.open(b"q" * (i + 1)) for i in range(20)]
        for i, (near, far) in enumerate(ends):
            pair.client.finish(near)
            assert read_all(pair.server, far) == b"q" * (i + 1)
            pair.server.write(far, b"a" * i)
            pair.server.close(far)
        pair.run_until_idle()
        for near, _ in ends:
            read_all(pair.client, near)
            pair.client.close(near)
        pair.run_until_idle()
        assert is_idle(pair.client), round_
        assert is_idle(pair.server), round_
    ids = [
        int.from_bytes(frame[4:8], "big")
        for frame in split_frames(bytes(pair.sent[pair.client]))
        if frame[3] & 0xF2 == 0x12
    ]
    assert all(after - before == 2 for before, after in pairwise(ids))


def test_a_heartbeat_stream_whose_syn_waits_ends_no_session_with_an_open_stream() -> None:
    config = Config(wire="muxado1")
    near, far = Connection(config, client=True), Connection(config, client=False)
    near.write(near.open(None, None), b"x")
    far.receive_data(b"".join(near.data_to_send(1 << 20)))
    assert far.accept() is not None
    far.heartbeats.open()
    near.announce_go_away()
    far.receive_data(b"".join(near.data_to_send(1 << 20)))
    assert far.events.go_away is not None
    assert far.events.failure is None


def test_a_stream_that_can_still_be_accepted_behind_an_end_is_not_told_to_be_refused() -> None:
    config = Config(wire="yamux")
    near, far = Connection(config, client=True), Connection(config, client=False)
    streams = []
    for _ in range(2):  # the first shows that the other side acknowledges at the hand-off
        streams.append(near.open(None, None))
        near.write(streams[-1], b"x")
        far.receive_data(b"".join(near.data_to_send(1 << 20)))
        if len(streams) == 1:
            assert far.accept() is not None
            near.receive_data(b"".join(far.data_to_send(1 << 20)))
    far.terminate(Failure(PeerTimeoutError, "the peer was silent", ErrorCode.NO_ERROR, True))
    assert far.accept() is not None
    near.receive_data(b"".join(far.data_to_send(1 << 20)))
    near.receive_eof()
    assert not streams[1].retry.safe


STRANGERS = (
    b"HTTP/1.1 400 Bad Request\r\n",
    b"SSH-2.0-OpenSSH_9.9\r\n",
    bytes.fromhex("16030300020228") * 3,  # TLS
    bytes.fromhex("0004041000000000") * 2,  # nothing at all
)


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize("said", STRANGERS, ids=["http", "ssh", "tls", "nothing"])
@pytest.mark.parametrize("wire", WIRES)
def test_who_speaks_no_wire_was_not_heard(wire: str, said: bytes, step: int) -> None:
    script = Script(Config(wire=wire), client=True)
    for start in range(0, len(said), step):
        script.feed(said[start : start + step])
        assert not script.connection.heard
    assert script.ended


@pytest.mark.parametrize("wire", WIRES)
def test_a_peer_was_heard_whose_later_frames_are_wrong(wire: str) -> None:
    script = Script(Config(wire=wire), client=True)
    peer = WIRES[wire](client=False)
    script.feed(
        peer.syn(peer.first_id, 0, None, None) + peer.syn(peer.first_peer_id, 0, None, None)
    )
    assert script.ended
    assert script.connection.heard


def test_an_end_that_is_in_no_frame_is_lost_like_a_byte() -> None:
    peer = Script(Config(wire="smux2"), client=True)
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, b"all")
    peer.connection.data_to_send(2**20)
    assert stream.id is not None
    peer.feed(WIRES["smux2"](client=False).fin(stream.id))
    peer.connection.write(stream, b"!")
    peer.connection.finish(stream)
    peer.connection.data_to_send(2**20)  # the end gives the reader of the last bytes a moment
    assert (stream.unsent, stream.fin_sent) == (0, False)
    peer.connection.terminate(CLOSED_HERE)
    assert peer.connection.lost(unsaid=False) == [(stream.id, 1)]


@pytest.mark.parametrize("wire", WIRES)
def test_an_end_in_a_frame_that_was_not_taken_is_lost_like_a_byte(wire: str) -> None:
    peer = Script(Config(wire=wire), client=True)
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, b"all")
    peer.connection.data_to_send(2**20)
    peer.connection.finish(stream)
    frames = b"".join(peer.connection.data_to_send(2**20))
    peer.connection.terminate(CLOSED_HERE)
    assert peer.connection.payload_of(frames, 0, unsaid=False) == {stream.id: 1}
    assert peer.connection.payload_of(frames, len(frames), unsaid=False) == {}


@pytest.mark.parametrize("wire", WIRES)
def test_of_a_stream_that_was_reset_nothing_is_lost(wire: str) -> None:
    peer = Script(Config(wire=wire), client=True)
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, b"all")
    frames = b"".join(peer.connection.data_to_send(2**20))
    peer.connection.reset(stream, 1)
    frames += b"".join(peer.connection.data_to_send(2**20))
    peer.connection.terminate(CLOSED_HERE)
    assert peer.connection.payload_of(frames, 0, unsaid=False) == {}
    assert peer.connection.lost(unsaid=False) == []


def test_who_has_finished_too_misses_no_end_when_it_ends_the_session() -> None:
    peer = Script(Config(wire="smux2"), client=True)
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, b"all")
    peer.connection.data_to_send(2**20)
    assert stream.id is not None
    peer.feed(WIRES["smux2"](client=False).fin(stream.id))
    peer.connection.write(stream, b"!")
    peer.connection.close(stream)
    peer.connection.data_to_send(2**20)
    assert (stream.unsent, stream.fin_sent) == (0, False)
    peer.connection.receive_eof()
    assert peer.connection.lost(unsaid=True) == []
    assert peer.connection.lost(unsaid=False) == [(stream.id, 1)]

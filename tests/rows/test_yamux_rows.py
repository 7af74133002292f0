"""The rows Y-1 to Y-30: what hashicorp's yamux and libp2p's do on the wire, and our side of each.

"Go" is hashicorp/yamux v0.1.2; libp2p's are go-yamux, rust-yamux and js-libp2p-yamux.  The peer is a
script of their bytes; what has time in it is played to a whole session, with a virtual clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from anyio import EndOfStream, create_task_group, current_time, sleep

import muxado_py as muxado
from muxado_py import Config, ErrorCode, Retry
from muxado_py.protocol.connection import CLOSED_HERE

from .. import virtual_time
from ..helpers.inside import begin_with_ids
from ..helpers.pair import Script, read_all
from ..helpers.played import played

if TYPE_CHECKING:
    from muxado_py.protocol.stream_state import StreamState

WINDOW = 262_144
CONFIG = Config(wire="yamux", heartbeat_interval=None)
ACK_1 = "00 01 0002 00000001 00000000"
FIN_1 = "00 01 0004 00000001 00000000"
RST_1 = "00 01 0008 00000001"
PROTOCOL_ERROR = "00 03 0000 00000000 00000001"
OK_3 = "00 00 0001 00000003 00000002 6f6b"
"""A whole new stream, to see that the session lives."""


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


def acceptor(**changes: Any) -> Script:
    """Our side accepts: the peer is the client."""
    return Script(Config(wire="yamux", **changes))


def opener(**changes: Any) -> Script:
    """Our side opens: the peer is the server."""
    return Script(Config(wire="yamux", **changes), client=True)


def accepted(**changes: Any) -> tuple[Script, StreamState]:
    """Stream 1 of the peer, that our application has."""
    peer = acceptor(**changes)
    peer.feed("00 01 0001 00000001 00000000")
    stream = peer.accept()
    assert peer.sent() == [ACK_1]
    return peer, stream


def opened(**changes: Any) -> tuple[Script, StreamState]:
    """Stream 1 of ours, whose SYN went out."""
    peer = opener(**changes)
    stream = peer.connection.open(None, None)
    assert peer.sent() == ["00 01 0001 00000001 00000000"]
    return peer, stream


def lives(peer: Script) -> bool:
    """Whether the session takes stream 3 as if nothing had happened."""
    peer.feed(OK_3)
    stream = peer.connection.accept()
    while stream is not None and stream.id != 3:
        stream = peer.connection.accept()
    return not peer.ended and stream is not None and read_all(peer.connection, stream) == b"ok"


def test_y_01_fin_goes_out_once_and_a_second_of_the_peer_is_ignored() -> None:
    """Go ends the whole session at a second FIN (ErrUnexpectedFlag); go-yamux ignores it.  So
    however often a stream is closed here, one FIN goes; and a duplicate ends nothing."""
    peer, stream = accepted()
    peer.connection.finish(stream)
    peer.connection.finish(stream)
    assert peer.sent() == [FIN_1]
    peer.feed(FIN_1)
    peer.connection.close(stream)
    assert peer.sent() == []

    peer, stream = accepted()
    peer.feed(FIN_1 + FIN_1 + "00 00 0004 00000001 00000000")
    assert peer.sent() == []
    assert stream.failure is None
    peer.connection.close(stream)
    assert peer.sent() == [FIN_1]
    assert lives(peer)


@pytest.mark.parametrize(
    "frame",
    [
        FIN_1,
        ACK_1,
        RST_1 + "00000000",
        "00 01 0000 00000001 00020000",
        "00 00 0000 00000001 00000003 616263",
        "00 00 0004 00000001 00000003 616263",
        "00 00 0008 00000001 00000000",
    ],
)
def test_y_02_frames_for_unknown_streams_are_dropped_in_silence(frame: str) -> None:
    """All peers do, and send no RST: one could overtake the frames of a stream that its owner has
    let go of (rust-yamux issue 110).  The payload is skipped."""
    for peer in (acceptor(), opener()):
        peer.feed(frame)
        assert peer.sent() == []
        assert not peer.ended
    peer = acceptor()
    peer.feed(frame)
    assert lives(peer)


def test_y_03_a_response_is_closed_without_a_reset() -> None:
    """An RST makes Go throw away what its application has not read.  After response and FIN, what
    the peer still sends is taken, credited and dropped; an RST goes only beyond the limit."""
    peer, stream = accepted(discard_limit=400_000)
    peer.connection.write(stream, b"response")
    peer.connection.close(stream)
    assert peer.sent() == ["00 00 0000 00000001 00000008 726573706f6e7365", FIN_1]
    half = "00 00 0000 00000001 00020000" + "00" * 131_072
    for _ in range(3):
        peer.feed(half)
        assert peer.sent() == ["00 01 0000 00000001 00020000"]
    peer.feed(half)
    assert peer.sent() == [RST_1 + " 00000006"]
    assert lives(peer)


@pytest.mark.anyio
async def test_y_03_a_peer_that_never_finishes_is_reset_after_a_long_linger() -> None:
    async with played(CONFIG) as (session, peer):
        await peer.say("00 01 0001 00000001 00000000")
        await (await session.accept_stream()).aclose()
        began = current_time()
        assert [await peer.next() for _ in range(2)] == [ACK_1, FIN_1]
        assert await peer.next() == RST_1 + " 00000006"
        assert CONFIG.discard_timeout / 2 <= current_time() - began <= 2 * CONFIG.discard_timeout


def test_y_03_what_came_before_a_reset_stays_readable_here() -> None:
    """Go's readers lose it.  Ours get what arrived, and then the error."""
    peer, stream = accepted()
    peer.feed("00 00 0000 00000001 00000003 616263" + RST_1 + "00000000")
    assert read_all(peer.connection, stream) == b"abc"
    assert isinstance(stream.error(), muxado.StreamResetError)


def test_y_04_one_ack_on_the_first_frame_of_an_accepted_stream() -> None:
    """Each ACK too many steals a place of Go's semaphore."""
    peer = acceptor()
    peer.feed("00 01 0001 00000001 00000000" + "00 00 0000 00000001 00000001 61")
    assert peer.sent() == []
    stream = peer.accept()
    peer.connection.write(stream, b"b")
    assert peer.sent() == [ACK_1, "00 00 0000 00000001 00000001 62"]
    peer.connection.read(stream, 1)
    peer.connection.write(stream, b"c")
    peer.connection.finish(stream)
    assert peer.sent() == ["00 00 0000 00000001 00000001 63", FIN_1]


def test_y_04_extra_acks_of_the_peer_are_harmless() -> None:
    peer, stream = opened()
    peer.feed(ACK_1 * 3)
    peer.connection.write(stream, b"x")
    assert peer.sent() == ["00 00 0000 00000001 00000001 78"]
    assert not peer.ended


@pytest.mark.anyio
async def test_y_05_a_stream_that_nobody_accepts_is_refused_long_before_gos_75_seconds() -> None:
    """Go's opener closes its whole session after 75 s without ACK, FIN or RST."""
    async with played(CONFIG) as (session, peer):
        await peer.say("00 01 0001 00000001 00000000")
        began = current_time()
        assert await peer.next() == RST_1 + " 00000005"
        assert 25 <= current_time() - began <= 70
        await peer.say(OK_3)
        kept = await session.accept_stream()
        assert await kept.receive() == b"ok"


def test_y_05_the_257th_stream_waits_for_an_acknowledgement() -> None:
    """Go resets what its backlog of 256 cannot hold.  Data goes before the ACK, as Go's does."""
    peer = opener()
    streams = [peer.connection.open(None, None) for _ in range(257)]
    assert len(peer.sent()) == 256
    peer.connection.write(streams[0], b"x")
    peer.connection.write(streams[256], b"y")
    assert peer.sent() == ["00 00 0000 00000001 00000001 78"]
    peer.feed(ACK_1)
    assert peer.sent() == [
        "00 01 0001 00000201 00000000",
        "00 00 0000 00000201 00000001 79",
    ]


@pytest.mark.parametrize(
    "frame",
    [
        ACK_1,
        FIN_1,
        RST_1 + "00000000",
        "00 00 0000 00000001 00000001 61",
        "00 01 0000 00000001 00020000",
    ],
)
def test_y_06_any_frame_on_a_stream_acknowledges_it(frame: str) -> None:
    """A Go acceptor that got our FIN before its Accept never sends an ACK, but it answers."""
    peer = opener()
    for _ in range(257):
        peer.connection.open(None, None)
    peer.sent()
    peer.feed(frame)
    assert peer.sent() == ["00 01 0001 00000201 00000000"]


def test_y_06_finished_streams_that_nobody_acknowledges_do_not_block_others_for_ever() -> None:
    """Go's acceptor may take such a stream, read it, and have nothing to say for long."""
    peer = opener()
    streams = [peer.connection.open(None, None) for _ in range(257)]
    peer.connection.finish(streams[0])
    peer.sent()
    for seconds in (1.9, 2.0):
        assert peer.sent() == []
        peer.connection.timers.expire(seconds)
    assert peer.sent() == ["00 01 0001 00000201 00000000"]
    assert streams[0].failure is None


def test_y_06_a_stream_that_ended_before_accept_is_accepted_and_answered() -> None:
    """Our ACK goes all the same: it is the only thing that stops the 75 s of Y-5 in a Go opener
    whose stream is answered late."""
    peer = acceptor()
    peer.feed("00 00 0005 00000001 00000002 6869")
    stream = peer.accept()
    assert read_all(peer.connection, stream) == b"hi"
    assert stream.fin_received
    peer.connection.write(stream, b"ok")
    peer.connection.finish(stream)
    assert peer.sent() == [ACK_1, "00 00 0000 00000001 00000002 6f6b", FIN_1]


SHOWN = "00 01 0002 00000001 00000000"
"""An ACK that can only have been sent at accept: a WindowUpdate with nothing else in it."""


@pytest.mark.parametrize(
    ("before", "fin", "verdict"),
    [
        pytest.param(SHOWN, False, Retry.REFUSED, id="Go, its backlog is full"),
        pytest.param(SHOWN, True, Retry.UNKNOWN, id="Go, after our FIN"),
        pytest.param(
            SHOWN + "00 01 0002 00000003 00000000", False, Retry.UNKNOWN, id="Go, acknowledged"
        ),
        pytest.param(
            SHOWN + "00 01 0000 00000003 00020000", False, Retry.UNKNOWN, id="Go, it has read"
        ),
        pytest.param(
            SHOWN + "00 00 0000 00000003 00000001 61", False, Retry.PROCESSED, id="Go, it answered"
        ),
        pytest.param("", False, Retry.UNKNOWN, id="nothing shown yet"),
        pytest.param("00 00 0002 00000001 00000001 61", False, Retry.UNKNOWN, id="Rust, on data"),
        pytest.param("00 00 0006 00000001 00000000", False, Retry.UNKNOWN, id="Rust, on a FIN"),
        pytest.param("00 01 0006 00000001 00000000", False, Retry.UNKNOWN, id="JS, on a FIN"),
        pytest.param("00 01 0002 00000001 00020000", False, Retry.UNKNOWN, id="Rust, on credit"),
    ],
)
def test_y_07_an_unacknowledged_reset_is_a_refusal_only_from_peers_that_acknowledge_at_accept(
    before: str, fin: bool, verdict: Retry
) -> None:
    """Stream 3 is reset without an ACK.  From Go that means: backlog full, or going away, so it may
    be sent again; unless our FIN came first, which makes Go silent (Y-6).  From rust-yamux and
    js-libp2p it may mean that the application read it and dropped it: they acknowledge with the
    first frame they have anyway.  So a peer counts as one that acknowledges at accept once it has
    sent an ACK that means nothing else; before that the verdict is the cautious one."""
    peer, _ = opened()
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, b"once only")
    if fin:
        peer.connection.finish(stream)
    peer.sent()
    peer.feed(before + "00 01 0008 00000003 00000000")
    assert stream.retry is verdict
    assert isinstance(stream.error(), muxado.StreamRefusedError) is (verdict is Retry.REFUSED)


def test_y_07_our_own_refusals_are_as_gos() -> None:
    """A full backlog: RST without an ACK.  The code is for a muxado_py; Go ignores it."""
    peer = acceptor(accept_backlog=1)
    peer.feed("00 01 0001 00000001 00000000" + "00 01 0001 00000003 00000000")
    assert peer.sent() == ["00 01 0008 00000003 00000009"]


@pytest.mark.parametrize("closed", [False, True])
def test_y_08_a_second_syn_ends_the_session(closed: bool) -> None:
    """Go and rust-yamux do the same for a live id, js ignores it; on a closed id Go opens a new
    stream.  We cannot: what is on its way for the old one would reach the new."""
    peer, stream = accepted()
    if closed:
        peer.feed(FIN_1)
        peer.connection.close(stream)
        peer.sent()
    peer.feed("00 01 0001 00000001 00000000")
    assert peer.sent()[-1] == PROTOCOL_ERROR
    assert peer.ended_code == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("client", "stream_id"),
    [
        (False, "00000002"),
        (False, "00000000"),
        (True, "00000001"),
        (True, "00000000"),
        (True, "80000001"),
        (True, "ffffffff"),
    ],
)
@pytest.mark.parametrize("kind", ["00 01", "00 00"])
def test_y_09_a_syn_of_the_wrong_parity_ends_the_session(
    client: bool, stream_id: str, kind: str
) -> None:
    """hashicorp takes it until ids collide; go-yamux and rust-yamux close, and so do we: two ends
    of the same role must learn it at once."""
    peer = opener() if client else acceptor()
    peer.feed(f"{kind} 0001 {stream_id} 00000000")
    assert peer.sent() == [PROTOCOL_ERROR]
    assert peer.ended


@pytest.mark.parametrize("stream_id", ["80000001", "fffffffd"])
def test_y_09_ids_above_2_31_are_taken_in_their_parity(stream_id: str) -> None:
    """Go counts to 2^32-3, which a session of many short streams reaches."""
    peer = acceptor()
    peer.feed(f"00 01 0001 {stream_id} 00000000")
    assert peer.accept().id == int(stream_id, 16)
    assert not peer.ended


@pytest.mark.parametrize(
    ("frames", "data", "finished"),
    [
        ("00 01 0001 00000001 00000000", b"", False),
        ("00 01 0001 00000001 000c0000", b"", False),
        ("00 01 0005 00000001 00000000", b"", True),
        ("00 00 0001 00000001 00000000", b"", False),
        ("00 00 0001 00000001 00000002 6869", b"hi", False),
        ("00 00 0005 00000001 00000002 6869", b"hi", True),
    ],
)
def test_y_10_a_syn_may_stand_on_either_type_with_data_and_fin(
    frames: str, data: bytes, finished: bool
) -> None:
    peer = acceptor()
    peer.feed(frames)
    stream = peer.accept()
    assert (read_all(peer.connection, stream), stream.fin_received) == (data, finished)


def test_y_10_data_in_the_syn_counts_against_the_window() -> None:
    """CVE-2026-32314 was a payload of a SYN that did not.  The stream is reset, and no more."""
    peer = acceptor()
    peer.feed("00 00 0001 00000001 00040001")
    assert peer.sent() == [RST_1 + " 00000003"]
    peer.feed(bytes(WINDOW + 1))
    assert lives(peer)


def test_y_10_we_open_with_a_window_update_and_then_data() -> None:
    peer = opener()
    peer.connection.write(peer.connection.open(None, None), b"hi")
    assert peer.sent() == ["00 01 0001 00000001 00000000", "00 00 0000 00000001 00000002 6869"]


def test_y_11_fin_goes_alone_and_is_taken_with_data() -> None:
    """Go acts on the FIN of a Data frame before it has read the payload."""
    peer, stream = accepted()
    peer.connection.write(stream, b"bye")
    peer.connection.finish(stream)
    assert peer.sent() == ["00 00 0000 00000001 00000003 627965", FIN_1]
    peer.feed("00 00 0004 00000001 00000003 6279")
    assert read_all(peer.connection, stream) == b"by"
    assert not stream.fin_received
    peer.feed("65")
    assert read_all(peer.connection, stream) == b"e"
    assert stream.fin_received


@pytest.mark.parametrize("code", [0, 6, 0x1001])
def test_y_12_the_length_of_a_reset_is_its_code(code: int) -> None:
    """go-yamux reads it so; hashicorp adds it to the window of a stream that is over.  It says why,
    and proves nothing: the verdict does not depend on it."""
    peer, stream = accepted()
    peer.connection.reset(stream, code)
    assert peer.sent() == [f"{RST_1} {code:08x}"]

    peer, stream = opened()
    peer.feed(f"{RST_1} {code:08x}")
    error = stream.error()
    assert isinstance(error, muxado.StreamResetError)
    assert (error.code, error.remote, error.retry) == (code, True, Retry.UNKNOWN)


@pytest.mark.parametrize("code", [ErrorCode.STREAM_REFUSED, ErrorCode.ACCEPT_QUEUE_FULL])
def test_y_12_a_refusal_by_code_alone_is_none(code: int) -> None:
    peer, stream = opened()
    peer.feed(f"{RST_1} {code:08x}")
    assert stream.retry is Retry.UNKNOWN


def test_y_13_a_window_beyond_2_31_resets_the_stream() -> None:
    """Go's wraps around, rust-yamux closes the session.  We reset that stream alone."""
    peer, stream = opened()
    peer.feed("00 01 0002 00000001 7ffbffff")
    assert stream.failure is None
    peer.feed("00 01 0000 00000001 00000001")
    assert peer.sent() == [RST_1 + " 00000003"]
    assert stream.failure is not None
    assert not peer.ended


def test_y_14_more_data_than_the_window_resets_the_stream_only() -> None:
    """All peers close the session; Y-15 is why we do not."""
    peer, stream = accepted()
    peer.feed("00 00 0000 00000001 00040001")
    assert peer.sent() == [RST_1 + " 00000003"]
    for _ in range(WINDOW // 1024):
        peer.feed(bytes(1024))
    assert peer.connection.unread == 0
    peer.feed(bytes(1))
    assert stream.failure is not None
    assert lives(peer)


def test_y_14_we_never_send_more_than_the_window() -> None:
    peer, stream = opened()
    peer.connection.write(stream, bytes(WINDOW + 10))
    frames = peer.sent()
    assert sum(int(frame.split()[4], 16) for frame in frames) == WINDOW
    peer.feed("00 01 0002 00000001 00000003")
    assert peer.sent() == ["00 00 0000 00000001 00000003 000000"]


def test_y_15_go_after_a_write_timeout_sends_up_to_a_window_too_much() -> None:
    """462,144 bytes in a window of 262,144: the message that timed out is sent all the same, and
    not charged.  That stream is over; the session and its other streams are not."""
    peer, stream = accepted()
    peer.feed("00 00 0000 00000001 00030d40" + "61" * 200_000)
    peer.feed("00 00 0000 00000001 00040000" + "62" * WINDOW)
    assert peer.sent() == [RST_1 + " 00000003"]
    assert stream.failure is not None
    assert stream.failure.code == ErrorCode.FLOW_CONTROL_ERROR
    assert lives(peer)


def test_y_16_frames_are_short_and_bodies_of_any_length_are_taken_in_pieces() -> None:
    """Go sends a whole window in one frame; rust-yamux rejects bodies above 1 MiB."""
    peer, stream = opened(max_frame=2**20)
    peer.connection.write(stream, bytes(200_000))
    sizes = [int(frame.split()[4], 16) for frame in peer.sent()]
    assert sum(sizes) == 200_000
    assert max(sizes) == 65_536
    other = peer.connection.open(None, None)
    peer.connection.write(stream, bytes(30_000))
    peer.connection.write(other, bytes(30_000))
    assert max(int(frame.split()[4], 16) for frame in peer.sent(65_536)) <= 16_384

    peer, stream = accepted_with_window(10 * 2**20)
    peer.feed("00 00 0000 00000001 00a00000")
    for _ in range(160):
        peer.feed(bytes(65_536))
    assert len(read_all(peer.connection, stream)) == 10 * 2**20
    assert not peer.ended


def accepted_with_window(size: int) -> tuple[Script, StreamState]:
    """Stream 1 of the peer, that was told of a larger window."""
    peer = acceptor(stream_window=size)
    peer.feed("00 01 0001 00000001 00000000")
    stream = peer.accept()
    assert peer.sent() == [ACK_1, f"00 01 0000 00000001 {size - WINDOW:08x}"]
    return peer, stream


def test_y_17_data_after_a_fin_ends_the_stream_only_and_after_a_reset_nothing() -> None:
    """Go buffers data after a FIN, and ignores it after an RST."""
    peer, stream = accepted()
    peer.feed(FIN_1 + "00 00 0000 00000001 00000001 61")
    assert peer.sent() == [RST_1 + " 00000004"]
    assert stream.failure is not None
    assert lives(peer)

    peer, stream = accepted()
    peer.feed(RST_1 + "00000000" + "00 00 0000 00000001 00000001 61")
    assert peer.sent() == []
    assert lives(peer)


@pytest.mark.parametrize("end", ["finish", "close"])
def test_y_17_we_send_nothing_after_our_fin(end: str) -> None:
    peer, stream = accepted()
    getattr(peer.connection, end)(stream)
    assert peer.sent() == [FIN_1]
    peer.feed("00 01 0000 00000001 00020000")
    assert peer.sent() == []


@pytest.mark.anyio
async def test_y_18_a_write_that_go_will_never_take_ends_in_time() -> None:
    """Go's Close accepts up to its window, gives no credit, and resets after 5 minutes or never
    (hashicorp/yamux issue 133).  No frame asks whether it reads, so time decides."""
    async with played(CONFIG, client=True) as (session, peer):
        stream = await session.open_stream()
        async with create_task_group() as tasks:

            async def send() -> None:
                with pytest.raises(muxado.StreamResetError, match="reads nothing any more"):
                    await stream.send(bytes(2 * WINDOW))

            tasks.start_soon(send)
            await peer.next()
            await peer.say(ACK_1 + FIN_1)
            sent = 0
            while sent < WINDOW:
                sent += int((await peer.next()).split()[4], 16)
            began = current_time()
            assert await peer.next() == RST_1 + " 00000006"
        assert CONFIG.stall_timeout / 2 <= current_time() - began <= 2 * CONFIG.stall_timeout
        assert not session.closed


@pytest.mark.anyio
async def test_y_18_a_slow_reader_after_its_fin_is_not_given_up() -> None:
    """A half closed peer that reads now and then is no peer that has gone."""
    async with played(CONFIG, client=True) as (session, peer):
        stream = await session.open_stream()
        async with create_task_group() as tasks:
            tasks.start_soon(stream.send, bytes(WINDOW + 3 * 65_536))
            await peer.next()
            await peer.say(ACK_1 + FIN_1)
            sent = 0
            for _ in range(3):
                while sent < WINDOW:
                    sent += int((await peer.next()).split()[4], 16)
                await sleep(CONFIG.stall_timeout * 0.4)
                await peer.say("00 01 0000 00000001 00010000")
                sent -= 65_536
        assert not session.closed


def test_y_19_pings_are_answered_once_and_before_all_data() -> None:
    """Whatever their id; rust-yamux ends a session for a stray pong."""
    peer, stream = accepted()
    peer.connection.write(stream, b"data")
    peer.feed("00 02 0001 00000000 00000007" + "00 02 0001 00000009 ffffffff")
    assert peer.sent() == [
        "00 02 0002 00000000 00000007",
        "00 02 0002 00000000 ffffffff",
        "00 00 0000 00000001 00000004 64617461",
    ]
    assert peer.sent() == []


def test_y_19_a_flood_of_pings_ends_the_session() -> None:
    peer = acceptor(control_budget=16)
    peer.feed("00 02 0001 00000000 00000000" * 17)
    assert peer.sent()[-1] == PROTOCOL_ERROR
    assert peer.ended_code == ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.anyio
async def test_y_20_a_ping_without_flags_answers_nothing() -> None:
    """Go takes it for an answer; we take an ACK alone."""
    async with played(CONFIG) as (session, peer), create_task_group() as tasks:
        answered = []

        async def ping() -> None:
            answered.append(await session.ping())

        tasks.start_soon(ping)
        assert await peer.next() == "00 02 0001 00000000 00000001"
        await peer.say("00 02 0000 00000000 00000001")
        await sleep(1)
        assert not answered
        await peer.say("00 02 0002 00000000 00000001")
    assert len(answered) == 1


def test_y_20_pongs_that_nobody_asked_for_are_noise() -> None:
    peer = acceptor(control_budget=16)
    peer.feed("00 02 0002 00000000 00000007" * 16)
    assert peer.sent() == []
    assert lives(peer)
    peer.feed("00 02 0002 00000000 00000007")
    assert peer.ended_code == ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.anyio
async def test_y_21_a_lost_pong_is_no_death_while_other_frames_come() -> None:
    """go-yamux drops pongs when 32 are queued.  Any byte proves life; only silence ends it."""
    config = Config(wire="yamux")
    async with played(config) as (session, peer):
        assert await peer.next() == "00 02 0001 00000000 00000000"
        for _ in range(10):
            await sleep(config.heartbeat_timeout * 0.9)
            await peer.say("00 01 0000 00000001 00020000")
        assert not session.closed
        with pytest.raises(muxado.PeerTimeoutError):
            await session.wait()


def test_y_22_goaway_0_stops_new_streams_and_leaves_the_old() -> None:
    """As hashicorp takes it.  go-yamux and rust-yamux say it and close, which Y-28 deals with."""
    peer, stream = opened()
    peer.feed(ACK_1 + "00 03 0000 00000000 00000000")
    with pytest.raises(muxado.GoneAwayError) as caught:
        peer.connection.open(None, None)
    assert caught.value.retry is Retry.NEVER_SENT
    peer.connection.write(stream, b"x")
    assert peer.sent() == ["00 00 0000 00000001 00000001 78"]
    peer.feed("00 00 0004 00000001 00000001 61")
    assert read_all(peer.connection, stream) == b"a"
    assert not peer.ended


def test_y_22_our_goaway_0_goes_when_the_streams_are_done() -> None:
    """libp2p's programs end the session when they get one, with every stream."""
    peer, stream = accepted()
    peer.connection.announce_go_away()
    peer.connection.go_away(ErrorCode.NO_ERROR, b"")
    assert peer.sent() == []
    peer.feed("00 01 0001 00000003 00000000")
    assert peer.sent() == ["00 01 0008 00000003 00000005"]
    peer.connection.close(stream)
    assert peer.sent() == [FIN_1]
    peer.feed(FIN_1)
    assert peer.sent() == ["00 03 0000 00000000 00000000"]


@pytest.mark.parametrize("code", [1, 2, 77])
def test_y_23_another_goaway_is_the_end_and_its_code_is_kept(code: int) -> None:
    peer, stream = opened()
    peer.feed(f"00 03 0000 00000000 {code:08x}")
    assert peer.ended_code == code
    error = stream.error()
    assert isinstance(error, muxado.ProtocolError)
    assert (error.code, error.remote, error.retry) == (code, True, Retry.UNKNOWN)


def test_y_24_a_syn_that_crosses_gos_goaway_is_refused_and_safe() -> None:
    """Go answers it with an RST, without an ACK; see Y-7 for who is believed."""
    peer, first = opened()
    peer.feed(ACK_1)
    crossing = peer.connection.open(None, None)
    peer.sent()
    peer.feed("00 03 0000 00000000 00000000" + "00 01 0008 00000003 00000000")
    assert crossing.retry is Retry.REFUSED
    assert first.failure is None


@pytest.mark.parametrize(
    "frame",
    [
        "01 00 0000 00000001 00000000",
        "ff 01 0001 00000001 00000000",
        "00 04 0000 00000000 00000000",
        "00 ff 0000 00000001 00000000",
    ],
)
def test_y_25_another_version_or_type_ends_the_session(frame: str) -> None:
    """Go closes without a word; we say why first, and that the stream is not complete (Y-28)."""
    peer, stream = accepted()
    peer.feed(frame + OK_3)
    assert peer.sent() == [RST_1 + " 0000000e", PROTOCOL_ERROR]
    assert peer.ended_code == ErrorCode.PROTOCOL_ERROR
    assert isinstance(stream.error(), muxado.ProtocolError)
    assert peer.connection.accept() is None


def test_y_26_unknown_flags_are_ignored() -> None:
    peer = acceptor()
    peer.feed("00 01 7ff1 00000001 00000000" + "00 00 fff0 00000001 00000002 6869")
    stream = peer.accept()
    assert read_all(peer.connection, stream) == b"hi"
    assert peer.sent() == [ACK_1]
    assert not peer.ended


def test_y_27_ids_that_are_used_up_fail_the_open_and_leak_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At 2^31-1, where go-yamux and others may take a bit for a sign; Go goes on to 2^32-3, and
    leaks a place of its semaphore for each failure there."""
    begin_with_ids(monkeypatch, "yamux", client=2**31 - 1, server=2)
    peer = opener()
    last = peer.connection.open(None, None)
    assert peer.sent() == ["00 01 0001 7fffffff 00000000"]
    for _ in range(300):
        with pytest.raises(muxado.StreamLimitError) as caught:
            peer.connection.open(None, None)
        assert caught.value.retry is Retry.NEVER_SENT
    assert peer.connection.live_streams == 1
    peer.feed("00 00 0002 7fffffff 00000001 61")
    assert read_all(peer.connection, last) == b"a"


@pytest.mark.anyio
@pytest.mark.parametrize("goaway", ["", "00 03 0000 00000000 00000000"])
async def test_y_28_the_end_of_the_transport_is_no_end_of_a_stream(goaway: str) -> None:
    """Every stream of a Go session reads a clean EOF then (hashicorp/yamux issue 92).  Ours give
    what arrived, and then an error; also after the GoAway 0 with which libp2p's programs end."""
    async with played(CONFIG) as (session, peer):
        await peer.say("00 00 0001 00000001 00000002 6869")
        stream = await session.accept_stream()
        await peer.say(goaway)
        await peer.transport.aclose()
        assert await stream.receive() == b"hi"
        with pytest.raises(muxado.SessionError):
            await stream.receive()


@pytest.mark.anyio
async def test_y_28_a_finished_stream_ends_cleanly_even_then() -> None:
    async with played(CONFIG) as (session, peer):
        await peer.say("00 00 0005 00000001 00000002 6869")
        stream = await session.accept_stream()
        await peer.transport.aclose()
        assert await stream.receive() == b"hi"
        with pytest.raises(EndOfStream):
            await stream.receive()


@pytest.mark.anyio
async def test_y_28_a_session_without_streams_ends_in_silence() -> None:
    """Go's Close sends nothing at all; with no stream open nothing is lost by it."""
    async with played(CONFIG) as (session, peer):
        await peer.transport.aclose()
        await session.wait()


def test_y_28_what_we_cut_off_does_not_look_complete_to_go() -> None:
    """Go would read a clean end when we close the transport, so a reset goes before it; not for a
    stream that we finished, whose reader it could rob (Y-3)."""
    peer, stream = accepted()
    peer.connection.write(stream, b"half an ans")
    assert peer.sent() == ["00 00 0000 00000001 0000000b 68616c6620616e20616e73"]
    peer.feed("00 01 0001 00000003 00000000")
    whole = peer.accept()
    peer.connection.finish(whole)
    peer.sent()
    peer.connection.terminate(CLOSED_HERE)
    assert peer.sent() == [RST_1 + " 0000000e"]


def test_y_28_half_a_frame_is_never_data() -> None:
    peer, stream = accepted()
    peer.feed("00 00 0004 00000001 00000005 6869")
    peer.connection.receive_eof()
    assert read_all(peer.connection, stream) == b"hi"
    assert isinstance(stream.error(), muxado.TransportError)
    assert not stream.fin_received


def test_y_29_headers_and_payload_may_come_byte_by_byte() -> None:
    """Go writes them in two pieces, and TLS cuts where it likes."""
    peer = acceptor()
    for byte in bytes.fromhex("00 00 0005 00000001 00000002 6869" + OK_3):
        peer.feed(bytes([byte]))
    assert [read_all(peer.connection, peer.accept()) for _ in range(2)] == [b"hi", b"ok"]


def test_y_30_a_larger_window_is_announced_with_the_syn_and_with_the_ack() -> None:
    """As credit of its own behind them, so that the ACK stays one that can only mean accept (Y-7);
    and not before the ACK, because any frame would count as one."""
    size = 2**20
    peer = acceptor(stream_window=size)
    peer.feed("00 01 0001 00000001 00000000")
    assert peer.sent() == []
    peer.accept()
    assert peer.sent() == [ACK_1, "00 01 0000 00000001 000c0000"]

    peer = opener(stream_window=size)
    stream = peer.connection.open(None, None)
    assert peer.sent() == ["00 01 0001 00000001 00000000", "00 01 0000 00000001 000c0000"]
    peer.feed("00 00 0002 00000001 00100000" + "00" * size)
    assert stream.failure is None
    assert len(read_all(peer.connection, stream)) == size


GOAWAY = "00 03 0000 00000000 00000000"


@pytest.mark.anyio
async def test_a_goaway_is_answered_when_no_stream_is_left() -> None:
    """tokio-yamux waits ten seconds for it; hashicorp's goes on, and may have opened a stream meanwhile."""
    async with played(CONFIG) as (session, peer):
        await peer.say("00 01 0001 00000001 00000000")
        stream = await session.accept_stream()
        assert await peer.next() == ACK_1
        await peer.say(GOAWAY)
        await sleep(10)
        await stream.aclose()
        await peer.say(FIN_1)
        start = current_time()
        await session.wait()
        assert 2 * CONFIG.probe_interval - 1 <= current_time() - start <= 3 * CONFIG.probe_interval
        assert (await peer.to_the_end())[-1] == GOAWAY
        with pytest.raises(muxado.SessionClosedError):
            await session.open_stream()


@pytest.mark.anyio
async def test_a_goaway_of_a_peer_that_goes_on_opening_streams_is_not_answered() -> None:
    async with played(CONFIG) as (session, peer):
        await peer.say(GOAWAY)
        await sleep(CONFIG.probe_interval / 2)
        await peer.say("00 01 0001 00000001 00000000" + FIN_1)
        await (await session.accept_stream()).aclose()
        await sleep(100)
        assert not session.closed
        await peer.say("00 01 0001 00000003 00000000")
        await session.accept_stream()

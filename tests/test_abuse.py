"""Peers that mean harm: no input makes a session raise, hang or grow.

Each attack has a legitimate twin that must survive it: a budget that breaks honest users is a bug of
its own.  Memory is the deep size of everything the connection holds.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest
from anyio import create_task_group

from muxado_py import Config
from muxado_py.errors import ErrorCode
from muxado_py.frames import WIRES

from .helpers.pair import HELLO, Pair, Script, held, read_all, split_frames
from .scripted_peer import scripted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from muxado_py.protocol.connection import Connection

KIB = 1024
CALM = ErrorCode.ENHANCE_YOUR_CALM
PIECE = 64 * KIB
"""What a transport hands over at once."""


def flood(
    peer: Script,
    frames: Iterator[bytes],
    *,
    reads: bool = True,
    total: int = 2**20,
    each: Callable[[Connection], object] | None = None,
) -> int:
    """Throw ``total`` bytes of frames at a connection as a transport would; the most it held.

    :param reads: whether the attacker takes the answers.
    :param each: what the application does after each piece.
    """
    connection = peer.connection
    most = 0
    pending = bytearray()
    done = 0
    while done < total:
        while len(pending) < PIECE:
            pending += next(frames)
        if not connection.may_read() and not reads:
            break
        connection.receive_data(bytes(pending[:PIECE]))
        del pending[:PIECE]
        done += PIECE
        if each is not None:
            each(connection)
        most = max(most, held(connection))
        while reads and (out := connection.data_to_send(PIECE)):
            assert split_frames(b"".join(out))
        connection.events.pongs.clear()
    return most


def frame(header: str, body: bytes = b"") -> bytes:
    return bytes.fromhex(header) + body


def syns(body: bytes = b"", step: int = 2, start: int = 3) -> Iterator[bytes]:
    header = len(body).to_bytes(3, "big") + b"\x12"
    for stream_id in count(start, step):
        yield header + stream_id.to_bytes(4, "big") + body


def repeated(data: bytes) -> Iterator[bytes]:
    while True:
        yield data


def goodbye_code(peer: Script) -> int:
    """The code of the GOAWAY that the peer was sent."""
    (goaway,) = [one for one in peer.sent() if one[7] == "3"]
    return int(goaway.split()[3][8:16], 16)


# Streams.


def open_and_reset() -> Iterator[bytes]:
    for stream_id in count(3, 2):
        name = stream_id.to_bytes(4, "big")
        yield frame("00000012") + name + frame("00000400") + name + frame("00000006")


@pytest.mark.parametrize("typed", [False, True])
def test_resets_before_accept(typed: bool) -> None:
    peer = Script(Config(typed_streams=typed))
    most = flood(peer, open_and_reset(), reads=False)
    assert peer.ended_code == CALM
    assert most < 200 * KIB
    assert goodbye_code(peer) == CALM
    assert (peer.connection.live_streams, peer.connection.peer_streams) == (0, 0)


def test_resets_before_accept_at_an_honest_rate() -> None:
    peer = Script()
    for pair in zip(range(20_000), open_and_reset(), strict=False):
        peer.feed(pair[1])
        peer.now += 1 / 256
    assert not peer.ended


def test_rapid_resets_of_accepted_streams_are_bounded_by_their_handlers() -> None:
    """CVE-2023-44487: what counts is work in progress, not streams that are open on the wire."""
    peer = Script(Config(max_streams=100))
    handlers = []
    most_handlers = 0
    for number, data in zip(range(20_000), open_and_reset(), strict=False):
        peer.feed(data[:8])
        while (stream := peer.connection.accept()) is not None:
            handlers.append(stream)
        peer.feed(data[8:])
        if number % 3 == 0 and handlers:
            peer.connection.close(handlers.pop())
        most_handlers = max(most_handlers, len(handlers))
        assert peer.connection.live_streams == 0
        peer.sent()
        peer.connection.events.readable.clear()
        peer.connection.events.writable.clear()
    assert most_handlers == 100
    assert held(peer.connection) < 300 * KIB


def test_a_stream_that_is_reset_leaves_the_backlog() -> None:
    peer = Script(Config(accept_backlog=1))
    for data in (frame("000000 12 00000003"), frame("000004 00 00000003 00000006")):
        peer.feed(data)
    peer.feed("000000 12 00000005")
    assert peer.sent() == []
    assert peer.accept().id == 5


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 4, 1000])
def test_a_flood_of_syns(step: int) -> None:
    peer = Script(Config(accept_backlog=128))
    most = flood(peer, syns(step=step))
    assert most < 1000 * KIB
    assert peer.connection.peer_streams == 128
    assert not peer.ended, "each is refused; the streams that were taken are not to blame"


@pytest.mark.slow
def test_a_flood_of_syns_that_splits_one_gap() -> None:
    peer = Script(Config(max_streams=0))
    peer.feed("000000 12 7ffffffd")
    assert flood(peer, syns(step=4), total=2**20) < 300 * KIB


@pytest.mark.slow
def test_a_flood_of_syns_downwards() -> None:
    peer = Script(Config(max_streams=0))
    assert flood(peer, syns(step=-4, start=0x7FFFFFFD)) < 300 * KIB


def test_a_flood_of_syns_from_a_peer_that_does_not_read() -> None:
    peer = Script(Config(max_streams=0))
    most = flood(peer, syns(), reads=False)
    assert not peer.connection.may_read()
    assert not peer.ended
    assert most < 400 * KIB


@pytest.mark.parametrize("reset", [False, True], ids=["finished", "reset"])
@pytest.mark.parametrize("name", WIRES)
def test_streams_that_are_closed_here_and_that_the_peer_does_not_hear_of(
    name: str, reset: bool
) -> None:
    """A handler is done at once with each, so that none is open; what is to be said of them waits."""
    peer = Script(Config(wire=name, max_streams=100))
    connection = peer.connection
    wire = WIRES[name](client=True)
    most = 0
    for stream_id in range(3, 40_003, 2):
        if not connection.may_read():
            break
        peer.feed(wire.syn(stream_id, 0, None, None))
        stream = connection.accept()
        peer.feed(wire.reset(stream_id, 6) if reset else wire.fin(stream_id))
        if stream is not None:
            connection.close(stream)
        for waiting in (connection.events.readable, connection.events.writable):
            waiting.clear()
        if not stream_id % 101:
            most = max(most, held(connection))
    assert most < 900 * KIB
    assert connection.live_streams <= 200 + 1
    assert not peer.ended
    for _ in range(6):
        peer.sent()
        connection.timeouts.age_delays()
    peer.feed(wire.syn(50_001, 0, None, None))
    assert peer.accept().id == 50_001, "a peer that reads is served again"


@pytest.mark.slow
def test_typed_streams_without_their_type_count_and_end() -> None:
    """One more than ``max_streams``, for it may yet carry heartbeats; if not, it is refused."""
    config = Config(typed_streams=True)
    peer = Script(config)
    most = flood(peer, syns(b"\0\0\0"))
    assert peer.connection.peer_streams == config.max_streams + 1
    assert most < 2000 * KIB


@pytest.mark.parametrize("beats", [True, False])
def test_a_typed_stream_above_the_limit_may_only_carry_heartbeats(beats: bool) -> None:
    peer = Script(Config(typed_streams=True, max_streams=1))
    peer.feed("000004 12 00000003 00000007")
    peer.feed("000000 12 00000005")
    peer.feed("000000 12 00000007")
    assert [one.split()[2:] for one in peer.sent()] == [["00000007", "00000005"]]
    peer.feed("000004 10 00000005" + ("ffffffff" if beats else "00000007"))
    refused = [one.split()[2:] for one in peer.sent()]
    assert refused == ([] if beats else [["00000005", "00000005"]])
    assert peer.connection.peer_streams == peer.connection.live_streams == 1


def test_the_backlog_holds_for_typed_streams_that_tell_their_type_late() -> None:
    peer = Script(Config(typed_streams=True, accept_backlog=10))
    for stream_id in range(3, 203, 2):
        peer.feed(f"000000 12 {stream_id:08x}")
    for stream_id in range(3, 203, 2):
        peer.feed(f"000004 10 {stream_id:08x} 00000007")
    assert peer.connection.backlog == 10
    assert peer.connection.peer_streams == 10
    refused = peer.sent()
    assert len(refused) == 90
    assert {one.split()[3] for one in refused} == {"00000009"}


def test_a_stream_that_neither_side_may_open_twice_is_not_left_half_open() -> None:
    peer = Script()
    peer.feed("000001 12 00000003 78 000001 12 00000003 79")
    assert peer.ended_code == ErrorCode.PROTOCOL_ERROR
    assert (peer.connection.live_streams, peer.connection.backlog) == (0, 0)


# Resets that we are made to send.


def faulty(frames: str) -> Iterator[bytes]:
    for stream_id in count(3, 2):
        yield bytes.fromhex(frames.replace("id", f"{stream_id:08x}"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "frames",
    [
        pytest.param("000000 12 id 000004 20 id 00000000", id="credit of nothing"),
        pytest.param("000000 12 id 000004 20 id 7fffffff", id="credit overflow"),
        pytest.param("000000 13 id 000001 10 id 78", id="data after fin"),
        pytest.param("040001 12 id" + "00" * 0x40001, id="more than the window"),
    ],
)
def test_induced_resets(frames: str) -> None:
    """MadeYouReset, CVE-2025-8671."""
    config = Config(control_budget=64)
    peer = Script(config)
    most = flood(peer, faulty(frames), total=len(bytes.fromhex(frames.replace("id", ""))) * 200)
    assert peer.ended_code == CALM
    assert most < 300 * KIB
    assert peer.connection.live_streams == 0


def test_resets_for_streams_that_are_not_known_any_more_are_no_attack() -> None:
    """What a peer sent before it heard that we closed is answered once for each frame."""
    peer = Script()
    flood(peer, repeated(frame("000001 10 00000003 78")))
    assert not peer.ended


# Answers that are never read.


@pytest.mark.parametrize(
    ("data", "extended"),
    [
        pytest.param(frame("000008 50 00000000", bytes(8)), True, id="pings"),
        pytest.param(frame("000001 10 00000003 78"), False, id="data for no stream"),
        pytest.param(frame("000000 10 00000003"), False, id="probes of no stream"),
    ],
)
def test_a_peer_that_never_reads_its_answers(data: bytes, extended: bool) -> None:
    """CVE-2024-32984: reading stops, and goes on when the answers are taken."""
    peer = Script(Config(max_control_frames=64), extended=extended)
    # Other streams each time, or the answers would be one and the same.
    numbered = (
        data[:4] + (n % 2**20 * 2 + 3).to_bytes(4, "big") + data[8:] if not extended else data
        for n in count()
    )
    most = flood(peer, numbered, reads=False)
    assert not peer.connection.may_read()
    assert not peer.ended
    assert most < 200 * KIB
    assert len(peer.sent()) == 64
    peer.feed(b"")
    assert len(peer.sent()) == 64, "the next portion, of what had arrived before the pause"


def test_what_arrived_before_a_pause_is_not_lost() -> None:
    peer = Script(Config(max_control_frames=16))
    for stream_id in range(3, 103, 2):
        peer.feed(f"000001 10 {stream_id:08x} 78")
    peer.feed("000001 12 00000067 79")
    answers = []
    while out := peer.sent():
        answers += out
    assert len(answers) == 50
    assert peer.connection.read(peer.accept(), 9) == b"y"
    assert peer.connection.may_read()


# Frames that cost nothing to send.


def test_a_flood_of_pings() -> None:
    peer = Script(extended=True)
    most = flood(peer, repeated(frame("000008 50 00000000", bytes(8))))
    assert peer.ended_code == CALM
    assert most < 300 * KIB


def test_pings_at_an_honest_rate() -> None:
    peer = Script(extended=True)
    for _ in range(20_000):
        peer.feed(frame("000008 50 00000000", bytes(8)))
        assert len(peer.sent()) == 1
        peer.now += 1 / 200
    assert not peer.ended


@pytest.mark.parametrize(
    ("data", "extended"),
    [
        pytest.param(frame("000000 10 00000003"), False, id="empty data"),
        pytest.param(frame("000000 f0 00000000"), False, id="unknown type"),
        pytest.param(frame("000100 90 00000000", bytes(256)), False, id="unknown type, a body"),
        pytest.param(frame("000004 50 00000000", bytes(4)), True, id="ping of another size"),
        pytest.param(frame("000008 51 00000000", bytes(8)), True, id="pong that nobody asked for"),
        pytest.param(frame("000006 60 00000000 0001 00000001"), True, id="settings"),
        pytest.param(frame("000008 30 00000000 00000063 00000000"), False, id="goaway"),
        pytest.param(frame("000008 30 00000000 00000063 00000000"), True, id="goaway, muxado_py"),
    ],
)
def test_a_flood_of_noise(data: bytes, extended: bool) -> None:
    peer = Script(extended=extended)
    peer.feed("000000 12 00000003")
    peer.accept()
    most = flood(peer, repeated(data))
    assert peer.ended_code == CALM
    assert most < 300 * KIB


def rising_settings() -> Iterator[bytes]:
    for window in count(262_145):
        yield frame("000006 60 00000000 0001") + window.to_bytes(4, "big")


def test_settings_that_touch_every_stream_each_time() -> None:
    peer = Script(Config(accept_backlog=1000), extended=True)
    for stream_id in range(3, 2003, 2):
        peer.feed(f"000000 12 {stream_id:08x}")
    flood(peer, rising_settings())
    assert peer.ended_code == CALM


def test_a_flood_of_goaways_with_long_texts() -> None:
    peer = Script()
    peer.feed("000000 12 00000003")
    peer.accept()
    text = frame("100008 30 00000000 00000000 00000000", b"x" * 2**20)
    most = flood(peer, repeated(text), total=2**24)
    assert most < 300 * KIB
    assert peer.connection.events.go_away is not None
    assert len(peer.connection.events.go_away.debug) == 1024


@pytest.mark.parametrize(
    ("frames", "extended"),
    [
        pytest.param("000004 20 00000003 00000001", False, id="credit of one byte"),
        pytest.param("000000 11 00000003", False, id="fin"),
        pytest.param("000000 11 00000005", False, id="fin of no stream"),
        pytest.param("000004 00 00000005 00000006", False, id="reset of no stream"),
        pytest.param("000002 40 00000003 0100 000002 40 00000003 0700", True, id="priority"),
        pytest.param("000008 70 00000000 0000000000000001", True, id="session credit"),
        pytest.param(HELLO.hex(), True, id="hello"),
    ],
)
def test_a_flood_that_costs_no_more_than_its_bytes(frames: str, extended: bool) -> None:
    """No budget is spent on what needs no answer and changes one number."""
    peer = Script(extended=extended)
    peer.feed("000000 12 00000003")
    stream = peer.accept()
    peer.connection.write(stream, bytes(300_000))
    most = flood(peer, repeated(bytes.fromhex(frames)))
    assert not peer.ended
    assert most < 300_000 + 100 * KIB  # what the application wrote, and little more


def test_priorities_that_change_while_nothing_is_sent() -> None:
    """Queues keep the dead entries of streams that moved; they must not keep them for ever."""
    peer = Script(extended=True)
    for stream_id in (3, 5, 7):
        peer.feed(f"000000 12 {stream_id:08x}")
        peer.connection.write(peer.accept(), bytes(300_000))
    before = held(peer.connection)
    frames = b"".join(
        frame(f"000002 40 {stream_id:08x} {urgency:02x}10")
        for urgency in range(8)
        for stream_id in (3, 5, 7)
    )
    for _ in range(1000):
        peer.feed(frames)
    assert held(peer.connection) - before < 50 * KIB


# Small messages.


def test_tiny_frames_that_nobody_reads() -> None:
    peer = Script()
    peer.feed("000000 12 00000003")
    stream = peer.accept()
    most = flood(peer, repeated(frame("000001 10 00000003 78")))
    assert stream.failure is not None
    assert stream.failure.code == CALM
    assert "65536 frames of under 16 bytes unread" in stream.failure.message
    assert most < 400 * KIB
    assert not peer.ended


@pytest.mark.parametrize("size", [1, 4, 15, 100])
def test_small_messages_to_a_reader_that_is_always_behind(size: int) -> None:
    """Never empty, never far behind: no count of frames may add up (hyperium/h2 #935 to #950)."""
    peer = Script()
    peer.feed(frame("000032 12 00000003", bytes(50)))
    stream = peer.accept()
    message = frame(f"{size:06x} 10 00000003", bytes(size))
    for _ in range(70_000):
        peer.feed(message)
        assert len(peer.connection.read(stream, size)) == size
    assert stream.failure is None
    assert stream.unread == 50


@pytest.mark.parametrize("size", [4, 8, 64])
def test_small_messages_fill_the_window_of_a_reader_that_sleeps(size: int) -> None:
    pair = Pair(foreign=True)
    near, far = pair.open()
    for _ in range(262_144 // size):
        pair.client.write(near, bytes(size))
        pair.pump(pair.client)
    pair.run_until_idle()
    assert (far.failure, far.unread) == (None, 262_144)


def test_small_messages_on_many_streams() -> None:
    pair = Pair(chunk=1000)
    ends = [pair.open() for _ in range(100)]
    for _ in range(100):
        for near, _ in ends:
            pair.client.write(near, b"tick")
        pair.run_until_idle()
        for _, far in ends:
            assert pair.server.read(far, 100) == b"tick"
    assert pair.server.events.failure is None


# Large frames.


def test_a_frame_larger_than_the_window_is_refused_at_its_header() -> None:
    peer = Script()
    peer.feed("ffffff 12 00000003")
    assert peer.sent() == ["000004 00 00000003 00000003"]
    assert (peer.connection.live_streams, peer.connection.peer_streams) == (0, 0)
    before = held(peer.connection)
    for _ in range(255):
        peer.feed(bytes(65536))
        assert held(peer.connection) - before < KIB
    peer.feed(bytes(65535))
    peer.feed("000001 12 00000005 79")
    assert peer.connection.read(peer.accept(), 9) == b"y"


def test_a_body_that_is_withheld_holds_nothing() -> None:
    peer = Script()
    before = held(peer.connection)
    for stream_id in range(3, 103, 2):
        peer.feed(f"000000 12 {stream_id:08x}")
    streams = held(peer.connection) - before
    peer.feed("040000 10 00000003")
    assert held(peer.connection) - before - streams < KIB
    assert peer.connection.unread == 0


@pytest.mark.slow
def test_a_session_takes_no_more_than_its_bound_from_a_foreign_peer() -> None:
    config = Config(session_window=1024 * KIB, accept_backlog=1000)
    peer = Script(config)
    full = (
        frame("040000 12") + stream_id.to_bytes(4, "big") + bytes(262_144)
        for stream_id in range(3, 2003, 2)
    )
    most = flood(peer, full, total=200 * 262_144)
    assert most < 1024 * KIB + 600 * KIB
    assert peer.connection.unread <= 1024 * KIB


def test_the_bound_holds_for_what_comes_with_a_type() -> None:
    config = Config(session_window=64 * KIB, typed_streams=True, accept_backlog=1000)
    peer = Script(config)
    most = flood(peer, syns(bytes(4) + bytes(10_000)), total=2**21)
    assert most < 64 * KIB + 500 * KIB


def test_unread_bytes_of_streams_that_are_over_count_too() -> None:
    config = Config(session_window=256 * KIB)
    peer = Script(config)

    def finish(connection: Connection) -> None:
        while (stream := connection.accept()) is not None:
            connection.finish(stream)

    frames = (
        frame("004e20 13") + stream_id.to_bytes(4, "big") + bytes(20_000)
        for stream_id in count(3, 2)
    )
    most = flood(peer, frames, total=2**23, each=finish)
    assert peer.connection.unread <= 256 * KIB
    assert most < 256 * KIB + 1500 * KIB


def test_data_for_a_closed_stream_is_not_kept() -> None:
    peer = Script(Config(initial_window=100_000, stream_window=100_000))
    peer.feed("000000 12 00000003")
    stream = peer.accept()
    peer.connection.write(stream, bytes(200_000))
    peer.connection.close(stream)
    peer.sent()
    before = held(peer.connection)
    peer.feed(frame("0186a0 10 00000003", bytes(100_000)))
    assert held(peer.connection) - before < KIB


# After the end.


def test_what_comes_after_the_end_is_not_kept() -> None:
    peer = Script()
    peer.feed("000000 12 00000002")
    assert peer.ended
    before = held(peer.connection)
    for _ in range(200):
        peer.feed(bytes(65536))
    assert held(peer.connection) - before < KIB


def test_the_end_is_said_once() -> None:
    peer = Script()
    peer.feed("000000 12 00000002")
    assert len(peer.sent()) == 2
    peer.feed("000000 12 00000002")
    peer.connection.receive_eof()
    assert peer.sent() == []


# Heartbeats.


@pytest.mark.slow
def test_heartbeat_streams_count_nowhere_and_are_few() -> None:
    peer = Script(Config(typed_streams=True, max_streams=50))
    flood(peer, syns(b"\xff\xff\xff\xff"))
    assert peer.connection.inspect().streams.live == 4
    connection = peer.connection
    assert (connection.peer_streams, connection.live_streams, connection.backlog) == (0, 0, 0)


@pytest.mark.anyio
async def test_a_heartbeat_stream_is_no_place_to_keep_things() -> None:
    """The echo takes no more than a send buffer from a peer that takes nothing back."""
    config = Config(typed_streams=True)
    async with scripted(config, is_client=False) as (session, peer), create_task_group() as tasks:

        async def attack() -> None:
            await peer.say(frame("000004 12 00000003 ffffffff"))
            for _ in range(20):
                await peer.say(frame("008000 10 00000003", bytes(32768)))

        tasks.start_soon(attack)
        reset = await peer.expect("RST", 3)
        assert reset.code == CALM
        assert session.statistics().live_streams == 0


@pytest.mark.anyio
async def test_a_heartbeat_that_comes_with_its_type_is_answered() -> None:
    config = Config(typed_streams=True)
    async with scripted(config, is_client=False) as (_, peer):
        await peer.say(frame("000004 12 00000003 ffffffff"), frame("000004 10 00000003 01020304"))
        beat = await peer.expect("DATA", 3)
        assert beat.body == b"\1\2\3\4"


# A peer that is only slow, or only careless.


def test_one_reader_that_sleeps_does_not_stop_the_others() -> None:
    pair = Pair(foreign=True)
    asleep, asleep_far = pair.open()
    pair.client.write(asleep, bytes(2**20))
    near, far = pair.open()
    got = 0
    for _ in range(100):
        pair.client.write(near, bytes(50_000))
        pair.run_until_idle()
        got += len(read_all(pair.server, far))
    assert got == 5_000_000
    assert asleep_far.unread == 262_144

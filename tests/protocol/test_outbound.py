"""The sending side: what goes next, in frames of which size, and how the scheduler is driven."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from muxado_py import Config, Priority
from muxado_py.errors import ErrorCode
from muxado_py.frames import WIRES
from muxado_py.frames.muxado import Muxado
from muxado_py.scheduler import UrgencyScheduler

from ..helpers.pair import Pair, Script, held, read_all, split_frames

if TYPE_CHECKING:
    from muxado_py.scheduler import Key, Send


class Strict(UrgencyScheduler):
    """Counts the bytes that it is told of, and the keys that it knows."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[Key, None] = {}
        self.bytes = 0
        made.append(self)

    def mark_ready(self, key: Key, nbytes: int) -> None:
        super().mark_ready(key, nbytes)
        if key not in self.known and len(self) > 0:
            self.known[key] = None

    def remove(self, key: Key) -> None:
        self.known.pop(key, None)
        super().remove(key)

    def serve(self, send: Send, budget: int) -> None:
        def count(key: Any, left: int) -> tuple[int, bool]:
            nbytes, more = send(key, left)
            self.bytes += nbytes
            return nbytes, more

        super().serve(count, budget)


made: list[Strict] = []


def test_the_scheduler_hears_of_every_byte_and_forgets_every_stream() -> None:
    config = Config(scheduler=Strict, initial_window=3000, stream_window=3000)
    made.clear()
    pair = Pair(config)
    client, _server = made
    total = 0
    for number in range(30):
        near, far = pair.open(priority=Priority(number % 8))
        pair.client.write(near, bytes(1000 * number))
        total += 1000 * number
        if number % 3:
            pair.client.finish(near)
        for _ in range(20):
            pair.run_until_idle()
            read_all(pair.server, far)
        if number % 5 == 0:
            pair.server.reset(far, 6)
        else:
            pair.server.close(far)
        pair.client.close(near)
        pair.run_until_idle()
    assert client.bytes == total
    assert [scheduler.known for scheduler in made] == [{}, {}]
    assert [len(scheduler) for scheduler in made] == [0, 0]


@pytest.mark.parametrize("max_frame", [1024, 10_000, 65_536, 200_000])
def test_a_lone_stream_sends_frames_of_the_configured_size(max_frame: int) -> None:
    peer = Script(Config(max_frame=max_frame), client=True)
    peer.connection.write(peer.connection.open(None, None), bytes(250_000))
    sizes = [int(frame[:6], 16) for frame in peer.sent()]
    assert set(sizes[:-1]) == {max_frame}
    assert sum(sizes) == 250_000


@pytest.mark.parametrize(
    ("max_frame", "budget", "longest"),
    [
        (65_536, 1, 4096),
        (65_536, 6000, 6000),
        (65_536, 20_000, 16_384),
        (65_536, 65_536, 16_384),
        (65_536, 131_072, 32_768),
        (65_536, 262_144, 65_536),
        (65_536, 2**30, 65_536),
        (1024, 262_144, 1024),
    ],
)
def test_beside_others_a_frame_is_as_long_as_what_the_transport_takes_allows(
    max_frame: int, budget: int, longest: int
) -> None:
    peer = Script(Config(max_frame=max_frame), client=True)
    for _ in range(2):
        peer.connection.write(peer.connection.open(None, None), bytes(100_000))
    assert max(int(frame[:6], 16) for frame in peer.sent(budget)) == longest


def test_a_short_flush_after_a_long_one_has_short_frames() -> None:
    peer = Script(client=True)
    streams = [peer.connection.open(None, None) for _ in range(2)]
    for budget, longest in ((65_536, 16_384), (4096, 4096), (65_536, 16_384)):
        for stream in streams:
            peer.connection.write(stream, bytes(16_384))
        assert max(int(frame[:6], 16) for frame in peer.sent(budget)) == longest


@pytest.mark.parametrize(("budget", "longest"), [(1, 4096), (6000, 6000), (2**30, 65_536)])
def test_no_frame_stands_long_before_what_comes_a_moment_later(budget: int, longest: int) -> None:
    """Once it was 16 KiB at least: 2.6 ms at 50 Mbit/s."""
    peer = Script(client=True)
    peer.connection.write(peer.connection.open(None, None), bytes(100_000))
    sizes = [int(frame[:6], 16) for frame in peer.sent(budget)]
    assert max(sizes) == longest
    assert sum(sizes) >= min(budget, 100_000)


def test_many_small_writes_leave_in_one_frame() -> None:
    peer = Script(client=True)
    stream = peer.connection.open(None, None)
    for number in range(100):
        peer.connection.write(stream, b"%02d" % number)
    (frame,) = peer.sent()
    assert bytes.fromhex(frame.split()[3]) == b"".join(b"%02d" % number for number in range(100))


def test_a_fin_rides_on_the_last_bytes() -> None:
    peer = Script(client=True)
    stream = peer.connection.open(None, None)
    peer.sent()
    peer.connection.write(stream, b"bye")
    peer.connection.finish(stream)
    assert peer.sent() == ["000003 11 00000003 627965"]


def test_a_short_stream_goes_in_one_piece() -> None:
    peer = Script(client=True)
    for text in (b"ab", b"", b"cd"):
        stream = peer.connection.open(None, None)
        peer.connection.write(stream, text)
        peer.connection.finish(stream)
    assert peer.sent() == [
        "000002 12 00000003 6162",
        "000000 11 00000003",
        "000000 12 00000005",
        "000000 11 00000005",
        "000002 12 00000007 6364",
        "000000 11 00000007",
    ]


def test_a_fin_waits_for_the_window_only_behind_bytes() -> None:
    peer = Script(Config(initial_window=2, stream_window=2), client=True)
    full, empty = peer.connection.open(None, None), peer.connection.open(None, None)
    peer.connection.write(full, b"abc")
    peer.connection.write(empty, b"ab")
    peer.connection.finish(full)
    peer.connection.finish(empty)
    assert peer.sent() == [
        "000002 12 00000003 6162",
        "000002 12 00000005 6162",
        "000000 11 00000005",
    ]
    peer.feed("000004 20 00000003 00000001")
    assert peer.sent() == ["000001 11 00000003 63"]


def test_replies_are_counted_and_what_we_say_unasked_is_not() -> None:
    pair = Pair()
    near, far = pair.open(bytes(262_144))
    assert pair.server.inspect().control.replies == 0
    pair.server.ping(bytes(8))
    pair.server.read(far, 262_144)
    pair.server.set_priority(far, Priority(1))
    assert pair.server.inspect().control.replies == 0
    assert pair.server.has_output()
    pair.server.reset(far, 6)
    assert pair.server.inspect().control.replies == 1
    assert near.failure is None


def test_credit_and_priority_of_a_stream_that_is_over_are_not_sent() -> None:
    pair = Pair()
    near, far = pair.open(bytes(262_144))
    pair.client.finish(near)
    pair.server.set_priority(far, Priority(1))
    pair.server.read(far, 200_000)
    pair.pump(pair.client)
    pair.deliver(pair.client)
    pair.server.reset(far, 6)
    frames = split_frames(b"".join(pair.server.data_to_send(0)))
    assert [frame[3] & 0xF0 for frame in frames if frame[3] & 0xF0 != 0x70] == [0]


def test_what_was_queued_for_a_stream_that_the_peer_then_finished_is_not_sent() -> None:
    pair = Pair()
    near, far = pair.open(bytes(262_144))
    pair.server.finish(far)
    pair.run_until_idle()
    pair.client.finish(near)
    pair.server.read(far, 200_000)
    pair.server.set_priority(far, Priority(1))
    pair.pump(pair.client)
    pair.deliver(pair.client)
    assert pair.server.live_streams == 0
    assert pair.server.data_to_send(0) == []


def test_every_frame_is_within_the_peers_window() -> None:
    peer = Script(Config(initial_window=1000, stream_window=1000), client=True)
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, bytes(5000))
    assert [int(frame[:6], 16) for frame in peer.sent()] == [1000]
    peer.feed("000004 20 00000003 00000bb8")
    assert [int(frame[:6], 16) for frame in peer.sent()] == [3000]
    assert peer.sent() == []


def test_places_of_streams_that_are_reset_go_to_those_that_wait() -> None:
    """yamux has 256 unacknowledged streams at once; the next 256 had their turn, and are cancelled."""
    pair = Pair(Config(wire="yamux", max_open_streams=1000))
    for _ in range(256):
        pair.client.open(None, None)
    pair.run_until_idle()
    second = [pair.client.open(None, None) for _ in range(256)]
    third = [pair.client.open(None, None) for _ in range(10)]
    pair.run_until_idle()
    while pair.server.accept():
        pass
    pair.pump(pair.server)
    pair.deliver(pair.server)
    for stream in second:
        pair.client.reset(stream, ErrorCode.STREAM_CANCELLED)
    pair.run_until_idle()
    assert [stream.id for stream in third] == list(range(513, 533, 2))


def test_credit_does_not_change_in_which_order_bytes_were_written() -> None:
    pair = Pair(Config(scheduler="fifo", max_frame=1024))
    near, first = pair.open(b"x")
    _, second = pair.open(b"x")
    credit = Muxado(client=True).credit(near.id or 0, 1, 0, 0)
    pair.server.write(first, bytes(1000))
    pair.server.receive_data(credit * 50)
    pair.server.write(second, bytes(1000))
    pair.server.write(first, bytes(40_000))
    sent = split_frames(b"".join(pair.server.data_to_send(2**20)), "muxado")
    streams = [int.from_bytes(frame[4:8], "big") for frame in sent if frame[3] & 0xF0 == 0x10]
    assert streams[:3] == [first.id, second.id, first.id]


@pytest.mark.parametrize("scheduler", ["priority", "round-robin", "fifo"])
def test_credit_that_changes_nothing_costs_no_memory(scheduler: str) -> None:
    """A peer that does not read can give it byte by byte, now for this stream and now for that."""
    pair = Pair(Config(scheduler=scheduler))
    ends = [pair.open(b"x") for _ in range(2)]
    for _, far in ends:
        pair.server.write(far, bytes(100_000))
    wire = Muxado(client=True)
    credits = b"".join(wire.credit(near.id or 0, 1, 0, 0) for near, _ in ends)
    before = held(pair.server)
    for _ in range(100):
        pair.server.receive_data(credits * 100)
    assert held(pair.server) - before < 4096


def test_what_has_gone_is_kept_no_longer() -> None:
    """The last piece of a large item is a view of all of it."""
    pair = Pair(Config(initial_window=2**22, stream_window=2**22))
    near, _far = pair.open(b"x")
    before = held(pair.client)
    pair.client.write(near, bytes(2_000_000))
    while near.unsent:
        pair.client.data_to_send(2**16)
    assert held(pair.client) < before + 100_000


@pytest.mark.parametrize("wire", sorted(WIRES))
def test_the_end_of_a_stream_is_something_said(wire: str) -> None:
    """A close asks the kernel for what streams said last: whose FIN is lost has not been told that it has all."""
    pair = Pair(Config(wire=wire))
    near, _ = pair.open(b"all of it")
    pair.run_until_idle()
    before = pair.client.said
    if pair.client.answers_pings:
        pair.client.ping(bytes(8))
    pair.run_until_idle()
    assert pair.client.said == before
    pair.client.finish(near)
    pair.run_until_idle()
    assert pair.client.said > before

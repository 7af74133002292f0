"""The sending side: what goes next, in frames of which size, and how the scheduler is driven."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from muxado_py import Config, Priority
from muxado_py.scheduler import UrgencyScheduler

from .helpers.pair import Pair, Script, read_all, split_frames

if TYPE_CHECKING:
    from collections.abc import Hashable


class Strict(UrgencyScheduler):
    """Checks that it is driven as its contract says, and counts the bytes it is told of."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[Hashable] = set()
        self.serving: Hashable | None = None
        self.bytes = 0
        made.append(self)

    def add(self, key: Hashable, priority: Priority) -> None:
        assert key not in self.known
        self.known.add(key)
        super().add(key, priority)

    def remove(self, key: Hashable) -> None:
        self.known.discard(key)
        super().remove(key)

    def pop(self) -> Hashable | None:
        assert self.serving is None, "the key before was not served"
        self.serving = super().pop()
        return self.serving

    def served(self, key: Hashable, nbytes: int, ready: bool) -> None:
        assert key is self.serving
        assert key in self.known, "a frame that the scheduler hears of too late"
        self.serving = None
        self.bytes += nbytes
        super().served(key, nbytes, ready)


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
    assert [scheduler.known for scheduler in made] == [set(), set()]
    assert [len(scheduler) for scheduler in made] == [0, 0]


@pytest.mark.parametrize("max_frame", [1024, 10_000, 65_536, 200_000])
def test_a_lone_stream_sends_frames_of_the_configured_size(max_frame: int) -> None:
    peer = Script(Config(max_frame=max_frame), client=True)
    peer.connection.write(peer.connection.open(None, None), bytes(250_000))
    sizes = [int(frame[:6], 16) for frame in peer.sent()]
    assert set(sizes[:-1]) == {max_frame}
    assert sum(sizes) == 250_000


@pytest.mark.parametrize("max_frame", [1024, 200_000])
def test_beside_others_frames_are_16_kib_at_most(max_frame: int) -> None:
    peer = Script(Config(max_frame=max_frame), client=True)
    for _ in range(2):
        peer.connection.write(peer.connection.open(None, None), bytes(100_000))
    assert max(int(frame[:6], 16) for frame in peer.sent()) == min(max_frame, 16_384)


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
    out = pair.server._out
    assert out.queued == 0
    pair.server.ping(bytes(8))
    pair.server.read(far, 262_144)
    pair.server.set_priority(far, Priority(1))
    assert out.queued == 0
    assert out.has_output()
    pair.server.reset(far, 6)
    assert out.queued == 1
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

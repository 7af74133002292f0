"""Streams that nobody reads, beside streams that somebody does, on one session.

Two cores and the wire between them: what is bounded is looked up there, and that those who are read go on
as if they were alone.  Time plays no part: a *round* is one way there and one back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxado_py import Config
from muxado_py.frames import UNLIMITED, WIRES
from muxado_py.protocol.shares import LEAST_FLOOR

from ..helpers.pair import Pair

if TYPE_CHECKING:
    from muxado_py.protocol.connection import Connection
    from muxado_py.protocol.stream_state import StreamState

KIB = 1024
MIB = 1024 * KIB
WINDOWED = [name for name, wire in WIRES.items() if wire.traits.initial_window != UNLIMITED]
STALLED = 100


def stalled_session(wire: str, *, download: bool) -> tuple[Pair, Connection]:
    """A session with :data:`STALLED` streams, each written far more than anybody reads; who reads."""
    pair = Pair(Config(wire=wire, session_window=8 * MIB, max_streams=STALLED + 4))
    for _ in range(STALLED):
        near, far = pair.open(b"x")
        sender, stream = (pair.server, far) if download else (pair.client, near)
        sender.write(stream, bytes(300 * KIB))
        pair.run_until_idle()
    return pair, pair.client if download else pair.server


def rounds(pair: Pair, sender: Connection, ends: tuple[StreamState, StreamState], size: int) -> int:
    """Send ``size`` bytes that are read as they come: how many rounds that takes."""
    out, into = ends
    reader = pair.other(sender)
    sender.write(out, bytes(size))
    got = done = 0
    while got < size:
        for _ in range(2):
            sender.timeouts.age_delays()
        pair.pump(sender)
        pair.deliver(sender)
        while chunk := reader.read(into, 64 * KIB):
            got += len(chunk)
        pair.pump(reader)
        pair.deliver(reader)
        done += 1
        assert done < 1000, f"only {got} of {size} bytes came"
    return done


@pytest.mark.slow
@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize("wire", WINDOWED)
def test_a_call_beside_stalled_ones_takes_no_longer(wire: str, download: bool) -> None:
    pair, reader = stalled_session(wire, download=download)
    sender = pair.other(reader)
    assert reader.unread <= 8 * MIB
    for _ in range(20):
        near, far = pair.open()
        ends = (far, near) if download else (near, far)
        assert rounds(pair, sender, ends, 16_000) == 1
        assert near.failure is far.failure is None
        pair.client.close(near)
        pair.server.close(far)
        pair.run_until_idle()
    assert reader.unread <= 8 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("download", [False, True])
def test_who_had_read_much_before_the_others_stalled_goes_on(download: bool) -> None:
    """What was read and not announced yet must not count as unread."""
    pair = Pair(Config(session_window=8 * MIB, max_streams=STALLED + 4))
    near, far = pair.open(b"x")
    ends = (far, near) if download else (near, far)
    sender = pair.server if download else pair.client
    pair.server.read(far, 9)
    rounds(pair, sender, ends, 120_000)
    for _ in range(STALLED):
        one, other = pair.open(b"x")
        sender.write(other if download else one, bytes(300 * KIB))
        pair.run_until_idle()
    assert rounds(pair, sender, ends, 400_000) <= 2 * 400_000 // LEAST_FLOOR


def test_what_few_streams_hold_unread_leaves_the_floors_free() -> None:
    window = 2 * MIB
    config = Config(
        session_window=4 * MIB, max_streams=10, initial_window=window, stream_window=window
    )
    pair = Pair(config)
    for _ in range(3):
        pair.client.write(pair.open()[0], bytes(window))
    pair.run_until_idle()
    floor = 2 * MIB // 20
    assert 2 * MIB * 15 // 16 < pair.server.unread <= 2 * MIB + 3 * floor


@pytest.mark.slow
def test_with_many_streams_open_each_counts_for_the_memory_that_it_costs() -> None:
    pair = Pair(Config())
    opened = [pair.open(b"x") for _ in range(1000)]
    for near, _ in opened:
        pair.client.write(near, bytes(100 * KIB))
        pair.run_until_idle()
    assert pair.server.unread + 1000 * 32 * KIB < 64 * MIB
    late = pair.open()
    assert rounds(pair, pair.client, late, 16_000) == 1


LIVE = 60_000
SMALL = Config(session_window=192 * KIB, max_streams=10, accept_backlog=10)

steps = st.lists(
    st.tuples(
        st.sampled_from(["open", "write", "write", "write", "read", "finish", "close", "reset"]),
        st.integers(0, 7),  # which stream
        st.booleans(),  # which end of it acts
        st.sampled_from([1, 500, 5_000, 80_000, 400_000]),
    ),
    max_size=60,
)


class Others:
    """Streams beside the one that is watched, whose applications do anything."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.ends: list[tuple[StreamState, StreamState]] = []

    def act(self, what: str, which: int, near: bool, size: int) -> None:
        pair = self.pair
        if what == "open" and len(self.ends) < 8:
            self.ends.append(pair.open(b"x"))
        if not self.ends:
            return
        ends = self.ends[which % len(self.ends)]
        side, stream = (pair.client, ends[0]) if near else (pair.server, ends[1])
        if what == "read":
            side.read(stream, size)
        elif what == "write" and stream.failure is None and not stream.finishing:
            side.write(stream, bytes(size))
        elif what == "finish" and stream.failure is None and not stream.finishing:
            side.finish(stream)
        elif what in ("close", "reset"):
            side.close(stream) if what == "close" else side.reset(stream, 7)
            pair.run_until_idle()
            if all(one.released for one in ends):
                self.ends.remove(ends)

    def end(self) -> None:
        for near, far in self.ends:
            self.pair.client.reset(near, 7)
            self.pair.server.reset(far, 7)


def check_bounds(pair: Pair) -> None:
    for side in (pair.client, pair.server):
        assert 0 <= side.unread <= SMALL.session_window
        streams, _, sending, *_, known = side.inspect()
        assert sending.session_room >= 0
        assert sending.written - sending.sent == sending.unsent
        for stream in known:
            assert stream.send_window <= stream.peer_max_window
        assert sending.below_floor <= sending.blocked
        assert streams.astray == 0, "who starves is blocked"


@pytest.mark.slow
@settings(max_examples=60)
@given(steps=steps)
def test_who_is_read_goes_on_whatever_the_others_do(
    steps: list[tuple[str, int, bool, int]],
) -> None:
    pair = Pair(SMALL)
    near, far = pair.open()
    others = Others(pair)
    pair.run_until_idle()
    for step in steps:
        others.act(*step)
        pair.run_until_idle()
        check_bounds(pair)
        for sender, ends in ((pair.client, (near, far)), (pair.server, (far, near))):
            assert rounds(pair, sender, ends, LIVE) <= 2 * LIVE // LEAST_FLOOR
    others.end()
    pair.run_until_idle()
    for side in (pair.client, pair.server):
        _, _, sending, receiving, *_ = side.inspect()
        assert not side.unread
        assert not sending.blocked
        assert sending.session_room >= SMALL.session_window * 15 // 16
        assert not receiving.pressed


@pytest.mark.parametrize("wire", sorted(WIRES))
def test_what_waits_to_be_sent_is_bounded_and_who_comes_late_can_send(wire: str) -> None:
    """Nobody takes anything: each of many streams is given as much as ``send`` would take before it waits."""
    config = Config(wire=wire, session_send_buffer=2 * MIB, max_streams=56)
    pair = Pair(config)
    side = pair.client
    for _ in range(200):
        stream = side.open(None, None)
        while (room := side.outgoing.room(stream)) > 0:
            side.write(stream, bytes(min(1024, room)))
    waiting = side.inspect().sending.unsent
    assert MIB < waiting <= 2 * MIB
    late = side.open(None, None)
    assert side.outgoing.room(late) >= 4 * KIB
    for stream in side.inspect().known:
        side.reset(stream, 7)
    side.write(side.open(None, None), b"x")
    side.data_to_send(2**20)
    assert side.outgoing.max_unsent == config.send_buffer


def test_without_windows_the_others_wait_once_for_those_that_are_not_read() -> None:
    config = Config(wire="smux1", session_window=2 * MIB)
    pair = Pair(config)
    near, far = pair.open(b"x")
    stalled = [pair.open(b"x") for _ in range(20)]
    pair.server.read(far, 9)
    for one, _ in stalled:
        pair.client.write(one, bytes(300 * KIB))
    pair.run_until_idle()
    assert not pair.server.may_read()
    consumed = stalled[0][1].consumed
    assert pair.server.read(stalled[0][1], 100)
    assert stalled[0][1].consumed == consumed + 100
    # A transport would take what is empty for an end.
    assert not pair.server.data_to_send(2**20)
    pair.client.write(near, b"call")
    looks = range(0, int(config.full_timeout), int(config.probe_interval))
    for now in (*looks, config.full_timeout * 0.9):
        pair.server.timers.expire(now)
        pair.run_until_idle()
        assert not pair.server.may_read()
        assert not pair.server.read(far, 9)
    pair.server.timers.expire(config.full_timeout + config.probe_interval)
    pair.run_until_idle()
    assert pair.server.read(far, 9) == b"call"
    # What they still send makes nobody wait a second time.
    for one, _ in stalled:
        if one.failure is None:
            pair.client.write(one, bytes(300 * KIB))
    pair.client.write(near, b"again")
    pair.run_until_idle()
    assert pair.server.may_read()
    assert pair.server.read(far, 9) == b"again"
    assert pair.server.unread <= 2 * MIB
    ended = [other for _, other in stalled if other.failure]
    assert 0 < len(ended) < len(stalled)
    assert "it held most of the session's" in str(ended[0].error())


def test_without_windows_a_stream_that_has_ended_unread_keeps_no_other_waiting() -> None:
    config = Config(wire="smux1", session_window=MIB, half_close=True)
    pair = Pair(config)
    (near, far), (unread, ended) = pair.open(b"x"), pair.open(b"x")
    for stream in (far, ended):
        assert pair.server.read(stream, 9) == b"x"
    pair.client.write(unread, bytes(MIB))
    pair.client.finish(unread)
    pair.server.finish(ended)

    def pass_time(seconds: float) -> None:
        for _ in range(20):
            pair.now += seconds / 20
            for side in (pair.client, pair.server):
                side.timers.expire(pair.now)
            pair.run_until_idle()

    pass_time(1)
    assert ended.fin_sent
    assert ended.fin_received
    pair.client.write(near, b"call")
    pass_time(1)
    assert pair.server.read(far, 9) == b"call"
    pair.client.write(near, b"again")
    pair.run_until_idle()
    assert not pair.server.may_read()
    pass_time(config.full_timeout + 2 * config.probe_interval)
    assert pair.server.read(far, 9) == b"again"
    assert "it held most of the session's" in str(ended.error())


def test_what_is_read_slowly_shrinks_and_is_not_reset() -> None:
    """A peer that knows no bound for the session: who reads at all comes to hold little."""
    config = Config(wire="yamux", session_window=8 * MIB, max_streams=60)
    pair = Pair(config)
    slow = [pair.open(b"x") for _ in range(60)]  # 15 MiB of windows
    for number in range(40):
        for near, far in slow:
            if near.unsent < 64 * KIB:
                pair.client.write(near, bytes(64 * KIB))
            pair.run_until_idle()
            pair.server.read(far, 48 * KIB if number < 30 else 1024)
    assert pair.server.unread <= 8 * MIB
    assert not any(near.failure or far.failure for near, far in slow)


@pytest.mark.parametrize("foreign", [False, True])
def test_a_side_that_takes_no_streams_holds_nothing_of_them(foreign: bool) -> None:
    pair = Pair(Config(), Config(max_streams=0), foreign=foreign)
    streams = [pair.client.open(None, None) for _ in range(250)]
    for stream in streams:
        pair.client.write(stream, bytes(300_000))
    pair.run_until_idle()
    assert all(stream.failure and stream.retry.safe for stream in streams)
    assert pair.server.unread == pair.server.peer_streams == pair.server.live_streams == 0
    near = pair.server.open(None, None)
    pair.server.write(near, b"call")
    pair.run_until_idle()
    far = pair.client.accept()
    assert far is not None
    assert pair.client.read(far, 9) == b"call"


def test_a_little_that_is_read_moves_who_had_not_even_a_floor() -> None:
    """More streams than there are floors of 4 KiB: they take what room there is, however little."""
    pair = Pair(Config(session_window=100_000, initial_window=80_000, stream_window=80_000))
    others = [pair.open(b"x") for _ in range(30)]
    for near, _ in others:
        pair.client.write(near, bytes(80_000))
    pair.run_until_idle()
    assert pair.server.unread == 100_000
    late, late_far = pair.open()
    pair.client.write(late, b"late")
    pair.run_until_idle()
    assert not late_far.unread
    for _, far in others * 3:
        pair.server.read(far, 1000)
        pair.run_until_idle()
        assert pair.server.unread > 99_900 or late_far.unread
    assert pair.server.read(late_far, 9) == b"late"


def test_who_was_held_back_goes_on_when_the_others_are_gone() -> None:
    pair = Pair(Config(session_window=1 * MIB, max_streams=20))
    others = [pair.open(b"x") for _ in range(10)]
    near, far = pair.open(b"x")
    for one, _ in others:
        pair.client.write(one, bytes(200 * KIB))
    pair.run_until_idle()
    pair.client.write(near, bytes(200 * KIB))
    pair.run_until_idle()
    assert far.unread < 100 * KIB
    for one, other in others:
        pair.client.reset(one, 7)
        pair.server.reset(other, 7)
    pair.run_until_idle()
    assert far.unread == 200 * KIB + 1

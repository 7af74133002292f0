"""Receive windows that grow: to the path's product, within bounds, and for nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxado_py import Config
from muxado_py.protocol.connection import Connection

from ..helpers.path import Path

if TYPE_CHECKING:
    from muxado_py.protocol.stream_state import StreamState

KIB = 1024
MIB = 1024 * KIB
FIRST = 256 * KIB
GROWING = ("muxado", "yamux", "smux2")


def size(stream: StreamState) -> int:
    return stream.max_recv_window


@pytest.mark.parametrize("wire", GROWING)
@pytest.mark.parametrize(
    ("mbit", "milliseconds"), [(100, 40), (100, 100), (500, 20), (240, 40), (44, 40)]
)
def test_a_window_grows_to_what_the_path_holds(wire: str, mbit: int, milliseconds: int) -> None:
    path = Path(mbit * 125_000, milliseconds / 1000, Config(wire=wire))
    near, far = path.open()
    path.bulk(near, far, 30 * milliseconds / 1000)
    assert path.product < size(far) < 3.5 * path.product
    before = size(far)
    rate = path.bulk(near, far, 20 * milliseconds / 1000)
    assert rate > 0.95 * path.rate
    assert size(far) == before


@pytest.mark.parametrize("wire", GROWING)
def test_a_window_that_is_no_limit_stays(wire: str) -> None:
    path = Path(12_500_000, 0.004, Config(wire=wire))
    near, far = path.open()
    assert path.bulk(near, far, 1) > 0.95 * path.rate
    assert size(far) == FIRST


@pytest.mark.parametrize("wire", GROWING)
def test_on_a_path_without_delay_a_window_grows_to_milliseconds(wire: str) -> None:
    path = Path(500_000_000, 0.0001, Config(wire=wire))
    near, far = path.open()
    path.bulk(near, far, 0.1)
    assert 0.002 < size(far) / path.rate < 0.01


def test_a_gigabit_over_40_ms_is_held_by_no_default() -> None:
    path = Path(125_000_000, 0.04)
    near, far = path.open()
    path.bulk(near, far, 1.0)
    assert path.bulk(near, far, 0.2) > 0.95 * path.rate
    assert size(far) == 8 * MIB


@pytest.mark.parametrize("wire", GROWING)
@pytest.mark.parametrize(
    ("pause", "piece"), [(0.0005, 1000), (0.01, 20_000), (0.2, 2**20), (1, 2**20)]
)
def test_a_slow_reader_makes_no_window_grow(wire: str, pause: float, piece: int) -> None:
    path = Path(100_000_000, 0.02, Config(wire=wire))
    near, far = path.open()
    due = path.now

    def act() -> None:
        nonlocal due
        path.fill(near)
        if path.now >= due:
            path.drain(far, piece)
            due += pause

    path.run(4, act)
    assert path.read >= 3 * FIRST
    assert size(far) == FIRST


@pytest.mark.parametrize("wire", GROWING)
@pytest.mark.parametrize(
    ("message", "pause"),
    [(64, 0.0005), (1000, 0.0005), (16 * KIB, 0.001), (64 * KIB, 0.01), (100_000, 0.1)],
)
def test_messages_below_the_window_make_none_grow(wire: str, message: int, pause: float) -> None:
    path = Path(100_000_000, 0.002, Config(wire=wire))
    near, far = path.open()
    due = path.now

    def act() -> None:
        nonlocal due
        while path.now >= due:
            path.client.write(near, bytes(message))
            due += pause
        path.drain(far)

    path.run(8 * FIRST / message * pause, act)
    assert path.read > 7 * FIRST
    assert size(far) == FIRST


@pytest.mark.parametrize(
    ("wire", "foreign"), [("muxado", True), ("muxado1", False)], ids=["muxado, foreign", "muxado1"]
)
def test_where_credit_may_get_lost_none_grows(wire: str, foreign: bool) -> None:
    path = Path(12_500_000, 0.1, Config(wire=wire), foreign=foreign)
    near, far = path.open()
    path.bulk(near, far, 3)
    assert size(far) == FIRST


def test_a_session_without_windows_is_left_alone() -> None:
    path = Path(12_500_000, 0.1, Config(wire="smux1"))
    near, far = path.open()
    before = size(far)
    assert path.bulk(near, far, 1) > 0.85 * path.rate
    assert size(far) == before


@pytest.mark.parametrize("limit", [0, FIRST, 600 * KIB, MIB])
def test_no_window_passes_the_largest(limit: int) -> None:
    path = Path(125_000_000, 0.04, Config(max_stream_window=limit))
    near, far = path.open()
    path.bulk(near, far, 1)
    assert size(far) == max(limit, FIRST)


def test_towards_yamux_a_window_stays_below_4_mib() -> None:
    path = Path(250_000_000, 0.04, Config(wire="yamux"))
    near, far = path.open()
    path.bulk(near, far, 1)
    assert size(far) == 4 * MIB


def test_a_connection_without_a_clock_grows_nothing() -> None:
    path = Path(12_500_000, 0.1, clocks=False)
    near, far = path.open()
    path.bulk(near, far, 3)
    assert size(far) == FIRST


# The bounds.


def race(path: Path, pairs: list[tuple[StreamState, StreamState]], seconds: float) -> None:
    """Every stream at once, as fast as it goes."""

    def act() -> None:
        for near, far in pairs:
            path.fill(near)
            path.drain(far)

    path.run(seconds, act)


def grown(pairs: list[tuple[StreamState, StreamState]]) -> int:
    return sum(size(far) - FIRST for _, far in pairs)


@pytest.mark.parametrize("wire", GROWING)
def test_all_streams_together_grow_by_half_of_the_session(wire: str) -> None:
    path = Path(200_000_000, 0.1, Config(wire=wire, session_window=6 * MIB))
    pairs = [path.open() for _ in range(8)]
    race(path, pairs, 2)
    # A muxado_py divides what the session has, and fills no window to the last byte there.
    assert 2 * MIB < grown(pairs) <= 3 * MIB
    assert wire == "muxado" or grown(pairs) == 3 * MIB


@pytest.mark.parametrize("wire", GROWING)
@pytest.mark.parametrize("how", ["finished", "closed", "reset"])
def test_what_a_stream_grew_by_is_free_when_it_ends(wire: str, how: str) -> None:
    path = Path(100_000_000, 0.1, Config(wire=wire, session_window=4 * MIB))
    near, far = path.open()
    path.bulk(near, far, 2)
    assert size(far) == FIRST + 2 * MIB
    other = path.open()
    race(path, [other], 2)
    assert size(other[1]) == FIRST
    path.client.unwrite(near, near.unsent)
    if how == "reset":
        path.server.reset(far, 7)
    elif how == "closed":
        path.server.close(far)
    path.client.close(near)
    path.run(0.2, lambda: path.drain(far))
    race(path, [other], 3)
    assert size(other[1]) == FIRST + 2 * MIB


@pytest.mark.slow
def test_a_stream_that_grew_may_hold_small_frames_up_to_its_window() -> None:
    path = Path(50_000_000, 0.1)
    near, far = path.open()
    path.bulk(near, far, 2)
    path.client.unwrite(near, near.unsent)
    path.run(0.3, lambda: path.drain(far))
    assert size(far) > 4 * MIB
    for _ in range(100_000):
        path.client.write(near, b"small")
        path.server.receive_data(b"".join(path.client.data_to_send(2**20)))
    assert far.failure is None
    assert far.unread == 500_000


def test_what_is_on_its_way_on_a_closed_stream_is_not_held_against_the_peer() -> None:
    path = Path(50_000_000, 0.1, Config(wire="yamux"))
    near, far = path.open()
    path.bulk(near, far, 2)
    assert size(far) == 4 * MIB
    path.server.close(far)
    path.client.unwrite(near, near.unsent)
    path.run(1)
    assert near.failure is None
    path.client.close(near)
    path.run(1)
    assert path.client.live_streams == path.server.live_streams == 0


UNIT = 1000
TIGHT = Config(
    initial_window=UNIT,
    stream_window=UNIT,
    max_stream_window=12 * UNIT,
    session_window=64 * KIB,
    control_budget=2**20,
)

steps = st.lists(
    st.tuples(
        st.sampled_from(["go on", "go on", "go on", "finish", "close", "reset"]),
        st.integers(0, 5),  # which stream
        st.integers(1, 12),  # how many rounds
        st.sampled_from([0.001, 0.04, 30.0]),  # how long one takes
        st.sampled_from([1, UNIT // 3, 64 * KIB]),  # how much is read in one
        st.sampled_from([0, 0, UNIT]),  # how many bytes stay on their way for a round
    ),
    min_size=10,
    max_size=40,
)


@pytest.mark.slow
@settings(max_examples=40)
@given(steps=steps)
def test_no_pattern_passes_the_bounds(steps: list[tuple[str, int, int, float, int, int]]) -> None:
    """The sender takes all that it may; time, the reader and the ends of streams are anything."""
    now = 0.0
    client = Connection(TIGHT, client=True)
    server = Connection(TIGHT, client=False, clock=lambda: now)
    forth = bytearray()
    pairs: list[tuple[StreamState, StreamState]] = []

    def exchange(left: int = 0) -> None:
        client.receive_data(b"".join(server.data_to_send(2**20)))
        forth.extend(b"".join(client.data_to_send(2**20)))
        there = max(0, len(forth) - left)
        server.receive_data(bytes(forth[:there]))
        del forth[:there]

    def open_one() -> tuple[StreamState, StreamState]:
        near = client.open(None, None)
        exchange()
        far = server.accept()
        assert far is not None
        return near, far

    exchange()
    pairs = [open_one() for _ in range(6)]
    live = {far: UNIT for _, far in pairs}
    for what, which, rounds, seconds, piece, left in steps:
        near, far = pairs[which]
        for _ in range(rounds):
            client.write(near, bytes(max(0, 14 * UNIT - near.unsent)))
            exchange(left)
            server.read(far, piece)
            now += seconds
            for one, before in live.items():
                assert before <= one.max_recv_window <= TIGHT.max_stream_window
                assert one.recv_window + one.owed_credit + one.unread == one.max_recv_window
                live[one] = one.max_recv_window
            assert sum(live.values()) - UNIT * len(live) <= TIGHT.session_window // 2
            assert server.unread <= sum(live.values())
        if what != "go on":
            client.unwrite(near, near.unsent)
            if what == "finish":
                client.finish(near)
            exchange()
            if what == "reset":
                client.reset(near, 7)
                exchange()
            server.close(far)
            client.close(near)
            exchange()
            del live[far]
            pairs[which] = near, far = open_one()
            live[far] = UNIT
    assert client.events.failure is server.events.failure is None

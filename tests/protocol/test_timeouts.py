"""What a connection gives up, and what it must not, as time passes: closed streams and stalled ones."""

from __future__ import annotations

import pytest

from muxado_py import Config

from ..helpers.pair import Pair, read_all, split_frames

KIB = 1024
WINDOW = 256 * KIB
EMPTY_DATA = bytes.fromhex("00000010")
DRAINING = ("yamux", "smux2")
"""Wires on which a closed stream is kept until its peer has finished."""


def settle(pair: Pair) -> None:
    """Move what there is to move, and let streams go that the wire holds for a moment."""
    pair.run_until_idle()
    while any(side.timeouts.has_delayed for side in (pair.client, pair.server)):
        for side in (pair.client, pair.server):
            side.timeouts.age_delays()
        pair.run_until_idle()


@pytest.mark.parametrize("wire", DRAINING)
def test_what_was_written_before_a_close_goes_out_though_the_peer_sends_too_much(wire: str) -> None:
    """A server answers an upload early and closes; the uploader reads the answer when it is through."""
    config = Config(wire=wire, discard_limit=KIB)
    pair = Pair(config)
    near, far = pair.open(b"upload")
    settle(pair)
    answer = bytes(WINDOW) + b"the rest of the answer"
    pair.server.write(far, answer)
    pair.server.close(far)
    pair.client.write(near, bytes(2 * WINDOW))
    settle(pair)
    assert near.unsent > 0, "nobody gives it credit for more than what is thrown away"
    got = b""
    while data := read_all(pair.client, near):
        got += data
        settle(pair)
    assert got == answer
    assert near.fin_received


@pytest.mark.parametrize("wire", DRAINING)
def test_a_closed_stream_that_went_out_is_given_up_when_its_peer_sends_too_much(wire: str) -> None:
    pair = Pair(Config(wire=wire, discard_limit=KIB))
    near, far = pair.open(b"upload")
    settle(pair)
    pair.server.close(far)
    settle(pair)
    assert pair.server.inspect().known == (far,), "it is kept until its peer has finished"
    pair.client.write(near, bytes(2 * WINDOW))
    settle(pair)
    assert not pair.server.inspect().known
    assert (near.failure is not None) == (wire == "yamux"), "smux has no reset"


@pytest.mark.parametrize("wire", ["muxado", *DRAINING])
def test_tiny_frames_for_a_closed_stream_count_by_their_bytes(wire: str) -> None:
    """Nobody keeps them, so they are no flood of tiny frames."""
    pair = Pair(Config(wire=wire))
    near, far = pair.open(b"x")
    settle(pair)
    pair.server.write(far, bytes(2 * WINDOW))  # so that it is not through when it is closed
    pair.server.close(far)
    for _ in range(WINDOW // 4 + 1000):
        pair.client.write(near, b"y")
        pair.pump(pair.client)
    pair.deliver(pair.client)
    assert far.failure is not None
    assert "closed" in far.failure.message
    assert far.unsent > 0


@pytest.mark.parametrize("wire", DRAINING)
def test_a_stream_on_which_nothing_waits_any_more_is_not_stalled(wire: str) -> None:
    """A send that was blocked by its window was cancelled, and took back what had not gone."""
    pair = Pair(Config(wire=wire, half_close=True))
    near, far = pair.open(b"request")
    pair.client.finish(near)
    settle(pair)
    pair.server.write(far, bytes(WINDOW + 1000))
    settle(pair)
    pair.now = 2
    pair.server.timers.expire(pair.now)
    assert pair.server.unwrite(far, 1000) == 1000
    pair.now = 62
    pair.server.timers.expire(pair.now)
    assert far.failure is None
    # What stalls later has the whole of its time again.
    pair.server.write(far, bytes(1000))
    for pair.now in (64, 123):
        pair.server.timers.expire(pair.now)
        assert far.failure is None
    pair.now = 124
    pair.server.timers.expire(pair.now)
    assert far.failure is not None


@pytest.mark.parametrize("interval", [0.1, 2.0])
def test_questions_about_stalled_streams_are_no_flood(interval: float) -> None:
    """Hundreds of downloads that nobody reads now: the peer must not take our probes for an abuse."""
    config = Config(
        initial_window=KIB, stream_window=KIB, probe_interval=interval, max_streams=2000
    )
    pair = Pair(config)
    stalled = []
    for _ in range(600):
        near, far = pair.open(b"GET")
        pair.client.finish(near)
        pair.server.write(far, bytes(2 * KIB))
        stalled.append(far.id)
    pair.run_until_idle()
    pair.sent[pair.server].clear()
    sides = (pair.client, pair.server)
    for _ in range(int(20 / interval)):
        pair.now += interval
        for side in sides:
            side.timeouts.ask_stalled()
        pair.run_until_idle()
    assert [side.events.failure for side in sides] == [None, None]
    frames = split_frames(bytes(pair.sent[pair.server]), "muxado")
    asked = [int.from_bytes(frame[4:8], "big") for frame in frames if frame[:4] == EMPTY_DATA]
    assert asked[: len(stalled)] == stalled, "each in its turn"
    assert len(asked) <= 64 * 20

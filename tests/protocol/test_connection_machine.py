"""Random interleavings of everything two applications can do, against a model of bytearrays.

The model of one direction is what was written and what was read.  What must hold at every step: what
was read is a prefix of what was written; windows are not negative; a stream that is called safe to
send again was never handed to the other application, and never will be.  When nothing is on its way:
both ends agree on every window.  At the end: whoever finished undisturbed has got everything across,
and nothing is left of any stream.

On every wire: what one of them cannot say (resets, windows, goodbyes) the model does not expect of it.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from muxado_py import Config, Priority, SessionError, StreamLimitError
from muxado_py.errors import ErrorCode
from muxado_py.frames import UNLIMITED, WIRES
from muxado_py.protocol.session_ends import CLOSED_BY_PEER

from ..helpers.pair import Pair

if TYPE_CHECKING:
    from muxado_py.protocol.connection import Connection
    from muxado_py.protocol.stream_state import StreamState

priorities = st.builds(Priority, st.integers(0, 7), st.sampled_from([1, 16, 256]))
pairs = st.sampled_from([{}, {}, {}, {"caller": b"192.0.2.7:4711"}, {"k": bytes(4092)}])
sizes = st.sampled_from([1, 5, 100, 4_000, 70_000])


class End:
    """One end of one stream, and what its application knows."""

    def __init__(self, side: Connection, state: StreamState, number: int) -> None:
        self.side = side
        self.state = state
        self.written = bytearray()
        self.read = bytearray()
        self.finished = False
        self.gone = False  # closed or reset here
        self.reset = False
        self.peer: End | None = None
        # Each direction has bytes of its own, so that none can pass for another's.
        self.source = random.Random(number)


class Applications(RuleBasedStateMachine):
    """Two applications that do as they please."""

    wire = "muxado"
    ends: Bundle[End] = Bundle("ends")

    @initialize(
        chunk=st.sampled_from([0, 1, 3, 50]),
        foreign=st.booleans(),
        window=st.sampled_from([1, 10, 500, 262_144]),
        scheduler=st.sampled_from(["priority", "round-robin", "fifo"]),
        session_window=st.sampled_from([65_536, 2**30]),
    )
    def connect(
        self, chunk: int, foreign: bool, window: int, scheduler: str, session_window: int
    ) -> None:
        self.traits = traits = WIRES[self.wire].traits
        foreign = foreign or not traits.recognizes
        # A foreign peer knows of no bound for the session; one that is met resets streams, unless
        # the bound is all there is.
        told = traits.initial_window == UNLIMITED or not foreign
        config = Config(
            wire=self.wire,
            scheduler=scheduler,
            session_window=session_window if told else 2**40,
            max_frame=1024,
            accept_backlog=3,
            max_streams=5,
        )
        if traits.initial_window is None:
            config = replace(config, initial_window=window, stream_window=window * 3)
        self.send_buffer = config.send_buffer
        self.pair = Pair(config, chunk=chunk, foreign=foreign and traits.recognizes)
        self.sides = (self.pair.client, self.pair.server)
        self.accepted: dict[Connection, set[int]] = {side: set() for side in self.sides}
        self.leaving: list[Connection] = []  # who opens nothing any more
        self.went_away: list[Connection] = []  # who takes nothing either

    # Streams.

    @rule(target=ends, by=st.integers(0, 1), priority=st.none() | priorities, said=pairs)
    def open(
        self, by: int, priority: Priority | None, said: dict[str, bytes]
    ) -> MultipleResults[End] | End:
        side = self.sides[by]
        if side.events.failure or side.events.go_away or side in self.leaving:
            with pytest.raises(SessionError):
                side.open(priority, None)
            return multiple()
        try:
            end = End(side, side.open(priority, None, said), len(self.all))
        except StreamLimitError:
            return multiple()
        except NotImplementedError:
            assert said
            assert not side.is_muxado_py
            return multiple()
        assert side.is_muxado_py or not said
        self.all.append(end)
        return end

    @rule(target=ends, by=st.integers(0, 1), arrive=st.booleans())
    def accept(self, by: int, arrive: bool) -> MultipleResults[End] | End:
        side = self.sides[by]
        if arrive:
            self.pair.pump(self.pair.other(side))
            self.pair.deliver(self.pair.other(side))
        state = side.accept()
        if state is None:
            return multiple()
        assert state.id is not None
        self.accepted[side].add(state.id)
        end = End(side, state, len(self.all))
        (end.peer,) = (one for one in self.all if one.side is not side and one.state.id == state.id)
        end.peer.peer = end
        assert side.metadata_of(state) == end.peer.side.metadata_of(end.peer.state)
        self.all.append(end)
        return end

    @rule(end=ends, nbytes=sizes)
    def write(self, end: End, nbytes: int) -> None:
        if not (end.finished or end.state.failure):
            data = end.source.randbytes(nbytes)
            end.side.write(end.state, data)
            end.written += data

    @rule(end=ends, nbytes=sizes)
    def unwrite(self, end: End, nbytes: int) -> None:
        if not (end.finished or end.gone):
            taken = end.side.unwrite(end.state, nbytes)
            assert taken <= nbytes
            del end.written[len(end.written) - taken :]

    @rule(end=ends, nbytes=sizes)
    def read(self, end: End, nbytes: int) -> None:
        data = end.side.read(end.state, nbytes)
        assert len(data) <= nbytes
        assert not (end.gone and data)
        end.read += data

    @rule(end=ends)
    def finish(self, end: End) -> None:
        if not (end.finished or end.state.failure):
            end.finished = True
            end.side.finish(end.state)

    @rule(end=ends)
    def close(self, end: End) -> None:
        end.gone = end.finished = True
        end.side.close(end.state)

    @rule(end=ends)
    def reset(self, end: End) -> None:
        end.gone = end.finished = end.reset = True
        end.side.reset(end.state, ErrorCode.STREAM_CANCELLED)

    @rule(end=ends, priority=priorities)
    def set_priority(self, end: End, priority: Priority) -> None:
        end.side.set_priority(end.state, priority)

    # Sessions.

    @precondition(lambda self: len(self.all) > 4)
    @rule(by=st.integers(0, 1), announce=st.booleans())
    def go_away(self, by: int, announce: bool) -> None:
        side = self.sides[by]
        self.leaving.append(side)
        if announce:
            side.announce_go_away()
        elif not side.events.failure:
            self.went_away.append(side)
            side.go_away(ErrorCode.NO_ERROR, b"")

    @rule(by=st.integers(0, 1))
    def ping(self, by: int) -> None:
        if self.sides[by].answers_pings:
            self.sides[by].ping(bytes(8))

    @rule(by=st.integers(0, 1))
    def probe(self, by: int) -> None:
        self.sides[by].timeouts.ask_stalled()

    # The wire.

    @rule(by=st.integers(0, 1), budget=st.sampled_from([0, 1, 500, 2**20]))
    def pump(self, by: int, budget: int) -> None:
        self.pair.pump(self.sides[by], budget)

    @rule(by=st.integers(0, 1), nbytes=st.integers(1, 30) | st.integers(1, 100_000))
    def deliver(self, by: int, nbytes: int) -> None:
        self.pair.deliver(self.sides[by], nbytes)

    @rule()
    def settle(self) -> None:
        """Let everything arrive; then both ends must agree on what may be sent."""
        self.run_until_idle()
        if self.traits.initial_window == UNLIMITED:
            return
        for end in self.all:
            peer, state = end.peer, end.state
            if peer is None or state.failure or peer.state.failure or state.fin_received:
                continue
            assert peer.state.send_window == state.recv_window
            assert state.recv_window + state.owed_credit + state.unread == state.max_recv_window

    @rule(by=st.integers(0, 1))
    def let_go(self, by: int) -> None:
        self.sides[by].timeouts.age_delays()

    def run_until_idle(self) -> None:
        """Until nothing is on its way, and nothing is held back for a moment."""
        self.pair.run_until_idle()
        while any(side.timeouts.has_delayed for side in self.sides):
            for side in self.sides:
                side.timeouts.age_delays()
            self.pair.run_until_idle()

    # What must hold.

    @invariant()
    def every_byte_arrives_once_and_in_its_stream(self) -> None:
        for end in self.all:
            if end.peer is not None and end.read:
                assert end.peer.written.startswith(end.read)

    @invariant()
    def windows_are_not_negative(self) -> None:
        for end in self.all:
            assert end.state.send_window >= 0
            assert end.state.recv_window >= 0
            assert end.state.unsent >= 0
        for side in getattr(self, "sides", ()):
            assert side.unread >= 0
            streams, _, sending, *_ = side.inspect()
            assert streams.astray == 0
            assert sending.written - sending.sent == sending.unsent
            assert 0 <= sending.low_water <= sending.max_unsent <= self.send_buffer
            assert side.peer_streams >= 0
            assert side.backlog <= 3

    @invariant()
    def safe_means_that_the_other_application_never_saw_it(self) -> None:
        for end in self.all:
            if end.state.local and end.state.failure and end.state.retry.safe:
                assert end.state.id not in self.accepted[self.pair.other(end.side)]
                assert not end.read

    @invariant()
    def nobody_broke_the_protocol(self) -> None:
        for side in getattr(self, "sides", ()):
            ended = side.events.failure
            assert ended is None or ended is CLOSED_BY_PEER, ended

    def __init__(self) -> None:
        super().__init__()
        self.all: list[End] = []

    def teardown(self) -> None:
        if not hasattr(self, "pair"):
            return
        for side in self.sides:
            side.stop_accepting()
        moved = True
        while moved:
            self.run_until_idle()
            before = sum(len(end.read) for end in self.all)
            for end in self.all:
                end.read += end.side.read(end.state, 2**20)
            moved = sum(len(end.read) for end in self.all) > before
        self.every_byte_arrives_once_and_in_its_stream()
        for end in self.all:
            peer = end.peer
            if peer and not peer.state.failure and peer.finished and not (end.gone or peer.reset):
                assert end.state.fin_received
                assert end.read == peer.written
        for end in self.all:
            if not end.gone:
                end.side.close(end.state)
        self.run_until_idle()
        for end in self.all:
            # A closed stream may wait for credit that a peer who is gone never gives.
            end.side.reset(end.state, ErrorCode.STREAM_CANCELLED)
        self.run_until_idle()
        for side in self.sides:
            assert not side.live_streams
            assert not side.peer_streams
            assert not side.backlog
            assert not side.unread
            assert not side.has_output()
            assert not side.has_unsent
            inspection = side.inspect()
            assert not inspection.streams.ended_unread
            assert inspection.streams.local_open == 0
            assert not inspection.sending.blocked


class Yamux(Applications):
    wire = "yamux"


class Smux1(Applications):
    wire = "smux1"


class Smux2(Applications):
    wire = "smux2"


class Muxado1(Applications):
    wire = "muxado1"


MACHINES = (Applications, Yamux, Smux1, Smux2, Muxado1)
for machine in MACHINES:
    machine.TestCase.settings = settings(max_examples=50, stateful_step_count=60)

TestApplications = pytest.mark.slow(Applications.TestCase)
TestYamux = pytest.mark.slow(Yamux.TestCase)
TestSmux1 = pytest.mark.slow(Smux1.TestCase)
TestSmux2 = pytest.mark.slow(Smux2.TestCase)
TestMuxado1 = pytest.mark.slow(Muxado1.TestCase)


def test_every_wire_has_its_machine() -> None:
    assert {machine.wire for machine in MACHINES} == {*WIRES}

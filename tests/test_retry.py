"""Safe implies unseen: a verdict that allows a retry is never given for a stream an application got.

Two cores and the wire between them, driven through random interleavings of everything either side
may do, with the wire cut anywhere.  Every stream that ``accept`` handed off is written down; what the
dialer's errors say is held against that, also long after the cut.

On every wire; and against peers that are not a muxado_py: one whose refusals and GOAWAYs must be taken
as a foreign program's, and on yamux two that do not always acknowledge what they accept.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

import muxado_py as muxado
from muxado_py import ErrorCode, Priority, Retry
from muxado_py.frames import WIRES
from muxado_py.protocol.connection import CLOSED_HERE, Connection
from muxado_py.session.stream_errors import check_refusable

from .frames_seen import HELLO, data, goaway, rst
from .helpers.decoding import decode
from .helpers.pair import split_frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from muxado_py.protocol.stream_state import StreamState

CODES = (ErrorCode.NO_ERROR, ErrorCode.STREAM_CANCELLED, ErrorCode.INTERNAL_ERROR, 77)


class Peer(NamedTuple):
    """Whom the dialer speaks to."""

    wire: str
    verdicts: frozenset[Retry] = frozenset(Retry)
    """What its errors can come to."""
    foreign: bool = False
    """Whether the two take each other for Go programs."""
    lazy: bool = False
    """Whether it acknowledges a stream with its first frame, and not with a reset (rust-yamux)."""
    forgetful: bool = False
    """Whether it acknowledges nothing that was finished before it was accepted (hashicorp)."""


PEERS = {
    "muxado": Peer("muxado"),
    "muxado, foreign": Peer("muxado", foreign=True),
    "yamux": Peer("yamux"),
    "yamux, forgetful": Peer("yamux", forgetful=True),
    "smux1": Peer("smux1"),
    "smux2": Peer("smux2"),
    "muxado1": Peer("muxado1"),
    "yamux, lazy": Peer("yamux", frozenset(Retry) - {Retry.REFUSED}, lazy=True),
}
peers = pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)


class Exchange:
    """A dialer and an acceptor; each step is one thing that one of them, or the wire, does."""

    def __init__(self, peer: Peer, *, typed: bool = False) -> None:
        config = muxado.Config(
            wire=peer.wire,
            typed_streams=typed,
            accept_backlog=2,
            max_streams=4,
            send_buffer=64,
            control_budget=16,
        )
        if config.wire == "muxado":
            config = replace(config, initial_window=64, stream_window=64)
        self.peer = peer
        self.typed = typed
        self.dialer = Connection(config, client=True)
        self.acceptor = Connection(config, client=False)
        self.there = bytearray()
        self.back = bytearray()
        self.cut = False
        self.opened: list[StreamState] = []
        self.refused_at_once: list[Retry] = []
        self.handed_off: list[StreamState] = []
        self.given_back: list[StreamState] = []
        self.told_safe: set[StreamState] = set()
        self.sent = bytearray()
        self._silent: set[bytes] = set()  # ids that a yamux peer has not acknowledged
        if peer.foreign:
            assert b"".join(self.dialer.data_to_send(0)) == HELLO
            assert b"".join(self.acceptor.data_to_send(0)) == HELLO

    # What the dialer does.

    def open(self, number: int) -> None:
        try:
            stream = self.dialer.open(Priority(number % 8), number if self.typed else None)
        except muxado.SessionError as exc:
            self.refused_at_once.append(exc.retry)
        else:
            self.opened.append(stream)

    def call(self, number: int) -> None:
        self._act(self.dialer, self.opened, number)

    def dialer_ends(self, number: int) -> None:
        self.dialer.terminate(CLOSED_HERE)

    # What the acceptor does.

    def be_called(self, number: int) -> None:
        """The shortest way to a stream that an application has."""
        self.open(number)
        self.pass_on(number)
        self.accept(2)

    def be_asked(self, number: int) -> None:
        """A request that is all there before an application has it."""
        self.open(number)
        if self.opened and not self.opened[-1].finishing:
            self.dialer.finish(self.opened[-1])
        self.pass_on(number)
        self.accept(2)

    def accept(self, number: int) -> None:
        for _ in range(1 + number % 3):
            stream = self.acceptor.accept()
            if stream is not None:
                self.handed_off.append(stream)
                if self.peer.forgetful and stream.fin_received and stream.id is not None:
                    self._silent.add(stream.id.to_bytes(4, "big"))

    def answer(self, number: int) -> None:
        self._act(self.acceptor, self.handed_off, number)

    def refuse(self, number: int) -> None:
        """The application has looked at a stream, or at some of it, and did nothing of what it says."""
        if not self.handed_off:
            return
        stream = self.handed_off[number // 4 % len(self.handed_off)]
        if number % 2:
            self.acceptor.read(stream, number)
        with suppress(ValueError, NotImplementedError):
            check_refusable(self.acceptor, stream)
            self.acceptor.reset(stream, ErrorCode.STREAM_REFUSED)
            self.given_back.append(stream)

    def go_away(self, number: int) -> None:
        self.acceptor.go_away(CODES[number % 3 if number > 200 else 0], b"bye")

    def announce(self, number: int) -> None:
        self.acceptor.announce_go_away()

    def stop_accepting(self, number: int) -> None:
        self.acceptor.stop_accepting()

    def acceptor_ends(self, number: int) -> None:
        self.acceptor.terminate(CLOSED_HERE)

    # What the wire does.

    def flush(self, number: int) -> None:
        if not self.cut:
            sent = b"".join(self.dialer.data_to_send(number))
            self.sent += sent
            self.there += sent
            back = b"".join(self.acceptor.data_to_send(number))
            if self.peer.lazy or self.peer.forgetful:
                back = b"".join(filter(None, map(self._reworded, split_frames(back, "yamux"))))
            self.back += back

    def _reworded(self, frame: bytes) -> bytes | None:
        """What such a yamux peer sends in place of one of our frames."""
        flags, stream_id = frame[3], frame[4:8]
        if frame[:4] == b"\0\1\0\2":
            if self.peer.lazy:
                self._silent.add(stream_id)
            return None if stream_id in self._silent else frame
        if self.peer.lazy and stream_id in self._silent:
            self._silent.discard(stream_id)
            flags |= 0 if flags & 8 else 2
        return frame[:3] + bytes((flags,)) + frame[4:]

    def wait(self, number: int) -> None:
        """Time passes, for one side."""
        side = (self.dialer, self.acceptor)[number % 2]
        side.timeouts.age_delays()
        if number > 100:
            side.timers.expire(number * 1.0)

    def carry(self, number: int) -> None:
        """Some bytes arrive, in pieces of any size."""
        if number % 2:
            self.acceptor.receive_data(bytes(self.there[:number]))
            del self.there[:number]
        else:
            self.dialer.receive_data(bytes(self.back[:number]))
            del self.back[:number]

    def pass_on(self, number: int) -> None:
        """All that either side has to say arrives."""
        self.flush(1000)
        self._deliver()

    def cut_off(self, number: int) -> None:
        """The transport is gone, with a part of what was under way."""
        if not self.cut:
            self.cut = True
            del self.there[number:]
            del self.back[number // 2 :]
            self._deliver()
            self.dialer.receive_eof()
            self.acceptor.receive_eof()

    def _deliver(self) -> None:
        self.acceptor.receive_data(bytes(self.there))
        self.dialer.receive_data(bytes(self.back))
        self.there.clear()
        self.back.clear()

    def _act(self, connection: Connection, streams: list[StreamState], number: int) -> None:
        if not streams:
            return
        stream = streams[number // 8 % len(streams)]
        act = number % 8
        if act < 3:
            if stream.failure is None and not stream.finishing:
                connection.write(stream, bytes(1 + number // 8))
        elif act < 5:
            connection.read(stream, number)
        elif act == 5:
            if stream.failure is None and not stream.finishing:
                connection.finish(stream)
        elif act == 6:
            connection.close(stream)
        else:
            connection.reset(stream, CODES[number // 8 % len(CODES)])

    # What must be true.

    def settle(self) -> None:
        """Everything that is under way arrives, and whatever the acceptor can accept, it accepts."""
        for _ in range(100):
            self.wait(0)
            self.wait(1)
            self.flush(10_000)
            if not self.there and not self.back:
                break
            self._deliver()
            self.accept(2)
        self.accept(2)

    def check(self) -> set[Retry]:
        """Nothing that was called safe was executed; the verdicts that were given.

        Whatever the verdict says of a stream that is over for its application, also one that it ended itself, it has
        said: what was safe at any moment must be so in the end.
        """
        seen = {stream.id for stream in self.handed_off if stream not in self.given_back}
        wire = WIRES[self.peer.wire](client=False)
        calls, _ = decode(wire, bytes(self.sent))
        syns = [cast("int", call[1]) for call in calls if call[0] == "opened"]
        assert syns == sorted(syns), "SYNs leave in the order of their ids"
        assert set(self.refused_at_once) <= {Retry.NEVER_SENT}
        failed = [stream for stream in self.opened if stream.failure is not None]
        for stream in failed:
            if stream.retry is Retry.NEVER_SENT:
                assert stream.id is None or stream.id not in syns
            verdict = self.dialer.verdict_of(stream)
            if verdict.safe:
                self.told_safe.add(stream)
            assert verdict is stream.retry or verdict is Retry.NEVER_SENT
        for stream in self.opened:
            if self.dialer.verdict_of(stream) is Retry.NEVER_SENT:
                assert stream.id is None or stream.id not in syns
        for stream in self.told_safe:
            assert stream.id not in seen, f"stream {stream.id} was {stream.retry}, and was seen"
        return {stream.retry for stream in failed}


STEPS: tuple[tuple[Callable[[Exchange, int], None], int], ...] = (
    (Exchange.open, 5),
    (Exchange.be_called, 3),
    (Exchange.be_asked, 2),
    (Exchange.flush, 4),
    (Exchange.carry, 6),
    (Exchange.pass_on, 6),
    (Exchange.accept, 4),
    (Exchange.call, 5),
    (Exchange.answer, 4),
    (Exchange.refuse, 2),
    (Exchange.announce, 1),
    (Exchange.go_away, 2),
    (Exchange.stop_accepting, 1),
    (Exchange.wait, 2),
    (Exchange.cut_off, 1),
    (Exchange.acceptor_ends, 1),
    (Exchange.dialer_ends, 1),
)
WEIGHTED = [step for step, weight in STEPS for _ in range(weight)]
INTERLEAVINGS = st.lists(
    st.tuples(st.sampled_from(WEIGHTED), st.integers(0, 255)), min_size=8, max_size=60
)
Interleaving = list[tuple["Callable[[Exchange, int], None]", int]]


def run(peer: Peer, steps: Interleaving, *, typed: bool = False) -> set[Retry]:
    """The verdicts of one interleaving, each checked at every moment."""
    exchange = Exchange(peer, typed=typed)
    for step, number in steps:
        step(exchange, number)
        exchange.check()
    exchange.settle()
    exchange.check()
    exchange.cut_off(0)
    exchange.accept(2)
    return exchange.check()


@pytest.mark.slow
@peers
@settings(max_examples=800, suppress_health_check=list(HealthCheck))
@given(INTERLEAVINGS, st.booleans())
def test_safe_implies_that_the_application_never_saw_it(
    peer: Peer, steps: Interleaving, typed: bool
) -> None:
    assert run(peer, steps, typed=typed) <= peer.verdicts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("peer", "verdict"),
    [
        pytest.param(peer, verdict, id=f"{name}: {verdict.value}")
        for name, peer in PEERS.items()
        for verdict in Retry
        if verdict in peer.verdicts
    ],
)
def test_the_interleavings_reach_every_verdict(peer: Peer, verdict: Retry) -> None:
    find(
        INTERLEAVINGS,
        lambda steps: verdict in run(peer, steps),
        settings=settings(max_examples=5_000, database=None, phases=[Phase.generate]),
    )


class Scripted:
    """A dialer whose peer is written out in frames."""

    def __init__(self, *said: bytes) -> None:
        self.dialer = Connection(muxado.Config(), client=True)
        self.hear(*said)

    def hear(self, *said: bytes) -> None:
        self.dialer.receive_data(b"".join(said))

    def open(self, count: int) -> list[StreamState]:
        """Streams 3, 5 ... whose SYN and one byte went out."""
        streams = [self.dialer.open(None, None) for _ in range(count)]
        for stream in streams:
            self.dialer.write(stream, b"x")
        self.dialer.data_to_send(100_000)
        return streams


@pytest.mark.parametrize("code", [0, 1, ErrorCode.STREAM_REFUSED])
def test_a_foreign_goaway_proves_nothing(code: int) -> None:
    # Go's last id is that of the latest SYN, not of the highest: stream 5 may well have been served.
    peer = Scripted(data(2, b"hi", syn=True))
    streams = peer.open(2)
    waiting = peer.dialer.open(None, None)
    peer.hear(goaway(3, code))
    peer.dialer.receive_eof()
    assert [stream.retry for stream in streams] == [Retry.UNKNOWN, Retry.UNKNOWN]
    assert waiting.retry is Retry.NEVER_SENT


def test_a_goaway_of_a_muxado_py_proves_that_higher_streams_were_not_seen() -> None:
    peer = Scripted(HELLO)
    streams = peer.open(2)
    peer.hear(goaway(3))
    assert [stream.failure is None for stream in streams] == [True, False]
    assert streams[1].retry is Retry.REFUSED
    assert isinstance(streams[1].error(), muxado.StreamRefusedError)
    peer.dialer.receive_eof()
    assert streams[0].retry is Retry.UNKNOWN


@pytest.mark.parametrize("code", [ErrorCode.STREAM_REFUSED, ErrorCode.ACCEPT_QUEUE_FULL])
@pytest.mark.parametrize(
    ("before", "verdict"),
    [
        pytest.param(b"", Retry.REFUSED, id="nothing"),
        pytest.param(data(3, b"a"), Retry.PROCESSED, id="an answer"),
        pytest.param(data(3, fin=True), Retry.UNKNOWN, id="the end"),
        pytest.param(bytes.fromhex("0000042000000003") + b"\0\0\0\1", Retry.UNKNOWN, id="credit"),
        pytest.param(data(3), Retry.UNKNOWN, id="an empty frame"),
    ],
)
def test_a_refusal_counts_only_as_the_first_word(code: int, before: bytes, verdict: Retry) -> None:
    peer = Scripted(data(2, b"hi", syn=True))
    (stream,) = peer.open(1)
    peer.hear(before, rst(3, code))
    assert stream.retry is verdict


@pytest.mark.parametrize("code", [*range(5), 6, 7, 8, *range(10, 16), 4711])
def test_no_other_code_is_a_refusal(code: int) -> None:
    peer = Scripted(HELLO)
    (stream,) = peer.open(1)
    peer.hear(rst(3, code))
    assert stream.retry is Retry.UNKNOWN


def test_an_answer_stays_an_answer() -> None:
    # A goaway whose last id is below a stream that was answered is a lie; the answer is not.
    peer = Scripted(HELLO)
    streams = peer.open(1)
    peer.hear(data(3, b"done"), goaway(0))
    assert streams[0].retry is Retry.PROCESSED

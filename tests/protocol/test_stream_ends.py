"""Every cell of the table of stream ends, on every wire: what is said, how long the stream is known, what is read.

A script plays the peer.  The stream is brought into the state of the cell, the cell's event happens, and what
can be seen from outside is compared with the row: frames, as another decoder reads them; what the application
reads, and how it is told the end; the verdict.  The verdicts are reckoned here, from what the script sent.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import pytest
from anyio import EndOfStream, WouldBlock

from muxado_py import Config, Retry, StreamClosedError
from muxado_py.errors import ErrorCode
from muxado_py.frames import WIRES
from muxado_py.frames.muxado import Muxado
from muxado_py.protocol.connection import Connection
from muxado_py.protocol.end_table import NEVER, ROWS, End, Event, Reads, Says, Stays, ends_on
from muxado_py.protocol.stream_state import RecvState, SendState
from muxado_py.session.stream_errors import why_no_bytes

from ..helpers.pair import read_all
from ..helpers.recording import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from muxado_py.frames import Traits
    from muxado_py.protocol.stream_state import StreamState

WHOLE = b"complete"
WINDOW = 64 * 1024
"""Unread bytes that a session takes here."""

BLOCK = bytes(8 * 1024)


class Cell(NamedTuple):
    """One cell, on one wire."""

    wire: str
    event: Event
    ours: SendState
    peers: RecvState
    end: End
    says_something: bool
    """Whether the peer sent bytes before; without any there is less to lose, and less evidence."""

    def __str__(self) -> str:
        heard = "heard" if self.says_something else "silent"
        return f"{self.wire}-{self.event.name}-{self.ours.name}-{self.peers.name}-{heard}"


def happens(wire: str, event: Event, ours: SendState, peers: RecvState) -> bool:
    """Whether a peer of this wire, or this side, can bring it about there."""
    if event is Event.FAULT:
        # Data behind a FIN, or a window that is not kept to, where there is one.
        return peers is RecvState.FIN_RECEIVED or wire != "smux1"
    if event is Event.GONE_AWAY:
        # Only a muxado_py's last id is believed; of others one hears before the SYN went, if at all.
        goaway = bool(WIRES[wire](client=False).go_away(0, 0, b""))
        unsent = ours is not SendState.FIN_SENT and peers is RecvState.OPEN
        return wire == "muxado" or (goaway and unsent)
    if event is Event.OVERFLOW:
        # Without windows the session is not read while it is full; protocol/test_stalled.py has that.
        return wire != "smux1" and peers is not RecvState.TORN
    if event is Event.STALLED and wire == "smux1":
        return ours is SendState.OPEN  # who goes on sending, which a finished stream does not
    return True


def cells() -> Iterator[Cell]:
    for wire in WIRES:
        table = ends_on(WIRES[wire].traits)
        for event, ours, peers in product(Event, SendState, RecvState):
            end = table[event][ours][peers]
            if end is not NEVER and happens(wire, event, ours, peers):
                for says_something in (True, False):
                    if says_something or event not in (Event.OVERFLOW, Event.GIVEN_UP):
                        yield Cell(wire, event, ours, peers, end, says_something)


class Scene:
    """One stream in the state of a cell, and the script."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.now = 0.0
        self.ours = cell.event is not Event.REFUSED
        self.others = 0
        """Streams besides it."""
        config = Config(wire=cell.wire, session_window=4 * WINDOW, discard_limit=2 * len(BLOCK))
        self.config = (
            replace(config, session_window=WINDOW) if cell.event is Event.OVERFLOW else config
        )
        self.connection = Connection(self.config, client=True, clock=lambda: self.now)
        self.peer = WIRES[cell.wire](client=False)
        self.frames = Recorder()
        self._decoder = self.peer.decoder(self.frames)
        if cell.wire == "muxado" and cell.event is Event.GONE_AWAY:
            self.feed(Muxado(client=False).hello())
        self.stream = self._open() if self.ours else self._take()
        self._bring_about()
        self.flushed_before = cell.ours is not SendState.FIN_QUEUED
        self.frames.calls.clear()

    def feed(self, data: bytes) -> None:
        self.connection.receive_data(data)

    def flush(self) -> None:
        """All that may be sent, also what a wire holds for a moment."""
        for _ in range(4):
            data = b"".join(self.connection.data_to_send(2**20))
            if data:
                self._decoder.feed(data)
            self.pass_time(0.01)

    @property
    def is_known(self) -> bool:
        """Whether the wire may still mention the stream."""
        sizes = self.connection.inspect().streams
        return sizes.live + sizes.unopened > self.others

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.connection.timers.expire(self.now)

    def _open(self) -> StreamState:
        stream = self.connection.open(None, None)
        self.connection.write(stream, b"ab")
        unborn = self.cell.event is Event.GONE_AWAY and self.cell.wire != "muxado"
        if not unborn:
            self.flush()
        return stream

    def _take(self) -> StreamState:
        self.feed(self.peer.syn(self.peer.first_id, 0, None, None))
        self.id = self.peer.first_id
        self.flush()
        (stream,) = self.connection.inspect().known
        return stream

    def _bring_about(self) -> None:
        cell, stream = self.cell, self.stream
        if stream.id is not None:
            self.id = stream.id
        self.came = WHOLE if cell.says_something and stream.id is not None else b""
        if cell.event is Event.OVERFLOW:
            self.came = BLOCK * 4
        for at in range(0, len(self.came), len(BLOCK)):
            self.feed(self._data(self.came[at : at + len(BLOCK)]))
        if cell.event is Event.GIVEN_UP:
            self.connection.close(stream)
            self.flush()
            return
        if cell.ours is SendState.FIN_SENT:
            self.connection.finish(stream)
            self.flush()
        if cell.peers is RecvState.FIN_RECEIVED:
            self.feed(self.peer.fin(self.id))
        if cell.ours is SendState.FIN_QUEUED:
            if cell.event is Event.STALLED:
                self._fill_window()
            self.connection.write(stream, b"c")
            self.connection.finish(stream)
        elif cell.event is Event.STALLED:
            self._fill_window()

    def _fill_window(self) -> None:
        self.connection.write(self.stream, bytes(512 * 1024))
        if self.cell.wire != "smux1":
            self.flush()

    def _data(self, body: bytes, stream_id: int | None = None) -> bytes:
        return self.peer.data_header(stream_id or self.id, len(body), False) + body

    def happen(self) -> None:
        """The event."""
        getattr(self, f"_{self.cell.event.name.lower()}")()

    def _finish(self) -> None:
        self.connection.finish(self.stream)

    def _close(self) -> None:
        self.connection.close(self.stream)

    def _reset(self) -> None:
        self.connection.reset(self.stream, 99)

    def _peer_fin(self) -> None:
        self.feed(self.peer.fin(self.id))

    def _peer_reset(self) -> None:
        code = ErrorCode.STREAM_CANCELLED
        if not WIRES[self.cell.wire].traits.has_reset:
            code = ErrorCode.STREAM_REFUSED  # of all resets the one that can be told from a FIN
        self.feed(self.peer.reset(self.id, code))

    def _fault(self) -> None:
        if self.cell.peers is RecvState.FIN_RECEIVED:
            self.feed(self._data(b"x"))
        elif self.cell.wire == "yamux":  # more than its window, said in the header
            self.feed(self.peer.data_header(self.id, self.stream.recv_window + 1, False))
        else:  # credit of no bytes, or for bytes that were never sent
            self.feed(self.peer.credit(self.id, 0, 10**6, WINDOW))

    def _overflow(self) -> None:
        for other_id in (self.peer.first_id, self.peer.first_id + 2):
            self.others += 1
            self.feed(self.peer.syn(other_id, 0, None, None))
            for _ in range(3):
                self.feed(self._data(BLOCK, other_id))

    def _refused(self) -> None:
        self.connection.stop_accepting()

    def _given_up(self) -> None:
        for _ in range(3):
            self.feed(self._data(BLOCK))

    def _stalled(self) -> None:
        config = self.config
        steps = int((config.stall_timeout + 3 * config.probe_interval) / config.probe_interval) + 1
        for _ in range(steps):
            if self.cell.wire == "smux1":  # where no window stops it, it goes on
                self._decoder.feed(b"".join(self.connection.data_to_send(1024)))
            self.pass_time(config.probe_interval)

    def _gone_away(self) -> None:
        self.feed(self.peer.go_away(0, ErrorCode.NO_ERROR, b""))

    def _session_end(self) -> None:
        self.connection.receive_eof()


def frames_of(scene: Scene) -> set[str]:
    """Which ends of the stream the peer was told."""
    names = {"finished": "FIN", "was_reset": "RST"}
    return {
        names[str(call[0])]
        for call in scene.frames.calls
        if call[0] in names and call[1] == scene.id
    }


def expected_frames(scene: Scene) -> set[str]:
    cell, end = scene.cell, scene.cell.end
    if scene.stream.id is None:
        return set()
    rst = {"RST"} if WIRES[cell.wire].traits.has_reset else {"FIN"}
    if end.says is Says.RST:
        return rst | ({"RST"} if cell.event is Event.REFUSED else set())  # smux has a mark for it
    if end.says is Says.RST_IF_LOST:
        return rst if scene.came else set()
    if cell.event is Event.CLOSE and end.says is Says.FIN:
        # And then what the row of a stream says whose FIN was sent.
        after = ends_on(WIRES[cell.wire].traits)[Event.CLOSE][SendState.FIN_SENT][cell.peers]
        return {"FIN"} | (rst if after.says is Says.RST_IF_LOST and scene.came else set())
    queued = end.stays is Stays.AS_IT_IS and cell.ours is SendState.FIN_QUEUED
    return {"FIN"} if end.says is Says.FIN or queued else set()


def verdict(scene: Scene) -> Retry:
    """What a caller may conclude from what the script sent."""
    if not scene.ours:
        return Retry.UNKNOWN
    if scene.cell.event is Event.GONE_AWAY:
        if scene.cell.wire != "muxado":
            return Retry.NEVER_SENT
        return Retry.PROCESSED if scene.came else Retry.REFUSED
    if scene.cell.event is Event.PEER_RESET and not WIRES[scene.cell.wire].traits.has_reset:
        heard = scene.came or scene.cell.peers is RecvState.FIN_RECEIVED
        return Retry.PROCESSED if scene.came else Retry.UNKNOWN if heard else Retry.REFUSED
    return Retry.PROCESSED if scene.came else Retry.UNKNOWN


@pytest.mark.parametrize("cell", list(cells()), ids=str)
def test_each_cell(cell: Cell) -> None:
    scene = Scene(cell)
    stream, connection = scene.stream, scene.connection
    assert (stream.send_state, stream.recv_state) == (cell.ours, cell.peers)
    scene.happen()
    reads = cell.end.reads
    rest = scene.came if reads not in (Reads.ERROR, Reads.NOTHING) else b""
    assert read_all(connection, stream) == rest
    if cell.end.stays is Stays.FORGOTTEN:
        assert not scene.is_known
    told = why_no_bytes(stream)
    if reads is Reads.REST_THEN_END:
        assert isinstance(told, EndOfStream)
    elif reads is Reads.AS_BEFORE:
        clean = EndOfStream if cell.peers is RecvState.FIN_RECEIVED else WouldBlock
        assert isinstance(told, clean)
    elif reads is Reads.NOTHING:
        assert isinstance(told, StreamClosedError)
    else:
        assert not isinstance(told, (EndOfStream, WouldBlock, StreamClosedError))
    if stream.failure is not None:
        assert stream.retry is verdict(scene)
    scene.flush()
    assert frames_of(scene) == expected_frames(scene)
    known = scene.is_known
    if cell.end.stays is Stays.DISCARDS:
        assert known
    elif cell.end.stays is Stays.AS_IT_IS:
        over = cell.peers is RecvState.FIN_RECEIVED or cell.event is Event.PEER_FIN
        assert known == (not (stream.fin_sent and over))
    elif cell.end.stays is Stays.LINGERS:
        drains = WIRES[cell.wire].traits.discards_closed and cell.peers is RecvState.OPEN
        assert known == drains
    else:
        assert not known


def test_no_row_that_throws_bytes_away_ends_well() -> None:
    for row in ROWS:
        assert not (
            row.event in (Event.FAULT, Event.OVERFLOW) and row.end.reads is Reads.REST_THEN_END
        )


def test_each_row_is_of_some_wire() -> None:
    for row in ROWS:
        assert any(row.holds_on(wire.traits) for wire in WIRES.values()), row


def test_only_what_cannot_come_about_is_left_out() -> None:
    """Rows of which no wire's peer, and nobody here, can bring a cell about would be rules of nothing."""
    reached = {(cell.event, cell.ours, cell.peers) for cell in cells()}
    for row in ROWS:
        for cell in product((row.event,), row.ours, row.peers):
            assert cell in reached or RecvState.TORN in row.peers, cell


# Why the cells say what they say.


def has_a_say(traits: Traits, event: Event, ours: SendState, peers: RecvState) -> bool:
    """Whether such a stream ends, or changes, by such an event."""
    sent, torn = ours is SendState.FIN_SENT, peers is RecvState.TORN
    came = peers is RecvState.FIN_RECEIVED
    if event is Event.OVERFLOW:
        return True  # also of what only the application still has to read
    if event is Event.CLOSE:
        return not torn
    if event in (Event.FINISH, Event.REFUSED):
        return ours is SendState.OPEN and not torn
    if event is Event.GIVEN_UP:
        return traits.discards_closed and sent and not (came or torn)
    if event is Event.STALLED:
        return came and not (sent or traits.resets_unknown)
    return not torn and not (sent and came)  # whatever the wire still knows


def said(traits: Traits, event: Event, ours: SendState, peers: RecvState) -> Says:
    sent = ours is SendState.FIN_SENT
    over = peers is RecvState.TORN or (sent and peers is RecvState.FIN_RECEIVED)
    if event in (Event.PEER_FIN, Event.PEER_RESET, Event.GONE_AWAY):
        return Says.NOTHING  # the peer said it
    if event is Event.FINISH or (event is Event.CLOSE and not sent):
        return Says.FIN
    if event is Event.CLOSE:
        answers = traits.has_reset and not traits.discards_closed and not over
        return Says.RST_IF_LOST if answers else Says.NOTHING
    if event is Event.SESSION_END:
        return Says.RST if traits.silent_end and traits.has_reset and not sent else Says.NOTHING
    if event in (Event.RESET, Event.GIVEN_UP) and not traits.has_reset:
        return Says.NOTHING if sent else Says.FIN
    return Says.NOTHING if over else Says.RST


def stayed(traits: Traits, event: Event, ours: SendState, peers: RecvState) -> Stays:
    sent, came = ours is SendState.FIN_SENT, peers is RecvState.FIN_RECEIVED
    if event is Event.FINISH:
        return Stays.LINGERS if came else Stays.AS_IT_IS
    if event is Event.PEER_FIN:
        return Stays.FORGOTTEN if sent else Stays.AS_IT_IS
    if event is Event.CLOSE or (event is Event.RESET and not traits.has_reset):
        if not sent:
            return Stays.LINGERS
        if came:
            return Stays.AS_IT_IS  # the wire has forgotten it
        return Stays.DISCARDS if traits.discards_closed else Stays.FORGOTTEN
    return Stays.FORGOTTEN


def read(event: Event, peers: RecvState) -> Reads:
    constant = {
        Event.FINISH: Reads.AS_BEFORE,
        Event.CLOSE: Reads.NOTHING,
        Event.RESET: Reads.NOTHING,
        Event.PEER_FIN: Reads.REST_THEN_END,
        Event.FAULT: Reads.REST_THEN_ERROR,
        Event.OVERFLOW: Reads.ERROR,
        Event.REFUSED: Reads.NOTHING,
        Event.GIVEN_UP: Reads.NOTHING,
    }
    whole = peers is RecvState.FIN_RECEIVED
    return constant.get(event, Reads.REST_THEN_END if whole else Reads.REST_THEN_ERROR)


@pytest.mark.parametrize("wire", WIRES)
def test_each_cell_follows_from_rules(wire: str) -> None:
    """The test of each cell reads the row to know what to expect: one that was changed or is missing passes it."""
    traits = WIRES[wire].traits
    table = ends_on(traits)
    for event, ours, peers in product(Event, SendState, RecvState):
        end = table[event][ours][peers]
        assert (end is not NEVER) == has_a_say(traits, event, ours, peers), (event, ours, peers)
        if end is not NEVER:
            rules = End(
                said(traits, event, ours, peers),
                stayed(traits, event, ours, peers),
                read(event, peers),
            )
            assert end == rules, (event, ours, peers)

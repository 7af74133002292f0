"""What an application reads when its stream ends, in every order of frames and on every wire.

A table: a stream is brought into a state, something happens, and the application reads until it is told how
the stream ended.  One rule holds it: a clean end means that all came.  So what was whole and unread is read
first, and bytes that were thrown away, ours or the peer's, are never followed by an end of file.

The peer is a script; its frames are made by the wire's own encoder, which other tests hold.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from struct import pack
from typing import TYPE_CHECKING, NamedTuple

import pytest
from anyio import EndOfStream, WouldBlock, aclose_forcefully
from anyio.lowlevel import checkpoint

import muxado_py as muxado
from muxado_py import Retry
from muxado_py.frames import WIRES

from ..transports import memory_transports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anyio.abc import ByteStream

    from muxado_py.frames import Wire

pytestmark = pytest.mark.anyio

WINDOW = 262_144
WHOLE = b"complete"
LIMIT = 64 * 1024
"""Bytes that the session holds, for the event that passes it."""

END = "end"
OPEN = "open"

STATES = tuple(itertools.product((b"", WHOLE), (0, 3, 8), (False, True), (False, True)))
"""What came; how much of it was read; whether the peer's FIN came; whether this side finished."""

EVENTS = (
    "data",
    "too much",
    "no credit",
    "credit overflow",
    "impossible update",
    "reset",
    "fin",
    "end of transport",
    "goaway with a code",
    "session overflow",
)


class Case(NamedTuple):
    came: bytes
    read: int
    finished: bool
    fin_sent: bool
    event: str
    ours: bool


class Peer:
    """The script: the frames of one wire, for one stream."""

    def __init__(self, wire: Wire, transport: ByteStream, stream_id: int) -> None:
        self.wire, self.transport, self.id = wire, transport, stream_id

    def data(self, body: bytes) -> bytes:
        parts = [body[at : at + 16_000] for at in range(0, len(body), 16_000)]
        return b"".join(self.wire.data_header(self.id, len(one), False) + one for one in parts)

    def syn(self) -> bytes:
        return self.wire.syn(self.id, 0, None, None)

    def happens(self, event: str) -> bytes | None:
        """The bytes of ``event``; None if the wire has no such thing."""
        wire, traits, small = self.wire, self.wire.traits, self.wire.name in ("muxado", "muxado1")
        windows = traits.initial_window != muxado.frames.UNLIMITED
        goaway = wire.name in ("muxado", "muxado1", "yamux")
        made: dict[str, Callable[[], bytes | None]] = {
            "data": lambda: self.data(b"x"),
            "too much": lambda: self.data(bytes(WINDOW + 1)) if windows else None,
            "no credit": lambda: wire.credit(self.id, 0, 0, 0) if small else None,
            "credit overflow": lambda: (
                wire.credit(self.id, 2**31 - 1, 0, 0) if small or wire.name == "yamux" else None
            ),
            "impossible update": lambda: (
                pack("<BBHIII", 2, 4, 8, self.id, 7, WINDOW) if wire.name == "smux2" else None
            ),
            "reset": lambda: wire.reset(self.id, 6) if traits.has_reset else None,
            "fin": lambda: wire.fin(self.id),
            "end of transport": lambda: b"",
            "goaway with a code": lambda: wire.go_away(self.id, 2, b"") if goaway else None,
            # Another stream's bytes make this one pay only if it holds most; so they are its own.
            "session overflow": lambda: self.data(bytes(LIMIT + 1)) if windows else None,
        }
        return made[event]()


def expected(case: Case) -> tuple[bytes, str | type[Exception]]:
    """What is read, and what the application is told then: the table, as its rule."""
    rest = case.came[case.read :]
    over = case.finished and case.fin_sent
    """Both FINs are through: the wire is done with the stream, and nothing can end it any more."""
    if over:
        return rest, END
    if case.event == "session overflow" and not case.finished:
        return b"", muxado.StreamResetError  # what it held is thrown away, to make room
    if case.event == "too much" and not case.finished:
        return rest + bytes(_whole_frames(len(case.came))), muxado.StreamResetError
    if case.event in ("data", "too much", "session overflow"):
        if case.finished:
            return rest, muxado.StreamResetError
        return rest + b"x", OPEN
    if case.event == "fin" or (case.finished and case.event in ("reset", "end of transport")):
        return rest, END
    if case.event == "goaway with a code":
        return rest, END if case.finished else muxado.ProtocolError
    if case.event == "end of transport":
        return rest, muxado.TransportError
    return rest, muxado.StreamResetError


def _whole_frames(before: int) -> int:
    """How many of the bytes too many came in frames that the window had room for."""
    return (WINDOW - before) // 16_000 * 16_000


def cases(ours: bool) -> Iterator[Case]:
    for (came, read, finished, fin_sent), event in itertools.product(STATES, EVENTS):
        if read <= len(came):
            yield Case(came, read, finished, fin_sent, event, ours)


async def settle() -> None:
    for _ in range(8):
        await checkpoint()


def read_to_the_end(stream: muxado.Stream) -> tuple[bytes, str | type[Exception], Retry | None]:
    got = b""
    try:
        while True:
            got += stream.receive_nowait()
    except WouldBlock:
        return got, OPEN, None
    except EndOfStream:
        return got, END, None
    except muxado.MuxadoError as exc:
        return got, type(exc), exc.retry


async def play(case: Case, config: muxado.Config) -> tuple[bytes, object, Retry | None] | None:
    """The case on a session of its own; None if its wire has no such event."""
    near, far = memory_transports(1024)
    make = muxado.client if case.ours else muxado.server
    async with make(near, config) as session:
        try:
            wire = WIRES[config.wire](client=not case.ours)
            peer = Peer(wire, far, WIRES[config.wire](client=True).first_id)
            happens = peer.happens(case.event)
            if happens is None:
                return None
            if case.ours:
                stream = await session.open_stream()
                await stream.send(b"?")
                await settle()
            else:
                await far.send(peer.syn())
                stream = await session.accept_stream()
            if case.came:
                await far.send(peer.data(case.came))
            if case.finished:
                await far.send(wire.fin(peer.id))
            await settle()
            if case.read:
                assert stream.receive_nowait(case.read) == case.came[: case.read]
            if case.fin_sent:
                stream.send_eof_nowait()
                await wait_for_end_of(stream)
            if happens:
                await far.send(happens)
            if case.event == "end of transport":
                await far.aclose()
            await settle()
            return read_to_the_end(stream)
        finally:
            await aclose_forcefully(far)


async def wait_for_end_of(stream: muxado.Stream) -> None:
    """Until the FIN of this side is cut, which smux puts off for a moment."""
    await settle()
    while not stream.statistics().end_sent:
        await checkpoint()


@pytest.mark.slow
@pytest.mark.parametrize("ours", [False, True], ids=["theirs", "ours"])
@pytest.mark.parametrize("wire", list(WIRES))
async def test_a_clean_end_means_that_all_came(wire: str, ours: bool) -> None:
    config = muxado.Config(
        wire=wire,
        half_close=True,
        heartbeat_interval=None,
    )
    wrong = []
    played = 0
    for case in cases(ours):
        limited = case.event == "session overflow"
        found = await play(case, replace(config, session_window=LIMIT) if limited else config)
        if found is None:
            continue
        played += 1
        want = expected(case)
        got, ending, retry = found
        answered = case.came or got or (limited and not case.finished)
        verdict = Retry.PROCESSED if ours and answered else Retry.UNKNOWN
        if (got, ending) != want or retry not in (None, verdict):
            wrong.append(
                (case, (got[-8:], len(got), ending, retry), (want[0][-8:], len(want[0]), want[1]))
            )
    assert not wrong, "\n".join(map(str, wrong[:10]))
    assert played > 40

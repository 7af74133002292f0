"""What the Go of 2014 does on the muxado1 wire, row by row, and what we answer.

The rows were read in the source (inconshreveable/muxado at f693c7e, ``proto``); the bytes are those that
it sends.  They stand in the table of ``interop/README.md``.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import create_task_group, fail_after

import muxado_py as muxado
from muxado_py import Config, ErrorCode, Priority, Retry

from .. import virtual_time
from ..helpers.pair import Script, read_all, spaced, split_frames
from ..transports import memory_transports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteStream

WINDOW = 65536
EXACT = Config(wire="muxado1", stream_window=WINDOW)
"""Without the larger windows that we announce, so that each test sees its own frames alone."""


def server(config: Config = EXACT) -> Script:
    return Script(config, client=False)


def client(config: Config = EXACT) -> Script:
    return Script(config, client=True)


class Go:
    """The far end of a session's transport, as bytes."""

    def __init__(self, transport: ByteStream) -> None:
        self._transport = transport
        self._rest = b""

    async def say(self, frames: str) -> None:
        await self._transport.send(bytes.fromhex(frames))

    async def hear(self, frames: str) -> None:
        """The very next bytes are these."""
        expected = bytes.fromhex(frames)
        with fail_after(3600):
            while len(self._rest) < len(expected):
                self._rest += await self._transport.receive()
        heard, self._rest = self._rest[: len(expected)], self._rest[len(expected) :]
        assert heard.hex() == expected.hex()

    async def to_the_end(self) -> list[str]:
        """The frames until the transport ends."""
        with fail_after(3600):
            try:
                while True:
                    self._rest += await self._transport.receive()
            except anyio.EndOfStream:
                return [spaced(frame, "muxado1") for frame in split_frames(self._rest, "muxado1")]


@asynccontextmanager
async def session_with_go(*, is_client: bool) -> AsyncIterator[tuple[muxado.Session, Go]]:
    near, far = memory_transports(64)
    make = muxado.client if is_client else muxado.server
    async with make(near, EXACT) as session:
        try:
            yield session, Go(far)
        finally:
            await anyio.aclose_forcefully(far)


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


# Heartbeats.


@pytest.mark.anyio
@pytest.mark.parametrize("is_client", [False, True])
async def test_m_01_the_heartbeats_of_go_are_answered(is_client: bool) -> None:
    """A session of Go begins with a stream of type 0xfffffeff and priority 0x7fffffff; 4 bytes come
    every 3 s, and it ends itself 13 s after the last answer."""
    async with session_with_go(is_client=is_client) as (session, go):
        stream_id = "00000002" if is_client else "00000003"
        await go.say(f"0008 06 01 {stream_id} 7fffffff fffffeff")
        for number in ("00000000", "00000001", "00000002"):
            await anyio.sleep(3)
            await go.say(f"0004 00 03 {stream_id}")  # Go writes a header and its body apart
            await go.say(number)
            await go.hear(f"0004 00 03 {stream_id} {number}")
        assert session.statistics()[:3] == (0, 0, 0), "they count nowhere"
        with anyio.move_on_after(3) as waited:
            await session.accept_stream()
        assert waited.cancelled_caught, "no application sees heartbeats"


@pytest.mark.anyio
async def test_m_02_all_our_heartbeats_take_one_stream() -> None:
    """Go takes one heartbeat stream in a session (``respond``): a second would block its reader for
    good.  The beats come back as they were."""
    async with session_with_go(is_client=True) as (session, go), create_task_group() as tasks:
        tasks.start_soon(session.ping)
        await go.hear("0004 04 01 00000003 fffffeff  0004 00 03 00000003 00000001")
        await go.say("0002 00 03 00000003 0000  0002 00 03 00000003 0001")
        await anyio.sleep(1)
        tasks.start_soon(session.ping)
        await go.hear("0004 00 03 00000003 00000002")
        await go.say("0004 00 03 00000003 00000002")


@pytest.mark.parametrize("state", ["not accepting", "full", "crowded"])
def test_m_03_a_heartbeat_is_never_refused(state: str) -> None:
    """Go ends its session when the stream of its heartbeats is reset."""
    peer = server(Config(wire="muxado1", max_streams=1, accept_backlog=1))
    if state == "not accepting":
        peer.connection.stop_accepting()
    else:
        peer.feed("0000 00 01 00000003")
        if state == "full":
            peer.accept()
    peer.sent()
    peer.feed("0008 06 01 00000005 7fffffff fffffeff")
    assert peer.sent() == []
    assert len(peer.connection.events.heartbeats) == 1


def test_m_04_no_goaway_of_ours_is_below_a_heartbeat() -> None:
    """Go closes its streams above the last id; without that of its heartbeats it ends the session,
    in the middle of our drain."""
    peer = server()
    peer.feed("0008 06 01 00000003 7fffffff fffffeff  0000 00 01 00000005")
    mine = peer.connection.open(None, None)
    peer.sent()
    peer.connection.go_away(ErrorCode.NO_ERROR, b"")
    assert peer.sent() == [
        "0004 00 02 00000005 00000006",
        "0008 00 06 00000000 0000000300000000",
    ]
    peer.feed("0001 00 03 00000002 79")
    assert peer.connection.read(mine, 9) == b"y"


# Opening.


def test_m_05_a_stream_opens_with_a_frame_of_its_own() -> None:
    """Go sends the SYN at ``Open``, and the data of a first ``Write`` behind it."""
    peer = server()
    peer.feed("0000 00 01 00000003")
    stream = peer.accept()
    peer.feed("0001 00 03 00000003 79")
    assert peer.connection.read(stream, 9) == b"y"
    mine = peer.connection.open(None, None)
    peer.connection.write(mine, b"hi")
    assert peer.sent() == ["0000 00 01 00000002", "0002 00 03 00000002 6869"]


@pytest.mark.parametrize(("side", "first"), [(client, 3), (server, 2)])
def test_m_06_ids_begin_at_3_and_2_and_rise(side: Any, first: int) -> None:
    """A SYN below the last one ends Go's session, so no priority may take SYNs out of order."""
    peer: Script = side()
    for urgency in (7, 3, 0):
        peer.connection.open(Priority(urgency), None)
    ids = [int(frame.split()[3], 16) for frame in peer.sent()]
    assert ids == [first, first + 2, first + 4]


def test_m_07_an_id_that_was_used_ends_the_session() -> None:
    """Ids of Go rise; one that was left out may still come, because nothing is gained by a quarrel."""
    peer = server()
    peer.feed("0000 00 01 00000003 0000 00 01 00000007 0000 00 01 00000005")
    assert [peer.accept().id for _ in range(3)] == [3, 7, 5]
    peer.feed("0000 00 01 00000007")
    assert peer.ended_code == ErrorCode.PROTOCOL_ERROR


def test_m_08_an_id_of_our_parity_ends_the_session() -> None:
    peer = client()
    peer.feed("0008 06 01 00000002 7fffffff fffffeff 0000 00 01 00000005")
    assert peer.sent() == ["0008 00 06 00000000 0000000200000001"]
    ended = peer.connection.events.failure
    assert ended is not None
    assert "are both ends clients?" in ended.message


@pytest.mark.parametrize("how", ["finish", "close"])
def test_m_09_we_never_finish_in_a_syn(how: str) -> None:
    """Go's acceptor takes that FIN for the end of its own writes, and never sees an end of ours
    (``NewStream``: the two flags are taken for each other)."""
    peer = client()
    getattr(peer.connection, how)(peer.connection.open(None, None))
    assert peer.sent() == ["0000 00 01 00000003", "0000 01 03 00000003"]


def test_m_10_a_syn_that_finishes_is_taken_at_its_word() -> None:
    """``OpenStream`` with ``fin``.  By the same mistake Go takes no answer on such a stream: it resets
    it at the first byte."""
    peer = server()
    peer.feed("0000 01 01 00000003")
    stream = peer.accept()
    assert stream.fin_received
    peer.connection.write(stream, b"ok")
    assert peer.sent() == ["0002 00 03 00000003 6f6b"]
    peer.feed("0004 00 02 00000003 00000004")
    assert stream.retry is Retry.UNKNOWN
    assert not peer.ended


@pytest.mark.parametrize(
    "frame", ["0004 00 01 00000003", "0000 02 01 00000003", "000c 06 01 00000003"]
)
def test_m_11_flags_and_length_of_a_syn_must_agree(frame: str) -> None:
    """Go ends its session; so do we, before any of a body is there."""
    peer = server()
    peer.feed(frame)
    assert peer.ended_code == ErrorCode.FRAME_SIZE_ERROR
    assert peer.sent() == ["0008 00 06 00000000 0000000000000005"]


# What a SYN carries.


@pytest.mark.parametrize(
    ("priority", "word"),
    [
        (Priority(0, 256), "7ff00001"),
        (Priority(2), "50f00001"),
        (Priority(3, 17), "41000001"),
        (Priority(7, 1), "00000001"),
    ],
)
def test_m_12_priorities_travel_in_the_syn(priority: Priority, word: str) -> None:
    """31 bits of which Go makes nothing; higher is more urgent.  Ours are read back as they were."""
    peer = client()
    stream = peer.connection.open(priority, None)
    assert peer.sent() == [f"0004 02 01 00000003 {word}"]
    peer.connection.set_priority(stream, Priority(5))
    assert peer.sent() == [], "there is no other frame for it"
    other = server()
    other.feed(f"0004 02 01 00000003 {word}")
    assert other.accept().priority == priority


@pytest.mark.parametrize("frame", ["0000 00 01 00000003", "0004 02 01 00000003 00000000"])
def test_m_13_no_priority_is_the_default(frame: str) -> None:
    """Go leaves a priority of 0 out, and so do we with the default."""
    peer = server()
    peer.feed(frame)
    assert peer.accept().priority == Priority()
    peer.connection.open(Priority(), None)
    assert peer.sent() == ["0000 00 01 00000002"]


def test_m_14_types_travel_in_the_syn_and_need_no_setting() -> None:
    peer = server()
    peer.feed("0004 04 01 00000003 00000007  0000 00 01 00000005")
    assert [peer.accept().stream_type, peer.accept().stream_type] == [7, None]
    peer.connection.open(None, 9)
    assert peer.sent() == ["0004 04 01 00000002 00000009"]


def test_m_15_a_type_that_go_keeps_for_extensions_is_reset() -> None:
    """Go resets types above 0xfffffeff with code 4.  Applications cannot name that of its heartbeats:
    the number means 0xffffffff on the wire."""
    peer = client()
    stream = peer.connection.open(None, 0xFFFF_FEFF)
    assert peer.sent() == ["0004 04 01 00000003 ffffffff"]
    peer.feed("0004 00 02 00000003 00000004")
    assert stream.retry is Retry.UNKNOWN
    assert "STREAM_CLOSED" in str(stream.error())


# Data and windows.


def test_m_16_no_frame_is_longer_than_16383_bytes() -> None:
    peer = client()
    peer.connection.write(peer.connection.open(None, None), bytes(40_000))
    lengths = [int(frame[:4], 16) for frame in peer.sent()]
    assert lengths == [0, 16383, 16383, 40_000 - 2 * 16383]


def test_m_17_windows_are_65536_bytes_and_exact() -> None:
    """Go credits every ``Read``."""
    peer = client()
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, bytes(WINDOW + 3))
    sent = sum(int(frame[:4], 16) for frame in peer.sent())
    assert sent == WINDOW
    peer.feed("0004 00 04 00000003 00000001")
    assert peer.sent() == ["0001 00 03 00000003 00"]
    for _ in range(4):
        peer.feed(bytes.fromhex("3fff 00 03 00000003") + bytes(16383))
    peer.feed("0004 00 03 00000003 00000000")
    assert peer.sent() == []
    assert len(read_all(peer.connection, stream)) == WINDOW
    assert peer.sent() == ["0004 00 04 00000003 00010000"]


def test_m_18_more_than_the_window_resets_the_stream_alone() -> None:
    """Go answers with RST(3) and leaves the rest of the frame lying, so that it reads nonsense from
    there; we take the frame out of the way."""
    peer = server()
    peer.feed("0000 00 01 00000003")
    stream = peer.accept()
    for _ in range(4):
        peer.feed(bytes.fromhex("3fff 00 03 00000003") + bytes(16383))
    peer.feed("0005 00 03 00000003 0000000000")
    assert peer.sent() == ["0004 00 02 00000003 00000003"]
    assert stream.failure is not None
    peer.feed("0000 00 01 00000005")
    assert peer.accept().id == 5


def test_m_19_a_larger_window_of_ours_is_credit() -> None:
    """Go adds what it is given.  For its streams that is when an application has them: a refusal must
    be the first word."""
    peer = server(Config(wire="muxado1"))
    peer.feed("0000 00 01 00000003")
    assert peer.sent() == []
    peer.accept()
    assert peer.sent() == ["0004 00 04 00000003 00030000"]
    peer.connection.open(None, None)
    assert peer.sent() == ["0000 00 01 00000002", "0004 00 04 00000002 00030000"]


def test_m_20_credit_of_nothing_or_too_much_resets_the_stream() -> None:
    """Go adds whatever comes, and masks the high bit."""
    peer = server()
    peer.feed("0000 00 01 00000003 0000 00 01 00000005")
    peer.feed("0004 00 04 00000003 00000000 0004 00 04 00000005 ffffffff")
    assert peer.sent() == ["0004 00 02 00000003 00000001", "0004 00 02 00000005 00000003"]
    assert not peer.ended


# Streams that are over.


def test_m_21_an_empty_frame_asks_whether_a_stream_lives() -> None:
    """A live stream of Go takes no notice, one that is closed is answered with RST(4)."""
    peer = client()
    stream = peer.connection.open(None, None)
    peer.connection.write(stream, bytes(WINDOW + 1))
    peer.sent()
    peer.feed("0000 01 03 00000003")
    peer.connection.timeouts.ask_stalled()
    assert peer.sent() == ["0000 00 03 00000003"]
    peer.feed("0004 00 02 00000003 00000004")
    assert "STREAM_CLOSED" in str(stream.error())


@pytest.mark.parametrize(
    "frame", ["0000 00 03 00000005", "0001 00 03 00000005 78", "0001 01 03 00000005 78"]
)
def test_m_22_data_for_a_stream_that_is_gone_is_answered_with_rst_4(frame: str) -> None:
    peer = server()
    peer.feed("0000 01 01 00000003 0000 00 01 00000005 0004 00 02 00000005 00000007")
    for _ in range(2):
        peer.feed(frame)
        assert peer.sent() == ["0004 00 02 00000005 00000004"]
    assert not peer.ended


def test_m_23_credit_resets_and_fins_for_a_stream_that_is_gone_are_ignored() -> None:
    """``Close`` after ``HalfClose`` is a second FIN, and Go credits what it reads to the end."""
    peer = client()
    stream = peer.connection.open(None, None)
    peer.connection.finish(stream)
    peer.sent()
    peer.feed("0000 01 03 00000003 0000 01 03 00000003")
    peer.feed("0004 00 04 00000003 00000001 0004 00 02 00000003 00000007")
    assert peer.sent() == []
    assert stream.failure is None
    assert not peer.ended


def test_m_24_we_say_nothing_on_ids_that_were_never_opened() -> None:
    """Any frame for one ends Go's session.  Whoever resets a stream before its SYN has gone has never
    opened it."""
    peer = client()
    stream = peer.connection.open(Priority(0), 7)
    peer.connection.write(stream, b"x")
    peer.connection.reset(stream, ErrorCode.STREAM_CANCELLED)
    assert peer.sent() == []
    assert stream.retry is Retry.NEVER_SENT


def test_m_25_a_close_that_leaves_data_unread_resets_behind_its_fin() -> None:
    """What Go has received before a reset stays readable there (``buffer/inbound.go``)."""
    peer = server()
    peer.feed("0000 00 01 00000003 0003 00 03 00000003 616263")
    stream = peer.accept()
    peer.connection.write(stream, b"bye")
    peer.connection.close(stream)
    assert peer.sent() == ["0003 01 03 00000003 627965"]
    assert peer.sent() == ["0004 00 02 00000003 00000007"]
    other = client()
    mine = other.connection.open(None, None)
    other.sent()
    other.feed("0003 00 03 00000003 627965 0004 00 02 00000003 00000007")
    assert other.connection.read(mine, 9) == b"bye"
    assert str(mine.error()) == "the peer reset stream 3: STREAM_CANCELLED(6)"


# Refusals.


def test_m_26_a_refusal_of_go_is_safe_to_retry_and_is_not_answered() -> None:
    """Go refuses only once it is going away, before anybody sees the stream.  Its last id stays below:
    one more frame for the stream would end its session."""
    peer = client()
    stream = peer.connection.open(None, None)
    peer.sent()
    peer.feed("0004 00 02 00000003 00000006")
    assert stream.retry is Retry.REFUSED
    assert peer.sent() == []


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 7, 8, 9, 0xFFFFFFFF])
def test_m_27_no_other_code_is_a_refusal(code: int) -> None:
    """5 and 9 refuse on the wire of today."""
    peer = client()
    stream = peer.connection.open(None, None)
    peer.sent()
    peer.feed(f"0004 00 02 00000003 {code:08x}")
    assert stream.retry is Retry.UNKNOWN


def test_m_28_what_we_have_no_room_for_is_refused_at_once() -> None:
    """Go's reader stops for good behind 100 streams that nobody accepts; ours goes on."""
    peer = server(Config(wire="muxado1", stream_window=WINDOW, accept_backlog=1, max_streams=2))
    peer.feed("0000 00 01 00000003 0000 00 01 00000005")
    assert peer.sent() == ["0004 00 02 00000005 00000006"]
    peer.accept()
    peer.feed("0000 00 01 00000007 0000 00 01 00000009")
    assert peer.sent() == ["0004 00 02 00000009 00000006"]


# Goodbyes.


def test_m_29_the_length_of_a_goaway_is_not_believed() -> None:
    """Go counts a text that it never writes: the next frame begins behind 8 bytes."""
    peer = client()
    stream = peer.connection.open(None, None)
    peer.sent()
    peer.feed("001f 00 06 00000000 00000003 00000000 0001 00 03 00000003 79")
    assert peer.connection.read(stream, 9) == b"y"
    assert not peer.ended


def test_m_30_our_goaway_has_8_bytes_and_nothing_behind_it() -> None:
    """Go reads as many bytes as the length says, and an unknown type ends its session."""
    peer = server()
    peer.connection.go_away(ErrorCode.NO_ERROR, b"a text")
    assert peer.sent() == ["0008 00 06 00000000 0000000000000000"]


def test_m_31_the_close_of_a_session_ends_every_stream() -> None:
    """GOAWAY, and the end of the transport.  The last id proves nothing: Go reads it while its reader
    may be handing over a later stream."""
    peer = client()
    seen, unseen = (peer.connection.open(None, None) for _ in range(2))
    peer.sent()
    peer.feed("001f 00 06 00000000 00000003 00000000")
    peer.connection.receive_eof()
    ended = peer.connection.events.failure
    assert ended is not None
    assert ended.kind is muxado.SessionClosedError
    assert (seen.retry, unseen.retry) == (Retry.UNKNOWN, Retry.UNKNOWN)


def test_m_32_go_may_go_away_and_stay() -> None:
    """``Session.GoAway``: what is open goes on, heartbeats too, and Go may still open streams."""
    peer = client()
    stream = peer.connection.open(None, None)
    peer.feed("0008 06 01 00000002 7fffffff fffffeff")
    peer.sent()
    peer.feed("0010 00 06 00000000 00000003 00000000")
    with pytest.raises(muxado.GoneAwayError) as info:
        peer.connection.open(None, None)
    assert info.value.retry is Retry.NEVER_SENT
    peer.feed("0001 01 03 00000003 79  0000 00 01 00000004")
    assert peer.connection.read(stream, 9) == b"y"
    assert peer.accept().id == 4
    assert not peer.ended


def test_m_33_a_fault_that_go_finds_comes_as_an_internal_error() -> None:
    """Its framing errors too, because it looks for a pointer where there is a value (``reader``)."""
    peer = client()
    stream = peer.connection.open(None, None)
    peer.sent()
    peer.feed("0029 00 06 00000000 00000000 00000002")
    assert peer.ended_code == ErrorCode.INTERNAL_ERROR
    assert stream.retry is Retry.UNKNOWN


@pytest.mark.anyio
async def test_m_34_our_close_is_a_goaway_and_the_end_of_the_transport() -> None:
    """Go closes nothing when it is told goodbye, and answers a half-closed transport with an error."""
    async with session_with_go(is_client=True) as (session, go):
        await go.say("0008 06 01 00000002 7fffffff fffffeff")
        stream = await session.open_stream()
        await stream.send(b"x")
        await go.hear("0000 00 01 00000003 0001 00 03 00000003 78")
        async with create_task_group() as tasks:
            tasks.start_soon(session.aclose)
            frames = await go.to_the_end()
        assert frames[-1] == "0008 00 06 00000000 0000000200000000"


# The format.


@pytest.mark.parametrize("kind", [0, 5, 7, 31])
def test_m_35_an_unknown_type_ends_the_session(kind: int) -> None:
    """Also 5, a priority of its own that Go has a number for and nothing else."""
    peer = server()
    peer.feed(f"0004 00 {kind:02x} 00000003 00000001")
    assert peer.ended_code == ErrorCode.PROTOCOL_ERROR


def test_m_36_the_bits_above_a_field_are_masked() -> None:
    peer = server()
    peer.feed("c000 f8 e1 80000003  4001 80 63 80000003 79")
    stream = peer.accept()
    assert (stream.id, peer.connection.read(stream, 9)) == (3, b"y")


def test_m_37_a_frame_cut_short_is_never_data() -> None:
    """Go hands it to the application as if it were whole."""
    peer = server()
    peer.feed("0000 00 01 00000003 0005 01 03 00000003 6162")
    stream = peer.accept()
    peer.connection.receive_eof()
    assert peer.connection.read(stream, 9) == b"ab"
    assert not stream.fin_received
    assert "in the middle of a frame" in str(stream.error())


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("000001 12 00000003 79 00000112", "this looks like muxado, and this side speaks muxado1"),
        ("00 01 0001 00000001 00000000", "this looks like yamux"),
        ("01 00 0000 03000000", "this looks like smux1"),
        ("16030100f8010000f40303", "this looks like TLS"),
    ],
)
def test_m_38_another_wire_is_named(head: str, words: str) -> None:
    """There is no greeting to know a peer by, but no other wire begins as Go does."""
    peer = server()
    peer.feed(head)
    ended = peer.connection.events.failure
    assert ended is not None
    assert words in ended.message

"""The rows S-1 to S-20: what xtaci/smux does on the wire, and our side of each.

"Go" is xtaci/smux v1.5.24 to v1.5.58; which of them a peer is cannot be seen.  The peer is a script of
its bytes, in which ``V`` stands for the version; what has time in it is played to a whole session, with
a virtual clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from anyio import EndOfStream, create_task_group, current_time, fail_after, sleep

import muxado_py as muxado
from muxado_py import Config, ErrorCode, Retry

from .. import virtual_time
from ..helpers.inside import begin_with_ids, driver_of
from ..helpers.pair import Script, read_all
from ..helpers.played import played

if TYPE_CHECKING:
    from muxado_py.protocol.stream_state import StreamState

WINDOW = 262_144
INSTANT = 0.000_5
"""Seconds: less than any delay of ours, more than a virtual clock needs for nothing."""

both = pytest.mark.parametrize("wire", ["smux1", "smux2"])


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


def config(wire: str, **changes: Any) -> Config:
    """Without heartbeats, which would come in between."""
    return Config(**{"wire": wire, "heartbeat_interval": None, **changes})


def said(wire: str, *frames: str) -> str:
    """Frames, with the version of the wire for ``V``."""
    return " ".join(frames).replace("V", f"0{wire[-1]}")


class Peer(Script):
    """A script in which ``V`` is the version."""

    def say(self, *frames: str) -> None:
        self.feed(said(self.wire, *frames))

    def frames(self) -> list[str]:
        """What we have to send now; streams that are held are let go first."""
        for _ in range(2):
            self.connection.timeouts.age_delays()
        return [f"V{frame[2:]}" for frame in self.sent()]

    @property
    def lives(self) -> bool:
        """Whether the session takes stream 99 as if nothing had happened."""
        self.say("V 00 0000 63000000", "V 02 0200 63000000 6f6b")
        stream = self.connection.accept()
        while stream is not None and stream.id != 99:
            stream = self.connection.accept()
        return not self.ended and stream is not None and read_all(self.connection, stream) == b"ok"


def accepted(wire: str, **changes: Any) -> tuple[Peer, StreamState]:
    """Stream 3 of the peer, that our application has."""
    peer = Peer(config(wire, **changes))
    peer.say("V 00 0000 03000000")
    stream = peer.accept()
    assert peer.frames() == []
    return peer, stream


def opened(wire: str, **changes: Any) -> tuple[Peer, StreamState]:
    """Stream 3 of ours, whose SYN went out."""
    peer = Peer(config(wire, **changes), client=True)
    stream = peer.connection.open(None, None)
    assert peer.frames() == ["V 00 0000 03000000"]
    return peer, stream


@both
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param("09 00 0000 03000000", ErrorCode.PROTOCOL_ERROR, id="version"),
        pytest.param("V 07 0000 03000000", ErrorCode.PROTOCOL_ERROR, id="command"),
        pytest.param("V 00 0400 05000000 61626364", ErrorCode.FRAME_SIZE_ERROR, id="SYN"),
        pytest.param("V 01 0400 03000000 61626364", ErrorCode.FRAME_SIZE_ERROR, id="FIN"),
        pytest.param("V 03 0400 00000000 61626364", ErrorCode.FRAME_SIZE_ERROR, id="NOP"),
        pytest.param("V 04 0400 03000000 61626364", None, id="UPD"),
    ],
)
async def test_s_01_a_violation_closes_the_transport_at_once(
    wire: str, frame: str, code: int | None
) -> None:
    """Go stops reading and keeps the connection, sending NOPs, until its keepalive gives up or for
    ever; before v1.5.56 it took a length it did not expect for the next header.  We close at once."""
    async with played(config(wire)) as (session, peer):
        await peer.say(said(wire, "V 00 0000 03000000", frame))
        start = current_time()
        with pytest.raises(muxado.ProtocolError) as info:
            await session.wait()
        assert await peer.to_the_end() == []
        assert current_time() - start < 1
        assert code is None or info.value.code == code


@pytest.mark.anyio
@pytest.mark.parametrize("client", [False, True])
@pytest.mark.parametrize(("wire", "other"), [("smux1", "smux2"), ("smux2", "smux1")])
async def test_s_02_the_other_version_is_named_with_what_to_configure(
    wire: str, other: str, client: bool
) -> None:
    """Nothing is negotiated, and Go's error is "invalid protocol".  Ours names both versions."""
    async with played(config(wire), client=client) as (session, peer):
        stream = "02000000" if client else "03000000"
        await peer.say(said(other, f"V 00 0000 {stream}"))
        with pytest.raises(muxado.ProtocolError) as info:
            await session.accept_stream()
        assert (
            f'looks like {other}, and this side speaks {wire}: set Config(wire="{other}")'
            in str(info.value)
        )


@both
def test_s_03_empty_data_is_ignored_and_counted(wire: str) -> None:
    """Go ignores it.  So do we, within the budget of frames that mean nothing."""
    peer, stream = accepted(wire, control_budget=16)
    peer.say(*["V 02 0000 03000000"] * 16)
    assert (stream.fin_received, peer.frames(), peer.ended) == (False, [], False)
    assert stream.retry is not Retry.PROCESSED
    peer.say("V 02 0000 03000000")
    assert peer.ended_code == ErrorCode.ENHANCE_YOUR_CALM


@both
def test_s_04_frames_of_a_stream_we_do_not_know_are_dropped_in_silence(wire: str) -> None:
    """As Go does; they come for every stream that this side has closed first."""
    peer = Peer(config(wire))
    update = "V 04 0800 05000000 0a000000 00000100" if wire == "smux2" else ""
    for _ in range(5_000):
        peer.say("V 02 0300 05000000 616263", "V 01 0000 05000000", update)
    assert peer.frames() == []
    assert peer.lives


@both
def test_s_05_a_second_syn_is_ignored(wire: str) -> None:
    """As Go does on a live id.  On a closed one Go opens a new stream; no peer gives an id twice, so
    we do not."""
    peer, stream = accepted(wire)
    peer.say("V 00 0000 03000000", "V 02 0200 03000000 6f6b")
    assert read_all(peer.connection, stream) == b"ok"
    peer.say("V 01 0000 03000000")
    peer.connection.close(stream)
    assert peer.frames() == ["V 01 0000 03000000"]
    peer.say("V 00 0000 03000000")
    assert (peer.connection.backlog, peer.frames()) == (0, [])
    assert peer.lives


@both
@pytest.mark.parametrize("client", [False, True])
@pytest.mark.parametrize("own", [False, True], ids=["stream 0", "our parity"])
def test_s_06_a_syn_of_stream_0_or_of_our_parity_ends_the_session(
    wire: str, client: bool, own: bool
) -> None:
    """Go takes any id, and two clients get along until their ids meet; then two streams are one.
    We end the session before that, and say what is the matter."""
    peer = Peer(config(wire), client=client)
    if not own:
        peer.say("V 00 0000 00000000")
    else:
        peer.say("V 00 0000 05000000" if client else "V 00 0000 04000000")
    ended = peer.connection.events.failure
    assert ended is not None
    assert (ended.code, peer.frames()) == (ErrorCode.PROTOCOL_ERROR, [])
    assert ("are both ends" in ended.message) is own


@both
@pytest.mark.anyio
async def test_s_07_an_overflow_of_the_backlog_is_finished_and_nobody_waits(wire: str) -> None:
    """Go's reader blocks at 1024 streams, and its session may die of that.  We finish the stream we
    have no room for, when its opener knows it, and read on."""
    async with played(config(wire, accept_backlog=1)) as (session, peer):
        start = current_time()
        await peer.say(said(wire, "V 00 0000 03000000", "V 00 0000 05000000"))
        # The first tells a muxado_py why; Go looks at no NOP.
        assert await peer.next() == said(wire, "V 03 0000 05000000")
        assert await peer.next() == said(wire, "V 01 0000 05000000")
        assert current_time() - start >= 0.001
        await peer.say(said(wire, "V 02 0200 05000000 6e6f", "V 02 0200 03000000 6f6b"))
        stream = await session.accept_stream()
        assert (stream.id, await stream.receive()) == (3, b"ok")


@both
def test_s_07_an_opener_gets_no_signal_and_no_verdict(wire: str) -> None:
    """A full backlog looks like a slow application; if the session ends so, nobody knows."""
    peer, stream = opened(wire)
    peer.connection.receive_eof()
    assert stream.retry is Retry.UNKNOWN


@both
def test_s_07_a_refusal_of_a_muxado_py_is_no_empty_answer(wire: str) -> None:
    """The FIN alone would read as an application's answer of no bytes."""
    peer, stream = opened(wire)
    peer.connection.write(stream, b"?")
    peer.say("V 03 0000 03000000")
    assert not stream.fin_received
    assert isinstance(stream.error(), muxado.StreamRefusedError)
    assert stream.retry is Retry.REFUSED
    peer.say("V 01 0000 03000000")
    assert (peer.frames(), peer.connection.live_streams, peer.ended) == ([], 0, False)


@both
def test_s_07_a_refusal_of_what_was_answered_is_no_promise(wire: str) -> None:
    peer, stream = opened(wire)
    peer.say("V 02 0200 03000000 6f6b", "V 03 0000 03000000")
    assert read_all(peer.connection, stream) == b"ok"
    assert isinstance(stream.error(), muxado.StreamResetError)
    assert stream.retry is Retry.PROCESSED


@both
@pytest.mark.anyio
async def test_s_08_nothing_goes_to_an_opener_that_may_not_know_its_stream_yet(wire: str) -> None:
    """Before v1.5.58 Go stored a stream after it had written the SYN, and dropped what came before: a
    byte in a hundred on loopback.  Whoever speaks first here waits a moment; credit waits as well."""
    windows = {"stream_window": 4 * WINDOW} if wire == "smux2" else {}
    async with played(config(wire, **windows)) as (session, peer):
        start = current_time()
        await peer.say(said(wire, "V 00 0000 03000000"))
        stream = await session.accept_stream()
        await stream.send(b"hi")
        await stream.aclose()
        first = await peer.next()
        assert current_time() - start >= 0.001
        if wire == "smux2":
            assert first == said(wire, "V 04 0800 03000000 0000000000001000")
            first = await peer.next()
        assert first == said(wire, "V 02 0200 03000000 6869")
        assert await peer.next() == said(wire, "V 01 0000 03000000")


@both
@pytest.mark.anyio
@pytest.mark.parametrize("last", ["V 02 0100 03000000 3f", "V 01 0000 03000000"])
async def test_s_08_an_opener_that_was_heard_knows_its_stream(wire: str, last: str) -> None:
    """Its first data, or its end, comes after it stored the stream: there is nothing to wait for."""
    async with played(config(wire)) as (session, peer):
        start = current_time()
        await peer.say(said(wire, "V 00 0000 03000000", last))
        stream = await session.accept_stream()
        await stream.send(b"hi")
        assert await peer.next() == said(wire, "V 02 0200 03000000 6869")
        assert current_time() - start < INSTANT


@both
@pytest.mark.anyio
async def test_s_09_a_fin_of_the_peer_ends_reading_and_not_writing(wire: str) -> None:
    """It may be a half close or a full one, which no peer tells; Go since v1.5.54 writes on too."""
    async with played(config(wire)) as (session, peer):
        await peer.say(
            said(wire, "V 00 0000 03000000", "V 02 0200 03000000 6869", "V 01 0000 03000000")
        )
        stream = await session.accept_stream()
        assert await stream.receive() == b"hi"
        with pytest.raises(EndOfStream):
            await stream.receive()
        await stream.send(b"ok")
        assert await peer.next() == said(wire, "V 02 0200 03000000 6f6b")


@both
@pytest.mark.anyio
async def test_s_09_our_fin_is_a_full_close_unless_the_user_knows_better(wire: str) -> None:
    """A Go peer may stop writing at our FIN (v1.5.28 to v1.5.53), so send_eof is refused by default
    and says why; with Config(half_close=True) it is sent, and receiving goes on."""
    async with played(config(wire), client=True) as (session, peer):
        stream = await session.open_stream()
        await stream.send(b"hi")
        with pytest.raises(NotImplementedError, match="half_close=True"):
            await stream.send_eof()
        await stream.aclose()
        frames = [await peer.next() for _ in range(3)]
        assert frames[-1] == said(wire, "V 01 0000 03000000")
    async with played(config(wire, half_close=True), client=True) as (session, peer):
        stream = await session.open_stream()
        await stream.send_eof()
        frames = [await peer.next() for _ in range(2)]
        assert frames == [said(wire, "V 00 0000 03000000"), said(wire, "V 01 0000 03000000")]
        await peer.say(said(wire, "V 02 0200 03000000 6869", "V 01 0000 03000000"))
        assert await stream.receive() == b"hi"


@both
def test_s_10_what_came_before_both_fins_stays_readable(wire: str) -> None:
    """From v1.5.54 to v1.5.57 Go throws away what its application has not read when the second FIN
    comes, and shows a clean end.  Here all of it is read, however late."""
    peer, stream = opened(wire, half_close=True)
    peer.connection.finish(stream)
    assert peer.frames() == ["V 01 0000 03000000"]
    peer.say("V 02 0300 03000000 616263", "V 01 0000 03000000")
    assert peer.connection.read(stream, 2) == b"ab"
    assert peer.connection.read(stream, 2) == b"c"
    assert stream.fin_received
    assert not peer.ended


@both
@pytest.mark.anyio
async def test_s_10_a_fin_that_answers_a_fin_gives_the_reader_a_moment(wire: str) -> None:
    """Of a Go peer that half closed, the reader needs a millisecond for our last data; a FIN right
    behind it cost 84 to 95 in 100 answers their end on loopback."""
    async with played(config(wire)) as (session, peer):
        await peer.say(
            said(wire, "V 00 0000 03000000", "V 02 0200 03000000 6869", "V 01 0000 03000000")
        )
        stream = await session.accept_stream()
        await stream.send(b"ok")
        await stream.aclose()
        assert await peer.next() == said(wire, "V 02 0200 03000000 6f6b")
        answered = current_time()
        assert await peer.next() == said(wire, "V 01 0000 03000000")
        assert current_time() - answered >= 0.001
        assert session.statistics().live_streams == 0


@both
@pytest.mark.anyio
async def test_s_10_a_fin_that_comes_first_waits_for_nothing(wire: str) -> None:
    async with played(config(wire), client=True) as (session, peer):
        start = current_time()
        stream = await session.open_stream()
        await stream.send(b"hi")
        await stream.aclose()
        frames = [await peer.next() for _ in range(3)]
        assert frames[2] == said(wire, "V 01 0000 03000000")
        assert current_time() - start < INSTANT


@both
def test_s_11_fins_are_sent_once_and_taken_any_number_of_times(wire: str) -> None:
    """Go sends one with CloseWrite and another with Close."""
    peer, stream = accepted(wire, half_close=True)
    peer.say(*["V 01 0000 03000000"] * 2)
    peer.connection.finish(stream)
    peer.connection.close(stream)
    assert peer.frames() == ["V 01 0000 03000000"]
    peer.say("V 01 0000 03000000")
    assert peer.frames() == []
    assert peer.lives


def test_s_12_a_closed_stream_goes_on_crediting_until_its_peer_finishes() -> None:
    """Since v1.5.54 a Go writer that waits for its window waits for ever: a FIN does not wake it, and
    there is no reset.  What still comes is thrown away and credited."""
    peer, stream = accepted("smux2")
    peer.connection.close(stream)
    assert peer.frames() == ["V 01 0000 03000000"]
    half = "V 02 0080 03000000" + "00" * 0x8000
    peer.say(*[half] * 4)
    assert peer.frames() == ["V 04 0800 03000000 0000020000000400"]
    peer.say(*[half] * 4)
    assert peer.frames() == ["V 04 0800 03000000 0000040000000400"]
    peer.say("V 01 0000 03000000", half)
    assert peer.frames() == []
    assert peer.connection.live_streams == 0
    assert peer.lives


def test_s_12_what_nobody_read_is_credited_by_the_close() -> None:
    peer, stream = accepted("smux2")
    peer.say(*["V 02 0080 03000000" + "00" * 0x8000] * 8)
    assert peer.frames() == []
    peer.connection.close(stream)
    assert sorted(peer.frames()) == ["V 01 0000 03000000", "V 04 0800 03000000 0000040000000400"]
    assert peer.connection.unread == 0


def test_s_12_a_reset_stream_goes_on_crediting_too() -> None:
    peer, stream = accepted("smux2")
    peer.connection.write(stream, b"unsent")
    peer.connection.reset(stream, ErrorCode.STREAM_CANCELLED)
    peer.say(*["V 02 0080 03000000" + "00" * 0x8000] * 4)
    assert sorted(peer.frames()) == ["V 01 0000 03000000", "V 04 0800 03000000 0000020000000400"]


@pytest.mark.anyio
async def test_s_12_the_crediting_is_bounded_in_bytes_and_in_time() -> None:
    """What a peer sends on such a stream for ever, or never ends, is forgotten."""
    settings = config("smux2", discard_limit=100_000, discard_timeout=60)
    async with played(settings) as (session, peer):
        await peer.say(said("smux2", "V 00 0000 03000000", "V 00 0000 05000000"))
        for _ in range(2):
            await (await session.accept_stream()).aclose()
        frames = [await peer.next() for _ in range(2)]
        assert frames == ["02 01 0000 03000000", "02 01 0000 05000000"]
        connection = driver_of(session).connection  # what is kept for a stream shows nowhere else
        assert [stream.id for stream in connection.inspect().known] == [3, 5]
        for _ in range(4):
            await peer.say("02 02 0080 03000000" + "00" * 0x8000)
        await sleep(1)
        assert [stream.id for stream in connection.inspect().known] == [5]
        await sleep(100)
        assert not connection.inspect().known
        assert not session.closed


@pytest.mark.anyio
async def test_s_13_a_blocked_writer_fails_some_time_after_the_peers_fin() -> None:
    """Go drops what comes for a stream that it closed, and credits nothing; the FIN is all we learn.
    It may be a half close, so the writer gets Config.stall_timeout, at least."""
    async with played(config("smux2", stall_timeout=60), client=True) as (session, peer):
        stream = await session.open_stream()
        async with create_task_group() as tasks:

            async def take() -> None:
                await peer.to_the_end()

            tasks.start_soon(take)
            await peer.say("02 01 0000 03000000")
            start = current_time()
            with (
                pytest.raises(muxado.StreamError, match="reads nothing any more") as info,
                fail_after(3600),
            ):
                await stream.send(bytes(2 * WINDOW))
            assert 60 <= current_time() - start <= 120
            assert info.value.retry is Retry.UNKNOWN
            assert session.statistics().live_streams == 0
            tasks.cancel_scope.cancel()


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("half_close", [False, True])
async def test_s_13_without_windows_a_writer_is_told_of_a_full_close(half_close: bool) -> None:
    """Nothing else would ever stop it.  Where FINs may be half closes it goes on."""
    changes = {"half_close": half_close, "write_timeout": 1e4, "probe_interval": 2.0}
    async with played(config("smux1", **changes), client=True) as (session, peer):
        stream = await session.open_stream()
        async with create_task_group() as tasks:

            async def take() -> None:
                while True:
                    await peer.transport.receive()
                    await sleep(0.01)

            tasks.start_soon(take)
            await peer.say("01 01 0000 03000000")
            with pytest.raises(EndOfStream):
                await stream.receive()
            start = current_time()

            async def send_for_a_minute() -> None:
                while current_time() - start < 60:
                    await stream.send(bytes(20_000))

            if half_close:
                await send_for_a_minute()
            else:
                with pytest.raises(muxado.StreamResetError, match="reads nothing any more"):
                    await send_for_a_minute()
                # Three looks, each of which may come a step late by the last digit of this clock.
                assert 4 <= current_time() - start <= 12.5
                assert session.statistics().live_streams == 0
            tasks.cancel_scope.cancel()
            stream.reset()


@pytest.mark.anyio
async def test_s_13_a_late_answer_is_no_endless_one() -> None:
    """What is written at once, or in two pieces, however late, is sent."""
    async with played(config("smux1", probe_interval=2.0), client=True) as (session, peer):
        stream = await session.open_stream()
        await peer.say("01 01 0000 03000000")
        await sleep(7)
        await stream.send(b"one")
        await sleep(3)
        await stream.send(b"two")
        await sleep(30)
        await stream.aclose()
        frames = [await peer.next() for _ in range(4)]
        assert frames == [
            "01 00 0000 03000000",
            "01 02 0300 03000000 6f6e65",
            "01 02 0300 03000000 74776f",
            "01 01 0000 03000000",
        ]


@both
def test_no_frame_is_longer_than_the_rust_crate_takes(wire: str) -> None:
    """smux 0.2.0 ends the session at more than 32 KiB, header and all."""
    peer, stream = opened(wire)
    peer.connection.write(stream, bytes(200_000))
    bodies = [len(frame.split()[-1]) // 2 for frame in peer.frames()]
    assert (max(bodies), sum(bodies)) == (32_768 - 8, 200_000)


@pytest.mark.anyio
async def test_s_13_a_half_closed_peer_that_reads_is_left_alone() -> None:
    async with played(config("smux2", stall_timeout=60), client=True) as (session, peer):
        stream = await session.open_stream()
        async with create_task_group() as tasks:

            async def read_slowly() -> None:
                assert await peer.next() == "02 00 0000 03000000"
                await peer.say("02 01 0000 03000000")
                read = 0
                while read < 2 * WINDOW:
                    read += (len(await peer.next()) - 20) // 2
                    if read >= WINDOW:
                        await sleep(40)
                        update = read.to_bytes(4, "little") + (1000).to_bytes(4, "little")
                        await peer.say("02 04 0800 03000000 " + update.hex())
                    if read >= WINDOW + 10_000:
                        tasks.cancel_scope.cancel()

            tasks.start_soon(read_slowly)
            await stream.send(bytes(2 * WINDOW))
        assert not session.closed


@both
def test_s_14_data_behind_the_fin_is_lost_and_the_reader_is_told(wire: str) -> None:
    """From v1.5.24 to v1.5.28 a FIN of Go could overtake the data of another goroutine."""
    peer, stream = accepted(wire)
    peer.say("V 02 0200 03000000 6f6b", "V 01 0000 03000000", "V 02 0400 03000000 6c617465")
    assert read_all(peer.connection, stream) == b"ok"
    assert not stream.fin_received
    assert "data after its FIN" in str(stream.error())
    assert peer.frames() == ["V 01 0000 03000000"]
    assert peer.lives


@both
def test_s_14_what_is_flushed_does_not_suffer_by_it(wire: str) -> None:
    peer, stream = accepted(wire)
    peer.say("V 02 0200 03000000 6f6b", "V 01 0000 03000000")
    assert read_all(peer.connection, stream) == b"ok"
    peer.connection.write(stream, b"yes")
    peer.connection.close(stream)
    peer.say("V 02 0400 03000000 6c617465")
    frames = peer.frames()
    assert frames[0] == "V 02 0300 03000000 796573"
    assert [*frames[1:], *peer.frames()] == ["V 01 0000 03000000"]
    assert peer.lives


def test_s_15_updates_overtake_data_and_may_come_again() -> None:
    """Go sends them before data (since v1.5.26), and so do we; as totals they say the same twice."""
    peer, stream = accepted("smux2", send_buffer=2 * WINDOW)
    peer.connection.write(stream, bytes(WINDOW + 10))
    sent = sum(int.from_bytes(bytes.fromhex(frame.split()[2]), "little") for frame in peer.frames())
    assert sent == WINDOW
    peer.say(*["V 04 0800 03000000 00000400 05000000"] * 2)
    assert peer.frames() == ["V 02 0500 03000000 0000000000"]
    peer.say(*["V 02 0080 03000000" + "00" * 0x8000] * 8)
    peer.connection.read(stream, WINDOW)
    peer.say("V 04 0800 03000000 05000400 05000000")
    assert peer.frames() == [
        "V 04 0800 03000000 0000040000000400",
        "V 02 0500 03000000 0000000000",
    ]


@both
@pytest.mark.anyio
async def test_s_16_a_nop_goes_in_every_interval_from_the_start(wire: str) -> None:
    """Go wants the first frame within its timeout, 30 s, and one in each after that; NOPs are not
    answered."""
    async with played(Config(wire=wire), client=True) as (session, peer), create_task_group() as tg:

        async def keep_alive() -> None:
            while True:
                await peer.say(said(wire, "V 03 0000 00000000"))
                await sleep(10)

        tg.start_soon(keep_alive)
        start = current_time()
        for number in range(1, 20):
            assert await peer.next() == said(wire, "V 03 0000 00000000")
            assert current_time() - start <= 10 * number + 2
        assert not session.closed
        tg.cancel_scope.cancel()


@both
@pytest.mark.anyio
async def test_s_16_silence_ends_the_session(wire: str) -> None:
    """Peers that live say something in every interval; with one to spare they are given up."""
    async with played(Config(wire=wire), client=True) as (session, _):
        stream = await session.open_stream()
        start = current_time()
        with pytest.raises(muxado.PeerTimeoutError, match="silent"), fail_after(3600):
            await stream.receive()
        assert 25 <= current_time() - start <= 30


@both
def test_s_17_a_nop_may_have_any_id(wire: str) -> None:
    """As Go takes it; ours has none."""
    peer, stream = accepted(wire)
    peer.say("V 03 0000 03000000", "V 03 0000 ffffffff")
    assert (stream.peer_spoke, peer.frames()) == (False, [])
    peer.connection.keep_alive()
    assert peer.frames() == ["V 03 0000 00000000"]
    assert peer.lives


@both
@pytest.mark.anyio
async def test_s_18_the_end_of_the_transport_is_an_error_on_every_stream(wire: str) -> None:
    """In Go a clean close of the socket is io.EOF on every stream, and the session stays open.  For us
    the end comes with a FIN or not at all."""
    async with played(config(wire)) as (session, peer):
        await peer.say(said(wire, "V 00 0000 03000000", "V 02 0200 03000000 6869"))
        stream = await session.accept_stream()
        await peer.transport.aclose()
        assert await stream.receive() == b"hi"
        with pytest.raises(muxado.TransportError, match="without a goodbye"):
            await stream.receive()
        with pytest.raises(muxado.SessionError):
            await session.open_stream()
        assert session.closed


@both
@pytest.mark.anyio
async def test_s_18_with_no_stream_open_it_is_the_goodbye(wire: str) -> None:
    """Go says nothing when it closes a session, so a session that is idle has ended well."""
    async with played(config(wire)) as (session, peer):
        await peer.say(said(wire, "V 00 0000 03000000", "V 01 0000 03000000"))
        async with await session.accept_stream():
            pass
        await peer.next()
        await peer.transport.aclose()
        with fail_after(10):
            await session.wait()


@both
@pytest.mark.parametrize("client", [False, True])
def test_s_19_ids_are_refused_before_they_wrap(
    wire: str, client: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Go does (ErrGoAway): the last id is used, and the next would be 0 or 1 again."""
    last = 0xFFFFFFFF if client else 0xFFFFFFFE
    begin_with_ids(monkeypatch, wire, client=last, server=last)
    peer = Peer(config(wire), client=client)
    peer.connection.open(None, None)
    assert peer.frames() == [f"V 00 0000 {last.to_bytes(4, 'little').hex()}"]
    with pytest.raises(muxado.StreamLimitError, match="used up") as info:
        peer.connection.open(None, None)
    assert (info.value.code, info.value.retry) == (ErrorCode.STREAMS_EXHAUSTED, Retry.NEVER_SENT)


@both
@pytest.mark.anyio
async def test_s_20_closing_a_session_flushes_and_then_closes_the_transport(wire: str) -> None:
    """Go drops what it has queued.  We send it within Config.close_timeout; a goodbye there is not."""
    async with played(config(wire), client=True) as (session, peer):
        stream = await session.open_stream()
        await stream.send(b"last words")
        await stream.aclose()
        await session.aclose()
        assert await peer.to_the_end() == [
            said(wire, "V 00 0000 03000000"),
            said(wire, "V 02 0a00 03000000 6c61737420776f726473"),
            said(wire, "V 01 0000 03000000"),
        ]

"""What a session does because time passes, on a clock that jumps."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import create_task_group, current_time

import muxado_py as muxado
from muxado_py import Config, ErrorCode, Retry
from muxado_py.frames import WIRES
from muxado_py.links import anyio_link
from muxado_py.protocol.timers import COARSE
from muxado_py.session import pings

from .. import virtual_time
from ..check_byte_stream import receive_all, receive_exactly
from ..frames_seen import FIN, HELLO, SYN, Frame, data, frame, goaway, payload, rst, wndinc
from ..scripted_peer import keeping, scripted
from ..transports import Around, Stuck, memory_transports
from .test_session import settled

if TYPE_CHECKING:
    from anyio.abc import ByteStream

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

TYPED = Config(typed_streams=True)
HEARTBEAT = bytes.fromhex("ffffffff")
INTERVAL, TIMEOUT = 10.0, 15.0
"""Config's defaults."""


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


@pytest.fixture(autouse=True)
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Round trips are measured on the finest clock there is; here they belong to the jumping one."""
    monkeypatch.setattr(pings, "perf_counter", current_time)
    monkeypatch.setattr(anyio_link, "perf_counter", current_time)


# Is the peer alive?


async def test_a_silent_peer_ends_the_session() -> None:
    async with scripted() as (session, peer):
        await peer.say(HELLO)
        stream = await session.open_stream()
        await stream.send(b"x")
        start = current_time()
        with pytest.raises(muxado.PeerTimeoutError, match="silent for") as info:
            await stream.receive()
        assert INTERVAL + TIMEOUT <= current_time() - start <= INTERVAL + TIMEOUT + 4
        assert isinstance(info.value, TimeoutError)
        assert info.value.retry is Retry.UNKNOWN
        frames = await peer.to_the_end()
        assert [one.kind for one in frames].count("PING") == 1
        with pytest.raises(muxado.PeerTimeoutError):
            await session.wait()
        with pytest.raises(muxado.PeerTimeoutError):
            await session.net_listener().accept()


async def test_serving_a_session_whose_peer_fell_silent_raises() -> None:
    async with scripted() as (session, peer):
        await peer.say(HELLO)
        with pytest.raises(muxado.PeerTimeoutError):
            await session.net_listener().serve(receive_all)


async def test_handlers_of_a_session_whose_peer_fell_silent_are_cancelled() -> None:
    ended = []

    async def handle(_stream: muxado.Stream) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(current_time())

    async with scripted() as (session, peer):
        await peer.say(HELLO, data(2, syn=True))
        with pytest.raises(muxado.PeerTimeoutError):
            await session.net_listener().serve(handle)
    assert len(ended) == 1


async def test_a_drain_ends_with_its_session_whoever_still_has_a_stream() -> None:
    near, far = memory_transports()
    async with muxado.client(near, Config(heartbeat_interval=None)) as session:
        await far.send(HELLO + data(2, syn=True))
        _far = await session.accept_stream()  # and keeps it
        async with create_task_group() as tasks:
            tasks.start_soon(session.drain, 3600)
            await anyio.sleep(60)
            assert not session.closed
            start = current_time()
            await far.aclose()
    assert current_time() - start < 5


async def test_two_idle_sessions_stay_alive(session_pair: SessionPair) -> None:
    async with session_pair(Config(probe_interval=60)) as (dialed, accepted):
        await anyio.sleep(3600)
        assert not dialed.closed
        assert not accepted.closed
        # One heartbeat in ten seconds on an idle session, and its answer: an hour of 24 bytes each.
        assert dialed.statistics().bytes_sent < 3600 / INTERVAL * 2 * 32
        assert dialed.statistics().round_trip is not None


async def test_no_heartbeat_is_sent_while_the_peer_talks() -> None:
    async with scripted() as (session, peer):
        await peer.say(HELLO, data(2, syn=True))
        stream = await session.accept_stream()
        for _ in range(20):
            await anyio.sleep(INTERVAL / 2)
            await peer.say(data(2, b"x"))
        await session.aclose()
        assert "PING" not in [one.kind for one in await peer.to_the_end()]
        assert await stream.receive() == b"x" * 20


async def test_any_byte_after_the_heartbeat_proves_the_peer_alive() -> None:
    async with scripted() as (session, peer):
        await peer.say(HELLO)
        for _ in range(10):
            await peer.expect("PING")
            await anyio.sleep(TIMEOUT - 5)
            await peer.say(rst(3, 0))  # no pong, but a sign of life
        assert not session.closed


async def test_heartbeats_can_be_turned_off() -> None:
    async with scripted(Config(heartbeat_interval=None)) as (session, peer):
        await peer.say(HELLO)
        await anyio.sleep(3600)
        assert not session.closed
        await session.aclose()
        assert "PING" not in [one.kind for one in await peer.to_the_end()]


async def test_a_foreign_peer_without_typed_streams_is_left_alone() -> None:
    async with scripted() as (session, peer):
        await peer.say(data(2, syn=True))
        await anyio.sleep(3600)
        assert not session.closed


class Narrow(Around):
    """Carries so many bytes in a second."""

    def __init__(self, inner: ByteStream, rate: float) -> None:
        super().__init__(inner)
        self._rate = rate

    async def send(self, item: bytes) -> None:
        for start in range(0, len(item), 1000):
            piece = item[start : start + 1000]
            await anyio.sleep(len(piece) / self._rate)
            await self._inner.send(piece)


async def test_a_busy_link_is_not_declared_dead() -> None:
    """Bulk both ways over a link on which a window takes longer than a heartbeat's time-out."""
    near, far = memory_transports(0)
    async with (
        muxado.client(Narrow(near, 300)) as dialed,
        muxado.server(Narrow(far, 300)) as accepted,
        create_task_group() as tasks,
    ):
        stream = await dialed.open_stream()
        far_stream = await accepted.accept_stream()
        for one in (stream, far_stream):
            tasks.start_soon(_send_all, one, bytes(300_000))
        for one in (stream, far_stream):
            tasks.start_soon(receive_all, one)
        await anyio.sleep(1)
        # A ping goes before the data; it waits for what has left already (a flush is 4 KiB here, which takes
        # 14 s), and not for a window, which takes more than a quarter of an hour.
        assert await dialed.ping(120) > TIMEOUT
        await anyio.sleep(60)
        assert not dialed.closed
        assert not accepted.closed
        tasks.cancel_scope.cancel()
        dialed.abort()  # what is under way would take minutes
        accepted.abort()


async def _send_all(stream: muxado.Stream, item: bytes) -> None:
    await stream.send(item)
    await stream.send_eof()


async def test_silence_is_no_sign_while_this_side_does_not_read() -> None:
    near, far = memory_transports(0)
    stuck = Stuck(near)
    config = Config(max_control_frames=16, write_timeout=3600)
    async with muxado.client(stuck, config) as session, create_task_group() as tasks:
        await far.receive()
        await far.send(HELLO)
        await settled()
        stuck.hold()

        async def ask() -> None:
            for number in range(40):
                await far.send(frame("PING", 0, bytes(7) + bytes((number,))))

        tasks.start_soon(ask)
        await anyio.sleep(20 * (INTERVAL + TIMEOUT))
        assert not session.closed
        tasks.cancel_scope.cancel()
    await far.aclose()


async def test_a_write_that_makes_no_progress_ends_the_session() -> None:
    near, far = memory_transports(0)
    stuck = Stuck(near)
    async with muxado.client(stuck, Config(heartbeat_interval=None)) as session:
        await far.receive()
        stuck.hold()
        start = current_time()
        stream = await session.open_stream()
        with pytest.raises(muxado.PeerTimeoutError, match="took nothing for 60 s") as info:
            await stream.receive()
        assert info.value.code == ErrorCode.WRITE_TIMEOUT
        assert 60 <= current_time() - start <= 65
        # One cannot know what the transport did with it.
        assert info.value.retry is Retry.UNKNOWN
    assert current_time() - start < 70
    await far.aclose()


async def test_a_ping_times_out_when_asked_and_the_session_stays() -> None:
    async with scripted() as (session, peer):
        await peer.say(HELLO)
        start = current_time()
        with pytest.raises(muxado.PeerTimeoutError, match="no answer to a ping in 2 s"):
            await session.ping(2)
        assert current_time() - start == pytest.approx(2)
        with pytest.raises(muxado.PeerTimeoutError, match="in 15 s"):
            await session.ping()
        assert not session.closed


async def test_a_ping_waits_to_learn_who_the_peer_is() -> None:
    async with scripted() as (session, peer), create_task_group() as tasks:
        rounds = []

        async def ping() -> None:
            rounds.append(await session.ping())

        tasks.start_soon(ping)
        await anyio.sleep(1)
        await peer.say(HELLO)
        one = await peer.expect("PING")
        await anyio.sleep(3)
        await peer.say(frame("PING", 0, one.body, flags=1))
        await settled()
        # Counted from the moment it left, not from the moment it was asked for.
        assert rounds == [pytest.approx(3)]


# Go's heartbeats, on typed streams.


async def test_a_heartbeat_to_a_go_peer_is_four_bytes_on_a_stream_of_their_own() -> None:
    async with scripted(TYPED) as (session, peer):
        await peer.say(data(2, b"\0\0\0\1", syn=True))
        for _ in range(3):
            beat = await peer.expect("DATA", 3)
            body = beat.body
            if beat.flags & SYN:
                assert body[:4] == HEARTBEAT
                body = body[4:] or (await peer.expect("DATA", 3)).body
            assert len(body) == 4
            await anyio.sleep(0.5)
            await peer.say(data(3, body))
            await settled()
            assert session.statistics().round_trip == pytest.approx(0.5)
        assert not session.closed


async def test_a_typed_peer_that_never_said_anything_is_found_dead() -> None:
    async with scripted(TYPED) as (session, peer):
        start = current_time()
        with pytest.raises(muxado.PeerTimeoutError):
            await session.accept_stream()
        assert INTERVAL + TIMEOUT <= current_time() - start <= INTERVAL + TIMEOUT + 4
        assert payload(await peer.to_the_end(), 3)[:4] == HEARTBEAT


async def test_ping_uses_the_heartbeat_stream_towards_a_go_peer() -> None:
    async with scripted(TYPED) as (session, peer), create_task_group() as tasks:
        await peer.say(data(2, b"\0\0\0\1", syn=True))
        rounds = []

        async def ping() -> None:
            rounds.append(await session.ping())

        for _ in range(2):
            tasks.start_soon(ping)
            body = b""
            while len(body) < 4:
                body += (await peer.expect("DATA", 3)).body.removeprefix(HEARTBEAT)
            await anyio.sleep(1)
            await peer.say(data(3, body[:1]))
            await anyio.sleep(1)
            await peer.say(data(3, body[1:]))
            await settled()
        assert rounds == [pytest.approx(2)] * 2


async def test_a_wrong_echo_is_no_answer() -> None:
    async with scripted(TYPED) as (session, peer), create_task_group() as tasks:
        await peer.say(data(2, b"\0\0\0\1", syn=True))

        async def ping() -> None:
            with pytest.raises(muxado.PeerTimeoutError):
                await session.ping()

        tasks.start_soon(ping)
        await peer.expect("DATA", 3)
        await peer.say(data(3, b"nope"))
        await settled()
        assert session.statistics().round_trip is None


@pytest.mark.parametrize("end", [rst(3, ErrorCode.INTERNAL_ERROR), data(3, fin=True)])
async def test_a_heartbeat_stream_that_ends_is_opened_anew(end: bytes) -> None:
    async with scripted(TYPED) as (session, peer):
        await peer.say(data(2, b"\0\0\0\1", syn=True))
        await peer.expect("DATA", 3)
        await peer.say(end)
        assert (await peer.expect("DATA", 5)).flags == SYN
        assert not session.closed


@pytest.mark.parametrize("who", ["nobody", "ours", "theirs"])
@pytest.mark.parametrize("answer", ["silence", "echo", "refusal"])
async def test_a_goaway_does_not_stop_heartbeats(who: str, answer: str) -> None:
    """A peer that takes no streams any more refuses the one of our heartbeats, and is alive."""
    async with scripted(TYPED) as (session, peer), create_task_group() as tasks:
        await peer.say(data(2, b"\0\0\0\1x", syn=True))
        stream = await session.accept_stream()
        assert await stream.receive() == b"x"
        if who == "theirs":
            await peer.say(goaway(99))
        elif who == "ours":
            session.go_away()

        async def answering() -> None:
            with suppress(anyio.EndOfStream):
                while True:
                    frame = await peer.next()
                    if frame.kind != "DATA" or answer == "silence":
                        continue
                    if answer == "refusal":
                        await peer.say(rst(frame.stream, ErrorCode.STREAM_REFUSED))
                    elif beat := frame.body.removeprefix(HEARTBEAT):
                        await peer.say(data(frame.stream, beat))

        tasks.start_soon(answering)
        start = current_time()
        if answer == "silence":
            with pytest.raises(muxado.PeerTimeoutError, match="silent for"):
                await stream.receive()
            assert current_time() - start == pytest.approx(INTERVAL + TIMEOUT)
        else:
            await anyio.sleep(300)
            assert not session.closed
            assert session.statistics().live_streams == 1
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("is_client", [True, False])
@pytest.mark.parametrize("wire", ["muxado", "muxado1"])
async def test_heartbeat_streams_do_not_hold_a_session_whose_peer_went_away(
    wire: str, is_client: bool
) -> None:
    new = wire == "muxado"
    near, far = memory_transports()
    make = muxado.client if is_client else muxado.server
    async with make(near, Config(wire=wire, typed_streams=new, max_streams=1)) as session:
        first = 2 if is_client else 3
        if new:
            await far.send(data(first, b"\xff\xff\xff\xffbeat", syn=True))
            await far.send(data(first + 2, b"\0\0\0\7work", syn=True))
        else:
            for stream_id, kind in ((first, "fffffeff"), (first + 2, "00000007")):
                await far.send(bytes.fromhex(f"0008 06 01 {stream_id:08x} 7fffffff {kind}"))
        stream = await session.accept_stream()
        statistics = session.statistics()
        assert (statistics.live_streams, statistics.peer_streams) == (1, 1)
        await far.send(goaway(0) if new else bytes.fromhex("0008 00 06 00000000 00000000 00000000"))
        await settled()
        assert not session.closed
        await stream.aclose()
        await settled()
        assert session.closed
        await session.wait()  # and that is no error
    await far.aclose()


async def test_the_peers_heartbeats_come_back_and_reach_no_application() -> None:
    async with scripted(TYPED) as (session, peer):
        await peer.say(data(2, HEARTBEAT + b"ab", syn=True))
        assert (await peer.expect("DATA", 2)).body == b"ab"
        for beat in (b"1234", b"5678"):
            await peer.say(data(2, beat))
            assert await peer.expect("DATA", 2) == Frame("DATA", 2, 0, beat)
        assert session.statistics().backlog == 0
        await peer.say(data(2, fin=True))
        assert (await peer.expect("DATA", 2)).flags == FIN
        assert session.statistics()[:4] == (0, 0, 0, 0)


async def test_heartbeats_that_are_not_taken_back_are_stopped() -> None:
    """An echo without end for a peer that gives no credit would be memory without end."""
    async with scripted(TYPED) as (session, peer):
        await peer.say(data(2, HEARTBEAT, syn=True))
        async with keeping(peer):
            while not any(one.kind == "RST" for one in peer.seen):
                await peer.say(data(2, bytes(16_000)))
                await settled()
        reset = next(one for one in peer.seen if one.kind == "RST")
        assert (reset.stream, reset.code) == (2, ErrorCode.ENHANCE_YOUR_CALM)
        assert session.statistics()[:4] == (0, 0, 0, 0)
        assert not session.closed


async def test_a_drain_does_not_wait_for_heartbeats() -> None:
    async with scripted(TYPED) as (session, peer), create_task_group() as tasks:

        async def echo() -> None:
            with suppress(anyio.EndOfStream):
                while True:
                    beat = await peer.expect("DATA", 3)
                    await peer.say(data(3, beat.body.removeprefix(HEARTBEAT)))

        tasks.start_soon(echo)
        await peer.say(data(2, HEARTBEAT, syn=True))
        await anyio.sleep(INTERVAL + 2)
        assert session.statistics()[:3] == (0, 0, 0), "heartbeats count nowhere"
        start = current_time()
        await session.drain(1000)
        assert current_time() - start < 2


async def test_typed_sessions_of_muxado_py_use_pings(session_pair: SessionPair) -> None:
    async with session_pair(TYPED) as (dialed, accepted):
        await anyio.sleep(100)
        assert dialed.statistics().round_trip is not None
        assert dialed.statistics().live_streams == accepted.statistics().live_streams == 0


# Draining and closing.


async def test_a_drain_waits_a_moment_where_nobody_answers_pings() -> None:
    async with scripted() as (session, peer), create_task_group() as tasks:
        await peer.say(data(2, b"x", syn=True))
        _far = await session.accept_stream()
        tasks.start_soon(session.drain, 30)
        await peer.expect("GOAWAY")
        start = current_time()
        await anyio.sleep(0.1)
        await peer.say(data(4, b"under way", syn=True))
        _far = await session.accept_stream()
        assert (await peer.expect("GOAWAY")).last_id == 4
        assert current_time() - start == pytest.approx(0.25, abs=0.1)
        await peer.to_the_end()
        assert current_time() - start == pytest.approx(25, abs=1)  # the rest is for the close


async def test_a_drain_ends_at_its_deadline_even_if_nobody_answers_the_ping() -> None:
    async with scripted() as (session, peer):
        await peer.say(HELLO, data(2, b"x", syn=True))
        _far = await session.accept_stream()
        start = current_time()
        await session.drain(3)
        assert current_time() - start < 5
        await session.wait()


async def test_aclose_gives_up_a_flush_that_takes_too_long() -> None:
    async with scripted() as (session, peer), keeping(peer):
        stream = await session.open_stream()
        await stream.send(bytes(300_000 - 64_000))
        with anyio.move_on_after(1):
            await stream.send(bytes(100_000))
        start = current_time()
        await session.aclose()
        assert current_time() - start < 6


async def test_a_closed_stream_that_cannot_flush_is_reset_in_the_end() -> None:
    config = Config(initial_window=1000, stream_window=1000, linger_timeout=7)
    async with scripted(config) as (session, peer):
        stream = await session.open_stream()
        await stream.send(bytes(3000))
        start = current_time()
        await stream.aclose()
        assert session.statistics().live_streams == 1
        reset = await peer.expect("RST", 3)
        assert reset.code == ErrorCode.STREAM_CANCELLED
        assert current_time() - start == pytest.approx(7)
        assert session.statistics().live_streams == 0
        assert not session.closed


async def test_a_stream_that_may_not_linger_is_reset_if_it_cannot_leave_at_once() -> None:
    config = Config(initial_window=1000, stream_window=1000, linger_timeout=0.0)
    async with scripted(config) as (session, peer):
        start = current_time()
        for number, size in ((3, 1000), (5, 1001)):
            stream = await session.open_stream()
            await stream.send(bytes(size))
            await stream.aclose()
            first = await peer.expect("DATA", number)
            assert len(first.body) == 1000
            if size > 1000:
                assert (await peer.expect("RST", number)).code == ErrorCode.STREAM_CANCELLED
        assert current_time() == start
        assert session.statistics().live_streams == 0


async def test_a_stream_that_may_not_linger_leaves_with_the_flush_that_is_due() -> None:
    config = Config(linger_timeout=0.0, heartbeat_interval=None)
    near, far = memory_transports(1000)
    stuck = Stuck(near)
    async with muxado.client(stuck, config) as session:
        other = await session.open_stream()
        await anyio.sleep(1)
        for _ in range(5):
            stuck.hold()
            await other.send(b"y")
            await settled()  # a flush is under way, and takes some turns more, and no time
            stream = await session.open_stream()
            await stream.send(b"x")
            await stream.aclose()
            stuck.release()
            await anyio.sleep(1)
            assert session.statistics().live_streams == 1
    said = b""
    with suppress(anyio.EndOfStream):
        while True:
            said += await far.receive()
    for number in range(5, 15, 2):
        assert data(number, b"x", syn=True) + data(number, fin=True) in said
        assert rst(number, ErrorCode.STREAM_CANCELLED) not in said
    await far.aclose()


@pytest.mark.parametrize("timeout", [0.5, 7.0])
async def test_a_stream_that_nobody_accepts_is_refused_when_config_says(timeout: float) -> None:
    config = Config(wire="yamux", accept_timeout=timeout, heartbeat_interval=None)
    near, far = memory_transports()
    async with muxado.server(near, config):
        await far.send(bytes.fromhex("00 01 0001 00000001 00000000"))
        start = current_time()
        said = b""
        while bytes.fromhex("00 01 0008 00000001") not in said:
            said += await far.receive()
        assert current_time() - start == pytest.approx(timeout)
    await far.aclose()


@pytest.mark.parametrize("timeout", [0.5, 7.0])
async def test_a_closed_stream_whose_peer_goes_on_is_given_up_when_config_says(
    timeout: float,
) -> None:
    config = Config(wire="yamux", discard_timeout=timeout, heartbeat_interval=None)
    near, far = memory_transports()
    async with muxado.server(near, config) as session:
        await far.send(bytes.fromhex("00 01 0001 00000001 00000000"))
        stream = await session.accept_stream()
        start = current_time()
        await stream.aclose()
        said = b""
        while bytes.fromhex("00 01 0008 00000001") not in said:
            said += await far.receive()
        assert current_time() - start == pytest.approx(timeout)
    await far.aclose()


@pytest.mark.parametrize("anyio_backend", [virtual_time.backend("asyncio")])
async def test_settings_that_a_wire_does_not_use_cost_no_turn_of_the_loop() -> None:
    config = Config(discard_timeout=0.002, accept_timeout=0.002, stall_timeout=0.002)
    async with scripted(config) as (session, peer):
        await peer.say(HELLO)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual_time.JumpingLoop)
        before = loop.jumps
        await anyio.sleep(9)  # no heartbeat yet
        assert loop.jumps - before == 1, "our own"
        assert not session.closed


async def waits_of(config: Config, session_pair: SessionPair) -> int:
    """How often the loop of two sessions waits in an hour in which they are idle, long after they were used."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, virtual_time.JumpingLoop)
    async with session_pair(config) as (dialed, accepted):
        for opener, taker in ((dialed, accepted), (accepted, dialed)):
            for size in (1, 1000, 300_000):
                stream = await opener.open_stream()
                async with create_task_group() as sending:
                    sending.start_soon(stream.send, bytes(size))
                    far = await taker.accept_stream()
                    assert await receive_exactly(far, size) == bytes(size)
                await far.aclose()
                await stream.aclose()
        kept = await dialed.open_stream()  # it is open, and nothing is to be done for it
        await kept.send(b"x")
        other = await accepted.accept_stream()
        assert await other.receive() == b"x"
        await anyio.sleep(1000)
        before = loop.jumps
        await anyio.sleep(3600)
        waits = loop.jumps - before - 1
    return waits


@pytest.mark.parametrize("anyio_backend", [virtual_time.backend("asyncio")])
@pytest.mark.parametrize("wire", WIRES)
async def test_an_idle_session_without_heartbeats_never_wakes(
    wire: str, session_pair: SessionPair
) -> None:
    assert await waits_of(Config(wire=wire, heartbeat_interval=None), session_pair) == 0


@pytest.mark.parametrize("anyio_backend", [virtual_time.backend("asyncio")])
@pytest.mark.parametrize("wire", WIRES)
async def test_an_idle_session_wakes_for_heartbeats_and_little_else(
    wire: str, session_pair: SessionPair
) -> None:
    """With what it looks for behind each heartbeat: whether it was taken."""
    assert await waits_of(Config(wire=wire), session_pair) <= 3 * 3600 / INTERVAL


async def test_a_closed_stream_that_flushes_in_time_is_not_reset() -> None:
    config = Config(initial_window=1000, stream_window=1000, linger_timeout=7)
    async with scripted(config) as (session, peer), keeping(peer):
        for number in range(100):
            stream = await session.open_stream()
            await stream.send(bytes(1500))
            await stream.aclose()
            await anyio.sleep(1)
            await peer.say(wndinc(3 + 2 * number, 1000), data(3 + 2 * number, fin=True))
        await anyio.sleep(30)
        await session.aclose()
        assert not [one for one in peer.seen if one.kind == "RST"]


async def test_a_sender_whose_peer_closed_like_go_is_woken_by_a_probe() -> None:
    """Go's Close sends a FIN and forgets the stream; a sender without window would wait for ever."""
    async with scripted() as (session, peer), create_task_group() as tasks:
        stream = await session.open_stream()
        failed = anyio.Event()

        async def send() -> None:
            with pytest.raises(muxado.StreamResetError) as info:
                await stream.send(bytes(600_000))
            assert info.value.retry is Retry.UNKNOWN
            failed.set()

        tasks.start_soon(send)
        await peer.take(3, 256 * 1024)
        await peer.say(data(3, fin=True))
        probe = await peer.expect("DATA", 3)
        assert probe == Frame("DATA", 3, 0, b"")
        await peer.say(rst(3, ErrorCode.STREAM_CLOSED))
        await failed.wait()


async def test_a_sender_whose_peer_is_only_slow_is_not_hurt_by_probes() -> None:
    async with scripted() as (session, peer), create_task_group() as tasks:
        stream = await session.open_stream()
        tasks.start_soon(stream.send, bytes(257 * 1024))
        await peer.take(3, 256 * 1024)
        await peer.say(data(3, fin=True))
        for _ in range(3):
            assert await peer.expect("DATA", 3) == Frame("DATA", 3, 0, b"")
        await peer.say(wndinc(3, 10_000))
        assert len((await peer.expect("DATA", 3)).body) == 1024


async def test_a_sender_that_is_only_blocked_is_not_probed() -> None:
    async with scripted(Config(heartbeat_interval=None)) as (session, peer):
        stream = await session.open_stream()
        async with create_task_group() as tasks, keeping(peer):
            tasks.start_soon(stream.send, bytes(600_000))
            await anyio.sleep(100)
            tasks.cancel_scope.cancel()
        assert not [one for one in peer.seen if one == Frame("DATA", 3, 0, b"")]


async def test_budgets_come_back_as_time_passes() -> None:
    config = Config(control_budget=16, control_rate=1, heartbeat_interval=None)
    async with scripted(config) as (session, peer), keeping(peer):
        await peer.say(HELLO)
        for number in range(60):
            await peer.say(frame("PING", 0, number.to_bytes(8, "big")))
            await anyio.sleep(1)
        assert not session.closed
        await peer.say(*(frame("PING", 0, bytes(8)) for _ in range(18)))
        with pytest.raises(muxado.ProtocolError, match="too many pings"):
            await session.accept_stream()


async def test_a_word_on_a_new_stream_of_smux_waits_for_the_moment_its_opener_needs_and_no_longer() -> (
    None
):
    """Go's opener knows the stream only after its SYN was written."""
    near, far = memory_transports()
    async with muxado.server(near, Config(wire="smux2", heartbeat_interval=None)) as session:
        for number in (3, 5):
            await far.send(bytes.fromhex(f"02 00 0000 {number:02x}000000"))
            stream = await session.accept_stream()
            start = current_time()
            await stream.send(b"x")
            said = b""
            while not said.endswith(bytes.fromhex(f"02 02 0100 {number:02x}000000 78")):
                said += await far.receive()
            assert current_time() - start == pytest.approx(0.002 + COARSE)
    await far.aclose()


async def test_config_in_milliseconds_is_kept_too() -> None:
    config = Config(heartbeat_interval=0.001, heartbeat_timeout=0.001, probe_interval=0.001)
    async with scripted(config) as (session, peer):
        await peer.say(HELLO)
        with pytest.raises(muxado.PeerTimeoutError):
            with anyio.fail_after(1):
                await session.accept_stream()
    assert math.isfinite(current_time())


async def test_closing_does_not_wait_for_what_can_be_sent_no_more() -> None:
    """A stream is blocked by its window, and its peer resets it meanwhile: nothing is left to flush."""
    async with scripted() as (session, peer), create_task_group() as tasks:
        await peer.say(HELLO)
        other = await session.open_stream()
        await other.send(b"still open")
        stream = await session.open_stream()

        async def send() -> None:
            with pytest.raises(muxado.StreamError):
                await stream.send(bytes(512 * 1024))

        tasks.start_soon(send)
        await peer.take(5, 256 * 1024)
        tasks.start_soon(session.aclose)
        await peer.expect("GOAWAY")
        start = current_time()
        await peer.say(rst(5, ErrorCode.STREAM_CANCELLED))
        with pytest.raises(muxado.SessionClosedError):
            await other.receive()
        assert current_time() - start < 1
        await peer.to_the_end()

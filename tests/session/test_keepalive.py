"""Whether a peer is there: its first frame, its silence in every state, and the time of each ping.

On a clock that jumps; the peer is the test's script.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import create_task_group, current_time

import muxado_py as muxado
from muxado_py import Config
from muxado_py.session import pings

from .. import virtual_time
from ..check_byte_stream import receive_all
from ..frames_seen import HELLO, frame
from ..scripted_peer import ScriptedPeer, keeping, scripted
from ..transports import Around, Stuck, memory_transports
from .test_session import settled

if TYPE_CHECKING:
    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


@pytest.fixture(autouse=True)
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Round trips are measured on the finest clock there is; here they belong to the jumping one."""
    monkeypatch.setattr(pings, "perf_counter", current_time)


# The first frame.


NOP = bytes.fromhex("01030000 00000000")
YAMUX_PING = bytes.fromhex("00020001 00000000 00000001")


@pytest.mark.parametrize(
    ("wire", "said"), [("muxado", HELLO), ("smux1", NOP), ("yamux", YAMUX_PING)]
)
async def test_a_peer_is_there_once_its_first_frame_came(wire: str, said: bytes) -> None:
    async with scripted(Config(wire=wire, heartbeat_interval=None)) as (session, peer):
        with pytest.raises(muxado.PeerTimeoutError, match="said nothing in 5 s"):
            await session.wait_for_peer(5)
        assert not session.closed
        came = []

        async def wait() -> None:
            await session.wait_for_peer()
            came.append(current_time())

        async with create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(1)
            await peer.say(said[:5])
            await settled()
            assert not came
            await peer.say(said[5:])
            start = current_time()
        assert came == [pytest.approx(start)]
        await session.wait_for_peer(0)  # it is known from now on


async def test_a_connection_that_ends_without_a_frame_is_no_peer() -> None:
    async with scripted() as (session, peer), create_task_group() as tasks:
        tasks.start_soon(peer.transport.aclose)
        with pytest.raises(muxado.TransportError):
            await session.wait_for_peer()


async def test_random_bytes_that_look_like_a_frame_to_be_skipped_are_no_peer() -> None:
    """A gateway took three of four such connections for its newest agent."""
    async with scripted() as (session, peer):
        await peer.say(bytes.fromhex("0a0b0c d5 0e0f1011"), b"random bytes")
        with pytest.raises(muxado.PeerTimeoutError):
            await session.wait_for_peer(5)
        assert session.is_muxado_py is None
        assert not session.closed  # for who knows


async def test_what_speaks_http_is_no_peer() -> None:
    async with scripted() as (session, peer):
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(muxado.ProtocolError, match="HTTP server"):
            await session.wait_for_peer()


# Silence, and a side that was busy.


INTERVAL, TIMEOUT = 0.5, 1.0


@pytest.mark.parametrize("wire", ["smux2", "yamux", "muxado"])
async def test_what_came_while_this_side_was_busy_is_read_before_a_verdict(wire: str) -> None:
    """The loop is blocked for longer than all time-outs, and the peer's bytes wait meanwhile."""
    config = Config(wire=wire, heartbeat_interval=INTERVAL, heartbeat_timeout=TIMEOUT)
    sign = {"smux2": NOP.replace(b"\1", b"\2", 1), "yamux": YAMUX_PING, "muxado": HELLO}[wire]
    for phase in range(12):
        async with scripted(config) as (session, peer), keeping(peer):
            await peer.say(sign)
            await anyio.sleep(phase / 8)  # heartbeats, if any, stay unanswered until then
            virtual_time.be_busy(2)
            await peer.say(sign)  # it came while we were busy
            await anyio.sleep(INTERVAL / 4)
            assert not session.closed, phase
            # What came is read, and so is what comes in the time-out from now on.
            await anyio.sleep(INTERVAL / 4)
            assert not session.closed, phase


@pytest.mark.parametrize("wire", ["smux2", "yamux"])
@pytest.mark.parametrize("busy", [0.3, 2.0, 60.0])
async def test_a_silent_peer_is_found_out_on_a_machine_that_is_always_late(
    wire: str, busy: float
) -> None:
    config = Config(wire=wire, heartbeat_interval=INTERVAL, heartbeat_timeout=TIMEOUT)
    async with scripted(config) as (session, peer), keeping(peer):
        turns = 0
        while not session.closed and turns < 40:
            await anyio.sleep(0.01)
            virtual_time.be_busy(busy)
            turns += 1
        with pytest.raises(muxado.PeerTimeoutError, match="silent"):
            await session.accept_stream()


async def test_a_heartbeat_that_waited_for_this_side_has_its_whole_time() -> None:
    """Blocked between asking and sending: the peer must have its time-out from the sending on."""
    config = Config(heartbeat_interval=INTERVAL, heartbeat_timeout=TIMEOUT)
    async with scripted(config) as (session, peer), create_task_group() as tasks:
        await peer.say(HELLO)

        async def be_busy() -> None:
            await anyio.sleep(INTERVAL)
            virtual_time.be_busy(100 * TIMEOUT)

        for _ in range(4):  # some before the look-around, some behind
            tasks.start_soon(be_busy)
        one = await peer.expect("PING")
        await anyio.sleep(TIMEOUT / 2)
        await peer.say(frame("PING", 0, one.body, flags=1))
        await settled()
        assert not session.closed


# A transport that takes little.


class Tiring(Around):
    """Takes a megabyte at once, and from then on so many bytes a second."""

    def __init__(self, inner: ByteStream, rate: float) -> None:
        super().__init__(inner)
        self._rate = rate
        self._taken = 0

    async def send(self, item: bytes) -> None:
        self._taken += len(item)
        if self._taken > 1 << 20:
            await anyio.sleep(len(item) / self._rate)
        await self._inner.send(item)


async def test_a_peer_that_takes_little_is_not_dead() -> None:
    near, far = memory_transports(0)
    config = Config(heartbeat_interval=None, stream_window=1 << 24, initial_window=1 << 24)
    async with (
        muxado.client(Tiring(near, 1000), config) as dialed,
        muxado.server(far, config) as accepted,
        create_task_group() as tasks,
    ):
        stream = await dialed.open_stream()
        tasks.start_soon(stream.send, bytes(1_500_000))
        far_stream = await accepted.accept_stream()
        tasks.start_soon(receive_all, far_stream)
        await anyio.sleep(400)
        assert not dialed.closed
        tasks.cancel_scope.cancel()
        dialed.abort()  # what is under way would take minutes


# Pings.


async def test_a_ping_that_was_given_up_before_it_left_never_leaves() -> None:
    """Else all of them would go at once when the transport moves again, and be too many for the peer."""
    near, far = memory_transports(0)
    stuck = Stuck(near)
    async with muxado.client(stuck, Config(heartbeat_interval=None)) as session:
        peer = ScriptedPeer(far)
        await peer.say(HELLO)
        async with keeping(peer):
            await settled()
            stuck.hold()
            for _ in range(3):
                with pytest.raises(muxado.PeerTimeoutError):
                    await session.ping(0.1)
            stuck.release()
            with pytest.raises(muxado.PeerTimeoutError):
                await session.ping(0.1)
            await settled()
            pings = [one.body for one in peer.seen if one.kind == "PING"]
            assert [int.from_bytes(body, "big") for body in pings] == [1, 4]
        session.abort()
        await anyio.aclose_forcefully(far)


async def test_a_late_pong_is_ignored() -> None:
    async with scripted() as (session, peer):
        await peer.say(HELLO)
        with pytest.raises(muxado.PeerTimeoutError, match="no answer to a ping"):
            await session.ping(0.01)
        late = await peer.expect("PING")
        await peer.say(frame("PING", 0, late.body, flags=1))
        await settled()
        assert session.statistics().round_trip is None
        assert not session.closed


async def test_each_ping_has_its_own_time() -> None:
    async with scripted() as (session, peer):
        await peer.say(HELLO)
        times = {}

        async def ping(name: str) -> None:
            times[name] = await session.ping(60)

        async with create_task_group() as tasks:
            tasks.start_soon(ping, "first")
            first = await peer.expect("PING")
            await anyio.sleep(2)
            tasks.start_soon(ping, "second")
            second = await peer.expect("PING")
            await anyio.sleep(1)
            # Both answers come in one read.
            await peer.say(*(frame("PING", 0, one.body, flags=1) for one in (first, second)))
        assert times == {"first": pytest.approx(3), "second": pytest.approx(1)}

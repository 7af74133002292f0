"""Whether a peer is there: its first frame, its silence in every state, and the time of each ping.

On a clock that jumps; the peer is the test's script.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio import create_task_group, current_time

import muxado_py as muxado
from muxado_py import Config, pings

from . import virtual_time
from .frames_seen import HELLO, frame
from .scripted_peer import scripted
from .test_session import settled

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


async def test_what_speaks_http_is_no_peer() -> None:
    async with scripted() as (session, peer):
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(muxado.ProtocolError, match="HTTP server"):
            await session.wait_for_peer()


# Pings.


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

"""How sessions live and end, with every peer: heartbeats, drains, goodbyes, kills, cut transports."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import pytest

import muxado_py as muxado
from muxado_py import Retry

from .actors import (
    KIB,
    MIB,
    WINDOW,
    opened_by_peer,
    opened_by_python,
    receive_exactly,
    round_trip,
)
from .conftest import PATIENCE
from .cutter import cutting_proxy

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from .conftest import Far

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.interop,
    pytest.mark.timeout(2 * PATIENCE, func_only=True),
]


# Heartbeats


@pytest.mark.needs("beat")
async def test_an_idle_session_stays(far: Far) -> None:
    """As many heartbeats as the defaults send in minutes, from both sides."""
    kind = 7 if far.peer.typed_beats else None
    async with far.session(
        *far.peer.beating,
        typed_streams=far.peer.typed_beats,
        heartbeat_interval=0.1,
        heartbeat_timeout=2.0,
    ) as (session, peer):
        pair = await opened_by_peer(session, peer, stream_type=kind)
        accepting = await peer.begin("accept")  # what answers heartbeats, in some libraries
        await anyio.sleep(2.5)  # longer than the patience of any
        await round_trip(pair, peer)
        assert not accepting.there
        assert session.statistics().live_streams <= 3, "heartbeats pile up"


@pytest.mark.needs("beat")
async def test_a_frozen_peer_is_found_out(far: Far) -> None:
    kind = 7 if far.peer.typed_beats else None
    async with far.session(
        *far.peer.beating,
        typed_streams=far.peer.typed_beats,
        heartbeat_interval=0.1,
        heartbeat_timeout=0.6,
    ) as (session, peer):
        ours, _ = await opened_by_peer(session, peer, stream_type=kind)
        await peer.begin("accept")
        await anyio.sleep(0.3)  # heartbeats have been seen
        peer.freeze()
        with pytest.raises(muxado.PeerTimeoutError) as caught:
            await ours.receive()
        assert not caught.value.retry.safe


@pytest.mark.needs("ping")
async def test_pings_from_both_sides(far: Far) -> None:
    async with far.session() as (session, peer):
        for _ in range(3):
            assert 0 < await session.ping(timeout=PATIENCE) < PATIENCE
            assert await peer.do("ping") == {}


# Going away


async def test_a_drain_lets_the_peer_finish_what_it_has_open(far: Far) -> None:
    drained = anyio.Event()

    async def drain() -> None:
        await session.drain(PATIENCE)
        drained.set()

    async with far.session() as (session, peer), anyio.create_task_group() as tasks:
        pairs = [await opened_by_python(session, peer), await opened_by_peer(session, peer)]
        tasks.start_soon(drain)
        for pair in pairs:
            await round_trip(pair, peer)
        assert not drained.is_set()
        for ours, theirs in pairs:
            await peer.do("write", stream=theirs, text="done")
            await peer.do("close", stream=theirs)
            assert await receive_exactly(ours, 4) == b"done"
            with pytest.raises(anyio.EndOfStream):
                await ours.receive()
            await ours.aclose()
        assert "error" in await peer.do("accept")  # the session is over


async def test_what_the_peer_opens_after_our_goaway_reaches_no_application(far: Far) -> None:
    """It cannot open a stream any more, or finds it refused; what is open goes on."""
    async with far.session() as (session, peer):
        pairs = [await opened_by_python(session, peer), await opened_by_peer(session, peer)]
        session.go_away()
        for pair in pairs:
            await round_trip(pair, peer)
        late = await peer.do("open")
        if "error" not in late:
            await peer.do("write", stream=late["stream"], text="late")
            late = await peer.do("read", stream=late["stream"], size=1)
            assert late["bytes"] == 0
        assert "error" in late
        for pair in pairs:
            await round_trip(pair, peer)


@pytest.mark.needs("go_away")
async def test_after_the_goaway_of_the_peer_only_open_streams_go_on(far: Far) -> None:
    async with far.session() as (session, peer):
        pairs = [await opened_by_python(session, peer), await opened_by_peer(session, peer)]
        assert await peer.do("go_away") == {}
        for pair in pairs:
            await round_trip(pair, peer)
        with pytest.raises(muxado.GoneAwayError) as refused:
            await session.open_stream()
        assert refused.value.retry is Retry.NEVER_SENT
        for pair in pairs:
            await round_trip(pair, peer)


# The end


async def expect_the_end(errors: list[muxado.SessionError], call: Awaitable[object]) -> None:
    with pytest.raises(muxado.SessionError) as caught:
        await call
    errors.append(caught.value)


async def test_our_close_ends_what_the_peer_has_open(far: Far) -> None:
    async with far.session() as (session, peer):
        _, theirs = await opened_by_peer(session, peer)
        reading = await peer.begin("read", stream=theirs)
        accepting = await peer.begin("accept")
        await session.aclose()
        assert "error" in await reading.wait()
        assert "error" in await accepting.wait()


async def test_the_close_of_the_peer_is_no_end_of_file(far: Far) -> None:
    async with far.session() as (session, peer):
        ours, _ = await opened_by_python(session, peer)
        theirs, _ = await opened_by_peer(session, peer)
        await peer.do("close_session")
        for stream in (ours, theirs):
            with pytest.raises(muxado.SessionError) as caught:
                await stream.receive()
            assert not caught.value.retry.safe
            if "goodbye" in far.peer.can:
                assert isinstance(caught.value, muxado.SessionClosedError)
        with pytest.raises(ConnectionError) as refused:
            await session.net_dial("anything", 80)
        assert isinstance(refused.value, muxado.SessionError)
        assert refused.value.retry is Retry.NEVER_SENT


async def test_a_killed_peer_leaves_no_call_hanging_and_no_verdict_safe(far: Far) -> None:
    errors: list[muxado.SessionError] = []

    async def send_until_it_fails(stream: muxado.Stream) -> None:
        while True:
            await stream.send(bytes(WINDOW))

    async with far.session() as (session, peer):
        reading, theirs = await opened_by_python(session, peer)
        sending, _ = await opened_by_peer(session, peer)
        async with anyio.create_task_group() as tasks:
            await peer.begin("write", stream=theirs, size=8 * MIB)
            await receive_exactly(reading, MIB)  # there is something in flight
            tasks.start_soon(expect_the_end, errors, send_until_it_fails(sending))
            tasks.start_soon(expect_the_end, errors, session.accept_stream())
            peer.kill()
            await expect_the_end(errors, receive_exactly(reading, 8 * MIB))
        assert [error.retry.safe for error in errors] == [False, False, False]
        with pytest.raises(ConnectionError):
            await session.net_dial()


@pytest.mark.roles("client")
@pytest.mark.parametrize("size", [1, 3, 7, 11, 20_001, 100_003])
async def test_a_transport_cut_in_mid_frame_is_no_end_of_file(far: Far, size: int) -> None:
    """Nothing that was cut off is taken for the whole, or for data."""
    question = random.randbytes(400 * KIB)
    received, errors = bytearray(), list[muxado.SessionError]()
    config = muxado.Config(**far.peer.settings())
    with anyio.fail_after(PATIENCE):
        async with (
            far.run("-listen", "127.0.0.1:0") as peer,
            cutting_proxy(peer.address) as proxy,
            muxado.connect(f"tcp://{proxy.address}", config=config) as session,
            anyio.create_task_group() as tasks,
        ):
            await peer.begin("serve_echo")
            stream = await session.open_stream()
            await stream.send(b"?")
            assert await receive_exactly(stream, 1) == b"?"
            proxy.cut_after(size)
            tasks.start_soon(send_or_fail, stream, question)
            await expect_the_end(errors, receive_into(received, stream))
            await expect_the_end(errors, session.accept_stream())
    assert question.startswith(received)
    assert len(received) <= size
    assert [error.retry.safe for error in errors] == [False, False]


async def receive_into(received: bytearray, stream: muxado.Stream) -> None:
    while True:
        received += await stream.receive()


async def send_or_fail(stream: muxado.Stream, data: bytes) -> None:
    with suppress(muxado.SessionError):  # the reader says how it ended
        await stream.send(data)

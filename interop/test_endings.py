"""How streams end, with every peer: resets, closes, refusals, writers that wait for a full window.

What an application hears differs from wire to wire; what it must never be is a clean end of what was
cut off, or a call that hangs.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import pytest

import muxado_py as muxado
from muxado_py import ErrorCode, Retry

from .actors import (
    MIB,
    WINDOW,
    opened_by_peer,
    opened_by_python,
    receive_exactly,
    round_trip,
    send_without_end,
)
from .conftest import PATIENCE

if TYPE_CHECKING:
    from .conftest import Far

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.interop,
    pytest.mark.timeout(2 * PATIENCE, func_only=True),
]


# Reset


async def test_our_reset_ends_the_stream_for_the_peer(far: Far) -> None:
    """A wire without resets ends it all the same, and the session goes on."""
    async with far.session() as (session, peer):
        ours, theirs = await opened_by_python(session, peer)
        reading = await peer.begin("read", stream=theirs)
        ours.reset(ErrorCode.STREAM_CANCELLED)
        heard = await reading.wait()
        assert heard["bytes"] == 0
        if "reset" in far.peer.can:
            assert heard["error"] != "EOF"
        if "codes" in far.peer.can:
            assert heard["code"] == ErrorCode.STREAM_CANCELLED
        await round_trip(await opened_by_python(session, peer), peer)


@pytest.mark.needs("reset")
async def test_a_blocked_peer_wakes_up_to_our_reset(far: Far) -> None:
    async with far.session() as (session, peer):
        ours, theirs = await opened_by_peer(session, peer)
        writing = await peer.begin("write", stream=theirs, size=MIB)
        await receive_exactly(ours, 1)
        ours.reset()
        written = await writing.wait()
        assert "error" in written
        assert written["bytes"] < MIB


@pytest.mark.needs("reset")
async def test_our_sender_hears_that_the_peer_let_go_of_the_stream(far: Far) -> None:
    """No library has a call that resets; what comes for a closed stream is answered with a reset."""
    async with far.session(*far.peer.lingering) as (session, peer):
        ours, theirs = await opened_by_python(session, peer)
        await peer.do("close", stream=theirs)
        with pytest.raises(muxado.StreamResetError) as caught:
            await send_without_end(ours)
        assert caught.value.remote
        assert not caught.value.retry.safe
        await round_trip(await opened_by_python(session, peer), peer)


# Full windows


@pytest.mark.needs("stream_window")
async def test_our_sender_wakes_up_though_its_window_is_full(far: Far) -> None:
    """The peer's FIN does not say that nobody reads."""
    settings = {"probe_interval": 0.1, "stall_timeout": 0.5}
    async with far.session(*far.peer.lingering, **settings) as (session, peer):
        ours, theirs = await opened_by_python(session, peer)
        sending = anyio.Event()

        async def send_more() -> None:
            sending.set()
            with pytest.raises(muxado.StreamError):
                await send_without_end(ours)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_more)
            await sending.wait()
            await anyio.wait_all_tasks_blocked()
            await peer.do("close", stream=theirs)
        await round_trip(await opened_by_python(session, peer), peer)


@pytest.mark.needs("stream_window")
async def test_a_peer_with_a_full_window_wakes_up_to_our_close(far: Far) -> None:
    """With an error, or because what it writes is taken and thrown away."""
    async with far.session() as (session, peer):
        ours, theirs = await opened_by_peer(session, peer)
        writing = await peer.begin("write", stream=theirs, size=MIB)
        await receive_exactly(ours, WINDOW // 4)
        await ours.aclose()
        written = await writing.wait()
        assert "error" in written or written["bytes"] == MIB
        await round_trip(await opened_by_python(session, peer), peer)


# Backlogs


@pytest.mark.needs("refuse")
async def test_what_overflows_the_backlog_of_the_peer_is_refused_and_never_seen(far: Far) -> None:
    async with far.session("-backlog", "2") as (session, peer):
        await opened_by_python(session, peer)  # where streams are acknowledged, that shows it
        streams = []
        for _ in range(5):
            streams.append(await session.open_stream())
            with suppress(muxado.StreamRefusedError):  # already; below it says so again
                await streams[-1].send(b"hello")
        for stream in streams[2:]:
            with pytest.raises(muxado.StreamRefusedError) as caught:
                await stream.receive()
            assert caught.value.retry is Retry.REFUSED
        seen = {(await peer.do("accept"))["stream"] for _ in range(2)}
        again, theirs = await opened_by_python(session, peer)
        assert seen | {theirs} == {streams[0].id, streams[1].id, again.id}


async def test_what_overflows_the_backlog_of_python_ends_and_never_reaches_its_application(
    far: Far,
) -> None:
    """Without a reset on the wire, the end of the stream is all that the peer hears."""
    async with far.session(accept_backlog=2) as (session, peer):
        opened = []
        for number in range(5):
            opened.append((await peer.do("open"))["stream"])
            await peer.do("write", stream=opened[-1], text=str(number))
        endings = [await peer.do("read", stream=stream, size=1) for stream in opened[2:]]
        assert [ending["bytes"] for ending in endings] == [0, 0, 0]
        if "reset" in far.peer.can:
            assert all(ending["error"] != "EOF" for ending in endings)
        if "codes" in far.peer.can:
            assert {ending["code"] for ending in endings} == {ErrorCode.ACCEPT_QUEUE_FULL}
        streams = [await session.accept_stream() for _ in range(2)]
        heard = [await stream.receive() for stream in streams]
        assert heard == [b"0", b"1"]
        await round_trip(await opened_by_peer(session, peer), peer)


async def test_streams_wait_for_a_peer_that_does_not_accept(far: Far) -> None:
    """Fewer than its backlog: none is lost, and they are accepted in the order of their opening."""
    async with far.session() as (session, peer):
        for number in range(20):
            stream = await session.open_stream()
            await stream.send(b"%02d" % number)
        for number in range(20):
            theirs = (await peer.do("accept"))["stream"]
            assert (await peer.do("read", stream=theirs, size=2))["text"] == f"{number:02}"

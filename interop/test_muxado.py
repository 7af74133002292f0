"""muxado_py and ``golang.ngrok.com/muxado/v2`` over TCP: every test is a script for two actors.

``session`` is ours, ``peer`` is Go, moved by the verbs of ``interop/go/puppet``.  All run against
the newest Go and against v2.0.1, as client and as server, on asyncio and on trio.

What Go does is asserted too where a rule of ours rests on it: when a new version of Go changes,
the test that fails says which rule to look at.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import anyio
import pytest

import muxado_py as muxado
from muxado_py import ErrorCode, Retry

from .actors import (
    BULK,
    WINDOW,
    answer_with_echo,
    echo,
    opened_by_peer,
    opened_by_python,
    receive_all,
    receive_exactly,
    round_trip,
    send_and_finish,
    send_without_end,
    sha256,
)
from .conftest import PATIENCE
from .peers import MUXADO_GO

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from .conftest import Far

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.interop,
    pytest.mark.peers(*MUXADO_GO.values()),
    # Building the peers is bounded by itself; a first time compiles Go's standard library.
    pytest.mark.timeout(2 * PATIENCE, func_only=True),
]

# Echo


async def test_go_calls_python_on_many_streams_at_once(far: Far) -> None:
    async with far.session() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(session.net_listener().serve, answer_with_echo)
        assert await peer.do("call_echo", count=100, size=100_000, finish=True) == {"equal": 100}
        tasks.cancel_scope.cancel()


async def test_both_call_each_other_at_once(far: Far) -> None:
    question = random.randbytes(BULK)
    async with far.session() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(session.net_listener().serve, answer_with_echo)
        await peer.begin("serve_echo")
        calling = await peer.begin("call_echo", count=4, size=BULK // 4, finish=True)
        assert sha256(await echo(session, question)) == sha256(question)
        assert await calling.wait() == {"equal": 4}
        tasks.cancel_scope.cancel()


# Half close


async def test_python_finishes_and_reads_the_answer(far: Far) -> None:
    async with far.session() as (session, peer):
        ours, theirs = await opened_by_python(session, peer)
        await send_and_finish(ours, b"question")
        question = await peer.do("read", stream=theirs)
        assert (question["text"], question["error"]) == ("question", "EOF")
        assert "error" not in await peer.do("write", stream=theirs, text="answer")
        assert await peer.do("close_write", stream=theirs) == {}
        assert await receive_all(ours) == b"answer"


async def test_go_finishes_and_reads_the_answer(far: Far) -> None:
    async with far.session() as (session, peer):
        ours, theirs = await opened_by_peer(session, peer)
        await peer.do("write", stream=theirs, text="question")
        await peer.do("close_write", stream=theirs)
        assert await receive_all(ours) == b"question"
        await send_and_finish(ours, b"answer")
        answer = await peer.do("read", stream=theirs)
        assert (answer["text"], answer["error"]) == ("answer", "EOF")


@pytest.mark.parametrize("question", [b"", b"question"])
async def test_go_can_answer_a_stream_that_we_open_and_finish_at_once(
    far: Far, question: bytes
) -> None:
    """A Go acceptor cannot write to a stream whose SYN and FIN came in one frame."""
    async with far.session() as (session, peer):
        ours = await session.open_stream()
        if question:
            await ours.send(question)
        await ours.send_eof()
        theirs = (await peer.do("accept"))["stream"]
        assert (await peer.do("read", stream=theirs))["text"] == question.decode()
        assert "error" not in await peer.do("write", stream=theirs, text="answer")
        await peer.do("close", stream=theirs)
        assert await receive_all(ours) == b"answer"


async def test_python_can_answer_a_stream_that_go_opens_and_finishes_at_once(far: Far) -> None:
    """Go then sends SYN and FIN in one empty frame."""
    async with far.session() as (session, peer):
        theirs = (await peer.do("open"))["stream"]
        await peer.do("close_write", stream=theirs)
        ours = await session.accept_stream()
        assert await receive_all(ours) == b""
        await send_and_finish(ours, b"answer")
        assert (await peer.do("read", stream=theirs))["text"] == "answer"


# Flow control


async def test_nothing_is_lost_when_go_reads_slowly(far: Far) -> None:
    data = random.randbytes(BULK)
    piece = BULK // 8
    finished = anyio.Event()

    async def send_bulk(stream: muxado.Stream) -> None:
        await send_and_finish(stream, data)
        finished.set()

    async with far.session() as (session, peer):
        bulk, theirs = await opened_by_python(session, peer)
        beside = await opened_by_python(session, peer)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_bulk, bulk)
            for start in range(0, BULK, piece):
                await round_trip(beside, peer)  # the pause; and the other stream is not held up
                assert not finished.is_set(), "send() took more than window and buffer hold"
                fact = await peer.do("read", stream=theirs, size=piece)
                assert fact["sha256"] == sha256(data[start : start + piece])
        assert (await peer.do("read", stream=theirs))["error"] == "EOF"


async def test_windows_other_than_the_default_serve_when_both_ends_have_them(far: Far) -> None:
    window = 1024 * 1024
    question = random.randbytes(BULK)
    async with far.session("-window", str(window), initial_window=window, stream_window=window) as (
        session,
        peer,
    ):
        await peer.begin("serve_echo")
        assert sha256(await echo(session, question)) == sha256(question)


# Reset and full close


async def test_go_reads_what_came_before_our_reset_and_then_its_code(far: Far) -> None:
    async with far.session() as (session, peer):
        ours, theirs = await opened_by_python(session, peer)
        await ours.send(b"last words")
        await peer.do("read", stream=theirs, size=4)
        ours.reset(ErrorCode.STREAM_CANCELLED)
        rest = await peer.do("read", stream=theirs)
        assert (rest["text"], rest["code"]) == (" words", ErrorCode.STREAM_CANCELLED)
        written = await peer.do("write", stream=theirs, text="too late")
        assert written["code"] == ErrorCode.STREAM_CANCELLED


async def test_a_blocked_go_writer_wakes_up_to_our_reset(far: Far) -> None:
    async with far.session() as (session, peer):
        ours, theirs = await opened_by_peer(session, peer)
        writing = await peer.begin("write", stream=theirs, size=BULK)
        await receive_exactly(ours, WINDOW)
        ours.reset(ErrorCode.INTERNAL_ERROR)
        written = await writing.wait()
        assert written["code"] == ErrorCode.INTERNAL_ERROR
        assert written["bytes"] < BULK


async def test_a_blocked_go_writer_wakes_up_to_our_close(far: Far) -> None:
    async with far.session() as (session, peer):
        ours, theirs = await opened_by_peer(session, peer)
        writing = await peer.begin("write", stream=theirs, size=BULK)
        await receive_exactly(ours, WINDOW)
        await ours.aclose()
        assert "error" in await writing.wait()


async def test_our_sender_wakes_up_to_the_close_of_go(far: Far) -> None:
    """Go answers data for a stream that it closed with RST(STREAM_CLOSED)."""
    async with far.session() as (session, peer):
        ours, theirs = await opened_by_python(session, peer)
        await peer.do("write", stream=theirs, text="answer")
        await peer.do("close", stream=theirs)
        with pytest.raises(muxado.StreamResetError) as caught:
            await send_without_end(ours)
        assert caught.value.code == ErrorCode.STREAM_CLOSED
        assert caught.value.remote
        assert not caught.value.retry.safe
        assert await receive_all(ours) == b"answer"


async def test_our_sender_wakes_up_though_its_window_is_full(far: Far) -> None:
    """Go's FIN does not say that nobody reads: only a zero-window probe finds out."""
    async with far.session(probe_interval=0.1) as (session, peer):
        ours, theirs = await opened_by_python(session, peer)
        await ours.send(bytes(WINDOW))
        sending = anyio.Event()

        async def send_more() -> None:
            sending.set()
            with pytest.raises(muxado.StreamResetError) as caught:
                await ours.send(bytes(WINDOW))
            assert caught.value.code == ErrorCode.STREAM_CLOSED

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_more)
            await sending.wait()
            await peer.do("close", stream=theirs)


# Refusal


async def test_what_overflows_the_backlog_of_go_is_refused_and_go_never_sees_it(far: Far) -> None:
    seen: set[int] = set()
    async with far.session("-backlog", "2") as (session, peer):
        streams = []
        for _ in range(5):
            # Each is sent to at once: a stream that was refused meanwhile takes nothing.
            streams.append(await session.open_stream())
            await streams[-1].send(b"hello")
        for stream in streams[2:]:
            with pytest.raises(muxado.StreamRefusedError) as caught:
                await stream.receive()
            assert caught.value.code == ErrorCode.ACCEPT_QUEUE_FULL
            assert caught.value.retry is Retry.REFUSED
        for _ in range(2):
            seen.add((await peer.do("accept"))["stream"])
        again, theirs = await opened_by_python(session, peer)
        seen.add(theirs)
        assert seen == {streams[0].id, streams[1].id, again.id}


# The end of a session


async def test_nothing_is_lost_after_our_goaway(far: Far) -> None:
    """Go up to v2.0.1 swallows the eight bytes after a GOAWAY: they must be padding."""
    data = random.randbytes(BULK)
    async with far.session() as (session, peer):
        pairs = [await opened_by_python(session, peer), await opened_by_peer(session, peer)]
        session.go_away()
        for pair in pairs:
            await round_trip(pair, peer)
        assert (await peer.do("open"))["code"] == ErrorCode.REMOTE_GONE_AWAY
        for ours, theirs in pairs:
            reading = await peer.begin("read", stream=theirs, size=BULK)
            await ours.send(data)
            assert (await reading.wait())["sha256"] == sha256(data)
            writing = await peer.begin("write", stream=theirs, size=BULK)
            received = await receive_exactly(ours, BULK)
            assert (await writing.wait())["sha256"] == sha256(received)


async def test_a_drain_lets_go_finish_what_it_has_open(far: Far) -> None:
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
            await peer.do("close_write", stream=theirs)
            assert await receive_all(ours) == b"done"
            await ours.aclose()
        end = await peer.do("wait")
        assert end["goaway"] == ErrorCode.NO_ERROR


@pytest.mark.parametrize("typed", [True, False])
async def test_a_drain_of_an_idle_session_ends_at_once(far: Far, typed: bool) -> None:
    """Go never speaks first and answers no ping; and a stream of heartbeats is nobody's call."""
    too_long = 10 * PATIENCE
    async with far.session(
        *["-typed"] * typed, typed_streams=typed, heartbeat_timeout=too_long
    ) as (session, peer):
        if typed:
            await peer.begin("accept")
            await peer.do("start_beating")
            await peer.do("beat")
            await session.ping()
        await session.drain(too_long)
        assert (await peer.do("wait"))["goaway"] == ErrorCode.NO_ERROR


async def test_our_close_ends_what_go_has_open(far: Far) -> None:
    async with far.session() as (session, peer):
        _, theirs = await opened_by_peer(session, peer)
        reading = await peer.begin("read", stream=theirs)
        await session.aclose()
        assert (await peer.do("wait"))["goaway"] == ErrorCode.NO_ERROR
        assert (await reading.wait())["code"] == ErrorCode.SESSION_CLOSED


async def test_the_close_of_go_is_a_goodbye(far: Far) -> None:
    """It says nothing, though, of what Go's application saw: Go reports the last SYN, not the
    highest."""
    async with far.session() as (session, peer):
        ours, _ = await opened_by_python(session, peer)
        unseen = await session.open_stream()
        await unseen.send(b"in the backlog")
        await round_trip((ours, ours.id or 0), peer)
        await peer.do("close_session")
        for stream in (ours, unseen):
            with pytest.raises(muxado.SessionClosedError) as caught:
                await stream.receive()
            assert caught.value.remote
            assert not caught.value.retry.safe
        with pytest.raises(ConnectionError) as refused:
            await session.net_dial("anything", 80)
        assert isinstance(refused.value, muxado.SessionError)
        assert refused.value.retry is Retry.NEVER_SENT


async def test_a_killed_peer_leaves_no_call_hanging_and_no_verdict_safe(far: Far) -> None:
    errors: list[muxado.TransportError] = []

    async def expect_the_end(call: Awaitable[object]) -> None:
        with pytest.raises(muxado.TransportError) as caught:
            await call
        errors.append(caught.value)

    async with far.session() as (session, peer):
        reading, _ = await opened_by_python(session, peer)
        sending, _ = await opened_by_peer(session, peer)
        await sending.send(bytes(WINDOW))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(expect_the_end, reading.receive())
            tasks.start_soon(expect_the_end, sending.send(bytes(WINDOW)))
            tasks.start_soon(expect_the_end, session.accept_stream())
            await anyio.wait_all_tasks_blocked()
            peer.kill()
        assert [error.retry.safe for error in errors] == [False, False, False]
        with pytest.raises(ConnectionError):
            await session.net_dial()


# Typed streams and heartbeats


async def test_stream_types_are_seen_by_both(far: Far) -> None:
    async with far.session("-typed", typed_streams=True) as (session, peer):
        ours = await session.open_stream(stream_type=0x01020304)
        await ours.send(b"hello")
        accepted = await peer.do("accept")
        assert accepted["type"] == 0x01020304
        assert (await peer.do("read", stream=accepted["stream"], size=5))["text"] == "hello"

        theirs = (await peer.do("open", type=0xCAFE))["stream"]
        await peer.do("write", stream=theirs, text="hello")
        answer = await session.accept_stream()
        assert answer.stream_type == 0xCAFE
        assert await receive_exactly(answer, 5) == b"hello"


async def test_go_answers_our_heartbeat(far: Far) -> None:
    async with far.session("-typed", typed_streams=True) as (session, peer):
        accepting = await peer.begin("accept")
        for _ in range(3):
            assert 0 < await session.ping(timeout=PATIENCE) < PATIENCE
        assert not accepting.there, "the heartbeat reached Go's application"


async def test_we_answer_the_heartbeat_of_go(far: Far) -> None:
    async with far.session("-typed", typed_streams=True) as (session, peer):
        await peer.do("start_beating")
        for _ in range(3):
            assert (await peer.do("beat"))["answered"]
        await peer.do("open", type=7)
        async with await session.accept_stream() as stream:
            assert stream.stream_type == 7


async def test_a_frozen_go_is_found_out_by_our_heartbeat(far: Far) -> None:
    async with far.session(
        "-typed", typed_streams=True, heartbeat_interval=0.1, heartbeat_timeout=0.5
    ) as (session, peer):
        await peer.begin("accept")
        await session.ping(timeout=PATIENCE)
        ours = await session.open_stream(stream_type=7)
        await ours.send(b"hello")
        peer.freeze()
        with pytest.raises(muxado.PeerTimeoutError) as caught:
            await ours.receive()
        assert not caught.value.retry.safe


async def test_a_silent_go_without_heartbeats_is_not_thought_dead(far: Far) -> None:
    """Go that was not asked for typed streams can answer no heartbeat; silence proves nothing."""
    async with far.session(heartbeat_interval=0.05, heartbeat_timeout=0.1) as (session, peer):
        pair = await opened_by_python(session, peer)
        await anyio.sleep(0.5)  # long enough to be wrongly declared dead three times
        await round_trip(pair, peer)


# Recognition


@pytest.mark.roles("client")
async def test_go_does_not_notice_the_frame_by_which_we_know_each_other(far: Far) -> None:
    hello = bytes.fromhex("0000042c 7fffffff 6d787001")
    syn = bytes.fromhex("00000112 00000003") + b"?"
    credit = bytes.fromhex("00000420 00000003 00000001")
    data = bytes.fromhex("00000110 00000003") + b"!"
    with anyio.fail_after(PATIENCE):
        async with far.run("-listen", "127.0.0.1:0") as peer:
            host, port = peer.address.split(":")
            async with await anyio.connect_tcp(host, int(port)) as transport:
                await transport.send(hello + syn)
                theirs = (await peer.do("accept"))["stream"]
                await peer.do("read", stream=theirs, size=1)
                await peer.do("write", stream=theirs, text="!")
                await peer.do("close_session")
                received = b"".join([chunk async for chunk in transport])
    goaway = bytes.fromhex("00001030 00000000 00000003 00000000") + b"no error"
    assert received == credit + data + goaway

"""What streams carry, with every peer: echoes, a thousand at once, volume, slow readers, half closes.

``session`` is ours, ``peer`` is the puppet.  Streams are opened from both sides.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest

from .actors import (
    KIB,
    MIB,
    WINDOW,
    answer_with_echo,
    echo,
    opened_by_peer,
    opened_by_python,
    receive_all,
    receive_exactly,
    round_trip,
    send_and_finish,
    sha256,
)
from .conftest import PATIENCE

if TYPE_CHECKING:
    import muxado_py as muxado

    from .conftest import Far

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.interop,
    pytest.mark.timeout(2 * PATIENCE, func_only=True),
]

THOUSAND = 1_000
BULK = 3 * MIB  # less than the bucket of a smux session, 4 MiB
VOLUME = 256 * MIB


# Echo


async def test_python_calls_the_peer_on_many_streams(far: Far) -> None:
    equal = []

    async def call() -> None:
        question = random.randbytes(100_000)
        equal.append(await echo(session, question) == question)

    async with far.session() as (session, peer):
        serving = await peer.begin("serve_echo")
        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(call)
        assert equal == [True] * 40
        await session.aclose()
        assert (await serving.wait())["served"] == 40


async def test_the_peer_calls_python_on_many_streams(far: Far) -> None:
    async with far.session() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(session.net_listener().serve, answer_with_echo)
        assert await peer.do("call_echo", count=40, size=100_000) == {"equal": 40}
        tasks.cancel_scope.cancel()


# A thousand at once


class Gathering:
    """Where tasks wait until all of them are there."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._all_there = anyio.Event()

    async def meet(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._all_there.set()
        await self._all_there.wait()


async def test_python_has_a_thousand_streams_open_at_once(far: Far) -> None:
    gathering = Gathering(THOUSAND)
    equal: list[bool] = []

    async def call(number: int) -> None:
        async with await session.open_stream() as stream:
            for question in (b"%03d" % number, random.randbytes(500)):
                await stream.send(question)
                equal.append(await receive_exactly(stream, len(question)) == question)
                await gathering.meet()

    async with far.session(*far.peer.roomy, max_open_streams=THOUSAND) as (session, peer):
        await peer.begin("serve_echo")
        async with anyio.create_task_group() as tasks:
            for number in range(THOUSAND):
                tasks.start_soon(call, number)
        assert equal == [True] * 2 * THOUSAND


async def test_the_peer_has_a_thousand_streams_open_at_once(far: Far) -> None:
    gathering = Gathering(THOUSAND)

    async def answer_when_all_are_there(stream: muxado.Stream) -> None:
        async with stream:
            question = await receive_exactly(stream, 500)
            await gathering.meet()
            await stream.send(question)

    room = THOUSAND + far.peer.heartbeat_streams
    async with (
        far.session(*far.peer.roomy, max_streams=room) as (session, peer),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(session.net_listener().serve, answer_when_all_are_there)
        assert await peer.do("call_echo", count=THOUSAND, size=500) == {"equal": THOUSAND}
        tasks.cancel_scope.cancel()


# Volume


@pytest.mark.roles("client")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.timeout(300, func_only=True)
async def test_volume_both_ways_at_once(far: Far) -> None:
    """256 MiB each way, in pieces of random sizes, on a stream that each side opened."""
    sums: dict[str, str] = {}

    async def send(stream: muxado.Stream) -> None:
        source, total = random.randbytes(2 * MIB), hashlib.sha256()
        left = VOLUME
        while left:
            size = min(left, random.randint(1, MIB))
            start = random.randrange(MIB)
            total.update(source[start : start + size])
            await stream.send(source[start : start + size])
            left -= size
        sums["sent"] = total.hexdigest()

    async def receive(stream: muxado.Stream) -> None:
        total, left = hashlib.sha256(), VOLUME
        while left:
            chunk = await stream.receive(min(left, random.randint(1, MIB)))
            total.update(chunk)
            left -= len(chunk)
        sums["received"] = total.hexdigest()

    async with replace(far, patience=240.0).session() as (session, peer):
        up, up_there = await opened_by_python(session, peer)
        down, down_there = await opened_by_peer(session, peer)
        reading = await peer.begin("read", stream=up_there, size=VOLUME)
        writing = await peer.begin("write", stream=down_there, size=VOLUME, chunk=MIB)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, up)
            tasks.start_soon(receive, down)
        assert (await reading.wait())["sha256"] == sums["sent"]
        assert (await writing.wait())["sha256"] == sums["received"]


# Slow readers


async def test_nothing_is_lost_when_the_peer_reads_slowly(far: Far) -> None:
    """And where each stream has a window, what is unread is bounded."""
    data = random.randbytes(BULK)
    piece = BULK // 8
    finished = anyio.Event()

    async def send_bulk(stream: muxado.Stream) -> None:
        await stream.send(data)
        finished.set()

    async with far.session() as (session, peer):
        bulk, theirs = await opened_by_python(session, peer)
        beside = await opened_by_python(session, peer)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_bulk, bulk)
            for start in range(0, BULK, piece):
                await round_trip(beside, peer)  # the pause; and the other stream is not held up
                if "stream_window" in far.peer.can:
                    assert not finished.is_set(), "send() took more than window and buffer hold"
                fact = await peer.do("read", stream=theirs, size=piece)
                assert fact["sha256"] == sha256(data[start : start + piece])


async def test_nothing_is_lost_when_python_reads_slowly(far: Far) -> None:
    """And where each stream has a window that stays as it is, the peer gets no byte of credit before it
    is read."""
    received = b""
    async with far.session(max_stream_window=0) as (session, peer):
        bulk, theirs = await opened_by_peer(session, peer)
        beside = await opened_by_python(session, peer)
        writing = await peer.begin("write", stream=theirs, size=BULK)
        while len(received) < BULK:
            await round_trip(beside, peer)
            if "stream_window" in far.peer.can and len(received) + WINDOW < BULK:
                assert not writing.there, "the peer was given more credit than was read"
            received += await receive_exactly(bulk, BULK // 8)
        written = await writing.wait()
        assert (written["bytes"], written["sha256"]) == (BULK, sha256(received))


async def test_a_reader_that_stops_holds_up_no_other_stream(far: Far) -> None:
    """Of one byte in every window nothing is read; other streams go on."""
    question = random.randbytes(500 * KIB)
    async with far.session() as (session, peer):
        unread, _ = await opened_by_python(session, peer)
        _, unread_there = await opened_by_peer(session, peer)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(unread.send, bytes(MIB))
            await peer.begin("write", stream=unread_there, size=MIB)
            await peer.begin("serve_echo")
            assert await echo(session, question) == question
            tasks.start_soon(session.net_listener().serve, answer_with_echo)
            assert await peer.do("call_echo", count=4, size=100_000) == {"equal": 4}
            tasks.cancel_scope.cancel()


# Half close


@pytest.mark.needs("hear_half_close")
async def test_python_finishes_and_reads_the_answer(far: Far) -> None:
    async with far.session(**far.peer.half_closing) as (session, peer):
        ours, theirs = await opened_by_python(session, peer)
        await send_and_finish(ours, b"question")
        question = await peer.do("read", stream=theirs)
        assert (question["text"], question["error"]) == ("question", "EOF")
        assert "error" not in await peer.do("write", stream=theirs, text="answer")
        await peer.do("close", stream=theirs)
        assert await receive_all(ours) == b"answer"


@pytest.mark.needs("half_close")
async def test_the_peer_finishes_and_reads_the_answer(far: Far) -> None:
    """It waits for the answer, which is not there yet."""
    async with far.session(**far.peer.half_closing) as (session, peer):
        beside = await opened_by_python(session, peer)
        ours, theirs = await opened_by_peer(session, peer)
        await peer.do("write", stream=theirs, text="question")
        await peer.do("close_write", stream=theirs)
        assert await receive_all(ours) == b"question"
        reading = await peer.begin("read", stream=theirs)
        await round_trip(beside, peer)  # the read has begun
        await send_and_finish(ours, b"answer")
        answer = await reading.wait()
        assert (answer["text"], answer["error"]) == ("answer", "EOF")


@pytest.mark.needs("half_close", "hear_half_close")
async def test_long_answers_after_a_half_close_are_whole(far: Far) -> None:
    """The end of one direction takes nothing from the other, however much is under way."""
    answer = random.randbytes(BULK)
    async with far.session(**far.peer.half_closing) as (session, peer):
        beside = await opened_by_python(session, peer)
        ours, theirs = await opened_by_peer(session, peer)
        await peer.do("close_write", stream=theirs)
        assert await receive_all(ours) == b""
        reading = await peer.begin("read", stream=theirs)
        await round_trip(beside, peer)
        await send_and_finish(ours, answer)
        heard = await reading.wait()
        assert (heard["bytes"], heard["sha256"]) == (BULK, sha256(answer))

        ours, theirs = await opened_by_python(session, peer)
        await ours.send_eof()
        await peer.do("read", stream=theirs)
        writing = await peer.begin("write", stream=theirs, size=BULK)
        received = await receive_exactly(ours, BULK)
        assert (await writing.wait())["sha256"] == sha256(received)

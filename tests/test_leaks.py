"""What is over leaves nothing behind: no stream, no slot, no task, no memory."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import random
import subprocess
import sys
import tracemalloc
import weakref
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import sniffio
import trio
from anyio import CancelScope, create_task_group, fail_after, move_on_after

import muxado_py as muxado
from muxado_py import ErrorCode, Retry

from .by_url import TRANSPORTS, served, sessions_by_url
from .check_byte_stream import receive_all
from .frames_seen import HELLO, data, rst
from .scripted_peer import keeping, scripted
from .session.test_session import settled
from .transports import memory_transports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

MANY = 10_000
WIDE = muxado.Config(max_streams=2 * MANY, accept_backlog=2 * MANY, probe_interval=0.1)
QUICK = muxado.Config(probe_interval=0.1)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Without asyncio's debugging, which keeps a traceback for every task."""
    return request.param, {}


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    """From the start: of what was there before, nobody would see that it went when other things took its place."""
    tracemalloc.start(1)
    yield
    tracemalloc.stop()


def tasks_alive() -> int:
    """How many tasks the event loop has."""
    if sniffio.current_async_library() == "trio":
        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())


def traced_memory() -> int:
    """Bytes that are in use, without what CPython itself keeps to be fast.

    Its cache of attributes keeps the names it was asked for, up to 4,096 of them: with the waits of
    anyio's streams in memory it grew by 25 KB on 3.13, whatever we did.
    """
    gc.collect()
    if sys.version_info >= (3, 13):
        sys._clear_internal_caches()
    else:
        sys._clear_type_cache()
    return tracemalloc.get_traced_memory()[0]


def kept_by_dispatch() -> bool:
    """Whether ``functools.singledispatchmethod`` keeps each object that it was called on, as CPython 3.13.0 does (gh-127750).

    python-socks calls it for each connection: findings/cpython_singledispatchmethod_keeps.sh.
    """

    class Dispatching:
        @functools.singledispatchmethod
        def take(self, what: object) -> None: ...

    one = Dispatching()
    one.take(1)
    gone = weakref.ref(one)
    del one
    gc.collect()
    return gone() is not None


@asynccontextmanager
async def nothing_left(*, grown_at_most: int = 50_000) -> AsyncIterator[None]:
    """Tasks are as many as before, and traced memory has not grown by more than given.

    Some goes with the next round of the timekeeper, so that is waited for.  Do once before what is
    done inside: lists and dicts keep the room for the most they held, and a coverage tool its tables of lines.
    """
    if sniffio.current_async_library() == "trio":
        grown_at_most += 250_000  # its heap of time-outs keeps up to a thousand that are over
    tasks = tasks_alive()
    before = traced_memory()
    yield
    with move_on_after(20):
        while True:
            grown = traced_memory() - before
            if grown <= grown_at_most:
                break
            await anyio.sleep(0.05)
    assert tasks_alive() == tasks
    assert grown <= grown_at_most, f"{grown} bytes more than before"


@contextmanager
def expect_idle(*sessions: muxado.Session) -> Iterator[None]:
    """The sessions are as empty afterwards as they are now."""
    yield
    for session in sessions:
        assert session.statistics()[:4] == (0, 0, 0, 0)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_ten_thousand_streams_at_once() -> None:
    near, far = memory_transports()
    async with muxado.client(near, WIDE) as dialed, muxado.server(far, WIDE) as accepted:
        await dialed.ping()
        await accepted.ping()
        # Dicts that held them all, asyncio's set of tasks among them, keep 450 bytes a stream; one
        # stream left over at both ends would be three times that.
        async with nothing_left(grown_at_most=600 * MANY):
            with fail_after(850), expect_idle(dialed, accepted):
                await ten_thousand_echoes(dialed, accepted)


async def ten_thousand_echoes(dialed: muxado.Session, accepted: muxado.Session) -> None:
    """Open them all, say something on each, hear it on each while all are open, close them all."""
    all_open = anyio.Event()
    echoed = 0

    async def echo(stream: muxado.Stream) -> None:
        await stream.send(await stream.receive())
        assert await receive_all(stream) == b""
        await stream.aclose()

    async def call(number: int) -> None:
        nonlocal echoed
        stream = await dialed.open_stream()
        await stream.send(b"%d" % number)
        assert await stream.receive() == b"%d" % number
        echoed += 1
        if echoed == MANY:
            for session in (dialed, accepted):
                assert session.statistics().live_streams == MANY
            assert accepted.statistics().peer_streams == MANY
            all_open.set()
        await all_open.wait()
        await stream.send_eof()
        assert await receive_all(stream) == b""
        await stream.aclose()

    async with create_task_group() as serving:
        serving.start_soon(accepted.net_listener().serve, echo)
        async with create_task_group() as calling:
            for number in range(MANY):
                calling.start_soon(call, number)
        await settled()
        serving.cancel_scope.cancel()


@pytest.mark.slow
async def test_twenty_thousand_streams_one_after_the_other() -> None:
    near, far = memory_transports()
    async with muxado.client(near, QUICK) as dialed, muxado.server(far, QUICK) as accepted:
        await dialed.ping()

        async def echo(stream: muxado.Stream) -> None:
            await stream.send(await receive_all(stream))

        async def call(count: int) -> None:
            for _ in range(count):
                stream = await dialed.open_stream()
                await stream.send(b"x")
                await stream.send_eof()
                assert await receive_all(stream) == b"x"
                await stream.aclose()

        async def calls(count: int) -> None:
            async with create_task_group() as serving:
                serving.start_soon(accepted.net_listener().serve, echo)
                async with create_task_group() as calling:
                    for _ in range(64):
                        calling.start_soon(call, count // 64)
                await settled()
                serving.cancel_scope.cancel()

        await calls(15_000)
        async with nothing_left():
            with fail_after(550), expect_idle(dialed, accepted):
                await calls(5_000)


@pytest.mark.slow
async def test_calls_that_are_cancelled_anywhere() -> None:
    near, far = memory_transports()
    chance = random.Random(6)
    async with muxado.client(near, QUICK) as dialed, muxado.server(far, QUICK) as accepted:
        await dialed.ping()
        await cancelled_calls(dialed, accepted, chance, 10)
        async with nothing_left():
            with fail_after(550), expect_idle(dialed, accepted):
                await cancelled_calls(dialed, accepted, chance, 300)


async def cancelled_calls(
    dialed: muxado.Session, accepted: muxado.Session, chance: random.Random, count: int
) -> None:
    """So often twenty calls, all cancelled at a moment of chance."""

    async def echo(stream: muxado.Stream) -> None:
        with suppress(muxado.StreamError):
            async for chunk in stream:
                await stream.send(chunk)

    async def call() -> None:
        stream = None
        try:
            with suppress(muxado.StreamRefusedError):
                stream = await dialed.open_stream()
                await stream.send(bytes(5000))
                await stream.receive()
                await stream.send_eof()
                await receive_all(stream)
                await stream.aclose()
        finally:
            if stream is not None:
                stream.reset()

    async with create_task_group() as serving:
        serving.start_soon(accepted.net_listener().serve, echo)
        for _ in range(count):
            async with create_task_group() as calling:
                for _ in range(20):
                    calling.start_soon(call)
                for _ in range(chance.randrange(30)):
                    await anyio.lowlevel.checkpoint()
                calling.cancel_scope.cancel()
        await dialed.ping()
        await settled()
        serving.cancel_scope.cancel()


@pytest.mark.slow
async def test_streams_that_are_refused() -> None:
    config = muxado.Config(accept_backlog=4, probe_interval=0.1)
    near, far = memory_transports()
    async with muxado.client(near, QUICK) as dialed, muxado.server(far, config) as accepted:

        async def refusals(count: int) -> None:
            for _ in range(count):
                streams = [await dialed.open_stream() for _ in range(20)]
                await dialed.ping()
                refused = 0
                for stream in streams:
                    try:
                        stream.receive_nowait()
                    except muxado.StreamRefusedError as exc:
                        refused += exc.retry is Retry.REFUSED
                    except anyio.WouldBlock:
                        stream.reset()
                    await stream.aclose()
                assert refused == 16
                # Those that waited were reset before anybody accepted them.
                await dialed.ping()
                await accepted.ping()

        with expect_idle(dialed, accepted):
            await refusals(20)  # as many resets of the peer as a session remembers, and more
        async with nothing_left():
            with fail_after(550), expect_idle(dialed, accepted):
                await refusals(200)


@pytest.mark.slow
async def test_a_peer_that_never_finishes_its_streams() -> None:
    """Closed on our side, they are forgotten; what still comes is answered and not kept."""
    async with scripted(QUICK) as (session, peer), keeping(peer):
        await peer.say(HELLO)

        async def streams(first: int, count: int) -> None:
            for number in range(first, first + 2 * count, 2):
                await peer.say(data(number, b"never finished", syn=True))
                stream = await session.accept_stream()
                await stream.send(b"answer")
                await stream.aclose()
                await peer.say(data(number, b"and more"))
                await settled()
                peer.seen.clear()
                peer.wire = b""

        await streams(2, 50)
        async with nothing_left():
            with fail_after(550), expect_idle(session):
                await streams(102, 1000)


@pytest.mark.slow
async def test_streams_that_are_opened_and_reset_at_once() -> None:
    async with (
        scripted(muxado.Config(control_budget=4000, probe_interval=0.1)) as (session, peer),
        keeping(peer),
    ):
        await peer.say(HELLO)

        async def streams(first: int, count: int) -> None:
            for number in range(first, first + 2 * count, 2):
                code = ErrorCode.STREAM_CANCELLED
                await peer.say(data(number, b"x", syn=True), rst(number, code))
                await settled()
            peer.seen.clear()
            peer.wire = b""

        await streams(2, 50)
        async with nothing_left():
            with fail_after(550), expect_idle(session):
                await streams(102, 1000)


@pytest.mark.slow
async def test_sessions_one_after_the_other() -> None:
    async def sessions(count: int) -> None:
        for _ in range(count):
            near, far = memory_transports()
            async with muxado.client(near, QUICK) as dialed, muxado.server(far, QUICK) as accepted:
                stream = await dialed.open_stream()
                await stream.send(b"x")
                far_stream = await accepted.accept_stream()
                assert await far_stream.receive() == b"x"
                far_stream.reset()
                await dialed.ping()

    await sessions(5)
    async with nothing_left():
        with fail_after(550):
            await sessions(200)


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_sessions_over_each_transport(transport: str, tmp_path: Path) -> None:
    """However they end, nothing of them is left: no task, no memory, no descriptor and no process."""

    async def answer(session: muxado.Session) -> None:
        with suppress(muxado.MuxadoError):
            async with await session.accept_stream() as stream:
                how = await receive_all(stream)
                await stream.send(how)
            if how == b"abort":
                session.abort()
            await session.wait()

    async with served(transport, answer, QUICK, folder=tmp_path) as there:

        async def one(how: str) -> None:
            with CancelScope() as scope, suppress(muxado.SessionError):
                async with there.connect(QUICK) as session:
                    async with await session.open_stream() as stream:
                        await stream.send(how.encode())
                        await stream.send_eof()
                        assert await receive_all(stream) == how.encode()
                    if how == "cancel":
                        scope.cancel()
                    elif how == "abort":
                        await session.wait()

        async def sessions(count: int) -> None:
            for number in range(count):
                await one(("leave", "cancel", "abort")[number % 3])
            while tasks_alive() > listening:  # noqa: ASYNC110 - the far ends come to theirs
                await anyio.sleep(0.01)

        await settled()
        listening = tasks_alive()
        with fail_after(550):
            await sessions(9)
            before = len(os.listdir("/proc/self/fd"))
            kept = 30 * 2_000 if transport == "socks5" and kept_by_dispatch() else 0
            async with nothing_left(grown_at_most=50_000 + kept):
                await sessions(30)
            assert len(os.listdir("/proc/self/fd")) == before
            assert not children()


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_calls_that_are_cancelled_anywhere_over_each_transport(
    transport: str, tmp_path: Path
) -> None:
    chance = random.Random(7)
    async with sessions_by_url(QUICK, scheme=transport, folder=tmp_path) as (dialed, accepted):
        await dialed.ping()
        with fail_after(550):
            await cancelled_calls(dialed, accepted, chance, 30)
            # The memory that a transport fills is lent to streams that are behind, and it takes chance until that is as much
            # as it ever is; a stream left over for each call would be three times that.
            async with nothing_left(grown_at_most=600_000):
                with expect_idle(dialed, accepted):
                    await cancelled_calls(dialed, accepted, chance, 60)


def children() -> list[str]:
    """The commands of the processes that this one has started, and those that nobody has waited for."""
    found = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="],
        capture_output=True,
        text=True,
        check=False,
    )
    return [line for line in found.stdout.splitlines() if not line.startswith("ps ")]

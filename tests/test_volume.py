"""Volume: everything arrives, in order, and memory stays inside what ``Config`` says."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import EndOfStream, create_task_group, fail_after

import muxado_py as muxado
from muxado_py.protocol.shares import LEAST_FLOOR

from .helpers.blocked import all_tasks_blocked, until
from .transports import open_transports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

MIB = 1 << 20
BLOCK = random.Random(1).randbytes(4 * MIB)


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Without asyncio's debugging, which is about something else and costs minutes here."""
    if request.param == "trio":
        return "trio", {}
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@contextmanager
def traced_memory(*, at_most: int) -> Iterator[None]:
    """The traced memory never grows by more than ``at_most`` bytes."""
    tracemalloc.start(1)
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak <= at_most, f"{peak} bytes at the worst"


class Transfer:
    """Sends in one direction, in random sizes; receives in random sizes, with random pauses."""

    def __init__(self, nbytes: int, seed: int, window: int) -> None:
        self.nbytes = nbytes
        self.window = window
        self._chance = random.Random(seed)
        self._sent = hashlib.sha256()
        self._received = hashlib.sha256()
        self.received = 0

    async def send(self, stream: muxado.Stream) -> None:
        left = self.nbytes
        while left:
            size = min(left, int(2 ** self._chance.uniform(0, 20)))
            start = self._chance.randrange(len(BLOCK) - size)
            item = BLOCK[start : start + size]
            self._sent.update(item)
            await stream.send(item)
            left -= size
        await stream.send_eof()

    async def receive(self, stream: muxado.Stream, session: muxado.Session) -> None:
        try:
            while True:
                item = await stream.receive(int(2 ** self._chance.uniform(8, 20)))
                self._received.update(item)
                self.received += len(item)
                assert session.statistics().unread <= self.window
                if self._chance.random() < 0.002:
                    await anyio.sleep(self._chance.random() / 100)
        except EndOfStream:
            assert self.received == self.nbytes
            assert self._received.digest() == self._sent.digest()


async def transfer(
    folder: Path, kind: str, nbytes: int, config: muxado.Config, *, ways: int
) -> None:
    """``nbytes`` one way, or each way at once."""
    async with (
        open_transports(kind, folder) as (near, far),
        muxado.client(near, config) as dialed,
        muxado.server(far, config) as accepted,
    ):
        stream = await dialed.open_stream()
        far_stream = await accepted.accept_stream()
        transfers = [Transfer(nbytes, seed, config.max_stream_window) for seed in range(ways)]
        ends = ((stream, far_stream, accepted), (far_stream, stream, dialed))
        async with create_task_group() as tasks:
            for one, (source, sink, session) in zip(transfers, ends, strict=False):
                tasks.start_soon(one.send, source)
                tasks.start_soon(one.receive, sink, session)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_gibibyte(tmp_path: Path) -> None:
    """Over TCP, both ends in this process."""
    with fail_after(850):
        await transfer(tmp_path, "tcp", 1024 * MIB, muxado.Config(), ways=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tcp", "tls", "memory"])
async def test_memory_stays_inside_the_windows(kind: str, tmp_path: Path) -> None:
    config = muxado.Config(max_stream_window=MIB // 2)
    # A window unread and one on its way, in each direction, what the senders may have queued and
    # give at once, what TLS and the event loop hold of it, and the pieces of all that.
    bound = 2 * (2 * config.max_stream_window + config.send_buffer + 3 * MIB)
    with fail_after(550), traced_memory(at_most=bound):
        await transfer(tmp_path, kind, 24 * MIB, config, ways=2)


@pytest.mark.slow
async def test_many_streams_stay_inside_the_session_window(tmp_path: Path) -> None:
    """Nobody reads 100 streams on which everybody sends: each gets its floor, and the session holds no more than it said."""
    config = muxado.Config(session_window=MIB)
    item = BLOCK[:100_000]
    async with (
        open_transports("tcp", tmp_path) as (near, far),
        muxado.client(near, config) as dialed,
        muxado.server(far, config) as accepted,
        create_task_group() as tasks,
    ):
        await dialed.ping()
        with traced_memory(at_most=4 * MIB), fail_after(550):
            streams = [await dialed.open_stream() for _ in range(100)]
            for stream in streams:
                tasks.start_soon(stream.send, item)
            far_streams = [await accepted.accept_stream() for _ in streams]
            # What there is above the floors depends on how soon the sender heard that room is short.
            await until(lambda: accepted.statistics().unread >= 100 * LEAST_FLOOR)
            await all_tasks_blocked()
            assert 100 * LEAST_FLOOR <= accepted.statistics().unread <= MIB
            # None of them was lost to the bound: the peer waits until it is told to go on.
            async with create_task_group() as reading:
                for stream in far_streams:
                    reading.start_soon(expect, stream, item)


async def expect(stream: muxado.Stream, data: bytes) -> None:
    """What comes is ``data``."""
    at = 0
    while at < len(data):
        chunk = await stream.receive(4096)
        assert data.startswith(chunk, at)
        at += len(chunk)

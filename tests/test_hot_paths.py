"""The work that the hot paths do, in calls: a guard that does not look at the clock.

Speed is the benchmark's subject; it needs a quiet machine.  What makes the paths fast is that they do
little, and that can be counted anywhere: each limit is a quarter above what was counted when it was set
(165 and 256 for a call among others and alone, 72, 93 and 120, on CPython 3.11 and 3.13).  A change that
adds a layer fails here, and whoever makes one says why in raising the limit.

Calls of Python functions and of C functions by the package's own code are counted, both ends in one
process, on asyncio and its own link; what anyio and the event loop do is not ours.

What is done depends on time: how long a flush is, whether a link looks once more before it sleeps, when a window
grows.  So time is counted here as well, in turns of the loop: on a machine with much to do a call takes longer, and not
more calls.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from anyio import EndOfStream, create_task_group

import muxado_py

from .by_url import sessions_by_url
from .check_byte_stream import receive_exactly

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

pytestmark = pytest.mark.anyio

PACKAGE = str(Path(muxado_py.__file__).parent)
AT_ONCE = 64
KIB = 1024


TURN = 0.0001
"""Seconds that each turn of the loop takes, whatever is done in it."""


class CountingSelector(selectors.DefaultSelector):
    """Waits as long as it must for what a socket brings, and counts turns in place of seconds."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout)
        self.now += TURN
        if not ready and timeout:
            self.now += timeout
        return ready


class CountingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in which time goes on with its turns, and, when nothing came before a timer, with that."""

    def __init__(self) -> None:
        self._turns = CountingSelector()
        super().__init__(self._turns)

    def time(self) -> float:
        return self._turns.now


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": CountingLoop}


@pytest.fixture(autouse=True)
def _counted_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the package measures is measured in turns, too."""

    def now() -> float:
        return asyncio.get_running_loop().time()

    for name, module in list(sys.modules.items()):
        if name.startswith("muxado_py.") and hasattr(module, "perf_counter"):
            monkeypatch.setattr(module, "perf_counter", now)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count what the package calls, and how often it is called."""
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _argument: Any) -> None:
        if event in {"call", "c_call"} and frame.f_code.co_filename.startswith(PACKAGE):
            calls[event] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def check(calls: Counter[str], times: int, limit: float, what: str) -> None:
    done = calls.total() / times
    assert 0 < done <= limit, f"{what} takes {done:.0f} calls, {dict(calls)} in all for {times}"


async def echo(stream: muxado_py.Stream) -> None:
    try:
        while True:
            await stream.send(await stream.receive())
    except EndOfStream:
        await stream.aclose()


@pytest.mark.slow
@pytest.mark.parametrize(("at_once", "limit"), [(64, 206), (1, 320)])
async def test_a_call_on_a_stream_of_its_own(at_once: int, limit: float) -> None:
    rounds = 640 // at_once

    async def call() -> None:
        for _ in range(rounds):
            stream = await dialed.open_stream()
            await stream.send(bytes(64))
            assert await receive_exactly(stream, 64) == bytes(64)
            await stream.aclose()

    async with sessions_by_url() as (dialed, accepted), create_task_group() as serving:
        serving.start_soon(accepted.net_listener().serve, echo)
        await call()
        with counted() as calls:
            async with create_task_group() as callers:
                for _ in range(at_once):
                    callers.start_soon(call)
        serving.cancel_scope.cancel()
    check(calls, at_once * rounds, limit, f"open, echo, close, {at_once} at a time")


async def test_a_message_on_an_open_stream() -> None:
    rounds = 20

    async def exchange(stream: muxado_py.Stream) -> None:
        for _ in range(rounds):
            await stream.send(bytes(64))
            assert await receive_exactly(stream, 64) == bytes(64)

    async with sessions_by_url() as (dialed, accepted), create_task_group() as serving:
        serving.start_soon(accepted.net_listener().serve, echo)
        streams = [await dialed.open_stream() for _ in range(AT_ONCE)]
        for stream in streams:
            await exchange(stream)
        with counted() as calls:
            async with create_task_group() as talkers:
                for stream in streams:
                    talkers.start_soon(exchange, stream)
        serving.cancel_scope.cancel()
    check(calls, AT_ONCE * rounds, 89, "a message and its echo")


@pytest.mark.parametrize(("streams", "limit"), [(1, 116), (16, 149)])
async def test_bulk_per_64_kib(streams: int, limit: float) -> None:
    each = 8 * KIB * KIB // streams

    async def sink(stream: muxado_py.Stream) -> None:
        received = 0
        while received < each:
            received += len(await stream.receive(256 * KIB))
        await stream.send(b"!")

    async def bulk() -> None:
        async with await dialed.open_stream() as stream:
            for _ in range(each // (256 * KIB)):
                await stream.send(bytes(256 * KIB))
            assert await stream.receive() == b"!"

    async with sessions_by_url() as (dialed, accepted), create_task_group() as serving:
        serving.start_soon(accepted.net_listener().serve, sink)
        with counted() as calls:
            async with create_task_group() as senders:
                for _ in range(streams):
                    senders.start_soon(bulk)
        serving.cancel_scope.cancel()
    check(calls, 8 * KIB * KIB // (64 * KIB), limit, f"64 KiB on one of {streams} streams")


async def test_no_object_of_a_session_has_so_many_attributes_that_looking_one_up_is_slow() -> None:
    """CPython 3.11 shares the keys of 30 attributes among a class's objects, and finds those by their place; where
    one has more they are looked up by name each time, with every method (slots have no such end)."""
    async with sessions_by_url() as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"hello")
        await (await accepted.accept_stream()).receive()
        many = {
            type(one).__qualname__: len(vars(one))
            for one in gc.get_objects()
            if str(type(one).__module__).startswith("muxado_py")
            and len(getattr(one, "__dict__", ())) > 30
        }
        assert not many

"""The work that the hot paths do, in calls: a guard that does not look at the clock.

Speed is the benchmark's subject; it needs a quiet machine.  What makes the paths fast is that they do
little, and that can be counted anywhere: each limit is a quarter above what was counted when it was set
(165 and 256 for a call among others and alone, with Caller and serve_calls 199 and 290, with a deadline 244 and 334, 72, 93 and 120, on CPython 3.11 and 3.13).  A change that
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
import socket
import sys
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import EndOfStream, create_task_group, to_thread

import muxado_py
from muxado_py.cli.serving.local_port import serve_port
from muxado_py.cli.serving.ports import LocalPort
from muxado_py.integrations.asyncio_transport import MuxTransport
from muxado_py.session.bridge import socket_pair

from .by_url import sessions_by_url
from .check_byte_stream import receive_exactly

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio

PACKAGE = str(Path(muxado_py.__file__).parent)
ANYIO = str(Path(anyio.__file__).parent)
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
def counted(*paths: str) -> Iterator[Counter[str]]:
    """Count what the package calls, and how often it is called; the same of what stands below ``paths``."""
    calls: Counter[str] = Counter()
    counting = (PACKAGE, *paths)

    def count(frame: FrameType, event: str, _argument: Any) -> None:
        if event in {"call", "c_call"} and frame.f_code.co_filename.startswith(counting):
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at_once", "timeout", "limit"),
    [(64, None, 249), (1, None, 362), (64, 5.0, 305), (1, 5.0, 417)],
)
async def test_a_question_and_its_answer(at_once: int, timeout: float | None, limit: float) -> None:
    rounds = 640 // at_once

    async def answer(request: muxado_py.CallRequest) -> bytes:
        return request.payload

    async def ask() -> None:
        for _ in range(rounds):
            assert await caller.call(bytes(64), timeout=timeout) == bytes(64)

    async with sessions_by_url() as (dialed, accepted), create_task_group() as serving:
        serving.start_soon(muxado_py.serve_calls, accepted.net_listener(), answer)
        caller = muxado_py.Caller(dialed)
        await ask()
        with counted() as calls:
            async with create_task_group() as callers:
                for _ in range(at_once):
                    callers.start_soon(ask)
        serving.cancel_scope.cancel()
    check(calls, at_once * rounds, limit, f"a question and its answer, {at_once} at a time")


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


async def test_a_message_between_a_socket_and_a_stream() -> None:
    """As a gateway's caller has it, one at a time."""
    rounds = 100
    ours, theirs = socket_pair()
    theirs.setblocking(False)

    async def exchange() -> None:
        for _ in range(rounds):
            theirs.send(bytes(64))
            await anyio.wait_readable(theirs)
            assert theirs.recv(100) == bytes(64)

    async with sessions_by_url() as (dialed, accepted), create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, echo)
        tasks.start_soon(muxado_py.bridge, ours, await dialed.open_stream())
        await exchange()
        with counted() as calls:
            await exchange()
        theirs.close()
        tasks.cancel_scope.cancel()
    check(calls, rounds, 186, "a message between a socket and a stream, and its echo")


class AnsweredByTasks(asyncio.Protocol):
    """As uvicorn's: what comes begins a task, which answers in its first step."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.task = asyncio.ensure_future(self.answer(data))

    async def answer(self, data: bytes) -> None:
        self.transport.write(data)


async def test_turns_of_the_loop_for_a_message_that_a_task_of_a_protocol_answers() -> None:
    """Each is a system call; the answer leaves in the turn in which the task has given it."""
    rounds = 100

    async def serve(stream: ByteStream) -> None:
        assert isinstance(stream, muxado_py.Stream)
        await MuxTransport(stream, AnsweredByTasks()).wait_lost()

    loop = asyncio.get_running_loop()
    async with sessions_by_url() as (dialed, accepted), create_task_group() as serving:
        serving.start_soon(accepted.net_listener().serve, serve)
        async with await dialed.open_stream() as stream:

            async def exchange() -> None:
                for _ in range(rounds):
                    await stream.send(bytes(64))
                    assert await receive_exactly(stream, 64) == bytes(64)

            await exchange()
            before = loop.time()
            await exchange()
            turns = (loop.time() - before) / TURN / rounds
        serving.cancel_scope.cancel()
    assert turns < 5.5, f"{turns:.2f} turns of the loop"


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


async def test_a_connection_to_a_local_port() -> None:
    """With what is asked of anyio: tasks and scopes of its took more than half of it."""
    connections = 40

    def answer(listener: socket.socket) -> None:
        for _ in range(2 * connections):
            connection, _address = listener.accept()
            with connection:
                assert connection.recv(64) == b"question"
                connection.sendall(b"answer")

    async def ask() -> None:
        for _ in range(connections):
            stream = await dialed.open_stream()
            await stream.send(b"question")
            assert await receive_exactly(stream, 6) == b"answer"
            with pytest.raises(EndOfStream):
                await stream.receive()
            await stream.aclose()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = LocalPort("tcp", "127.0.0.1", listener.getsockname()[1])
        async with sessions_by_url() as (dialed, accepted), create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, answer, listener)
            async with create_task_group() as serving:
                serve = partial(serve_port, port, accepted.net_listener(), graceful_timeout=1.0)
                await serving.start(serve)
                await ask()
                with counted(ANYIO) as calls:
                    await ask()
                serving.cancel_scope.cancel()
    check(calls, connections, 424, "a connection to a local port")


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

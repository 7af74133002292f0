"""What a handler may count on, whoever's task it runs in."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import CancelScope, EndOfStream, create_task_group, get_current_task

import muxado_py as muxado
from muxado_py.session.handlers import Handlers

from ..check_byte_stream import receive_all
from ..helpers.blocked import all_tasks_blocked
from ..helpers.inside import driver_of
from ..helpers.tasks import this_task

if TYPE_CHECKING:
    from muxado_py.protocol.stream_state import StreamState

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

who: ContextVar[str] = ContextVar("who")


async def test_a_handler_finds_the_context_of_serve_and_nothing_of_another_handler(
    session_pair: SessionPair,
) -> None:
    found: list[str] = []

    async def handle(stream: muxado.Stream) -> None:
        found.append(who.get())
        who.set(f"the handler of {stream.id}")
        await stream.send(await stream.receive())
        assert who.get() == f"the handler of {stream.id}"

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        token = who.set("serve")
        tasks.start_soon(accepted.net_listener().serve, handle)
        who.reset(token)
        for _ in range(5):
            async with await dialed.open_stream() as stream:
                await stream.send(b"x")
                assert await receive_all(stream) == b"x"
        tasks.cancel_scope.cancel()
    assert found == ["serve"] * 5


async def test_a_task_that_is_done_takes_the_next_stream(session_pair: SessionPair) -> None:
    tasks_used = set()

    async def handle(stream: muxado.Stream) -> None:
        tasks_used.add(get_current_task().id)
        token = who.set(f"the handler of {stream.id}")
        await stream.send(await stream.receive())
        who.reset(token)

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, handle)
        for _ in range(5):
            async with await dialed.open_stream() as stream:
                await stream.send(b"x")
                assert await receive_all(stream) == b"x"
        tasks.cancel_scope.cancel()
    assert len(tasks_used) == 1


@pytest.mark.parametrize(
    ("own_group", "reuse", "used"), [(True, False, 5), (False, None, 5), (False, True, 1)]
)
async def test_whether_tasks_are_reused_can_be_said(
    session_pair: SessionPair, own_group: bool, reuse: bool | None, used: int
) -> None:
    tasks_used: list[object] = []

    async def handle(stream: muxado.Stream) -> None:
        tasks_used.append(this_task())
        await stream.send(await stream.receive())

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        listener = accepted.net_listener()
        serve = partial(listener.serve, handle, None if own_group else tasks, reuse_tasks=reuse)
        tasks.start_soon(serve)
        for _ in range(5):
            async with await dialed.open_stream() as stream:
                await stream.send(b"x")
                assert await receive_all(stream) == b"x"
        if own_group:
            tasks.cancel_scope.cancel()
        else:
            await listener.aclose()  # a task that waits for another stream holds up nobody
    assert len(set(tasks_used)) == used


async def test_handlers_wait_for_each_other_in_nothing(session_pair: SessionPair) -> None:
    gate = anyio.Event()

    async def handle(stream: muxado.Stream) -> None:
        if await stream.receive() == b"wait":
            await gate.wait()
        await stream.send(b"done")

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, handle)
        slow = [await dialed.open_stream() for _ in range(20)]
        for stream in slow:
            await stream.send(b"wait")
        quick = await dialed.open_stream()
        await quick.send(b"go")
        assert await receive_all(quick) == b"done"
        gate.set()
        for stream in slow:
            assert await receive_all(stream) == b"done"
        tasks.cancel_scope.cancel()


async def test_a_scope_that_a_handler_cancels_is_its_own(session_pair: SessionPair) -> None:
    async def handle(stream: muxado.Stream) -> None:
        with CancelScope() as scope:
            scope.cancel()
            await anyio.sleep_forever()
        await stream.send(b"and on")

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, handle)
        for _ in range(3):
            async with await dialed.open_stream() as stream:
                assert await receive_all(stream) == b"and on"
        tasks.cancel_scope.cancel()


async def test_cancelling_serve_reaches_handlers_and_respects_their_shields(
    session_pair: SessionPair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="muxado.handler")
    said: list[str] = []

    async def handle(stream: muxado.Stream) -> None:
        try:
            await stream.receive()
        finally:
            with CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
                said.append("tidied up")

    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        async with create_task_group() as tasks:
            tasks.start_soon(accepted.net_listener().serve, handle)
            await dialed.ping()
            await all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert said == ["tidied up"]
        assert caplog.text == ""  # as for a handler that is cancelled alone
        with pytest.raises(muxado.StreamResetError):
            await stream.receive()


async def test_a_handler_that_fails_over_the_end_of_serve_is_a_line_in_the_log(
    session_pair: SessionPair, caplog: pytest.LogCaptureFixture
) -> None:
    """trio has its task group raise the cancellation and the failure in one group."""

    async def clean_up_badly() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("clean-up failed")

    async def handle(stream: muxado.Stream) -> None:
        async with create_task_group() as tasks:
            tasks.start_soon(clean_up_badly)
            tasks.start_soon(anyio.sleep_forever)
            begun.set()

    begun = anyio.Event()
    async with session_pair() as (dialed, accepted):
        async with create_task_group() as tasks:
            tasks.start_soon(accepted.net_listener().serve, handle)
            stream = await dialed.open_stream()
            await stream.send(b"x")
            await begun.wait()
            tasks.cancel_scope.cancel()
        with pytest.raises(muxado.StreamError):
            await receive_all(stream)
    assert "clean-up failed" in caplog.text


async def test_a_stream_whose_task_is_cancelled_before_it_began_is_reset(
    session_pair: SessionPair, anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task that waits is given the stream and cancelled by its name in the same turn."""
    if anyio_backend_name == "trio":
        return  # its tasks have no cancel()
    handling: list[asyncio.Task[object]] = []

    async def handle(stream: muxado.Stream) -> None:
        task = asyncio.current_task()
        assert task is not None
        handling.append(task)
        await stream.receive()

    async def ask() -> None:
        async with await dialed.open_stream() as stream:
            await stream.send(b"x")
            with pytest.raises(EndOfStream):
                await stream.receive()

    take = Handlers.take
    cancels = False

    def take_and_cancel(handlers: Handlers, state: StreamState) -> None:
        take(handlers, state)
        if cancels:
            handling[-1].cancel()

    monkeypatch.setattr(Handlers, "take", take_and_cancel)
    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, handle)
        await ask()
        await all_tasks_blocked()
        cancels = True
        late = await dialed.open_stream()
        await late.send(b"y")
        with anyio.fail_after(10), pytest.raises(muxado.StreamResetError):
            await late.receive()
        cancels = False
        await ask()  # serving goes on
        assert len(handling) == 2
        tasks.cancel_scope.cancel()


async def test_few_tasks_are_kept_for_the_next_stream(
    session_pair: SessionPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muxado_py.session.listener.MAX_IDLE_TASKS", 2)
    gate = anyio.Event()

    async def handle(stream: muxado.Stream) -> None:
        await gate.wait()

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, handle)
        await all_tasks_blocked()
        before = len(anyio.get_running_tasks())
        streams = [await dialed.open_stream() for _ in range(10)]
        await dialed.ping()
        await all_tasks_blocked()
        assert len(anyio.get_running_tasks()) == before + 10
        gate.set()
        for stream in streams:
            with pytest.raises(EndOfStream):
                await stream.receive()
        await all_tasks_blocked()
        assert len(anyio.get_running_tasks()) == before + 2
        tasks.cancel_scope.cancel()


async def test_a_task_that_waits_keeps_nothing_of_its_last_stream(
    session_pair: SessionPair,
) -> None:
    handled: list[weakref.ref[muxado.Stream]] = []

    async def handle(stream: muxado.Stream) -> None:
        handled.append(weakref.ref(stream))

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, handle)
        async with await dialed.open_stream() as stream:
            with pytest.raises(EndOfStream):
                await stream.receive()
        await dialed.ping()
        await all_tasks_blocked()
        gc.collect()
        assert [found() for found in handled] == [None]
        tasks.cancel_scope.cancel()


async def test_tasks_that_wait_for_streams_end_with_serve(session_pair: SessionPair) -> None:
    async def handle(stream: muxado.Stream) -> None:
        await stream.receive()

    async with (
        session_pair() as (dialed, accepted),
        create_task_group() as handlers,  # is not cancelled, and ends
        create_task_group() as serving,
    ):
        serving.start_soon(accepted.net_listener().serve, handle, handlers)
        streams = [await dialed.open_stream() for _ in range(10)]
        for stream in streams:
            await stream.send(b"x")
            with pytest.raises(EndOfStream):
                await stream.receive()
        serving.cancel_scope.cancel()


async def test_who_serves_takes_the_streams_until_it_ends(session_pair: SessionPair) -> None:
    async def handle(stream: muxado.Stream) -> None:
        await stream.send(b"served")

    async with session_pair() as (dialed, accepted), create_task_group() as serving:
        serving.start_soon(accepted.net_listener().serve, handle)
        async with await dialed.open_stream() as stream:
            assert await receive_all(stream) == b"served"
        serving.cancel_scope.cancel()
        with CancelScope(shield=True):
            stream = await dialed.open_stream()
            await stream.send(b"by hand")
            taken = await accepted.accept_stream()
            assert await taken.receive() == b"by hand"


async def test_a_task_group_of_the_callers_is_left_when_its_handlers_are_done(
    session_pair: SessionPair,
) -> None:
    async def handle(stream: muxado.Stream) -> None:
        await stream.receive()

    async with session_pair() as (dialed, accepted), create_task_group() as serving:
        with anyio.fail_after(10):
            async with create_task_group() as handlers:
                serving.start_soon(accepted.net_listener().serve, handle, handlers)
                async with await dialed.open_stream() as stream:
                    await stream.send(b"x")
                    with pytest.raises(EndOfStream):
                        await stream.receive()
        serving.cancel_scope.cancel()


async def test_a_task_that_is_cancelled_by_its_name_ends_alone(
    session_pair: SessionPair, anyio_backend_name: str
) -> None:
    if anyio_backend_name == "trio":
        return  # its tasks have no cancel()
    tasks_used: list[asyncio.Task[object]] = []

    async def handle(stream: muxado.Stream) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        tasks_used.append(task)
        if await stream.receive() == b"swallow":
            task.cancel()
            with suppress(asyncio.CancelledError):
                await anyio.sleep_forever()
        await stream.send(b"done")

    async def ask(question: bytes) -> None:
        async with await dialed.open_stream() as stream:
            await stream.send(question)
            assert await receive_all(stream) == b"done"

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, handle)
        await ask(b"swallow")
        await ask(b"next")
        await all_tasks_blocked()
        tasks_used[-1].cancel()  # it waits for a stream
        await all_tasks_blocked()
        await ask(b"and on")
        tasks.cancel_scope.cancel()
    assert len(set(tasks_used)) == 3


async def test_a_handler_that_is_cancelled_alone_ends_alone(
    session_pair: SessionPair, anyio_backend_name: str
) -> None:
    """By the name of its task, or because a task that it waited for was."""
    if anyio_backend_name == "trio":
        return  # its tasks have no cancel()
    gate = anyio.Event()

    async def handle(stream: muxado.Stream) -> None:
        question = await stream.receive()
        if question == b"wait":
            await gate.wait()
        elif question == b"by its name":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await anyio.sleep_forever()
        elif question == b"another":
            task = asyncio.create_task(asyncio.sleep(3600))
            await asyncio.sleep(0)
            task.cancel()
            await task
        await stream.send(b"done")

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, handle)
        waiting = await dialed.open_stream()
        await waiting.send(b"wait")
        for question in (b"by its name", b"another"):
            stream = await dialed.open_stream()
            await stream.send(question)
            with pytest.raises(muxado.StreamResetError):
                await stream.receive()
        gate.set()
        assert await waiting.receive() == b"done"
        async with await dialed.open_stream() as later:
            await later.send(b"and on")
            assert await later.receive() == b"done"
        tasks.cancel_scope.cancel()


class Incomparable:
    """Like an array: to compare it says nothing, and fails."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value of an array is ambiguous")


@pytest.mark.parametrize("make", [list, Incomparable])
async def test_a_value_that_only_looks_the_same_is_another_ones(
    session_pair: SessionPair, make: type
) -> None:
    box: ContextVar[object] = ContextVar("box")
    found: list[object] = []

    async def handle(stream: muxado.Stream) -> None:
        found.append(box.get())
        box.set(make())
        await stream.send(await stream.receive())

    first = make()
    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        box.set(first)
        tasks.start_soon(accepted.net_listener().serve, handle)
        for _ in range(3):
            async with await dialed.open_stream() as stream:
                await stream.send(b"x")
                assert await receive_all(stream) == b"x"
        tasks.cancel_scope.cancel()
    assert [id(one) for one in found] == [id(first)] * 3


async def test_a_variable_that_a_handler_set_first_is_not_set_for_the_next(
    session_pair: SessionPair,
) -> None:
    boxes: list[ContextVar[int]] = [ContextVar(f"box {number}") for number in range(20)]
    seen: list[int] = []

    async def handle(stream: muxado.Stream) -> None:
        seen.extend(box.get() for box in boxes if box.get(None) is not None)
        number = int(await stream.receive())
        boxes[number].set(number)
        await stream.send(b"done")

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, handle)
        for number in range(len(boxes)):
            async with await dialed.open_stream() as stream:
                await stream.send(b"%d" % number)
                assert await receive_all(stream) == b"done"
        tasks.cancel_scope.cancel()
    assert seen == []


async def test_a_name_that_a_handler_gave_its_task_is_no_later_ones(
    session_pair: SessionPair, anyio_backend_name: str
) -> None:
    if anyio_backend_name == "trio":
        return  # its tasks keep their name
    names: list[str] = []

    async def handle(stream: muxado.Stream) -> None:
        task = asyncio.current_task()
        assert task is not None
        names.append(task.get_name())
        task.set_name("mine")
        await stream.send(await stream.receive())

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, handle)
        for _ in range(3):
            async with await dialed.open_stream() as stream:
                await stream.send(b"x")
                assert await receive_all(stream) == b"x"
        tasks.cancel_scope.cancel()
    assert len(names) == 3
    assert "mine" not in names


async def test_who_gave_up_accepting_is_forgotten(session_pair: SessionPair) -> None:
    async with session_pair() as (_, accepted):
        for _ in range(20):
            with CancelScope() as scope:
                async with create_task_group() as tasks:
                    tasks.start_soon(accepted.accept_stream)
                    await all_tasks_blocked()
                    scope.cancel()
        assert len(driver_of(accepted).acceptors) == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cancelled", "fails"])
@pytest.mark.parametrize("wire", ["muxado", "yamux", "smux2"])
async def test_what_a_handler_closed_is_flushed_however_the_handler_ends(
    session_pair: SessionPair, wire: str, how: str
) -> None:
    window = 256 * 1024  # what the stream of any of these may send unasked
    closed = anyio.Event()

    async def handle(stream: muxado.Stream) -> None:
        await stream.receive()
        await stream.send(bytes(window + 1000))
        await stream.aclose()
        closed.set()
        if how == "fails":
            raise ValueError("a mistake behind the end")
        await anyio.sleep_forever()

    config = muxado.Config(
        wire=wire, send_buffer=2 * window, stream_window=window, max_stream_window=0
    )
    async with session_pair(config) as (dialed, accepted), create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, handle)
        async with await dialed.open_stream() as stream:
            await stream.send(b"x")
            await closed.wait()
            tasks.cancel_scope.cancel()
            with CancelScope(shield=True):
                assert len(await receive_all(stream)) == window + 1000


async def test_a_task_group_that_has_ended_is_the_trouble_of_who_gave_it(
    session_pair: SessionPair,
) -> None:
    """Not of the session, nor of its other streams."""
    async with session_pair() as (dialed, accepted), anyio.create_task_group() as outer:
        other = await dialed.open_stream()
        await other.send(b"x")
        served = await accepted.accept_stream()
        told: list[BaseException] = []

        async def serve(inner: anyio.abc.TaskGroup) -> None:
            try:
                await accepted.net_listener().serve(answer, inner)
            except RuntimeError as exc:
                told.append(exc)

        async def answer(stream: muxado.Stream) -> None:
            await stream.send(b"ok")

        async with anyio.create_task_group() as inner:
            outer.start_soon(serve, inner)
            await all_tasks_blocked()
        lost = await dialed.open_stream()
        await lost.send(b"x")
        with anyio.fail_after(10):
            with pytest.raises(muxado.StreamResetError):
                await lost.receive()
            await other.send(b"y")
            assert await served.receive() + await served.receive() == b"xy"
            while not told:
                await anyio.lowlevel.checkpoint()
            again = await dialed.open_stream()  # whoever accepts gets it
            await again.send(b"z")
            third = await accepted.accept_stream()
            assert await third.receive() == b"z"
            await third.aclose()

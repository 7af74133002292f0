"""Calls whose request and answer come in pieces."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado
from muxado_py import Caller, CallError, CallStatus, Retry
from muxado_py.service.limits import ConcurrencyLimit

from ..helpers.blocked import all_tasks_blocked
from ..virtual_time import BACKENDS, backend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from muxado_py.service.call_pieces import StreamCall

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio


async def echo(call: muxado.IncomingCall) -> None:
    async for piece in call:
        await call.send(piece.upper())


@pytest.fixture
def serving(serving: Any) -> Any:
    """Whoever calls, and the session that answers in pieces."""

    @asynccontextmanager
    async def serve(
        stream_handler: Callable[[muxado.IncomingCall], Awaitable[object]] | None = echo,
        **options: Any,
    ) -> AsyncIterator[tuple[Caller, muxado.Session]]:
        async with serving(stream_handler=stream_handler, **options) as (dialed, accepted):
            yield Caller(dialed), accepted

    return serve


async def test_pieces_go_both_ways_at_once(serving: Any) -> None:
    async with serving() as (caller, accepted):
        async with caller.stream_call(timeout=200) as call:
            for piece in (b"one", b"", b"x" * 300_000, b"four"):
                await call.send(piece)
                assert await call.receive() == piece.upper()
            await call.send_eof()
            with pytest.raises(anyio.EndOfStream):
                await call.receive()
        assert await caller.call(b"and a plain one") == b"AND A PLAIN ONE"
        while accepted.statistics().live_streams:
            await anyio.lowlevel.checkpoint()


async def test_the_server_may_speak_first_and_go_on_after_the_request(serving: Any) -> None:
    async def handler(call: muxado.IncomingCall) -> None:
        assert call.metadata["x-who"] == b"me"
        await call.send(b"who is there?")
        names = [name async for name in call]
        for name in names:
            await call.send(b"hello " + name)

    async with (
        serving(handler) as (caller, _),
        caller.stream_call(metadata={"x-who": b"me"}) as call,
    ):
        assert await call.receive() == b"who is there?"
        await call.send(b"ann")
        await call.send(bytearray(b"bob"))
        await call.send_eof()
        assert [piece async for piece in call] == [b"hello ann", b"hello bob"]


async def test_an_error_comes_behind_the_pieces_before_it(serving: Any) -> None:
    async def handler(call: muxado.IncomingCall) -> None:
        await call.send(b"half")
        raise CallError(CallStatus.ABORTED, "no more", b"details")

    async with serving(handler) as (caller, _), caller.stream_call() as call:
        assert await call.receive() == b"half"
        with pytest.raises(CallError, match="no more") as caught:
            await call.receive()
        assert caught.value.details == b"details"


async def send_for_ever(call: StreamCall) -> None:
    while True:
        await call.send(bytes(10_000))


async def test_who_still_sends_is_told_the_error_of_the_handler(serving: Any) -> None:
    """And not of the reset behind it, which says nothing of the reason."""

    async def handler(call: muxado.IncomingCall) -> None:
        await call.send(b"half")
        await call.send(b"")
        raise CallError(CallStatus.UNAUTHENTICATED, "no token", b"details")

    async with serving(handler) as (caller, _), caller.stream_call() as call:
        with pytest.raises(CallError, match="no token") as caught:
            await send_for_ever(call)
        assert caught.value.details == b"details"
        assert isinstance(caught.value.__cause__, muxado.StreamError)
        with pytest.raises(CallError, match="no token"):
            await call.send_eof()
        assert [await call.receive(), await call.receive()] == [b"half", b""]
        with pytest.raises(CallError, match="no token"):
            await call.receive()
        with pytest.raises(CallError, match="no token"):
            await call.send(b"more")


async def test_who_sends_beside_one_that_receives_is_told_the_same(serving: Any) -> None:
    async def handler(call: muxado.IncomingCall) -> None:
        await call.receive()
        await call.send(b"half")
        raise CallError(CallStatus.UNAUTHENTICATED, "no token")

    async def expect(function: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(CallError, match="no token"):
            await function()
        told.append(function)

    async def receive_all() -> None:
        async for piece in call:
            pieces.append(piece)

    told: list[object] = []
    pieces: list[bytes] = []
    async with (
        serving(handler) as (caller, _),
        caller.stream_call() as call,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(expect, receive_all)
        tasks.start_soon(expect, partial(send_for_ever, call))
    assert len(told) == 2
    assert pieces == [b"half"]


async def test_who_still_sends_when_the_handler_is_content_is_told_of_the_reset(
    serving: Any,
) -> None:
    async def handler(call: muxado.IncomingCall) -> None:
        await call.send(b"enough")

    async with serving(handler) as (caller, _), caller.stream_call() as call:
        with pytest.raises(muxado.StreamResetError):
            await send_for_ever(call)
        assert [piece async for piece in call] == [b"enough"]


@pytest.mark.parametrize(
    "answer", [b"", b"\0\0", b"\0\0\0\4half", b"\0\0\0\4ha", b"\xff" * 4, b"\xff" * 4 + b"\1\0"]
)
async def test_who_still_sends_is_told_of_the_reset_if_the_answer_has_no_status(
    session_pair: SessionPair, answer: bytes
) -> None:
    async def handle(stream: muxado.Stream) -> None:
        await stream.send(answer)

    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, handle)
        async with Caller(dialed).stream_call() as call:
            with pytest.raises(muxado.StreamResetError):
                await send_for_ever(call)
        tasks.cancel_scope.cancel()


async def test_not_a_word_of_a_failure_leaves_the_process(
    serving: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(call: muxado.IncomingCall) -> None:
        raise RuntimeError("the password is 1234")

    async with serving(handler) as (caller, _), caller.stream_call() as call:
        with caplog.at_level(logging.ERROR), pytest.raises(CallError, match="INTERNAL") as caught:
            await call.receive()
        assert "1234" not in str(caught.value)
    assert "failed" in caplog.text


async def test_what_breaks_elsewhere_is_told_also_when_the_request_is_whole(
    serving: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(call: muxado.IncomingCall) -> None:
        assert [piece async for piece in call] == [b"question"]
        raise anyio.BrokenResourceError("the database has gone")

    async with serving(handler) as (caller, _), caller.stream_call() as call:
        await call.send(b"question")
        await call.send_eof()
        with pytest.raises(CallError, match="INTERNAL"):
            await call.receive()
    assert "the database has gone" in caplog.text


async def test_who_leaves_is_no_mistake_of_a_handler_that_works_in_tasks(
    serving: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def receive_all(call: muxado.IncomingCall) -> None:
        async for _ in call:
            began.set()

    async def handler(call: muxado.IncomingCall) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive_all, call)
            tasks.start_soon(anyio.sleep_forever)

    began = anyio.Event()
    async with serving(handler) as (caller, accepted):
        async with caller.stream_call() as call:
            await call.send(b"piece")
            await began.wait()
        while accepted.statistics().live_streams:
            await anyio.lowlevel.checkpoint()
    assert [one for one in caplog.records if one.levelno >= logging.ERROR] == []


async def test_a_server_without_a_handler_of_streams_says_so(serving: Any) -> None:
    async with serving(None) as (caller, _), caller.stream_call() as call:
        with pytest.raises(CallError, match="UNIMPLEMENTED"):
            await call.receive()


async def test_an_answer_without_its_status_has_broken_off(session_pair: SessionPair) -> None:
    async def handle(stream: muxado.Stream) -> None:
        await stream.receive()
        await stream.send((4).to_bytes(4, "big") + b"half")

    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, handle)
        async with Caller(dialed).stream_call() as call:
            assert await call.receive() == b"half"
            with pytest.raises(muxado.AnswerError, match="without its status") as caught:
                await call.receive()
            assert caught.value.retry is Retry.PROCESSED
        tasks.cancel_scope.cancel()


async def test_pieces_are_bounded_on_both_sides(serving: Any) -> None:
    async with serving(max_request=10) as (caller, _):
        async with caller.stream_call(max_piece=5) as call:
            await call.send(b"12345")
            assert await call.receive() == b"12345"
            await call.send(b"123456")
            with pytest.raises(muxado.AnswerError, match="more than 5 bytes"):
                await call.receive()
        async with caller.stream_call() as call:
            await call.send(b"x" * 11)
            with pytest.raises(CallError, match="more than 10 bytes") as caught:
                await call.receive()
            assert caught.value.status == CallStatus.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("max_piece", [0, 4, 4_000_000])
async def test_an_error_is_no_piece(serving: Any, max_piece: int) -> None:
    """Who takes only short pieces is told why there are no more."""

    async def handler(call: muxado.IncomingCall) -> None:
        raise CallError(CallStatus.NOT_FOUND, "no such account", bytes(65_536))

    async with serving(handler) as (caller, _), caller.stream_call(max_piece=max_piece) as call:
        with pytest.raises(CallError, match="no such account") as caught:
            await call.receive()
        assert caught.value.details == bytes(65_536)


@pytest.mark.parametrize("max_piece", [0, 4, 4_000_000])
@pytest.mark.parametrize("status", [b"\0", b"\5\0\0", b"\5\xff\xff"])
async def test_behind_the_end_is_not_received_without_end(
    session_pair: SessionPair, max_piece: int, status: bytes
) -> None:
    async def fill(stream: muxado.Stream) -> None:
        await stream.send(b"\xff" * 4 + status)
        with suppress(muxado.StreamError):
            for _ in range(30):
                await stream.send(bytes(65_536))

    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, fill)
        async with Caller(dialed).stream_call(max_piece=max_piece) as call:
            with pytest.raises(muxado.AnswerError, match="more than 65536 bytes") as caught:
                await call.receive()
            assert caught.value.retry is Retry.PROCESSED
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("anyio_backend", [backend(one) for one in BACKENDS], ids=BACKENDS)
async def test_a_deadline_ends_both_sides(serving: Any) -> None:
    async def handler(call: muxado.IncomingCall) -> None:
        try:
            await call.receive()
        finally:
            ended.set()

    ended = anyio.Event()
    async with serving(handler) as (caller, accepted):
        with pytest.raises(muxado.CallTimeoutError) as caught:
            async with caller.stream_call(timeout=1) as call:
                await call.receive()
        assert caught.value.retry is Retry.UNKNOWN
        await ended.wait()
        while accepted.statistics().live_streams:
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("anyio_backend", [backend(one) for one in BACKENDS], ids=BACKENDS)
async def test_a_handler_that_fails_over_its_deadline_is_late_all_the_same(
    session_pair: SessionPair, caplog: pytest.LogCaptureFixture
) -> None:
    """trio has its task group raise both in one group."""

    async def clean_up_badly() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("clean-up failed")

    async def handler(call: muxado.IncomingCall) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clean_up_badly)
            tasks.start_soon(anyio.sleep_forever)

    async def run() -> None:
        await muxado.serve_calls(accepted.net_listener(), plain, stream_handler=handler)

    async def plain(request: muxado.CallRequest) -> bytes:
        return request.payload

    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        stream = await dialed.open_stream(metadata={"time-left": b"1000"})
        await stream.send(b"\x01")
        answer = b"".join([data async for data in stream])
        tasks.cancel_scope.cancel()
    assert answer[:4] == b"\xff\xff\xff\xff"
    assert "clean-up failed" in caplog.text


@pytest.mark.parametrize("anyio_backend", [backend(one) for one in BACKENDS], ids=BACKENDS)
@pytest.mark.parametrize("by", ["the server", "the caller"])
@pytest.mark.parametrize("kind", ["plain", "receives", "receives in a task", "waits"])
async def test_who_has_no_answer_at_the_deadline_was_cut_off_whoever_was_first(
    session_pair: SessionPair, monkeypatch: pytest.MonkeyPatch, kind: str, by: str
) -> None:
    """The clocks of both sides differ: which of them ends the call is a matter of chance."""

    async def plain(request: muxado.CallRequest) -> bytes:
        await anyio.sleep_forever()
        return b""

    async def handler(call: muxado.IncomingCall) -> None:
        if kind == "receives":
            await call.receive()
        elif kind == "receives in a task":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call.receive)
        await anyio.sleep_forever()

    def ended(
        limit: ConcurrencyLimit, began: float, now: float, time_left: float, *, cut_off: bool
    ) -> None:
        told.append(cut_off)

    async def run() -> None:
        await muxado.serve_calls(accepted.net_listener(), plain, stream_handler=handler)

    monkeypatch.setattr(ConcurrencyLimit, "ended", ended)
    told: list[bool] = []
    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        stream = await dialed.open_stream(metadata={"time-left": b"1000"})
        await stream.send(b"\x01" if kind != "plain" else b"\x00question")
        if kind == "plain":
            await stream.send_eof()
        await anyio.sleep(0.99 if by == "the caller" else 2)
        stream.reset()
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert told == [True]


@pytest.mark.parametrize("reads", ["nothing", "a piece", "all"])
async def test_a_handler_that_waits_for_something_else_ends_when_nobody_waits_for_it(
    serving: Any, reads: str
) -> None:
    """One that tells of events, say: it would keep its place until the next event."""

    async def handler(call: muxado.IncomingCall) -> None:
        try:
            if reads == "a piece":
                await call.receive()
            elif reads == "all":
                assert [piece async for piece in call] == [b"subscribe"]
            begun.set()
            await anyio.sleep_forever()
        finally:
            ended.set()

    begun, ended = anyio.Event(), anyio.Event()
    async with serving(handler) as (caller, accepted):
        async with caller.stream_call() as call:
            await call.send(b"subscribe")
            if reads == "all":
                await call.send_eof()
            await begun.wait()
            if reads != "all":
                await call.send(b"more")  # which is no reason to end it
        await ended.wait()
        while accepted.statistics().live_streams:
            await anyio.lowlevel.checkpoint()


async def test_behind_a_part_of_a_piece_comes_nothing(serving: Any) -> None:
    """The other side would take it for the rest of that piece."""

    async def handler(call: muxado.IncomingCall) -> None:
        with anyio.CancelScope() as scope:
            tasks.start_soon(cancel_when_blocked, scope)
            await call.send(bytes(2_000_000))
        sent.set()
        if await call.receive() == b"go on":
            for _ in range(3000):
                await call.send(b"x" * 1000)

    async def cancel_when_blocked(scope: anyio.CancelScope) -> None:
        await all_tasks_blocked()
        scope.cancel()

    for said in (b"go on", b"no more"):
        sent = anyio.Event()
        async with serving(handler) as (caller, _), anyio.create_task_group() as tasks:
            pieces: list[bytes] = []
            with pytest.raises(muxado.StreamError) as failed:
                async with caller.stream_call() as call:
                    await call.send(said)
                    await sent.wait()
                    async for piece in call:
                        pieces.append(piece)
            assert not failed.value.retry.safe
            assert pieces == []


async def test_who_leaves_early_ends_the_call(serving: Any) -> None:
    async def handler(call: muxado.IncomingCall) -> None:
        try:
            while True:
                await call.send(bytes(10_000))
        finally:
            ended.set()

    ended = anyio.Event()
    async with serving(handler) as (caller, _):
        with pytest.raises(RuntimeError, match="enough"):
            async with caller.stream_call() as call:
                await call.receive()
                raise RuntimeError("enough")
        await ended.wait()


async def test_a_streamed_call_can_be_refused(serving: Any) -> None:
    limits = muxado.CallLimits(max_concurrent=1, max_queue=0)
    async with serving(limits=limits) as (caller, _), caller.stream_call() as first:
        await first.send(b"x")
        assert await first.receive() == b"X"
        async with caller.stream_call() as call:
            with pytest.raises(muxado.StreamRefusedError) as caught:
                await call.receive()
        assert caught.value.retry is Retry.REFUSED

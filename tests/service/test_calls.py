"""A call and its answer, what ends it otherwise, and when it is sent again."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado
from muxado_py import Caller, CallError, CallStatus, Retry
from muxado_py.session.whole import give_up

from ..helpers.blocked import all_tasks_blocked, until
from ..helpers.inside import driver_of
from ..transports import Stuck, memory_transports
from ..virtual_time import BACKENDS, backend
from .calling import upper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opposite(
    session_pair: SessionPair, *deeds: Callable[[muxado.Stream], Awaitable[object]]
) -> AsyncIterator[tuple[muxado.Session, list[bytes]]]:
    """A session, and what its other side was asked by the attempts that it was given; the last deed is for all that follow."""
    seen: list[bytes] = []
    deed = iter(deeds)
    latest = None

    async def handle(stream: muxado.Stream) -> None:
        nonlocal latest
        latest = next(deed, latest)
        assert latest is not None
        seen.append(stream.metadata.get("attempt", b"1"))
        await latest(stream)

    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, handle)
        await dialed.wait_for_peer()
        with anyio.fail_after(60):
            yield dialed, seen
        tasks.cancel_scope.cancel()


async def refuse(stream: muxado.Stream) -> None:
    stream.refuse()


async def reset(stream: muxado.Stream) -> None:
    await stream.receive()
    stream.reset()


async def say_yes(stream: muxado.Stream) -> None:
    while True:
        try:
            await stream.receive()
        except anyio.EndOfStream:
            break
    await stream.send(b"\0yes")


# An answer.


@pytest.mark.parametrize("size", [0, 1, 64, 5_000, 1_000_000])
async def test_a_call_is_answered(serving: Any, size: int) -> None:
    async with serving() as (dialed, _):
        assert await Caller(dialed).call(b"x" * size) == b"X" * size
        assert await Caller(dialed).call(bytearray(b"x" * size), timeout=60) == b"X" * size


@pytest.mark.parametrize("wire", ["yamux", "muxado1"])
async def test_a_call_needs_no_metadata(serving: Any, wire: str) -> None:
    """What a wire cannot say of a stream, the time that is left, is not said; all else is the same."""
    async with serving(config=muxado.Config(wire=wire)) as (dialed, _):
        assert await Caller(dialed).call(b"question") == b"QUESTION"
        assert await Caller(dialed).call(b"question", timeout=30) == b"QUESTION"
        with pytest.raises(NotImplementedError, match="metadata"):
            await Caller(dialed).call(b"question", metadata={"x-a": b"b"})


async def test_the_handler_sees_what_was_said_with_it(serving: Any) -> None:
    async def handler(request: muxado.CallRequest) -> bytes:
        seen.append(dict(request.metadata))
        assert request.stream.priority == muxado.Priority(urgency=1)
        if request.deadline != float("inf"):
            # What is left is told in whole milliseconds, rounded up.
            assert anyio.current_time() < request.deadline <= anyio.current_time() + 50.0011
        return b""

    seen: list[dict[str, bytes]] = []
    async with serving(handler) as (dialed, _):
        call = Caller(dialed).call
        urgent = muxado.Priority(urgency=1)
        await call(b"", metadata={"x-user": b"ann"}, priority=urgent)
        await call(b"", metadata={"x-user": b"ann"}, timeout=50, priority=urgent)
        await call(b"", timeout=float("inf"), priority=urgent)
    assert seen[0] == {"x-user": b"ann"}
    assert seen[1].keys() == {"x-user", "time-left"}
    assert 25_000 < int(seen[1]["time-left"]) <= 50_001  # (now + 50) - now may be more than 50
    assert seen[2] == {}


@pytest.mark.slow
async def test_more_calls_at_once_than_streams_may_be_open(serving: Any) -> None:
    answers: dict[int, bytes] = {}

    async def ask(number: int) -> None:
        answers[number] = await caller.call(b"call %d" % number)

    async with serving() as (dialed, _), anyio.create_task_group() as tasks:
        caller = Caller(dialed)
        for number in range(2500):
            tasks.start_soon(ask, number)
    assert answers == {number: b"CALL %d" % number for number in range(2500)}


# An error.


async def test_a_handlers_error_is_what_its_caller_is_told(serving: Any) -> None:
    async def handler(request: muxado.CallRequest) -> bytes:
        raise CallError(CallStatus.NOT_FOUND, "no such thing\n", b"\x00details")

    async with serving(handler) as (dialed, _):
        with pytest.raises(CallError, match=r"NOT_FOUND\(5\): no such thing\\n$") as caught:
            await Caller(dialed).call(b"thing", idempotent=True)
    error = caught.value
    assert (error.status, error.text, error.details) == (5, "no such thing\n", b"\x00details")
    assert error.remote
    assert error.retry is Retry.PROCESSED


@pytest.mark.parametrize("kind", ["crash", "no bytes", "somebody else's error"])
async def test_not_a_word_of_a_failure_leaves_the_process(
    serving: Any, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    async def handler(request: muxado.CallRequest) -> Any:
        if kind == "crash":
            raise RuntimeError("the password is 1234")
        if kind == "no bytes":
            return "the password is 1234"
        raise CallError(CallStatus.NOT_FOUND, "the password is 1234", remote=True)

    async with serving(handler) as (dialed, _):
        with caplog.at_level(logging.ERROR), pytest.raises(CallError) as caught:
            await Caller(dialed).call(b"question")
    assert caught.value.status == CallStatus.INTERNAL
    assert "1234" not in f"{caught.value} {caught.value.details!r}"
    assert [one.name for one in caplog.records] == ["muxado.calls"]
    assert caplog.records[0].exc_info


async def test_a_request_that_is_too_long_is_told_so(serving: Any) -> None:
    async with serving(max_request=10) as (dialed, _):
        assert await Caller(dialed).call(b"x" * 10) == b"X" * 10
        for size in (11, 3_000_000):
            with pytest.raises(CallError, match="more than 10 bytes") as caught:
                await Caller(dialed).call(b"x" * size)
            assert caught.value.status == CallStatus.RESOURCE_EXHAUSTED
        assert await Caller(dialed).call(b"x" * 10) == b"X" * 10


@pytest.mark.parametrize("size", [11, 3_000_000])
async def test_an_answer_that_is_too_long_is_not_received(serving: Any, size: int) -> None:
    async def handler(request: muxado.CallRequest) -> bytes:
        return b"x" * size

    async with serving(handler) as (dialed, accepted):
        with pytest.raises(muxado.AnswerError, match="more than 10 bytes") as caught:
            await Caller(dialed).call(b"question", max_answer=10)
        assert caught.value.retry is Retry.PROCESSED
        assert len(await Caller(dialed).call(b"question", max_answer=size)) == size
        while accepted.statistics().live_streams:
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("max_answer", [0, 8, 1_000_000])
async def test_an_error_is_told_also_to_who_takes_no_such_long_answer(
    serving: Any, max_answer: int
) -> None:
    """Its text and its details would else be hidden by the bound for what was asked for."""

    async def handler(request: muxado.CallRequest) -> bytes:
        raise CallError(CallStatus.NOT_FOUND, "\N{SNOWMAN}" * 1024, b"d" * int(request.payload))

    async with serving(handler) as (dialed, accepted):
        caller = Caller(dialed)
        for size in (0, 65_536):
            with pytest.raises(CallError, match="NOT_FOUND") as caught:
                await caller.call(b"%d" % size, max_answer=max_answer)
            assert caught.value.text == "\N{SNOWMAN}" * 1024
            assert caught.value.details == b"d" * size
        with pytest.raises(CallError, match="NOT_FOUND"):
            await caller.call(b"0", max_answer=max_answer, timeout=60)
        while accepted.statistics().live_streams:
            await anyio.lowlevel.checkpoint()


async def test_nobody_takes_an_empty_answer_for_too_long(serving: Any) -> None:
    async with serving() as (dialed, _):
        assert await Caller(dialed).call(b"", max_answer=0) == b""
        with pytest.raises(muxado.AnswerError, match="more than 0 bytes"):
            await Caller(dialed).call(b"x", max_answer=0)


@pytest.mark.parametrize("max_answer", [0, 8, 4_000_000])
@pytest.mark.parametrize("text", [0, 10, 65_535])
async def test_an_error_without_end_is_not_received(
    session_pair: SessionPair, max_answer: int, text: int
) -> None:
    """So a server would try to fill the memory of whoever calls."""

    async def fill(stream: muxado.Stream) -> None:
        with suppress(muxado.StreamError):
            await stream.send(b"\5" + text.to_bytes(2, "big") + b"t" * text)
            for _ in range(30):
                await stream.send(bytes(65_536))

    async with opposite(session_pair, fill) as (dialed, seen):
        with pytest.raises(muxado.AnswerError, match="more than 65536 bytes") as caught:
            await Caller(dialed).call(b"question", max_answer=max_answer)
        assert caught.value.retry is Retry.PROCESSED
    assert len(seen) == 1


@pytest.mark.parametrize("anyio_backend", [backend(one) for one in BACKENDS], ids=BACKENDS)
async def test_who_takes_a_short_answer_waits_for_it_no_longer_than_it_may(
    session_pair: SessionPair,
) -> None:
    async def say_nothing(stream: muxado.Stream) -> None:
        await anyio.sleep_forever()

    async with opposite(session_pair, say_nothing, reset, say_nothing) as (dialed, seen):
        with pytest.raises(muxado.CallTimeoutError) as caught:
            await Caller(dialed).call(b"question", max_answer=8, timeout=1)
        assert caught.value.retry is Retry.UNKNOWN
        with pytest.raises(muxado.StreamResetError):
            await Caller(dialed).call(b"question", max_answer=8)
        with anyio.move_on_after(1) as scope:
            await Caller(dialed).call(b"question", max_answer=8)
        assert scope.cancelled_caught
    assert len(seen) == 3


def test_an_error_has_details_that_can_be_sent() -> None:
    with pytest.raises(ValueError, match="at most 65536 bytes, got 65537"):
        CallError(CallStatus.NOT_FOUND, "", bytes(65_537))


async def test_who_answers_otherwise_is_no_server_of_calls(session_pair: SessionPair) -> None:
    async def close(stream: muxado.Stream) -> None:
        await stream.receive()

    async def hello(stream: muxado.Stream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with opposite(session_pair, close, hello) as (dialed, seen):
        with pytest.raises(muxado.AnswerError, match="serve_calls") as caught:
            await Caller(dialed).call(b"question")
        assert caught.value.retry is Retry.UNKNOWN
        with pytest.raises(muxado.AnswerError, match="serve_calls") as caught:
            await Caller(dialed).call(b"question")
        assert caught.value.retry is Retry.PROCESSED
    assert len(seen) == 2


async def test_what_is_no_request_is_answered(serving: Any) -> None:
    async with serving() as (dialed, _):
        for request in (b"", b"GET / HTTP/1.1\r\n\r\n"):
            async with await dialed.open_stream() as stream:
                await stream.send(request)
                await stream.send_eof()
                assert (await stream.receive())[0] == CallStatus.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"payload": "text"}, TypeError),
        ({"timeout": -1}, ValueError),
        ({"timeout": "1"}, TypeError),
        pytest.param({"timeout": 10**400}, OverflowError, id="more seconds than a float can say"),
        ({"metadata": {"time-left": b"1"}}, ValueError),
        ({"metadata": {"attempt": b"1"}}, ValueError),
        ({"metadata": {"key": bytes(4096 - 63 - 6)}}, ValueError),
        ({"max_answer": -1}, ValueError),
        ({"max_answer": "1"}, TypeError),
        ({"priority": 3}, TypeError),
    ],
)
async def test_what_cannot_be_is_refused(
    serving: Any, arguments: dict[str, Any], error: type[Exception]
) -> None:
    async def handler(request: muxado.CallRequest) -> bytes:
        executed.append(request.payload)
        return request.payload.upper()

    executed: list[bytes] = []
    async with serving(handler) as (dialed, _):
        with pytest.raises(error):
            await Caller(dialed).call(**{"payload": b"question", **arguments})
        assert executed == []
        assert dialed.open_streams == 0
        assert await Caller(dialed).call(b"question") == b"QUESTION"


async def test_what_has_room_for_the_first_attempt_has_it_for_the_next(
    session_pair: SessionPair,
) -> None:
    metadata = {"key": bytes(4096 - 64 - 6)}
    async with opposite(session_pair, refuse, say_yes) as (dialed, seen):
        assert await Caller(dialed).call(b"question", timeout=10.0**8, metadata=metadata) == b"yes"
    assert seen == [b"1", b"2"]


async def test_who_calls_has_a_policy(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, _):
        with pytest.raises(TypeError, match="retry must be a RetryPolicy"):
            Caller(dialed, 3)  # type: ignore[arg-type]


async def test_what_wraps_a_session_opens_each_stream(serving: Any) -> None:
    class Wrapper:
        """Adds to one method of a session, and has all others of it."""

        def __init__(self, session: muxado.Session) -> None:
            self.session = session
            self.opened = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self.session, name)

        async def open_stream(self, **options: Any) -> muxado.Stream:
            self.opened += 1
            return await self.session.open_stream(**options)

    async with serving() as (dialed, _):
        wrapper = Wrapper(dialed)
        caller = Caller(wrapper)
        for timeout in (None, 30):
            assert await caller.call(b"question", timeout=timeout) == b"QUESTION"
        assert wrapper.opened == 2


async def test_a_server_is_a_function(session_pair: SessionPair) -> None:
    async with session_pair() as (_, accepted):
        with pytest.raises(TypeError, match="handler"):
            await muxado.serve_calls(accepted.net_listener(), b"")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="limits"):
            await muxado.serve_calls(accepted.net_listener(), upper, limits=3)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="max_request"):
            await muxado.serve_calls(accepted.net_listener(), upper, max_request=-1)


# A deadline.


@pytest.mark.parametrize("anyio_backend", [backend(one) for one in BACKENDS], ids=BACKENDS)
async def test_a_deadline_ends_the_call_and_its_handler(serving: Any) -> None:
    async def handler(request: muxado.CallRequest) -> bytes:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        return b""

    cancelled = anyio.Event()
    async with serving(handler) as (dialed, accepted):
        with pytest.raises(muxado.CallTimeoutError, match="may have been executed") as caught:
            await Caller(dialed).call(b"question", timeout=1)
        assert caught.value.retry is Retry.UNKNOWN
        assert isinstance(caught.value, TimeoutError)
        await cancelled.wait()
        while accepted.statistics().live_streams:
            await anyio.lowlevel.checkpoint()


async def test_a_handler_is_cancelled_when_nobody_waits_for_it(serving: Any) -> None:
    async def handler(request: muxado.CallRequest) -> bytes:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        return b""

    begun, cancelled = anyio.Event(), anyio.Event()
    async with serving(handler) as (dialed, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Caller(dialed).call, b"question")
            await begun.wait()
            tasks.cancel_scope.cancel()
        await cancelled.wait()


@pytest.mark.parametrize("anyio_backend", [backend(one) for one in BACKENDS], ids=BACKENDS)
@pytest.mark.parametrize("by", ["deadline", "caller"])
async def test_a_call_that_was_cut_off_leaves_nothing_of_it_to_the_next(
    serving: Any, by: str
) -> None:
    """A task goes on to the next call, which must find nothing of a cancellation."""
    came: list[bytes] = []
    begun = anyio.Event()

    async def handle(request: muxado.CallRequest) -> bytes:
        came.append(request.payload)
        if request.payload == b"slow":
            begun.set()
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        return request.payload

    async with serving(handle) as (dialed, _):
        caller = Caller(dialed)
        for _ in range(3):
            begun = anyio.Event()
            if by == "deadline":
                with pytest.raises(muxado.CallTimeoutError):
                    await caller.call(b"slow", timeout=0.05)
            else:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(caller.call, b"slow")
                    await begun.wait()
                    tasks.cancel_scope.cancel()
            for timeout in (None, 50):
                assert await caller.call(b"next", timeout=timeout) == b"next"
    assert came == [b"slow", b"next", b"next"] * 3


@pytest.mark.parametrize("anyio_backend", [backend(one) for one in BACKENDS], ids=BACKENDS)
async def test_a_handler_that_ends_in_spite_of_its_deadline_is_heard_by_no_other_call(
    serving: Any,
) -> None:
    async def handle(request: muxado.CallRequest) -> bytes:
        if request.payload == b"stubborn":
            with anyio.CancelScope(shield=True):
                await released.wait()
            return b"too late"
        await anyio.lowlevel.checkpoint()
        return request.payload

    released = anyio.Event()
    async with serving(handle) as (dialed, _):
        caller = Caller(dialed)
        with pytest.raises(muxado.CallTimeoutError):
            await caller.call(b"stubborn", timeout=0.05)
        assert await caller.call(b"meanwhile") == b"meanwhile"
        released.set()
        for _ in range(3):
            assert await caller.call(b"next", timeout=50) == b"next"


@pytest.mark.parametrize("anyio_backend", [backend(one) for one in BACKENDS], ids=BACKENDS)
async def test_a_handler_tells_its_deadline_to_those_who_ask_anyio(
    serving: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(request: muxado.CallRequest) -> bytes:
        with anyio.CancelScope(deadline=request.deadline) as scope:
            seen.append((request.deadline, anyio.current_effective_deadline()))
            if request.payload == b"slow":
                await anyio.sleep_forever()
        if scope.cancelled_caught:
            raise CallError(CallStatus.DEADLINE_EXCEEDED, "the time of the call is over")
        return request.payload

    seen: list[tuple[float, float]] = []
    async with serving(handle) as (dialed, _):
        caller = Caller(dialed)
        with pytest.raises(muxado.CallTimeoutError):
            await caller.call(b"slow", timeout=2)
        assert await caller.call(b"next") == b"next"
    (slow, told), never = seen
    assert slow == told < float("inf")
    assert never == (float("inf"), float("inf"))
    assert caplog.text == ""


@pytest.mark.parametrize("anyio_backend", [backend(one) for one in BACKENDS], ids=BACKENDS)
@pytest.mark.parametrize("by", ["deadline", "caller"])
async def test_a_handler_that_fails_over_its_cancellation_is_no_other_calls_trouble(
    serving: Any, by: str, caplog: pytest.LogCaptureFixture
) -> None:
    """trio has its task group raise both in one group, which is an error when the cancellation has reached its scope."""

    async def clean_up_badly() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("clean-up failed")

    async def handle(request: muxado.CallRequest) -> bytes:
        if request.payload == b"slow":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(clean_up_badly)
                tasks.start_soon(anyio.sleep_forever)
                begun.set()
        if request.payload == b"beside":
            await released.wait()
        return request.payload

    async def ask_beside() -> None:
        answers.append(await caller.call(b"beside", timeout=3600))

    begun, released = anyio.Event(), anyio.Event()
    answers: list[bytes] = []
    async with serving(handle) as (dialed, _), anyio.create_task_group() as beside:
        caller = Caller(dialed)
        beside.start_soon(ask_beside)
        if by == "deadline":
            with pytest.raises(muxado.CallTimeoutError):
                await caller.call(b"slow", timeout=1)
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(caller.call, b"slow")
                await begun.wait()
                tasks.cancel_scope.cancel()
        assert await caller.call(b"next") == b"next"
        released.set()
    assert answers == [b"beside"]
    assert "clean-up failed" in caplog.text


@pytest.mark.parametrize("wire", ["muxado", "yamux"])
async def test_a_caller_that_leaves_while_it_waits_for_a_place_is_forgotten(
    serving: Any, caplog: pytest.LogCaptureFixture, wire: str
) -> None:
    """Nobody is told that its call was refused, and no line is written for each."""

    async def handle(request: muxado.CallRequest) -> bytes:
        executed.append(request.payload)
        if request.payload == b"first":
            await released.wait()
        return request.payload

    executed: list[bytes] = []
    released = anyio.Event()
    caplog.set_level("INFO", "muxado")
    config, limits = muxado.Config(wire=wire), muxado.CallLimits(max_concurrent=1)
    async with serving(handle, config, limits=limits) as (dialed, accepted):
        call = Caller(dialed).call
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, b"first")
            await until(lambda: executed)
            async with anyio.create_task_group() as leaving:
                leaving.start_soon(call, b"leaves")
                await until(lambda: accepted.statistics().peer_streams == 2)
                leaving.cancel_scope.cancel()
            await until(lambda: accepted.statistics().peer_streams == 1)
            released.set()
        assert await call(b"next") == b"next"
    assert executed == [b"first", b"next"]
    assert not [record for record in caplog.records if record.name == "muxado.handler"]


@pytest.mark.parametrize("timeout", [None, 30])
async def test_a_call_that_is_cancelled_before_it_begins_sends_nothing(
    serving: Any, timeout: float | None
) -> None:
    async def handle(request: muxado.CallRequest) -> bytes:
        executed.append(request.payload)
        return b""

    executed: list[bytes] = []
    async with serving(handle) as (dialed, _):
        caller = Caller(dialed)
        await caller.call(b"first")
        for _ in range(3):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await caller.call(b"cancelled", timeout=timeout)
            assert scope.cancelled_caught
        await caller.call(b"last")
    assert executed == [b"first", b"last"]


async def test_a_deadline_before_the_first_byte_left_is_known_to_be_safe() -> None:
    near, far = memory_transports()
    stuck = Stuck(near)
    async with muxado.client(stuck) as dialed, muxado.server(far) as accepted:
        await dialed.wait_for_peer()
        await accepted.wait_for_peer()
        stuck.hold()
        bulk = await dialed.open_stream()
        await bulk.send(bytes(60_000))  # the transport has these, and takes no more
        await all_tasks_blocked()
        with pytest.raises(muxado.CallTimeoutError, match="nothing of the call was sent") as caught:
            await Caller(dialed).call(b"question", timeout=0.05)
        assert caught.value.retry is Retry.NEVER_SENT
        stuck.release()
        bulk.reset()


# What is sent again.


async def test_a_call_that_was_refused_is_sent_again(session_pair: SessionPair) -> None:
    async with opposite(session_pair, refuse, refuse, say_yes) as (dialed, seen):
        assert await Caller(dialed).call(b"question") == b"yes"
    assert seen == [b"1", b"2", b"3"]


@pytest.mark.parametrize("timeout", [None, 30])
async def test_three_refusals_are_enough(session_pair: SessionPair, timeout: float | None) -> None:
    async with opposite(session_pair, refuse) as (dialed, seen):
        with pytest.raises(muxado.StreamRefusedError) as caught:
            await Caller(dialed).call(b"question", timeout=timeout)
    assert caught.value.retry is Retry.REFUSED
    assert len(seen) == 3


async def test_what_may_have_been_executed_is_not_sent_again(session_pair: SessionPair) -> None:
    async with opposite(session_pair, reset, say_yes) as (dialed, seen):
        with pytest.raises(muxado.StreamResetError) as caught:
            await Caller(dialed).call(b"question")
        assert caught.value.retry is Retry.UNKNOWN
        assert seen == [b"1"]


async def test_what_is_idempotent_is_sent_again(session_pair: SessionPair) -> None:
    async with opposite(session_pair, reset, say_yes) as (dialed, seen):
        assert await Caller(dialed).call(b"question", idempotent=True) == b"yes"
        assert seen == [b"1", b"2"]


async def test_one_attempt_that_may_have_been_executed_is_enough_for_the_verdict(
    session_pair: SessionPair,
) -> None:
    async with opposite(session_pair, reset, refuse) as (dialed, seen):
        with pytest.raises(muxado.StreamRefusedError) as caught:
            await Caller(dialed).call(b"question", idempotent=True)
    assert caught.value.retry is Retry.UNKNOWN
    assert len(seen) == 4


async def test_an_empty_budget_says_that_nobody_should_send_it_again(
    session_pair: SessionPair,
) -> None:
    policy = muxado.RetryPolicy(budget_share=0, budget_per_second=0)
    async with opposite(session_pair, refuse) as (dialed, seen):
        with pytest.raises(muxado.RetryBudgetError, match="do not send it again") as caught:
            await Caller(dialed, policy).call(b"question")
    assert caught.value.retry is Retry.REFUSED
    assert isinstance(caught.value.__cause__, muxado.StreamRefusedError)
    assert len(seen) == 1


async def test_a_request_that_is_not_kept_is_sent_once(session_pair: SessionPair) -> None:
    policy = muxado.RetryPolicy(replay_limit=10, replay_total=15)
    async with opposite(session_pair, refuse) as (dialed, seen):
        caller = Caller(dialed, policy)
        for size, times in ((11, 1), (10, 3)):
            with pytest.raises(muxado.StreamRefusedError):
                await caller.call(bytes(size))
            assert len(seen) == times
            seen.clear()


async def test_what_is_kept_of_all_calls_is_bounded(session_pair: SessionPair) -> None:
    async def wait(stream: muxado.Stream) -> None:
        held.set()
        await anyio.sleep_forever()

    held = anyio.Event()
    policy = muxado.RetryPolicy(replay_limit=10, replay_total=15)
    async with opposite(session_pair, wait, refuse) as (dialed, seen):
        caller = Caller(dialed, policy)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller.call, bytes(10))
            await held.wait()
            with pytest.raises(muxado.StreamRefusedError):
                await caller.call(bytes(6))  # there is room for five
            assert len(seen) == 2
            tasks.cancel_scope.cancel()
        with pytest.raises(muxado.StreamRefusedError):
            await caller.call(bytes(6))
        assert len(seen) == 5


async def test_a_session_that_is_over_is_an_error_at_once(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, _):
        await dialed.aclose()
        with pytest.raises(muxado.SessionClosedError) as caught:
            await Caller(dialed).call(b"question")
        assert caught.value.retry is Retry.NEVER_SENT


async def test_a_server_that_fails_over_the_first_call_is_not_asked_again(
    session_pair: SessionPair,
) -> None:
    """golang/net ec05fdc; the other session would fall over the same request."""

    class TwoSessions:
        def __init__(self, *sessions: muxado.Session) -> None:
            self.left = list(sessions)

        async def open_stream(self, **options: Any) -> muxado.Stream:
            return await self.left.pop(0).open_stream(**options)

    async with session_pair() as (first, fails), session_pair() as (second, _):
        opener = TwoSessions(first, second)
        async with anyio.create_task_group() as tasks:

            async def fail() -> None:
                await fails.wait_for_peer()
                while not fails.statistics().backlog:
                    await anyio.lowlevel.checkpoint()
                fails.go_away(muxado.ErrorCode.INTERNAL_ERROR)

            tasks.start_soon(fail)
            with anyio.fail_after(30), pytest.raises(muxado.MuxadoError) as caught:
                await Caller(opener).call(b"question")
        assert caught.value.retry is Retry.REFUSED
        assert opener.left == [second]


@pytest.mark.parametrize("anyio_backend", [backend(one) for one in BACKENDS], ids=BACKENDS)
async def test_who_is_cancelled_in_the_moment_of_the_deadline_stays_cancelled(
    serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel_and_give_up(stream: muxado.Stream) -> None:
        scope.cancel()
        give_up(stream)

    async def handle(request: muxado.CallRequest) -> bytes:
        await anyio.sleep_forever()
        return b""

    monkeypatch.setattr("muxado_py.service.call_exchange.give_up", cancel_and_give_up)
    async with serving(handle) as (dialed, _):
        caller = Caller(dialed)
        await dialed.wait_for_peer()  # before it is heard, the attempt has no stream at once
        with anyio.CancelScope() as scope:
            await caller.call(b"question", timeout=1)
        assert scope.cancelled_caught


async def test_a_deadline_that_has_not_come_leaves_nothing_behind(serving: Any) -> None:
    async with serving() as (dialed, accepted):
        caller = Caller(dialed)
        for _ in range(200):
            await caller.call(b"question", timeout=3600)
        assert all(len(driver_of(one).alarms) <= 40 for one in (dialed, accepted))


@pytest.mark.parametrize("anyio_backend", [backend(one) for one in BACKENDS], ids=BACKENDS)
async def test_a_hedged_call_whose_deadline_comes_behind_an_answer_was_executed(
    serving: Any,
) -> None:
    """The answer waits for the end of the other attempt, and it may be too late then."""

    class SlowToLeave:
        def __init__(self, session: muxado.Session) -> None:
            self.session = session
            self.asked = 0

        async def open_stream(self, **options: Any) -> muxado.Stream:
            self.asked += 1
            if self.asked > 1:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(10)
            return await self.session.open_stream(**options)

    async def handle(request: muxado.CallRequest) -> bytes:
        await anyio.sleep(2)
        return b"done"

    async with serving(handle) as (dialed, _):
        caller = Caller(SlowToLeave(dialed), muxado.RetryPolicy(hedge_after=1))
        with pytest.raises(muxado.CallTimeoutError) as caught:
            await caller.call(b"question", timeout=5, idempotent=True)
        assert caught.value.retry is Retry.PROCESSED
        assert caller.statistics().outcomes["processed"] == 1


@pytest.mark.parametrize("anyio_backend", [backend(one) for one in BACKENDS], ids=BACKENDS)
async def test_a_server_says_that_the_time_is_over_if_its_caller_still_listens(
    serving: Any,
) -> None:
    async def handle(request: muxado.CallRequest) -> bytes:
        await anyio.sleep_forever()
        return b""

    async with serving(handle) as (dialed, _):
        stream = await dialed.open_stream(metadata={"time-left": b"1000"})
        await stream.send(b"\0question")
        await stream.send_eof()
        answer = b"".join([data async for data in stream])
    assert answer[0] == CallStatus.DEADLINE_EXCEEDED

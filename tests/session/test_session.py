"""Sessions as an application sees them: opening, ending, serving, and what they tell."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import EndOfStream, TypedAttributeLookupError, create_task_group, fail_after
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute

import muxado_py as muxado
from muxado_py import ErrorCode, Priority, Retry
from muxado_py.protocol.connection import Connection
from muxado_py.runtime.checkpoints import CALLS_PER_CHECKPOINT
from muxado_py.scheduler import FifoScheduler

from ..check_byte_stream import receive_all, receive_exactly
from ..conftest import CARRIERS
from ..frames_seen import FIN, HELLO, PAD, SYN, Frame, data, frame, goaway, rst, whole
from ..helpers.blocked import all_tasks_blocked, until
from ..scripted_peer import scripted
from ..transports import REAL, Around, Stuck, memory_transports, open_transports

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

TYPED = muxado.Config(typed_streams=True)
MAX_ID = 0x7FFFFFFD


@pytest.fixture(params=CARRIERS)
def carried_by(request: pytest.FixtureRequest) -> str:
    """The tests with two sessions run over whatever carries them."""
    kind: str = request.param
    return kind


async def settled() -> None:
    """Everything that is under way has arrived."""
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


# Opening and accepting.


async def test_either_side_opens_and_the_other_accepts(session_pair: SessionPair) -> None:
    async with session_pair() as sessions:
        for one, other in (sessions, sessions[::-1]):
            stream = await one.open_stream()
            assert stream.id is None
            await stream.send(b"hello")
            accepted = await other.accept_stream()
            assert await accepted.receive() == b"hello"
            assert accepted.id == stream.id
            await stream.aclose()
            await accepted.aclose()


async def test_a_stream_is_offered_before_anything_is_sent_on_it(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        far = await accepted.accept_stream()
        await far.send(b"you called?")
        assert await stream.receive() == b"you called?"


async def test_two_tasks_may_accept(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        taken = []

        async def accept() -> None:
            taken.append(await accepted.accept_stream())

        async with create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(accept)
            _streams = [await dialed.open_stream() for _ in range(3)]
        assert sorted(str(stream.id) for stream in taken) == ["3", "5", "7"]


async def test_a_priority_shows_on_both_sides(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        await dialed.ping()  # so that the peer is known
        stream = await dialed.open_stream(priority=Priority(1, 200))
        far = await accepted.accept_stream()
        await accepted.ping()
        assert far.priority == stream.priority == Priority(1, 200)
        far.priority = Priority(6, 1)
        await accepted.ping()
        assert stream.priority == Priority(6, 1)


async def test_what_is_no_priority_is_refused_and_changes_nothing(
    session_pair: SessionPair,
) -> None:
    wrong: Any = 1
    async with session_pair() as (dialed, accepted):
        with pytest.raises(TypeError, match=r"must be a Priority\(urgency, weight\), got 1"):
            await dialed.open_stream(priority=wrong)
        assert dialed.statistics().live_streams == 0
        async with await dialed.open_stream() as stream:
            with pytest.raises(TypeError, match="must be a Priority"):
                stream.priority = wrong
            await stream.send(b"x")
            far = await accepted.accept_stream()
            assert await far.receive() == b"x"
            assert stream.priority == far.priority == Priority()


@pytest.mark.slow
async def test_a_mistake_of_ours_in_the_end_is_raised_and_hangs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mistaken(*_arguments: object) -> None:
        raise RuntimeError("a mistake")

    near, far = memory_transports()
    async with far:
        with pytest.raises(ExceptionGroup) as caught:
            async with muxado.client(near) as session:
                monkeypatch.setattr(Connection, "terminate", mistaken)
    assert caught.group_contains(RuntimeError, match="a mistake")
    assert session.closed
    with fail_after(20), suppress(muxado.SessionError):
        await session.wait()


async def test_a_priority_given_before_the_peer_is_known_arrives(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        _stream = await dialed.open_stream(priority=Priority(0, 7))
        far = await accepted.accept_stream()
        await accepted.ping()
        assert far.priority == Priority(0, 7)


@pytest.mark.parametrize("act", ["send_eof", "aclose", "reset"])
async def test_a_priority_may_be_set_at_any_time(session_pair: SessionPair, act: str) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        far = await accepted.accept_stream()
        if act == "reset":
            stream.reset()
        else:
            await getattr(stream, act)()
        await dialed.ping()
        for one in (stream, far):
            one.priority = Priority(7)
            assert one.priority == Priority(7)
        await dialed.ping()


async def test_a_typed_stream_shows_its_type(session_pair: SessionPair) -> None:
    async with session_pair(TYPED) as (dialed, accepted):
        stream = await dialed.open_stream(stream_type=0xBEEF)
        await stream.send(b"x")
        far = await accepted.accept_stream()
        assert (stream.stream_type, far.stream_type) == (0xBEEF, 0xBEEF)
        assert await far.receive() == b"x"
        assert await dialed.ping() >= 0


@pytest.mark.parametrize(
    ("config", "stream_type"), [(TYPED, None), (TYPED, -1), (TYPED, 0xFFFFFFFF), (None, 1)]
)
async def test_a_stream_type_must_fit_the_session(
    session_pair: SessionPair, config: muxado.Config | None, stream_type: int | None
) -> None:
    async with session_pair(config) as (dialed, _):
        with pytest.raises(ValueError, match="stream_type"):
            await dialed.open_stream(stream_type=stream_type)
        assert dialed.statistics().live_streams == 0


async def test_the_peers_stream_limit_stops_an_open(session_pair: SessionPair) -> None:
    async with session_pair(None, muxado.Config(max_streams=2)) as (dialed, accepted):
        await dialed.ping()
        streams = [await dialed.open_stream() for _ in range(2)]
        with pytest.raises(muxado.StreamLimitError, match="limit") as info:
            await dialed.open_stream()
        assert info.value.retry is Retry.NEVER_SENT
        assert isinstance(info.value, OSError)
        for stream in streams:
            await stream.aclose()
            await (await accepted.accept_stream()).aclose()
        await dialed.ping()
        await (await dialed.open_stream()).aclose()


async def test_a_limit_the_dialer_did_not_know_of_refuses_the_stream(
    session_pair: SessionPair,
) -> None:
    async with session_pair(None, muxado.Config(max_streams=1)) as (dialed, accepted):
        streams = [await dialed.open_stream() for _ in range(2)]
        with pytest.raises(muxado.StreamRefusedError) as info:
            await streams[1].receive()
        assert (info.value.retry, info.value.code) == (Retry.REFUSED, ErrorCode.STREAM_REFUSED)
        assert accepted.statistics().peer_streams == 1


async def test_a_full_backlog_refuses_the_stream(session_pair: SessionPair) -> None:
    async with session_pair(None, muxado.Config(accept_backlog=1)) as (dialed, accepted):
        streams = [await dialed.open_stream() for _ in range(2)]
        with pytest.raises(muxado.StreamRefusedError) as info:
            await streams[1].receive()
        assert (info.value.retry, info.value.code) == (Retry.REFUSED, ErrorCode.ACCEPT_QUEUE_FULL)
        _far = await accepted.accept_stream()
        assert await dialed.ping() >= 0


async def test_a_stream_that_the_peer_resets_was_not_refused(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        (await accepted.accept_stream()).reset()
        with pytest.raises(muxado.StreamResetError):
            await stream.receive()
        assert dialed.refused_streams == 0


# net_dial and net_listener.


async def test_dialing_and_listening(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        listener = accepted.net_listener()

        async def echo(stream: muxado.Stream) -> None:
            async with stream:
                await stream.send(await receive_all(stream))

        tasks.start_soon(listener.serve, echo)
        stream = await dialed.net_dial("ignored.example", 80, priority=Priority(2))
        await stream.send(b"hello")
        await stream.send_eof()
        assert await receive_all(stream) == b"hello"
        await listener.aclose()


async def test_a_handler_that_returns_closes_its_stream(session_pair: SessionPair) -> None:
    async def handle(stream: muxado.Stream) -> None:
        await stream.send(b"done")

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, handle)
        stream = await dialed.open_stream()
        assert await receive_all(stream) == b"done"
        tasks.cancel_scope.cancel()


async def test_a_handler_that_raises_resets_its_stream_and_no_other(
    session_pair: SessionPair, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(stream: muxado.Stream) -> None:
        if await stream.receive() == b"fail":
            raise RuntimeError("a mistake")
        await stream.send(b"well")

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, handle)
        with fail_after(10):
            stream = await dialed.open_stream()
            await stream.send(b"fail")
            with pytest.raises(muxado.StreamResetError) as info:
                await stream.receive()
            assert (info.value.code, info.value.retry) == (ErrorCode.INTERNAL_ERROR, Retry.UNKNOWN)
            async with await dialed.open_stream() as other:
                await other.send(b"fine")
                assert await other.receive() == b"well"
        tasks.cancel_scope.cancel()
    assert "a mistake" in caplog.text


async def test_who_never_has_to_wait_lets_others_run(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, _), create_task_group() as tasks:
        stream = await dialed.open_stream()
        ran = anyio.Event()

        async def other() -> None:
            ran.set()

        tasks.start_soon(other)
        calls = 0
        while not ran.is_set():
            await stream.send(b"x")
            calls += 1
            assert calls <= 2 * CALLS_PER_CHECKPOINT  # trio runs the tasks of one turn in any order


@pytest.mark.parametrize("finished", [False, True])
async def test_a_block_left_by_an_exception_does_not_look_like_the_whole(
    session_pair: SessionPair, finished: bool
) -> None:
    async with session_pair() as (dialed, accepted):
        with pytest.raises(ValueError, match="mine"):
            async with await dialed.open_stream() as stream:
                await stream.send(b"part")
                if finished:
                    await stream.send_eof()
                await dialed.ping()  # what was sent has left
                raise ValueError("mine")
        far = await accepted.accept_stream()
        assert await far.receive() == b"part"
        with pytest.raises(EndOfStream if finished else muxado.StreamResetError):
            await far.receive()


async def test_a_closed_listener_refuses_what_waits_and_what_comes(
    session_pair: SessionPair,
) -> None:
    async with session_pair() as (dialed, accepted):
        listener = accepted.net_listener()
        served = await dialed.open_stream()
        far = await listener.accept()
        waiting = await dialed.open_stream()
        await dialed.ping()
        await listener.aclose()
        await listener.aclose()
        later = await dialed.open_stream()
        for stream in (waiting, later):
            with pytest.raises(muxado.StreamRefusedError) as info:
                await stream.receive()
            assert info.value.retry is Retry.REFUSED
        assert (dialed.refused_streams, accepted.refused_streams) == (2, 0)
        for accept in (listener.accept, accepted.accept_stream, accepted.net_listener().accept):
            with pytest.raises(anyio.ClosedResourceError):
                await accept()
        await far.send(b"still here")
        assert await served.receive() == b"still here"
        assert accepted.statistics().peer_streams == 1


async def test_closing_a_listener_wakes_who_waits_in_it(session_pair: SessionPair) -> None:
    async with session_pair() as (_, accepted), create_task_group() as tasks:
        listener = accepted.net_listener()

        async def accept() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await listener.accept()

        tasks.start_soon(accept)
        tasks.start_soon(listener.serve, partial(anyio.sleep, math.inf))
        await all_tasks_blocked()
        with fail_after(20):
            await listener.aclose()


async def test_serving_ends_with_the_session(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        for session in (dialed, accepted):
            tasks.start_soon(session.net_listener().serve, partial(anyio.sleep, math.inf))
        await all_tasks_blocked()
        await dialed.aclose()


async def test_serving_a_session_whose_transport_is_cut_raises() -> None:
    near, far = memory_transports()
    async with muxado.server(near) as session:
        await far.aclose()
        with pytest.raises(muxado.TransportError), _unwrapped():
            await session.net_listener().serve(partial(anyio.sleep, math.inf))


class _unwrapped:
    """Takes the only exception out of the group a task group has put it in."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, exc: BaseException | None, _traceback: object) -> None:
        while isinstance(exc, BaseExceptionGroup):
            (exc,) = exc.exceptions
        if exc is not None:
            raise exc


async def test_handlers_run_where_they_are_told(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted), create_task_group() as handlers:
        answered = []
        began = anyio.Event()

        async def handle(stream: muxado.Stream) -> None:
            began.set()
            await dialed.wait()
            answered.append(stream.id)

        stream = await dialed.open_stream()
        async with create_task_group() as serving:
            serving.start_soon(accepted.net_listener().serve, handle, handlers)
            await began.wait()
            serving.cancel_scope.cancel()
        assert not answered  # serving is over, and the handler is not
        await dialed.aclose()
    assert answered == [stream.id]


async def test_a_session_may_stop_accepting(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        accepted.stop_accepting()
        stream = await dialed.open_stream()
        with pytest.raises(muxado.StreamRefusedError):
            await stream.receive()


# Ending.


async def test_aclose_flushes_what_was_sent() -> None:
    near, far = memory_transports(0)
    stuck = Stuck(near)
    async with muxado.client(stuck) as dialed, muxado.server(far) as accepted:
        finished = await dialed.open_stream()
        open_still = await dialed.open_stream()
        streams = [await accepted.accept_stream() for _ in range(2)]
        stuck.hold()
        for stream in (finished, open_still):
            await stream.send(bytes(30_000))
        await finished.aclose()
        async with create_task_group() as tasks:
            tasks.start_soon(dialed.aclose)
            await all_tasks_blocked()
            stuck.release()
        assert await receive_all(streams[0]) == bytes(30_000)
        assert await receive_exactly(streams[1], 30_000) == bytes(30_000)
        with pytest.raises(muxado.SessionError):  # the dialer did not say that this is all
            await streams[1].receive()


async def test_aclose_waits_for_a_slow_reader_to_take_what_was_sent(
    session_pair: SessionPair,
) -> None:
    config = muxado.Config(initial_window=1000, stream_window=1000)
    async with session_pair(config) as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(bytes(10_000))
        await stream.aclose()
        far = await accepted.accept_stream()
        async with create_task_group() as tasks:
            tasks.start_soon(dialed.aclose)
            assert await receive_all(far) == bytes(10_000)
        await accepted.wait()


async def test_a_closed_session_is_closed(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"x")
        far = await accepted.accept_stream()
        assert not dialed.closed
        assert "closed" not in repr(dialed)
        await dialed.aclose()
        await dialed.aclose()
        assert dialed.closed
        assert "closed" in repr(dialed)
        await expect_the_end(dialed, stream, muxado.SessionClosedError)
        assert await far.receive() == b"x"
        await expect_the_end(accepted, far, muxado.SessionClosedError)
        for session in (dialed, accepted):
            await session.wait()
            await session.drain()
            session.go_away()
            session.abort()


async def expect_the_end(
    session: muxado.Session, stream: muxado.Stream, kind: type[muxado.SessionError]
) -> None:
    """Every call says that the session is over, at once, and why."""
    calls: list[Callable[[], Awaitable[object]]] = [
        session.open_stream,
        session.net_dial,
        session.accept_stream,
        session.ping,
        stream.receive,
        stream.send_eof,
        partial(stream.send, b"x"),
    ]
    for call in calls:
        with fail_after(20), pytest.raises(kind) as info:
            await call()
        assert isinstance(info.value, OSError)
        if call in calls[:2]:
            assert info.value.retry is Retry.NEVER_SENT
        assert info.value.__traceback__ is not None
    with pytest.raises(kind):
        stream.receive_nowait()


@pytest.mark.parametrize("over", [False, True])
async def test_every_call_of_a_session_is_a_checkpoint(
    session_pair: SessionPair, over: bool
) -> None:
    async with session_pair() as (dialed, accepted):
        await dialed.ping()
        _streams = [await accepted.open_stream() for _ in range(2)]
        await dialed.ping()
        if over:
            await dialed.aclose()
        listener = dialed.net_listener()
        for call in (
            dialed.open_stream,
            dialed.net_dial,
            dialed.accept_stream,
            listener.accept,
            dialed.ping,
            dialed.wait,
            listener.aclose,
            dialed.accept_stream,
            dialed.drain,
            dialed.aclose,
        ):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await call()
            assert scope.cancelled_caught, call
        assert dialed.closed


async def test_a_stream_closed_under_a_send_just_before_the_session_ends(
    session_pair: SessionPair,
) -> None:
    async with session_pair() as (dialed, _), create_task_group() as tasks:
        stream = await dialed.open_stream()

        async def send() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await stream.send(bytes(1_000_000))

        tasks.start_soon(send)
        await all_tasks_blocked()
        stream.close()
        dialed.abort()


async def test_the_end_of_the_transport_without_a_goodbye_is_an_error_on_every_stream() -> None:
    async with scripted() as (session, peer):
        streams = [await session.open_stream() for _ in range(3)]
        for stream in streams:
            await stream.send(b"x")
        await settled()
        await peer.say(data(2, b"half a wo", syn=True), data(3, b"all of it", fin=True))
        await peer.say(data(5, b"some of it"))
        far = await session.accept_stream()
        await settled()
        await peer.transport.aclose()
        await settled()
        assert session.closed
        # What came is received first; only what was finished is complete.
        assert await receive_all(streams[0]) == b"all of it"
        assert await streams[1].receive() == b"some of it"
        assert await far.receive() == b"half a wo"
        for stream, verdict in zip(
            (streams[1], streams[2], far),
            (Retry.PROCESSED, Retry.UNKNOWN, Retry.UNKNOWN),
            strict=True,
        ):
            await expect_the_end(session, stream, muxado.TransportError)
            with pytest.raises(muxado.TransportError, match="without a goodbye") as info:
                await stream.receive()
            assert (info.value.retry, info.value.remote) == (verdict, True)
        with pytest.raises(muxado.TransportError):
            await session.wait()


async def test_a_frame_cut_short_is_never_the_end_of_the_data() -> None:
    async with scripted() as (session, peer):
        await peer.say(data(2, b"12345678", syn=True, fin=True)[:-1])
        far = await session.accept_stream()
        await peer.transport.aclose()
        with pytest.raises(muxado.TransportError, match="in the middle of a frame"):
            while True:
                await far.receive()


@pytest.mark.parametrize("how", ["cut", "goodbye"])
async def test_the_end_of_the_session_wakes_every_blocked_call(how: str) -> None:
    async with scripted() as (session, peer), create_task_group() as tasks:
        stream = await session.open_stream()
        woken = []

        async def expect_an_end(call: Callable[[], Awaitable[object]]) -> None:
            with pytest.raises(muxado.SessionError):
                await call()
            woken.append(call)

        await peer.say(HELLO)
        calls = (
            stream.receive,
            partial(stream.send, bytes(1_000_000)),
            session.accept_stream,
            session.ping,
        )
        for call in calls:
            tasks.start_soon(expect_an_end, call)
        tasks.start_soon(session.drain, 1000)
        await all_tasks_blocked()
        if how == "goodbye":
            await peer.say(goaway(MAX_ID))
        with fail_after(20):
            await peer.transport.aclose()
            while len(woken) < len(calls):
                await anyio.lowlevel.checkpoint()


@pytest.mark.slow
async def test_a_peers_goodbye_ends_the_session_after_the_last_stream() -> None:
    async with scripted() as (session, peer):
        await peer.say(HELLO, data(2, b"call", syn=True))
        far = await session.accept_stream()
        await peer.say(goaway(0, debug=b"closing time"), PAD)
        await settled()
        assert not session.closed
        with pytest.raises(muxado.GoneAwayError, match="going away") as info:
            await session.open_stream()
        assert (info.value.retry, info.value.remote) == (Retry.NEVER_SENT, True)
        await far.send(b"answer")
        await far.send_eof()
        await peer.say(data(2, b" over", fin=True))
        assert await receive_all(far) == b"call over"
        with fail_after(20):
            await session.wait()
        last = (await peer.to_the_end())[-2:]
        assert [one.kind for one in last] == ["GOAWAY", "PAD"]


@pytest.mark.parametrize("last", ["ours", "theirs"])
async def test_a_session_that_went_away_ends_after_the_last_stream(
    session_pair: SessionPair, last: str
) -> None:
    async with session_pair() as (dialed, accepted):
        near = await dialed.open_stream()
        far = await accepted.accept_stream()
        dialed.go_away()
        with pytest.raises(muxado.GoneAwayError, match="this side"):
            await dialed.open_stream()
        ends = (near, far) if last == "theirs" else (far, near)
        for stream, other in (ends, ends[::-1]):
            await stream.send_eof()
            assert await receive_all(other) == b""
        with fail_after(20):
            await dialed.wait()
            await accepted.wait()


@pytest.mark.slow
async def test_an_error_of_the_peers_session_is_told() -> None:
    async with scripted() as (session, peer):
        stream = await session.open_stream()
        await peer.say(goaway(3, ErrorCode.FLOW_CONTROL_ERROR, b"too much"))
        with pytest.raises(muxado.ProtocolError, match=r"FLOW_CONTROL_ERROR.*too much") as info:
            await stream.receive()
        assert (info.value.remote, info.value.code) == (True, ErrorCode.FLOW_CONTROL_ERROR)
        with pytest.raises(muxado.ProtocolError):
            await session.wait()


async def test_a_peer_that_breaks_the_protocol_is_told_why() -> None:
    async with scripted() as (session, peer):
        await peer.say(frame("WNDINC", 3, b"12"))
        with pytest.raises(muxado.ProtocolError, match="WNDINC of 2 bytes") as info:
            await session.accept_stream()
        assert not info.value.remote
        last = (await peer.to_the_end())[-2:]
        assert last[0].code == ErrorCode.FRAME_SIZE_ERROR
        assert b"WNDINC of 2 bytes" in last[0].body
        assert last[1] == Frame("PAD", 0, 0, b"")


async def test_what_comes_after_the_end_is_not_kept() -> None:
    async with scripted() as (session, peer):
        await peer.say(frame("WNDINC", 3, b"12"))
        with pytest.raises(muxado.ProtocolError):
            await session.accept_stream()
        await peer.say(data(2, b"late", syn=True))
        await settled()
        assert session.statistics()[:4] == (0, 0, 0, 0)


@pytest.mark.slow
async def test_abort_flushes_nothing_but_says_goodbye() -> None:
    async with scripted(depth=0) as (session, peer):
        assert await peer.next()
        stream = await session.open_stream()
        await all_tasks_blocked()
        await stream.send(b"dropped")
        session.abort()
        assert session.closed
        frames = await peer.to_the_end()
        assert [one.kind for one in frames[-2:]] == ["GOAWAY", "PAD"]
        assert b"dropped" not in peer.wire
        await session.wait()


# Draining.


async def test_a_drain_is_in_two_steps_with_a_round_trip_between() -> None:
    async with scripted() as (session, peer), create_task_group() as tasks:
        await peer.say(HELLO, data(2, b"a", syn=True), data(4, b"b", syn=True))
        streams = [await session.accept_stream() for _ in range(2)]
        tasks.start_soon(session.drain)

        await peer.expect("CREDIT")
        step = {frame.kind: frame for frame in [await peer.next() for _ in range(3)]}
        assert step.keys() == {"GOAWAY", "PAD", "PING"}
        assert (step["GOAWAY"].last_id, step["GOAWAY"].code) == (MAX_ID, ErrorCode.NO_ERROR)

        with pytest.raises(muxado.GoneAwayError, match="this side is going away") as refused:
            await session.open_stream()
        assert refused.value.retry is Retry.NEVER_SENT

        # These two were under way; one is accepted in time.
        await peer.say(data(6, b"c", syn=True), data(8, b"d", syn=True))
        streams.append(await session.accept_stream())
        await peer.say(frame("PING", 0, step["PING"].body, flags=1))
        step = {frame.kind: frame for frame in [await peer.next() for _ in range(3)]}
        assert step["RST"] == Frame("RST", 8, 0, bytes((0, 0, 0, 5)))
        assert step["PAD"]
        assert (step["GOAWAY"].last_id, step["GOAWAY"].code) == (6, ErrorCode.NO_ERROR)
        await peer.say(data(10, b"late", syn=True))
        assert await peer.next() == Frame("RST", 10, 0, bytes((0, 0, 0, 5)))

        for stream in streams:
            assert not session.closed
            await peer.say(data(stream.id or 0, fin=True))
            await stream.send(b"answer")
            await stream.aclose()
            fin = await peer.expect("DATA", stream.id or 0)
            assert (fin.body, fin.flags) == (b"answer", FIN)
        frames = await peer.to_the_end()
        assert [one.kind for one in frames[-2:]] == ["GOAWAY", "PAD"]
        await session.wait()
    assert peer.wire.count(PAD) == len([one for one in peer.seen if one.kind == "GOAWAY"])


async def test_a_drain_of_two_sessions_loses_nothing(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        answers = []
        handled = 0

        async def call() -> None:
            stream = await dialed.open_stream()
            await stream.send(b"call")
            await stream.send_eof()
            answers.append(await receive_all(stream))
            await stream.aclose()

        async def handle(stream: muxado.Stream) -> None:
            nonlocal handled
            handled += 1
            await stream.send(await receive_all(stream) + b" answered")

        tasks.start_soon(accepted.net_listener().serve, handle)
        for _ in range(20):
            tasks.start_soon(call)
        await until(lambda: handled == 20)
        with fail_after(20):
            await accepted.drain()
            await dialed.wait()
    assert answers == [b"call answered"] * 20


async def test_two_drains_end_together(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        far = await accepted.accept_stream()
        with fail_after(20):
            async with create_task_group() as tasks:
                tasks.start_soon(dialed.drain, math.inf)
                tasks.start_soon(dialed.drain, math.inf)
                await all_tasks_blocked()
                await stream.aclose()
                await far.aclose()


@pytest.mark.slow
async def test_a_drain_waits_for_a_handler_that_is_not_done() -> None:
    # The wire is through with the stream; the application is not.
    async with scripted() as (session, peer), create_task_group() as tasks:
        await peer.say(data(2, syn=True), data(2, fin=True))
        stream = await session.accept_stream()
        await stream.send_eof()
        tasks.start_soon(session.drain, math.inf)
        second = [await peer.expect("GOAWAY") for _ in range(2)][1]
        assert second.last_id == 2
        await settled()
        assert not session.closed
        await stream.aclose()


async def test_a_drain_cuts_off_at_its_deadline(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        _far = await accepted.accept_stream()
        with fail_after(20):
            await accepted.drain(0.05)
        with pytest.raises(muxado.SessionClosedError) as info:
            await stream.receive()
        assert info.value.retry is Retry.UNKNOWN


# Scopes.


@pytest.mark.parametrize("exc", [ValueError("mine"), ExceptionGroup("mine", [ValueError("too")])])
async def test_an_exception_of_the_body_comes_out_as_it_is(exc: Exception) -> None:
    near, far = memory_transports()
    async with muxado.server(far):
        with pytest.raises(type(exc)) as info:
            async with muxado.client(near):
                raise exc
        assert info.value is exc


async def test_a_task_group_in_the_body_fails_as_task_groups_do() -> None:
    async def fail() -> None:
        raise ValueError("mine")

    near, far = memory_transports()
    async with muxado.server(far):
        with pytest.raises(ExceptionGroup) as info:
            async with muxado.client(near), create_task_group() as tasks:
                tasks.start_soon(fail)
        (exc,) = info.value.exceptions
        assert isinstance(exc, ValueError)


async def test_a_broken_scheduler_is_heard_of() -> None:
    """A mistake in a task of the session itself is neither swallowed nor a hang."""

    class Broken(FifoScheduler):
        def serve(self, send: Any, budget: int) -> None:
            raise ZeroDivisionError("in the scheduler")

    near, far = memory_transports()
    async with muxado.server(far) as accepted:
        with fail_after(20), pytest.raises(ExceptionGroup) as group:
            async with muxado.client(near, muxado.Config(scheduler=Broken)) as session:
                _stream = await session.open_stream()
                await anyio.sleep(math.inf)
        assert group.group_contains(ZeroDivisionError)
        with pytest.raises(muxado.TransportError), fail_after(20):
            await accepted.wait()


async def test_leaving_the_scope_closes_the_session_with_a_goodbye() -> None:
    near, far = memory_transports()
    async with muxado.server(far) as accepted:
        async with muxado.client(near) as session:
            stream = await session.open_stream()
            far = await accepted.accept_stream()
            await stream.send(b"x")
            await stream.aclose()
        assert session.closed
        assert await receive_all(far) == b"x"
        await accepted.wait()


async def test_a_session_fails_only_where_it_is_used() -> None:
    near, far = memory_transports()
    async with muxado.client(near) as session:
        await far.aclose()
        await settled()
        assert session.closed


# What it tells.


async def test_a_session_tells_whether_its_peer_is_a_muxado_py(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        await dialed.ping()
        assert dialed.is_muxado_py is accepted.is_muxado_py is True
    async with scripted() as (session, peer):
        assert session.is_muxado_py is None
        await peer.say(rst(3, 0))
        await settled()
        assert session.is_muxado_py is False


async def test_statistics(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        assert dialed.statistics()[:4] == (0, 0, 0, 0)
        assert dialed.statistics().round_trip is None
        one = await dialed.open_stream()
        await one.send(b"12345")
        two = await dialed.open_stream()
        round_trip = await dialed.ping()
        assert accepted.statistics()[:4] == (2, 2, 2, 5)
        assert dialed.statistics().live_streams == 2
        assert dialed.statistics().round_trip == round_trip
        far = await accepted.accept_stream()
        assert await far.receive(2) == b"12"
        await dialed.ping()
        assert accepted.statistics()[:4] == (2, 2, 1, 3)
        assert accepted.statistics().bytes_received == dialed.statistics().bytes_sent
        one.reset()
        two.reset()
        await dialed.ping()
        # The handler of the first is not done with it, and may read what came before.
        assert accepted.statistics()[:4] == (0, 1, 0, 3)
        assert await far.receive() == b"345"
        far.close()
        assert accepted.statistics()[:4] == (0, 0, 0, 0)


@pytest.mark.parametrize("kind", [*REAL, "memory"])
async def test_addresses_are_pairs_and_no_socket_is_exposed(kind: str, tmp_path: Path) -> None:
    async with (
        open_transports(kind, tmp_path) as (near, far),
        muxado.client(near) as dialed,
        muxado.server(far) as accepted,
    ):
        stream = await dialed.open_stream()
        for carrier in (dialed, stream, accepted.net_listener()):
            with pytest.raises(TypedAttributeLookupError):
                # Neither the session nor its streams hand it out.
                _extra(carrier, SocketAttribute.raw_socket)
        for attribute in (SocketAttribute.remote_address, SocketAttribute.local_address):
            if kind == "memory":
                assert stream.extra(attribute, None) is None
                continue
            host, port = _extra(stream, attribute)
            assert (type(host), type(port)) == (str, int)
            if kind != "unix":
                assert host == "127.0.0.1"
            assert _extra(dialed, attribute) == (host, port)
        if kind == "tls":
            assert _extra(dialed, TLSAttribute.tls_version).startswith("TLS")
        if kind != "memory":
            near_address = stream.extra(SocketAttribute.local_address)
            assert _extra(accepted, SocketAttribute.remote_address) == near_address


def _extra(carrier: muxado.Session | muxado.Stream | muxado.NetListener, attribute: Any) -> Any:
    if attribute not in carrier.extra_attributes:
        raise TypedAttributeLookupError
    return carrier.extra_attributes[attribute]()


async def test_a_transport_that_is_gone_already_has_no_address() -> None:
    class Gone(Around):
        @property
        def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
            raise AttributeError("'NoneType' object has no attribute 'getpeername'")

    near, far = memory_transports()
    await far.aclose()
    async with muxado.client(Gone(near)) as session:
        with pytest.raises(muxado.TransportError):
            await session.accept_stream()


# Pings.


async def test_a_foreign_peer_without_typed_streams_answers_no_pings() -> None:
    async with scripted() as (session, peer):
        await peer.say(data(2, syn=True))
        with pytest.raises(muxado.MuxadoError, match="answers no pings"):
            await session.ping()
        assert not session.closed


async def test_stray_and_wrong_pongs_are_ignored() -> None:
    async with scripted() as (session, peer), create_task_group() as tasks:
        await peer.say(HELLO)
        rounds = []

        async def ping() -> None:
            rounds.append(await session.ping())

        tasks.start_soon(ping)
        ping_frame = await peer.expect("PING")
        await peer.say(frame("PING", 0, b"not this", flags=1))
        await settled()
        assert not rounds
        assert session.statistics().round_trip is None
        await peer.say(frame("PING", 0, ping_frame.body, flags=1) * 2)
        await settled()
        assert rounds == [session.statistics().round_trip]
        assert not session.closed


async def test_a_ping_is_answered_once() -> None:
    async with scripted() as (session, peer):
        await peer.say(HELLO, frame("PING", 0, b"12345678"))
        assert await peer.expect("PING") == Frame("PING", 0, 1, b"12345678")
        async with create_task_group() as tasks:
            tasks.start_soon(session.aclose)
            frames = await peer.to_the_end()
        assert [one.kind for one in frames].count("PING") == 1


async def test_the_first_frame_is_the_greeting() -> None:
    async with scripted() as (session, peer):
        assert whole(HELLO) == [await peer.next()]
        await peer.say(rst(3, 0))
        stream = await session.open_stream()
        await stream.send(b"x")
        syn = await peer.next()
        assert (syn.kind, syn.stream, syn.flags) == ("DATA", 3, SYN)


async def test_reading_waits_for_nobody(session_pair: SessionPair) -> None:
    """One stream that nobody reads, full, stops no other; nor does the accept queue."""
    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        stalled = await dialed.open_stream()
        tasks.start_soon(stalled.send, bytes(1_000_000))
        await all_tasks_blocked()
        stream = await dialed.open_stream()
        await stream.send(b"x")
        _, far = [await accepted.accept_stream() for _ in range(2)]
        assert await far.receive() == b"x"
        with pytest.raises(EndOfStream):
            await far.send_eof()
            await stream.receive()
        tasks.cancel_scope.cancel()

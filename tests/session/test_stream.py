"""Streams: what their calls do on the wire, the calls without waiting, and the wake-ups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import EndOfStream, WouldBlock, create_task_group, fail_after

import muxado_py as muxado
from muxado_py import ErrorCode, Retry

from ..check_byte_stream import receive_all, receive_exactly
from ..conftest import CARRIERS
from ..frames_seen import FIN, HELLO, SYN, data, frame, of, payload, rst, wndinc
from ..helpers.blocked import all_tasks_blocked, until
from ..scripted_peer import scripted
from ..transports import memory_transports
from .test_session import settled

if TYPE_CHECKING:
    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

WINDOW = 256 * 1024
TAKES_5_AND_9 = (ErrorCode.STREAM_REFUSED, ErrorCode.ACCEPT_QUEUE_FULL)


@pytest.fixture(params=CARRIERS)
def carried_by(request: pytest.FixtureRequest) -> str:
    """The tests with two sessions run over whatever carries them."""
    kind: str = request.param
    return kind


# On the wire.


async def test_a_stream_has_its_id_with_its_first_frame() -> None:
    async with scripted() as (session, peer):
        await peer.next()
        stream = await session.open_stream()
        assert stream.id is None
        assert repr(stream) == "<muxado_py.Stream None>"
        syn = await peer.expect("DATA", 3)
        assert syn.flags == SYN
        assert repr(stream) == "<muxado_py.Stream 3>"


async def test_what_is_sent_at_once_travels_with_the_syn() -> None:
    async with scripted() as (session, peer):
        await peer.next()
        stream = await session.open_stream()
        assert stream.send_nowait(b"hello") == 5
        syn = await peer.expect("DATA", 3)
        assert (syn.flags, syn.body) == (SYN, b"hello")


async def test_a_typed_stream_has_its_type_in_the_syn() -> None:
    async with scripted(muxado.Config(typed_streams=True)) as (session, peer):
        _stream = await session.open_stream(stream_type=7)
        syn = await peer.expect("DATA", 3)
        assert syn.body[:4] == bytes((0, 0, 0, 7))


@pytest.mark.slow
async def test_a_stream_that_was_reset_before_its_syn_leaves_no_trace() -> None:
    async with scripted() as (session, peer):
        await peer.next()
        stream = await session.open_stream()
        stream.send_nowait(b"x")
        stream.reset()
        with pytest.raises(anyio.ClosedResourceError) as info:
            await stream.send(b"y")
        assert isinstance(info.value, muxado.StreamClosedError)
        assert info.value.retry is Retry.NEVER_SENT
        other = await session.open_stream()
        await other.send(b"z")
        assert (await peer.next()).stream == 3
        await session.aclose()
        assert payload(await peer.to_the_end(), 3) == b"z"


@pytest.mark.slow
async def test_a_reset_drops_what_was_not_sent_and_tells_the_code() -> None:
    async with scripted() as (session, peer):
        stream = await session.open_stream()
        await settled()
        stream.send_nowait(b"dropped")
        stream.reset(4711)
        stream.reset(4712)
        stream.close()
        for call in (stream.receive, stream.send_eof):
            with pytest.raises(muxado.StreamClosedError):
                await call()
        await session.aclose()
        frames = of(await peer.to_the_end(), 3)
        assert [(one.kind, one.body) for one in frames] == [
            ("DATA", b""),
            ("RST", (4711).to_bytes(4, "big")),
        ]


@pytest.mark.parametrize("code", TAKES_5_AND_9)
async def test_an_application_cannot_refuse_what_it_was_given(
    session_pair: SessionPair, code: int
) -> None:
    async with session_pair() as (dialed, accepted):
        _stream = await dialed.open_stream()
        far = await accepted.accept_stream()
        with pytest.raises(ValueError, match="promise that no application saw"):
            far.reset(code)


async def test_a_reset_ends_both_directions_for_the_peer(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"before")
        far = await accepted.accept_stream()
        await far.send(b"an answer that the reset makes worthless")
        await until(lambda: stream.is_readable)
        far.reset(ErrorCode.INTERNAL_ERROR)
        await until(lambda: not dialed.statistics().live_streams)
        # What came before the reset may be read; then it is an error, for good, and never the end.
        assert await stream.receive() == b"an answer that the reset makes worthless"
        for _ in range(2):
            with pytest.raises(muxado.StreamResetError, match=r"INTERNAL_ERROR\(2\)") as info:
                await stream.receive()
        with pytest.raises(ConnectionResetError):
            await stream.send(b"x")
        with pytest.raises(muxado.StreamResetError):
            await stream.send_eof()
        assert (info.value.code, info.value.remote) == (ErrorCode.INTERNAL_ERROR, True)
        assert info.value.retry is Retry.PROCESSED
        assert dialed.statistics().live_streams == accepted.statistics().live_streams == 0


async def test_a_reset_after_the_peers_end_keeps_what_was_complete() -> None:
    async with scripted() as (session, peer):
        stream = await session.open_stream()
        await settled()
        await peer.say(data(3, b"complete", fin=True), rst(3, ErrorCode.STREAM_CANCELLED))
        await settled()
        assert await receive_all(stream) == b"complete"
        with pytest.raises(muxado.StreamResetError):
            await stream.send(b"x")


async def test_a_close_with_unread_data_tells_the_peer() -> None:
    async with scripted() as (session, peer):
        stream = await session.open_stream()
        await stream.send(b"call")
        await settled()
        await peer.say(data(3, b"nobody reads this"))
        await settled()
        assert session.statistics().unread == 17
        await stream.aclose()
        assert session.statistics().unread == 0
        while (one := await peer.next()).kind != "RST":
            last = one
        assert last.flags == FIN
        assert (one.stream, one.code) == (3, ErrorCode.STREAM_CANCELLED)


async def test_data_after_a_close_is_answered_with_a_reset() -> None:
    async with scripted() as (session, peer):
        stream = await session.open_stream()
        await stream.aclose()
        await settled()
        await peer.say(data(3, b"late"))
        assert (await peer.expect("RST", 3)).code == ErrorCode.STREAM_CLOSED
        assert session.statistics()[:4] == (0, 0, 0, 0)


@pytest.mark.slow
async def test_a_stream_of_both_ends_leaves_the_table_without_a_reset() -> None:
    async with scripted() as (session, peer):
        stream = await session.open_stream()
        await stream.send_eof()
        await settled()
        await peer.say(data(3, fin=True))
        assert await receive_all(stream) == b""
        await stream.aclose()
        assert session.statistics().live_streams == 0
        await session.aclose()
        frames = await peer.to_the_end()
        assert not [one for one in frames if one.kind == "RST"]


async def test_closing_while_a_send_is_blocked_still_sends_the_end() -> None:
    async with scripted(muxado.Config(send_buffer=16)) as (session, peer):
        stream = await session.open_stream()
        async with create_task_group() as tasks:

            async def send() -> None:
                with pytest.raises(anyio.ClosedResourceError):
                    await stream.send(bytes(2 * WINDOW))

            tasks.start_soon(send)
            await all_tasks_blocked()
            stream.close()
        # No credit came, and the rest was taken back: the end needs none.
        with fail_after(20):
            while not (await peer.expect("DATA", 3)).flags & FIN:
                pass
        assert len(payload(peer.seen, 3)) == WINDOW


async def test_credit_is_given_for_what_was_read() -> None:
    async with scripted() as (session, peer):
        await peer.say(data(2, bytes(WINDOW // 2), syn=True))
        far = await session.accept_stream()
        await receive_exactly(far, WINDOW // 2 - 1)
        await settled()
        assert not [one for one in peer.seen if one.kind == "WNDINC" and one.stream == 2]
        await far.receive()
        assert (await peer.expect("WNDINC", 2)).code == WINDOW // 2


async def test_no_more_is_sent_than_the_window_allows() -> None:
    async with scripted() as (session, peer), create_task_group() as tasks:
        stream = await session.open_stream()
        tasks.start_soon(stream.send, bytes(WINDOW + 10))
        await peer.take(3, WINDOW)
        await settled()
        await peer.say(wndinc(3, 4))
        assert len((await peer.expect("DATA", 3)).body) == 4
        await peer.say(wndinc(3, 100))
        assert len((await peer.expect("DATA", 3)).body) == 6


async def test_more_than_the_window_resets_the_stream() -> None:
    async with scripted() as (session, peer):
        await peer.say(data(2, bytes(WINDOW), syn=True))
        far = await session.accept_stream()
        await peer.say(data(2, b"x"))
        assert (await peer.expect("RST", 2)).code == ErrorCode.FLOW_CONTROL_ERROR
        with pytest.raises(muxado.StreamResetError, match="more data than its window") as info:
            await receive_all(far)
        assert not info.value.remote
        assert not session.closed


async def test_payload_larger_than_the_window_passes_as_it_is_read(
    session_pair: SessionPair,
) -> None:
    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        stream = await dialed.open_stream()
        tasks.start_soon(stream.send, bytes(3 * WINDOW))
        far = await accepted.accept_stream()
        assert await receive_exactly(far, 3 * WINDOW) == bytes(3 * WINDOW)


@pytest.mark.slow
async def test_both_sides_echo_over_a_connection_that_holds_nothing() -> None:
    """The deadlock of a peer that will not read while it is blocked on writing."""
    config = muxado.Config(initial_window=4096, stream_window=4096, send_buffer=4096)
    near, far = memory_transports(0)
    async with (
        muxado.client(near, config) as dialed,
        muxado.server(far, config) as accepted,
        create_task_group() as tasks,
    ):
        sessions = (dialed, accepted)

        async def echo(stream: muxado.Stream) -> None:
            async for chunk in stream:
                await stream.send(chunk)
            await stream.send_eof()

        async def call(session: muxado.Session) -> None:
            stream = await session.open_stream()

            async def send() -> None:
                await stream.send(bytes(50_000))
                await stream.send_eof()

            async with create_task_group() as calling:
                calling.start_soon(send)
                assert await receive_all(stream) == bytes(50_000)
            await stream.aclose()

        with fail_after(30):
            for session in sessions:
                tasks.start_soon(session.net_listener().serve, echo)
            async with create_task_group() as calls:
                for session in sessions:
                    for _ in range(16):
                        calls.start_soon(call, session)
        tasks.cancel_scope.cancel()


# Without waiting.


async def test_send_nowait_takes_what_there_is_room_for() -> None:
    config = muxado.Config(send_buffer=100)
    async with scripted(config) as (session, _):
        stream = await session.open_stream()
        room: list[str] = []
        stream.set_callbacks(None, lambda: room.append("room"))
        assert stream.send_nowait(bytearray(60)) == 60
        assert stream.send_nowait(memoryview(bytes(60))) == 40
        assert stream.send_nowait(b"x") == 0
        assert stream.send_nowait(b"") == 0
        assert not room
        await settled()
        assert room
        assert stream.send_nowait(b"x") == 1
        stream.send_eof_nowait()
        stream.send_eof_nowait()
        with pytest.raises(muxado.StreamClosedError, match="send after send_eof"):
            stream.send_nowait(b"y")


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["muxado", "smux2"])
@pytest.mark.parametrize("first", ["wait", "end"])
async def test_who_waits_for_the_peers_close_is_done_when_both_have_ended(
    session_pair: SessionPair, wire: str, first: str
) -> None:
    config = muxado.Config(wire=wire, half_close=True)
    async with session_pair(config, config) as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"x")
        far = await accepted.accept_stream()
        await far.send_eof()
        assert await receive_all(stream) == b""
        with fail_after(20):
            async with create_task_group() as tasks:
                if first == "wait":
                    tasks.start_soon(stream.wait_peer_closed)
                    await all_tasks_blocked()
                await stream.send(b"y")
                await stream.send_eof()
                if first == "end":
                    await stream.wait_peer_closed()
        assert await receive_all(far) == b"xy"
        await stream.aclose()


async def test_send_whole_nowait_takes_all_and_says_whether_there_is_room() -> None:
    config = muxado.Config(send_buffer=100)
    async with scripted(config) as (session, _):
        stream = session.open_stream_nowait()
        room: list[str] = []
        stream.set_callbacks(None, lambda: room.append("room"))
        assert stream.send_whole_nowait(bytes(60))
        assert not stream.send_whole_nowait(bytes(60_000))
        assert not room
        await settled()
        assert room
        assert stream.send_whole_nowait(b"")
        stream.send_eof_nowait()
        with pytest.raises(muxado.StreamClosedError, match="send after send_eof"):
            stream.send_whole_nowait(b"y")


async def test_a_callback_is_not_called_when_everything_was_taken() -> None:
    async with scripted() as (session, _):
        stream = await session.open_stream()
        called: list[str] = []
        stream.set_callbacks(lambda: called.append("r"), lambda: called.append("w"))
        assert stream.send_nowait(bytes(1000)) == 1000
        await settled()
        assert not called


async def test_send_nowait_beside_a_blocked_send_is_busy(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, _), create_task_group() as tasks:
        stream = await dialed.open_stream()
        tasks.start_soon(stream.send, bytes(2 * WINDOW))
        await all_tasks_blocked()
        for call in (lambda: stream.send_nowait(b"x"), stream.send_eof_nowait):
            with pytest.raises(anyio.BusyResourceError):
                call()
        tasks.cancel_scope.cancel()


async def test_callbacks_take_nobodys_wake_up_away(session_pair: SessionPair) -> None:
    """A task that waits has the one place there is for whom to wake."""
    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        stream = await dialed.open_stream()
        await stream.send(b"x")
        far = await accepted.accept_stream()
        got: list[bytes] = []
        sent = anyio.Event()

        async def receive() -> None:
            got.append(await stream.receive())

        async def send() -> None:
            await stream.send(bytes(4 * WINDOW))
            sent.set()

        tasks.start_soon(receive)
        tasks.start_soon(send)
        await all_tasks_blocked()
        for callbacks in ((None, None), (list, None), (None, list)):
            with pytest.raises(anyio.BusyResourceError):
                stream.set_callbacks(*callbacks)
        with fail_after(10):
            await far.send(b"answer")
            await receive_exactly(far, 1 + 4 * WINDOW)
            await sent.wait()  # all that was sent is here before the task that sent has run again
            while not got:
                await settled()
        assert got == [b"answer"]
        stream.set_callbacks(list, list)  # nobody waits any more
        with pytest.raises(anyio.BusyResourceError):
            await stream.receive()
        stream.set_callbacks(None, None)


@pytest.mark.parametrize("which", ["receive", "send"])
async def test_a_task_that_only_gives_way_keeps_them_out_too(
    which: str, session_pair: SessionPair
) -> None:
    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        stream = await dialed.open_stream()
        refused = 0

        async def use() -> None:
            while refused < 3:
                if which == "send":
                    await stream.send(b"x")
                else:
                    await stream.receive(1)

        if which == "receive":
            await stream.send(b"x")
            far = await accepted.accept_stream()
            await far.send(bytes(WINDOW))
        tasks.start_soon(use)
        with fail_after(10):
            while refused < 3:
                await anyio.lowlevel.checkpoint()
                try:
                    stream.set_callbacks(None, None)
                except anyio.BusyResourceError:
                    refused += 1
        tasks.cancel_scope.cancel()
        stream.reset()


async def test_receive_nowait(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        far = await accepted.accept_stream()
        with pytest.raises(WouldBlock):
            far.receive_nowait()
        assert not far.is_readable
        await stream.send(b"abc")
        await stream.send_eof()
        await until(lambda: far.statistics().end_received)
        assert far.is_readable
        with pytest.raises(ValueError, match="at least 1"):
            far.receive_nowait(0)
        assert far.receive_nowait(2) == b"ab"
        assert far.receive_nowait() == b"c"
        for _ in range(2):
            assert far.is_readable
            with pytest.raises(EndOfStream):
                far.receive_nowait()


@pytest.mark.parametrize("how", ["reset", "end of the session"])
async def test_a_failure_calls_both_callbacks(session_pair: SessionPair, how: str) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        far = await accepted.accept_stream()
        called: list[str] = []
        stream.set_callbacks(lambda: called.append("readable"), lambda: called.append("writable"))
        if how == "reset":
            far.reset()
        else:
            await accepted.aclose()
        await until(lambda: len(set(called)) == 2)
        assert sorted(set(called)) == ["readable", "writable"]
        assert stream.is_readable
        with pytest.raises(anyio.BrokenResourceError):
            stream.receive_nowait()
        with pytest.raises(anyio.BrokenResourceError):
            stream.send_nowait(b"x")


async def test_a_mistake_of_a_callback_keeps_nobody_else_waiting(session_pair: SessionPair) -> None:
    """It ends the session; who waits beside it is woken by what came, and by the end."""

    def mistake() -> None:
        raise LookupError

    received: list[bytes] = []
    ended: list[Exception] = []

    async def wait(stream: muxado.Stream) -> None:
        try:
            while True:
                with fail_after(20):
                    received.append(await stream.receive())
        except OSError as exc:
            ended.append(exc)

    async with create_task_group() as tasks:  # not the session's, whose end cancels nobody here
        with pytest.raises(BaseExceptionGroup) as info:
            async with session_pair() as (dialed, accepted):
                pairs = []
                for _ in range(3):
                    near = await dialed.open_stream()
                    await near.send(b"x")
                    far = await accepted.accept_stream()
                    assert await far.receive() == b"x"
                    pairs.append((near, far))
                for near, _ in pairs[:2]:
                    near.set_callbacks(mistake, mistake)
                tasks.start_soon(wait, pairs[2][0])
                await all_tasks_blocked()
                for _, far in pairs:
                    far.send_nowait(b"y")
                await anyio.sleep(20)
        assert info.value.subgroup(LookupError) is not None
    assert received == [b"y"]
    assert len(ended) == 1


async def test_an_echo_of_callbacks_alone(session_pair: SessionPair) -> None:
    """An adaptor that drives a stream without any task, both directions, with back-pressure."""
    config = muxado.Config(initial_window=1000, stream_window=1000, send_buffer=300)
    async with session_pair(config) as (dialed, accepted), create_task_group() as tasks:
        stream = await dialed.open_stream()
        far = await accepted.accept_stream()
        held = bytearray()

        def pump() -> None:
            if held:
                del held[: far.send_nowait(held)]
            while not held:
                try:
                    held.extend(far.receive_nowait(512))
                except WouldBlock:
                    return
                except EndOfStream:
                    far.send_eof_nowait()
                    far.set_callbacks(None, None)
                    return
                del held[: far.send_nowait(held)]

        far.set_callbacks(pump, pump)
        sent = bytes(range(256)) * 100

        async def send() -> None:
            await stream.send(sent)
            await stream.send_eof()

        tasks.start_soon(send)
        with fail_after(20):
            assert await receive_all(stream) == sent


# Errors.


async def test_each_error_is_a_new_one_with_the_same_verdict(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        (await accepted.accept_stream()).reset()
        errors = []
        for _ in range(2):
            with pytest.raises(muxado.StreamResetError) as info:
                await stream.receive()
            errors.append(info.value)
        assert errors[0] is not errors[1]
        assert [error.retry for error in errors] == [Retry.UNKNOWN] * 2


async def test_a_send_that_the_peer_resets_fails_and_leaves_nothing_queued() -> None:
    async with scripted() as (session, peer), create_task_group() as tasks:
        await peer.say(HELLO)
        stream = await session.open_stream()

        async def send() -> None:
            with pytest.raises(muxado.StreamRefusedError) as info:
                await stream.send(bytes(2 * WINDOW))
            assert info.value.retry is Retry.REFUSED

        tasks.start_soon(send)
        await all_tasks_blocked()
        await peer.say(rst(3, ErrorCode.STREAM_REFUSED))
        await settled()
        assert session.statistics().live_streams == 0


async def test_a_full_queue_of_a_foreign_peer_is_told_to_forget_the_stream() -> None:
    # Go keeps a stream that it had no room for until somebody resets it.
    async with scripted() as (session, peer):
        stream = await session.open_stream()
        await settled()
        await peer.say(rst(3, ErrorCode.ACCEPT_QUEUE_FULL))
        assert (await peer.expect("RST", 3)).code == ErrorCode.STREAM_CANCELLED
        with pytest.raises(muxado.StreamRefusedError):
            await stream.receive()


async def test_a_faulty_stream_is_reset_and_the_session_goes_on() -> None:
    async with scripted() as (session, peer):
        stream = await session.open_stream()
        await settled()
        await peer.say(frame("WNDINC", 3, bytes(4)))
        assert (await peer.expect("RST", 3)).code == ErrorCode.PROTOCOL_ERROR
        with pytest.raises(muxado.StreamResetError, match="credit of 0 bytes"):
            await stream.send(b"x")
        assert not session.closed


async def test_a_session_that_holds_too_much_resets_the_stream_that_holds_most() -> None:
    config = muxado.Config(session_window=300 * 1024)
    async with scripted(config) as (session, peer):
        await peer.say(data(2, bytes(200_000), syn=True), data(4, bytes(100_000), syn=True))
        await peer.say(data(4, bytes(10_000)))
        await settled()
        assert session.statistics().unread == 110_000
        assert (await peer.expect("RST", 2)).code == ErrorCode.ENHANCE_YOUR_CALM
        far = [await session.accept_stream()]
        assert await receive_exactly(far[0], 110_000) == bytes(110_000)


@pytest.mark.slow
async def test_a_peer_that_would_not_believe_a_refusal_is_not_told_one(
    session_pair: SessionPair,
) -> None:
    async with session_pair(muxado.Config(wire="yamux")) as (dialed, accepted):
        ours = await dialed.open_stream()
        await ours.send(b"question")
        theirs = await accepted.accept_stream()
        with pytest.raises(NotImplementedError, match="reset it"):
            theirs.refuse()
        assert await theirs.receive() == b"question"  # nothing has changed

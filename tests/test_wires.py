"""What every wire gives an application, in the same words: two sessions of ours on each of them.

Where the wires differ their :class:`~muxado_py.frames.Traits` say so, and the tests ask those.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from anyio import EndOfStream, create_task_group, fail_after, sleep

import muxado_py as muxado
from muxado_py import Priority, Retry
from muxado_py.frames import UNLIMITED, WIRES
from muxado_py.protocol.connection import Connection

from . import virtual_time
from .check_byte_stream import receive_all, receive_exactly
from .helpers.blocked import all_tasks_blocked
from .helpers.decoding import decode
from .transports import Cut, memory_transports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractContextManager

    from muxado_py import Config, Session, Stream
    from muxado_py.frames import Traits

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("wire", WIRES)]

WINDOW = 256 * 1024


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


def traits(wire: str) -> Traits:
    return WIRES[wire].traits


@asynccontextmanager
async def pair(
    wire: str, *, receives: float = float("inf"), **changes: Any
) -> AsyncIterator[tuple[Session, Session]]:
    """Two sessions, dialed and accepted.

    :param receives: how many bytes the dialed one gets before the connection is gone.
    """
    config: Config = muxado.Config(wire=wire, **changes)
    near, far = memory_transports(64)
    with fail_after(36_000):
        async with (
            muxado.client(Cut(near, receives=receives), config) as dialed,
            muxado.server(far, config) as accepted,
        ):
            yield dialed, accepted


async def connected(one: Session, other: Session) -> tuple[Stream, Stream]:
    """A stream of ``one``, and what ``other`` has of it."""
    near = await one.open_stream()
    await near.send(b"?")
    far = await other.accept_stream()
    assert await far.receive() == b"?"
    return near, far


def ends_writing(wire: str) -> AbstractContextManager[object]:
    """What must fail once the peer has closed a stream both ways, on wires that can tell."""
    can_tell = traits(wire).has_reset or traits(wire).initial_window != UNLIMITED
    return pytest.raises(muxado.StreamError) if can_tell else nullcontext()


async def echo(session: Session) -> None:
    """Gives back what comes, as many bytes as a first byte says."""

    async def answer(stream: Stream) -> None:
        count = (await receive_exactly(stream, 1))[0]
        await stream.send(await receive_exactly(stream, count))
        await stream.aclose()

    async with create_task_group() as tasks:
        while True:
            tasks.start_soon(answer, await session.accept_stream())


async def call(session: Session, text: bytes) -> None:
    async with await session.open_stream() as stream:
        await stream.send(bytes([len(text)]) + text)
        assert await receive_all(stream) == text


async def test_echo_both_ways(wire: str) -> None:
    async with pair(wire) as sessions, create_task_group() as tasks:
        for session in sessions:
            tasks.start_soon(echo, session)
        for number in range(5):
            for session in sessions:
                await call(session, b"call %d" % number)
        tasks.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_thousand_streams_at_once(wire: str) -> None:
    """Both ends bear them; of others one does not know, and opens fewer."""
    async with (
        pair(wire, max_open_streams=1000) as (dialed, accepted),
        create_task_group() as serving,
    ):
        serving.start_soon(echo, accepted)
        async with create_task_group() as calling:
            for number in range(1000):
                calling.start_soon(call, dialed, b"call %d" % number)
        serving.cancel_scope.cancel()
        for session in (dialed, accepted):
            await all_tasks_blocked()
            assert session.statistics().unread == 0


async def test_the_end_comes_behind_the_last_byte(wire: str) -> None:
    text = bytes(range(256)) * 4096
    async with pair(wire) as (dialed, accepted), create_task_group() as tasks:
        near, far = await connected(dialed, accepted)

        async def send() -> None:
            await near.send(text)
            await near.aclose()

        tasks.start_soon(send)
        assert await receive_all(far) == text


async def test_half_close_where_it_is_safe(wire: str) -> None:
    async with pair(wire) as sessions:
        near, far = await connected(*sessions)
        if not traits(wire).half_close:
            with pytest.raises(NotImplementedError, match="half_close"):
                await near.send_eof()
            return
        await near.send(b"request")
        await near.send_eof()
        assert await receive_all(far) == b"request"
        await far.send(b"response")
        await far.aclose()
        assert await receive_all(near) == b"response"


async def test_a_slow_reader_stops_its_sender_and_nobody_else(wire: str) -> None:
    """Where there are windows: without them the whole session stops, at its own bound."""
    bound = 2 * WINDOW if traits(wire).initial_window == UNLIMITED else 16 * WINDOW
    async with pair(wire, session_window=bound) as (dialed, accepted), create_task_group() as tasks:
        near, far = await connected(dialed, accepted)
        tasks.start_soon(near.send, bytes(8 * WINDOW))
        await sleep(30)
        unread = accepted.statistics().unread
        if traits(wire).initial_window == UNLIMITED:
            assert bound <= unread <= bound + 128 * 1024
        else:
            assert WINDOW - 1 <= unread <= WINDOW  # a byte was read before
            other, far_other = await connected(dialed, accepted)
            await other.aclose()
            assert await receive_all(far_other) == b""
        assert await receive_exactly(far, 8 * WINDOW) == bytes(8 * WINDOW)


async def test_a_full_close_ends_the_writing_of_the_peer(wire: str) -> None:
    async with pair(wire) as sessions:
        near, far = await connected(*sessions)
        await far.aclose()
        with ends_writing(wire):
            for _ in range(1000):
                await near.send(bytes(64 * 1024))
        assert not any(session.closed for session in sessions)


async def test_a_full_close_wakes_a_blocked_writer(wire: str) -> None:
    async with pair(wire) as sessions, create_task_group() as tasks:
        near, far = await connected(*sessions)

        async def write() -> None:
            with ends_writing(wire):
                for _ in range(10):
                    await near.send(bytes(16 * WINDOW))

        tasks.start_soon(write)
        await sleep(5)
        await far.aclose()


async def test_a_reset_ends_both_directions_where_there_is_one(wire: str) -> None:
    async with pair(wire) as sessions:
        near, far = await connected(*sessions)
        near.reset()
        with pytest.raises(muxado.StreamError if traits(wire).has_reset else EndOfStream):
            await far.receive()
        with pytest.raises(muxado.StreamClosedError):
            await near.receive()
        assert not any(session.closed for session in sessions)


async def test_a_drain_finishes_what_is_open_and_takes_no_more(wire: str) -> None:
    async with pair(wire) as (dialed, accepted), create_task_group() as tasks:
        near, far = await connected(dialed, accepted)
        tasks.start_soon(accepted.drain)
        await sleep(5)
        assert not accepted.closed
        with pytest.raises((muxado.MuxadoError, EndOfStream)):
            # Where nothing else can be said, a refusal is an end without an answer.
            async with await dialed.open_stream() as late:
                await late.send(b"late")
                await receive_exactly(late, 1)
        await far.send(b"the rest")
        await far.aclose()
        assert await receive_all(near) == b"the rest"
        await near.aclose()
    assert accepted.closed


async def test_closing_a_session_ends_its_live_streams_with_an_error(wire: str) -> None:
    async with pair(wire) as (dialed, accepted):
        near, far = await connected(dialed, accepted)
        await far.send(b"a part")
        await accepted.aclose()
        assert await receive_exactly(near, 6) == b"a part"
        with pytest.raises(muxado.MuxadoError) as caught:
            await near.receive()
        assert caught.value.retry is Retry.PROCESSED
        with pytest.raises(muxado.MuxadoError):
            await far.receive()


async def test_a_transport_that_ends_is_an_error_and_no_end_of_file(wire: str) -> None:
    async with pair(wire, receives=10_000) as (dialed, accepted), create_task_group() as tasks:
        near, far = await connected(dialed, accepted)

        async def send() -> None:
            with pytest.raises(muxado.MuxadoError):
                while True:
                    await far.send(bytes(1000))

        tasks.start_soon(send)
        with pytest.raises(muxado.SessionError):
            while True:
                assert await near.receive()


def test_priorities_are_scheduled(wire: str) -> None:
    """By what is sent first; whether the peer is told is another matter."""
    connection = Connection(muxado.Config(wire=wire), client=True)
    bulk, urgent = (connection.open(Priority(urgency), None) for urgency in (6, 0))
    sent = b"".join(connection.data_to_send(1000))
    for stream in (bulk, urgent):
        connection.write(stream, bytes(20_000))
    sent += b"".join(connection.data_to_send(2**20))
    calls, _ = decode(WIRES[wire](client=False), sent)
    order = [call[1] for call in calls if call[0] == "data"]
    assert order[0] == urgent.id
    assert set(order) == {urgent.id, bulk.id}


async def test_a_ping_where_the_wire_has_one(wire: str) -> None:
    async with pair(wire) as (dialed, accepted):
        for session in (dialed, accepted):
            if traits(wire).answers_pings or traits(wire).recognizes:
                assert await session.ping() >= 0


@pytest.mark.slow
async def test_an_idle_session_lives(wire: str) -> None:
    async with pair(wire) as sessions:
        await connected(*sessions)
        await sleep(3600)
        assert not any(session.closed for session in sessions)
        await connected(*sessions)

"""Statistics: what a session, its path and its streams say of themselves, on every link and loop."""

from __future__ import annotations

import gc
import sys
import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import create_task_group, fail_after

import muxado_py as muxado
from muxado_py import Config, ErrorCode, Priority
from muxado_py.frames import WIRES
from muxado_py.links.tcp_info import PathFigures
from muxado_py.session.statistics import of_path
from muxado_py.session.waking import call_back, check_idle_sender, giving_way_to_send

from ..by_url import SCHEMES, TCP_SCHEMES, sessions_by_url
from ..check_byte_stream import receive_all, receive_exactly
from ..conftest import LINKS
from ..helpers.blocked import all_tasks_blocked, until
from ..helpers.pair import Pair
from ..helpers.streams import stream
from ..transports import memory_transports
from .test_session import settled

if TYPE_CHECKING:
    from pathlib import Path

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

WINDOW = 256 * 1024

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a path")


@pytest.fixture(params=LINKS)
def carried_by(request: pytest.FixtureRequest) -> str:
    """Over both links."""
    kind: str = request.param
    return kind


# Streams.


async def test_what_a_stream_has_carried_and_holds(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        near = await dialed.open_stream(priority=Priority(urgency=5))
        await near.send(b"12345")
        assert near.statistics()[:4] == (0, 5, 0, 0)
        far = await accepted.accept_stream()
        await dialed.ping()
        assert near.statistics() == muxado.StreamStatistics(
            bytes_sent=5,
            unsent=0,
            bytes_received=0,
            unread=0,
            send_window=WINDOW - 5,
            receive_window=WINDOW,
            priority=Priority(urgency=5),
            end_sent=False,
            end_received=False,
        )
        assert far.statistics()[:4] == (0, 0, 5, 5)
        assert await far.receive(2) == b"12"
        assert far.statistics()[:4] == (0, 0, 5, 3)
        await near.send_eof()
        await dialed.ping()
        assert near.statistics()[-2:] == (True, False)
        assert far.statistics()[-2:] == (False, True)


async def test_what_is_read_behind_the_end_counts(session_pair: SessionPair) -> None:
    """The core gives no credit for it, and does not count it as consumed."""
    async with session_pair() as (dialed, accepted):
        near = await dialed.open_stream()
        await near.send(bytes(1000))
        await near.send_eof()
        far = await accepted.accept_stream()
        await receive_exactly(far, 10)
        await dialed.ping()
        assert len(await receive_all(far)) == 990
        assert far.statistics()[:4] == (0, 0, 1000, 0)


async def test_who_waits_for_a_reader_is_told_apart(session_pair: SessionPair) -> None:
    config = Config(max_stream_window=WINDOW)
    async with session_pair(config) as (dialed, accepted), create_task_group() as tasks:
        near = await dialed.open_stream()
        tasks.start_soon(near.send, bytes(2 * WINDOW))
        far = await accepted.accept_stream()
        with fail_after(10):
            while near.statistics().send_window:
                await anyio.lowlevel.checkpoint()
        assert near.statistics()[:2] == (WINDOW, WINDOW)
        with fail_after(10):
            await receive_exactly(far, 2 * WINDOW)
        await dialed.ping()
        assert near.statistics()[:2] == (2 * WINDOW, 0)
        assert far.statistics()[2:4] == (2 * WINDOW, 0)


@pytest.mark.slow
@pytest.mark.parametrize("wire", sorted(WIRES))
async def test_both_ends_count_the_same_on_every_wire(wire: str, session_pair: SessionPair) -> None:
    async with session_pair(Config(wire=wire)) as (dialed, accepted):
        near = await dialed.open_stream()
        # Who sends has returned before its stream is reset.
        async with create_task_group() as tasks:
            tasks.start_soon(near.send, bytes(70_000))
            far = await accepted.accept_stream()
            await receive_exactly(far, 60_000)
            tasks.start_soon(far.send, bytes(700_000))
            await receive_exactly(near, 699_999)
            with fail_after(10):
                while near.statistics().unread != 1 or far.statistics().unread != 10_000:
                    await anyio.lowlevel.checkpoint()
        assert near.statistics()[:4] == (70_000, 0, 700_000, 1)
        assert far.statistics()[:4] == (700_000, 0, 70_000, 10_000)
        has_windows = wire != "smux1"
        for one in (near, far):
            windows = one.statistics()[4:6]
            assert all((size is not None) == has_windows for size in windows)
        near.reset()
        far.reset()
        assert near.statistics()[:4] == (70_000, 0, 700_000, 0), (
            "what was not read came all the same"
        )
        assert far.statistics()[:4] == (700_000, 0, 70_000, 0)


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["muxado", "muxado1"])
async def test_the_type_of_a_stream_is_none_of_its_bytes(
    wire: str, session_pair: SessionPair
) -> None:
    config = Config(wire=wire, typed_streams=True, heartbeat_interval=None)
    async with session_pair(config) as (dialed, accepted):
        near = await dialed.open_stream(stream_type=7)
        assert near.statistics()[:4] == (0, 0, 0, 0)
        await near.send(b"abc")
        assert near.statistics()[:4] == (0, 3, 0, 0)
        far = await accepted.accept_stream()
        await far.send(b"de")
        assert await far.receive() == b"abc"
        assert await near.receive() == b"de"
        assert near.statistics()[:4] == (3, 0, 2, 0)
        assert far.statistics()[:4] == (2, 0, 3, 0)


def test_a_type_that_left_in_part_is_counted_in_part() -> None:
    """A window of five bytes, of which the type takes four."""
    config = Config(typed_streams=True, initial_window=5, stream_window=5, max_stream_window=5)
    pair = Pair(config, foreign=True)
    state = pair.client.open(None, 7)
    pair.client.write(state, b"abc")
    near: Any = SimpleNamespace(connection=pair.client)
    one = muxado.Stream(near, state)
    assert one.statistics()[:2] == (0, 3)
    pair.pump(pair.client)
    assert one.statistics()[:2] == (1, 2)
    assert one.statistics().send_window == 0
    pair.client.reset(state, 0)
    assert one.statistics()[:2] == (1, 0)


async def test_a_window_that_grew_changes_no_count(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        near = await dialed.open_stream()
        size = 16 * WINDOW
        tasks.start_soon(near.send, bytes(size))
        far = await accepted.accept_stream()
        await receive_exactly(far, size)
        assert far.statistics().bytes_received == size
        window = far.statistics().receive_window
        assert window is not None
        assert window >= WINDOW


async def test_a_stream_can_be_asked_after_its_end(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        near = await dialed.open_stream()
        await near.send(b"12345")
        far = await accepted.accept_stream()
        await far.send(b"123")
        await dialed.ping()
        near.close()
        assert near.statistics()[:4] == (5, 0, 3, 0)
    assert near.statistics()[:4] == (5, 0, 3, 0)
    assert far.statistics()[:4] == (3, 0, 5, 5)
    assert repr(near) == "<muxado_py.Stream 3>"
    assert near.priority == Priority()


# The streams of a session.


async def test_a_session_names_the_streams_of_its_application(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        assert dialed.streams() == accepted.streams() == ()
        one = await dialed.open_stream()
        two = await dialed.open_stream()
        assert set(dialed.streams()) == {one, two}, "before their SYN has gone too"
        await two.send(b"x")
        await dialed.ping()
        assert accepted.streams() == (), "nobody has accepted them"
        far_one, far_two = await accepted.accept_stream(), await accepted.accept_stream()
        assert set(accepted.streams()) == {far_one, far_two}
        assert far_one != far_two
        assert {named.id for named in accepted.streams()} == {one.id, two.id}
        one.close()
        assert dialed.streams() == (two,)
        await dialed.ping()
        assert set(accepted.streams()) == {far_one, far_two}, "nobody has closed them here"
        far_one.close()
        two.reset()
        await dialed.ping()
        assert dialed.streams() == ()
        assert set(accepted.streams()) == {far_two}, "something is left to receive"
        assert await far_two.receive() == b"x"
        assert accepted.streams() == ()


async def test_heartbeats_are_no_streams_of_the_application(session_pair: SessionPair) -> None:
    config = Config(wire="muxado1", typed_streams=True)
    async with session_pair(config) as (dialed, accepted):
        await dialed.ping()
        assert dialed.streams() == accepted.streams() == ()


@pytest.mark.slow
async def test_what_a_session_names_can_be_used_and_keeps_nothing_open(
    session_pair: SessionPair,
) -> None:
    async with session_pair() as (dialed, accepted):
        near = await dialed.open_stream()
        await near.send(b"hello")
        far = await accepted.accept_stream()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            [named] = dialed.streams()
            assert named == near
            assert named != far
            assert named is not near
            assert named.statistics() == near.statistics()
            named.priority = Priority(urgency=1)
            assert near.priority == Priority(urgency=1)
            del named
            gc.collect()
            await settled()
        await near.send(b" there")
        assert await receive_exactly(far, 11) == b"hello there"
        [named] = accepted.streams()
        named.reset(ErrorCode.STREAM_CANCELLED)
        with pytest.raises(muxado.StreamClosedError):
            await far.receive()
        with pytest.raises(muxado.StreamResetError):
            await near.receive()


async def test_two_of_one_stream_know_of_each_other(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        near = await dialed.open_stream()
        tasks.start_soon(near.send, bytes(2 * WINDOW))
        tasks.start_soon(near.receive)
        await all_tasks_blocked()
        await accepted.accept_stream()
        [named] = dialed.streams()
        with pytest.raises(anyio.BusyResourceError):
            await named.send(b"x")
        with pytest.raises(anyio.BusyResourceError):
            named.send_nowait(b"x")
        with pytest.raises(anyio.BusyResourceError):
            await named.receive()
        tasks.cancel_scope.cancel()


async def test_a_stream_that_is_dropped_ends_though_somebody_looks(
    session_pair: SessionPair,
) -> None:
    async with session_pair() as (dialed, accepted):
        near = await dialed.open_stream()
        await near.send(b"hello")
        far = await accepted.accept_stream()
        await far.send(b"x")
        assert await near.receive() == b"x"
        [named] = dialed.streams()
        with pytest.warns(ResourceWarning, match="dropped unclosed"):  # noqa: PT031 - del is no call
            del near
            gc.collect()
        await until(lambda: not dialed.streams())
        with pytest.raises(muxado.StreamClosedError):
            await named.send(b"x")
        far.reset()


async def test_a_session_that_is_over_names_what_is_left_to_receive(
    session_pair: SessionPair,
) -> None:
    async with session_pair() as (dialed, accepted):
        near, other = await dialed.open_stream(), await dialed.open_stream()
        for one in (near, other):
            await one.send(b"hello")
        far, far_other = await accepted.accept_stream(), await accepted.accept_stream()
        assert await far_other.receive() == b"hello"
        await dialed.aclose()
        with fail_after(10):
            await accepted.wait()
        assert dialed.streams() == ()
        assert accepted.streams() == (far,)
        assert dialed.statistics().live_streams == 0


async def test_who_gives_way_to_send_keeps_others_out_and_no_call_from_an_adaptor() -> None:
    """``on_writable`` may be due while a ``send`` has the place where it stands."""
    state = stream()
    called: list[str] = []

    async def give_way() -> None:
        with pytest.raises(anyio.BusyResourceError):
            check_idle_sender(state)
        state.write_waiter.set_result(None)
        called.append("gave way")

    driver: Any = SimpleNamespace(backend_checkpoint=give_way)
    await giving_way_to_send(driver, state)
    call_back(state, None, lambda: called.append("writable"))
    await giving_way_to_send(driver, state)
    state.write_waiter.set_result(None)
    assert called == ["gave way", "writable", "gave way", "writable"]
    check_idle_sender(state)


# The path.


@on_linux
@pytest.mark.parametrize("capped", [True, False])
@pytest.mark.parametrize("scheme", TCP_SCHEMES)
async def test_a_session_knows_its_path(scheme: str, capped: bool) -> None:
    config = Config(cap_in_flight=capped)
    async with sessions_by_url(config, scheme=scheme) as sessions:
        for session in sessions:
            async with await session.open_stream() as one:
                await one.send(b"hello")
            await session.ping()
            path = session.statistics().path
            assert path is not None
            assert 0 < path.least_round_trip <= path.round_trip < 10
            assert path.retransmits >= 0
            assert path.in_flight >= 0
            assert path.cap is None
    for session in sessions:
        last = session.statistics().path
        assert last is not None
        assert 0 < last.least_round_trip <= last.round_trip < 10, "what was told last"
        assert last.in_flight == 0


@on_linux
@pytest.mark.parametrize("cut_off", [False, True])
@pytest.mark.parametrize("scheme", TCP_SCHEMES)
async def test_a_path_that_nobody_asked_for_is_known_after_its_end(
    scheme: str, cut_off: bool
) -> None:
    async with sessions_by_url(scheme=scheme) as sessions:
        await sessions[0].ping()
        if cut_off:
            sessions[0].abort()
            with fail_after(10):
                await sessions[1].wait()
    for session in sessions:
        path = session.statistics().path
        assert path is not None
        assert path.round_trip > 0


@pytest.mark.slow
@on_linux
async def test_bytes_that_the_peers_kernel_leaves_are_in_flight() -> None:
    """The peer's session stops reading, so its kernel fills, and then ours."""
    config = Config(wire="smux1", session_window=64 * 1024)
    async with sessions_by_url(config) as (dialed, accepted), create_task_group() as tasks:
        near = await dialed.open_stream()
        tasks.start_soon(near.send, bytes(64 * 2**20))
        await accepted.accept_stream()
        with fail_after(30):
            while True:
                path = dialed.statistics().path
                assert path is not None
                if path.in_flight:
                    break
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
        for session in (dialed, accepted):
            session.abort()  # what is in flight is owed to nobody


@on_linux
async def test_a_session_over_a_socket_of_the_applications_knows_its_path() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)

    async def serve(transport: anyio.abc.ByteStream) -> None:
        async with muxado.server(transport) as session:
            await session.wait()

    async with listener, create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        transport = await anyio.connect_tcp("127.0.0.1", port)
        async with muxado.client(transport) as session:
            await session.ping()
            path = session.statistics().path
            assert path is not None
            assert path.round_trip > 0
        last = session.statistics().path
        assert last is not None
        assert last.round_trip > 0
        tasks.cancel_scope.cancel()


async def test_where_nobody_tells_there_is_no_path(tmp_path: Path) -> None:
    async with sessions_by_url(scheme="unix", folder=tmp_path) as sessions:
        assert [session.statistics().path for session in sessions] == [None, None]
    near, far = memory_transports()
    async with muxado.client(near) as dialed, muxado.server(far):
        assert dialed.statistics().path is None
    assert dialed.statistics().path is None


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_session_can_be_asked_after_it_was_cut_off(scheme: str, tmp_path: Path) -> None:
    async with sessions_by_url(scheme=scheme, folder=tmp_path) as (dialed, accepted):
        await dialed.ping()
        before = accepted.statistics()
        dialed.abort()
        with fail_after(10):
            await accepted.wait()
        after = accepted.statistics()
        assert after.bytes_received >= before.bytes_received > 0
        assert (after.path is None) == (before.path is None)
        assert after.path is None or after.path.round_trip > 0
        assert dialed.statistics().bytes_sent > 0


@pytest.mark.parametrize(("cap", "told"), [(0, None), (65536, 65536)])
def test_a_cap_is_told_while_there_is_one(cap: int, told: int | None) -> None:
    figures = PathFigures(0.05, 0.04, 1_000_000, 3)
    link: Any = SimpleNamespace(figures=lambda: figures, in_flight=lambda: 5000, cap=cap)
    assert of_path(link) == muxado.PathStatistics(0.05, 0.04, 3, 5000, told)

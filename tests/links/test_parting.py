"""How a session ends: what was sent arrives, or whoever closes is told; on a virtual clock."""

from __future__ import annotations

import math
import traceback
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import create_task_group, current_time

import muxado_py as muxado
from muxado_py.frames import WIRES
from muxado_py.links.parting import GOODBYE_WAIT
from muxado_py.scheduler import FifoScheduler

from .. import virtual_time
from ..frames_seen import HELLO, PAD, data, frame, goaway, rst, wndinc
from ..scripted_peer import ScriptedPeer, scripted
from ..transports import Around, Recorder, Stuck, memory_transports

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio

WINDOW = 256 * 1024
DEPTH = 100
"""A window fits into so many sends, however short flushes become on a machine that has much else to do."""

CONFIG = muxado.Config(heartbeat_interval=None)


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


async def lost_by(session: muxado.Session) -> muxado.UndeliveredError:
    """What its close says."""
    with pytest.raises(muxado.UndeliveredError) as info:
        await session.aclose()
    return info.value


# What could not be delivered.


async def test_what_the_peer_gave_no_credit_for_is_told() -> None:
    async with scripted(CONFIG) as (session, _):
        for nbytes in (WINDOW + 7, 100, WINDOW + 30_000):
            stream = await session.open_stream()
            await stream.send(bytes(nbytes))
            await stream.aclose()
        start = current_time()
        error = await lost_by(session)
        assert (error.nbytes, error.streams, error.unacknowledged) == (30_007, 2, 0)
        assert "30,007 bytes of 2 streams" in str(error)
        assert current_time() - start == pytest.approx(5 + GOODBYE_WAIT, abs=0.3)


async def test_what_the_transport_did_not_take_is_told() -> None:
    near, far = memory_transports(0)
    stuck = Stuck(near)
    async with muxado.client(stuck, CONFIG) as session:
        assert await far.receive() == HELLO
        stuck.hold()
        for word in (b"never", b"sent"):
            stream = await session.open_stream()
            await stream.send(word)
            await stream.aclose()
        error = await lost_by(session)
        assert (error.nbytes, error.streams) == (9, 2)
    await far.aclose()


async def test_the_transport_has_all_the_time_there_is_for_the_last_flush() -> None:
    near, far = memory_transports(0)
    stuck = Stuck(near)

    async def release() -> None:
        await anyio.sleep(4)
        stuck.release()
        peer = ScriptedPeer(far)
        frames = await peer.to_the_end()
        assert next(one.body for one in frames if one.kind == "DATA") == b"late"

    async with create_task_group() as tasks, muxado.client(stuck, CONFIG) as session:
        assert await far.receive() == HELLO
        stuck.hold()
        stream = await session.open_stream()
        await stream.send(b"late")
        await stream.aclose()
        tasks.start_soon(release)
    await far.aclose()


async def test_a_block_is_left_by_what_was_lost() -> None:
    near, far = memory_transports(DEPTH)
    with pytest.raises(muxado.UndeliveredError) as info:
        async with muxado.client(near, CONFIG) as session:
            stream = await session.open_stream()
            await stream.send(bytes(WINDOW + 1))
    assert (info.value.nbytes, info.value.streams) == (1, 1)
    await far.aclose()


async def test_the_applications_own_exception_wins() -> None:
    near, far = memory_transports(DEPTH)
    with pytest.raises(KeyError) as info:
        async with muxado.client(near, CONFIG) as session:
            stream = await session.open_stream()
            await stream.send(bytes(WINDOW + 1))
            raise KeyError("mine")
    assert "1 bytes of 1 streams" in info.value.__notes__[0]
    await far.aclose()


async def test_it_is_told_once() -> None:
    async with scripted(CONFIG) as (session, _):
        stream = await session.open_stream()
        await stream.send(bytes(WINDOW + 1))
        await lost_by(session)
        await session.aclose()
        await session.drain(1)


async def test_a_drain_tells_it_too_and_takes_what_it_says() -> None:
    async with scripted(CONFIG) as (session, peer):
        stream = await session.open_stream()
        await stream.send(bytes(WINDOW + 1))
        await peer.take(3, WINDOW)
        start = current_time()
        with pytest.raises(muxado.UndeliveredError):
            await session.drain(timeout=2.0)
        assert 1.5 <= current_time() - start <= 2.0


async def test_an_abort_says_nothing() -> None:
    near, far = memory_transports(DEPTH)
    async with muxado.client(near, CONFIG) as session:
        stream = await session.open_stream()
        await stream.send(bytes(WINDOW + 1))
        session.abort()
        await session.aclose()
    await far.aclose()


async def test_a_reset_is_no_loss() -> None:
    async with scripted(CONFIG) as (session, _):
        stream = await session.open_stream()
        await stream.send(bytes(WINDOW + 1))
        stream.reset()
        await session.aclose()


TYPED = muxado.Config(typed_streams=True, heartbeat_interval=None)


@pytest.mark.parametrize("taken", [False, True], ids=["stuck", "taken"])
async def test_what_the_application_did_not_write_is_no_loss(taken: bool) -> None:
    """The type of a stream, and the heartbeats of either side, lie in no frame or in one that was not taken."""
    near, far = memory_transports(0)
    stuck = Stuck(near)
    config = replace(TYPED, heartbeat_interval=1.0, heartbeat_timeout=100.0)
    async with muxado.client(stuck, config) as session, create_task_group() as tasks:
        tasks.start_soon(_drop_all, far)
        await far.send(data(2, b"\xff\xff\xff\xffbeat", syn=True))
        await anyio.sleep(0.5)
        if not taken:
            stuck.hold()
        await far.send(data(2, b"beat"))
        await session.open_stream(stream_type=7)
        await anyio.sleep(2)
        if taken:
            await far.send(data(2, 10_000 * b"beat"))
            await far.aclose()
            await anyio.sleep(1)
            assert session.closed
    await far.aclose()


async def _drop_all(transport: ByteStream) -> None:
    with suppress(anyio.EndOfStream, anyio.ClosedResourceError):
        while True:
            await transport.receive()


async def test_of_a_typed_stream_the_applications_bytes_are_told() -> None:
    near, far = memory_transports(0)
    stuck = Stuck(near)
    async with muxado.client(stuck, TYPED) as session:
        stuck.hold()
        stream = await session.open_stream(stream_type=7)
        await stream.send(b"mine")
        error = await lost_by(session)
        assert (error.nbytes, error.streams) == (4, 1)
    await far.aclose()


@pytest.mark.parametrize("wire", ["smux1", "smux2"])
async def test_a_reset_that_the_wire_cannot_say_is_no_loss_either(wire: str) -> None:
    """An end stands for it, and waits here when the session is closed."""
    near, far = memory_transports(DEPTH)
    stuck = Stuck(near)
    config = replace(CONFIG, wire=wire, close_timeout=1)
    async with muxado.client(stuck, config) as session:
        known = await session.open_stream()
        await known.send(b"known")
        await anyio.sleep(1)
        stuck.hold()
        new = await session.open_stream()
        await new.send(b"new")
        await anyio.sleep(1)
        for stream in (known, new):
            stream.reset()
        await session.aclose()
    await far.aclose()


@pytest.mark.parametrize("wire", ["smux1", "smux2"])
async def test_a_refusal_that_the_wire_cannot_say_is_no_loss_either(wire: str) -> None:
    near, far = memory_transports(DEPTH)
    stuck = Stuck(near)
    config = replace(CONFIG, wire=wire, close_timeout=1, accept_backlog=1)
    peer = WIRES[wire](client=True)
    async with muxado.server(stuck, config) as session:
        stuck.hold()
        for stream_id in (3, 5):
            await far.send(peer.syn(stream_id, 0, None, None))
        await anyio.sleep(1)
        await session.aclose()
    await far.aclose()


async def test_a_closed_stream_that_never_went_because_the_peer_goes_away_is_told() -> None:
    near, far = memory_transports(DEPTH)
    stuck = Stuck(near)
    async with muxado.client(stuck, CONFIG) as session:
        kept = await session.open_stream()
        await kept.send(b"kept")
        await anyio.sleep(1)
        stuck.hold()
        await kept.send(b"more")
        await anyio.sleep(1)
        late = await session.open_stream()
        await late.send(b"late")
        await late.aclose()
        await far.send(goaway(3))
        await anyio.sleep(1)
        stuck.release()
        await anyio.sleep(1)
        await kept.aclose()
        error = await lost_by(session)
        assert (error.nbytes, error.streams) == (4, 1)
    await far.aclose()


async def test_an_end_that_the_transport_did_not_take_is_told() -> None:
    near, far = memory_transports(0)
    stuck = Stuck(near)
    async with muxado.client(stuck, CONFIG) as session:
        assert await far.receive() == HELLO
        stream = await session.open_stream()
        await stream.send(b"all")
        await far.receive()
        stuck.hold()
        await stream.send_eof()
        error = await lost_by(session)
        assert (error.nbytes, error.streams) == (1, 1)
    await far.aclose()


async def test_a_reset_of_what_the_transport_did_not_take_is_no_loss() -> None:
    near, far = memory_transports(0)
    stuck = Stuck(near)
    async with muxado.client(stuck, CONFIG) as session:
        assert await far.receive() == HELLO
        stuck.hold()
        kept, given_up = await session.open_stream(), await session.open_stream()
        await kept.send(b"kept")
        await given_up.send(b"given up")
        await anyio.sleep(1)
        given_up.reset()
        error = await lost_by(session)
        assert (error.nbytes, error.streams) == (4, 1)
    await far.aclose()


@pytest.mark.parametrize("resets", [False, True])
async def test_what_the_peer_has_reset_is_no_loss_when_its_connection_dies(resets: bool) -> None:
    near, far = memory_transports(DEPTH)
    stuck = Stuck(near)
    lost = 0
    try:
        async with muxado.client(stuck, CONFIG) as session:
            assert await far.receive() == HELLO
            stuck.hold()
            stream = await session.open_stream()
            await stream.send(b"on its way")
            await stream.aclose()
            await anyio.sleep(1)
            if resets:
                await far.send(rst(3, 0))
            await far.aclose()
            await anyio.sleep(1)
            assert session.closed
    except muxado.UndeliveredError as exc:
        lost = exc.nbytes
    assert lost == (0 if resets else 10)


class Failing(FifoScheduler):
    """An application's own, with a mistake that shows once, when nothing else happens any more."""

    broken = False

    def __len__(self) -> int:
        broken, self.broken = self.broken, False
        if broken:
            raise ZeroDivisionError("a mistake")
        return super().__len__()


@pytest.mark.parametrize("own", [None, KeyError("mine")], ids=repr)
async def test_a_mistake_in_the_close_is_raised_and_keeps_nobody(own: Exception | None) -> None:
    near, far = memory_transports(DEPTH)
    scheduler = Failing()
    config = replace(CONFIG, scheduler=lambda: scheduler)
    with anyio.fail_after(60), pytest.raises(Exception) as info:  # noqa: PT011 - looked at below
        async with muxado.client(near, config):
            await anyio.sleep(1)
            scheduler.broken = True
            if own:
                raise own
    assert "a mistake" in "".join(traceback.format_exception(info.value))
    assert own is None or "mine" in "".join(traceback.format_exception(info.value))
    await far.aclose()


async def test_a_mistake_in_the_end_of_a_session_keeps_nobody_who_waits() -> None:
    near, far = memory_transports(DEPTH)
    scheduler = Unremoving()
    config = replace(CONFIG, scheduler=lambda: scheduler)
    ended = []

    async def wait(call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(muxado.SessionError):
            await call()
        ended.append(call)

    with anyio.fail_after(60):
        async with create_task_group() as tasks:
            with suppress(ZeroDivisionError, ExceptionGroup):
                async with muxado.client(near, config) as session:
                    streams = [await session.open_stream() for _ in range(3)]
                    tasks.start_soon(wait, session.accept_stream)
                    for stream in streams:
                        tasks.start_soon(wait, stream.receive)
                    await anyio.sleep(1)
                    scheduler.broken = True
                    session.abort()
    assert len(ended) == 4
    await far.aclose()


class Unremoving(FifoScheduler):
    """The same, with one that shows when a stream is over."""

    broken = False

    def remove(self, key: Any) -> None:
        if self.broken:
            raise ZeroDivisionError("a mistake")
        super().remove(key)


async def test_a_cancelled_block_has_its_quarter_second() -> None:
    near, far = memory_transports(DEPTH)
    start = current_time()
    with anyio.move_on_after(1):
        async with muxado.client(near, CONFIG) as session:
            stream = await session.open_stream()
            await stream.send(bytes(WINDOW + 1))
            await anyio.sleep(math.inf)
    assert current_time() - start <= 1 + 3 * GOODBYE_WAIT
    await far.aclose()


# An end that was not ours.


async def test_bytes_of_a_closed_stream_that_a_lost_transport_took_along_are_told() -> None:
    near, far = memory_transports(DEPTH)
    with pytest.raises(muxado.UndeliveredError, match="ended without a goodbye") as info:
        async with muxado.client(near, CONFIG) as session:
            stream = await session.open_stream()
            await stream.send(bytes(WINDOW + 5))
            await stream.aclose()
            await anyio.sleep(1)
            await far.aclose()
            await anyio.sleep(1)
            assert session.closed
    assert (info.value.nbytes, info.value.streams) == (5, 1)


async def test_a_stream_that_has_said_so_is_not_told_twice() -> None:
    near, far = memory_transports(DEPTH)
    async with muxado.client(near, CONFIG) as session:
        stream = await session.open_stream()
        await stream.send(bytes(WINDOW + 5))
        await anyio.sleep(1)
        await far.aclose()
        await anyio.sleep(1)
        with pytest.raises(muxado.TransportError):
            await stream.send(b"more")


# Who is waited for.


async def test_the_end_of_a_muxado_py_is_awaited() -> None:
    async with scripted(CONFIG) as (session, peer), create_task_group() as tasks:
        await peer.say(HELLO)
        stream = await session.open_stream()
        await stream.send(b"x")
        await peer.take(3, 1)
        start = current_time()
        tasks.start_soon(session.aclose)
        await anyio.sleep(3)  # busy
        await peer.say(wndinc(3, 1))
        assert not (await peer.to_the_end())[-1].body  # it can still write, and reads to the end
        await session.wait()
        assert current_time() - start == pytest.approx(3, abs=0.1)


async def test_the_end_that_did_not_come_leaves_a_doubt_where_no_kernel_can_be_asked() -> None:
    """What left before an answered ping has arrived; of the rest nobody knows."""
    async with scripted(CONFIG) as (session, peer), create_task_group() as tasks:
        await peer.say(HELLO)
        stream = await session.open_stream()
        await stream.send(bytes(100))
        await peer.take(3, 100)
        tasks.start_soon(session.ping)
        asked = await peer.expect("PING")
        await peer.say(frame("PING", 0, asked.body, flags=1))
        await stream.send(bytes(7))
        await peer.take(3, 7)
        await stream.send_eof()  # a reader that did not get it does not know that it has all
        error = await lost_by(session)
        assert (error.nbytes, error.unacknowledged) == (0, 8)
        assert "8 bytes may not have arrived" in str(error)


async def test_a_foreign_peer_has_a_moment_before_the_end() -> None:
    near, far = memory_transports(DEPTH)
    recorder = Ending(near)
    async with muxado.client(recorder, CONFIG) as session:
        await far.send(data(2, b"x", syn=True))
        _far = await session.accept_stream()
        start = current_time()
        await session.aclose()
        assert recorder.ended_at is not None
        assert recorder.ended_at - start == pytest.approx(GOODBYE_WAIT, abs=0.1)
    await far.aclose()


class Ending(Around):
    """Knows when it was told that nothing more comes."""

    ended_at: float | None = None

    async def send_eof(self) -> None:
        self.ended_at = current_time()
        await super().send_eof()


class Endless(Recorder):
    """Has no half close."""

    async def send_eof(self) -> None:
        raise NotImplementedError


async def test_a_transport_without_half_close_is_not_waited_for_long() -> None:
    near, far = memory_transports(DEPTH)
    start = current_time()
    async with muxado.client(Endless(near), CONFIG):
        await far.send(HELLO)
    assert current_time() - start <= 3 * GOODBYE_WAIT
    await far.aclose()


async def test_a_goodbye_of_the_peers_is_answered_at_once() -> None:
    async with scripted(CONFIG) as (session, peer):
        start = current_time()
        await peer.say(HELLO, goaway(0), PAD)
        frames = await peer.to_the_end()
        assert [one.kind for one in frames][-2:] == ["GOAWAY", "PAD"]
        await session.wait()
        assert current_time() - start < 0.1


# Reading on.


async def test_a_session_that_closes_while_it_has_paused_reads_on() -> None:
    near, far = memory_transports(0)
    config = muxado.Config(wire="smux1", session_window=65536, heartbeat_interval=None)
    async with muxado.server(near, config) as session:
        peer = muxado.client(far, muxado.Config(wire="smux1", heartbeat_interval=None))
        async with peer as dialed:
            stream = await dialed.open_stream()
            with anyio.move_on_after(1):
                while True:
                    await stream.send(bytes(65536))
            await session.accept_stream()
            before = session.statistics().bytes_received
            async with create_task_group() as tasks:
                tasks.start_soon(session.aclose)
                await anyio.sleep(0.2)
                assert session.statistics().bytes_received > before
            dialed.abort()


async def test_what_lay_undecoded_when_the_transport_ended_is_not_lost() -> None:
    """smux1 pauses in the middle of a read; the end comes while it does."""
    near, far = memory_transports(DEPTH)
    config = muxado.Config(wire="smux1", session_window=65536, heartbeat_interval=None)
    async with muxado.server(Greedy(near), config) as session:
        async with muxado.client(far, muxado.Config(wire="smux1")) as dialed:
            stream = await dialed.open_stream()
            await stream.send(bytes(100_000))
            await stream.aclose()
        await anyio.sleep(1)
        accepted = await session.accept_stream()
        got = 0
        async for chunk in accepted:
            got += len(chunk)
        assert got == 100_000


class Greedy(Around):
    """Gives all that lies in the connection with one read, and fails in the next."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        item = await self._inner.receive(max_bytes)
        while True:
            with anyio.move_on_after(0.5):
                try:
                    item += await self._inner.receive(max_bytes)
                    continue
                except anyio.EndOfStream:
                    pass
            return item


async def test_a_failed_write_waits_for_all_that_still_comes() -> None:
    near, far = memory_transports(DEPTH)
    failing = Deaf(near)
    async with muxado.client(failing, CONFIG) as session, create_task_group() as tasks:
        stream = await session.open_stream()
        await stream.send(b"x")
        await anyio.sleep(0.1)
        failing.broken = True

        async def answer(far: ByteStream) -> None:
            await far.send(HELLO)
            for _ in range(10):
                await anyio.sleep(0.2)  # more than GOODBYE_WAIT in all
                await far.send(data(3, b"answer"))
            await far.send(goaway(3) + PAD)
            await far.aclose()

        tasks.start_soon(answer, far)
        await stream.send(b"y")
        got = b""
        with pytest.raises(muxado.SessionClosedError):
            while True:
                got += await stream.receive()
        assert got == 10 * b"answer"


async def test_an_end_that_came_when_nothing_was_written_any_more_is_told() -> None:
    near, far = memory_transports(DEPTH)
    failing = Deaf(near)
    config = replace(CONFIG, wire="yamux")
    with pytest.raises(muxado.UndeliveredError, match="2 bytes of 2 streams were not taken"):
        async with muxado.client(failing, config) as session:
            whole, other = await session.open_stream(), await session.open_stream()
            await whole.send(b"all")
            await anyio.sleep(0.1)
            failing.broken = True
            await other.send(b"x")
            # The write has failed, and what comes is still awaited.
            await anyio.sleep(GOODBYE_WAIT / 2)
            await whole.aclose()
            await other.aclose()
            await anyio.sleep(1)
            assert session.closed
    await far.aclose()


class Deaf(Around):
    """Fails to write, on demand."""

    broken = False

    async def send(self, item: bytes) -> None:
        if self.broken:
            raise OSError(32, "Broken pipe")
        await self._inner.send(item)


# What came before the end.


async def test_streams_that_came_before_a_goodbye_are_accepted_behind_it() -> None:
    async with scripted(CONFIG, is_client=False) as (session, peer):
        await peer.say(HELLO, *(data(2 * n + 3, b"job %d" % n, syn=True) for n in range(5)))
        await peer.say(*(data(2 * n + 3, fin=True) for n in range(4)), goaway(0), PAD)
        await peer.transport.send_eof()
        await session.wait()
        assert session.closed
        for n in range(4):
            stream = await session.accept_stream()
            assert await stream.receive() == b"job %d" % n
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
            with pytest.raises(muxado.SessionClosedError):
                await stream.send(b"too late")
        cut_off = await session.accept_stream()
        assert await cut_off.receive() == b"job 4"
        with pytest.raises(muxado.SessionClosedError):
            await cut_off.receive()
        with pytest.raises(muxado.SessionClosedError):
            await session.accept_stream()


async def test_serve_takes_what_came_before_a_goodbye_too() -> None:
    got = []
    async with scripted(CONFIG, is_client=False) as (session, peer):
        await peer.say(HELLO, data(3, b"job", syn=True), data(3, fin=True), goaway(0), PAD)
        await peer.transport.send_eof()
        await session.wait()

        async def handle(stream: muxado.Stream) -> None:
            got.append(await stream.receive())

        await session.net_listener().serve(handle)
    assert got == [b"job"]


async def test_a_close_of_ours_drops_what_nobody_has_accepted() -> None:
    async with scripted(CONFIG, is_client=False) as (session, peer):
        await peer.say(HELLO, data(3, b"job", syn=True), data(3, fin=True), goaway(0), PAD)
        await peer.transport.send_eof()
        await session.wait()
        assert session.statistics().unread == 3
        await session.aclose()
        assert session.statistics().unread == session.statistics().backlog == 0
        with pytest.raises(muxado.SessionClosedError):
            await session.accept_stream()


async def test_on_smux_the_end_is_the_goodbye_of_what_came_whole() -> None:
    near, far = memory_transports(DEPTH)
    config = muxado.Config(wire="smux2", heartbeat_interval=None)
    async with muxado.server(far, config) as accepted:
        async with muxado.client(near, config) as dialed:
            stream = await dialed.open_stream()
            await stream.send(b"job")
            await stream.aclose()
        await accepted.wait()
        taken = await accepted.accept_stream()
        assert await taken.receive() == b"job"

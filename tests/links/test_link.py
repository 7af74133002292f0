"""The link: what it gives a transport, and what a transport may do to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import create_task_group, fail_after

import muxado_py as muxado
from muxado_py import Retry
from muxado_py.links import anyio_link

from .. import virtual_time
from ..frames_seen import HELLO, PAD, data, frame, goaway, split, whole
from ..helpers.blocked import all_tasks_blocked
from ..scripted_peer import scripted
from ..session.test_session import settled
from ..transports import Around, Stuck, memory_transports

if TYPE_CHECKING:
    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The link measures its transport on the finest clock there is; here that is the jumping one."""
    monkeypatch.setattr(anyio_link, "perf_counter", anyio.current_time)


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


class Failing(Around):
    """Raises what it is told, where it is told."""

    def __init__(self, inner: ByteStream) -> None:
        super().__init__(inner)
        self.on_send: Exception | None = None
        self.on_receive: Exception | None = None
        self.on_close: Exception | None = None

    async def send(self, item: bytes) -> None:
        if self.on_send is not None:
            raise self.on_send
        await self._inner.send(item)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        item = await self._inner.receive(max_bytes)
        if self.on_receive is not None:
            raise self.on_receive
        return item

    async def aclose(self) -> None:
        await self._inner.aclose()
        if self.on_close is not None:
            raise self.on_close


class Counting(Around):
    """Counts sends, and how many were under way at once."""

    def __init__(self, inner: ByteStream) -> None:
        super().__init__(inner)
        self.sends: list[bytes] = []
        self.under_way = 0
        self.most = 0

    async def send(self, item: bytes) -> None:
        self.sends.append(item)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self._inner.send(item)
        finally:
            self.under_way -= 1


async def test_one_send_at_a_time_with_whole_frames_in_it() -> None:
    near, far = memory_transports(0)
    counting = Counting(near)
    async with muxado.client(counting) as dialed, muxado.server(far) as accepted:
        async with create_task_group() as tasks:
            for _ in range(8):
                stream = await dialed.open_stream()
                tasks.start_soon(stream.send, bytes(50_000))
            for _ in range(8):
                far_stream = await accepted.accept_stream()
                tasks.start_soon(_read, far_stream, 50_000)
        assert counting.most == 1
        for sent in counting.sends:
            whole(sent)


async def _read(stream: muxado.Stream, nbytes: int) -> None:
    while nbytes:
        nbytes -= len(await stream.receive())


async def test_what_is_sent_in_one_turn_leaves_in_one_write() -> None:
    near, far = memory_transports()
    counting = Counting(near)
    async with muxado.client(counting) as dialed, muxado.server(far):
        streams = [await dialed.open_stream() for _ in range(50)]
        await settled()
        counting.sends.clear()
        async with create_task_group() as tasks:
            for stream in streams:
                tasks.start_soon(stream.send, b"x")
        await settled()
        assert len(counting.sends) == 1
        assert len(split(counting.sends[0])[0]) == 50


@pytest.mark.parametrize(("rate", "longest"), [(1_000_000, 4096), (20_000_000, 20_000)])
async def test_a_millisecond_is_handed_over_to_a_slow_transport(rate: int, longest: int) -> None:
    class Slow(Counting):
        async def send(self, item: bytes) -> None:
            await anyio.sleep(len(item) / rate)
            await super().send(item)

    near, far = memory_transports()
    slow = Slow(near)
    async with muxado.client(slow) as dialed, muxado.server(far) as accepted:
        async with create_task_group() as tasks:
            stream = await dialed.open_stream()
            tasks.start_soon(stream.send, bytes(2_000_000))
            tasks.start_soon(_read, await accepted.accept_stream(), 2_000_000)
        # Before the rate is known it is 16 KiB; a frame and its header may go beyond.
        assert max(map(len, slow.sends[40:])) <= longest * 1.1 + 100
        assert max(map(len, slow.sends)) <= 2 * 16 * 1024 + 100 or rate > 16_000_000


async def test_a_transport_that_becomes_slow_is_handed_less() -> None:
    class Tiring(Counting):
        async def send(self, item: bytes) -> None:
            if sum(map(len, self.sends)) > 2_000_000:
                await anyio.sleep(len(item) / 1_000_000)
            await super().send(item)

    near, far = memory_transports()
    tiring = Tiring(near)
    config = muxado.Config(initial_window=1 << 20, stream_window=1 << 20, send_buffer=1 << 20)
    async with muxado.client(tiring, config) as dialed, muxado.server(far, config) as accepted:
        async with create_task_group() as tasks:
            stream = await dialed.open_stream()
            tasks.start_soon(stream.send, bytes(4_000_000))
            tasks.start_soon(_read, await accepted.accept_stream(), 4_000_000)
        sizes = list(map(len, tiring.sends))
        assert max(sizes) > 16 * 1024
        assert max(sizes[-20:]) < 5 * 1024


async def test_a_transport_that_shows_no_progress_is_handed_little() -> None:
    """However fast it is: one that falls to a kilobyte a second must still return in time."""
    near, far = memory_transports()
    counting = Counting(near)
    config = muxado.Config(initial_window=1 << 20, stream_window=1 << 20, send_buffer=1 << 20)
    async with muxado.client(counting, config) as dialed, muxado.server(far, config) as accepted:
        async with create_task_group() as tasks:
            stream = await dialed.open_stream()
            tasks.start_soon(stream.send, bytes(4_000_000))
            tasks.start_soon(_read, await accepted.accept_stream(), 4_000_000)
        assert 16 * 1024 <= max(map(len, counting.sends)) <= 17 * 1024


@pytest.mark.parametrize(
    ("exc", "said"),
    [
        (OSError(5, "the disk of the network broke"), "the disk of the network broke"),
        (ValueError(), "ValueError"),
        (anyio.BrokenResourceError(), "BrokenResourceError"),
    ],
)
@pytest.mark.parametrize("where", ["send", "receive"])
async def test_whatever_a_transport_raises_is_the_end_of_the_session(
    exc: Exception, said: str, where: str
) -> None:
    near, far = memory_transports()
    failing = Failing(near)
    async with muxado.client(failing) as session:
        stream = await session.open_stream()
        await settled()
        setattr(failing, f"on_{where}", exc)
        await stream.send(b"x")
        await far.send(HELLO)
        with pytest.raises(muxado.TransportError, match=said) as info:
            await stream.receive()
        assert info.value.retry is Retry.UNKNOWN
        assert isinstance(info.value, ConnectionError)
        with pytest.raises(muxado.TransportError, match=said):
            await session.wait()
    await far.aclose()


async def test_a_transports_exception_without_words_speaks_through_its_cause() -> None:
    near, far = memory_transports()
    failing = Failing(near)
    async with muxado.client(failing) as session:
        failing.on_receive = anyio.BrokenResourceError()
        failing.on_receive.__cause__ = OSError(104, "Connection reset by peer")
        await far.send(HELLO)
        with pytest.raises(muxado.TransportError, match="Connection reset by peer"):
            await session.accept_stream()
    await far.aclose()


async def test_a_goodbye_that_lies_before_a_failed_write_is_found() -> None:
    # The peer said goodbye and closed; what we send meanwhile fails before we have read that.
    near, far = memory_transports()

    class Late(Failing):
        async def receive(self, max_bytes: int = 65536) -> bytes:
            item = await super().receive(max_bytes)
            if self.on_send is not None:
                await anyio.sleep(0.1)
            return item

    failing = Late(near)
    async with muxado.client(failing) as session:
        stream = await session.open_stream()
        await settled()
        failing.on_send = OSError(32, "Broken pipe")
        await far.send(data(3, b"answer") + goaway(3))
        await stream.send(b"x")
        await far.aclose()
        await session.wait()
        assert await stream.receive() == b"answer"
        with pytest.raises(muxado.SessionClosedError):
            await stream.receive()


async def test_a_transport_that_fails_to_close_is_closed() -> None:
    near, far = memory_transports()
    failing = Failing(near)
    failing.on_close = OSError(9, "Bad file descriptor")
    async with muxado.client(failing) as session:
        pass
    assert session.closed
    await far.aclose()


async def test_a_transport_that_hangs_in_closing_is_left() -> None:
    class Hanging(Around):
        async def aclose(self) -> None:
            await self._inner.aclose()
            await anyio.sleep(10_000)

    near, far = memory_transports()
    start = anyio.current_time()
    async with muxado.client(Hanging(near)):
        pass
    assert anyio.current_time() - start < 2
    await far.aclose()


async def test_closing_waits_a_moment_for_the_peers_last_bytes() -> None:
    # A socket that is closed with unread bytes makes TCP throw away what it was given last.
    async with scripted() as (session, peer), create_task_group() as tasks:
        await peer.say(data(2, b"x", syn=True))
        _far = await session.accept_stream()
        tasks.start_soon(session.aclose)
        await peer.expect("GOAWAY")
        await peer.say(data(2, b"still here"))
        await anyio.sleep(0.2)
        await peer.say(data(2, b"and still"))  # nobody closed it yet


async def test_the_last_word_is_a_whole_goodbye() -> None:
    near, far = memory_transports()
    counting = Counting(near)
    async with muxado.client(counting):
        pass
    assert b"".join(counting.sends) == HELLO + goaway(0) + PAD
    await far.aclose()


async def test_reading_stops_while_the_peer_leaves_our_answers_lying() -> None:
    """CVE-2024-32984: frames that need an answer, from a peer that takes none."""
    near, far = memory_transports(0)
    stuck = Stuck(near)
    config = muxado.Config(max_control_frames=16, heartbeat_interval=None)
    async with muxado.client(stuck, config) as session, create_task_group() as tasks:
        assert await far.receive() == HELLO
        stuck.hold()
        asked = 0

        async def ask() -> None:
            nonlocal asked
            await far.send(HELLO)
            for number in range(100):
                await far.send(frame("PING", 0, number.to_bytes(8, "big")))
                asked += 1

        tasks.start_soon(ask)
        await all_tasks_blocked()
        paused_at = asked
        assert 16 <= paused_at < 30
        assert not session.closed
        stuck.release()
        answered: list[bytes] = []
        rest = b""
        with fail_after(60):
            while len(answered) < 100:
                frames, rest = split(rest + await far.receive())
                answered += [one.body for one in frames if one.kind == "PING"]
        assert answered == [number.to_bytes(8, "big") for number in range(100)]
        tasks.start_soon(far.aclose)


async def test_the_bytes_are_counted(session_pair: Any) -> None:
    async with session_pair() as (dialed, accepted):
        await dialed.ping()
        assert dialed.statistics().bytes_sent == accepted.statistics().bytes_received > 0
        assert accepted.statistics().bytes_sent == dialed.statistics().bytes_received > 0

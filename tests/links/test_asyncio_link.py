"""The asyncio link, between a session and a peer that is a plain socket."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import pytest
from anyio import create_task_group, fail_after
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSAttribute

import muxado_py as muxado
from muxado_py.dialing.asyncio_sockets import AsyncioSockets
from muxado_py.dialing.session_scope import SessionScope
from muxado_py.links.anyio_link import AnyioLink
from muxado_py.links.asyncio_link import AsyncioLink
from muxado_py.protocol.connection import Connection
from muxado_py.runtime.checkpoints import CALLS_PER_CHECKPOINT

from ..by_url import TCP_SCHEMES, sessions_by_url
from ..check_byte_stream import receive_exactly
from ..frames_seen import HELLO, PAD, data, frame, goaway, split, whole
from ..helpers.blocked import all_tasks_blocked, until
from ..helpers.inside import driver_of
from ..transports import tls_contexts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@asynccontextmanager
async def dialed_by_socket(
    config: muxado.Config | None = None,
) -> AsyncIterator[tuple[muxado.Session, socket.socket]]:
    """A session and the socket that dialed it, which does not wait."""
    accepted: list[muxado.Session] = []
    arrived, done = anyio.Event(), anyio.Event()

    async def handle(session: muxado.Session) -> None:
        accepted.append(session)
        arrived.set()
        await done.wait()

    async with (
        muxado.listen("tcp://127.0.0.1:0", config=config) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, handle)
        host, port = listener.url.removeprefix("tcp://").split(":")
        with socket.socket() as peer:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                peer.setsockopt(socket.SOL_SOCKET, option, 8192)
            peer.connect((host, int(port)))
            peer.setblocking(False)
            await arrived.wait()
            yield accepted[0], peer
            done.set()
        tasks.cancel_scope.cancel()


async def read_to_end(peer: socket.socket) -> bytes:
    """What the session says until it closes; then this side does, too."""
    loop = asyncio.get_running_loop()
    said = b""
    while chunk := await loop.sock_recv(peer, 65536):
        said += chunk
    with suppress(OSError):  # if it was over before
        peer.shutdown(socket.SHUT_WR)
    return said


def link_of(session: muxado.Session) -> Any:
    return driver_of(session).link


class Instead(Protocol):
    """``part_of = instead(name, make)``: links are made with ``make(argument)`` in place of an argument of theirs.

    :returns: what finds it by the session of the link.
    """

    def __call__(
        self, name: str, make: Callable[[Any], Any]
    ) -> Callable[[muxado.Session], Any]: ...


@pytest.fixture
def instead(monkeypatch: pytest.MonkeyPatch) -> Instead:
    """Whoever dials and listens gives the link what the test has."""

    def put(name: str, make: Callable[[Any], Any]) -> Callable[[muxado.Session], Any]:
        parts: dict[object, Any] = {}

        def made(transport: Any, *held: Any, **others: Any) -> AsyncioLink:
            given = {"transport": transport, **others}
            part = given[name] = make(given[name])
            link = AsyncioLink(given.pop("transport"), *held, **given)
            parts[link] = part
            return link

        monkeypatch.setattr("muxado_py.dialing.asyncio_sockets.AsyncioLink", made)
        return lambda session: parts[link_of(session)]

    return put


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_who_is_carried_by_what(anyio_backend: str) -> None:
    kind = AsyncioLink if anyio_backend == "asyncio" else AnyioLink
    async with sessions_by_url() as sessions:
        assert [type(link_of(one)) for one in sessions] == [kind, kind]


async def test_tls_attributes_are_there() -> None:
    async with sessions_by_url(scheme="tls") as (dialed, accepted):
        assert dialed.extra(TLSAttribute.tls_version).startswith("TLSv1")
        assert [one.extra(TLSAttribute.server_side) for one in (dialed, accepted)] == [False, True]
        certificate = dialed.extra(TLSAttribute.peer_certificate)
        assert certificate is not None
        assert certificate["subject"]
        assert dialed.extra(TLSAttribute.peer_certificate_binary)
        assert dialed.extra(TLSAttribute.shared_ciphers) is None
        assert dialed.extra(TLSAttribute.alpn_protocol) is None
        assert dialed.extra(TLSAttribute.cipher) == accepted.extra(TLSAttribute.cipher)


async def test_what_comes_with_the_handshake_is_not_lost() -> None:
    near_ssl, far_ssl = tls_contexts()
    async with (
        muxado.listen("tls://127.0.0.1:0", ssl_context=far_ssl) as listener,
        create_task_group() as tasks,
    ):
        received: list[bytes] = []

        async def handle(session: muxado.Session) -> None:
            stream = await session.accept_stream()
            received.append(await receive_exactly(stream, 5))
            await stream.send(b"and back")

        tasks.start_soon(listener.serve, handle)
        host, port = listener.url.removeprefix("tls://").split(":")

        def dial() -> bytes:
            """Whoever blocks can finish its handshake and send in one go."""
            with (
                socket.create_connection((host, int(port))) as raw,
                near_ssl.wrap_socket(raw, server_hostname="localhost") as peer,
            ):
                peer.sendall(HELLO + data(3, b"hello", syn=True))
                said = b""
                while b"and back" not in said:
                    said += peer.recv(65536)
                return said

        with fail_after(30):
            await anyio.to_thread.run_sync(dial)
        assert received == [b"hello"]
        tasks.cancel_scope.cancel()


async def test_what_is_sent_in_one_turn_leaves_in_one_write(instead: Instead) -> None:
    spy_of = instead("transport", Spy)
    async with sessions_by_url() as (dialed, accepted):
        streams = [await dialed.open_stream() for _ in range(50)]
        await dialed.ping()
        writes = spy_of(dialed).writes
        writes.clear()
        async with create_task_group() as tasks:
            for stream in streams:
                tasks.start_soon(stream.send, b"x")
        for _ in streams:
            kept = await accepted.accept_stream()
            assert await kept.receive() == b"x"
        # One call in CALLS_PER_CHECKPOINT gives way first.
        given_way = -(-len(streams) // CALLS_PER_CHECKPOINT)
        assert len(split(writes[0])[0]) >= len(streams) - given_way


async def test_what_is_sent_at_once_travels_with_the_syn() -> None:
    async with dialed_by_socket() as (session, peer):
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(peer, 65536) == HELLO
        stream = await session.open_stream()
        await stream.send(b"hello")
        assert await loop.sock_recv(peer, 65536) == data(2, b"hello", syn=True)
        _far = await session.open_stream()
        assert await loop.sock_recv(peer, 65536) == data(4, b"", syn=True)


@pytest.mark.slow
async def test_little_is_handed_to_a_peer_that_takes_nothing(instead: Instead) -> None:
    spy_of = instead("transport", Spy)
    config = muxado.Config(write_timeout=0.3, initial_window=1 << 24, stream_window=1 << 24)
    async with dialed_by_socket(config) as (session, _peer), create_task_group() as tasks:
        stream = await session.open_stream()
        link = link_of(session)

        async def send() -> None:
            with pytest.raises(muxado.PeerTimeoutError, match=r"took nothing for 0\.3 s"):
                await stream.send(bytes(1 << 24))

        tasks.start_soon(send)
        with fail_after(30):
            while link.writing_since is None:  # noqa: ASYNC110 - the link tells nobody
                await anyio.sleep(0.01)
        assert 0 < spy_of(session).get_write_buffer_size() < 256 * 1024
        with fail_after(30), pytest.raises(muxado.PeerTimeoutError):
            await session.wait()


@pytest.mark.slow
@pytest.mark.parametrize("rest", [60_000, 16 * 1024 * 1024])
async def test_what_waits_behind_the_rest_of_a_handshake_is_told_if_it_is_lost(
    instead: Instead, rest: int
) -> None:
    def busy(transport: Any) -> Any:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        transport.write(bytes(rest))  # as tickets are, on a narrow path
        return transport

    instead("transport", busy)
    async with dialed_by_socket(muxado.Config(close_timeout=0.1)) as (session, _peer):
        stream = await session.open_stream()
        await stream.send(bytes(1000))
        with pytest.raises(muxado.UndeliveredError) as caught:
            await session.aclose()
    assert caught.value.nbytes == 1000


@pytest.mark.slow
async def test_reading_stops_while_the_peer_leaves_our_answers_lying(instead: Instead) -> None:
    spy_of = instead("transport", Spy)
    config = muxado.Config(max_control_frames=16, heartbeat_interval=None, control_budget=2**30)
    async with dialed_by_socket(config) as (session, peer), create_task_group() as tasks:
        loop = asyncio.get_running_loop()
        pings = b"".join(frame("PING", 0, number.to_bytes(8, "big")) for number in range(100_000))
        asked = anyio.Event()

        async def ask() -> None:
            await loop.sock_sendall(peer, HELLO + pings)
            asked.set()

        tasks.start_soon(ask)
        spy = spy_of(session)
        with fail_after(60):
            while not spy.paused:  # noqa: ASYNC110 - as above
                await anyio.sleep(0.01)
        assert not asked.is_set()
        answers = 0
        rest = b""
        with fail_after(60):
            while answers < 100_000:
                frames, rest = split(rest + await loop.sock_recv(peer, 1 << 20))
                answers += sum(one.kind == "PING" for one in frames)
        assert not session.closed
        assert not spy.paused


async def test_a_goodbye_that_lies_before_a_failed_write_is_found(instead: Instead) -> None:
    spy_of = instead("transport", Spy)
    async with dialed_by_socket() as (session, peer):
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(peer, 65536) == HELLO
        stream = await session.open_stream()
        await stream.send(b"x")
        assert await loop.sock_recv(peer, 65536)
        # The peer says goodbye and is gone before the loop looks at what there is to read.
        spy_of(session).pause_reading()
        peer.send(data(2, b"answer") + goaway(2) + PAD)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        peer.close()
        stream.send_nowait(b"more")
        while b"more" not in spy_of(session).writes[-1]:
            await checkpoint()  # and then the peer's system answers it with a reset
        stream.send_nowait(b"and more")
        with fail_after(10):
            await session.wait()
        assert await stream.receive() == b"answer"
        with pytest.raises(muxado.SessionClosedError):
            await stream.receive()


@pytest.mark.slow
async def test_the_last_word_is_a_whole_goodbye() -> None:
    async with dialed_by_socket() as (session, peer), create_task_group() as tasks:
        tasks.start_soon(session.aclose)
        with fail_after(10):
            assert await read_to_end(peer) == HELLO + goaway(0) + PAD


async def test_half_a_connection_is_the_end_but_what_was_sent_still_goes() -> None:
    async with dialed_by_socket() as (session, peer):
        peer.send(HELLO + data(3, b"x", syn=True))
        stream = await session.accept_stream()
        peer.send(goaway(0) + PAD)
        peer.shutdown(socket.SHUT_WR)
        with fail_after(10):
            await session.wait()
            assert whole(await read_to_end(peer))
        assert await stream.receive() == b"x"


async def test_a_close_is_over_when_the_transport_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when its time is, which is half a minute here."""
    monkeypatch.setattr("muxado_py.links.link.GOODBYE_WAIT", 30.0)
    monkeypatch.setattr("muxado_py.links.parting.GOODBYE_WAIT", 30.0)
    async with sessions_by_url() as (dialed, accepted):
        with fail_after(10):
            await dialed.aclose()
            await accepted.aclose()


async def test_a_mistake_of_ours_ends_the_session_and_tells_the_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        async with muxado.connect(f"tcp://127.0.0.1:{listening.getsockname()[1]}"):

            def fail(_: Connection, data: bytes) -> None:
                raise ArithmeticError("a mistake")

            monkeypatch.setattr(Connection, "receive_data", fail)
            peer, _ = listening.accept()
            with peer:
                peer.setblocking(False)
                await asyncio.get_running_loop().sock_sendall(peer, HELLO)
                with fail_after(10):
                    assert (await read_to_end(peer)).startswith(HELLO)
                await anyio.sleep_forever()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        with pytest.raises(BaseExceptionGroup) as info, fail_after(20):
            await run()
        assert info.group_contains(ArithmeticError, match="a mistake")


class Gate:
    """A cap that lets nothing pass once it is shut.

    :ivar reserve: whether what is urgent may pass nevertheless.
    """

    def __init__(self, _: object) -> None:
        self.cap = 1
        self.quantum = 2**31
        self.open = True
        self.reserve = False
        self.asked = anyio.Event()

    def shut(self) -> None:
        self.open = False
        self.asked = anyio.Event()

    def allow(self, budget: int, *, urgent: bool = False) -> int:
        self.asked.set()
        return budget if self.open else int(urgent and self.reserve)


BULK = bytes(60_000)
LAST = muxado.Priority(urgency=7)
FIRST = muxado.Priority(urgency=0)


async def test_bulk_waits_for_room_on_the_path_and_what_is_urgent_does_not(
    instead: Instead,
) -> None:
    gate_of = instead("inflight_cap", Gate)
    async with dialed_by_socket() as (session, peer), create_task_group() as tasks:
        loop = asyncio.get_running_loop()
        gate = gate_of(session)
        gate.shut()
        bulk = await session.open_stream(priority=LAST)
        tasks.start_soon(bulk.send, BULK)
        await gate.asked.wait()
        await all_tasks_blocked()  # what bulk itself pressed is over
        urgent = await session.open_stream(priority=FIRST)
        gate.reserve = True
        await urgent.send(b"now")
        with fail_after(20):
            said = b""
            while b"now" not in said:
                said += await loop.sock_recv(peer, 65536)
            assert len(said) < 1000
            gate.open = True
            while len(said) < len(BULK):
                said += await loop.sock_recv(peer, 65536)


async def test_a_full_kernel_asks_for_a_cap_though_a_stream_has_less_than_a_flush(
    instead: Instead,
) -> None:
    gate_of = instead("inflight_cap", Gate)
    config = muxado.Config(send_buffer=1000)
    async with dialed_by_socket(config) as (session, peer), create_task_group() as tasks:
        gate = gate_of(session)
        gate.cap = 0
        bulk = await session.open_stream()

        async def send_all() -> None:
            for _ in range(60):
                await bulk.send(BULK[:1000])

        tasks.start_soon(send_all)
        await until(lambda: link_of(session).writing_since is not None)
        assert not gate.asked.is_set()
        received = 0
        with fail_after(20):
            while received < len(BULK):
                received += len(await asyncio.get_running_loop().sock_recv(peer, 65536))
        assert gate.asked.is_set()


async def test_what_comes_in_lets_no_bulk_over_the_cap(instead: Instead) -> None:
    """Only what the application writes presses; a reply of ours needs no room."""
    gate_of = instead("inflight_cap", Gate)
    async with sessions_by_url() as (session, accepted), create_task_group() as tasks:
        assert await accepted.ping() >= 0
        gate = gate_of(session)
        gate.shut()
        bulk = await session.open_stream()
        tasks.start_soon(bulk.send, BULK)
        await gate.asked.wait()
        assert await accepted.ping() >= 0  # what bulk itself pressed is over
        gate.reserve = True
        before = session.statistics().bytes_sent
        for _ in range(20):
            assert await accepted.ping() >= 0  # and its answer
        assert session.statistics().bytes_sent - before == 20 * 16
        gate.open = True


async def test_control_frames_do_not_wait_for_room_on_the_path(instead: Instead) -> None:
    gate_of = instead("inflight_cap", Gate)
    async with sessions_by_url() as (session, _), create_task_group() as tasks:
        assert await session.ping() >= 0
        gate = gate_of(session)
        gate.shut()
        bulk = await session.open_stream()
        tasks.start_soon(bulk.send, BULK)
        await gate.asked.wait()
        with fail_after(20):
            assert await session.ping() >= 0
        gate.open = True


@pytest.mark.slow
async def test_what_waits_for_room_is_sent_before_a_close(instead: Instead) -> None:
    gate_of = instead("inflight_cap", Gate)
    async with dialed_by_socket() as (session, peer), create_task_group() as tasks:
        gate = gate_of(session)
        gate.shut()
        bulk = await session.open_stream()
        await bulk.send(BULK)
        await bulk.send_eof()
        tasks.start_soon(session.aclose)
        await gate.asked.wait()
        gate.open = True
        with fail_after(20):
            assert len(await read_to_end(peer)) > len(BULK)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a path")
@pytest.mark.parametrize(
    ("scheme", "cap", "has"),
    [("tcp", True, True), ("tls", True, True), ("tcp", False, False), ("unix", True, False)],
)
async def test_who_has_a_cap(
    scheme: str, cap: bool, has: bool, tmp_path: Path, instead: Instead
) -> None:
    cap_of = instead("inflight_cap", lambda cap: cap)
    config = muxado.Config(cap_in_flight=cap)
    async with sessions_by_url(config, scheme=scheme, folder=tmp_path) as sessions:
        assert [cap_of(one) is not None for one in sessions] == [has, has]


@pytest.mark.parametrize("scheme", TCP_SCHEMES)
async def test_a_flush_goes_out_in_pieces_only_where_nothing_is_lost_by_it(
    scheme: str, anyio_backend: tuple[str, dict[str, bool]], instead: Instead
) -> None:
    """asyncio's own writelines has forgotten flow control, and TLS makes a record of each piece."""
    spy_of = instead("transport", Spy)
    async with sessions_by_url(scheme=scheme) as (dialed, accepted), create_task_group() as tasks:
        stream = await dialed.open_stream()
        tasks.start_soon(stream.send, bytes(4 * 1024 * 1024))
        assert await receive_exactly(await accepted.accept_stream(), 4 * 1024 * 1024)
        in_pieces = scheme == "tcp" and anyio_backend[1].get("use_uvloop", False)
        assert spy_of(dialed).in_pieces is in_pieces


class Spy:
    """A transport that remembers what it was asked for."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.writes: list[bytes] = []
        self.in_pieces = False
        self.paused = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self._transport.write(data)

    def writelines(self, pieces: list[bytes | memoryview]) -> None:
        self.in_pieces = True
        self.writes.append(b"".join(pieces))
        self._transport.writelines(pieces)

    def pause_reading(self) -> None:
        self.paused = True
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self.paused = False
        self._transport.resume_reading()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_write_that_fails_when_there_is_room_again_is_one_end(anyio_backend: str) -> None:
    """asyncio tells of an end twice, and fails, if it comes in its ``resume_writing``."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        raw, _ = listening.accept()
        raw.setblocking(False)
        sends: Any = Failing(raw, [BlockingIOError(), None, ConnectionResetError()])
        made = await AsyncioSockets().pending(sends)
        async with SessionScope(made, None, is_client=False) as session:
            await all_tasks_blocked()
            sends.fails = True
            stream = await session.open_stream()
            with fail_after(20), pytest.raises(muxado.TransportError):
                await stream.send(bytes(200_000))
            with fail_after(20), pytest.raises(muxado.TransportError):
                await session.wait()
        assert not sends.script


class Failing:
    """A socket whose sends, once it fails, raise one thing after the other, and take all where there is none."""

    def __init__(self, raw: socket.socket, script: list[Exception | None]) -> None:
        self._raw = raw
        self.script = script
        self.fails = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def send(self, data: bytes) -> int:
        return self.sendmsg([data])

    def sendmsg(self, buffers: Iterable[bytes | memoryview]) -> int:
        if not self.fails:
            return self._raw.sendmsg(buffers)
        failure = self.script.pop(0)
        if failure is not None:
            raise failure
        return sum(map(len, buffers))


class Wakeful:
    """Polls so many times.

    :ivar looked: how often it was asked whether to look again.
    """

    def __init__(self, _: object) -> None:
        self.looks = self.looked = 0
        self.over = anyio.Event()

    def keep(self, looks: int) -> None:
        self.looks = looks
        self.over = anyio.Event()

    def sent(self, _now: float) -> bool:
        return self.looks > 0

    def received(self, _now: float) -> bool:
        return self.looks > 0

    def goes_on(self, _now: float) -> bool:
        self.looks -= 1
        self.looked += 1
        if self.looks <= 0:
            self.over.set()
        return self.looks > 0


async def is_kept_awake(poll: Wakeful) -> bool:
    """Whether it is still asked in the loop's next turns."""
    before = poll.looked
    for _ in range(5):
        await asyncio.sleep(0)
    return poll.looked > before


async def test_a_poll_keeps_the_loop_awake_and_everybody_goes_on(instead: Instead) -> None:
    poll_of = instead("busy_poll", Wakeful)
    config = muxado.Config(heartbeat_interval=None)
    async with sessions_by_url(config) as (dialed, accepted), create_task_group() as tasks:
        poll = poll_of(dialed)
        poll.keep(1_000)
        tasks.start_soon(accepted.net_listener().serve, echo)
        stream = await dialed.open_stream()
        await stream.send(b"asked")
        with fail_after(10):
            assert await receive_exactly(stream, 5) == b"asked"
            await poll.over.wait()
            assert not await is_kept_awake(poll)
            poll.keep(10)
            await stream.send(b"again")
            await poll.over.wait()
        tasks.cancel_scope.cancel()


async def test_a_poll_ends_with_its_connection(instead: Instead) -> None:
    poll_of = instead("busy_poll", Wakeful)
    async with dialed_by_socket() as (session, peer):
        poll = poll_of(session)
        poll.keep(10**9)
        stream = await session.open_stream()
        await stream.send(b"asked")
        await anyio.wait_readable(peer)
        assert await is_kept_awake(poll)
        peer.close()
        with fail_after(10), pytest.raises(muxado.TransportError):
            await session.wait()
        await all_tasks_blocked()
        assert poll.looks > 0
        assert not await is_kept_awake(poll)


async def echo(stream: muxado.Stream) -> None:
    while True:
        await stream.send(await stream.receive())

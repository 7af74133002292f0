"""The asyncio link, between a session and a peer that is a plain socket."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import create_task_group, fail_after
from anyio.streams.tls import TLSAttribute

import muxado_py as muxado
from muxado_py.links.anyio_link import AnyioLink
from muxado_py.links.asyncio_link import AsyncioLink
from muxado_py.runtime.checkpoints import CALLS_PER_CHECKPOINT

from .by_url import sessions_by_url
from .check_byte_stream import receive_exactly
from .frames_seen import HELLO, PAD, data, frame, goaway, split, whole
from .transports import tls_contexts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
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
    return session._driver.link


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


async def test_what_is_sent_in_one_turn_leaves_in_one_write() -> None:
    async with sessions_by_url() as (dialed, accepted):
        streams = [await dialed.open_stream() for _ in range(50)]
        await dialed.ping()
        link = link_of(dialed)
        writes: list[bytes] = []
        write = link._write

        def count(pieces: list[bytes | memoryview]) -> None:
            writes.append(b"".join(pieces))
            write(pieces)

        link._write = count
        async with create_task_group() as tasks:
            for stream in streams:
                tasks.start_soon(stream.send, b"x")
        for _ in streams:
            kept = await accepted.accept_stream()
            assert await kept.receive() == b"x"
        link._write = write
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


async def test_little_is_handed_to_a_peer_that_takes_nothing() -> None:
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
        assert 0 < link._transport.get_write_buffer_size() < 256 * 1024
        with fail_after(30), pytest.raises(muxado.PeerTimeoutError):
            await session.wait()


async def test_reading_stops_while_the_peer_leaves_our_answers_lying() -> None:
    config = muxado.Config(max_control_frames=16, heartbeat_interval=None, control_budget=2**30)
    async with dialed_by_socket(config) as (session, peer), create_task_group() as tasks:
        loop = asyncio.get_running_loop()
        pings = b"".join(frame("PING", 0, number.to_bytes(8, "big")) for number in range(100_000))
        asked = anyio.Event()

        async def ask() -> None:
            await loop.sock_sendall(peer, HELLO + pings)
            asked.set()

        tasks.start_soon(ask)
        link = link_of(session)
        with fail_after(60):
            while link._reading:  # noqa: ASYNC110 - as above
                await anyio.sleep(0.01)
        assert not asked.is_set()
        answers = 0
        rest = b""
        with fail_after(60):
            while answers < 100_000:
                frames, rest = split(rest + await loop.sock_recv(peer, 1 << 20))
                answers += sum(one.kind == "PING" for one in frames)
        assert not session.closed


async def test_a_goodbye_that_lies_before_a_failed_write_is_found() -> None:
    async with dialed_by_socket() as (session, peer):
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(peer, 65536) == HELLO
        stream = await session.open_stream()
        await stream.send(b"x")
        assert await loop.sock_recv(peer, 65536)
        # The peer says goodbye and is gone before the session has had a turn to read that.
        peer.send(data(2, b"answer") + goaway(2) + PAD)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        peer.close()
        stream.send_nowait(b"more")
        link_of(session)._flush()  # the peer's system answers it with a reset
        stream.send_nowait(b"and more")
        link_of(session)._flush()
        with fail_after(10):
            await session.wait()
        assert await stream.receive() == b"answer"
        with pytest.raises(muxado.SessionClosedError):
            await stream.receive()


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
        async with muxado.connect(f"tcp://127.0.0.1:{listening.getsockname()[1]}") as session:

            def fail(data: bytes) -> None:
                raise ArithmeticError("a mistake")

            monkeypatch.setattr(session._driver.connection, "receive_data", fail)
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
    """A cap that lets nothing pass until it is opened.

    :ivar reserve: whether what is urgent may pass nevertheless.
    """

    def __init__(self) -> None:
        self.cap = 1
        self.quantum = 2**31
        self.open = False
        self.reserve = False
        self.asked = anyio.Event()

    def allow(self, budget: int, *, urgent: bool = False) -> int:
        self.asked.set()
        return budget if self.open else int(urgent and self.reserve)


BULK = bytes(60_000)
LAST = muxado.Priority(urgency=7)
FIRST = muxado.Priority(urgency=0)


async def test_bulk_waits_for_room_on_the_path_and_what_is_urgent_does_not() -> None:
    async with dialed_by_socket() as (session, peer), create_task_group() as tasks:
        loop = asyncio.get_running_loop()
        gate = link_of(session)._inflight_cap = Gate()
        bulk = await session.open_stream(priority=LAST)
        tasks.start_soon(bulk.send, BULK)
        await gate.asked.wait()
        urgent = await session.open_stream(priority=FIRST)
        gate.reserve = True
        await urgent.send(b"now")
        with fail_after(5):
            said = b""
            while b"now" not in said:
                said += await loop.sock_recv(peer, 65536)
            assert len(said) < 1000
            gate.open = True
            while len(said) < len(BULK):
                said += await loop.sock_recv(peer, 65536)


async def test_what_comes_in_lets_no_bulk_over_the_cap() -> None:
    """Only what the application writes presses; a reply of ours needs no room."""
    async with sessions_by_url() as (session, accepted), create_task_group() as tasks:
        assert await accepted.ping() >= 0
        gate = link_of(session)._inflight_cap = Gate()
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


async def test_control_frames_do_not_wait_for_room_on_the_path() -> None:
    async with sessions_by_url() as (session, _), create_task_group() as tasks:
        assert await session.ping() >= 0
        gate = link_of(session)._inflight_cap = Gate()
        bulk = await session.open_stream()
        tasks.start_soon(bulk.send, BULK)
        await gate.asked.wait()
        with fail_after(5):
            assert await session.ping() >= 0
        gate.open = True


async def test_what_waits_for_room_is_sent_before_a_close() -> None:
    async with dialed_by_socket() as (session, peer), create_task_group() as tasks:
        gate = link_of(session)._inflight_cap = Gate()
        bulk = await session.open_stream()
        await bulk.send(BULK)
        await bulk.send_eof()
        tasks.start_soon(session.aclose)
        await gate.asked.wait()
        gate.open = True
        with fail_after(5):
            assert len(await read_to_end(peer)) > len(BULK)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a path")
@pytest.mark.parametrize(
    ("scheme", "cap", "has"),
    [("tcp", True, True), ("tls", True, True), ("tcp", False, False), ("unix", True, False)],
)
async def test_who_has_a_cap(scheme: str, cap: bool, has: bool, tmp_path: Path) -> None:
    config = muxado.Config(cap_in_flight=cap)
    async with sessions_by_url(config, scheme=scheme, folder=tmp_path) as sessions:
        assert [link_of(one)._inflight_cap is not None for one in sessions] == [has, has]


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
async def test_a_flush_goes_out_in_pieces_only_where_nothing_is_lost_by_it(
    scheme: str, anyio_backend: tuple[str, dict[str, bool]]
) -> None:
    """asyncio's own writelines has forgotten flow control, and TLS makes a record of each piece."""
    async with sessions_by_url(scheme=scheme) as (dialed, accepted), create_task_group() as tasks:
        link = link_of(dialed)
        spy = link._transport = Spy(link._transport)
        stream = await dialed.open_stream()
        tasks.start_soon(stream.send, bytes(4 * 1024 * 1024))
        assert await receive_exactly(await accepted.accept_stream(), 4 * 1024 * 1024)
    in_pieces = scheme == "tcp" and anyio_backend[1].get("use_uvloop", False)
    assert spy.in_pieces is in_pieces


class Spy:
    """A transport that remembers whether it was given pieces."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.in_pieces = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def writelines(self, pieces: list[bytes | memoryview]) -> None:
        self.in_pieces = True
        self._transport.writelines(pieces)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_write_that_fails_when_there_is_room_again_is_one_end(anyio_backend: str) -> None:
    """asyncio tells of an end twice, and fails, if it comes in its ``resume_writing``."""
    async with dialed_by_socket() as (session, _):
        transport = link_of(session)._transport
        transport._sock = Failing(
            transport._sock, [BlockingIOError(), None, ConnectionResetError()]
        )
        stream = await session.open_stream()
        with fail_after(5), pytest.raises(muxado.TransportError):
            await stream.send(bytes(200_000))
        with fail_after(5), pytest.raises(muxado.TransportError):
            await session.wait()


class Failing:
    """A socket whose sends raise one thing after the other, and take all where there is none."""

    def __init__(self, raw: socket.socket, script: list[Exception | None]) -> None:
        self._raw = raw
        self._script = script

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def send(self, data: bytes) -> int:
        failure = self._script.pop(0)
        if failure is not None:
            raise failure
        return len(data)


class Wakeful:
    """Polls so many times."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.over = anyio.Event()

    def sent(self, _now: float) -> bool:
        return self.looks > 0

    def received(self, _now: float) -> bool:
        return self.looks > 0

    def goes_on(self, _now: float) -> bool:
        self.looks -= 1
        if self.looks <= 0:
            self.over.set()
        return self.looks > 0


async def test_a_poll_keeps_the_loop_awake_and_everybody_goes_on() -> None:
    config = muxado.Config(heartbeat_interval=None)
    async with sessions_by_url(config) as (dialed, accepted), create_task_group() as tasks:
        poll = link_of(dialed)._busy_poll = Wakeful(1_000)
        tasks.start_soon(accepted.net_listener().serve, echo)
        stream = await dialed.open_stream()
        await stream.send(b"asked")
        with fail_after(10):
            assert await receive_exactly(stream, 5) == b"asked"
            await poll.over.wait()
        assert not link_of(dialed)._polling
        tasks.cancel_scope.cancel()


async def test_a_poll_ends_with_its_connection() -> None:
    async with dialed_by_socket() as (session, peer):
        poll = link_of(session)._busy_poll = Wakeful(10**9)
        stream = await session.open_stream()
        await stream.send(b"asked")
        await anyio.wait_readable(peer)
        peer.close()
        with fail_after(10), pytest.raises(muxado.TransportError):
            await session.wait()
        await anyio.wait_all_tasks_blocked()
        assert poll.looks > 0
        assert not link_of(session)._polling


async def echo(stream: muxado.Stream) -> None:
    while True:
        await stream.send(await stream.receive())

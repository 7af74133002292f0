"""``bridge``, ``Session.dial_socket`` and ``forward``: streams on one side, sockets on the other."""

from __future__ import annotations

import asyncio
import errno
import http.client
import select
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from anyio import create_task_group, to_thread
from anyio.abc import ByteStream, SocketStream
from anyio.streams.buffered import BufferedByteStream
from anyio.streams.stapled import StapledByteStream
from anyio.streams.tls import TLSListener, TLSStream

import muxado_py as muxado
from muxado_py import bridge, forward, serve_asgi
from muxado_py.links.codec_stream import CodecStream
from muxado_py.links.tls import TLSCodec
from muxado_py.links.tls_socket import TLSSocket
from muxado_py.runtime.accept_loop import AcceptingListener
from muxado_py.runtime.plain_sockets import PlainSocket, accept_plain
from muxado_py.session.bridge import socket_pair
from muxado_py.session.copying import Copying
from muxado_py.session.relay import Relay

from ..helpers.blocked import all_tasks_blocked, until
from ..integrations.apps import AsgiApp, serving
from ..transports import ODD, Raising, Wrapped, memory_transports

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from ..conftest import SessionPair

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("way")]


async def read_to_the_end(stream: ByteStream) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def echo_after_the_end(stream: ByteStream) -> None:
    """Answers only once it has read everything: what half close is for."""
    data = await read_to_the_end(stream)
    await stream.send(b"echo " + data)
    await stream.send_eof()


@pytest.fixture(params=["plain", "tls"])
def layer(request: pytest.FixtureRequest) -> str:
    """What callers of the bridge speak."""
    layer: str = request.param
    return layer


async def agree(
    near: ByteStream, far: PlainSocket, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> tuple[CodecStream, PlainSocket]:
    """The same two ends, with TLS between them, and nothing of it on the way.

    TLS 1.3 says something behind the handshake, and uvloop before 0.23 takes a reset behind bytes for an end.
    """
    user = CodecStream(near, TLSCodec(contexts[1], server_side=False, hostname="app"))
    inner = TLSSocket(far.raw_socket, contexts[0], memoryview(bytearray(65536)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(user.handshake)
        while not inner.handshake():
            await anyio.wait_readable(inner)
    assert inner.send(b"!") == 1
    assert await user.receive() == b"!"
    return user, PlainSocket(inner)


@pytest.fixture
async def tcp(
    way: str, layer: str, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    """Two ends of a connection; by callbacks goes what is a plain socket, with TLS or without."""
    accepted: list[Any] = []
    is_accepted = anyio.Event()

    async def accept(stream: SocketStream) -> None:
        accepted.append(stream)
        is_accepted.set()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listening,
        anyio.create_task_group() as tasks,
    ):
        is_anyio = way == "tasks" and layer == "plain"
        door = listening if is_anyio else AcceptingListener(listening, accept_plain)
        tasks.start_soon(door.serve, accept, tasks)
        port = listening.extra(anyio.abc.SocketAttribute.local_port)
        near: ByteStream = await anyio.connect_tcp("127.0.0.1", port)
        await is_accepted.wait()
        tasks.cancel_scope.cancel()
    far = accepted[0]
    if layer == "tls":
        near, far = await agree(near, far, tls)
    yield near, far
    await anyio.aclose_forcefully(near)
    await anyio.aclose_forcefully(far)


async def test_bytes_and_half_closes_pass_both_ways(
    session_pair: SessionPair, tcp: tuple[ByteStream, ByteStream]
) -> None:
    user, inner = tcp
    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(peer.net_listener().serve, echo_after_the_end)
        tasks.start_soon(bridge, inner, await session.net_dial())
        await user.send(b"one ")
        await user.send(bytes(500_000))
        await user.send_eof()
        assert await read_to_the_end(user) == b"echo one " + bytes(500_000)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("layer", ["tls"])
async def test_an_end_that_the_kernel_has_no_room_for_is_said_later(
    session_pair: SessionPair,
    tcp: tuple[ByteStream, ByteStream],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user, inner = tcp
    calls: list[bool] = []  # whether there was room
    both_ended = False
    shutdown = TLSSocket.shutdown

    def end(sock: TLSSocket, how: int) -> None:
        calls.append(both_ended)
        if not both_ended:
            raise BlockingIOError
        shutdown(sock, how)

    monkeypatch.setattr(TLSSocket, "shutdown", end)
    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(bridge, inner, await session.net_dial())
        stream = await peer.accept_stream()
        await stream.send(b"answer")
        await stream.send_eof()
        assert await user.receive() == b"answer"
        await until(lambda: calls)
        await user.send_eof()
        assert await read_to_the_end(stream) == b""
        both_ended = True
        assert await read_to_the_end(user) == b""
        await until(lambda: not session.statistics().live_streams)
    assert calls[-1]


@pytest.mark.parametrize("layer", ["tls"])
async def test_an_end_that_came_with_bytes_is_heard_at_once(
    session_pair: SessionPair,
    tcp: tuple[ByteStream, ByteStream],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loop sees nothing of it: both were read in one piece, and the connection is open."""
    monkeypatch.setattr("muxado_py.session.socket_end.LOOK_AGAIN", 1000)
    user, inner = tcp
    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        await user.send(b"question")
        await user.send_eof()
        tasks.start_soon(bridge, inner, await session.net_dial())
        stream = await peer.accept_stream()
        with anyio.fail_after(20):
            assert await read_to_the_end(stream) == b"question"
        await stream.send(b"answer")
        await stream.send_eof()
        assert await read_to_the_end(user) == b"answer"


async def test_both_ends_are_closed_at_the_end(
    session_pair: SessionPair, tcp: tuple[ByteStream, ByteStream]
) -> None:
    user, inner = tcp
    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(peer.net_listener().serve, echo_after_the_end)
        stream = await session.net_dial()
        await user.send_eof()
        await bridge(inner, stream)
        for end in (inner, stream):
            with pytest.raises(anyio.ClosedResourceError):
                await end.send(b"more")
        tasks.cancel_scope.cancel()


async def test_a_reset_stream_is_no_clean_end_on_tcp(
    session_pair: SessionPair, tcp: tuple[ByteStream, ByteStream]
) -> None:
    user, inner = tcp

    async def reset(stream: muxado.Stream) -> None:
        await stream.send(b"some")
        await stream.receive()
        stream.reset()

    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(peer.net_listener().serve, reset)
        tasks.start_soon(bridge, inner, await session.net_dial())
        assert await user.receive() == b"some"
        await user.send(b"go on")
        with pytest.raises(anyio.BrokenResourceError):
            await user.receive()
        tasks.cancel_scope.cancel()


async def test_a_broken_connection_resets_the_stream(
    session_pair: SessionPair, tcp: tuple[ByteStream, ByteStream]
) -> None:
    user, inner = tcp
    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(bridge, inner, await session.net_dial())
        await user.send(b"some")
        stream = await peer.accept_stream()
        assert await stream.receive() == b"some"
        raw = user.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await anyio.aclose_forcefully(user)
        with pytest.raises(muxado.StreamResetError):
            await stream.receive()


async def test_cancelling_the_bridge_aborts_both_ends(
    session_pair: SessionPair, tcp: tuple[ByteStream, ByteStream]
) -> None:
    user, inner = tcp
    async with session_pair() as (session, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bridge, inner, await session.net_dial())
            await user.send(b"some")
            stream = await peer.accept_stream()
            assert await stream.receive() == b"some"
            tasks.cancel_scope.cancel()
        with pytest.raises(muxado.StreamResetError):
            await stream.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await user.receive()


@pytest.mark.slow
async def test_a_slow_reader_holds_the_writer_back(
    session_pair: SessionPair, tcp: tuple[ByteStream, ByteStream]
) -> None:
    user, inner = tcp
    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        await user.send(b"before the bridge")
        tasks.start_soon(bridge, inner, await session.net_dial())
        stream = await peer.accept_stream()
        sent = 0
        with anyio.move_on_after(0.5):
            while True:
                await user.send(bytes(65536))
                sent += 65536
        assert sent < 32 * 2**20
        assert peer.statistics().unread <= peer.config.stream_window
        stream.reset()
        tasks.cancel_scope.cancel()


@pytest.fixture
async def tls_over_tcp(
    tcp: tuple[ByteStream, ByteStream], tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> tuple[TLSStream, TLSStream]:
    """Both ends of TLS over TCP: the client's, the server's."""
    server: list[TLSStream] = []

    async def wrap() -> None:
        server.append(await TLSStream.wrap(tcp[1], ssl_context=tls[0], server_side=True))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wrap)
        client = await TLSStream.wrap(tcp[0], ssl_context=tls[1], hostname="app")
    return client, server[0]


async def test_end_of_file_towards_tls_closes_the_bridge(
    session_pair: SessionPair, tls_over_tcp: tuple[TLSStream, TLSStream]
) -> None:
    user, inner = tls_over_tcp
    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(bridge, inner, await session.net_dial())
        stream = await peer.accept_stream()
        await stream.send(b"answer")
        await stream.send_eof()
        assert await read_to_the_end(user) == b"answer"
        await user.aclose()


async def test_a_reset_stream_is_no_clean_end_through_tls(
    session_pair: SessionPair, tls_over_tcp: tuple[TLSStream, TLSStream]
) -> None:
    user, inner = tls_over_tcp
    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(bridge, inner, await session.net_dial())
        (await peer.accept_stream()).reset()
        with pytest.raises(anyio.BrokenResourceError):
            await user.receive()


async def test_a_socket_for_blocking_code(session_pair: SessionPair) -> None:
    app = AsgiApp()

    def get(sock: socket.socket) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("app")
        connection.sock = sock
        try:
            for _ in range(3):
                connection.request("GET", "/")
                answer = connection.getresponse()
                result = answer.status, answer.read()
        finally:
            connection.close()
        return result

    async with serving(session_pair, serve_asgi, app.asgi) as (session, listener):
        sock = await session.dial_socket("app", 80)
        assert await to_thread.run_sync(get, sock) == (200, b"hello")
        assert len(listener.accepted) == 1


async def test_a_socket_can_half_close_and_be_selected(session_pair: SessionPair) -> None:
    def talk(sock: socket.socket) -> bytes:
        sock.settimeout(10)
        with sock:
            sock.sendall(bytes(300_000))
            assert select.select([sock], [], [], 0)[0] == []
            sock.shutdown(socket.SHUT_WR)
            parts = []
            while part := sock.recv(65536):
                parts.append(part)
        return b"".join(parts)

    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(peer.net_listener().serve, echo_after_the_end)
        sock = await session.dial_socket(priority=muxado.Priority(urgency=1))
        assert await to_thread.run_sync(talk, sock) == b"echo " + bytes(300_000)
        tasks.cancel_scope.cancel()


async def test_no_socket_without_a_session(session_pair: SessionPair) -> None:
    async with session_pair() as (session, peer):
        await peer.aclose()
        await session.wait()
        with pytest.raises(OSError, match="session"):
            await session.dial_socket()


async def test_no_socket_after_a_cancellation(session_pair: SessionPair) -> None:
    async with session_pair() as (session, _):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await session.dial_socket()  # a socket left open would be a ResourceWarning
        assert scope.cancelled_caught
        assert session.statistics().live_streams == 0


async def test_each_connection_of_a_listener_becomes_a_stream(session_pair: SessionPair) -> None:
    async with (
        session_pair() as (session, peer),
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(peer.net_listener().serve, echo_after_the_end)
        tasks.start_soon(partial(forward, session, listener))
        port = listener.extra(anyio.abc.SocketAttribute.local_port)

        async def talk(text: bytes) -> None:
            async with await anyio.connect_tcp("127.0.0.1", port) as connection:
                await connection.send(text)
                await connection.send_eof()
                assert await read_to_the_end(connection) == b"echo " + text

        async with anyio.create_task_group() as users:
            for number in range(20):
                users.start_soon(talk, b"%d" % number)

        await peer.aclose()
        await session.wait()
        async with await anyio.connect_tcp("127.0.0.1", port) as connection:
            with pytest.raises(anyio.BrokenResourceError):
                await connection.receive()
        tasks.cancel_scope.cancel()


async def test_a_bridge_between_two_that_are_gone_ends() -> None:
    """Each has said something and takes nothing any more: neither waits for the other's answer."""
    near, near_peer = socket.socketpair()
    far, far_peer = socket.socketpair()
    for peer in (near_peer, far_peer):
        peer.sendall(b"x")
        peer.close()
    with anyio.fail_after(10):
        await bridge(
            await anyio.abc.UNIXSocketStream.from_socket(near),
            await anyio.abc.UNIXSocketStream.from_socket(far),
        )


async def test_who_sends_everything_before_it_reads_is_not_left_hanging(
    session_pair: SessionPair,
) -> None:
    """The stream is reset under an upload, with an answer that the uploader does not read yet."""

    async def answer_and_reset(stream: muxado.Stream) -> None:
        await stream.receive()
        with anyio.move_on_after(0.1):
            await stream.send(bytes(2 << 20))
        stream.reset()

    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(peer.net_listener().serve, answer_and_reset)
        with await session.dial_socket() as sock:
            sock.settimeout(20)

            def upload() -> bool:
                try:
                    sock.sendall(bytes(16 << 20))
                except TimeoutError:
                    return False
                except OSError:
                    return True
                return True

            assert await to_thread.run_sync(upload)
        tasks.cancel_scope.cancel()


async def test_an_answer_that_had_come_is_read_though_the_end_of_the_question_finds_a_reset(
    session_pair: SessionPair, tcp: tuple[ByteStream, ByteStream]
) -> None:
    """The caller half closes when its stream has been reset behind an answer larger than the kernels hold."""
    answer = 1 << 20
    config = muxado.Config(initial_window=4 * answer, stream_window=4 * answer)
    user, inner = tcp
    for end in (user, inner):
        raw = end.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    async with session_pair(config) as (session, peer), anyio.create_task_group() as tasks:
        dialed = await session.net_dial()
        tasks.start_soon(bridge, inner, dialed)
        await user.send(b"question")
        stream = await peer.accept_stream()
        await stream.receive()
        await stream.send(bytes(answer))
        await until(lambda: dialed.statistics().bytes_received == answer)
        stream.reset()
        await until(lambda: not session.statistics().live_streams)
        await user.send_eof()
        got = 0
        with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
            while True:
                got += len(await user.receive())
                await anyio.lowlevel.checkpoint()
        # A reset destroys what the kernels still hold of it.
        assert got > answer // 2


WRAPPERS: dict[str, Callable[[SocketStream], ByteStream]] = {
    "bare": lambda inner: inner,
    "buffered": BufferedByteStream,
    "stapled": lambda inner: StapledByteStream(inner, inner),
    "slots": Wrapped,
    "three": lambda inner: Wrapped(BufferedByteStream(StapledByteStream(inner, inner))),
}


def small_listener() -> tuple[socket.socket, int]:
    """A listening socket whose connections hold little in the kernel."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    return listening, listening.getsockname()[1]


MOST_TAKEN = 4 * 2**20
"""A stream's window, one read, what is unsent, and what kernels hold: all of it below this."""


def flood(port: int, context: ssl.SSLContext | None = None) -> int:
    """How much a peer takes of one that sends as fast as it goes, from the first byte on."""
    taken = 0
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        with raw if context is None else context.wrap_socket(raw, server_hostname="app") as sock:
            sock.settimeout(0.4)
            with suppress(TimeoutError):
                while taken < 8 * MOST_TAKEN:
                    taken += sock.send(bytes(65536))
    return taken


@pytest.mark.slow
@pytest.mark.parametrize("wrapper", WRAPPERS)
async def test_no_more_is_read_of_a_socket_than_a_window_and_one_read(
    session_pair: SessionPair, wrapper: str
) -> None:
    listening, port = small_listener()
    async with (
        session_pair() as (session, peer),
        await anyio.abc.SocketListener.from_socket(listening) as listener,
        anyio.create_task_group() as tasks,
    ):

        async def serve(connection: SocketStream) -> None:
            await bridge(WRAPPERS[wrapper](connection), await session.net_dial())

        tasks.start_soon(partial(listener.serve, serve))
        tasks.start_soon(peer.net_listener().serve, never_reads)
        assert await to_thread.run_sync(flood, port) < MOST_TAKEN
        assert peer.statistics().unread <= peer.config.stream_window
        tasks.cancel_scope.cancel()


@pytest.mark.slow
async def test_no_more_is_read_of_a_listener_of_tls_than_a_window_and_one_read(
    session_pair: SessionPair, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    listening, port = small_listener()
    async with (
        session_pair() as (session, peer),
        await anyio.abc.SocketListener.from_socket(listening) as inner,
        anyio.create_task_group() as tasks,
    ):
        listener = TLSListener(inner, tls[0], standard_compatible=False)
        tasks.start_soon(partial(forward, session, listener))
        tasks.start_soon(peer.net_listener().serve, never_reads)
        assert await to_thread.run_sync(flood, port, tls[1]) < MOST_TAKEN
        tasks.cancel_scope.cancel()


@pytest.mark.slow
async def test_no_more_is_read_of_what_is_forwarded_than_a_window_and_one_read(
    session_pair: SessionPair,
) -> None:
    listening, port = small_listener()
    async with (
        session_pair() as (session, peer),
        await anyio.abc.SocketListener.from_socket(listening) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(partial(forward, session, listener))
        tasks.start_soon(peer.net_listener().serve, never_reads)
        assert await to_thread.run_sync(flood, port) < MOST_TAKEN
        assert peer.statistics().unread <= peer.config.stream_window
        tasks.cancel_scope.cancel()


@pytest.mark.slow
async def test_no_more_is_received_of_a_stream_than_its_socket_takes(
    session_pair: SessionPair, tcp: tuple[ByteStream, ByteStream]
) -> None:
    """And when the user reads at last, all of it comes."""
    user, inner = tcp
    user.extra(anyio.abc.SocketAttribute.raw_socket).setsockopt(
        socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024
    )
    sent, config = 0, muxado.Config(max_stream_window=256 * 1024)
    async with session_pair(config) as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(bridge, inner, await session.net_dial())
        await user.send(b"question")
        stream = await peer.accept_stream()
        with anyio.move_on_after(0.5):
            while sent < 64 * 2**20:
                await stream.send(bytes(65536))
                sent += 65536
        assert sent < 32 * 2**20
        assert session.statistics().unread <= session.config.stream_window
        await stream.send_eof()
        await user.send_eof()
        got = len(await read_to_the_end(user))
        assert sent <= got <= sent + 65536  # some of the piece that was interrupted


@pytest.mark.parametrize("end", [muxado.Stream.reset, muxado.Stream.close])
async def test_who_ends_the_stream_meanwhile_ends_the_bridge(
    session_pair: SessionPair,
    tcp: tuple[ByteStream, ByteStream],
    end: Callable[[muxado.Stream], None],
) -> None:
    user, inner = tcp
    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        dialed = await session.net_dial()
        tasks.start_soon(bridge, inner, dialed)
        await user.send(b"some")
        stream = await peer.accept_stream()
        assert await stream.receive() == b"some"
        end(dialed)
        with pytest.raises(anyio.BrokenResourceError):
            await user.receive()


async def test_the_end_of_the_session_ends_the_bridge(
    session_pair: SessionPair, tcp: tuple[ByteStream, ByteStream]
) -> None:
    user, inner = tcp
    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(bridge, inner, await session.net_dial())
        await user.send(b"some")
        assert await (await peer.accept_stream()).receive() == b"some"
        session.abort()
        with pytest.raises(anyio.BrokenResourceError):
            await user.receive()


async def test_a_stream_that_somebody_else_receives_from_ends_the_bridge(
    session_pair: SessionPair, tcp: tuple[ByteStream, ByteStream]
) -> None:
    user, inner = tcp
    async with session_pair() as (session, _), anyio.create_task_group() as tasks:
        dialed = await session.net_dial()
        await dialed.send(b"x")

        async def receive() -> None:
            with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                await dialed.receive()

        tasks.start_soon(receive)
        await all_tasks_blocked()
        await bridge(inner, dialed)
        with pytest.raises(anyio.BrokenResourceError):
            await user.receive()


async def test_a_stream_that_somebody_else_sends_on_ends_the_bridge(
    session_pair: SessionPair, tcp: tuple[ByteStream, ByteStream]
) -> None:
    """It waits in its place at the stream when all is over."""
    user, inner = tcp
    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        dialed = await session.net_dial()
        tasks.start_soon(bridge, inner, dialed)
        await user.send(b"some")
        stream = await peer.accept_stream()
        assert await stream.receive() == b"some"

        async def send() -> None:
            with pytest.raises(muxado.StreamResetError):
                await dialed.send(bytes(4 * 2**20))

        tasks.start_soon(send)
        await all_tasks_blocked()
        stream.reset()
        with anyio.fail_after(10), pytest.raises(anyio.BrokenResourceError):
            await user.receive()


@pytest.mark.parametrize("way", ["callbacks"], indirect=True)
async def test_a_socket_that_cannot_be_watched_ends_its_bridge_and_no_other(
    session_pair: SessionPair,
    tcp: tuple[ByteStream, ByteStream],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel has bounds of its own for what is watched."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    user, inner = tcp
    async with session_pair() as (session, peer):
        dialed = await session.net_dial()
        await dialed.send(b"some")
        stream = await peer.accept_stream()
        assert await stream.receive() == b"some"
        monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", refuse)
        await bridge(inner, dialed)
        monkeypatch.undo()
        with pytest.raises(anyio.BrokenResourceError):
            await user.receive()
        with pytest.raises(muxado.StreamResetError):
            await stream.receive()


@pytest.mark.parametrize("way", ["callbacks"], indirect=True)
async def test_a_tap_hears_what_the_stream_took_no_more(
    session_pair: SessionPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or another stream would be given the words of a caller with a gap."""
    heard = 0

    class Listening:
        def heard(self, data: bytes) -> None:
            nonlocal heard
            # The next piece, and one that is looked for, come to a stream that is over.
            if not heard:
                asyncio.get_running_loop().call_soon(dialed.reset)
            heard += len(data)

        def answering(self, data: bytes) -> None:
            raise AssertionError

        def ending(self) -> None:
            raise AssertionError

    monkeypatch.setattr("muxado_py.session.socket_end.LOOK_AGAIN", 0)
    inner, user = socket_pair()
    async with session_pair() as (session, _):
        dialed = await session.net_dial()
        with user:
            sent = user.send(bytes(150_000), socket.MSG_DONTWAIT)
            await Relay(asyncio.get_running_loop(), inner, dialed, tap=Listening()).run()
            left = b""
            with suppress(BlockingIOError):
                left = inner.raw_socket.recv(sent)
            assert heard + len(left) == sent
            await inner.aclose()


@pytest.mark.slow
async def test_a_reset_behind_bytes_is_noticed_though_nobody_answers(
    session_pair: SessionPair, tcp: tuple[ByteStream, ByteStream]
) -> None:
    """libuv tells of both at once, and no more."""
    user, inner = tcp
    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        dialed = await session.net_dial()
        await user.send(b"some")
        raw = user.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await anyio.aclose_forcefully(user)
        tasks.start_soon(bridge, inner, dialed)
        stream = await peer.accept_stream()
        assert await stream.receive() == b"some"
        with anyio.fail_after(10), pytest.raises(muxado.StreamResetError):
            await stream.receive()


async def test_many_sizes_pass_whole_in_both_directions_at_once(
    session_pair: SessionPair, tcp: tuple[ByteStream, ByteStream]
) -> None:
    user, inner = tcp
    sizes = (1, 17, 4096, 65_535, 65_536, 65_537, 300_000, 3)
    there = b"".join(bytes([number]) * size for number, size in enumerate(sizes))
    back = there[::-1]

    async def say(stream: ByteStream, data: bytes) -> None:
        for at in range(0, len(data), 50_000):
            await stream.send(data[at : at + 50_000])
        await stream.send_eof()

    async with session_pair() as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(bridge, inner, await session.net_dial())
        tasks.start_soon(say, user, there)
        stream = await peer.accept_stream()
        tasks.start_soon(say, stream, back)
        heard: list[bytes] = []

        async def hear() -> None:
            heard.append(await read_to_the_end(user))

        tasks.start_soon(hear)
        assert await read_to_the_end(stream) == there
    assert heard == [back]


async def no_stream_is_left(session: muxado.Session) -> None:
    with anyio.fail_after(15):
        while session.statistics().live_streams:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.01)


async def never_reads(stream: muxado.Stream) -> None:
    await anyio.sleep_forever()


@pytest.mark.parametrize("error", ODD, ids=repr)
@pytest.mark.parametrize("where", ["receive", "send", "send_eof", "aclose"])
async def test_whatever_a_stream_raises_ends_its_own_connection(
    session_pair: SessionPair, where: str, error: Exception
) -> None:
    """With the error's cause a cut is a reset to the stream's peer, never an end."""
    user, inner = memory_transports()
    async with user, session_pair() as (session, peer), anyio.create_task_group() as tasks:
        dialed = await session.net_dial()
        await user.send(b"question")
        tasks.start_soon(bridge, Raising(inner, where, error), dialed)
        stream = await peer.accept_stream()
        await stream.send(b"answer")
        await stream.send_eof()
        if where == "aclose" or (where == "receive" and isinstance(error, anyio.EndOfStream)):
            await user.send_eof()
            await read_to_the_end(stream)  # nothing was lost
        else:
            with pytest.raises(muxado.StreamResetError):
                await read_to_the_end(stream)
        await no_stream_is_left(session)


async def test_a_connection_of_tls_that_ends_without_a_goodbye_leaves_the_others(
    session_pair: SessionPair, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async def answer_late(stream: muxado.Stream) -> None:
        question = await stream.receive()
        await stream.send(question)
        await read_to_the_end(stream)
        await stream.send(b"and more")

    def ask(port: int) -> bytes:
        raw = socket.create_connection(("127.0.0.1", port), timeout=10)
        with tls[1].wrap_socket(raw, server_hostname="app") as sock:
            sock.sendall(b"question")
            return sock.recv(100)  # and closes the socket below TLS

    async with (
        session_pair() as (session, peer),
        await anyio.create_tcp_listener(local_host="127.0.0.1") as inner,
        anyio.create_task_group() as tasks,
    ):
        port = inner.extra(anyio.abc.SocketAttribute.local_port)
        tasks.start_soon(peer.net_listener().serve, answer_late)
        tasks.start_soon(
            partial(forward, session, TLSListener(inner, tls[0], standard_compatible=False))
        )
        for _ in range(5):
            assert await to_thread.run_sync(ask, port) == b"question"
        await no_stream_is_left(session)
        tasks.cancel_scope.cancel()


async def test_no_stream_for_one_connection_leaves_the_listener_open() -> None:
    class Odd:
        async def net_dial(self, *address: object, **options: Any) -> muxado.Stream:
            raise RuntimeError("out of streams")

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(partial(forward, Odd(), listener))
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        for _ in range(3):
            # The kernel connects before the loop can accept: a loop that connects may find the reset there.
            near = socket.create_connection(("127.0.0.1", port))
            async with await SocketStream.from_socket(near) as connection:
                with pytest.raises(anyio.BrokenResourceError):
                    await connection.receive()
        tasks.cancel_scope.cancel()


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["muxado", "muxado1", "yamux", "smux2"])
async def test_a_connection_whose_stream_is_closed_both_ways_is_given_back(
    session_pair: SessionPair, wire: str
) -> None:
    """Who keeps it in a pool, and says nothing, learns the end and holds no stream."""
    config = muxado.Config(wire=wire, probe_interval=0.1, discard_timeout=0.2)

    async def answer(stream: muxado.Stream) -> None:
        await stream.send(await stream.receive())

    async with (
        session_pair(config) as (session, peer),
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(peer.net_listener().serve, answer)
        tasks.start_soon(partial(forward, session, listener))
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        pooled = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(5)]
        for one in pooled:
            await one.send(b"question")
            assert await read_to_the_end(one) == b"question"
        await no_stream_is_left(session)
        for one in pooled:
            await one.aclose()
        tasks.cancel_scope.cancel()


@pytest.fixture
def lingers(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds for which one lingers: a fifth of what it is."""
    for module in ("bridge", "copying"):
        monkeypatch.setattr(f"muxado_py.session.{module}.LINGER_TIME", 0.2)
    monkeypatch.setattr("muxado_py.session.copying.MAX_LINGER_TIME", 1.0)
    monkeypatch.setattr("muxado_py.session.socket_end.LOOK_AGAIN", 0.2)
    return 0.2


@pytest.mark.slow
async def test_a_half_closed_stream_is_read_for_as_long_as_it_takes(
    session_pair: SessionPair, tcp: tuple[ByteStream, ByteStream], lingers: float
) -> None:
    """It is no full close: it was asked several times, and longer than one lingers."""
    user, inner = tcp
    config = muxado.Config(probe_interval=0.05)
    async with session_pair(config) as (session, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(bridge, inner, await session.net_dial())
        await user.send(b"first")
        stream = await peer.accept_stream()
        assert await stream.receive() == b"first"
        await stream.send_eof()
        assert await read_to_the_end(user) == b""
        await anyio.sleep(2 * lingers)
        await user.send(b"last")
        await user.send_eof()
        assert await read_to_the_end(stream) == b"last"


async def test_the_end_of_a_wrapped_stream_that_breaks_off_is_a_reset(
    session_pair: SessionPair,
) -> None:
    user, inner = memory_transports()
    async with user, session_pair() as (session, peer), anyio.create_task_group() as tasks:
        dialed = BufferedByteStream(await session.net_dial())
        tasks.start_soon(bridge, inner, dialed)
        await user.send(b"some")
        stream = await peer.accept_stream()
        assert await stream.receive() == b"some"
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True), pytest.raises(muxado.StreamResetError):
            await stream.receive()


@pytest.mark.slow
@pytest.mark.usefixtures("lingers")
async def test_who_never_says_goodbye_in_tls_does_not_keep_the_bridge(
    session_pair: SessionPair, tls_over_tcp: tuple[TLSStream, TLSStream]
) -> None:
    _, inner = tls_over_tcp
    async with session_pair() as (session, peer):
        stream = await session.net_dial()
        await stream.send(b"x")
        theirs = await peer.accept_stream()
        await theirs.aclose()
        with anyio.fail_after(10):
            await bridge(inner, stream)


class Uploading(ByteStream):
    """A side that says something now and then, and notes what is taken of it; of it only one may receive."""

    def __init__(self) -> None:
        self.more, self.took_more = anyio.Event(), anyio.Event()
        self._receiving = anyio.ResourceGuard("receiving from")
        self._said = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        with self._receiving:
            if self._said:
                await self.more.wait()
                self.took_more.set()
                await anyio.sleep_forever()
            self._said = True
            return b"a part"

    async def send(self, item: bytes) -> None:
        pass

    async def send_eof(self) -> None:
        pass

    async def aclose(self) -> None:
        self.took_more.set()


async def test_what_a_side_says_behind_its_answer_is_taken_though_nobody_wants_it() -> None:
    """Closed with bytes unread, it might lose the answer."""
    server, ours = memory_transports()
    side = Uploading()
    async with server, ours, create_task_group() as tasks:
        copying = Copying(ours, side, ends_with_a=True)
        tasks.start_soon(copying.run)
        assert await server.receive() == b"a part"
        await server.send(b"answer")
        await server.send_eof()
        await all_tasks_blocked()
        side.more.set()
        with anyio.fail_after(10):
            await side.took_more.wait()
        assert copying.failed is None
        tasks.cancel_scope.cancel()


class Endless(ByteStream):
    """A side that has always as much as it is asked for, or takes nothing, and notes what was in hands."""

    def __init__(self, in_hands: list[int], *, sends: bool) -> None:
        self._in_hands = in_hands
        self._sends = sends

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self._sends:
            await anyio.sleep_forever()
        return bytes(max_bytes)

    async def send(self, item: bytes) -> None:
        self._in_hands.append(len(item))
        await anyio.sleep_forever()

    async def send_eof(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


@pytest.mark.slow
@pytest.mark.parametrize(("bridges", "most"), [(20, 20 * 64 * 1024), (500, 8 * 2**20)])
async def test_what_bridges_have_in_hands_is_bounded_for_all_of_them(
    bridges: int, most: int
) -> None:
    in_hands: list[int] = []
    async with create_task_group() as tasks:
        for _ in range(bridges):
            source, sink = (Endless(in_hands, sends=sends) for sends in (True, False))
            tasks.start_soon(muxado.bridge, source, sink)
        await all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert len(in_hands) == bridges
    assert sum(in_hands) <= most
    assert max(in_hands) <= 64 * 1024

"""TLS: the codec, what drives it on each backend, and what a peer of it sees."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from anyio import create_task_group, fail_after
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute

import muxado_py as muxado
from muxado_py.dialing.anyio_sockets import AnyioSockets
from muxado_py.dialing.asyncio_sockets import AsyncioSockets
from muxado_py.links.codec_stream import CodecStream
from muxado_py.links.codec_transport import CodecTransport
from muxado_py.links.early_protocol import EarlyProtocol
from muxado_py.links.tls import TLSCodec
from muxado_py.runtime.checkpoints import event_loop

from ..by_url import SCHEMES, TCP_SCHEMES, contexts_of
from ..check_byte_stream import receive_all
from ..transports import tls_contexts

if TYPE_CHECKING:
    from muxado_py.dialing.pending import PendingConnection

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def own_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Which this test may change."""
    return tls_contexts.__wrapped__()


# The codec.


def codecs(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[TLSCodec, TLSCodec]:
    """Two that have agreed."""
    near_ssl, far_ssl = own_contexts()
    near_ssl.maximum_version = version
    near = TLSCodec(near_ssl, server_side=False, hostname="localhost")
    far = TLSCodec(far_ssl, server_side=True, hostname=None)
    done = False
    while not done:
        done = near.handshake()
        far.feed(near.output())
        done = far.handshake() and done
        near.feed(far.output())
    return near, far


def received(codec: TLSCodec, room: int = 1000) -> bytes:
    """All that has come."""
    found, memory = b"", memoryview(bytearray(room))
    while count := codec.receive_into(memory):
        found += memory[:count]
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("room", [1, 777, 16384, 70_000])
@pytest.mark.parametrize("size", [1, 16_384, 50_000])
def test_what_is_sent_is_received(version: ssl.TLSVersion, room: int, size: int) -> None:
    near, far = codecs(version)
    data = bytes(index % 251 for index in range(size))
    near.send(data)
    records = near.output()
    middle = len(records) // 2
    far.feed(records[:middle])
    first = received(far, room)
    far.feed(records[middle:])
    assert first + received(far, room) == data
    assert not far.ended


@pytest.mark.parametrize("version", VERSIONS)
def test_each_direction_ends_by_itself(version: ssl.TLSVersion) -> None:
    near, far = codecs(version)
    near.send(b"sent " * 10_000)
    far.feed(near.output())
    far.end()  # with the peer's bytes unread
    near.feed(far.output())
    assert received(near) == b""
    assert near.ended
    near.send(b"after")
    far.feed(near.output())
    assert received(far) == b"sent " * 10_000 + b"after"
    assert not far.ended
    near.end()
    far.feed(near.output())
    assert received(far) == b""
    assert far.ended


def test_an_end_without_an_alert_is_an_end_behind_what_came() -> None:
    near, far = codecs()
    near.send(b"whole")
    near.send(b"cut")
    far.feed(near.output()[:-1])
    far.feed_end()
    assert received(far) == b"whole"
    assert far.ended
    assert far.fault is None


def test_a_fault_is_told_behind_what_was_whole() -> None:
    near, far = codecs()
    near.send(b"whole")
    records = near.output()
    near.send(b"forged")
    forged = bytearray(near.output())
    forged[-1] ^= 1
    far.feed(records + forged)
    room = memoryview(bytearray(100))
    assert far.receive_into(room) == 5
    assert bytes(room[:5]) == b"whole"
    assert received(far) == b""
    assert far.fault is not None
    assert not far.ended
    assert far.output()  # the alert
    near.feed(far.output())


# A peer that is none of ours: Python's own, in a thread.


class Peer:
    """The other end of a TLS connection, which does one thing after the other as it is told."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._context = context
        self.port: int = self._listening.getsockname()[1]

    def accept(self) -> ssl.SSLSocket:
        with self._listening:
            raw, _ = self._listening.accept()
        raw.settimeout(10)
        return self._context.wrap_socket(raw, server_side=True)


async def dialed(port: int, context: ssl.SSLContext) -> PendingConnection:
    sockets = AnyioSockets() if event_loop() is None else AsyncioSockets()
    connected = await sockets.dial_tcp("127.0.0.1", port)
    await connected.secure(context, server_side=False, hostname="127.0.0.1")
    return connected


@pytest.mark.anyio
@pytest.mark.parametrize("version", VERSIONS)
async def test_the_first_bytes_may_come_with_the_handshake(version: ssl.TLSVersion) -> None:
    near_ssl, far_ssl = own_contexts()
    far_ssl.maximum_version = version
    peer = Peer(far_ssl)
    said = bytes(range(256)) * 400

    def speak() -> None:
        with peer.accept() as one:
            one.sendall(said)

    with fail_after(10):
        async with create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, speak)
            connected = await dialed(peer.port, near_ssl)
            found = b""
            while len(found) < len(said):
                found += await connected.peek()
            with pytest.raises(anyio.EndOfStream):
                await connected.peek()
            await connected.abort()
    assert found == said


# Sessions.


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("scheme", TCP_SCHEMES)
async def test_the_end_of_a_paused_session_eats_nothing(scheme: str) -> None:
    """smux1 has no windows: it stops reading, and meanwhile everything comes, and the end.

    Twice the session's window is about what a busy kernel takes besides; beyond that nobody could deliver it.
    Each closes at the same time as the others: what they wait for is half a second.
    """
    async with create_task_group() as tasks:
        for size in (70_000, 100_000, 130_000):
            tasks.start_soon(pause_at_the_end, scheme, size)


async def pause_at_the_end(scheme: str, size: int) -> None:
    config = muxado.Config(wire="smux1", session_window=65536, heartbeat_interval=None)
    near_ssl, far_ssl = contexts_of(scheme)
    url = f"{scheme}://127.0.0.1:0"
    gone, done = anyio.Event(), anyio.Event()
    found: list[bytes] = []

    async def read_late(session: muxado.Session) -> None:
        stream = await session.accept_stream()
        await gone.wait()
        found.append(await receive_all(stream))
        done.set()

    async with (
        muxado.listen(url, config=config, ssl_context=far_ssl) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, read_late)
        async with muxado.connect(listener.url, config=config, ssl_context=near_ssl) as session:
            stream = await session.open_stream()
            for start in range(0, size, 20_000):
                await stream.send(b"x" * min(20_000, size - start))
            await stream.aclose()
        gone.set()
        with fail_after(10):
            await done.wait()
        tasks.cancel_scope.cancel()
    assert [len(one) for one in found] == [size]


@pytest.mark.anyio
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_what_can_be_asked_of_a_session_can_be_asked_after_its_end(
    scheme: str, tmp_path: object
) -> None:
    near_ssl, far_ssl = contexts_of(scheme)
    url = f"unix://{tmp_path}/socket" if scheme == "unix" else f"{scheme}://127.0.0.1:0"
    told = anyio.Event()

    def everything(session: muxado.Session) -> dict[object, object]:
        return {key: ask() for key, ask in session.extra_attributes.items()}

    async def compare(session: muxado.Session) -> None:
        before = everything(session)
        await session.wait()
        assert everything(session) == before
        told.set()

    async with (
        muxado.listen(url, ssl_context=far_ssl) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, compare)
        async with muxado.connect(listener.url, ssl_context=near_ssl) as session:
            await session.ping()
            before = everything(session)
            assert SocketAttribute.remote_address in before
            assert (TLSAttribute.peer_certificate in before) == (scheme in ("tls", "wss"))
        assert everything(session) == before
        with fail_after(10):
            await told.wait()
        tasks.cancel_scope.cancel()


# Why a handshake failed.


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    with fail_after(10):
        while text not in caplog.text:  # noqa: ASYNC110 - a log wakes nobody
            await anyio.sleep(0.01)


def demanding() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server that wants a certificate, and a client that has none."""
    near_ssl, far_ssl = own_contexts()
    far_ssl.verify_mode = ssl.CERT_REQUIRED
    return near_ssl, far_ssl


@pytest.mark.anyio
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [0, 1, 300_000])
async def test_a_client_without_the_certificate_is_told(
    version: ssl.TLSVersion, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one that has sent much already when it is refused."""
    near_ssl, far_ssl = demanding()
    near_ssl.maximum_version = version

    def visit(port: int) -> None:
        raw = socket.create_connection(("127.0.0.1", port), timeout=10)
        with raw, near_ssl.wrap_socket(raw, server_hostname="127.0.0.1") as client:
            client.sendall(bytes(size))
            client.recv(1)

    async with (
        muxado.listen("tls://127.0.0.1:0", ssl_context=far_ssl) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, muxado.Session.wait)
        port = int(listener.url.rpartition(":")[2])
        with pytest.raises(ssl.SSLError) as caught:
            await anyio.to_thread.run_sync(visit, port)
        assert caught.value.reason in (
            "TLSV13_ALERT_CERTIFICATE_REQUIRED",
            "SSLV3_ALERT_HANDSHAKE_FAILURE",
        )
        await logged(caplog, "peer did not return a certificate")
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_session_without_the_certificate_says_why_it_ended() -> None:
    near_ssl, far_ssl = demanding()
    async with (
        muxado.listen("tls://127.0.0.1:0", ssl_context=far_ssl) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, muxado.Session.wait)
        with (
            fail_after(10),
            pytest.raises(muxado.TransportError, match=r"(?i)certificate.required"),
        ):
            async with muxado.connect(listener.url, ssl_context=near_ssl) as session:
                await session.wait()
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_server_that_is_not_trusted_is_told(caplog: pytest.LogCaptureFixture) -> None:
    _, far_ssl = tls_contexts()
    async with (
        muxado.listen("tls://127.0.0.1:0", ssl_context=far_ssl) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, muxado.Session.wait)
        with pytest.raises(ssl.SSLCertVerificationError):
            async with muxado.connect(listener.url):
                pytest.fail("connected")
        await logged(caplog, "alert unknown ca")
        tasks.cancel_scope.cancel()


# Each direction ends by itself, to a peer that answers only when it has read all.


def answering(peer: Peer) -> None:
    with peer.accept() as one:
        asked = b""
        while data := one.recv(65536):
            asked += data
        one.sendall(asked[::-1])


QUESTION = bytes(range(256)) * 1000


@pytest.mark.anyio
async def test_the_stream_reads_on_when_it_has_said_all() -> None:
    near_ssl, far_ssl = own_contexts()
    peer = Peer(far_ssl)
    with fail_after(10):
        async with create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, answering, peer)
            below = await anyio.connect_tcp("127.0.0.1", peer.port)
            async with CodecStream(
                below, TLSCodec(near_ssl, server_side=False, hostname="localhost")
            ) as stream:
                await stream.handshake()
                await stream.send(QUESTION)
                await stream.send_eof()
                assert await receive_all(stream) == QUESTION[::-1]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {"use_uvloop": one}) for one in (False, True)]
)
async def test_the_transport_reads_on_when_it_has_said_all() -> None:
    near_ssl, far_ssl = own_contexts()
    peer = Peer(far_ssl)
    loop = asyncio.get_running_loop()
    with fail_after(10):
        async with create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, answering, peer)
            early, above = EarlyProtocol(), EarlyProtocol()
            below, _ = await loop.create_connection(lambda: early, "127.0.0.1", peer.port)
            transport = CodecTransport(
                below, above, TLSCodec(near_ssl, server_side=False, hostname="localhost")
            )
            above.transport = transport
            await transport.handshake(early.received, ended=early.ended)
            transport.write(QUESTION)
            transport.write_eof()
            found = b""
            with suppress(anyio.EndOfStream):
                while True:
                    found += await above.peek()
            assert found == QUESTION[::-1]
            transport.close()
            while above.lost is None:
                await anyio.lowlevel.checkpoint()
            assert above.lost == (None,)

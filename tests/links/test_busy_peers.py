"""Closes with real sockets, whose peers are busy: a thread with a loop of its own, that is blocked for a while."""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado
from muxado_py.links.parting import GOODBYE_WAIT

from ..by_url import TRANSPORTS, below, contexts_of, reachable, served
from ..frames_seen import data
from ..transports import Around

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio

BUSY = 2 * GOODBYE_WAIT
"""Seconds; from when it is busy on."""


class BusyPeer(threading.Thread):
    """Reads one byte of the first stream of each session, is busy, and then reads the rest.

    :ivar got: how many bytes each stream brought, and how it ended.
    :ivar busy: set when it begins to be busy.
    """

    def __init__(
        self,
        backend: tuple[str, dict[str, Any]],
        transport: str,
        config: muxado.Config,
        folder: Path,
    ) -> None:
        super().__init__()
        self.got: list[tuple[int, str]] = []
        self.url = ""
        self._backend = backend
        self._transport = transport
        self._config = config
        self._folder = folder
        self._listening = threading.Event()
        self.busy = threading.Event()

    def __enter__(self) -> BusyPeer:
        self.start()
        assert self._listening.wait(30)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.join(30)

    def run(self) -> None:
        name, options = self._backend
        anyio.run(self._main, backend=name, backend_options=options)

    async def _main(self) -> None:
        over = anyio.Event()

        async def one(session: muxado.Session) -> None:
            await session.net_listener().serve(self._read)
            over.set()

        async with served(self._transport, one, self._config, folder=self._folder) as there:
            self.url = there.url
            self._listening.set()
            await over.wait()

    async def _read(self, stream: muxado.Stream) -> None:
        count = len(await stream.receive(1))
        if not self.busy.is_set():
            self.busy.set()
            time.sleep(BUSY)  # noqa: ASYNC251 - that is the point
        try:
            while True:
                count += len(await stream.receive())
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is told below
            self.got.append((count, type(exc).__name__))


@pytest.mark.slow
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_was_sent_arrives_at_a_busy_peer(
    anyio_backend: tuple[str, dict[str, Any]], transport: str, tmp_path: Path
) -> None:
    """Its receive window is shut when we close, and what it says when it wakes would meet a closed socket.

    A peer for each wire, for one stream and for sixteen: all are busy at the same time.
    """

    async def one(wire: str, sizes: tuple[int, ...]) -> None:
        folder = tmp_path / f"{wire}-{len(sizes)}"
        folder.mkdir()
        got = await send_to_a_busy_peer(anyio_backend, transport, wire, sizes, folder)
        assert got == [(nbytes + 1, "EndOfStream") for nbytes in sizes], (wire, len(sizes))

    async with anyio.create_task_group() as tasks:
        for wire in ("muxado", "yamux"):
            for sizes in ((150_000,), (9_500,) * 16):
                tasks.start_soon(one, wire, sizes)


async def send_to_a_busy_peer(
    backend: tuple[str, dict[str, Any]],
    transport: str,
    wire: str,
    sizes: tuple[int, ...],
    folder: Path,
) -> list[tuple[int, str]]:
    """What the peer got of a stream for each of ``sizes``."""
    config = muxado.Config(wire=wire)
    with BusyPeer(backend, below(transport), config, folder) as peer:
        async with (
            reachable(transport, peer.url) as there,
            there.connect(config) as session,
        ):
            streams = [await session.open_stream() for _ in sizes]
            for stream in streams:
                await stream.send(b"x")
            await anyio.to_thread.run_sync(peer.busy.wait, 30)
            for stream, nbytes in zip(streams, sizes, strict=True):
                await stream.send(bytes(nbytes))
                await stream.aclose()
        await anyio.to_thread.run_sync(peer.join)
    return peer.got


@pytest.mark.slow
# More than kernels take, less than send_buffer.
@pytest.mark.parametrize("nbytes", [1_000, 120_000])
async def test_what_the_peers_kernel_does_not_acknowledge_is_told(nbytes: int) -> None:
    """A peer that never reads: what its kernel has taken counts as delivered, and nothing else."""
    config = muxado.Config(close_timeout=0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        lost: muxado.UndeliveredError | None = None
        try:
            async with muxado.connect(url, config=config) as session:
                peer, _ = server.accept()
                stream = await session.open_stream()
                await stream.send(bytes(nbytes))
        except muxado.UndeliveredError as exc:
            lost = exc
        with peer:
            if nbytes == 1_000:
                assert lost is None
                return
            assert lost is not None
            assert lost.unacknowledged > 0 or sys.platform != "linux"
            assert lost.nbytes + lost.unacknowledged <= nbytes + 1_000  # of frames
            assert f"{lost.unacknowledged:,} bytes were not acknowledged" in str(lost)


@pytest.mark.slow
async def test_a_peer_that_took_everything_and_need_not_end_is_not_waited_for() -> None:
    """Programs of smux keep the connection: the kernel is asked, and the minute that closing may take is not."""
    config = muxado.Config(wire="smux2", close_timeout=60.0)
    with socket.create_server(("127.0.0.1", 0)) as server, anyio.fail_after(30):
        async with muxado.connect(f"tcp://127.0.0.1:{server.getsockname()[1]}", config=config) as s:
            peer, _ = server.accept()
            stream = await s.open_stream()
            await stream.send(b"all of it")
            await stream.aclose()
        with peer:
            said = b""
            while chunk := peer.recv(65536):
                said += chunk
    assert b"all of it" in said


def answer_once(server: socket.socket, context: ssl.SSLContext | None, answer: bytes) -> Any:
    """A Go program, say: reads a request, answers it, and is in no hurry to acknowledge what comes then."""
    peer, _ = server.accept()
    if context is not None:
        peer = context.wrap_socket(peer, server_side=True)
    peer.recv(65536)
    peer.sendall(answer)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    return peer


@pytest.mark.skipif(
    sys.platform != "linux", reason="who cannot ask the kernel cannot be misled by it"
)
@pytest.mark.parametrize("scheme", ["tcp", "tls"])  # the peer is a script
async def test_credit_that_nobody_reads_any_more_is_no_loss(scheme: str) -> None:
    """A process that ends right behind its answer resets the connection, with our credit for it unread."""
    near, far = contexts_of(scheme)
    config = muxado.Config(heartbeat_interval=None, initial_window=65536)
    peers: list[Any] = []
    answered = anyio.Event()

    with socket.create_server(("127.0.0.1", 0)) as server:

        async def answer() -> None:
            said = data(3, bytes(60_000))
            peers.append(await anyio.to_thread.run_sync(answer_once, server, far, said))
            answered.set()

        async def end() -> None:
            await anyio.wait_readable(peers[0])  # our credit and our goodbye
            peers[0].close()

        url = f"{scheme}://127.0.0.1:{server.getsockname()[1]}"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            async with muxado.connect(url, config=config, ssl_context=near) as session:
                stream = await session.open_stream()
                await stream.send(b"request")
                await answered.wait()
                tasks.start_soon(end)
                got = 0
                while got < 60_000:
                    got += len(await stream.receive())


class EndsMeanwhile(Around):
    """The peer in ``ends``, if there is one, ends right before the second ``send`` from then on."""

    def __init__(self, inner: ByteStream) -> None:
        super().__init__(inner)
        self.ends: socket.socket | None = None
        self.has_sent = anyio.Event()

    async def send(self, item: bytes) -> None:
        if self.ends is not None and self.has_sent.is_set():
            for _ in range(5):  # in which the session is closed
                await anyio.lowlevel.checkpoint()
            self.ends.close()
        await super().send(item)
        if self.ends is not None:
            self.has_sent.set()


@pytest.mark.skipif(
    sys.platform != "linux", reason="who cannot ask the kernel cannot be misled by it"
)
async def test_credit_is_no_loss_though_the_goodbye_behind_it_fails() -> None:
    """As above; the reset comes while the goodbye is being written."""
    config = muxado.Config(heartbeat_interval=None, initial_window=65536)
    with socket.create_server(("127.0.0.1", 0)) as server, anyio.fail_after(30):
        transport = EndsMeanwhile(await anyio.connect_tcp(*server.getsockname()))
        async with muxado.client(transport, config) as session:
            stream = await session.open_stream()
            await stream.send(b"request")
            peer, _ = await anyio.to_thread.run_sync(server.accept)
            asked = b""
            while not asked.endswith(b"request"):
                asked += await anyio.to_thread.run_sync(peer.recv, 65536)
            transport.ends = peer
            peer.sendall(data(3, bytes(60_000)))
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            got = 0
            while got < 60_000:
                got += len(await stream.receive())
            await transport.has_sent.wait()


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
async def test_what_a_dead_connection_does_not_take_is_told(scheme: str, tmp_path: Path) -> None:
    """Its reset lies unnoticed in our socket when the application writes the last, closes, and leaves."""
    config = muxado.Config(heartbeat_interval=None)
    with listening(scheme, tmp_path) as (server, url):
        with pytest.raises(muxado.UndeliveredError) as info:
            async with muxado.connect(url, config=config) as session:
                peer, _ = server.accept()
                stream = await session.open_stream()
                await stream.send(b"request")
                await anyio.wait_readable(peer)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.close()  # with the request unread
                late = await session.open_stream()
                await late.send(b"late")
                await late.aclose()
        assert (info.value.nbytes, info.value.streams) == (4, 1)


@contextmanager
def listening(scheme: str, folder: Path) -> Iterator[tuple[socket.socket, str]]:
    if scheme == "unix":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{folder}/socket")
            server.listen()
            yield server, f"unix://{folder}/socket"
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield server, f"tcp://127.0.0.1:{server.getsockname()[1]}"

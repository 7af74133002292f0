"""A local port behind streams: what happens to the one happens to the other, and to nobody else."""

from __future__ import annotations

import socket
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import pytest
from anyio.abc import SocketAttribute

import muxado_py as muxado
from muxado_py.cli.serving.local_port import serve_port
from muxado_py.cli.serving.ports import LocalPort

from ...helpers.blocked import all_tasks_blocked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from anyio.abc import ByteStream, SocketStream

    from ...conftest import SessionPair

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("way")]

NOBODY = LocalPort("tcp", "127.0.0.1", 1)


class Served(NamedTuple):
    caller: muxado.Session
    """Whose streams become connections."""
    stop: Callable[[], None]


@asynccontextmanager
async def served(
    session_pair: SessionPair, port: LocalPort, wire: str = "muxado", **options: Any
) -> AsyncIterator[Served]:
    async with (
        session_pair(muxado.Config(wire=wire)) as (caller, agent),
        anyio.create_task_group() as tasks,
    ):
        serving = partial(serve_port, port, agent.net_listener(), graceful_timeout=5.0)
        await tasks.start(partial(serving, **options))
        if wire == "muxado":
            await caller.ping()
            await agent.ping()
        with anyio.fail_after(300):
            yield Served(caller, tasks.cancel_scope.cancel)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def server(
    handler: Callable[[SocketStream], Awaitable[None]], scheme: str = "tcp"
) -> AsyncIterator[LocalPort]:
    """A server on this machine."""

    async def handle(connection: SocketStream) -> None:
        async with connection:
            with suppress(anyio.BrokenResourceError):  # the other side has broken off
                await handler(connection)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, handle)
        yield LocalPort(scheme, "127.0.0.1", listener.extra(SocketAttribute.local_port))
        tasks.cancel_scope.cancel()


async def echo(connection: ByteStream) -> None:
    async for data in connection:
        await connection.send(data)


async def everything(stream: ByteStream) -> bytes:
    return b"".join([data async for data in stream])


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["muxado", "yamux"])
async def test_bytes_and_half_closes_pass_both_ways(session_pair: SessionPair, wire: str) -> None:
    async with server(echo) as port, served(session_pair, port, wire) as (caller, _):
        for size in (1, 300_000):
            async with await caller.open_stream() as stream, anyio.create_task_group() as tasks:

                async def ask(stream: muxado.Stream = stream, size: int = size) -> None:
                    await stream.send(b"x" * size)
                    await stream.send_eof()

                tasks.start_soon(ask)
                assert await everything(stream) == b"x" * size


async def test_a_server_that_speaks_first_is_heard(session_pair: SessionPair) -> None:
    async def greet(connection: ByteStream) -> None:
        await connection.send(b"SSH-2.0-x\r\n")
        await echo(connection)

    async with (
        server(greet) as port,
        served(session_pair, port) as (caller, _),
        await caller.open_stream() as stream,
    ):
        assert await stream.receive() == b"SSH-2.0-x\r\n"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_name_is_as_good_as_an_address(session_pair: SessionPair, host: str) -> None:
    async with (
        server(echo) as port,
        served(session_pair, port._replace(host=host)) as (caller, _),
        await caller.open_stream() as stream,
    ):
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"


async def test_a_unix_socket_is_a_port_too(session_pair: SessionPair, tmp_path: Path) -> None:
    path = str(tmp_path / "server")
    async with (
        await anyio.create_unix_listener(path) as listener,
        anyio.create_task_group() as tasks,
        served(session_pair, LocalPort("unix", path)) as (caller, _),
    ):

        async def handle(connection: SocketStream) -> None:
            async with connection:
                await echo(connection)

        tasks.start_soon(listener.serve, handle)
        async with await caller.open_stream() as stream:
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
        tasks.cancel_scope.cancel()


async def test_a_unix_socket_whose_backlog_is_full_is_waited_for(
    session_pair: SessionPair, tmp_path: Path
) -> None:
    """As a TCP port is, by the kernel."""
    path = str(tmp_path / "server")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        listener.settimeout(5)
        async with served(session_pair, LocalPort("unix", path)) as (caller, _):
            streams = [await caller.open_stream() for _ in range(4)]
            for stream in streams:
                await stream.send(b"question")
            await all_tasks_blocked()
            for _ in streams:
                connection, _ = await anyio.to_thread.run_sync(listener.accept)
                with connection:
                    connection.sendall(await anyio.to_thread.run_sync(connection.recv, 100))
            assert [await stream.receive() for stream in streams] == [b"question"] * 4
            for stream in streams:
                stream.reset()


@pytest.mark.parametrize(
    "port", [NOBODY, LocalPort("unix", "/no/such/socket"), LocalPort("tcp", "localhost", 1)]
)
async def test_a_port_where_nobody_listens_refuses_the_stream_and_is_safe(
    session_pair: SessionPair, port: LocalPort
) -> None:
    async with served(session_pair, port) as (caller, _):
        for _ in range(2):  # the session goes on
            stream = await caller.open_stream()
            await stream.send(b"question")
            with pytest.raises(muxado.StreamRefusedError) as refused:
                await stream.receive()
            assert refused.value.retry.safe


@pytest.mark.slow
async def test_a_wire_that_believes_no_refusal_gets_a_reset(session_pair: SessionPair) -> None:
    async with served(session_pair, NOBODY, "yamux") as (caller, _):
        stream = await caller.open_stream()
        await stream.send(b"question")
        with pytest.raises(muxado.StreamResetError) as lost:
            await stream.receive()
        assert not lost.value.retry.safe


async def test_a_server_that_breaks_off_resets_its_stream_and_no_other(
    session_pair: SessionPair,
) -> None:
    async def break_off(connection: SocketStream) -> None:
        if (heard := await connection.receive()) == b"break":
            raw = connection.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await anyio.aclose_forcefully(connection)
        else:
            await connection.send(heard)
            await echo(connection)

    async with server(break_off) as port, served(session_pair, port) as (caller, _):
        other = await caller.open_stream()
        await other.send(b"other")
        assert await other.receive() == b"other"
        stream = await caller.open_stream()
        await stream.send(b"break")
        with pytest.raises(muxado.StreamResetError) as lost:
            await stream.receive()
        assert not lost.value.retry.safe  # it may have been executed
        await other.send(b"hello")
        assert await other.receive() == b"hello"
        other.reset()


async def test_a_caller_that_breaks_off_resets_its_connection(session_pair: SessionPair) -> None:
    broken = anyio.Event()

    async def listen_to(connection: ByteStream) -> None:
        try:
            await everything(connection)
        except anyio.BrokenResourceError:
            broken.set()

    async with server(listen_to) as port, served(session_pair, port) as (caller, _):
        stream = await caller.open_stream()
        await stream.send(b"half")
        await caller.ping()
        stream.reset()
        await broken.wait()


async def test_a_server_of_http_ends_both_ways_at_once(session_pair: SessionPair) -> None:
    """It never closes half; a caller that is told so does not send into nowhere."""

    async def answer(connection: ByteStream) -> None:
        await connection.receive()
        await connection.send(b"bye")

    async with server(answer, "http") as port, served(session_pair, port) as (caller, _):
        stream = await caller.open_stream()
        await stream.send(b"question")
        assert await everything(stream) == b"bye"
        with pytest.raises(anyio.BrokenResourceError):
            while True:
                await stream.send(b"more")
                await caller.ping()


async def test_more_than_the_limit_are_refused(session_pair: SessionPair) -> None:
    async with server(echo) as port, served(session_pair, port, limit=1) as (caller, _):
        first = await caller.open_stream()
        await first.send(b"hello")
        assert await first.receive() == b"hello"
        second = await caller.open_stream()
        await second.send(b"x")
        with pytest.raises(muxado.StreamRefusedError):
            await second.receive()
        first.reset()


async def test_who_stops_lets_connections_end_and_takes_no_more(session_pair: SessionPair) -> None:
    async with (
        server(echo) as port,
        served(session_pair, port) as (caller, stop),
        await caller.open_stream() as stream,
    ):
        await stream.send(b"a")
        assert await stream.receive() == b"a"
        stop()
        with anyio.CancelScope(shield=True):
            await all_tasks_blocked()  # it has stopped
            late = await caller.open_stream()
            await late.send(b"late")
            with pytest.raises(muxado.StreamRefusedError):
                await late.receive()
            await stream.send(b"b")
            assert await stream.receive() == b"b"
            await stream.send_eof()
            assert await everything(stream) == b""


async def test_who_stops_cuts_what_does_not_end(session_pair: SessionPair) -> None:
    async with server(echo) as port, session_pair() as (caller, agent):
        async with anyio.create_task_group() as tasks:
            await tasks.start(
                partial(serve_port, port, agent.net_listener(), graceful_timeout=0.05)
            )
            stream = await caller.open_stream()
            await stream.send(b"a")
            assert await stream.receive() == b"a"
            tasks.cancel_scope.cancel()
        with pytest.raises(muxado.StreamResetError):
            await stream.receive()


@contextmanager
def deaf(path: str | None = None) -> Iterator[tuple[LocalPort, socket.socket, list[socket.socket]]]:
    """A port whose listener has no room: with it, and with those who take it."""
    with ExitStack() as stack:
        listener = stack.enter_context(
            socket.socket(socket.AF_INET if path is None else socket.AF_UNIX)
        )
        listener.bind(path or ("127.0.0.1", 0))
        listener.listen(0)
        taken = [stack.enter_context(socket.socket(listener.family)) for _ in range(2)]
        for one in taken:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        tcp = () if path else listener.getsockname()
        yield LocalPort("tcp", *tcp) if tcp else LocalPort("unix", str(path)), listener, taken


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
async def test_a_port_that_is_not_there_in_time_refuses_the_stream(
    session_pair: SessionPair, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("local_port", "local_connection"):
        monkeypatch.setattr(f"muxado_py.cli.serving.{module}.CONNECT_TIMEOUT", 0.05)
    path = str(tmp_path / "s") if scheme == "unix" else None
    with deaf(path) as (port, *_):
        async with served(session_pair, port) as (caller, _):
            stream = await caller.open_stream()
            await stream.send(b"x")
            with pytest.raises(muxado.StreamRefusedError):
                await stream.receive()


@pytest.mark.slow
async def test_a_port_that_is_late_is_connected_to(session_pair: SessionPair) -> None:
    """As one of another machine, which never answers at once: TCP tries again after a second."""
    with deaf() as (port, listener, _):
        async with (
            served(session_pair, port) as (caller, _),
            await caller.open_stream() as stream,
        ):
            await stream.send(b"hello")
            await caller.ping()
            await all_tasks_blocked()
            listener.setblocking(False)
            while True:
                await anyio.wait_readable(listener)
                raw, _address = listener.accept()
                with raw:
                    raw.setblocking(False)
                    with anyio.move_on_after(0.2):
                        await anyio.wait_readable(raw)
                        if raw.recv(9) == b"hello":
                            raw.send(b"bye")
                            break
            assert await everything(stream) == b"bye"


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
async def test_who_stops_refuses_what_has_no_connection_yet(
    session_pair: SessionPair, scheme: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "s") if scheme == "unix" else None
    with deaf(path) as (port, *_):
        async with session_pair() as (caller, agent):
            async with anyio.create_task_group() as tasks:
                listener = agent.net_listener()
                await tasks.start(partial(serve_port, port, listener, graceful_timeout=0.05))
                stream = await caller.open_stream()
                await stream.send(b"x")
                await caller.ping()
                tasks.cancel_scope.cancel()
            with pytest.raises(muxado.StreamRefusedError):
                await stream.receive()

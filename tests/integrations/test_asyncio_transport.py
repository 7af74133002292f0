"""``MuxTransport``: what asyncio's protocols, readers and writers see of a stream."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado
from muxado_py.integrations import MuxTransport, open_connection
from muxado_py.integrations.pumped import PumpedStream

from ..conftest import unhurried
from ..helpers.blocked import all_tasks_blocked, until
from ..transports import ODD, Raising, memory_transports

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

BIG = bytes(range(256)) * 8192  # 2 MiB


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"debug": True, "loop_factory": unhurried}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """asyncio's transports exist on asyncio."""
    backend: tuple[str, dict[str, Any]] = request.param
    return backend


@pytest.fixture
async def streams(session_pair: SessionPair) -> AsyncIterator[tuple[muxado.Stream, muxado.Stream]]:
    """A stream for a transport, and its other end for the test."""
    async with session_pair() as (session, peer):
        ours = await session.net_dial()
        await ours.send(b"!")
        theirs = await peer.accept_stream()
        assert await theirs.receive() == b"!"
        yield ours, theirs


def is_uvloop() -> bool:
    return type(asyncio.get_running_loop()).__module__.startswith("uvloop")


class Recorder(asyncio.Protocol):
    """Writes down every call; ``keep_open`` is its answer to ``eof_received``."""

    def __init__(self, keep_open: bool = False) -> None:
        self.calls: list[str] = []
        self.data = b""
        self.lost_with: Exception | None = None
        self.keep_open = keep_open
        self.changed = asyncio.Event()

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self.changed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._note("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.changed.set()

    def eof_received(self) -> bool:
        self._note("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost_with = exc
        self._note("lost")

    async def until(self, call: str) -> None:
        while call not in self.calls:
            self.changed.clear()
            await self.changed.wait()


async def test_connection_made_comes_before_data_and_not_in_the_constructor(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, theirs = streams
    await theirs.send(b"early")
    await all_tasks_blocked()
    protocol = Recorder()
    transport = MuxTransport(ours, protocol)
    assert protocol.calls == []
    await theirs.send_eof()
    await protocol.until("lost")
    assert (protocol.calls, protocol.data) == (["made", "eof", "lost"], b"early")
    assert protocol.lost_with is None
    assert transport.is_closing()


async def test_addresses_and_the_missing_socket() -> None:
    async with muxado.listen("tcp://127.0.0.1:0") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, muxado.Session.wait)
        async with muxado.connect(listener.url) as session:
            transport = MuxTransport(await session.net_dial(), asyncio.Protocol())
            assert transport.get_extra_info("peername")[0] == "127.0.0.1"
            assert len(transport.get_extra_info("sockname")) == 2
            for name in ("socket", "sslcontext", "ssl_object"):
                assert transport.get_extra_info(name) is None
            transport.abort()
        tasks.cancel_scope.cancel()


async def test_close_flushes_and_abort_drops(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, theirs = streams
    protocol = Recorder()
    transport = MuxTransport(ours, protocol)
    transport.write(BIG)
    transport.close()
    transport.close()
    transport.write(b"ignored after close")
    assert b"".join([chunk async for chunk in theirs]) == BIG
    await transport.wait_lost()
    assert protocol.calls.count("lost") == 1
    assert protocol.lost_with is None


async def test_abort_resets_the_stream_once(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, theirs = streams
    protocol = Recorder()
    transport = MuxTransport(ours, protocol)
    transport.write(BIG)
    transport.abort()
    transport.abort()
    transport.close()
    await transport.wait_lost()
    assert (protocol.calls.count("lost"), protocol.lost_with) == (1, None)
    assert transport.get_write_buffer_size() == 0
    with pytest.raises(muxado.StreamResetError):
        while await theirs.receive():
            pass


async def test_a_reset_by_the_peer_is_an_os_error(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, theirs = streams
    protocol = Recorder()
    transport = MuxTransport(ours, protocol)
    theirs.reset()
    await transport.wait_lost()
    assert isinstance(protocol.lost_with, ConnectionResetError)


@pytest.mark.parametrize("paused", [False, True])
async def test_a_peer_that_closed_fully_is_noticed_by_writing(
    streams: tuple[muxado.Stream, muxado.Stream], paused: bool
) -> None:
    ours, theirs = streams
    protocol = Recorder(keep_open=True)
    transport = MuxTransport(ours, protocol)
    if paused:
        transport.pause_reading()
    await theirs.aclose()
    transport.write(BIG)
    await transport.wait_lost()
    assert isinstance(protocol.lost_with, ConnectionResetError)


async def test_a_reset_after_the_end_is_noticed_without_writing(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, theirs = streams
    protocol = Recorder(keep_open=True)
    transport = MuxTransport(ours, protocol)
    await theirs.send_eof()
    await protocol.until("eof")
    theirs.reset()
    await transport.wait_lost()
    assert isinstance(protocol.lost_with, ConnectionResetError)


async def test_paused_reading_delivers_neither_data_nor_the_end(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, theirs = streams
    protocol = Recorder(keep_open=True)
    transport = MuxTransport(ours, protocol)
    transport.pause_reading()
    transport.pause_reading()
    assert not transport.is_reading()
    await theirs.send(b"later")
    await theirs.send_eof()
    await all_tasks_blocked()
    assert (protocol.calls, protocol.data) == (["made"], b"")
    transport.resume_reading()
    transport.resume_reading()
    await protocol.until("eof")
    assert protocol.data == b"later"
    transport.close()
    await transport.wait_lost()


async def test_a_protocol_that_pauses_gets_no_more(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, theirs = streams

    class OneAtATime(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            transport.pause_reading()

    protocol = OneAtATime()
    transport = MuxTransport(ours, protocol)
    await theirs.send(b"one")
    await all_tasks_blocked()
    await theirs.send(b"two")
    await all_tasks_blocked()
    assert protocol.data == b"one"
    transport.resume_reading()
    await all_tasks_blocked()
    assert protocol.data == b"onetwo"
    transport.abort()
    await transport.wait_lost()


async def test_writing_is_paused_above_the_limit_and_resumed_below(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, theirs = streams
    protocol = Recorder()
    transport = MuxTransport(ours, protocol)
    transport.set_write_buffer_limits(high=1000, low=500)
    assert transport.get_write_buffer_limits() == (500, 1000)
    written = 0
    while "pause" not in protocol.calls:
        transport.write(bytes(10_000))
        written += 10_000
        await all_tasks_blocked()
    assert transport.get_write_buffer_size() > 1000
    assert "resume" not in protocol.calls
    received = 0
    while received < written:
        received += len(await theirs.receive())
    await protocol.until("resume")
    assert transport.get_write_buffer_size() == 0
    transport.abort()
    await transport.wait_lost()


async def test_the_piece_that_found_no_room_is_the_transports_until_there_is(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, theirs = streams
    protocol = Recorder()
    transport = MuxTransport(ours, protocol)
    pieces: list[bytes] = []
    while "pause" not in protocol.calls:
        pieces.append(bytes([len(pieces)]) * 50_000)
        transport.write(pieces[-1])
        await all_tasks_blocked()
    assert transport.get_write_buffer_size() == 50_000
    pieces += [b"more", b"and more"]
    transport.writelines(pieces[-2:])
    assert transport.get_write_buffer_size() == 50_012
    transport.write_eof()
    got = b"".join([chunk async for chunk in theirs])
    assert got == b"".join(pieces)
    await protocol.until("resume")
    assert transport.get_write_buffer_size() == 0
    transport.abort()
    await transport.wait_lost()


async def test_a_piece_that_found_no_room_is_flushed_before_the_close(
    session_pair: SessionPair,
) -> None:
    """Whoever closes waits for its reader for as long as that takes; the stream alone would reset it."""
    config = muxado.Config(send_buffer=1000, linger_timeout=0.05)
    async with session_pair(config=config) as (session, peer):
        ours = await session.net_dial()
        protocol = Recorder()
        transport = MuxTransport(ours, protocol)
        transport.write(b"!")
        theirs = await peer.accept_stream()
        sent = b"!"
        while not transport.get_write_buffer_size():
            transport.write(bytes(50_000))
            sent += bytes(50_000)
            await all_tasks_blocked()
        transport.close()
        await all_tasks_blocked()
        assert "lost" not in protocol.calls
        assert b"".join([chunk async for chunk in theirs]) == sent
        await transport.wait_lost()
        assert protocol.lost_with is None


async def test_nothing_is_waited_for_in_turns_when_reading_goes_on(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    """A server pauses and goes on for each piece of a body, and mostly nothing has come by then."""
    ours, theirs = streams
    protocol = Recorder()
    transport = MuxTransport(ours, protocol)
    await protocol.until("made")
    scheduled: list[object] = []
    transport._soon = lambda *args: scheduled.append(args)  # type: ignore[method-assign]
    transport.pause_reading()
    transport.resume_reading()
    assert scheduled == []
    del transport._soon
    await theirs.send(b"some")
    while not protocol.data:
        protocol.changed.clear()
        await protocol.changed.wait()
    transport.abort()
    await transport.wait_lost()


async def test_what_write_was_given_can_be_changed_afterwards(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, theirs = streams
    transport = MuxTransport(ours, Recorder())
    data = bytearray(BIG)
    transport.write(data)
    data[:] = bytes(len(data))
    transport.writelines([b"and ", memoryview(b"more")])
    transport.write(b"")
    transport.write_eof()
    transport.write_eof()
    assert transport.can_write_eof()
    assert b"".join([chunk async for chunk in theirs]) == BIG + b"and more"
    with pytest.raises(RuntimeError, match="after write_eof"):
        transport.write(b"late")
    with pytest.raises(TypeError, match="bytes-like"):
        transport.write("text")  # type: ignore[arg-type]
    transport.abort()
    await transport.wait_lost()


async def test_a_buffered_protocol_and_a_change_of_protocol(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, theirs = streams

    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(4)
            self.data = b""

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.buffer[:nbytes]
            if self.data.endswith(b"."):
                transport.set_protocol(after)

    buffered, after = Buffered(), Recorder()
    transport = MuxTransport(ours, buffered)
    assert transport.get_protocol() is buffered
    await theirs.send(b"more than four.")
    await all_tasks_blocked()
    await theirs.send(b"the rest")
    await theirs.send_eof()
    await after.until("lost")
    assert (buffered.data, after.data) == (b"more than four.", b"the rest")


async def test_callbacks_run_in_the_context_of_the_transport(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, theirs = streams
    variable = contextvars.ContextVar("variable", default="nobody")
    seen: list[str] = []

    class Looks(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            seen.append(variable.get())

        def connection_lost(self, exc: Exception | None) -> None:
            seen.append(variable.get())

    variable.set("maker")
    transport = MuxTransport(ours, Looks())
    variable.set("waker")
    await theirs.send(b"data")
    await all_tasks_blocked()
    transport.close()
    await transport.wait_lost()
    assert seen == ["maker", "maker"]


async def test_an_empty_buffer_is_the_protocols_error(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, theirs = streams

    class NoBuffer(asyncio.BufferedProtocol):
        lost_with: Exception | None = None

        def get_buffer(self, sizehint: int) -> bytearray:
            return bytearray()

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost_with = exc

    protocol = NoBuffer()
    transport = MuxTransport(ours, protocol)
    await theirs.send(b"data")
    await transport.wait_lost()
    assert isinstance(protocol.lost_with, RuntimeError)


async def test_writing_to_a_stream_that_failed_loses_the_connection(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, theirs = streams
    protocol = Recorder()
    transport = MuxTransport(ours, protocol)
    await protocol.until("made")
    ours.reset()  # behind the transport's back: the next call must notice
    transport.write(b"data")
    await transport.wait_lost()
    assert isinstance(protocol.lost_with, ConnectionResetError)
    assert isinstance(protocol.lost_with.__cause__, muxado.StreamClosedError)
    with pytest.raises(muxado.StreamResetError):
        await theirs.receive()


async def test_ending_a_stream_that_failed_loses_the_connection(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, _ = streams
    protocol = Recorder()
    transport = MuxTransport(ours, protocol)
    await protocol.until("made")
    ours.reset()
    transport.write_eof()
    await transport.wait_lost()
    assert isinstance(protocol.lost_with, ConnectionResetError)


@pytest.mark.parametrize("method", ["data_received", "eof_received"])
async def test_a_protocol_that_fails_loses_its_connection(
    streams: tuple[muxado.Stream, muxado.Stream], method: str
) -> None:
    ours, theirs = streams
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    protocol = Recorder()
    error = ValueError("on purpose")

    def fail(*args: object) -> None:
        raise error

    setattr(protocol, method, fail)
    transport = MuxTransport(ours, protocol)
    await theirs.send(b"data")
    await theirs.send_eof()
    await transport.wait_lost()
    assert protocol.lost_with is error
    assert [context["exception"] for context in reported] == [error]
    with pytest.raises(muxado.StreamResetError):
        await theirs.receive()


async def test_reader_and_writer_with_half_close_and_drain(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, theirs = streams
    reader, writer = await open_connection(ours)

    async def write() -> None:
        for start in range(0, len(BIG), 65536):
            writer.write(BIG[start : start + 65536])
            await writer.drain()
        writer.write_eof()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        await all_tasks_blocked()
        transport = writer.transport
        assert isinstance(transport, MuxTransport)
        assert transport.get_write_buffer_size() < 3 * 65536
        assert b"".join([chunk async for chunk in theirs]) == BIG
    await theirs.send(b"line\nrest")
    assert await reader.readline() == b"line\n"
    await theirs.send_eof()
    assert await reader.read() == b"rest"
    writer.close()
    await writer.wait_closed()


async def test_a_reader_sees_a_reset_and_a_writer_can_make_one(
    streams: tuple[muxado.Stream, muxado.Stream],
) -> None:
    ours, theirs = streams
    theirs_reader, theirs_writer = await open_connection(theirs)
    _, writer = await open_connection(ours)
    writer.transport.abort()
    with pytest.raises(ConnectionResetError):
        await theirs_reader.read()
    with pytest.raises(ConnectionResetError):
        await theirs_writer.wait_closed()


async def test_start_tls(
    streams: tuple[muxado.Stream, muxado.Stream],
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    if is_uvloop():
        with pytest.raises(TypeError):  # it takes only its own transports: see PumpedStream
            await asyncio.get_running_loop().start_tls(
                MuxTransport(streams[0], Recorder()), Recorder(), tls[1], server_hostname="app"
            )
        return
    ours, theirs = streams
    reader, writer = await open_connection(ours)
    their_reader, their_writer = await open_connection(theirs)

    async def accept_tls() -> None:
        loop = asyncio.get_running_loop()
        protocol = their_writer.transport.get_protocol()
        secure = await loop.start_tls(their_writer.transport, protocol, tls[0], server_side=True)
        assert secure is not None
        secure.write(b"secret " + await their_reader.readexactly(4))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept_tls)
        await writer.start_tls(tls[1], server_hostname="app")
        writer.write(b"ping")
        assert await reader.readexactly(11) == b"secret ping"
    writer.transport.abort()
    their_writer.transport.abort()


async def test_a_file_can_be_sent(
    streams: tuple[muxado.Stream, muxado.Stream], tmp_path: Any
) -> None:
    ours, theirs = streams
    path = tmp_path / "file"
    path.write_bytes(BIG)
    transport = MuxTransport(ours, asyncio.Protocol())

    async def send() -> None:
        with path.open("rb") as file:
            await asyncio.get_running_loop().sendfile(transport, file)
        transport.close()

    if is_uvloop():
        with pytest.raises(NotImplementedError):  # uvloop has no sendfile(), for no transport
            await send()
        transport.abort()
        return
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        assert b"".join([chunk async for chunk in theirs]) == BIG


class TestPumpedStream:
    """The same transport over a byte stream that can only wait."""

    async def test_bytes_both_ways_and_half_close(self) -> None:
        near, far = memory_transports()
        pumped = PumpedStream(near)
        protocol = Recorder(keep_open=True)
        transport = MuxTransport(pumped, protocol)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pumped.run)
            transport.write(BIG)
            transport.write_eof()
            assert b"".join([chunk async for chunk in far]) == BIG
            await far.send(b"answer")
            await far.send_eof()
            await protocol.until("eof")
            assert protocol.data == b"answer"
            transport.close()
        await transport.wait_lost()
        assert protocol.lost_with is None
        await far.aclose()

    async def test_it_reads_no_further_than_its_limit(self) -> None:
        near, far = memory_transports(depth=0)
        pumped = PumpedStream(near)
        transport = MuxTransport(pumped, Recorder())
        transport.pause_reading()
        sent = 0

        async def send() -> None:
            nonlocal sent
            while True:
                await far.send(bytes(65536))
                sent += 65536

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pumped.run)
            tasks.start_soon(send)
            await all_tasks_blocked()
            assert sent <= 2 * 65536
            tasks.cancel_scope.cancel()
        transport.abort()
        await transport.wait_lost()
        await far.aclose()

    @pytest.mark.parametrize("end", ["abort", "cancel"])
    async def test_abort_and_cancellation_abort_the_stream(
        self, session_pair: SessionPair, end: str
    ) -> None:
        async with session_pair() as (session, peer):
            stream = await session.net_dial()
            pumped = PumpedStream(stream)
            transport = MuxTransport(pumped, Recorder())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pumped.run)
                transport.write(b"some")
                theirs = await peer.accept_stream()
                assert await theirs.receive() == b"some"
                if end == "abort":
                    transport.abort()
                else:
                    tasks.cancel_scope.cancel()
            with pytest.raises(muxado.StreamResetError):
                await theirs.receive()

    async def test_writing_stops_at_its_limit_and_after_the_end(self) -> None:
        near, far = memory_transports(depth=0)
        pumped = PumpedStream(near)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pumped.run)
            assert pumped.send_nowait(bytes(100_000)) == 65536
            assert pumped.send_nowait(b"more") == 0
            pumped.send_eof_nowait()
            with pytest.raises(anyio.ClosedResourceError):
                pumped.send_nowait(b"late")
            assert len(b"".join([chunk async for chunk in far])) == 65536
            with pytest.raises(anyio.WouldBlock):
                pumped.receive_nowait()
            pumped.reset()
            with pytest.raises(anyio.ClosedResourceError):
                pumped.receive_nowait()
            with pytest.raises(anyio.ClosedResourceError):
                pumped.send_nowait(b"late")
        await far.aclose()

    async def test_a_piece_is_taken_whole_and_then_there_is_no_room(self) -> None:
        near, far = memory_transports(depth=0)
        pumped = PumpedStream(near)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pumped.run)
            assert pumped.send_whole_nowait(bytes(65536))
            assert not pumped.send_whole_nowait(b"more")
            assert pumped.send_nowait(b"and more") == 0
            pumped.send_eof_nowait()
            with pytest.raises(anyio.ClosedResourceError):
                pumped.send_whole_nowait(b"late")
            assert len(b"".join([chunk async for chunk in far])) == 65540
            pumped.reset()
            with pytest.raises(anyio.ClosedResourceError):
                pumped.send_whole_nowait(b"late")
        await far.aclose()

    @pytest.mark.parametrize("error", ODD, ids=repr)
    @pytest.mark.parametrize("where", ["receive", "send", "send_eof"])
    async def test_whatever_a_stream_raises_is_the_end_of_this_one(
        self, where: str, error: Exception
    ) -> None:
        near, far = memory_transports()
        pumped = PumpedStream(Raising(near, where, error))
        async with far, anyio.create_task_group() as tasks:
            tasks.start_soon(pumped.run)
            pumped.send_nowait(b"some")
            pumped.send_eof_nowait()
            if where == "receive" and isinstance(error, anyio.EndOfStream):
                await until(lambda: pumped.is_readable)
                pumped.close()
        with pytest.raises(type(error)):
            pumped.receive_nowait()

    async def test_a_failure_of_the_stream_is_lost_connection(
        self, session_pair: SessionPair
    ) -> None:
        async with session_pair() as (session, peer):
            pumped = PumpedStream(await session.net_dial())
            protocol = Recorder()
            transport = MuxTransport(pumped, protocol)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pumped.run)
                transport.write(b"some")
                (await peer.accept_stream()).reset()
            await transport.wait_lost()
            assert isinstance(protocol.lost_with, ConnectionResetError)

"""Every public await, cancelled at every turn of the loop; afterwards the wire is read.

What must hold whenever the cancellation comes: only whole frames ever went out, what was sent of a
stream is a prefix of what was given to ``send``, the session still works, and no stream, slot or
task is left over.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import sniffio
import trio
from anyio import CancelScope, create_task_group, fail_after
from anyio.lowlevel import checkpoint

import muxado_py as muxado
from muxado_py import ErrorCode

from . import frames_seen, virtual_time
from .by_url import TCP_SCHEMES, TRANSPORTS, contexts_of, served
from .check_byte_stream import receive_all, receive_exactly
from .helpers.blocked import all_tasks_blocked
from .transports import Recorder, Stuck, memory_transports

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from anyio.abc import ByteStream

    from .by_url import Reachable
    from .frames_seen import Frame

pytestmark = pytest.mark.anyio

MOST_TURNS = 80
DATA = bytes(range(256)) * 100
CONFIG = muxado.Config(
    initial_window=8192, stream_window=8192, send_buffer=2048, heartbeat_interval=None
)


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


def tasks_alive() -> int:
    """How many tasks the event loop has."""
    if sniffio.current_async_library() == "trio":
        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())


@dataclass
class Stage:
    """Two sessions over a connection that holds nothing, and one stream between them."""

    dialed: muxado.Session
    accepted: muxado.Session
    stream: muxado.Stream
    far_stream: muxado.Stream
    transport: Recorder
    got: bytearray = field(default_factory=bytearray)
    done: bool = False
    """Whether the call came to its end before it was cancelled."""


async def cancelled_after(
    turns: int | None, call: Callable[[Stage], Awaitable[object]], beside: Any, after: Any
) -> tuple[bool, list[Frame], list[Frame]]:
    """Set the stage, cancel ``call`` after ``turns`` turns, look whether everything else stands.

    :param turns: None if it is not cancelled at all.
    :param beside: what the peer does meanwhile.
    :param after: what must be true once the call is gone.
    :returns: whether the call was through already, and the frames each side sent.
    """
    near, far = map(Recorder, memory_transports(0))
    before = tasks_alive()
    with fail_after(1000):
        async with muxado.client(near, CONFIG) as dialed, muxado.server(far, CONFIG) as accepted:
            stream = await dialed.open_stream()
            await stream.send(b"hello")
            far_stream = await accepted.accept_stream()
            assert await far_stream.receive() == b"hello"
            await all_tasks_blocked()
            stage = Stage(dialed, accepted, stream, far_stream, near)

            async def act() -> None:
                await call(stage)
                stage.done = True

            async with create_task_group() as tasks:
                tasks.start_soon(beside, stage)
                async with create_task_group() as acting:
                    acting.start_soon(act)
                    if turns is not None:
                        for _ in range(turns):
                            await checkpoint()
                        acting.cancel_scope.cancel()
                await after(stage)
                tasks.cancel_scope.cancel()
            if not dialed.closed:
                await still_works(stage)
            stream.close()
            far_stream.close()
        for session in (dialed, accepted):
            assert session.statistics()[:4] == (0, 0, 0, 0), session.statistics()
        assert tasks_alive() == before
    return (
        stage.done,
        frames_seen.whole(bytes(near.sent)),
        frames_seen.whole(bytes(far.sent)),
    )


async def still_works(stage: Stage) -> None:
    for one, other in ((stage.dialed, stage.accepted), (stage.accepted, stage.dialed)):
        stream = await one.open_stream()
        await stream.send(b"there")
        accepted = await other.accept_stream()
        assert await receive_exactly(accepted, 5) == b"there"
        await accepted.send(b"and back")
        await accepted.aclose()
        assert await receive_all(stream) == b"and back"
        await stream.aclose()
    assert await stage.dialed.ping() >= 0


async def nothing(stage: Stage) -> None:
    """No peer, no demands."""


async def every_turn(
    call: Any, *, beside: Any = nothing, after: Any = nothing, wire: Any = lambda *args: None
) -> None:
    """Cancel after 0, 1, 2 ... turns, until the call is through before the cancellation comes.

    A call that waits for a timer is never through in turns; in the end it is left to itself.
    """
    done = False
    for turns in (*range(MOST_TURNS), None):
        try:
            done, near, far = await cancelled_after(turns, call, beside, after)
            wire(near, far)
        except BaseException as exc:
            exc.add_note(f"cancelled after {turns} turns")
            raise
        assert turns != 0 or not done
        if done:
            return
    assert done


async def test_open_stream() -> None:
    async def call(stage: Stage) -> None:
        (await stage.dialed.open_stream()).reset()

    def wire(near: list[Frame], far: list[Frame]) -> None:
        # It was reset before its SYN went out, or it never was.
        assert not frames_seen.of(near, 9)

    async def after(stage: Stage) -> None:
        assert stage.dialed.statistics().live_streams == 1

    await every_turn(call, after=after, wire=wire)


async def test_accept_stream_hands_off_once() -> None:
    accepted: list[muxado.Stream] = []

    async def call(stage: Stage) -> None:
        accepted.append(await stage.dialed.accept_stream())

    async def beside(stage: Stage) -> None:
        accepted.clear()
        stream = await stage.accepted.open_stream()
        await stream.send(b"x")

    async def after(stage: Stage) -> None:
        await all_tasks_blocked()
        if not accepted:
            await call(stage)
        assert await accepted[0].receive() == b"x"
        accepted[0].reset()
        await all_tasks_blocked()

    await every_turn(call, beside=beside, after=after)


async def reading(stage: Stage) -> None:
    stage.got += await receive_all(stage.far_stream)


@pytest.mark.parametrize("size", [1, len(DATA)])
async def test_send_leaves_a_prefix(size: int) -> None:
    async def call(stage: Stage) -> None:
        await stage.stream.send(DATA[:size])

    async def after(stage: Stage) -> None:
        await stage.stream.send_eof()
        await all_tasks_blocked()
        assert DATA[:size].startswith(bytes(stage.got))
        assert not stage.done or len(stage.got) == size

    def wire(near: list[Frame], far: list[Frame]) -> None:
        first, *rest, last = frames_seen.of(near, 3)
        assert {one.flags for one in rest} <= {0}
        assert (first.flags, last.flags) == (frames_seen.SYN, frames_seen.FIN)
        sent = frames_seen.payload(near, 3)
        assert sent[:5] == b"hello"
        assert DATA[:size].startswith(sent[5:])

    await every_turn(call, beside=reading, after=after, wire=wire)


async def test_a_send_that_is_cancelled_while_it_is_blocked_takes_back_the_rest() -> None:
    async def call(stage: Stage) -> None:
        await stage.stream.send(DATA)
        pytest.fail("nobody reads")

    for turns in (50, 100):

        async def after(stage: Stage) -> None:
            await stage.stream.send(b"end")
            await stage.stream.send_eof()
            data = await receive_all(stage.far_stream)
            assert data[-3:] == b"end"
            # Only what was in frames already was sent of it; that is what the window let through.
            assert data[:-3] == DATA[: 8192 - 5]

        await cancelled_after(turns, call, nothing, after)


async def test_receive_loses_nothing() -> None:
    async def call(stage: Stage) -> None:
        stage.got += await stage.stream.receive(3)
        stage.got += await stage.stream.receive()

    async def beside(stage: Stage) -> None:
        for piece in (b"ab", b"cdefg", b"hij"):
            await stage.far_stream.send(piece)
            await checkpoint()
        await stage.far_stream.send_eof()

    async def after(stage: Stage) -> None:
        stage.got += await receive_all(stage.stream)
        assert stage.got == b"abcdefghij"

    await every_turn(call, beside=beside, after=after)


async def test_send_eof_sends_the_end_all_the_same() -> None:
    async def call(stage: Stage) -> None:
        await stage.stream.send_eof()

    async def after(stage: Stage) -> None:
        assert await receive_all(stage.far_stream) == b""

    def wire(near: list[Frame], far: list[Frame]) -> None:
        flags = [one.flags for one in frames_seen.of(near, 3)]
        assert (flags.count(frames_seen.FIN), flags[-1]) == (1, frames_seen.FIN)

    await every_turn(call, after=after, wire=wire)


async def test_a_streams_aclose_closes_all_the_same() -> None:
    async def call(stage: Stage) -> None:
        await stage.stream.aclose()

    async def after(stage: Stage) -> None:
        assert await receive_all(stage.far_stream) == b""
        await stage.far_stream.send(b"x")
        await all_tasks_blocked()
        with pytest.raises(muxado.StreamResetError):
            await stage.far_stream.send(b"x")

    await every_turn(call, after=after)


async def test_ping() -> None:
    async def call(stage: Stage) -> None:
        assert await stage.dialed.ping() >= 0

    await every_turn(call)


async def test_wait_leaves_the_session_alone() -> None:
    for turns in range(5):
        done, *_ = await cancelled_after(turns, lambda stage: stage.dialed.wait(), nothing, nothing)
        assert not done


def ends_with_a_goodbye(near: list[Frame], far: list[Frame]) -> None:
    goodbyes = [index for index, one in enumerate(near) if one.kind == "GOAWAY"]
    assert goodbyes
    for index in goodbyes:
        assert near[index + 1].kind == "PAD"
        assert near[index].code == ErrorCode.NO_ERROR


async def closed(stage: Stage) -> None:
    assert stage.dialed.closed
    await stage.dialed.wait()
    assert stage.transport.closed
    await stage.accepted.wait()
    with pytest.raises(muxado.SessionError) as info:
        await stage.dialed.open_stream()
    assert info.value.retry is muxado.Retry.NEVER_SENT


async def test_a_sessions_aclose_closes_all_the_same() -> None:
    async def call(stage: Stage) -> None:
        await stage.dialed.aclose()

    await every_turn(call, after=closed, wire=ends_with_a_goodbye)


async def test_drain_closes_all_the_same() -> None:
    async def beside(stage: Stage) -> None:
        with pytest.raises(anyio.EndOfStream):
            await stage.far_stream.receive()
        await stage.far_stream.aclose()

    async def drain(stage: Stage) -> None:
        async with create_task_group() as tasks:
            tasks.start_soon(stage.dialed.drain, 30)
            await stage.stream.send_eof()

    await every_turn(drain, beside=beside, after=closed, wire=ends_with_a_goodbye)


async def test_serve_cancels_its_handlers_and_resets_their_streams() -> None:
    async def handle(stream: muxado.Stream) -> None:
        await stream.send(b"working")
        await anyio.sleep(math.inf)

    for turns in range(40):

        async def call(stage: Stage) -> None:
            await stage.dialed.net_listener().serve(handle)

        async def beside(stage: Stage) -> None:
            stream = await stage.accepted.open_stream()
            await stream.send(b"x")
            try:
                assert await receive_exactly(stream, 7) == b"working"
                await stream.receive()
            except muxado.StreamResetError as exc:
                stage.got += b"%d" % exc.code
            finally:
                stream.reset()

        async def after(stage: Stage) -> None:
            await all_tasks_blocked()
            if stage.dialed.statistics().backlog:
                (await stage.dialed.accept_stream()).reset(ErrorCode.STREAM_CANCELLED)
                await all_tasks_blocked()
            assert stage.got == b"6"

        done, *_ = await cancelled_after(turns, call, beside, after)
        assert not done


@pytest.mark.parametrize("how", ["leave", "cancel"])
async def test_leaving_the_scope(how: str) -> None:
    """The block of ``client`` is left, normally or cancelled, and that is cancelled too."""
    through = False
    for turns in (*range(60), None):
        before = tasks_alive()
        near, far = map(Recorder, memory_transports(0))
        with fail_after(100):
            async with muxado.server(far, CONFIG) as accepted, create_task_group() as tasks:

                async def dial(transport: ByteStream) -> None:
                    nonlocal through
                    async with muxado.client(transport, CONFIG) as session:
                        stream = await session.open_stream()
                        await stream.send(b"hello")
                        if how == "cancel":
                            await anyio.sleep(math.inf)
                    through = True

                tasks.start_soon(dial, near)
                if turns is not None or how == "cancel":
                    for _ in range(MOST_TURNS if turns is None else turns):
                        await checkpoint()
                    tasks.cancel_scope.cancel()
            await accepted.wait()
        frames_seen.whole(bytes(near.sent))
        assert near.closed or not near.sent
        assert tasks_alive() == before
    assert through is (how == "leave")


async def outcome(call: Callable[[], Awaitable[object]], cancel_at: float) -> float:
    """Run ``call`` and cancel it from outside at a moment; when it was gone."""
    start = anyio.current_time()
    with anyio.move_on_at(start + cancel_at):
        await call()
    return anyio.current_time() - start


@pytest.mark.parametrize("cancel_at", [0, 0.1, 1, 4, 5.1])
async def test_a_session_that_cannot_flush_ends_in_bounded_time(cancel_at: float) -> None:
    # Its transport takes nothing, so each step of the goodbye runs into its limit.
    near, far = memory_transports(0)
    stuck = Stuck(near)
    session = None

    async def live() -> None:
        nonlocal session
        with suppress(muxado.UndeliveredError):  # unless it was cancelled before
            await close()

    async def close() -> None:
        nonlocal session
        async with muxado.client(stuck, CONFIG) as session:
            stream = await session.open_stream()
            stuck.hold()
            await stream.send(b"never")
            await stream.aclose()

    took = await outcome(live, cancel_at)
    assert session is None or session.closed
    assert took <= CONFIG.close_timeout + 2
    await far.aclose()


async def test_a_cancelled_block_does_not_wait_for_a_long_flush() -> None:
    near, far = memory_transports(0)
    stuck = Stuck(near)

    async def live() -> None:
        async with muxado.client(stuck, CONFIG) as session, create_task_group() as tasks:
            stream = await session.open_stream()
            stuck.hold()
            await stream.send(b"never")
            tasks.start_soon(anyio.sleep, math.inf)
            await anyio.sleep(math.inf)

    assert await outcome(live, 1) <= 1 + 2
    await far.aclose()


async def test_an_inner_cancellation_stays_inside() -> None:
    near, far = memory_transports()
    async with muxado.client(near) as session, muxado.server(far) as accepted:
        for _ in range(3):
            with CancelScope() as scope:
                scope.cancel()
                async with create_task_group() as tasks:
                    tasks.start_soon(session.accept_stream)
                    tasks.start_soon(session.ping)
            assert scope.cancelled_caught
        stream = await session.open_stream()
        await stream.send(b"x")
        kept = await accepted.accept_stream()
        assert await kept.receive() == b"x"


class TestEndpoints:
    """Dialing and listening, over real sockets; a leaked one is a warning, and so an error."""

    @pytest.fixture(params=["asyncio", "uvloop", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        if request.param == "trio":
            return "trio", {}
        return "asyncio", {"use_uvloop": request.param == "uvloop"}

    @pytest.mark.slow
    @pytest.mark.parametrize("transport", TRANSPORTS)
    async def test_connect_and_listen(self, transport: str, tmp_path: Path) -> None:
        before = tasks_alive()

        async def greet(session: muxado.Session) -> None:
            stream = await session.accept_stream()
            await stream.send(await stream.receive())
            await stream.aclose()
            await session.wait()

        async def handle(session: muxado.Session) -> None:
            with suppress(muxado.SessionError):  # the dialer was cancelled
                await greet(session)

        async def dial(there: Reachable) -> None:
            async with there.connect() as session:
                stream = await session.open_stream()
                await stream.send(b"hello")
                assert await receive_exactly(stream, 5) == b"hello"
                await stream.aclose()

        with fail_after(60):
            async with served(transport, handle, folder=tmp_path) as there:
                # A command that is cancelled while it starts is given a moment, so each takes one.
                for turns in range(0, 30, 6 if transport == "exec" else 1):
                    async with create_task_group() as tasks:
                        tasks.start_soon(dial, there)
                        for _ in range(turns):
                            await checkpoint()
                        tasks.cancel_scope.cancel()
                await dial(there)
        assert tasks_alive() == before

    @pytest.mark.slow
    @pytest.mark.parametrize("scheme", TCP_SCHEMES)
    async def test_serve(self, scheme: str) -> None:
        near_ssl, far_ssl = contexts_of(scheme)

        async def stay(session: muxado.Session) -> None:
            await anyio.sleep(math.inf)

        async def dial(url: str) -> None:
            with pytest.raises((OSError, muxado.SessionError)):
                async with muxado.connect(url, ssl_context=near_ssl) as session:
                    await session.accept_stream()

        for turns in range(30):
            with fail_after(20):
                async with (
                    muxado.listen(f"{scheme}://127.0.0.1:0", ssl_context=far_ssl) as listener,
                    create_task_group() as tasks,
                ):
                    tasks.start_soon(dial, listener.url)
                    async with create_task_group() as serving:
                        serving.start_soon(listener.serve, stay)
                        for _ in range(turns):
                            await checkpoint()
                        serving.cancel_scope.cancel()
                    await listener.aclose()

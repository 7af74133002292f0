"""Streams with metadata as applications see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import create_task_group, fail_after
from anyio.lowlevel import checkpoint

import muxado_py as muxado
from muxado_py import Config, PeerTimeoutError, Priority, Retry

from .. import virtual_time
from ..conftest import LINKS
from ..frames_seen import HELLO, wndinc
from ..scripted_peer import scripted

if TYPE_CHECKING:
    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

SAID = {"caller": b"[2001:db8::7]:4711", "name": b"blog", "x-of-an-application": b"\0\xff"}


@pytest.fixture(params=LINKS)
def carried_by(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


async def test_whoever_accepts_a_stream_has_it_at_once(session_pair: SessionPair) -> None:
    """Also in a session whose sides have said nothing yet."""
    async with session_pair() as sessions:
        for one, other in (sessions, sessions[::-1]):
            stream = await one.open_stream(metadata=SAID, priority=Priority(2))
            await stream.send(b"hello")
            accepted = await other.accept_stream()
            assert accepted.metadata == stream.metadata == SAID
            assert await accepted.receive() == b"hello"
            await accepted.aclose()
            await stream.aclose()
            assert accepted.metadata == SAID


async def test_a_stream_without_has_none(session_pair: SessionPair) -> None:
    async with (
        session_pair() as (dialed, accepted),
        await dialed.open_stream() as stream,
        await accepted.accept_stream() as far,
    ):
        assert stream.metadata == far.metadata == {}


async def test_nobody_changes_what_was_said(session_pair: SessionPair) -> None:
    said = dict(SAID)
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream(metadata=said)
        said.clear()
        async with stream, await accepted.accept_stream() as far:
            seen: Any = far.metadata
            seen.clear()
            assert stream.metadata == far.metadata == SAID


async def test_what_dials_says_it_too(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        near = await dialed.net_dial("app", 80, metadata=SAID)
        async with near, await accepted.accept_stream() as far:
            assert far.metadata == SAID
        with await dialed.dial_socket(metadata=SAID):
            async with await accepted.accept_stream() as far:
                assert far.metadata == SAID


async def test_what_need_not_wait_must_know_the_peer(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        await dialed.wait_for_peer()
        near = dialed.open_stream_nowait(metadata=SAID)
        async with near, await accepted.accept_stream() as far:
            assert far.metadata == SAID


async def test_what_cannot_be_said_is_refused_at_the_call(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, _):
        wrong: Any
        for wrong in ({"k": "text"}, {7: b""}, [("k", b"v")], 7):
            with pytest.raises(TypeError, match="metadata"):
                await dialed.open_stream(metadata=wrong)
        for wrong in ({"": b""}, {"two words": b""}, {"k": bytes(4093)}):
            with pytest.raises(ValueError, match="metadata"):
                await dialed.open_stream(metadata=wrong)
        assert dialed.statistics().live_streams == 0


async def test_a_handler_has_it(session_pair: SessionPair) -> None:
    async def handle(stream: muxado.Stream) -> None:
        async with stream:
            await stream.send(stream.metadata["name"])

    async with session_pair() as (dialed, accepted), create_task_group() as serving:
        serving.start_soon(accepted.net_listener().serve, handle)
        for name in (b"blog", b"ssh"):
            async with await dialed.open_stream(metadata={"name": name}) as stream:
                assert await stream.receive() == name
        serving.cancel_scope.cancel()


@pytest.mark.parametrize("wire", ["yamux", "smux1", "smux2", "muxado1"])
async def test_another_wire_says_at_once_that_it_cannot(
    wire: str, session_pair: SessionPair
) -> None:
    async with session_pair(Config(wire=wire)) as (dialed, accepted):
        with fail_after(20), pytest.raises(NotImplementedError, match=f"the {wire} wire"):
            await dialed.open_stream(metadata=SAID)
        async with await dialed.open_stream(metadata={}):
            pass
        await (await accepted.accept_stream()).aclose()


class TestInTime:
    """With a peer that the test plays."""

    @pytest.fixture(params=virtual_time.BACKENDS)
    def anyio_backend(self, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        return virtual_time.backend(request.param)

    async def test_a_peer_that_has_not_spoken_is_waited_for(self) -> None:
        opened = anyio.Event()

        async def open_one(session: muxado.Session) -> None:
            async with await session.open_stream(metadata=SAID):
                opened.set()

        async with scripted() as (session, peer):
            with pytest.raises(NotImplementedError, match="has not said yet"):
                session.open_stream_nowait(metadata=SAID)
            async with create_task_group() as tasks:
                tasks.start_soon(open_one, session)
                await anyio.sleep(1)
                assert not opened.is_set()
                await peer.say(HELLO)
                await opened.wait()
            assert (await peer.expect("OPEN", 3)).body

    async def test_it_is_not_waited_for_for_ever(self) -> None:
        async with scripted(Config(recognize_timeout=3, heartbeat_interval=None)) as (session, _):
            began = anyio.current_time()
            with pytest.raises(PeerTimeoutError) as info:
                await session.open_stream(metadata=SAID)
            assert anyio.current_time() - began == pytest.approx(3)
            assert info.value.retry is Retry.NEVER_SENT
            assert isinstance(info.value, OSError)
            assert not session.closed

    async def test_what_is_wrong_already_is_not_waited_with(self) -> None:
        """Whatever the peer turns out to be."""
        wrong: Any = {"k": "text"}
        async with scripted() as (session, _):
            began = anyio.current_time()
            with pytest.raises(TypeError, match="metadata"):
                await session.open_stream(metadata=wrong)
            with pytest.raises(ValueError, match="visible ASCII"):
                await session.open_stream(metadata={"two words": b""})
            session.go_away()
            with pytest.raises(muxado.GoneAwayError) as info:
                await session.open_stream(metadata=SAID)
            assert info.value.retry is Retry.NEVER_SENT
            assert anyio.current_time() == began

    async def test_a_peer_that_turns_out_to_be_another_is_told_nothing(self) -> None:
        async with scripted() as (session, peer):
            await peer.say(wndinc(99, 1))  # as Go might begin
            with pytest.raises(NotImplementedError, match="no muxado_py"):
                await session.open_stream(metadata=SAID)
            with pytest.raises(NotImplementedError, match="no muxado_py"):
                session.open_stream_nowait(metadata=SAID)
            async with await session.open_stream():
                await peer.expect("DATA", 3)
            assert all(frame.kind != "OPEN" for frame in peer.seen)

    async def test_a_session_that_ends_meanwhile_has_sent_nothing(self) -> None:
        async with scripted() as (session, peer):
            errors: list[muxado.MuxadoError] = []

            async def open_one() -> None:
                try:
                    await session.open_stream(metadata=SAID)
                except muxado.MuxadoError as exc:
                    errors.append(exc)

            async with create_task_group() as tasks:
                tasks.start_soon(open_one)
                await anyio.sleep(1)
                await peer.transport.aclose()
            (error,) = errors
            assert isinstance(error, muxado.SessionError)
            assert error.retry is Retry.NEVER_SENT

    async def test_who_is_cancelled_meanwhile_has_opened_nothing(self) -> None:
        async with scripted() as (session, peer):
            with anyio.move_on_after(1):
                await session.open_stream(metadata=SAID)
            await peer.say(HELLO)
            await session.wait_for_peer()
            await checkpoint()
            assert session.statistics().live_streams == 0

"""How an application ends a stream, and whether it may say elsewhere what it said there: at any time, and for good.

The property is that of ``tests/test_retry.py``, by the calls of an application: what was told safe was taken by nobody,
wherever a cancellation or a deadline comes, and however the stream is given up then.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import CancelScope, EndOfStream, create_task_group, fail_after
from anyio.lowlevel import checkpoint

import muxado_py as muxado
from muxado_py import Config, ErrorCode, Retry
from muxado_py.frames import WIRES

from .. import virtual_time
from ..check_byte_stream import receive_all, receive_exactly
from ..frames_seen import HELLO, data, frame, rst
from ..helpers.blocked import all_tasks_blocked
from ..scripted_peer import scripted
from ..transports import Recorder, Stuck, memory_transports

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

wires = pytest.mark.parametrize("wire", WIRES)
KIB = 1024


# The verdict of a stream, at any time.


@wires
async def test_a_stream_says_at_any_time_whether_it_may_be_sent_again(
    session_pair: SessionPair, wire: str
) -> None:
    async with session_pair(Config(wire=wire)) as (dialed, accepted):
        stream = await dialed.open_stream()
        seen = [stream.retry]
        await stream.send(b"question")
        seen.append(stream.retry)  # nothing has left yet
        far = await accepted.accept_stream()
        seen.append(stream.retry)
        await far.send(b"answer")
        assert far.retry is Retry.UNKNOWN  # of what the peer opened this side knows nothing
        await receive_exactly(stream, 6)
        seen.append(stream.retry)
        await stream.aclose()
        seen.append(stream.retry)
        assert seen == [
            *(Retry.NEVER_SENT, Retry.NEVER_SENT, Retry.UNKNOWN),
            *(Retry.PROCESSED, Retry.PROCESSED),
        ]
        far.reset()


@wires
async def test_who_gives_up_before_anything_has_left_may_send_it_elsewhere(
    session_pair: SessionPair, wire: str
) -> None:
    async with session_pair(Config(wire=wire)) as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"question")
        stream.reset()
        assert stream.retry is Retry.NEVER_SENT
        with suppress(LookupError):
            async with await dialed.open_stream() as other:
                await other.send(b"question")
                raise LookupError
        assert other.retry is Retry.NEVER_SENT
        third = await dialed.open_stream()
        await third.send(b"the only one")
        assert await receive_exactly(await accepted.accept_stream(), 12) == b"the only one"
        assert {stream.retry, other.retry} == {Retry.NEVER_SENT}
        third.reset()


@wires
async def test_what_is_closed_may_go_out_after_all(session_pair: SessionPair, wire: str) -> None:
    async with session_pair(Config(wire=wire)) as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"question")
        stream.close()
        assert stream.retry is Retry.UNKNOWN
        assert await (await accepted.accept_stream()).receive() == b"question"
        assert stream.retry is Retry.UNKNOWN


@wires
async def test_what_is_closed_and_cannot_go_out_any_more_was_never_sent(wire: str) -> None:
    near, far = memory_transports()
    stuck = Stuck(near)
    stuck.hold()
    async with muxado.client(stuck, Config(wire=wire, close_timeout=0.01)) as session:
        first = await session.open_stream()
        await first.send(b"in the way")
        await all_tasks_blocked()
        stream = await session.open_stream()
        await stream.send(b"question")
        stream.close()
        said = [stream.retry]
        session.abort()
        said.append(stream.retry)
        assert said == [Retry.UNKNOWN, Retry.NEVER_SENT]
        assert first.retry is Retry.UNKNOWN
        with pytest.raises(muxado.MuxadoError):
            await first.receive()
    await anyio.aclose_forcefully(far)


async def test_a_refusal_shows_without_a_call(session_pair: SessionPair) -> None:
    async with session_pair(None, Config(max_streams=0)) as (dialed, _):
        stream = await dialed.open_stream()
        await stream.send(b"question")
        await dialed.ping()
        assert stream.retry is Retry.REFUSED
        stream.reset()
        assert stream.retry is Retry.REFUSED


class TestDeadlines:
    """On virtual clocks."""

    @pytest.fixture(params=virtual_time.BACKENDS)
    def anyio_backend(self, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        return virtual_time.backend(request.param)

    @wires
    async def test_a_deadline_does_not_lose_the_verdict(self, wire: str) -> None:
        """The peer takes nothing, and others are ahead: nothing of the call has left when its time is over."""
        near, far = memory_transports(1)
        config = Config(wire=wire, heartbeat_interval=None, write_timeout=1000)
        async with muxado.client(near, config) as session:
            bulk = [await session.open_stream() for _ in range(80)]
            for stream in bulk:
                stream.send_nowait(bytes(32 * KIB))
            await all_tasks_blocked()
            call: muxado.Stream | None = None
            with pytest.raises(TimeoutError), fail_after(0.5):
                async with await session.open_stream() as call:
                    await call.send(b"question" * 8 * KIB)
                    await call.receive()
            assert call is not None
            assert call.retry is Retry.NEVER_SENT
            assert call.id is None

            seen: set[int | None] = set()

            async def accept() -> None:
                async with muxado.server(far, config) as accepted:
                    with suppress(muxado.MuxadoError):
                        while True:
                            stream = await accepted.accept_stream()
                            seen.add(stream.id)
                            tasks.start_soon(receive_all, stream)

            async with create_task_group() as tasks:
                tasks.start_soon(accept)
                for stream in bulk:
                    stream.close()
                await session.aclose()
            assert len(seen) == 80
            assert call.retry is Retry.NEVER_SENT


# Given up at every point.


GIVEN_UP: dict[str, Callable[[muxado.Stream], None]] = {
    "block": lambda stream: None,  # it is left by the exception
    "reset": lambda stream: stream.reset(),
    "close": lambda stream: stream.close(),
}


class Run:
    """Three calls, given up after so many turns, and a peer that takes what comes.

    :param turns: 0: each call is given up in the turn in which it gets its stream.
    :ivar taken: ids of the streams that its application took, but for those that it gave back.
    :ivar told: each call's stream, and what it said when it was given up.
    """

    def __init__(self, wire: str, turns: int, how: str) -> None:
        self._turns = turns
        self._how = how
        self._config = Config(wire=wire, max_streams=3, accept_backlog=2, heartbeat_interval=None)
        self.taken: set[int | None] = set()
        self.told: list[tuple[muxado.Stream, Retry]] = []

    async def play(self) -> None:
        near, far = memory_transports(0)
        with fail_after(300):
            async with (
                muxado.client(Recorder(near), self._config) as dialed,
                muxado.server(far, self._config) as accepted,
                create_task_group() as serving,
            ):
                serving.start_soon(self._accept, accepted)
                ahead = await dialed.open_stream()
                ahead.send_nowait(bytes(40 * KIB))
                async with create_task_group() as calling:
                    for _ in range(3):
                        calling.start_soon(self._call, dialed)
                    if self._turns:
                        for _ in range(self._turns):
                            await checkpoint()
                        calling.cancel_scope.cancel()
                ahead.reset()
                # Whatever is still on its way arrives.
                await all_tasks_blocked()
                serving.cancel_scope.cancel()
        for stream, said in self.told:
            assert stream.retry is said or not said.safe
            if said is Retry.NEVER_SENT:
                assert stream.id is None
            if said.safe or stream.retry.safe:
                assert stream.id not in self.taken, f"{said}, and was taken"

    async def _call(self, session: muxado.Session) -> None:
        stream = await session.open_stream(timeout=None)
        with CancelScope() as asking:
            if not self._turns:
                asking.cancel()
            try:
                if self._how == "block":
                    async with stream:
                        await self._ask(stream)
                else:
                    await self._ask(stream)
            finally:
                GIVEN_UP[self._how](stream)
                self.told.append((stream, stream.retry))

    async def _ask(self, stream: muxado.Stream) -> None:
        with suppress(EndOfStream, muxado.StreamError):
            await stream.send(b"question")
            await stream.receive()

    async def _accept(self, session: muxado.Session) -> None:
        number = 0
        async with create_task_group() as tasks:
            while True:
                try:
                    stream = await session.accept_stream()
                except muxado.MuxadoError:
                    return
                number += 1
                tasks.start_soon(self._serve, stream, number)

    async def _serve(self, stream: muxado.Stream, number: int) -> None:
        self.taken.add(stream.id)
        async with stream:
            with suppress(EndOfStream, muxado.MuxadoError):
                await stream.receive()
                if number % 2:
                    with suppress(NotImplementedError):
                        stream.refuse()
                        self.taken.discard(stream.id)
                        return
                await stream.send(b"answer")


class TestGivenUp:
    """Of two loops the clock is virtual: a thousand sessions are closed here."""

    @pytest.fixture(params=[*virtual_time.BACKENDS, "uvloop"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        if request.param == "uvloop":
            return "asyncio", {"use_uvloop": True}
        return virtual_time.backend(request.param)

    @pytest.mark.slow
    @wires
    @pytest.mark.parametrize("how", GIVEN_UP)
    async def test_what_was_told_safe_was_taken_by_nobody(
        self, wire: str, how: str, anyio_backend: tuple[str, dict[str, Any]]
    ) -> None:
        told: set[Retry] = set()
        is_real = "use_uvloop" in anyio_backend[1]  # and each close takes its time
        # Tasks run in random order on Trio: now and then all that is said leaves before it is given up.
        for _ in range(1 if how == "close" else 10):
            for turns in (0, 2, 4, 8, 30) if is_real else range(40):
                run = Run(wire, turns, how)
                await run.play()
                told.update(said for _, said in run.told)
            if Retry.NEVER_SENT in told:
                break
        assert is_real or {Retry.UNKNOWN, Retry.PROCESSED} <= told
        assert (Retry.NEVER_SENT in told) is (how != "close")


# A stream that was accepted, and is given back.


@pytest.mark.parametrize("looked_at", ["nothing", "a part", "all", "the end", "more than a window"])
async def test_a_stream_of_which_nothing_was_done_is_given_back(
    session_pair: SessionPair, looked_at: str
) -> None:
    async with session_pair() as (dialed, accepted):
        ours = await dialed.open_stream()
        await ours.send(b"question")
        theirs = await accepted.accept_stream()
        if looked_at == "a part":
            await theirs.receive(3)
        elif looked_at == "all":
            await theirs.receive()
        elif looked_at == "the end":
            await ours.send_eof()
            assert await receive_all(theirs) == b"question"
        elif looked_at == "more than a window":
            async with create_task_group() as tasks:
                tasks.start_soon(ours.send, bytes(1024 * KIB))
                await receive_exactly(theirs, 8 + 1024 * KIB)
        theirs.refuse()
        theirs.refuse()
        with pytest.raises(muxado.StreamRefusedError) as refused:
            await ours.receive()
        assert (refused.value.retry, refused.value.code) == (
            Retry.REFUSED,
            ErrorCode.STREAM_REFUSED,
        )
        assert ours.retry is Retry.REFUSED
        with pytest.raises(muxado.StreamClosedError):
            await theirs.receive()


async def test_whoever_waits_on_a_stream_that_is_given_back_is_told(
    session_pair: SessionPair,
) -> None:
    failures: list[type[Exception]] = []

    async def wait(call: Callable[..., Any], *args: Any) -> None:
        try:
            await call(*args)
        except muxado.MuxadoError as exc:
            failures.append(type(exc))

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        ours = await dialed.open_stream()
        tasks.start_soon(wait, ours.send, bytes(4096 * KIB))
        theirs = await accepted.accept_stream()
        await receive_exactly(theirs, 1024)
        await all_tasks_blocked()
        theirs.refuse()
        await all_tasks_blocked()
        assert failures == [muxado.StreamRefusedError]

        ours = await dialed.open_stream()
        theirs = await accepted.accept_stream()
        tasks.start_soon(wait, theirs.receive)
        await all_tasks_blocked()
        theirs.refuse()
        await all_tasks_blocked()
        assert failures[1:] == [muxado.StreamClosedError]
        with pytest.raises(muxado.StreamRefusedError):
            await ours.receive()


@pytest.mark.parametrize("answered", ["a byte", "its end", "closed"])
async def test_what_was_answered_cannot_be_given_back(
    session_pair: SessionPair, answered: str
) -> None:
    async with session_pair() as (dialed, accepted):
        ours = await dialed.open_stream()
        await ours.send(b"question")
        with pytest.raises(ValueError, match="only an accepted stream"):
            ours.refuse()
        theirs = await accepted.accept_stream()
        if answered == "a byte":
            await theirs.send(b"!")
        elif answered == "its end":
            await theirs.send_eof()
        else:
            await theirs.aclose()
        with pytest.raises(ValueError, match="nothing was sent yet"):
            theirs.refuse()
        ours.reset()
        theirs.reset()


@pytest.mark.parametrize(
    ("before", "verdict"),
    [
        (frame("WNDINC", 3, (1).to_bytes(4, "big")), Retry.REFUSED),
        (data(3, fin=True), Retry.UNKNOWN),
        (data(3, b"!"), Retry.PROCESSED),
    ],
    ids=["credit", "end", "byte"],
)
async def test_a_refusal_is_believed_behind_credit_and_not_behind_an_answer(
    before: bytes, verdict: Retry
) -> None:
    async with scripted() as (session, peer):
        await peer.say(HELLO)
        stream = await session.open_stream()
        await stream.send(b"question")
        await peer.expect("DATA", 3)
        await peer.say(before, rst(3, ErrorCode.STREAM_REFUSED))
        await all_tasks_blocked()
        assert stream.retry is verdict
        assert not session.closed
        stream.reset()


@pytest.mark.parametrize("wire", [wire for wire in WIRES if wire != "muxado"])
async def test_a_peer_that_would_not_believe_a_refusal_is_not_told_one(
    session_pair: SessionPair, wire: str
) -> None:
    async with session_pair(Config(wire=wire)) as (dialed, accepted):
        ours = await dialed.open_stream()
        await ours.send(b"question")
        theirs = await accepted.accept_stream()
        with pytest.raises(NotImplementedError, match="reset it"):
            theirs.refuse()
        assert await theirs.receive() == b"question"  # nothing has changed

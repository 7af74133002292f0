"""Who waits for a slot of a session: in the order in which they came, one for each slot, and none that is lost."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import CancelScope, create_task_group, fail_after
from hypothesis import given, settings
from hypothesis import strategies as st

import muxado_py as muxado
from muxado_py import Config, Retry
from muxado_py.frames import WIRES
from muxado_py.protocol.opening import UNTOLD_STREAMS
from muxado_py.runtime.checkpoints import current_backend, current_task
from muxado_py.session.slots import Claim

from .. import virtual_time
from ..check_byte_stream import receive_all
from ..frames_seen import data
from ..helpers.blocked import all_tasks_blocked, until
from ..helpers.inside import begin_with_ids
from ..helpers.wake_ups import wake_ups
from ..scripted_peer import keeping, scripted
from ..transports import memory_transports

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

BACKENDS = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}
wires = pytest.mark.parametrize("wire", WIRES)


class Opener:
    """A task that waits for a slot.

    :ivar stream: what it has opened.
    :ivar failure: why it has not.
    """

    def __init__(self, session: muxado.Session, tasks: TaskGroup, **options: Any) -> None:
        self._session = session
        self._options = {"timeout": None, **options}
        self._scope = CancelScope()
        self._task: Any = None
        self.waits = True
        self.over = anyio.Event()
        self.stream: muxado.Stream | None = None
        self.failure: muxado.MuxadoError | None = None
        tasks.start_soon(self.run)

    async def run(self) -> None:
        self._task = current_task()
        try:
            with self._scope:
                self.stream = await self._session.open_stream(**self._options)
        except muxado.MuxadoError as exc:
            self.failure = exc
        except BaseException:
            if self._task is None or self._scope.cancel_called:
                raise
        finally:
            self.waits = False
            self.over.set()

    def cancel(self, *, by_name: bool = False) -> None:
        """By its scope, or as asyncio cancels a task."""
        if by_name and self._task is not None:
            self._task.cancel()
        else:
            self._scope.cancel()


async def waiting(session: muxado.Session, tasks: TaskGroup, count: int) -> list[Opener]:
    """Tasks that wait, in this order."""
    begun = []
    for _ in range(count):
        begun.append(Opener(session, tasks))
        await all_tasks_blocked()
    assert all(one.waits for one in begun)
    return begun


# In order, and one for each slot.


@wires
async def test_whoever_waits_is_next_when_a_stream_is_over(
    session_pair: SessionPair, wire: str
) -> None:
    config = Config(wire=wire, max_open_streams=2)
    async with session_pair(config) as (dialed, accepted), create_task_group() as tasks:
        tasks.start_soon(accepted.net_listener().serve, receive_all)
        open_streams = [await dialed.open_stream() for _ in range(2)]
        openers = await waiting(dialed, tasks, 3)
        for number, opener in enumerate(openers):
            await open_streams.pop(0).aclose()
            with fail_after(20):
                await opener.over.wait()
            assert opener.stream is not None
            open_streams.append(opener.stream)
            assert [one.waits for one in openers] == [place > number for place in range(3)]
        for stream in open_streams:
            stream.reset()
        tasks.cancel_scope.cancel()


async def test_one_slot_wakes_one_of_a_thousand(session_pair: SessionPair) -> None:
    async with session_pair(Config(max_open_streams=1)) as (dialed, _):
        async with create_task_group() as tasks:
            stream: muxado.Stream | None = await dialed.open_stream()
            had: list[muxado.Stream | None] = []
            openers = [Opener(dialed, tasks) for _ in range(1000)]
            await all_tasks_blocked()
            with wake_ups("slots") as woken:
                for _ in range(3):
                    assert stream is not None
                    stream.reset()
                    await all_tasks_blocked()
                    [stream] = [one.stream for one in openers if one.stream not in (None, *had)]
                    had.append(stream)
                await dialed.ping()
                await all_tasks_blocked()
            assert len(woken) == 3
            assert len(dialed.slots) == 997
            tasks.cancel_scope.cancel()
        assert len(dialed.slots) == 0
        assert stream is not None
        stream.reset()


async def test_nobody_takes_a_slot_that_is_kept_for_another(session_pair: SessionPair) -> None:
    async with (
        session_pair(Config(max_open_streams=1)) as (dialed, _),
        create_task_group() as tasks,
    ):
        stream = await dialed.open_stream()
        [opener] = await waiting(dialed, tasks, 1)
        stream.reset()
        with pytest.raises(muxado.StreamLimitError):
            dialed.open_stream_nowait()
        assert not dialed.slots.is_free
        await all_tasks_blocked()
        assert opener.stream is not None
        opener.stream.reset()
        assert dialed.slots.is_free


@pytest.mark.parametrize("by_name", [False, True])
async def test_who_is_cancelled_with_a_slot_passes_it_on(
    session_pair: SessionPair, *, by_name: bool
) -> None:
    async with (
        session_pair(Config(max_open_streams=1)) as (dialed, _),
        create_task_group() as tasks,
    ):
        stream = await dialed.open_stream()
        openers = await waiting(dialed, tasks, 2)
        stream.reset()
        openers[0].cancel(by_name=by_name)
        await all_tasks_blocked()
        # A scope lets a task go on that was woken before, and so does trio: it has the stream then.
        passed_on = by_name and current_task() is not None
        assert [one.stream is not None for one in openers] == [not passed_on, passed_on]
        for one in openers:
            if one.stream is not None:
                one.stream.reset()
        await all_tasks_blocked()
        if openers[1].stream is not None:
            openers[1].stream.reset()


async def test_who_gives_up_leaves_the_slot_to_those_behind(session_pair: SessionPair) -> None:
    async with (
        session_pair(Config(max_open_streams=1)) as (dialed, _),
        create_task_group() as tasks,
    ):
        stream = await dialed.open_stream()
        openers = await waiting(dialed, tasks, 3)
        openers[0].cancel()
        await all_tasks_blocked()
        stream.reset()
        await all_tasks_blocked()
        assert [one.stream is None for one in openers] == [True, False, True]
        assert openers[1].stream is not None
        openers[1].stream.reset()
        await all_tasks_blocked()
        assert openers[2].stream is not None
        openers[2].stream.reset()


async def test_thousands_of_calls_at_once_all_get_their_turn() -> None:
    answers = 0

    async def echo(stream: muxado.Stream) -> None:
        async with stream:
            await stream.send(await receive_all(stream))

    async def call(session: muxado.Session, number: int) -> None:
        nonlocal answers
        async with await session.open_stream(timeout=None) as stream:
            await stream.send(b"%d" % number)
            await stream.send_eof()
            assert await receive_all(stream) == b"%d" % number
            answers += 1

    near, far = memory_transports()
    async with (
        muxado.client(near) as dialed,
        muxado.server(far) as accepted,
        create_task_group() as serving,
    ):
        serving.start_soon(accepted.net_listener().serve, echo)
        async with create_task_group() as callers:
            for number in range(2500):  # from the first moment on: the limit is not told yet
                callers.start_soon(call, dialed, number)
        serving.cancel_scope.cancel()
    assert answers == 2500


# What they wait for.


async def test_a_limit_that_the_peer_has_not_told_yet_is_waited_for() -> None:
    async with scripted() as (session, peer), keeping(peer), create_task_group() as tasks:
        openers = [Opener(session, tasks) for _ in range(UNTOLD_STREAMS + 2)]
        await all_tasks_blocked()
        assert sum(one.waits for one in openers) == 2
        await peer.say(data(2, b"x", syn=True))  # so it is no muxado_py, and will not tell any
        await all_tasks_blocked()
        assert not any(one.waits for one in openers)
        tasks.cancel_scope.cancel()


async def test_a_limit_that_the_peer_tells_holds_from_then_on(session_pair: SessionPair) -> None:
    most = UNTOLD_STREAMS + 20
    async with (
        session_pair(None, Config(max_streams=most)) as (dialed, accepted),
        create_task_group() as tasks,
    ):
        openers = [Opener(dialed, tasks) for _ in range(most + 5)]
        await dialed.ping()
        await all_tasks_blocked()
        assert sum(one.waits for one in openers) == 5
        assert accepted.statistics().peer_streams == most
        tasks.cancel_scope.cancel()


async def test_a_yamux_peer_is_asked_for_no_more_than_it_may_leave_unacknowledged(
    session_pair: SessionPair,
) -> None:
    async with (
        session_pair(Config(wire="yamux")) as (dialed, accepted),
        create_task_group() as tasks,
    ):
        openers = [Opener(dialed, tasks) for _ in range(258)]
        await all_tasks_blocked()
        assert sum(one.waits for one in openers) == 2
        first = await accepted.accept_stream()
        await all_tasks_blocked()
        assert sum(one.waits for one in openers) == 1
        first.reset()
        tasks.cancel_scope.cancel()


# What ends it.


@pytest.fixture
def ends_by() -> dict[str, tuple[type[muxado.SessionError], Any]]:
    return {
        "go_away": (muxado.GoneAwayError, lambda near, far: near.go_away()),
        "peer goes away": (muxado.GoneAwayError, lambda near, far: far.go_away()),
        "abort": (muxado.SessionClosedError, lambda near, far: near.abort()),
        "peer aborts": (muxado.SessionError, lambda near, far: far.abort()),
    }


@pytest.mark.parametrize("end", ["go_away", "peer goes away", "abort", "peer aborts"])
async def test_everybody_who_waits_learns_of_the_end(
    session_pair: SessionPair, end: str, ends_by: dict[str, Any]
) -> None:
    kind, act = ends_by[end]
    async with (
        session_pair(Config(max_open_streams=1)) as (dialed, accepted),
        create_task_group() as tasks,
    ):
        stream = await dialed.open_stream()
        await stream.send(b"x")
        far = await accepted.accept_stream()
        openers = await waiting(dialed, tasks, 3)
        act(dialed, accepted)
        await until(lambda: not any(one.waits for one in openers))
        for one in openers:
            assert isinstance(one.failure, kind)
            assert one.failure.retry is Retry.NEVER_SENT
        stream.reset()
        far.reset()


@wires
async def test_the_end_of_the_transport_ends_the_wait(wire: str) -> None:
    near, far = memory_transports()
    async with muxado.client(near, Config(wire=wire, max_open_streams=1)) as session:
        async with create_task_group() as tasks:
            stream = await session.open_stream()
            await stream.send(b"x")
            [opener] = await waiting(session, tasks, 1)
            await anyio.aclose_forcefully(far)
            await until(lambda: not opener.waits)
            assert opener.failure is not None
            assert opener.failure.retry is Retry.NEVER_SENT
        with suppress(muxado.MuxadoError):
            await session.aclose()


@pytest.mark.parametrize("wire", [name for name in WIRES if WIRES[name].traits.has_reset])
async def test_ids_that_are_used_up_are_not_waited_for(
    wire: str, session_pair: SessionPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = WIRES[wire](client=True).max_id
    first = WIRES[wire](client=True).first_id
    begin_with_ids(monkeypatch, wire, client=last - (last - first) % 2 - 2, server=2)
    async with (
        session_pair(Config(wire=wire, max_open_streams=1)) as (dialed, _),
        create_task_group() as tasks,
    ):
        stream = await dialed.open_stream()
        openers = await waiting(dialed, tasks, 2)
        await stream.send(b"x")
        await all_tasks_blocked()
        stream.reset()
        await all_tasks_blocked()
        second = openers[0].stream
        assert second is not None
        await second.send(b"x")
        await all_tasks_blocked()
        with pytest.raises(muxado.StreamLimitError, match="ids of this session are used up"):
            await dialed.open_stream(timeout=None)
        second.reset()
        await all_tasks_blocked()
        assert isinstance(openers[1].failure, muxado.StreamLimitError)


async def test_what_cannot_be_opened_anyway_does_not_wait(session_pair: SessionPair) -> None:
    async with session_pair(Config(max_open_streams=1, wire="yamux")) as (dialed, _):
        stream = await dialed.open_stream()
        with fail_after(20):
            with pytest.raises(TypeError, match="Priority"):
                await dialed.open_stream(priority=3, timeout=None)  # type: ignore[arg-type]
            with pytest.raises(NotImplementedError, match="metadata"):
                await dialed.open_stream(metadata={"a": b"b"}, timeout=None)
            with pytest.raises(ValueError, match="timeout"):
                await dialed.open_stream(timeout=-1)
            with pytest.raises(TypeError, match="timeout"):
                await dialed.open_stream(timeout="1")  # type: ignore[arg-type]
        stream.reset()


# Time.


class TestTime:
    """What is about time, on virtual clocks."""

    @pytest.fixture(params=virtual_time.BACKENDS)
    def anyio_backend(self, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        return virtual_time.backend(request.param)

    async def test_nobody_waits_longer_than_he_wants(self, session_pair: SessionPair) -> None:
        async with session_pair(Config(max_open_streams=1)) as (dialed, _):
            stream = await dialed.open_stream()
            began = anyio.current_time()
            with pytest.raises(
                muxado.StreamLimitError, match=r"no slot was free in 2\.5 s: .*max_open_streams, 1"
            ) as info:
                await dialed.open_stream(timeout=2.5)
            assert anyio.current_time() - began == pytest.approx(2.5)
            assert info.value.retry is Retry.NEVER_SENT
            assert len(dialed.slots) == 0
            stream.reset()
            (await dialed.open_stream(timeout=2.5)).reset()

    async def test_a_peer_that_says_nothing_has_no_limit_in_the_end(self) -> None:
        async with (
            scripted(Config(recognize_timeout=7, heartbeat_interval=None)) as (
                session,
                peer,
            ),
            keeping(peer),
            create_task_group() as tasks,
        ):
            began = anyio.current_time()
            openers = [Opener(session, tasks) for _ in range(UNTOLD_STREAMS + 1)]
            await all_tasks_blocked()
            with pytest.raises(muxado.StreamLimitError, match="has not said how many"):
                await session.open_stream(timeout=3)
            for one in openers:
                await one.over.wait()
            assert anyio.current_time() - began == pytest.approx(7, abs=0.3)
            tasks.cancel_scope.cancel()


# In several sessions at once.


async def test_a_claim_waits_in_several_sessions_and_takes_the_first_slot() -> None:
    new_waiter = current_backend().new_waiter
    config = Config(max_open_streams=1)
    ends = [memory_transports() for _ in range(2)]
    async with (
        muxado.client(ends[0][0], config) as one,
        muxado.server(ends[0][1]),
        muxado.client(ends[1][0], config) as other,
        muxado.server(ends[1][1]),
    ):
        streams = [await session.open_stream() for session in (one, other)]
        claims = [Claim(new_waiter) for _ in range(2)]
        for claim in claims:
            for session in (one, other):
                claim.join(session.slots)
                claim.join(session.slots)
        assert (len(one.slots), len(other.slots)) == (2, 2)
        streams[1].reset()
        with fail_after(20):
            await claims[0].wait()
        assert [claim.has_slot for claim in claims] == [True, False]
        assert (len(one.slots), len(other.slots)) == (1, 1)
        with pytest.raises(muxado.StreamLimitError):
            other.open_stream_nowait()
        assert claims[0].take() is other.slots
        streams[1] = other.open_stream_nowait()
        last = Claim(new_waiter)
        last.join(one.slots)
        streams[0].reset()
        assert [claim.has_slot for claim in (claims[1], last)] == [True, False]
        claims[1].leave()
        assert last.has_slot  # what was kept for one that leaves goes to the next
        last.leave()
        assert one.slots.is_free
        assert (len(one.slots), len(other.slots)) == (0, 0)
        streams[1].reset()


async def test_a_claim_is_woken_by_the_end_of_a_session_and_waits_on_in_the_others() -> None:
    ends = [memory_transports() for _ in range(2)]
    config = Config(max_open_streams=1)
    async with (
        muxado.client(ends[0][0], config) as one,
        muxado.server(ends[0][1]),
        muxado.client(ends[1][0], config) as other,
        muxado.server(ends[1][1]),
    ):
        streams = [await session.open_stream() for session in (one, other)]
        claim = Claim(current_backend().new_waiter)
        claim.join(one.slots)
        claim.join(other.slots)
        async with create_task_group() as tasks:
            tasks.start_soon(claim.wait)
            await all_tasks_blocked()
            one.abort()
        assert not claim.has_slot
        streams[1].reset()
        assert claim.has_slot
        claim.leave()


# At random.

steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 3)),
        st.tuples(
            st.sampled_from(["cancel", "by name", "end", "end", "nowait"]), st.integers(0, 9)
        ),
        st.tuples(st.just("rest"), st.just(0)),
    ),
    max_size=40,
)


async def play(script: list[tuple[str, int]]) -> None:
    """Whatever happens, at rest no slot is free while a task waits, and who waited longer was first."""
    most = 2
    near, far = memory_transports()
    async with (
        muxado.client(near, Config(max_open_streams=most)) as session,
        muxado.server(far),
        create_task_group() as tasks,
    ):
        openers: list[Opener] = []
        streams: list[muxado.Stream] = []

        async def rest() -> None:
            await all_tasks_blocked()
            streams.extend(
                one.stream for one in openers if one.stream is not None and one.stream not in ended
            )
            streams[:] = [one for one in dict.fromkeys(streams) if one not in ended]
            still = [one for one in openers if one.waits]
            assert len(session.slots) == len(still)
            assert len(streams) <= most
            assert not still or len(streams) == most
            if still:
                first = openers.index(still[0])
                assert all(one.stream is None for one in openers[first:])

        ended: set[muxado.Stream] = set()
        for what, number in [*script, ("rest", 0)]:
            if what == "wait":
                for _ in range(number):
                    openers.append(Opener(session, tasks))
                    await all_tasks_blocked()  # trio begins with any of those that are new
            elif what in ("cancel", "by name") and openers:
                openers[number % len(openers)].cancel(by_name=what == "by name")
            elif what == "end" and streams:
                stream = streams.pop(number % len(streams))
                ended.add(stream)
                stream.reset()
            elif what == "nowait":
                with suppress(muxado.StreamLimitError):
                    streams.append(session.open_stream_nowait())
            elif what == "rest":
                await rest()
        tasks.cancel_scope.cancel()
        for stream in streams:
            stream.reset()


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_free_slot_and_a_task_that_waits_for_one_are_never_both_at_rest(backend: str) -> None:
    name, options = BACKENDS[backend]

    @settings(max_examples=60)
    @given(steps)
    def at_random(script: list[tuple[str, int]]) -> None:
        anyio.run(play, script, backend=name, backend_options=options)

    at_random()

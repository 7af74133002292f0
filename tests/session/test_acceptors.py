"""Who is given the peer's streams: one task for each, in the order in which they came, and none that is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import CancelScope, create_task_group, fail_after
from hypothesis import given, settings
from hypothesis import strategies as st

import muxado_py as muxado
from muxado_py.runtime.checkpoints import current_backend, current_task
from muxado_py.session.acceptors import Acceptors

from ..helpers.blocked import all_tasks_blocked
from ..helpers.inside import driver_of
from ..helpers.pair import Pair
from ..helpers.wake_ups import wake_ups
from ..transports import memory_transports

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from muxado_py.protocol.stream_state import StreamState

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

BACKENDS = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


class Acceptor:
    """A task that accepts one stream.

    :ivar waits: whether it is still at it.
    """

    def __init__(self, queue: Acceptors, got: list[tuple[Acceptor, StreamState]]) -> None:
        self._queue = queue
        self._got = got
        self._scope = CancelScope()
        self._task: asyncio.Task[Any] | None = None
        self._cancelled_by_name = False
        self.waits = True

    async def run(self) -> None:
        self._task = current_task()
        try:
            with self._scope:
                self._got.append((self, await self._queue.accept()))
        except asyncio.CancelledError:
            if not self._cancelled_by_name:
                raise
        finally:
            self.waits = False

    def cancel(self, *, by_name: bool = False) -> None:
        """By its scope, or as asyncio cancels a task."""
        if by_name and self._task is not None:
            self._cancelled_by_name = True
            self._task.cancel()
        else:
            self._scope.cancel()


class Rig:
    """An accept queue of a server's core; its client opens streams."""

    def __init__(self, tasks: TaskGroup) -> None:
        self.pair = Pair()
        self.queue = Acceptors(
            self.pair.server,
            current_backend(),
            check=lambda: None,
            changed=self.changed,
            expect_output=lambda: None,
        )
        self.got: list[tuple[Acceptor, StreamState]] = []
        self.acceptors: list[Acceptor] = []
        self._tasks = tasks

    def changed(self) -> None:
        events = self.pair.server.events
        if events.offered:
            events.offered = False
            self.queue.distribute()

    def begin(self) -> Acceptor:
        """A task begins to accept."""
        acceptor = Acceptor(self.queue, self.got)
        self.acceptors.append(acceptor)
        self._tasks.start_soon(acceptor.run)
        return acceptor

    async def waiting(self, count: int) -> list[Acceptor]:
        """Tasks that wait, in this order."""
        begun = []
        for _ in range(count):
            begun.append(self.begin())
            await all_tasks_blocked()
        return begun

    def open(self) -> StreamState:
        """The peer opens a stream, and the tasks that this wakes have not run yet."""
        near = self.pair.client.open(None, None)
        self.pair.run_until_idle()
        self.changed()
        return near

    def reset(self, near: StreamState) -> None:
        self.pair.client.reset(near, 7)
        self.pair.run_until_idle()
        self.changed()

    @property
    def order(self) -> list[tuple[Acceptor, int | None]]:
        """Who got which stream."""
        return [(acceptor, stream.id) for acceptor, stream in self.got]


@pytest.fixture
async def rig() -> Any:
    async with create_task_group() as tasks:
        yield Rig(tasks)
        tasks.cancel_scope.cancel()


@pytest.mark.slow
async def test_one_stream_wakes_one_of_a_thousand(session_pair: SessionPair) -> None:
    kept: list[muxado.Stream] = []

    async def accept() -> None:
        kept.append(await accepted.accept_stream())

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(accept)
        await all_tasks_blocked()
        with wake_ups("acceptors") as woken:
            opened = [await dialed.open_stream()]
            await dialed.ping()
            await all_tasks_blocked()
            assert (len(woken), len(kept)) == (1, 1)
            opened += [await dialed.open_stream() for _ in range(99)]
            await dialed.ping()
            await all_tasks_blocked()
            assert (len(woken), len(kept)) == (100, 100)
        assert len(driver_of(accepted).acceptors) == 900
        assert [stream.id for stream in kept] == [stream.id for stream in opened]
        tasks.cancel_scope.cancel()


async def test_who_waits_longest_is_first(rig: Rig) -> None:
    acceptors = await rig.waiting(5)
    for number, acceptor in enumerate(acceptors):
        near = rig.open()
        await all_tasks_blocked()
        assert rig.order[number:] == [(acceptor, near.id)]


async def test_who_comes_later_takes_no_stream_that_another_was_woken_for(rig: Rig) -> None:
    [first] = await rig.waiting(1)
    near = rig.open()
    late = Acceptor(rig.queue, rig.got)
    with fail_after(20):
        async with create_task_group() as tasks:
            tasks.start_soon(open_one_more, rig)
            await late.run()  # it gets as far as it can before anybody else runs
    assert rig.order[0] == (first, near.id)
    assert [acceptor for acceptor, _ in rig.got] == [first, late]


async def open_one_more(rig: Rig) -> None:
    await all_tasks_blocked()
    rig.open()


@pytest.mark.parametrize("by_name", [False, True])
async def test_who_is_cancelled_when_it_was_woken_passes_the_stream_on(
    rig: Rig, by_name: bool
) -> None:
    acceptors = await rig.waiting(3)
    near = rig.open()
    acceptors[0].cancel(by_name=by_name)
    await all_tasks_blocked()
    # A scope lets a task go on that was woken before, and so does trio: it has the stream then.
    passed_on = by_name and current_task() is not None
    assert rig.order == [(acceptors[1 if passed_on else 0], near.id)]
    assert len(rig.queue) == (1 if passed_on else 2)


async def test_who_is_cancelled_before_it_is_woken_is_not_woken(rig: Rig) -> None:
    """In the same turn, before its task has run: it would lose a turn for the next."""
    acceptors = await rig.waiting(2)
    acceptors[0].cancel(by_name=True)
    with wake_ups("acceptors") as woken:
        rig.open()
        await all_tasks_blocked()
    assert len(woken) == 1
    assert [acceptor for acceptor, _ in rig.got] == [acceptors[1]]


@pytest.mark.parametrize("by_name", [False, True])
async def test_a_stream_whose_acceptors_are_all_cancelled_is_the_next_ones(
    rig: Rig, by_name: bool
) -> None:
    for acceptor in await rig.waiting(3):
        acceptor.cancel(by_name=by_name)
    near = rig.open()
    await all_tasks_blocked()
    assert rig.got == []
    with fail_after(20):
        assert (await rig.queue.accept()).id == near.id
    assert len(rig.queue) == 0


async def test_who_was_woken_for_nothing_goes_first_when_the_next_stream_comes(rig: Rig) -> None:
    """The peer withdraws the stream before the task has run."""
    acceptors = await rig.waiting(3)
    rig.reset(rig.open())
    await all_tasks_blocked()
    assert rig.got == []
    assert len(rig.queue) == 3
    near = rig.open()
    await all_tasks_blocked()
    assert rig.order == [(acceptors[0], near.id)]


class Taker:
    """What ``serve`` does with streams: it takes so many, and fails."""

    def __init__(self, rig: Rig, most: int = 10**6) -> None:
        self._rig = rig
        self._most = most
        self.scope = CancelScope()
        self.taken: list[StreamState] = []
        self.failed = False

    def take(self, state: StreamState) -> None:
        if len(self.taken) == self._most:
            raise LookupError("no more")
        self.taken.append(state)

    async def run(self) -> None:
        with self.scope:
            try:
                await self._rig.queue.hand_off_to(self.take)
            except LookupError:
                self.failed = True


async def test_streams_go_to_the_latest_taker_and_past_whoever_accepts(rig: Rig) -> None:
    async with create_task_group() as tasks:
        [acceptor] = await rig.waiting(1)
        takers = [Taker(rig), Taker(rig)]
        for taker in takers:
            tasks.start_soon(taker.run)
            await all_tasks_blocked()
        with wake_ups("acceptors") as woken:
            rig.open()
            await all_tasks_blocked()
        assert not woken
        assert [len(taker.taken) for taker in takers] == [0, 1]
        for taker in reversed(takers):
            taker.scope.cancel()
            await all_tasks_blocked()
            rig.open()
            await all_tasks_blocked()
        assert [len(taker.taken) for taker in takers] == [1, 1]
        assert [one for one, _ in rig.got] == [acceptor]


@pytest.mark.parametrize("others", ["an older taker", "tasks"])
async def test_what_a_taker_fails_at_is_reset_and_the_rest_is_another_s(
    rig: Rig, others: str
) -> None:
    async with create_task_group() as tasks:
        older = Taker(rig)
        if others == "tasks":
            await rig.waiting(4)
        else:
            tasks.start_soon(older.run)
            await all_tasks_blocked()
        newer = Taker(rig, 2)
        tasks.start_soon(newer.run)
        await all_tasks_blocked()
        near = [rig.pair.client.open(None, None) for _ in range(6)]
        rig.pair.run_until_idle()
        rig.changed()
        await all_tasks_blocked()
        assert newer.failed
        assert [state.id for state in newer.taken] == [one.id for one in near[:2]]
        rest = older.taken or [state for _, state in rig.got]
        assert sorted(state.id or 0 for state in rest) == [one.id for one in near[3:]]
        rig.pair.run_until_idle()
        assert near[2].failure is not None
        tasks.cancel_scope.cancel()


async def test_a_taker_finds_the_streams_that_wait(rig: Rig) -> None:
    near = [rig.open() for _ in range(3)]
    async with create_task_group() as tasks:
        taker = Taker(rig)
        tasks.start_soon(taker.run)
        await all_tasks_blocked()
        assert [state.id for state in taker.taken] == [one.id for one in near]
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("end", ["listener", "session", "peer"])
async def test_everybody_who_waits_learns_of_the_end(session_pair: SessionPair, end: str) -> None:
    failures: list[Exception] = []

    async def wait(how: Callable[[], Any]) -> None:
        try:
            await how()
        except muxado.MuxadoError as exc:
            failures.append(exc)

    async def serve() -> None:
        await accepted.net_listener().serve(print)
        failures.append(muxado.SessionClosedError("it returned", code=0))

    async with session_pair() as (dialed, accepted), create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(wait, accepted.accept_stream)
        tasks.start_soon(serve)
        await all_tasks_blocked()
        with fail_after(10):
            if end == "listener":
                await accepted.net_listener().aclose()
            elif end == "session":
                await accepted.aclose()
            else:
                await dialed.aclose()
            await all_tasks_blocked()
            assert len(failures) == 21


@pytest.mark.slow
async def test_streams_that_came_before_the_end_go_to_those_who_wait(
    session_pair: SessionPair,
) -> None:
    async with session_pair() as (dialed, accepted):
        for _ in range(3):
            async with await dialed.open_stream() as stream:
                await stream.send(b"last words")
        await dialed.aclose()
        await accepted.wait()
        for _ in range(3):
            assert await (await accepted.accept_stream()).receive() == b"last words"
        with pytest.raises(muxado.SessionClosedError):
            await accepted.accept_stream()


@pytest.mark.slow
async def test_a_stream_that_is_accepted_is_acknowledged_at_once() -> None:
    """yamux lets 256 streams wait for that; whoever only accepts says nothing else."""
    near, far = memory_transports()
    config = muxado.Config(wire="yamux", heartbeat_interval=None)
    async with muxado.client(near, config) as dialed, muxado.server(far, config) as accepted:
        opened = [await dialed.open_stream() for _ in range(300)]
        await all_tasks_blocked()
        with fail_after(10):
            kept = [await accepted.accept_stream() for _ in range(256)]
            kept += [await accepted.accept_stream() for _ in range(44)]
        assert len(kept) == len(opened)


# At random.

steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["accept", "open"]), st.integers(1, 3)),
        st.tuples(st.sampled_from(["cancel", "by name", "reset", "fails"]), st.integers(0, 9)),
        st.tuples(st.sampled_from(["rest", "rest", "serve", "leave"]), st.just(0)),
    ),
    max_size=40,
)


async def play(script: list[tuple[str, int]]) -> None:
    """Whatever happens, at rest no stream waits while a task does; and in the end each stream was somebody's."""
    near: list[StreamState] = []
    takers: list[Taker] = []
    async with create_task_group() as tasks:
        rig = Rig(tasks)

        async def rest() -> None:
            await all_tasks_blocked()
            serving = [one for one in takers if not (one.failed or one.scope.cancel_called)]
            waiting = [one for one in rig.acceptors if one.waits]
            assert len(rig.queue) == len(waiting)
            assert not (rig.pair.server.backlog and (waiting or serving))

        for what, number in [*script, ("rest", 0)]:
            if what == "accept":
                for _ in range(number):
                    rig.begin()
            elif what == "open":
                near += [rig.open() for _ in range(number)]
            elif what in ("cancel", "by name") and rig.acceptors:
                acceptor = rig.acceptors[number % len(rig.acceptors)]
                acceptor.cancel(by_name=what == "by name")
            elif what == "reset" and near:
                rig.reset(near[number % len(near)])
            elif what in ("serve", "fails"):
                takers.append(Taker(rig, number if what == "fails" else 10**6))
                tasks.start_soon(takers[-1].run)
            elif what == "leave" and takers:
                takers[-1].scope.cancel()
            elif what == "rest":
                await rest()
        for taker in takers:
            taker.scope.cancel()
        for acceptor in rig.acceptors:
            acceptor.cancel()
        await all_tasks_blocked()
        assert len(rig.queue) == 0
        had = [state.id for _, state in rig.got]
        had += [state.id for taker in takers for state in taker.taken]
        while rig.pair.server.backlog:
            had.append((await rig.queue.accept()).id)
        rig.pair.run_until_idle()
        assert len(had) == len(set(had))
        assert (
            {one.id for one in near if one.failure is None} <= set(had) <= {one.id for one in near}
        )


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stream_and_a_task_that_waits_for_one_are_never_both_at_rest(backend: str) -> None:
    name, options = BACKENDS[backend]

    @settings(max_examples=100)
    @given(steps)
    def at_random(script: list[tuple[str, int]]) -> None:
        anyio.run(play, script, backend=name, backend_options=options)

    at_random()

"""A pool of three servers that are killed, drained, stopped and started at random, and what its callers are told."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import muxado_py as muxado

from ..virtual_time import BACKENDS, backend
from .servers import Server

if TYPE_CHECKING:
    from collections.abc import Sequence

Step = tuple[float, str, int]
"""After so many seconds, what happens to which server."""

ACTIONS = ("kill", "drain", "close", "down", "up", "freeze", "thaw", "calls", "give up")
SLOTS = 4
CONFIG = muxado.Config(
    max_streams=SLOTS, heartbeat_interval=1, heartbeat_timeout=2, close_timeout=1
)


class World:
    """Servers, callers, and what each of them knows."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self.tasks = tasks
        self.executed: list[bytes] = []
        self.told: dict[bytes, muxado.Retry | None] = {}
        """The verdict of each call; None if it was answered."""
        self.cancelled: set[bytes] = set()
        self.calls = self.running = 0
        self.ended = anyio.Event()
        self.scopes: list[anyio.CancelScope] = []
        self.servers = [Server(tasks, name, self.execute, CONFIG) for name in "abc"]

    async def execute(self, stream: muxado.Stream) -> None:
        with suppress(muxado.MuxadoError, anyio.EndOfStream):
            said = await stream.receive()
            self.executed.append(said)
            await anyio.sleep(len(self.executed) % 3 * 0.1)
            await stream.send(said)

    async def call(self, pool: muxado.Pool, number: int) -> None:
        try:
            await self.ask(pool, b"%d" % number)
        finally:
            self.running -= 1
            self.ended.set()

    async def ask(self, pool: muxado.Pool, said: bytes) -> None:
        earlier: list[muxado.Stream] = []
        with anyio.CancelScope() as scope:
            self.scopes.append(scope)
            while True:
                try:
                    stream = await pool.open_stream(avoid=earlier)
                    async with stream:
                        await stream.send(said)
                        await stream.send_eof()
                        answer = b"".join([piece async for piece in stream])
                except muxado.MuxadoError as exc:
                    self.told[said] = exc.retry
                    if not exc.retry.safe:
                        return
                    assert said not in self.executed
                    earlier = [stream]
                    # A handler may have to end first, whose caller has gone.
                    await anyio.sleep(0.05)
                else:
                    self.told[said] = None
                    assert answer == said
                    return
        self.cancelled.add(said)

    async def act(self, pool: muxado.Pool, action: str, which: int) -> None:
        server = self.servers[which]
        if action == "calls":
            for _ in range(6):
                self.tasks.start_soon(self.call, pool, self.calls)
                self.calls += 1
                self.running += 1
        elif action == "give up":
            for scope in self.scopes[which::7]:
                scope.cancel()
        elif action in ("down", "up"):
            server.is_up = action == "up"
        elif action == "freeze":
            if server.thaw.is_set():
                server.thaw = anyio.Event()
        elif action == "thaw":
            server.thaw.set()
        else:
            for session in tuple(server.sessions):
                self.tasks.start_soon(end, session, action)


async def end(session: muxado.Session, how: str) -> None:
    with suppress(muxado.SessionError):
        if how == "kill":
            session.abort()
        elif how == "drain":
            await session.drain(5)
        else:
            await session.aclose()


async def play(steps: Sequence[Step], sessions: int, each: bool) -> None:
    async with anyio.create_task_group() as tasks:
        world = World(tasks)
        async with muxado.connect_pool(
            *world.servers, config=CONFIG, sessions=sessions, each=each
        ) as pool:
            for seconds, action, which in steps:
                await anyio.sleep(seconds)
                await world.act(pool, action, which)
            for server in world.servers:
                server.is_up = True
                server.thaw.set()
            with anyio.fail_after(300):
                while world.running:
                    world.ended = anyio.Event()
                    await world.ended.wait()
                assert not pool.state.waiting
                # No slot is lost: as many streams as there are can be opened.
                # The longest pause, and what a frozen session takes to be noticed.
                await anyio.sleep(40)
                assert pool.state.sessions == sessions * (len(world.servers) if each else 1)
                streams = [
                    await pool.open_stream(timeout=0) for _ in range(SLOTS * pool.state.sessions)
                ]
                with pytest.raises(muxado.PoolTimeoutError):
                    await pool.open_stream(timeout=0)
                for stream in streams:
                    stream.reset()
        for said, verdict in world.told.items():
            count = world.executed.count(said)
            assert count <= 1, (said, verdict)
            if verdict is None:
                assert count == 1, said
            elif verdict.safe and said not in world.cancelled:
                assert count == 0, (said, verdict)
        tasks.cancel_scope.cancel()


steps = st.lists(
    st.tuples(
        st.sampled_from((0.0, 0.0, 0.05, 0.3, 2.0)), st.sampled_from(ACTIONS), st.integers(0, 2)
    ),
    max_size=30,
)


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKENDS)
def test_verdicts_hold_and_no_slot_is_lost_whatever_happens(name: str) -> None:
    backend_name, options = backend(name)

    @settings(max_examples=30)
    @given(steps, st.integers(1, 2), st.booleans())
    def at_random(script: list[Step], sessions: int, each: bool) -> None:
        anyio.run(play, script, sessions, each, backend=backend_name, backend_options=options)

    at_random()

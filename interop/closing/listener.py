"""The listener: a process whose loop is busy, and that notes what comes.

It prints its URL in one line, takes sessions until its standard input ends, and then prints what it got on each
stream: how many bytes, whether they were the right ones, and how it ended.
"""

from __future__ import annotations

import json
import math
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
from anyio import EndOfStream, create_task_group, to_thread
from anyio.abc import AsyncResource

import muxado_py as muxado
from tests.by_url import below
from tests.helpers.handed_over import handing_over, taken_over

from .plan import HEAD, Plan, contexts, expected, run_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from anyio.abc import Listener, UNIXSocketStream

CONFIG = muxado.Config(wire="auto", heartbeat_interval=60.0)

MOST_BUSY = 2.0
"""Seconds that the loop is blocked at a time, at most."""

AWAKE = 0.3
"""Seconds that it is not, about."""

PATIENCE = 20.0
"""Seconds for what is still under way when the last session was closed."""


class Arrivals:
    """What one listening process got."""

    def __init__(self, seed: int) -> None:
        self.got: dict[str, tuple[int, bool, str]] = {}
        self._seed = seed

    async def session(self, session: muxado.Session) -> None:
        """Take its streams until it is over, in a loop as everybody writes it."""
        async with create_task_group() as tasks:
            with suppress(muxado.MuxadoError):
                while True:
                    tasks.start_soon(self._stream, await session.accept_stream())

    async def _stream(self, stream: muxado.Stream) -> None:
        said = bytearray()
        end = await self._receive(stream, said, HEAD)
        if len(said) < HEAD:
            return  # nobody knows whose it is; the dialer counts all of it as missing
        session, number = (int.from_bytes(said[at : at + 4], "big") for at in (0, 4))
        plan = Plan.of(self._seed, session).streams[number]
        if plan.read_late == math.inf:
            return
        if end is None:
            await anyio.sleep(plan.read_late)
            async with create_task_group() as tasks:
                if plan.answer:
                    tasks.start_soon(_answer, stream, plan.answer)
                end = await self._receive(stream, said, sys.maxsize)
                tasks.cancel_scope.cancel()
        right = bytes(said) == expected(session, number, plan.nbytes)[: len(said)]
        self.got[f"{session}/{number}"] = (len(said), right, end or "")

    async def _receive(self, stream: muxado.Stream, said: bytearray, until: int) -> str | None:
        """Add what comes, until that much is there; why it ended before, ``EOF`` for a clean end."""
        try:
            while len(said) < until:
                said += await stream.receive()
        except EndOfStream:
            return "EOF"
        except muxado.MuxadoError as exc:
            return type(exc).__name__
        return None


async def _answer(stream: muxado.Stream, nbytes: int) -> None:
    try:
        await stream.send(bytes(nbytes))
    except (muxado.MuxadoError, anyio.ClosedResourceError):
        return


async def _be_busy(rng: Random) -> None:
    while True:
        await anyio.sleep(rng.uniform(AWAKE / 2, 2 * AWAKE))
        time.sleep(rng.uniform(0, MOST_BUSY))  # noqa: ASYNC251 - that is the point


class _Commands(AsyncResource):
    """As a listener of the package, for the pipes that commands hand over."""

    def __init__(self, listener: Listener[UNIXSocketStream], url: str) -> None:
        self.url = url
        self._listener = listener

    async def serve(self, handle: Callable[[muxado.Session], Awaitable[None]]) -> None:
        async def take(command: UNIXSocketStream) -> None:
            with suppress(muxado.MuxadoError):  # which the package's logs
                async with muxado.server(await taken_over(command), CONFIG) as session:
                    await handle(session)

        async with create_task_group() as tasks:
            with suppress(anyio.ClosedResourceError):
                await self._listener.serve(take, tasks)

    async def aclose(self) -> None:
        await self._listener.aclose()


@asynccontextmanager
async def _listening(
    loop: str, transport: str, folder: Path
) -> AsyncIterator[muxado.SessionListener | _Commands]:
    if transport == "exec":
        path = f"{folder}/{loop}"
        unix: Any = await anyio.create_unix_listener(path)
        async with _Commands(unix, handing_over(path)) as commands:
            yield commands
        return
    scheme = below(transport)
    url = f"unix://{folder}/{loop}" if scheme == "unix" else f"{scheme}://127.0.0.1:0"
    context = contexts(folder)[1] if scheme in ("tls", "wss") else None
    async with muxado.listen(url, config=CONFIG, ssl_context=context) as listening:
        yield listening


async def _stop(listening: muxado.SessionListener | _Commands, sessions: anyio.CancelScope) -> None:
    """When standard input ends, no session comes any more."""
    await to_thread.run_sync(sys.stdin.read)
    await listening.aclose()
    sessions.deadline = anyio.current_time() + PATIENCE


async def main(loop: str, transport: str, folder: Path, seed: int) -> None:
    """Listen until standard input ends; print what came."""
    async with (
        _listening(loop, transport, folder) as listening,
        create_task_group() as tasks,
    ):
        arrivals = Arrivals(seed)
        tasks.start_soon(_be_busy, Random(seed))
        with anyio.CancelScope() as scope:
            tasks.start_soon(_stop, listening, scope)
            print(listening.url, flush=True)
            await listening.serve(arrivals.session)  # and wait for those that run
        tasks.cancel_scope.cancel()
    print(json.dumps(arrivals.got), flush=True)


if __name__ == "__main__":
    loop, transport, folder, seed = sys.argv[1:]
    run_on(loop, lambda: main(loop, transport, Path(folder), int(seed)))

"""A server for code that blocks: in a thread of its own, with sessions that can be cut off."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

import muxado_py as muxado

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from anyio.from_thread import BlockingPortal


class Server:
    """Answers each stream with what was said.

    :ivar url: where it listens.
    """

    def __init__(self, portal: BlockingPortal) -> None:
        self.portal = portal
        self.url = ""
        self.calls: Callable[[muxado.CallRequest], Awaitable[bytes]] | None = None
        """What answers calls; without it each stream is answered with what was said."""
        self.answer: Callable[[muxado.Stream], Awaitable[None]] = echo
        """What answers a stream where there is nothing that answers calls."""
        self.sessions: list[muxado.Session] = []
        self._came = anyio.Event()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            anyio.create_task_group() as tasks,
        ):
            self.url = listener.url
            tasks.start_soon(listener.serve, self._attend)
            yield
            tasks.cancel_scope.cancel()

    async def _attend(self, session: muxado.Session) -> None:
        self.sessions.append(session)
        self._came.set()
        self._came = anyio.Event()
        if self.calls is None:
            await session.net_listener().serve(self.answer)
        else:
            await muxado.serve_calls(session.net_listener(), self.calls)
        with suppress(muxado.SessionError):
            await session.wait()

    def session(self) -> muxado.Session:
        """The newest session that is there; waits for one."""

        async def newest() -> muxado.Session:
            with anyio.fail_after(30):
                while not (self.sessions and not self.sessions[-1].closed):
                    await self._came.wait()
            return self.sessions[-1]

        return self.portal.call(newest)

    def cut_off(self) -> None:
        """End the newest session without a word, and wait until whoever dialed it has come again."""
        session = self.session()
        self.portal.call(session.abort)
        self.session()


async def echo(stream: muxado.Stream) -> None:
    with suppress(muxado.MuxadoError):
        async for said in stream:
            await stream.send(said)
        await stream.aclose()


@pytest.fixture
def server() -> Iterator[Server]:
    with start_blocking_portal() as portal:
        one = Server(portal)
        with portal.wrap_async_context_manager(one.run()):
            yield one

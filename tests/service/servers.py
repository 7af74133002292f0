"""Servers in memory that pools dial: they can be down, hang, go away and be killed, and cost no time."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
from anyio.abc import ByteStreamConnectable

import muxado_py as muxado

from ..transports import Around, memory_transports

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import ByteStream, TaskGroup


async def echo(stream: muxado.Stream) -> None:
    """Answer with what was said."""
    with suppress(muxado.MuxadoError):
        async for said in stream:
            await stream.send(said)


class Freezing(Around):
    """Takes and gives nothing while its server is frozen."""

    def __init__(self, inner: ByteStream, server: Server) -> None:
        super().__init__(inner)
        self._server = server

    async def send(self, item: bytes) -> None:
        await self._server.thaw.wait()
        await super().send(item)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = await super().receive(max_bytes)
        await self._server.thaw.wait()
        return data


class Server(ByteStreamConnectable):
    """A target in memory.

    :param tasks: where its sessions run.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        name: str = "server",
        handler: Callable[[muxado.Stream], Awaitable[None]] = echo,
        config: muxado.Config | None = None,
    ) -> None:
        self._tasks = tasks
        self._name = name
        self._handler = handler
        self._config = config
        self.is_up = True
        self.is_mute = False
        """Whether it takes connections and says nothing."""
        self.dials: list[float] = []
        """When it was dialed."""
        self.sessions: list[muxado.Session] = []
        """Those that are there."""
        self.came = anyio.Event()
        self.thaw = anyio.Event()
        """Until it is set, nothing goes in or out: the process is stopped."""
        self.thaw.set()

    def __repr__(self) -> str:
        return self._name

    async def connect(self) -> ByteStream:
        self.dials.append(anyio.current_time())
        await anyio.lowlevel.checkpoint()
        if not self.is_up:
            raise ConnectionRefusedError("nobody is there")
        near, far = memory_transports()
        self._tasks.start_soon(self._hang if self.is_mute else self._run, Freezing(far, self))
        return near

    async def _hang(self, transport: ByteStream) -> None:
        async with transport:
            async for _ in transport:
                pass

    async def _run(self, transport: ByteStream) -> None:
        with suppress(muxado.SessionError):
            async with muxado.server(transport, self._config) as session:
                self.sessions.append(session)
                self.came.set()
                self.came = anyio.Event()
                try:
                    await session.net_listener().serve(self._handler)
                    await session.wait()
                finally:
                    self.sessions.remove(session)

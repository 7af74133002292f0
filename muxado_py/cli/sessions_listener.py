"""Sessions that come and go, and the one listener that an app is served on.

What it is.  :class:`SessionsListener` gives a server the streams of every session attached to it,
so that one server, with one lifespan, outlives any of them.

Where data comes from and goes to.  Each session keeps its own accept queue; the listener only lends
every session the handler of the server.  So a stream is accepted when a handler takes it and not
before, and a stream that nobody took is refused by its session, with a verdict that is safe.

The rule.  Each stream is judged, not the session alone: a gateway that asks for a name which this side has not offered, or has
lost, gets nothing of what it serves under another.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import SocketAttribute

import muxado_py as muxado

from ..errors import escaped
from ..session.listener import StreamListener
from .introductions import NAME

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

__all__ = ("SessionsListener", "peer_name")


logger = logging.getLogger("muxado.cli")


class SessionsListener(StreamListener):
    """The streams of every attached session, as one listener for one server."""

    def __init__(self) -> None:
        self._sessions: list[muxado.Session] = []
        self._handler: Callable[[muxado.Stream], Any] | None = None
        self._handlers: TaskGroup | None = None
        self._reuses_tasks: bool | None = None
        self._serving = anyio.Event()
        self._closed = anyio.Event()

    async def attach(
        self, session: muxado.Session, serves: Callable[[str], bool] | None = None
    ) -> None:
        """Serve the streams of ``session``; returns when it is over.

        :param serves: whether a name is served here, where the peer is a gateway that says which one a stream is for;
            one for another name is refused.
        :raises SessionError: if it ended without a goodbye.

        Cancellation: its streams are no longer accepted; handlers that run go on.
        """
        await self._serving.wait()
        assert self._handler is not None
        handler = self._handler if serves is None else partial(_judged, self._handler, serves)
        if self._closed.is_set():
            session.go_away()
        self._sessions.append(session)
        try:
            await session.net_listener().serve(
                handler, self._handlers, reuse_tasks=self._reuses_tasks
            )
            await session.wait()
        finally:
            self._sessions.remove(session)

    async def serve(
        self,
        handler: Callable[[muxado.Stream], Any],
        task_group: TaskGroup | None = None,
        *,
        reuse_tasks: bool | None = None,
    ) -> None:
        """Call ``handler`` for each stream of each session until the listener is closed.

        Cancellation: sessions stay; close the listener to refuse their streams.
        """
        async with AsyncExitStack() as stack:
            if task_group is None:
                task_group = await stack.enter_async_context(anyio.create_task_group())
            self._handler, self._handlers = handler, task_group
            self._reuses_tasks = reuse_tasks
            self._serving.set()
            await self._closed.wait()

    async def drain(self, seconds: float) -> None:
        """Tell every peer to open no more streams; closes each session after its last one.

        :param seconds: what the streams may take at least; ``Config.close_timeout`` comes on top.

        What a session could not deliver is logged; the others go on.

        Cancellation: the sessions are closed at once.
        """

        async def drain(session: muxado.Session) -> None:
            try:
                await session.drain(seconds + session.config.close_timeout)
            except muxado.UndeliveredError as exc:
                logger.warning("%s", exc)

        async with anyio.create_task_group() as tasks:
            for session in self._sessions:
                tasks.start_soon(drain, session)

    async def delivered(self) -> None:
        """Wait until :meth:`drain` has closed each session that has streams left.

        The server is done with a stream when the stream has taken its last bytes, which the peer may have no
        room for yet.

        Cancellation: safe.
        """
        for session in [one for one in self._sessions if one.statistics().live_streams]:
            with suppress(muxado.SessionError):
                await session.wait()

    async def round_trip(self) -> None:
        """Wait until every peer has answered a ping, or a second has passed.

        Cancellation: safe.
        """

        async def ping(session: muxado.Session) -> None:
            with suppress(muxado.MuxadoError):
                await session.ping()

        with anyio.move_on_after(1):
            async with anyio.create_task_group() as tasks:
                for session in self._sessions:
                    tasks.start_soon(ping, session)

    async def aclose(self) -> None:
        """Refuse every stream from here on; those that were accepted go on.

        Cancellation: the listener is closed all the same.
        """
        self._closed.set()
        for session in self._sessions:
            session.stop_accepting()
        await anyio.lowlevel.checkpoint()


def _judged(
    handler: Callable[[muxado.Stream], Awaitable[object]],
    serves: Callable[[str], bool],
    stream: muxado.Stream,
) -> Awaitable[object]:
    """What is to be awaited for ``stream``: no task and no coroutine more than the handler's for what is served here."""
    name = stream.metadata.get(NAME)
    if name is None or serves(name.decode("ascii", "replace")):
        return handler(stream)
    return _refuse(stream, name)


async def _refuse(stream: muxado.Stream, name: bytes) -> None:
    logger.info("the gateway wants %s, which is not served here", escaped(repr(name)[1:]))
    stream.refuse()


def peer_name(session: muxado.Session) -> str:
    """Who is at the other end, for the log."""
    address = session.extra_attributes.get(SocketAttribute.remote_address)
    if address is None:
        return "an unnamed peer"
    host, port = address()
    if not port:
        return "a local peer"
    return escaped(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

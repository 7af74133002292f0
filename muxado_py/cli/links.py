"""Sessions that come and go, and the one listener that an app is served on.

What it is.  :class:`SessionsListener` gives a server the streams of every session attached to it,
so that one server, with one lifespan, outlives any of them.  :func:`keep_connected` is the dialing
side: it connects, attaches, and connects again.

Where data comes from and goes to.  Each session keeps its own accept queue; the listener only lends
every session the handler of the server.  So a stream is accepted when a handler takes it and not
before, and a stream that nobody took is refused by its session, with a verdict that is safe.

The rule.  A lost session is an event in the log and not an error; only the end of all attempts is.

The trap.  A wrong authority file looks like any other failure to connect, but waiting does not mend
it: before the first success it ends the command.
"""

from __future__ import annotations

import logging
import ssl
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import Listener, SocketAttribute

import muxado_py as muxado

from ..errors import escaped
from .running import ConnectionLost, NotStarted, reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from .backoff import Backoff

__all__ = ("SessionsListener", "keep_connected", "peer_name")

logger = logging.getLogger("muxado.cli")

LASTING = 5.0
"""Seconds after which a session counts as a good one, and the back-off begins again."""

CONNECT_ERRORS = (OSError, muxado.MuxadoError, anyio.BrokenResourceError, anyio.EndOfStream)


class SessionsListener(Listener[muxado.Stream]):
    """The streams of every attached session, as one listener for one server."""

    def __init__(self) -> None:
        self._sessions: list[muxado.Session] = []
        self._handler: Callable[[muxado.Stream], Any] | None = None
        self._handlers: TaskGroup | None = None
        self._serving = anyio.Event()
        self._closed = anyio.Event()

    async def attach(self, session: muxado.Session) -> None:
        """Serve the streams of ``session``; returns when it is over.

        :raises SessionError: if it ended without a goodbye.

        Cancellation: its streams are no longer accepted; handlers that run go on.
        """
        await self._serving.wait()
        assert self._handler is not None
        if self._closed.is_set():
            session.go_away()
        self._sessions.append(session)
        try:
            await session.net_listener().serve(self._handler, self._handlers)
            await session.wait()
        finally:
            self._sessions.remove(session)

    async def serve(
        self, handler: Callable[[muxado.Stream], Any], task_group: TaskGroup | None = None
    ) -> None:
        """Call ``handler`` for each stream of each session until the listener is closed.

        Cancellation: sessions stay; close the listener to refuse their streams.
        """
        async with AsyncExitStack() as stack:
            if task_group is None:
                task_group = await stack.enter_async_context(anyio.create_task_group())
            self._handler, self._handlers = handler, task_group
            self._serving.set()
            await self._closed.wait()

    async def drain(self, deadline: float) -> None:
        """Tell every peer to open no more streams; closes each session after its last one.

        Cancellation: the sessions are closed at once.
        """
        async with anyio.create_task_group() as tasks:
            for session in self._sessions:
                tasks.start_soon(session.drain, deadline)

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


async def keep_connected(
    url: str,
    attach: Callable[[muxado.Session], Awaitable[None]],
    *,
    config: muxado.Config,
    ssl_context: ssl.SSLContext | None,
    backoff: Backoff,
    max_retries: int | None,
) -> None:
    """Dial ``url``, give the session to ``attach`` until it is over, dial again; never returns.

    :param max_retries: failures in a row that are retried; None for no end.
    :raises NotStarted: if it gave up before it was ever connected.
    :raises ConnectionLost: if it gave up later.

    Cancellation: the session is closed with a short goodbye.
    """
    ever_connected = False
    while True:
        since: float | None = None
        try:
            async with muxado.connect(url, config=config, ssl_context=ssl_context) as session:
                ever_connected, since = True, anyio.current_time()
                logger.info("connected to %s", url)
                await attach(session)
            cause = "the other side closed the session"
        except CONNECT_ERRORS as exc:
            if isinstance(exc, ssl.SSLCertVerificationError) and not ever_connected:
                raise NotStarted(
                    f"{url} shows a certificate that is not trusted: {exc.verify_message}. "
                    "Name its authority with --ssl-ca-certs."
                ) from exc
            cause = reason(exc)
        if since is not None and anyio.current_time() - since >= LASTING:
            backoff.reset()
        event = "cannot connect to" if since is None else "lost the connection to"
        delay = backoff.failed()
        if max_retries is not None and backoff.failures > max_retries:
            ended = ConnectionLost if ever_connected else NotStarted
            raise ended(f"{event} {url}: {cause}. Gave up after {backoff.failures} attempt(s).")
        logger.warning("%s %s: %s; trying again in %.1f s", event, url, cause, delay)
        await anyio.sleep(delay)


def peer_name(session: muxado.Session) -> str:
    """Who is at the other end, for the log."""
    address = session.extra_attributes.get(SocketAttribute.remote_address)
    if address is None:
        return "an unnamed peer"
    host, port = address()
    return escaped(f"{host}:{port}") if port else "a local peer"

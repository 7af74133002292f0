"""Sessions that come and go, and the one listener that an app is served on.

What it is.  :class:`SessionsListener` gives a server the streams of every session attached to it,
so that one server, with one lifespan, outlives any of them.

Where data comes from and goes to.  Each session keeps its own accept queue; the listener only lends
every session the handler of the server.  So a stream is accepted when a handler takes it and not
before, and a stream that nobody took is refused by its session, with a verdict that is safe.

The rule.  Whoever makes it may judge each stream first, by putting a handler of its own around that of the server.

The trap.  A session may be over before there is a server: whoever attached it must not wait for one then.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

from anyio import ClosedResourceError, Event, ResourceGuard, create_task_group, move_on_after
from anyio.lowlevel import checkpoint

from ..arguments import check_function
from ..errors import MuxadoError, SessionError
from .listener import StreamListener

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from .session import Session
    from .stream import Stream

    Handler = Callable[[Stream], Any]

__all__ = ("SessionsListener",)


class SessionsListener(StreamListener):
    """The streams of every attached session, as one listener for one server.

    :param opens_too: whether streams are opened on the sessions as well: then those that come after it was closed
        are not sent away.
    :param around: makes the handler of the sessions of the server's.
    """

    def __init__(
        self, *, opens_too: bool = False, around: Callable[[Handler], Handler] | None = None
    ) -> None:
        self._opens_too = opens_too
        self._around = around
        self._sessions: list[Session] = []
        self._handler: Callable[[Stream], Any] | None = None
        self._handlers: TaskGroup | None = None
        self._reuses_tasks: bool | None = None
        self._serving = Event()
        self._closed = Event()
        self._guard = ResourceGuard("serving")

    async def attach(self, session: Session) -> None:
        """Serve the streams of ``session``; returns when it is over.

        :raises SessionError: if it ended without a goodbye.

        Cancellation: its streams are no longer accepted; handlers that run go on.
        """
        failures: list[Exception] = []  # raised below: a task group would wrap them
        self._sessions.append(session)
        try:
            async with create_task_group() as tasks:

                async def serve() -> None:
                    try:
                        await self._serve_session(session)
                    except Exception as exc:  # noqa: BLE001 - as above
                        failures.append(exc)
                        tasks.cancel_scope.cancel()

                tasks.start_soon(serve)
                try:
                    await session.wait()
                except SessionError as exc:
                    failures.append(exc)
                tasks.cancel_scope.cancel()
        finally:
            self._sessions.remove(session)
        if failures:
            raise failures[0]

    async def _serve_session(self, session: Session) -> None:
        await self._serving.wait()
        if self._closed.is_set() and self._opens_too:
            session.stop_accepting()
        elif self._closed.is_set():
            session.go_away()
        if self._handler is None:
            return
        with suppress(SessionError):  # whoever attached it is told
            await session.net_listener().serve(
                self._handler, self._handlers, reuse_tasks=self._reuses_tasks
            )

    async def serve(
        self,
        handler: Callable[[Stream], Any],
        task_group: TaskGroup | None = None,
        *,
        reuse_tasks: bool | None = None,
    ) -> None:
        """Call ``handler`` for each stream of each session until the listener is closed.

        For the parameters see :meth:`.NetListener.serve`.

        :raises TypeError: if ``handler`` is no function.
        :raises ~anyio.BusyResourceError: if it is being served already.
        :raises ~anyio.ClosedResourceError: if it was closed, or its serving was cancelled.

        Cancellation: the listener is closed; sessions stay.
        """
        check_function("handler", handler)
        if self._closed.is_set():
            raise ClosedResourceError
        with self._guard:
            async with AsyncExitStack() as stack:
                if task_group is None:
                    task_group = await stack.enter_async_context(create_task_group())
                    reuse_tasks = reuse_tasks is not False
                self._handler = handler if self._around is None else self._around(handler)
                self._handlers = task_group
                self._reuses_tasks = reuse_tasks
                self._serving.set()
                try:
                    await self._closed.wait()
                finally:
                    self._close()  # cancelled: no task is left to give a stream to

    async def delivered(self) -> None:
        """Wait until each session that has streams left is over, while they are drained.

        The server is done with a stream when the stream has taken its last bytes, which the peer may have no
        room for yet.

        Cancellation: safe.
        """
        for session in [one for one in self._sessions if one.statistics().live_streams]:
            with suppress(SessionError):
                await session.wait()

    async def round_trip(self) -> None:
        """Wait until every peer has answered a ping, or a second has passed.

        Cancellation: safe.
        """

        async def ping(session: Session) -> None:
            with suppress(MuxadoError):
                await session.ping()

        with move_on_after(1):
            async with create_task_group() as tasks:
                for session in self._sessions:
                    tasks.start_soon(ping, session)

    async def aclose(self) -> None:
        """Refuse every stream from here on; those that were accepted go on.

        Cancellation: the listener is closed all the same.
        """
        self._close()
        await checkpoint()

    def _close(self) -> None:
        self._closed.set()
        self._serving.set()
        for session in self._sessions:
            session.stop_accepting()

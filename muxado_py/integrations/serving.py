"""What every server here does with a listener: accept, notice silence, stop in good order.

What it is.  uvicorn, anycorn and waitress differ in how they speak HTTP; around that they need the
same things, and each lacks some of them.  :class:`Connections` is one task a stream, and the way
all of them end.

How it ends.  The listener ends, or serving is cancelled.  Then, under a shield: the listener is
closed, so that its session refuses what nobody accepted (the peer may send that again); streams
on which nothing was ever said are refused likewise, and where the wire cannot say that, a request that is
on its way gets :data:`NOTICE_TIME` to arrive; the server is told to finish; what still runs after
``graceful_timeout`` seconds is reset, and what does not notice *that* is cancelled.

The rule.  Reset first, cancel later: an application blocked in a send learns that its client is
gone and can clean up, and servers that shield their sends (anycorn) let go of them.

The trap.  The handlers run in a task group that outside cancellation reaches, and must outlive it;
so each is shielded, and only :meth:`Connections.drain` cancels it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from ..arguments import check_seconds
from ..errors import SessionClosedError
from ..session.bridge import abort
from ..session.listener import StreamListener
from ..session.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import ByteStream, Listener, TaskGroup

__all__ = ("NOTICE_TIME", "Connections", "check_timeouts", "turn_away", "turn_away_at_once")

logger = logging.getLogger("muxado.server")

NOTICE_TIME = 1.0
"""Seconds that a handler has to notice that its stream was reset, before it is cancelled; and those in which
what was sent in good faith arrives."""


def check_timeouts(graceful_timeout: float, first_byte_timeout: float | None) -> None:
    """Before a server is started for them.

    :raises TypeError: if one is no number.
    :raises ValueError: if one is below 0.
    """
    check_seconds("graceful_timeout", graceful_timeout)
    if first_byte_timeout is not None:
        check_seconds("first_byte_timeout", first_byte_timeout)


READING_TIME = 0.2
"""Seconds in which a server that is to finish reads what has arrived; an upload that it does not read must not
hold it for longer."""

READING_STEP = 0.02
"""Seconds between two looks whether it has."""


async def turn_away(stream: ByteStream, cause: Exception) -> None:
    """End a stream that cannot be served now, and of which nothing was read; its peer may send all of it again.

    :param cause: for the log.
    """
    if isinstance(stream, Stream):
        turn_away_at_once(stream, cause)
        return
    logger.warning("a stream is refused: %s", cause)
    await abort(stream)


def turn_away_at_once(stream: Stream, cause: Exception) -> None:
    """The same of one of ours, without a task."""
    logger.warning("a stream is refused: %s", cause)
    try:
        stream.refuse()
    except NotImplementedError:
        stream.reset()


async def _serve_listener(
    listener: Listener[ByteStream],
    handler: Callable[[ByteStream], Awaitable[None]],
    tasks: TaskGroup,
) -> None:
    if isinstance(listener, StreamListener):
        await listener.serve(handler, tasks, reuse_tasks=True)
    else:
        await listener.serve(handler, tasks)


class Connections:
    """The streams of one server, from accept to the last byte.

    :param handle: serves one stream and returns when it is over; what it raises is logged.
    :param graceful_timeout: seconds that open requests have when serving ends.
    :param first_byte_timeout: seconds in which an accepted stream must say something; None: for
        ever.  No server here has such a limit of its own.
    """

    def __init__(
        self,
        handle: Callable[[ByteStream], Awaitable[None]],
        *,
        graceful_timeout: float,
        first_byte_timeout: float | None,
    ) -> None:
        self._handle = handle
        self._graceful_timeout = graceful_timeout
        self._first_byte_timeout = first_byte_timeout
        self._live: dict[ByteStream, anyio.CancelScope] = {}
        self._silent: dict[Stream, anyio.CancelScope] = {}
        self._none_live = anyio.Event()
        self._none_silent = anyio.Event()

    async def serve(
        self,
        listener: Listener[ByteStream],
        run: Callable[[], Awaitable[None]],
        shut_down: Callable[[], Awaitable[None]],
    ) -> None:
        """Serve what ``listener`` accepts until it ends or ``run`` returns; then close it.

        :param run: runs beside the listener, and is cancelled when that ends.
        :param shut_down: tells the server to finish, runs while the streams drain, and waits for
            them with :meth:`drained`.
        :raises Exception: what ended the listener, other than its or its session's regular end.

        Cancellation: ends gracefully, as described above, and is raised after that.
        """
        failure: Exception | None = None
        async with anyio.create_task_group() as handlers:
            try:
                async with anyio.create_task_group() as accepting:

                    async def run_to_the_end() -> None:
                        await run()
                        accepting.cancel_scope.cancel()

                    accepting.start_soon(run_to_the_end)
                    try:
                        await _serve_listener(listener, self._serve_one, handlers)
                    except (anyio.ClosedResourceError, SessionClosedError):
                        pass
                    except Exception as exc:  # noqa: BLE001 - raised below, out of the groups
                        failure = exc
                    accepting.cancel_scope.cancel()
            finally:
                with anyio.CancelScope(shield=True):
                    await listener.aclose()
                    handlers.start_soon(self._drain)
                    await self._end_silence()
                    await shut_down()
        if failure is not None:
            raise failure

    async def drained(self) -> None:
        """Wait until no stream is live.

        Cancellation: safe.
        """
        while self._live:
            await self._none_live.wait()

    async def _serve_one(self, stream: ByteStream) -> None:
        over = False
        with anyio.CancelScope(shield=True) as scope:
            self._live[stream] = scope
            try:
                if await self._says_something(stream):
                    await self._handle(stream)
                    over = True
            except Exception:
                logger.exception("serving %r failed", stream)
            finally:
                if not over:
                    await abort(stream)
                del self._live[stream]
                if not self._live:
                    self._none_live.set()
                    self._none_live = anyio.Event()

    async def _says_something(self, stream: ByteStream) -> bool:
        if not isinstance(stream, Stream) or stream.is_readable:
            return True
        readable = anyio.Event()
        stream.set_callbacks(readable.set, None)
        try:
            with anyio.move_on_after(self._first_byte_timeout) as scope:
                self._silent[stream] = scope
                await readable.wait()
                if not scope.cancel_called:  # it may have been refused, which calls back too
                    return True
        finally:
            del self._silent[stream]
            stream.set_callbacks(None, None)
            if not self._silent:
                self._none_silent.set()
        logger.debug("%r said nothing in time", stream)
        return False

    async def _end_silence(self) -> None:
        """Leave no stream that has said nothing, and none whose first request the server has not read.

        A server that is told to finish closes the connections on which it has no request.
        """
        at_last = anyio.current_time() + min(NOTICE_TIME, self._graceful_timeout)
        for stream, scope in self._silent.items():
            if stream.is_readable:
                continue
            try:
                stream.refuse()
            except NotImplementedError:
                scope.deadline = min(scope.deadline, at_last)
            else:
                scope.cancel()
        while self._silent:
            self._none_silent = anyio.Event()
            await self._none_silent.wait()
        await self._first_requests_read()

    async def _first_requests_read(self) -> None:
        """Wait until the server has taken what has arrived, and a moment longer, in which it looks at it."""
        with anyio.move_on_after(READING_TIME):
            while self._has_unread():  # noqa: ASYNC110 - no server tells what it has read
                await anyio.sleep(READING_STEP)
            if self._live:
                await anyio.sleep(READING_STEP)

    def _has_unread(self) -> bool:
        return any(isinstance(stream, Stream) and stream.is_readable for stream in self._live)

    async def _drain(self) -> None:
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(self._graceful_timeout):
                await self.drained()
            if self._live:
                logger.warning(
                    "%d stream(s) still open after %s s; resetting them",
                    len(self._live),
                    self._graceful_timeout,
                )
            for stream in list(self._live):
                await abort(stream)
            with anyio.move_on_after(NOTICE_TIME):
                await self.drained()
            for scope in self._live.values():
                scope.cancel()

"""Handlers: an application's handler for each stream, in tasks that go on to the next stream.

What it is.  What ``serve`` runs.  To start and to end a task of anyio's costs more than all of the rest that
a short stream costs its server; to wake one that waits costs little.  So a task that is done with a stream takes
another.

Where data comes from and goes to.  The session's acceptors call ``take`` with each stream that the peer opened; a
handler finds it as its argument and sees nothing of the task's earlier ones.

The rule.  Every handler finds the context that ``serve`` was called in: what one handler put into a
context variable, no other may find.  A task whose context has changed takes no other stream.  Values are
compared by identity: an equal one may be changed later, and some (arrays) cannot be compared at all.

A handler that may have to be cancelled alone is a :class:`ScopedHandler`.  To enter and to leave a cancel scope costs a tenth of
what a call costs its server, so a task has one for all that it handles, one after the other; one that was
cancelled takes no other stream.

One that needs no task for most streams is a :class:`TasklessHandler`: where the loop calls back, a task that is only woken to
wait costs as much as all that it does.

The traps.  A stream may be given to a task that is cancelled before it could begin: nobody else will end
that stream, so the task does.  asyncio marks a task that was cancelled by its name; a task with a mark
takes no other stream.  A cancellation that comes out of a handler may be that of a task it waited for; and on trio
it may come in a group with mistakes of the handler's tasks, which the scope that was cancelled would let pass, to all others.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from anyio import (
    BrokenResourceError,
    CancelScope,
    EndOfStream,
    get_cancelled_exc_class,
    get_current_task,
)

from ..errors import ErrorCode, escaped
from ..runtime.checkpoints import callback_context, current_task, wake
from .stream import Stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from ..protocol.stream_state import StreamState
    from ..runtime.checkpoints import Waiter
    from .driver import Driver

__all__ = (
    "MAX_IDLE_TASKS",
    "Handlers",
    "ScopedHandler",
    "TasklessHandler",
    "contain",
    "is_of_a_peer",
    "part_mistakes",
)

Subject = TypeVar("Subject")

logger = logging.getLogger("muxado.handler")

MAX_IDLE_TASKS = 256
"""Tasks that wait for a stream; 20,000 streams at once must not leave as many behind."""

_UNSET = object()
"""What no context variable holds."""


class ScopedHandler(ABC):
    """A handler of streams that can be cancelled alone; whatever calls it as a function gives it a scope of its own."""

    async def __call__(self, stream: Stream) -> None:
        with CancelScope() as scope:
            await self.handle(stream, scope)

    @abstractmethod
    async def handle(self, stream: Stream, scope: CancelScope) -> None:
        """Handle one stream.

        :param scope: the innermost one.  If it is cancelled what that raises is to be passed on.
        """


class TasklessHandler(ABC):
    """A handler that may do without a task; where it does not, it is called as a function."""

    @abstractmethod
    def begin(self, stream: Stream) -> bool:
        """Whether ``stream`` is handled, and ended, by callbacks from the loop's next turn on.

        Called from inside the session: nothing is done here, and it raises nothing.
        """

    @abstractmethod
    def __call__(self, stream: Stream) -> Awaitable[object]:
        """Handle it in this task."""


class Handlers:
    """Runs ``handler(stream)`` for each stream that it is given, and ends the stream as it ended.

    :param tasks: where the handlers run.
    :param most_idle: how many tasks may wait for the next stream.
    """

    def __init__(
        self,
        driver: Driver,
        handler: Callable[[Stream], Awaitable[object]],
        tasks: TaskGroup,
        most_idle: int,
    ) -> None:
        self._driver = driver
        self._handler = handler
        self._begin = handler.begin if isinstance(handler, TasklessHandler) else None
        self._tasks = tasks
        self._most_idle = most_idle
        self._context = context = callback_context()
        self._values = tuple(context.items())
        self._idle: list[_Seat] = []  # the last that came goes first

    def take(self, state: StreamState) -> None:
        """Handle a stream, without waiting.

        :raises RuntimeError: what the task group raises whose block has been left.
        """
        stream = Stream(self._driver, state)
        if self._begin is not None and self._begin(stream):
            return
        if self._idle:
            seat = self._idle.pop()
            seat.stream = stream
            wake(seat.waiter)
        else:
            self._context.run(self._tasks.start_soon, self._work, stream)

    def close(self) -> None:
        """No stream comes any more: tasks end when they have nothing to do."""
        self._most_idle = 0
        idle, self._idle = self._idle, []
        for seat in idle:
            wake(seat.waiter)

    async def _work(self, first: Stream) -> None:
        seat = _Seat(first)
        del first
        if isinstance(self._handler, ScopedHandler):
            with CancelScope() as scope:
                await self._go_on(seat, partial(self._handler.handle, scope=scope), scope)
        else:
            await self._go_on(seat, self._handler, None)

    async def _go_on(
        self,
        seat: _Seat,
        handler: Callable[[Stream], Awaitable[object]],
        scope: CancelScope | None,
    ) -> None:
        task, values = current_task(), self._values
        size = len(values)
        name = None if task is None else task.get_name()
        while (stream := seat.stream) is not None:
            seat.stream = None
            try:
                await handler(stream)
            except Exception as exc:  # noqa: BLE001 - one stream must not end them all
                _report(stream, exc)
                _cut_off(stream, ErrorCode.INTERNAL_ERROR)
            except BaseException as exc:
                _cut_off(stream, ErrorCode.STREAM_CANCELLED)
                if _is_its_own(exc):
                    logger.info("the handler of %r was cancelled", stream)
                    return
                part_mistakes(stream, exc)
                raise
            else:
                stream.close()
            del stream  # a task that waits keeps nothing of its last one
            if len(self._idle) >= self._most_idle or (scope is not None and scope.cancel_called):
                return
            if len(copy_context()) != size:
                return
            for variable, value in values:
                if variable.get(_UNSET) is not value:
                    return
            if task is not None and (task.cancelling() or task.get_name() != name):
                return
            seat.waiter = waiter = self._driver.new_waiter()
            self._idle.append(seat)
            try:
                await waiter
            except get_cancelled_exc_class():
                # By a scope or by its name: this task ends here, and takes nobody with it.
                if seat.stream is not None:
                    seat.stream.reset(ErrorCode.STREAM_CANCELLED)
                elif seat in self._idle:
                    self._idle.remove(seat)
                return


class _Seat:
    """Where a task waits for its next stream."""

    __slots__ = ("stream", "waiter")

    def __init__(self, stream: Stream) -> None:
        self.stream: Stream | None = stream
        self.waiter: Waiter


async def contain(
    handler: Callable[[Subject], Awaitable[object]], subject: Subject, *, owns_task: bool = True
) -> None:
    """Call ``handler(subject)``; an exception ends in the log, for one peer must not end them all.

    :param owns_task: whether the task is one of this package's own, and whoever cancels it by its name can mean
        nothing but the handler.

    Cancellation: passed on, if it is that of a cancel scope, or of a task of somebody else's.
    """
    try:
        await handler(subject)
    except Exception as exc:  # noqa: BLE001 - as above
        _report(subject, exc)
    except BaseException as exc:
        task = None if owns_task else current_task()
        if not _is_its_own(exc) or (task is not None and task.cancelling()):
            part_mistakes(subject, exc)
            raise
        logger.info("the handler of %r was cancelled", subject)


def _cut_off(stream: Stream, code: ErrorCode) -> None:
    """The handler ended before its stream; one that it had closed is whole, and still flushes."""
    if not stream._state.released:
        stream.reset(code)


def _is_its_own(exc: BaseException) -> bool:
    """Whether nobody but the handler is cancelled: its task by name, or a task that it waited for.

    A task group would take either for its own cancellation, and cancel all handlers.
    """
    cancelled = isinstance(exc, get_cancelled_exc_class())
    return cancelled and not get_current_task().has_pending_cancellation()


def part_mistakes(subject: object, exc: BaseException) -> None:
    """What failed beside what cancels more than the handler ends in the log.

    On trio a task group whose tasks are cancelled, and of which one fails over that, raises both in one group.

    :raises BaseExceptionGroup: what is left of the group.
    """
    if isinstance(exc, BaseExceptionGroup):
        mistakes, others = exc.split(Exception)
        if mistakes is not None and others is not None:
            _report(subject, mistakes)
            raise others


def is_of_a_peer(exc: Exception) -> bool:
    """Whether a connection ended and nothing else is wrong, though it may have been noticed in several tasks."""
    _, others = ExceptionGroup("", [exc]).split((BrokenResourceError, EndOfStream))
    return others is None


def _report(subject: object, exc: Exception) -> None:
    """A peer's failure is a line; anything else is a mistake of the handler, with its traceback."""
    if is_of_a_peer(exc):
        while isinstance(exc, ExceptionGroup):
            exc = exc.exceptions[0]
        logger.info("the handler of %r ended: %s", subject, escaped(str(exc)) or repr(exc))
    else:
        logger.error("the handler of %r failed", subject, exc_info=exc)

"""Background: an event loop in a thread of its own, and what other threads have it do.

What it is.  A blocking portal of anyio's, its thread, and an asynchronous context that is entered in the thread and left
there, all in one task.  The thread is ours, and not that of anyio's ``start_blocking_portal``: who drops that one waits for
the end of the thread, in whatever the collector interrupts, or is the very thread and fails.

The rules.  Whoever waits and is interrupted (``KeyboardInterrupt``) leaves nothing running: what was begun is cancelled.  And
the thread ends when nobody waits for it any more: what was given to a loop that ends meanwhile is never begun, and whoever waits
for that waits for ever.

The traps.  After ``fork`` the child has the objects and not the threads: a call would wait for ever, for what the background
does or for a lock that another thread had, so each looks whose process this is before it waits for either.  A call from the
thread itself would wait for itself.  And what was dropped is collected in any thread, this one too.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from ..errors import Retry, SessionClosedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager

__all__ = ("Background", "ForkedError", "closed_pool")

T = TypeVar("T")


class ForkedError(RuntimeError):
    """The thread that keeps the sessions is in the process that this one was forked from."""


def closed_pool() -> SessionClosedError:
    """What whoever comes after the end is told: nothing was begun."""
    return SessionClosedError("you closed this pool", retry=Retry.NEVER_SENT)


class Background:
    """A thread with an event loop, of asyncio's, that ends with :meth:`stop`.

    :param name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._pid = os.getpid()
        begun: Future[BlockingPortal] = Future()
        self._thread = threading.Thread(target=_run_loop, args=(begun,), name=name, daemon=True)
        self._thread.start()
        self._portal = begun.result()
        self._loop = self._portal.call(asyncio.get_running_loop)
        self._entered = ExitStack()
        self._waiting = 0  # threads, for what the loop does
        self._has_stopped = False
        self._nobody_waits = threading.Condition()

    def check(self) -> None:
        """Whether another thread may have something done here.

        :raises ForkedError: in a process that was forked.
        :raises RuntimeError: in the thread itself.
        """
        if os.getpid() != self._pid:
            raise ForkedError(
                f"this was made in process {self._pid}, and its thread is not in process {os.getpid()}: "
                "make another one after the fork"
            )
        if threading.current_thread() is self._thread:
            raise RuntimeError("this would wait for its own thread: call it from another one")

    def run(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await ``function()`` in the thread, and wait for it; it is cancelled if the wait is interrupted.

        :raises SessionClosedError: after :meth:`stop` and :meth:`abandon`.
        """
        with self._wait():
            # Not the portal's: its task group, scope and future for each call take half as long again.
            future = asyncio.run_coroutine_threadsafe(function(), self._loop)
            try:
                return future.result()
            except BaseException:
                future.cancel()
                raise

    def start(self, function: Callable[..., Awaitable[object]]) -> Any:
        """Run ``function(task_status=...)`` in the thread until it is over; what it has started with.

        :raises Exception: what it raised before.
        """
        with self._wait():
            _, started = self._portal.start_task(function)
        return started

    @contextmanager
    def _wait(self) -> Iterator[None]:
        self.check()
        with self._nobody_waits:
            if self._has_stopped:
                raise closed_pool()
            self._waiting += 1
        try:
            yield
        finally:
            with self._nobody_waits:
                self._waiting -= 1
                self._nobody_waits.notify_all()

    def soon(self, function: Callable[[], Any]) -> None:
        """Call ``function`` in the thread, and do not wait; it is no error if the thread has ended."""
        with suppress(RuntimeError):
            self._portal.start_task_soon(function)

    def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Enter ``manager`` in the thread; :meth:`stop` leaves it."""
        return self._entered.enter_context(self._portal.wrap_async_context_manager(manager))

    def stop(self) -> None:
        """Leave what was entered, which ends all that others wait for, and then the thread.

        :raises Exception: what was raised when it was left.
        """
        self.check()
        try:
            self._entered.close()
        finally:
            with self._nobody_waits:
                self._has_stopped = True
                self._nobody_waits.wait_for(lambda: not self._waiting)
            with suppress(RuntimeError):  # it has ended
                self._portal.call(self._portal.stop)
            self._thread.join()

    def abandon(self) -> None:
        """Have everything cancelled, and do not wait: for an object that was dropped, in whichever thread.

        In a process that was forked, nothing.
        """
        if os.getpid() != self._pid:
            return
        self._has_stopped = True  # what else was dropped with it may still ask, in a finalizer
        loop, portal = self._loop, self._portal

        def stop() -> None:
            stopping.append(loop.create_task(portal.stop(cancel_remaining=True)))

        stopping: list[asyncio.Task[None]] = []  # the loop itself holds a task only weakly
        with suppress(RuntimeError):  # it has ended
            loop.call_soon_threadsafe(stop)


def _run_loop(begun: Future[BlockingPortal]) -> None:
    """What the thread does: run a portal until it is stopped."""

    async def run() -> None:
        async with BlockingPortal() as portal:
            begun.set_result(portal)
            await portal.sleep_until_stopped()

    try:
        # A thread may inherit the context of the task that starts it, from CPython 3.14 on.
        Context().run(anyio.run, run)
    except BaseException as exc:  # noqa: BLE001 - of what others wait for they are told by what they wait for
        if not begun.done():
            begun.set_exception(exc)

"""What trio has to offer for :mod:`~muxado_py.runtime.checkpoints`; imported where trio runs, and nowhere else.

What it is.  A wait of anyio's on trio makes two events and goes through several calls to the one by which trio
parks a task; here is that one, which costs less CPU (``docs/measurements.md``).

The rule.  A task that waits is rescheduled once: by whoever wakes it, or by trio with its cancellation.

The trap.  Whether a task is cancelled is asked of an attribute that is private to trio.  :func:`checkpoint_due`
makes sure that it is there; else every call asks trio itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio.lowlevel import (
    Abort,
    current_task,
    current_trio_token,
    reschedule,
    wait_task_rescheduled,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from trio.lowlevel import Task

__all__ = ("TrioWaiter", "checkpoint_due", "run_check", "run_soon", "waiter_factory")


class TrioWaiter:
    """What one task awaits, once; see :class:`~muxado_py.runtime.checkpoints.Waiter`."""

    __slots__ = ("_done", "_task")

    def __init__(self) -> None:
        self._done = False
        self._task: Task | None = None

    def __await__(self) -> Generator[Any, Any, Any]:
        if not self._done:
            self._task = current_task()
            yield from wait_task_rescheduled(self._abort).__await__()  # noqa: ASYNC105 - it is

    def _abort(self, _raise_cancel: object) -> Abort:
        self._done = True
        self._task = None
        return Abort.SUCCEEDED

    def done(self) -> bool:
        return self._done

    def set_result(self, result: None, /) -> None:
        self._done = True
        if self._task is not None:
            reschedule(self._task)


def run_check(wrong_run: str) -> Callable[[], None]:
    """A function that raises a RuntimeError with this text under another run of trio, or none."""
    token = current_trio_token()

    def check_here() -> None:
        try:
            here = current_trio_token() is token
        except RuntimeError:
            here = False
        if not here:
            raise RuntimeError(wrong_run)

    return check_here


def run_soon() -> Callable[[Callable[[], object]], None]:
    """A function that has another called in the run's next turn."""
    return current_trio_token().run_sync_soon


def waiter_factory(check_here: Callable[[], None]) -> Callable[[], TrioWaiter]:
    """A task of another run would wait for ever."""

    def new_waiter() -> TrioWaiter:
        check_here()
        return TrioWaiter()

    return new_waiter


def checkpoint_due(every: int, check_here: Callable[[], None]) -> Callable[[], bool] | None:
    """``checkpoint_due`` by trio's own record of the task, if it is as it was."""
    status = getattr(current_task(), "_cancel_status", None)
    if not hasattr(status, "effectively_cancelled"):
        return None
    left = every
    latest = 0  # the task that looked last, by its id

    def due() -> bool:
        nonlocal left, latest
        left -= 1
        if not left:
            left = every
            latest = 0
            return True
        try:
            task: Any = current_task()
        except RuntimeError:
            task = None
        if id(task) != latest:
            check_here()
            latest = id(task)
        cancelled: bool = task._cancel_status.effectively_cancelled
        return cancelled

    return due

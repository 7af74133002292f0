"""What trio has to offer for :mod:`~muxado_py.turns`; imported where trio runs, and nowhere else.

What it is.  A wait of anyio's on trio makes two events and goes through six calls of Python to the one by which
trio parks a task; here is that one.  Over 64 streams a message and its echo cost both ends 24 us of CPU that
way, and 16 this way.

The rule.  A task that waits is rescheduled once: by whoever wakes it, or by trio with its cancellation.

The trap.  Whether a task is cancelled is asked of an attribute that is private to trio.  :func:`looking` makes
sure that it is there; else every call asks trio itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from trio.lowlevel import Task

__all__ = ("TrioWaiter", "looking")


class TrioWaiter:
    """What one task awaits, once; see :class:`~muxado_py.turns.Waiter`."""

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


def looking(patience: int) -> Callable[[], bool] | None:
    """``due`` by trio's own record of the task, if it is as it was."""
    status = getattr(current_task(), "_cancel_status", None)
    if not hasattr(status, "effectively_cancelled"):
        return None
    left = patience

    def due() -> bool:
        nonlocal left
        left -= 1
        if not left:
            left = patience
            return True
        task: Any = current_task()
        cancelled: bool = task._cancel_status.effectively_cancelled
        return cancelled

    return due

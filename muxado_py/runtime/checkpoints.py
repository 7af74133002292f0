"""Checkpoints and waits by the shortest way, asked of the running backend once for each session.

What it is.  anyio asks which event loop is running in every checkpoint and for every event, which takes several
times as many calls as the checkpoint or the wait itself.  A session lives on one loop, so it asks when it is
made.

And a turn of the loop for each call that need not wait costs more than the call.  Worse, it paces: a
loop that accepts one stream in each turn has one stream in each read and one frame in each write, where
64 callers wait.  So a call that need not wait asks :attr:`Backend.checkpoint_due`, which costs a look, and awaits
:attr:`Backend.checkpoint` only if it says so: once in a while, and whenever the caller is cancelled.

The rule.  Every call of a session that may wait is a checkpoint in anyio's sense in that a cancellation
arrives there, also one that came from the task itself a moment ago.  It lets others run once in
:data:`CALLS_PER_CHECKPOINT` calls, all tasks of the session counted together, so that a task that never has to
wait does not keep the others from running.

How a look is cheap.  anyio knows a task's innermost cancel scope, and each scope its parent; both are
private to it, so :func:`_scopes` makes sure that they are what they were, and where they are not every
call asks anyio itself.  A short stream looks six times, so it counts (``docs/measurements.md``).

A session that is used in another thread, or under another loop, says so where that costs little: when it looks
at another task than before, when it has to wait, and in the calls of a session that are rare.

The trap.  A waiter is woken once, by :func:`wake`; a future that was cancelled meanwhile must not be
given a result.
"""

from __future__ import annotations

import asyncio
import sys
from contextvars import copy_context
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary, ref

from anyio import CancelScope
from anyio.lowlevel import current_token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping
    from contextvars import Context

__all__ = (
    "Awaited",
    "Backend",
    "Callback",
    "Waiter",
    "callback_context",
    "current_backend",
    "current_task",
    "event_loop",
    "next_turn",
    "socket_loop",
    "wake",
)

CALLS_PER_CHECKPOINT = 64
"""Of so many calls that need not wait, one lets other tasks run."""


class Waiter(Protocol):
    """Whom to wake: what one task awaits, once; an ``asyncio.Future`` is one, and a :class:`Callback`."""

    def done(self) -> bool:
        """Whether it was woken or cancelled."""

    def set_result(self, result: None, /) -> object:
        """Wake who waits."""


class Awaited(Waiter, Protocol):
    """A :class:`Waiter` that a task awaits."""

    def __await__(self) -> Generator[Any, Any, Any]: ...


def wake(waiter: Waiter) -> None:
    """Let the task that awaits ``waiter`` go on; a second call does nothing."""
    if not waiter.done():
        waiter.set_result(None)


class Callback:
    """A :class:`Waiter` that is never done: ``callback`` is called each time.

    :param answers: whether something may be sent for it soon, by what is to be called in the loop's next turn or a task
        that this begins.
    """

    __slots__ = ("_callback", "answers")

    def __init__(self, callback: Callable[[], object], *, answers: bool = True) -> None:
        self._callback = callback
        self.answers = answers

    def done(self) -> bool:
        return False

    def set_result(self, result: None, /) -> None:
        self._callback()


class Backend(NamedTuple):
    """What a session needs of the running backend."""

    checkpoint_due: Callable[[], bool]
    """Whether the caller is to await ``checkpoint`` before it acts."""
    checkpoint: Callable[[], Awaitable[object]]
    """Lets other tasks run; raises if this one is cancelled."""
    new_waiter: Callable[[], Awaited]
    time: Callable[[], float]
    """What ``anyio.current_time`` gives."""
    check_here: Callable[[], None]
    """Raises a RuntimeError in another thread, or under another event loop."""
    soon: Callable[[Callable[[], object]], object]
    """Has a function called in the loop's next turn; from any thread, and at any moment."""


WRONG_LOOP = (
    "a session belongs to the event loop that it was made in, and this is another thread or loop: call it "
    "there, with anyio.from_thread or anyio.to_thread say"
)


def event_loop() -> asyncio.AbstractEventLoop | None:
    """The loop, if asyncio or uvloop runs this task; None on trio."""
    token = current_token().native_token
    return token if isinstance(token, asyncio.AbstractEventLoop) else None


def next_turn() -> Callable[[Callable[[], object]], object]:
    """A function that has another called in the next turn of this loop, behind all that is ready now."""
    loop = event_loop()
    return current_backend().soon if loop is None else loop.call_soon


READERS: dict[type, bool] = {}
"""Kinds of loops that were asked whether they call back for sockets, and whether they do."""


def socket_loop() -> asyncio.AbstractEventLoop | None:
    """The loop, if it calls back for sockets; asyncio's on Windows does not, unless one asks for the other."""
    loop = event_loop()
    if loop is None:
        return None
    known = READERS.get(type(loop))
    if known is None:
        known = READERS[type(loop)] = _has_readers(loop)
    return loop if known else None


def _has_readers(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        loop.remove_reader(-1)
    except NotImplementedError:
        return False
    except Exception:  # noqa: BLE001 - this is no descriptor
        pass
    return True


def current_task() -> asyncio.Task[Any] | None:
    """This task, if it is one of asyncio's, that may be cancelled by its name."""
    return None if event_loop() is None else asyncio.current_task()


def callback_context() -> Context:
    """A copy of this task's context, for what the loop's callbacks ask of anyio.

    anyio finds out which library it runs in by the current task, where sniffio is installed (trio brings
    it) and ``asyncio.run`` began.  A callback is in none, and was told that there is no event loop.
    """
    context = copy_context()
    sniffio = sys.modules.get("sniffio")
    if sniffio is not None and event_loop() is not None:
        context.run(sniffio.current_async_library_cvar.set, "asyncio")
    return context


def current_backend() -> Backend:
    """What the backend of this task has to offer."""
    loop = event_loop()
    backend = current_token().backend_class
    due: Callable[[], bool] | None
    new_waiter: Callable[[], Awaited]
    soon: Callable[[Callable[[], object]], object]
    if loop is not None:
        check_here, soon = _loop_check(loop), loop.call_soon_threadsafe
        due, new_waiter, time = _checkpoint_due(loop, check_here), loop.create_future, _clock(loop)
    else:
        from .trio_checkpoints import (  # where trio runs it can be imported
            checkpoint_due,
            run_check,
            run_soon,
            waiter_factory,
        )

        check_here, soon = run_check(WRONG_LOOP), run_soon()
        due, time = checkpoint_due(CALLS_PER_CHECKPOINT, check_here), backend.current_time
        new_waiter = waiter_factory(check_here)
    if due is None:
        asking = _ask_each_time(backend.checkpoint_if_cancelled, backend.checkpoint)
        return Backend(*asking, new_waiter, time, check_here, soon)
    return Backend(due, backend.checkpoint, new_waiter, time, check_here, soon)


def _clock(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """``loop.time``, without the call of Python around the clock that asyncio's own loops make."""
    own = loop.time
    return monotonic if getattr(own, "__func__", None) is asyncio.BaseEventLoop.time else own


def _loop_check(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    running = asyncio._get_running_loop

    def check_here() -> None:
        if running() is not loop:
            raise RuntimeError(WRONG_LOOP)

    return check_here


def _checkpoint_due(
    loop: asyncio.AbstractEventLoop, check_here: Callable[[], None]
) -> Callable[[], bool] | None:
    """``checkpoint_due`` by anyio's own records of tasks and scopes, if they are as they were."""
    states = _scopes()
    if states is None:
        return None
    find: Callable[[Any], Any] = asyncio.current_task
    if sys.version_info < (3, 12):  # where it is written in Python, and looks here
        find = asyncio.tasks._current_tasks.get  # type: ignore[attr-defined]
    here = get_ident()
    left = CALLS_PER_CHECKPOINT
    # A task makes several calls in one turn, so the last is remembered; weakly, for it may be over.
    latest: Callable[[], Any] = _nobody
    state: Any = None

    def forget(_task: object = None) -> None:
        nonlocal latest, state
        latest, state = _nobody, None

    def due() -> bool:
        nonlocal left, latest, state
        left -= 1
        if not left:
            left = CALLS_PER_CHECKPOINT
            forget()  # nor are the scopes of one that is over kept for long
            return True
        task = find(loop)
        if latest() is not task:
            # Under another loop of this thread ours has no task.  check_here alone would do, but CPython 3.11 asks the
            # kernel for the process each time that it is asked for the running loop.
            if task is None or get_ident() != here:
                check_here()
            # Forgotten when it is over: where no task is, none must be taken for it.
            latest = ref(task, forget)
            state = states.get(latest)
            if state is None:  # a task of asyncio's that has entered no scope yet
                forget()
                return False
        scope = state.cancel_scope
        while scope is not None:
            if scope._cancel_called:
                return _is_cancelled(state.cancel_scope)
            scope = scope._parent_scope
        return False

    return due


def _nobody() -> object:
    """Whose turn it was before the first call: that of no task, and not of none either."""
    return _nobody


def _is_cancelled(scope: Any) -> bool:
    """Whether a scope that is cancelled is within the next shield."""
    while not (scope._cancel_called or scope._shield or scope._parent_scope is None):
        scope = scope._parent_scope
    cancelled: bool = scope._cancel_called
    return cancelled


def _scopes() -> Mapping[ref[Any], Any] | None:
    """anyio's record of the asyncio tasks' cancel scopes, if it is still as it was."""
    scope = CancelScope()
    by_task = getattr(sys.modules[type(scope).__module__], "_task_states", None)
    known = all(hasattr(scope, name) for name in ("_cancel_called", "_shield", "_parent_scope"))
    if not (known and isinstance(by_task, WeakKeyDictionary)):
        return None
    states: Mapping[ref[Any], Any] | None = getattr(by_task, "data", None)
    return states


def _ask_each_time(
    look: Callable[[], Awaitable[object]], checkpoint: Callable[[], Awaitable[object]]
) -> tuple[Callable[[], bool], Callable[[], Awaitable[object]]]:
    """``checkpoint_due`` and ``checkpoint`` by asking the backend each time, which lets others run once in a while."""
    left = CALLS_PER_CHECKPOINT

    def patient() -> Awaitable[object]:
        nonlocal left
        left -= 1
        if left:
            return look()
        left = CALLS_PER_CHECKPOINT
        return checkpoint()

    return (lambda: True), patient

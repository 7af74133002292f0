"""AsyncioWorld: an asyncio loop for each side, and the network between them, in one virtual time.

What it is.  Two real event loops of asyncio, with its real transports; only the selector and the sockets
are made up.  One turn of a loop at a time, whichever is due; a coin decides between those that are due
together.

How a side is busy.  A callback that computes for a second leaves its own loop standing while the other
and the network go on: :meth:`AsyncioWorld.busy` runs those from within the callback.  What came meanwhile is
then found as a selector finds it: events before timers, behind whatever was due in the same turn.

uvloop has a loop of its own that cannot be given a clock.  The protocol that it drives is the same.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from asyncio import events, selector_events
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import sniffio

from .clock import TURN, Clock, wakes_at

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from random import Random

    from .network import SimSocket

__all__ = ("AsyncioWorld", "SimLoop")


class _Selector(selectors.BaseSelector):
    """Knows the sockets of one side; never waits."""

    def __init__(self) -> None:
        self._keys: dict[int, selectors.SelectorKey] = {}
        self.sockets: dict[int, SimSocket] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, fileobj, events, data)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj]

    def get_map(self) -> dict[Any, selectors.SelectorKey]:
        return self._keys

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = []
        for number, key in self._keys.items():
            ready = key.events & self._state(self.sockets[number])
            if ready:
                found.append((key, ready))
        return found

    def _state(self, one: SimSocket) -> int:
        return (selectors.EVENT_READ if one.readable else 0) | (
            selectors.EVENT_WRITE if one.writable else 0
        )


class _Task(asyncio.Task[Any]):
    """Sets of tasks are in the same order in every run."""

    number = 0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        _Task.number += 1
        self._hash = _Task.number
        super().__init__(*arguments, **named)

    def __hash__(self) -> int:
        return self._hash


class SimLoop(selector_events.BaseSelectorEventLoop):
    """The event loop of one side."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.selector = _Selector()
        super().__init__(self.selector)
        self.set_task_factory(_make_task)
        self.busy = False
        self.errors: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.errors.append(context))

    def _make_self_pipe(self) -> None:
        """Nobody is in another thread."""

    def _close_self_pipe(self) -> None:
        """There is none."""

    def _write_to_self(self) -> None:
        """There is none."""

    def time(self) -> float:
        return self._clock.now

    def next_due(self) -> float:
        """When it has something to do."""
        private: Any = self
        if private._ready or self.selector.select():
            return self._clock.now
        return (
            wakes_at(self._clock.now, private._scheduled[0]._when)
            if private._scheduled
            else math.inf
        )

    def turn(self) -> None:
        """Run what is due, once."""
        private: Any = self
        outer = events._get_running_loop()
        events._set_running_loop(None)
        events._set_running_loop(self)
        try:
            private._run_once()
        finally:
            events._set_running_loop(outer)
        self._clock.now += TURN


def _make_task(loop: asyncio.AbstractEventLoop, coro: Any, **named: Any) -> _Task:
    return _Task(coro, loop=loop, **named)


class AsyncioWorld:
    """Runs the two sides; see the module essay.

    :param rng: decides who is first.
    :param plain: whether the program did not begin with ``anyio.run``.
    """

    loop_name = "asyncio"

    def __init__(
        self,
        clock: Clock,
        rng: Random,
        sockets: tuple[SimSocket, SimSocket],
        *,
        plain: bool = False,
    ) -> None:
        self._plain = plain
        _Task.number = 0
        self._clock = clock
        self._rng = rng
        self._loops = [SimLoop(clock), SimLoop(clock)]
        for loop, one in zip(self._loops, sockets, strict=True):
            loop.selector.sockets.update(dict.fromkeys(one.descriptors, one))

    async def busy(self, side: int, seconds: float) -> None:
        """This side's loop stands for so long."""
        loop = self._loops[side]
        if loop.busy:
            return
        loop.busy = True
        until = self._clock.now + seconds
        task = _leave_task(loop)
        while self._step(until):
            pass
        self._clock.advance(until)
        _enter_task(loop, task)
        loop.busy = False

    def run(self, sides: list[Callable[[], Coroutine[Any, Any, None]]], until: float) -> bool:
        """Run both sides to their end.

        :param until: the latest.
        :returns: whether they came to it.
        """
        context = copy_context()
        if not self._plain:
            context.run(_as_anyio_does)
        tasks = [
            context.copy().run(loop.create_task, side())
            for loop, side in zip(self._loops, sides, strict=True)
        ]
        while not all(task.done() for task in tasks):
            if not self._step(until):
                break
        finished = all(task.done() for task in tasks)
        for task in tasks:
            if task.done():
                task.result()
        return finished

    def left_over(self) -> list[str]:
        """The tasks and errors that nobody waits for."""
        tasks = [repr(task) for loop in self._loops for task in asyncio.all_tasks(loop)]
        return tasks + [repr(one) for loop in self._loops for one in loop.errors]

    def settle(self, seconds: float) -> None:
        """Let what is left have its turns."""
        until = self._clock.now + seconds
        while self._step(until):
            pass

    def close(self) -> None:
        """Cancel what still runs, and close the loops."""
        for loop in self._loops:
            for _ in range(20):
                left = asyncio.all_tasks(loop)
                if not left:
                    break
                for task in sorted(left, key=hash):
                    task.cancel()
                for _ in range(5):
                    loop.turn()
            loop.close()

    def _step(self, until: float) -> bool:
        """One turn of a loop, or of the network; False if nothing is due until then."""
        clock = self._clock
        loops = [loop for loop in self._loops if not loop.busy]
        dues = [loop.next_due() for loop in loops]
        at = min([clock.next_due(), *dues])
        if at > until:
            return False
        clock.advance(at)
        clock.let_happen()
        ready = [loop for loop, due in zip(loops, dues, strict=True) if due <= clock.now]
        if ready:
            (ready[0] if len(ready) == 1 else self._rng.choice(ready)).turn()
        return True


def _as_anyio_does() -> None:
    sniffio.current_async_library_cvar.set("asyncio")


def _leave_task(loop: SimLoop) -> asyncio.Task[Any] | None:
    """Another loop is to run within this task."""
    task = asyncio.current_task(loop)
    swap = getattr(asyncio.tasks, "_swap_current_task", None)
    if swap is not None:
        swap(loop, None)
    return task


def _enter_task(loop: SimLoop, task: asyncio.Task[Any] | None) -> None:
    swap = getattr(asyncio.tasks, "_swap_current_task", None)
    if swap is not None:
        swap(loop, task)

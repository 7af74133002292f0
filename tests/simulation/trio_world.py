"""TrioWorld: both sides in one run of trio, and the network, in virtual time.

What it is.  trio allows one run in a thread, so the sides share it, and its clock is ours: when no task
can run, the clock goes on to whatever is due next.

How a side is busy.  What would run on it meanwhile is held back, and is let go in one batch when the spell
ends, as if its loop had only then looked; trio runs a batch in random order, here of the seed's chance.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import trio
from trio._core import _run

from .clock import TURN, wakes_at

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from random import Random

    from .clock import Clock
    from .network import SimSocket

__all__ = ("TrioSocket", "TrioWorld")

_side: ContextVar[int | None] = ContextVar("side", default=None)


class TrioSocket:
    """A ``trio.SocketType`` over a simulated one, as far as anyio uses it."""

    def __init__(self, one: SimSocket) -> None:
        self._sock = one
        self._waiting: dict[Any, Callable[[], bool]] = {}
        one.on_change = self.look

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def look(self) -> None:
        """Wake whom something has changed for."""
        for task, ready in [*self._waiting.items()]:
            if ready():
                del self._waiting[task]
                trio.lowlevel.reschedule(task)

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait for it."""
        while not ready():
            task = trio.lowlevel.current_task()
            self._waiting[task] = ready

            def abort(_: object, task: Any = task) -> trio.lowlevel.Abort:
                self._waiting.pop(task, None)
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(abort)
            if self._sock.closed:
                raise trio.ClosedResourceError("another task closed this socket")

    async def send(self, data: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return self._sock.send(data)
            except BlockingIOError:
                await self.until(lambda: self._sock.writable or self._sock.closed)

    async def recv(self, size: int) -> bytes:
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return self._sock.recv(size)
            except BlockingIOError:
                await self.until(lambda: self._sock.readable or self._sock.closed)

    def close(self) -> None:
        self._sock.close()
        self.look()


class _Clock(trio.abc.Clock):
    def __init__(self, clock: Clock, until: float) -> None:
        self._clock = clock
        self._until = until
        self.at_end: Callable[[], None] = lambda: None

    def start_clock(self) -> None:
        """It goes by itself."""

    def current_time(self) -> float:
        return self._clock.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        clock = self._clock
        if clock.next_due() < deadline:
            clock.advance(clock.next_due())
        elif math.isinf(deadline) or deadline > self._until:
            self.at_end()
        else:
            clock.advance(wakes_at(clock.now, deadline))
        clock.let_happen()
        return 0.0


class _Turns(trio.abc.Instrument):
    """Each turn takes its time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def before_io_wait(self, timeout: float) -> None:
        self._clock.now += TURN
        self._clock.let_happen()


class TrioWorld:
    """Runs the two sides; see the module essay."""

    loop_name = "trio"

    def __init__(self, clock: Clock, rng: Random, sockets: tuple[SimSocket, SimSocket]) -> None:
        self._clock = clock
        self._rng = rng
        self._held: list[list[Any] | None] = [None, None]
        self._finished = False

    async def busy(self, side: int, seconds: float) -> None:
        """This side's tasks stand for so long."""
        if self._held[side] is None:
            self._held[side] = []
            self._clock.later(seconds, self._go_on, side)
        await trio.lowlevel.checkpoint()

    def _go_on(self, side: int) -> None:
        held, self._held[side] = self._held[side], None
        runner: Any = _run.GLOBAL_RUN_CONTEXT.runner
        runner.runq.extend(held or ())

    def run(self, sides: list[Callable[[], Coroutine[Any, Any, None]]], until: float) -> bool:
        """See :meth:`AsyncioWorld.run`."""
        clock = _Clock(self._clock, until)
        seeded = _run._r.getstate()
        _run._r.seed(self._rng.random())
        try:
            with self._holding_back(), _deterministic():
                trio.run(self._main, sides, clock, clock=clock, instruments=[_Turns(self._clock)])
        finally:
            _run._r.setstate(seeded)
        return self._finished

    async def _main(
        self, sides: list[Callable[[], Coroutine[Any, Any, None]]], clock: _Clock
    ) -> None:
        with trio.CancelScope() as scope:
            clock.at_end = scope.cancel
            async with trio.open_nursery() as nursery:
                for side, main in enumerate(sides):
                    _side.set(side)
                    nursery.start_soon(main)
                _side.set(None)
        self._finished = not scope.cancelled_caught

    def left_over(self) -> list[str]:
        """trio leaves no task."""
        return []

    def settle(self, seconds: float) -> None:
        """There is nothing that could run."""

    def close(self) -> None:
        """trio's run has closed everything."""

    @contextmanager
    def _holding_back(self) -> Iterator[None]:
        private: Any = _run.Runner
        reschedule = private.reschedule

        def hold_back(runner: Any, task: Any, next_send: Any = _run._NO_SEND) -> None:
            reschedule(runner, task, next_send)
            side = task.context.get(_side)
            held = None if side is None else self._held[side]
            if held is not None:
                held.append(runner.runq.pop())

        private.reschedule = hold_back
        try:
            yield
        finally:
            private.reschedule = reschedule


@contextmanager
def _deterministic() -> Iterator[None]:
    private: Any = _run
    private._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        yield
    finally:
        private._ALLOW_DETERMINISTIC_SCHEDULING = False

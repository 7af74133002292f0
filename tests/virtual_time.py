"""Event loops whose clock jumps to the next timer as soon as every task waits.

Tests that are about time use these, so that an hour costs a millisecond and no machine is too slow.
They are for transports in memory: a socket would not be waited for.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import MockClock

if TYPE_CHECKING:
    from collections.abc import Callable


class _JumpingSelector(selectors.DefaultSelector):
    """Does not wait: says how long it was to have waited."""

    def __init__(self, slept: Callable[[float], None]) -> None:
        super().__init__()
        self._slept = slept

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # Without a timer there is nothing to jump to: whatever comes, comes from outside.
        ready = super().select(timeout if timeout is None else 0)
        if not ready and timeout:
            self._slept(timeout)
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop with a virtual clock."""

    def __init__(self) -> None:
        self._now = 0.0
        self.jumps = 0
        """How often it waited for a timer."""
        super().__init__(_JumpingSelector(self.jump))

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        """So much time passes."""
        self.jumps += 1
        self._now += seconds


def be_busy(seconds: float) -> None:
    """Block the running event loop for so long."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        clock.jump(seconds)
    else:
        assert isinstance(loop, JumpingLoop)
        loop.jump(seconds)


BACKENDS = ("asyncio", "trio")


def backend(name: str) -> tuple[str, dict[str, Any]]:
    """A value for the ``anyio_backend`` fixture."""
    if name == "trio":
        return name, {"clock": MockClock(autojump_threshold=0)}
    return name, {"loop_factory": JumpingLoop}

"""Deadline: one moment that moves all the time, by a timer of the loop that hardly ever does.

What it is.  A caller of the HTTP door is held to another time several times in each request.  A timer for each would be
made and cancelled for nothing: so there is one, which goes off at the deadline or before it, and then looks how much is left.

The rule.  It is set anew only for an earlier moment than the one it has.

The trap.  A timer holds who is called; so who has left stops it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ("Deadline",)


class Deadline:
    """That of one caller.

    :param passed: called when it has passed, in a turn of its own.
    """

    __slots__ = ("_at", "_goes_off_at", "_loop", "_passed", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[], object]) -> None:
        self._loop = loop
        self._passed = passed
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._goes_off_at = 0.0

    def set(self, seconds: float) -> float:
        """It is in so many ``seconds``, whenever it was.

        :returns: the time now.
        """
        now = self._loop.time()
        self._at = at = now + seconds
        if self._timer is None or self._goes_off_at > at:
            self._arm(at)
        return now

    def clear(self) -> None:
        """There is none."""
        self._at = None

    def stop(self) -> None:
        """The same, and there will be none any more."""
        self._at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._goes_off_at = at
        self._timer = self._loop.call_at(at, self._went_off)

    def _went_off(self) -> None:
        self._timer = None
        at = self._at
        if at is None:
            return
        if at > self._loop.time():
            self._arm(at)
        else:
            self._at = None
            self._passed()

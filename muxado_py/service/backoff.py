"""How long to wait before the next attempt to connect.

What it is.  Exponential back-off with full jitter: the ceiling doubles with each failure, and the delay is drawn evenly
from what is below it.  So a thousand agents that lost the same gateway come back spread over the whole of that time.  The
first ceiling is short, for a gateway that starts anew; the highest is what one that stays away has to bear.

The rule.  No clock and no sleep in here: the caller waits, and says when it went well.

The trap.  A gateway that accepts a session and drops it at once looks like a success each time.
The caller must call :meth:`Backoff.reset` only after a session that lasted.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Backoff",)


class Backoff:
    """The delays between attempts that fail one after the other.

    :param first: the ceiling of the first delay, in seconds.
    :param most: the highest ceiling, in seconds.
    :param draw: even numbers from 0 to 1.
    """

    def __init__(
        self, first: float = 0.05, most: float = 30.0, draw: Callable[[], float] = random.random
    ) -> None:
        self._first = first
        self._most = most
        self._draw = draw
        self.failures = 0

    def failed(self) -> float:
        """Count one more failure; the seconds to wait before the next attempt."""
        ceiling = min(self._most, self._first * 2.0 ** min(self.failures, 62))
        self.failures += 1
        return ceiling * self._draw()

    def reset(self) -> None:
        """The last session was a good one: begin again with the shortest delay."""
        self.failures = 0

"""RetryBudget: how many of the calls that may be sent again are sent again.

What it is.  A verdict says that to send a call once more is *safe*; whether it is *wise* depends on all the others: when most
calls fail, to send each of them three times is three times the load, on those who cannot bear it already.  So all
retries of one pool, or of one door, come from one budget.

The rule.  In any ten seconds there may be as many retries as ten a second, and one for each five calls of that time.  The
first lets those retry who call seldom or have just begun, the second bounds what retries add to a load: to a fifth.  Source:
Finagle's ``RetryBudget`` (``ttl`` 10 s, ``minRetriesPerSec`` 10, ``percentCanRetry`` 0.2; linkerd and Rust's tower have
the same).  The throttling of gRPC's A6 counts failures instead, and stops all retries at once; here some always remain.

What was never sent has been a load to nobody: its retries are not taken from here (gRPC A6, transparent retries); the deadline
of the call bounds them, and the number of those that can be asked.

Who finds it empty tells its own caller so, and that it is not to try again at once: else the next above does what was not
done here.

The trap.  Time is not forgotten to the moment but in slots of a second: what was counted matters for nine to ten.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("RetryBudget",)

SLOTS = 10
"""Parts into which a window is divided; each is forgotten as a whole."""


class _Slot:
    __slots__ = ("calls", "number", "retries")

    def __init__(self, number: int) -> None:
        self.number = number
        self.calls = 0
        self.retries = 0


class RetryBudget:
    """What may be sent again, for all calls of one pool or door.

    :param now: the time, in seconds.
    :param share: retries for each call.
    :param per_second: retries a second, however few calls there are.
    :param window: seconds for which a call, or a retry, counts.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        share: float = 0.2,
        per_second: float = 10.0,
        window: float = 10.0,
    ) -> None:
        self._now = now
        self._share = share
        self._reserve = per_second * window
        self._slot_time = window / SLOTS
        self._slots: deque[_Slot] = deque()
        self._calls = self._retries = 0

    @property
    def balance(self) -> int:
        """Retries that there may be now."""
        self._forget()
        return max(0, int(self._reserve + self._calls * self._share + 1e-9) - self._retries)

    def count_call(self) -> None:
        """There is a call, which may be sent again or not."""
        self._slot().calls += 1
        self._calls += 1

    def take(self) -> bool:
        """Whether one call may be sent once more; if so, that is counted."""
        if not self.balance:
            return False
        self._slot().retries += 1
        self._retries += 1
        return True

    def _slot(self) -> _Slot:
        slots = self._slots
        # Within one slot nothing is forgotten.
        if not slots or slots[-1].number < int(self._now() // self._slot_time):
            slots.append(_Slot(self._forget()))
        return slots[-1]

    def _forget(self) -> int:
        """Drop what does not count any more; the number of the slot that is now."""
        number = int(self._now() // self._slot_time)
        while self._slots and self._slots[0].number <= number - SLOTS:
            slot = self._slots.popleft()
            self._calls -= slot.calls
            self._retries -= slot.retries
        return number

"""What the scheduler tests share: a core reduced to counters.

:class:`Feed` holds for each key how many bytes it can send, tells the scheduler of each write, and
cuts frames of at most 16 KiB.  There is no clock; one pick is one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muxado_py.scheduler import DEFAULT_PRIORITY, Priority, Scheduler

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

__all__ = ("FRAME", "KIB", "Feed", "jain")

KIB = 1024
FRAME = 16 * KIB


class Feed:
    """Drives one scheduler; ``sent`` counts bytes by key."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.left: dict[Hashable, int] = {}
        self.sent: dict[Hashable, int] = {}

    def open(self, key: Hashable, priority: Priority = DEFAULT_PRIORITY) -> None:
        self.scheduler.add(key, priority)
        self.left[key] = self.sent[key] = 0

    def write(self, key: Hashable, nbytes: int) -> None:
        self.left[key] += nbytes
        self.scheduler.mark_ready(key, nbytes)

    def pick(self, frame: int = FRAME) -> Hashable | None:
        """One frame leaves; whose it is."""
        key = self.scheduler.pop()
        if key is not None:
            nbytes = min(frame, self.left[key])
            self.left[key] -= nbytes
            self.sent[key] += nbytes
            self.scheduler.served(key, nbytes, self.left[key] > 0)
        return key

    def picks(self, count: int, frame: int = FRAME) -> list[Hashable | None]:
        return [self.pick(frame) for _ in range(count)]

    def drain(self) -> str:
        """Every frame until nothing is ready; the keys, in order, as one string."""
        order = []
        while (key := self.pick()) is not None:
            order.append(str(key))
        assert not any(self.left.values()), "bytes were left behind"
        return "".join(order)


def jain(shares: Iterable[float]) -> float:
    """Jain's index of fairness: 1 if all shares are equal, 1/n if one has everything."""
    values = list(shares)
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))

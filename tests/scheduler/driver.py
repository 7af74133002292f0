"""What the scheduler tests share: a core reduced to counters.

:class:`Feed` holds for each key how many bytes it can send, tells the scheduler of each write, and
cuts frames of at most 16 KiB.  There is no clock; one frame is one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from muxado_py.scheduler import DEFAULT_PRIORITY, Priority, Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

__all__ = ("FRAME", "KIB", "Feed", "Stream", "jain", "serve_one")

KIB = 1024
FRAME = 16 * KIB


class Stream:
    """A key as the core's: equal to itself only, hashed by its place in memory."""

    __slots__ = ("__weakref__", "name", "place", "priority")

    def __init__(self, name: Hashable = None, priority: Priority = DEFAULT_PRIORITY) -> None:
        self.name = name
        self.priority = priority
        self.place: Any = None

    def __repr__(self) -> str:
        return str(self.name)


def serve_one(scheduler: Scheduler, send: Callable[[Stream], tuple[int, bool]]) -> Stream | None:
    """One frame leaves, as ``send`` says; whose it is."""
    served: list[Stream] = []

    def note(key: Stream, left: int) -> tuple[int, bool]:
        assert left == 1
        served.append(key)
        return send(key)

    scheduler.serve(note, 1)
    assert len(served) <= 1
    return served[0] if served else None


class Feed:
    """Drives one scheduler; keys have names, and ``sent`` counts bytes by name."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.keys: dict[Hashable, Stream] = {}
        self.left: dict[Hashable, int] = {}
        self.sent: dict[Hashable, int] = {}

    def open(self, *names: Hashable, priority: Priority = DEFAULT_PRIORITY) -> None:
        for name in names:
            self.keys[name] = Stream(name, priority)
            self.left[name] = self.sent[name] = 0

    def write(self, name: Hashable, nbytes: int) -> None:
        self.left[name] += nbytes
        self.scheduler.mark_ready(self.keys[name], nbytes)

    def ready(self, *names: Hashable) -> None:
        """Open each, with one frame to send."""
        self.open(*names)
        for name in names:
            self.write(name, FRAME)

    def move(self, name: Hashable, priority: Priority) -> None:
        self.keys[name].priority = priority
        self.scheduler.moved(self.keys[name])

    def remove(self, name: Hashable) -> None:
        self.scheduler.remove(self.keys[name])
        del self.left[name]

    def pick(
        self,
        frame: int = FRAME,
        *,
        meanwhile: Callable[[Hashable], object] = lambda name: None,
        more: bool | None = None,
    ) -> Hashable | None:
        """One frame leaves; whose it is.

        :param meanwhile: called in service, with the name of who is served.
        :param more: what is said of who is served, in spite of what is left.
        """

        def send(key: Stream) -> tuple[int, bool]:
            nbytes = min(frame, self.left[key.name])
            self.left[key.name] -= nbytes
            self.sent[key.name] += nbytes
            meanwhile(key.name)
            return nbytes, self.left.get(key.name, 0) > 0 if more is None else more

        served = serve_one(self.scheduler, send)
        return None if served is None else served.name

    def picks(self, count: int, frame: int = FRAME) -> list[Hashable | None]:
        return [self.pick(frame) for _ in range(count)]

    def drain(self) -> str:
        """Every frame until nothing is ready; the names, in order, as one string."""
        order = []
        while (name := self.pick()) is not None:
            order.append(str(name))
        assert not any(self.left.values()), "bytes were left behind"
        return "".join(order)


def jain(shares: Iterable[float]) -> float:
    """Jain's index of fairness: 1 if all shares are equal, 1/n if one has everything."""
    values = list(shares)
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))

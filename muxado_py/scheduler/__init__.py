"""Who writes next: the order of the streams that are ready.

What it is.  A connection has one transport and many streams with bytes to send.  A scheduler says
whose frame is cut next.  It knows nothing else: no bytes, no frames, no windows, no clock.

Where things are::

    priority.py   Priority: urgency and weight of one stream
    contract.py   Scheduler: the five methods, and in which order they are called
    urgency.py    "priority": strict by urgency with a guard, by weight inside one; the default
    fast_path.py  Lane, what goes before it: no order is needed while everything that is ready fits
    baseline.py   "round-robin" and "fifo": without priorities, to measure the gain against

How data comes and goes.  ``Stream.send`` and incoming credit end in ``mark_ready``; the writer calls
``serve``, which lets one stream after the other cut a frame.  Frames are cut late, because what
has left for the transport can no longer be overtaken: an order in user space is worth what the
queues below it are short.

The rules.  A pick costs the same with ten ready streams and with a hundred thousand, and open idle
streams cost nothing.  The same calls give the same order.  Nothing that is ready waits for ever.
The conformance tests hold every scheduler to that; a scheduler of your own should pass them too.

The trap.  Control frames are not scheduled: credit and resets that waited behind data would hold up
the peer that could free the way.  The connection sends them first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .baseline import FifoScheduler, RoundRobinScheduler
from .contract import Key, Scheduler, Send
from .fast_path import Lane
from .priority import DEFAULT_PRIORITY, Priority, check_priority
from .urgency import UrgencyScheduler

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "DEFAULT_PRIORITY",
    "SCHEDULERS",
    "FifoScheduler",
    "Key",
    "Lane",
    "Priority",
    "RoundRobinScheduler",
    "Scheduler",
    "Send",
    "UrgencyScheduler",
    "check_priority",
    "make_scheduler",
)


def _by_priority() -> Scheduler:
    return Lane(UrgencyScheduler())


SCHEDULERS: dict[str, Callable[[], Scheduler]] = {
    "priority": _by_priority,
    "round-robin": RoundRobinScheduler,
    "fifo": FifoScheduler,
}
"""The schedulers that have a name, for ``Config.scheduler``."""


def make_scheduler(scheduler: str | Callable[[], Scheduler] = "priority") -> Scheduler:
    """A new scheduler for one connection.

    :param scheduler: one of :data:`SCHEDULERS`, or a callable without arguments that returns a
        scheduler, such as a class of your own.
    :raises ValueError: if it is neither, or what the callable returned is no scheduler.
    """
    factory = SCHEDULERS.get(scheduler) if isinstance(scheduler, str) else scheduler
    if callable(factory):
        made = factory()
        if isinstance(made, Scheduler):
            return made
    raise ValueError(
        f"scheduler must be one of {', '.join(SCHEDULERS)}, or a callable without arguments that "
        f"returns an object with the methods of muxado_py.scheduler.Scheduler, got {scheduler!r}"
    )

"""The workloads: what is measured, and how a run becomes a figure.

Where data comes from and goes to.  A :class:`Workload` says what both processes of a pair are told to
do; what one run of it gave is a :class:`Sample`; a :class:`Metric` reads one figure off a sample.

The rule.  A rate counts only what was right: calls whose answer was compared, bytes that the server
checked.  A run that had an error on either side is no sample at all.

The trap.  For a rate more is better, for a cost less is: :attr:`Metric.more_is_better` decides which
way a ratio is taken, so that above 1 is always in our favour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("BULK_DOWN", "CALL_WORKLOADS", "WORKLOADS", "Metric", "Sample", "Workload")


@dataclass(frozen=True, slots=True)
class Sample:
    """One run without an error."""

    done: int
    """Calls, messages, bytes or streams, as the workload counts."""
    seconds: float
    """From the first open to the last answer."""
    client_cpu: float
    """Seconds of all threads of the client's process."""
    server_cpu: float
    """Seconds of all threads of the server's process."""
    client_memory: int = 0
    """Bytes of resident memory that the run added; measured for idle streams only."""
    server_memory: int = 0
    """The same of the server's process."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a sample."""

    name: str
    unit: str
    of: Callable[[Sample], float]
    more_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Workload:
    """What a pair does for a while."""

    name: str
    title: str
    action: str
    """What the client does; see ``actors/client.py``."""
    answer: str
    """What the server does with a stream; see ``actors/server.py``."""
    streams: int
    metrics: tuple[Metric, ...]
    """The first is the one that ratios are printed of."""

    @property
    def fresh(self) -> bool:
        """Whether each run needs new processes, because memory once used stays with a process."""
        return self.action == "hold"


def _cpu(sample: Sample) -> float:
    return sample.client_cpu + sample.server_cpu


def _rate(unit: str, scale: float) -> Metric:
    return Metric("rate", unit, lambda sample: sample.done / sample.seconds / scale)


def _cost(unit: str, scale: float) -> Metric:
    return Metric("CPU", unit, lambda sample: _cpu(sample) / sample.done * scale, False)


BULK = (_rate("MB/s", 1e6), _cost("s/GB", 1e9))
CALLS = (_rate("calls/s", 1), _cost("s/1,000 calls", 1e3))
MESSAGES = (_rate("msg/s", 1), _cost("s/1,000 msg", 1e3))

KIB = 1024
IDLE = (
    Metric(
        "memory, both sides",
        "KiB/stream",
        lambda it: (it.client_memory + it.server_memory) / it.done / KIB,
        False,
    ),
    Metric("client", "KiB/stream", lambda it: it.client_memory / it.done / KIB, False),
    Metric("server", "KiB/stream", lambda it: it.server_memory / it.done / KIB, False),
    Metric("client CPU", "s/10,000", lambda it: it.client_cpu / it.done * 1e4, False),
    Metric("server CPU", "s/10,000", lambda it: it.server_cpu / it.done * 1e4, False),
)

WORKLOADS = (
    Workload("bulk-1", "bulk, 1 stream", "bulk", "sink", 1, BULK),
    Workload("bulk-16", "bulk, 16 streams", "bulk", "sink", 16, BULK),
    Workload("calls-1", "open, echo 64 bytes, close: one at a time", "calls", "echo", 1, CALLS),
    Workload("calls-64", "open, echo 64 bytes, close: 64 at a time", "calls", "echo", 64, CALLS),
    Workload("messages-1", "64 bytes there and back, 1 stream", "messages", "echo", 1, MESSAGES),
    Workload(
        "messages-64", "64 bytes there and back, 64 streams", "messages", "echo", 64, MESSAGES
    ),
    Workload("idle", "idle streams", "hold", "hold", 10_000, IDLE),
)

CALL_WORKLOADS = (
    Workload(
        "unary-1", "a call of 64 bytes and its answer: one at a time", "calls", "echo", 1, CALLS
    ),
    Workload(
        "unary-64", "a call of 64 bytes and its answer: 64 at a time", "calls", "echo", 64, CALLS
    ),
    Workload(
        "blocking-1", "the same from code that blocks: one at a time", "calls", "echo", 1, CALLS
    ),
)
"""For what has calls of its own, whatever they are made of."""

BULK_DOWN = Workload("bulk-down", "bulk, 1 stream, from the server", "fetch", "source", 1, BULK)
"""Of the part ``websockets`` alone: a plain connection does in one direction what it does in the other."""

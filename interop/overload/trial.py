"""Trial: the processes of one run, what they are told to do, and what they use meanwhile."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ..bench.pair import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ("NOTHING", "PATIENT", "Phase", "Plan", "Sides", "try_out")

LOOK = 0.25
"""Seconds between two looks at the memory."""

FORGETTING = 10.0
"""Seconds after which callers have forgotten that they were refused, and hold nothing back (``service/throttle.py``)."""

PATIENT = 30.0
"""Seconds that a call has while the best is looked for: none is refused or cut off by it."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is tried out."""

    kind: str
    loop: str = "asyncio"
    seconds: float = 60.0
    """Of the overload; a best takes a tenth of it, and a second at least."""
    clients: int = 2
    work: float = 0.002
    """Seconds that a call takes of what the server has."""
    timeout: float = 0.5
    """Seconds that a call has in the overload."""
    factor: float = 3.0
    """How much more is asked for than can be done."""
    at_once: int = 16
    """Calls of each client at a time, while the best is looked for."""


class Sides(NamedTuple):
    """Of the server, and of all clients together."""

    server: float
    clients: float


NOTHING = Sides(0.0, 0.0)


@dataclass(slots=True)
class Phase:
    """What all clients were told while one thing was done, and what it took."""

    asked: int = 0
    told: dict[str, int] = field(default_factory=dict)
    took: dict[int, int] = field(default_factory=dict)
    """Calls that were answered, by milliseconds."""
    longest: float = 0.0
    seconds: float = 0.0
    begun: int = 0
    """Calls that the handler has begun with."""
    cpu: Sides = NOTHING
    """Processors that were used."""
    memory: list[Sides] = field(default_factory=list)
    """Bytes that were resident, as it went on."""

    @property
    def answered(self) -> int:
        """Calls."""
        return self.told.get("answered", 0)

    def useful(self, timeout: float) -> float:
        """Answers a second that came in time."""
        return sum(n for ms, n in self.took.items() if ms < 1000 * timeout) / self.seconds

    def within(self, part: float) -> float:
        """Seconds in which this part of the answered calls was."""
        left = part * self.answered
        for ms, count in sorted(self.took.items()):
            left -= count
            if left <= 0:
                return (ms + 1) / 1000
        return 0.0


class _Cast:
    """The processes."""

    def __init__(self, plan: Plan) -> None:
        python = [sys.executable, "-m"]
        loop = ["--loop", plan.loop]
        work = ["--kind", plan.kind, "--work", str(plan.work)]
        self._all: list[Process] = []
        try:
            self.server = self._start(*python, f"{__package__}.server", *loop, *work)
            url = self.server.address
            self.clients = [
                self._start(*python, f"{__package__}.client", *loop, url)
                for _ in range(plan.clients)
            ]
        except BaseException:
            self.end()
            raise

    def _start(self, *command: str) -> Process:
        process = Process(command)
        self._all.append(process)
        return process

    def end(self) -> None:
        """All of them."""
        for process in self._all:
            process.end()

    def sides(self, of: Callable[[Process], float]) -> Sides:
        """A figure of each."""
        return Sides(of(self.server), sum(map(of, self.clients)))

    def do(self, verb: str, seconds: float, **arguments: Any) -> Phase:
        """Let all clients do one thing at the same time."""
        phase = Phase()
        before = self.sides(Process.cpu_seconds)
        with ThreadPoolExecutor(len(self.clients)) as threads:
            running = [
                threads.submit(it.do, verb, within=seconds, seconds=seconds, **arguments)
                for it in self.clients
            ]
            while wait(running, LOOK).not_done:
                phase.memory.append(self.sides(Process.resident))
        after = self.sides(Process.cpu_seconds)
        _add(phase, [one.result() for one in running])
        phase.cpu = Sides(*((b - a) / phase.seconds for a, b in zip(before, after, strict=True)))
        phase.begun = self.server.do("begun")["begun"]
        return phase


def _add(phase: Phase, facts: Sequence[dict[str, Any]]) -> None:
    for one in facts:
        phase.asked += one["asked"]
        for what, count in one["told"].items():
            phase.told[what] = phase.told.get(what, 0) + count
        for ms, count in one["took"].items():
            phase.took[int(ms)] = phase.took.get(int(ms), 0) + count
        phase.longest = max(phase.longest, one["longest"])
        phase.seconds = max(phase.seconds, one["seconds"])


def try_out(plan: Plan) -> tuple[Phase, Phase, Phase]:
    """The best, the overload, and the best again.

    :raises FailedRunError: if a process ended, or did not answer.
    """
    cast = _Cast(plan)
    try:

        def best() -> Phase:
            return cast.do("busy", max(plan.seconds / 10, 1), at_once=plan.at_once, timeout=PATIENT)

        first = best()
        rate = plan.factor * first.useful(PATIENT) / plan.clients
        flood = cast.do("flood", plan.seconds, rate=rate, timeout=plan.timeout)
        time.sleep(FORGETTING)
        last = best()
        # What the server had not heard the end of yet, it began with later.
        late = last.begun - last.answered
        flood.begun += late
        last.begun -= late
        return first, flood, last
    finally:
        cast.end()

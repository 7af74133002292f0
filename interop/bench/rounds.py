"""Rounds: who runs when.

In each round every competitor runs the workload once, ours and theirs in turn, so that what else the
machine does falls on all of them; each round begins with another one, so that nobody always comes
after the same neighbour.  Processes live as long as the benchmark and every run has a session of its
own; idle streams get new processes each time.

The rule.  A failure is kept in the place of its sample, so that whoever makes ratios can refuse them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .pair import FailedRunError, Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..workshop import Workshop
    from .competitors import Competitor
    from .workloads import Sample, Workload

    Outcome = Sample | FailedRunError
    Runs = dict[str, list[Outcome]]

__all__ = ("Effort", "Stadium")

WARM_UP = 0.1
"""Seconds of a run that does not count, before a workload's first round."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is run."""

    rounds: int
    seconds: float
    """Of one run."""
    idle_streams: int
    idle_rounds: int

    def rounds_of(self, workload: Workload) -> int:
        """How many rounds a workload gets."""
        return self.idle_rounds if workload.fresh else self.rounds

    def streams_of(self, workload: Workload, competitor: Competitor) -> int:
        """How many streams a competitor has in a workload."""
        if workload.fresh:
            return self.idle_streams
        return competitor.streams.get(workload.name, workload.streams)


class Stadium:
    """Keeps the pairs that run; use it as a context manager, it ends them.

    :param tell: called with a line before each workload.
    """

    def __init__(self, workshop: Workshop, effort: Effort, tell: Callable[[str], object]) -> None:
        self._workshop = workshop
        self._effort = effort
        self._tell = tell
        self._pairs: dict[str, Pair] = {}

    def __enter__(self) -> Stadium:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._pairs):
            self._dismiss(name)

    def play(self, workload: Workload, competitors: Sequence[Competitor]) -> Runs:
        """All rounds of one workload, for those who can: an outcome each, by name."""
        field = [one for one in competitors if workload.name in one.can]
        rounds = self._effort.rounds_of(workload)
        self._tell(f"{workload.title}: {rounds} x {len(field)} runs")
        runs: Runs = {one.name: [] for one in field}
        if not workload.fresh:
            for one in field:
                self._run(workload, one, WARM_UP)
        for turn in range(rounds):
            first = turn % len(field) if field else 0
            for one in (*field[first:], *field[:first]):
                runs[one.name].append(self._run(workload, one, self._effort.seconds))
        return runs

    def _run(self, workload: Workload, competitor: Competitor, seconds: float) -> Outcome:
        if workload.fresh:
            self._dismiss(competitor.name)
        try:
            pair = self._pair(competitor)
            streams = self._effort.streams_of(workload, competitor)
            sample = pair.run(workload, streams, seconds)
        except FailedRunError as error:
            self._dismiss(competitor.name)
            return error
        if workload.fresh:
            self._dismiss(competitor.name)
        return sample

    def _pair(self, competitor: Competitor) -> Pair:
        if competitor.name not in self._pairs:
            self._pairs[competitor.name] = Pair(competitor.command(self._workshop))
        return self._pairs[competitor.name]

    def _dismiss(self, name: str) -> None:
        if pair := self._pairs.pop(name, None):
            pair.end()

"""The loopback part: throughput, rates and costs, two processes a competitor.

It chooses who takes part, lets them play, and hands out the :class:`.report.Section`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..workshop import Workshop
from . import plot, report
from .competitors import COMPETITORS, OURS
from .rounds import Effort, Stadium
from .workloads import CALL_WORKLOADS, WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ("FULL", "NAMES", "QUICK", "measure", "tell")

ALL = (*WORKLOADS, *CALL_WORKLOADS)
NAMES = tuple(workload.name for workload in ALL)

FULL = Effort(rounds=7, seconds=1.0, idle_streams=10_000, idle_rounds=7)
QUICK = Effort(rounds=3, seconds=0.2, idle_streams=2_000, idle_rounds=1)


def measure(
    effort: Effort, only: Collection[str], against: Collection[str], caption: str
) -> report.Section:
    """Play the workloads and report.

    :param only: names of workloads; all, if there are none.
    :param against: parts of names of competitors, without regard to case; all, if there are none.
    :param caption: when and where, for the plot.
    :raises ValueError: if ``against`` fits nobody.
    """
    workloads = [it for it in ALL if not only or it.name in only]
    competitors = tuple(
        one
        for one in COMPETITORS
        if one.kind == OURS or not against or any(it.lower() in one.name.lower() for it in against)
    )
    if all(one.kind == OURS for one in competitors):
        known = ", ".join(one.name for one in COMPETITORS if one.kind != OURS)
        raise ValueError(f"nobody is called {' or '.join(against)}; there are {known}")
    with tempfile.TemporaryDirectory() as directory:
        workshop = Workshop(Path(directory))
        reasons = {one.name: one.absence(workshop) for one in competitors}
        present = tuple(one for one in competitors if not reasons[one.name])
        with Stadium(workshop, effort, tell) as stadium:
            runs = {workload: stadium.play(workload, present) for workload in workloads}
    absent = {name: reason for name, reason in reasons.items() if reason}
    results = report.Results(present, absent, effort, runs)
    return report.Section(
        report.text(results),
        report.facts(results),
        plot.bars(results, caption),
        report.failures(results),
    )


def tell(line: str) -> None:
    """Progress, for whoever waits."""
    print(f"... {line}", file=sys.stderr, flush=True)

"""Rounds: which set-up when, so that what else the machine does falls on all of them.

In each round every set-up does the row once, and each round begins with another of them.  Tunnels live as long as
the benchmark; for idle callers each run has a tunnel of its own.

The rule.  A failure is kept in the place of its run, so that whoever makes ratios can refuse them, and costs that round only:
the next has new programs.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...workshop import GoSource
from ..pair import FailedRunError
from .callers import hold, load
from .programs import Tunnel
from .rows import IDLE, Row, Run
from .served import Ports
from .setups import ALONE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...workshop import Workshop
    from .setups import Setup

    Outcome = Run | FailedRunError
    Runs = dict[str, list[Outcome]]

__all__ = ("LOAD", "Effort", "Match")

LOAD = GoSource("load")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is run."""

    rounds: int
    seconds: float
    """Of one run."""
    warm_up: float
    """Seconds of a run that does not count, before a row's first round."""
    idle_callers: int
    idle_rounds: int

    def rounds_of(self, row: Row) -> int:
        """How many rounds a row gets."""
        return self.idle_rounds if row is IDLE else self.rounds


class Match:
    """Keeps the tunnels that run; use it as a context manager, it ends them.

    :param tell: called with a line before each row.
    """

    def __init__(self, workshop: Workshop, effort: Effort, tell: Callable[[str], object]) -> None:
        self._workshop = workshop
        self._effort = effort
        self._tell = tell
        self._tunnels: dict[str, tuple[Tunnel, tempfile.TemporaryDirectory[str]]] = {}

    def __enter__(self) -> Match:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._tunnels):
            self._dismiss(name)

    def play(self, row: Row, setups: Sequence[Setup]) -> Runs:
        """All rounds of one row, for those that it is about: an outcome each, by the name of the set-up."""
        field = [one for one in setups if row is not IDLE or one.name != ALONE]
        rounds = self._effort.rounds_of(row)
        self._tell(f"{row.title}: {rounds} x {len(field)} runs")
        runs: Runs = {one.name: [] for one in field}
        if row is not IDLE and self._effort.warm_up:
            for one in field:
                self._run(row, one, self._effort.warm_up)
        for turn in range(rounds):
            first = turn % len(field) if field else 0
            for one in (*field[first:], *field[:first]):
                runs[one.name].append(self._run(row, one, self._effort.seconds))
        return runs

    def _run(self, row: Row, setup: Setup, seconds: float) -> Outcome:
        if row is IDLE:
            self._dismiss(setup.name)
        try:
            tunnel = self._tunnel(setup)
            if row is IDLE:
                run = hold(tunnel, self._effort.idle_callers)
            else:
                run = load(self._workshop.program(LOAD), tunnel, row, seconds)
        except FailedRunError as error:
            self._dismiss(setup.name)
            return error
        if row is IDLE:
            self._dismiss(setup.name)
        return run

    def _tunnel(self, setup: Setup) -> Tunnel:
        if setup.name not in self._tunnels:
            folder = tempfile.TemporaryDirectory(prefix="muxado-tunnel-")
            try:
                ports = Ports.free()
                programs = setup.programs(self._workshop, ports, Path(folder.name))
                tunnel = Tunnel(programs, ports.callers, Path(folder.name))
            except subprocess.CalledProcessError as error:  # of what makes keys
                folder.cleanup()
                raise FailedRunError(str(error)) from None
            except BaseException:
                folder.cleanup()
                raise
            self._tunnels[setup.name] = tunnel, folder
        return self._tunnels[setup.name][0]

    def _dismiss(self, name: str) -> None:
        if found := self._tunnels.pop(name, None):
            tunnel, folder = found
            tunnel.end()
            folder.cleanup()

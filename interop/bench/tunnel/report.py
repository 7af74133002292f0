"""The report: the table of the rows, in words for a terminal and in JSON for a program.

Where data comes from and goes to.  :class:`Results` are the runs of all rows.  ``text`` prints a block for each row, with
medians, quartiles and the ratio of ours to each, and two tables in Markdown, of figures and of ratios; ``facts`` has
every run.

The rule.  A ratio is taken inside each round, then its median and quartiles; one that would rest on a failed run is the
word "refused".  Who could not take part has a line with the reason.  Above 1 is in our favour.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from ..figures import RefusedError, Spread, samples, spread
from ..pair import FailedRunError
from ..report import show
from .ours import OURS, OURS_HTTP, OURS_PORT, OURS_TLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .rounds import Effort, Runs
    from .rows import Row
    from .setups import Setup

__all__ = ("Results", "facts", "failures", "ratio", "text")


@dataclass(frozen=True, slots=True)
class Results:
    """All runs."""

    setups: tuple[Setup, ...]
    absent: dict[str, str]
    """Who could not take part, and why."""
    effort: Effort
    runs: dict[Row, Runs]

    @property
    def ours(self) -> list[str]:
        """The set-ups that are compared with all others."""
        return [
            one.name for one in self.setups if one.name in (OURS, OURS_TLS, OURS_PORT, OURS_HTTP)
        ]


def failures(results: Results) -> int:
    """Runs that failed, in all rows."""
    outcomes = (it for runs in results.runs.values() for found in runs.values() for it in found)
    return sum(isinstance(outcome, FailedRunError) for outcome in outcomes)


def ratio(row: Row, runs: Runs, ours: str, theirs: str) -> Spread:
    """Ours against theirs, round by round; above 1 is in our favour.

    :raises RefusedError: if a run of either failed, or a divisor is nothing.
    """
    both = [
        (our.figure, their.figure)
        for our, their in zip(samples(ours, runs[ours]), samples(theirs, runs[theirs]), strict=True)
    ]
    if not row.more_is_better:
        both = [(their, our) for our, their in both]
    try:
        return spread([above / below for above, below in both])
    except ZeroDivisionError:
        raise RefusedError(f"{row.title}: too small to measure") from None


# For a terminal


def text(results: Results) -> str:
    """A block for each row, the tables, and who they are."""
    lines: list[str] = []
    for row in results.runs:
        lines += (*_block(results, row), "")
    lines += (*_table(results, "medians", _median), "")
    for ours in results.ours:
        lines += (*_table(results, f"times better, {ours}", _ratio, ours), "")
    lines += (f"{one.name}: {one.note}" for one in results.setups if one.note)
    lines += (f"{name} took no part: {reason}" for name, reason in results.absent.items())
    return "\n".join(lines)


def _block(results: Results, row: Row) -> Iterator[str]:
    runs = results.runs[row]
    rounds = results.effort.rounds_of(row)
    about = (
        f"CPU of all programs for a {row.one}"
        if row.exchange
        else f"{results.effort.idle_callers:,} of them"
    )
    yield f"{row.title}: {row.unit}, median [quartiles], rounds: {rounds}; {about}; how many times better ours are"
    heads = "".join(f"{name:>22}" for name in results.ours)
    times = f"{'p50, ms':>10}{'p99, ms':>10}{'CPU, us':>10}"
    yield f"{'':30}{row.unit:>28}{times} |{heads}"
    for name in runs:
        cells = f"{_figure(runs, name):>28}{_middle(runs, name, 'p50', 1e3):>10}"
        cells += f"{_middle(runs, name, 'p99', 1e3):>10}{_middle(runs, name, 'cpu', 1e6):>10}"
        ratios = (_ratio(row, runs, name, ours) for ours in results.ours)
        yield f"{name:30}{cells} |{''.join(f'{it:>22}' for it in ratios)}"
    for name, outcomes in runs.items():
        for number, outcome in enumerate(outcomes, 1):
            if isinstance(outcome, FailedRunError):
                yield f"{name} failed in round {number}: {outcome}"


def _figure(runs: Runs, name: str) -> str:
    try:
        return show(spread([run.figure for run in samples(name, runs[name])]))
    except RefusedError:
        return "failed"


def _median(row: Row, runs: Runs, name: str, ours: str) -> str:
    if name not in runs:
        return "-"
    return _figure(runs, name).partition(" ")[0]


def _middle(runs: Runs, name: str, which: str, scale: float) -> str:
    try:
        middle = median(getattr(run, which) for run in samples(name, runs[name])) * scale
    except RefusedError:
        return ""
    return show(spread([middle])) if middle else ""


def _ratio(row: Row, runs: Runs, name: str, ours: str) -> str:
    if name == ours or name not in runs:
        return "-"
    try:
        return show(ratio(row, runs, ours, name))
    except RefusedError:
        return "refused"


def _table(results: Results, title: str, cell: Any, ours: str = "") -> Iterator[str]:
    names = [one.name for one in results.setups if one.name != ours]
    yield _line((title, *names))
    yield _line("---" for _ in (title, *names))
    for row, runs in results.runs.items():
        yield _line((f"{row.title}, {row.unit}", *(cell(row, runs, name, ours) for name in names)))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


# For a program


def facts(results: Results) -> dict[str, Any]:
    """For JSON: every run, and every ratio or why it is refused."""
    return {
        "effort": asdict(results.effort),
        "notes": {one.name: one.note for one in results.setups},
        "absent": results.absent,
        "rows": {
            row.name: {
                "title": row.title,
                "unit": row.unit,
                "runs": {name: [_run(it) for it in outcomes] for name, outcomes in runs.items()},
                "ratios": list(_ratios(results, row)),
            }
            for row, runs in results.runs.items()
        },
    }


def _run(outcome: Any) -> dict[str, Any]:
    return {"failed": str(outcome)} if isinstance(outcome, FailedRunError) else asdict(outcome)


def _ratios(results: Results, row: Row) -> Iterator[dict[str, Any]]:
    runs = results.runs[row]
    for ours in results.ours:
        for theirs in (name for name in runs if name != ours):
            pair = {"ours": ours, "theirs": theirs}
            try:
                yield {**pair, **ratio(row, runs, ours, theirs)._asdict()}
            except RefusedError as refused:
                yield {**pair, "refused": str(refused)}

"""The report: what was measured, in words for a terminal and in JSON for a program.

Where data comes from and goes to.  :class:`Results` are the runs of all workloads.  ``text`` prints a
block for each workload and the summary, which is README's table; ``facts`` has every run of every
round, so that whoever doubts a figure can work it out anew.

The rule.  Nothing is left out: a competitor that could not take part has its line with the reason, and a
ratio that would rest on a failed run is the word "refused".  Both event loops of asyncio are printed;
the summary takes the better one of a workload, and says which.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .competitors import GO, OTHER, OURS, Competitor
from .figures import RefusedError, Spread, fastest, ratio, values
from .pair import FailedRunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .rounds import Effort, Runs
    from .workloads import Metric, Workload

__all__ = (
    "Results",
    "Section",
    "facts",
    "failures",
    "row",
    "show",
    "shown_ratio",
    "text",
)

ON_ASYNCIO = (
    "muxado_py, asyncio",
    "muxado_py, uvloop",
    "muxado_py, calls, asyncio",
    "muxado_py, calls, uvloop",
    "muxado_py, blocking",
)


@dataclass(frozen=True, slots=True)
class Section:
    """What one part of the benchmark has to say."""

    text: str
    facts: dict[str, Any]
    """For JSON."""
    plot: str
    """An SVG document."""
    failures: int
    """Runs that failed."""


@dataclass(frozen=True, slots=True)
class Results:
    """All runs."""

    competitors: tuple[Competitor, ...]
    absent: dict[str, str]
    """Who could not take part, and why."""
    effort: Effort
    runs: dict[Workload, Runs]

    def title(self, workload: Workload) -> str:
        """A workload's, with the number of idle streams that there were."""
        count = f"{self.effort.idle_streams:,} " if workload.fresh else ""
        return f"{count}{workload.title}"

    def named(self, kind: str) -> list[str]:
        """The competitors of a kind."""
        return [one.name for one in self.competitors if one.kind == kind]


def failures(results: Results) -> int:
    """Runs that failed, in all workloads."""
    everything = (
        outcome for runs in results.runs.values() for it in runs.values() for outcome in it
    )
    return sum(isinstance(outcome, FailedRunError) for outcome in everything)


# For a terminal


def text(
    results: Results,
    title: str = "loopback",
    summary: Callable[[Results], Iterable[str]] | None = None,
) -> str:
    """Tables, the summary, and who they are.

    :param summary: lines; by default those of :func:`_summary`.
    """
    lines = [f"{title}, {results.effort.seconds:g} s a run", ""]
    for workload in results.runs:
        lines += (*_block(results, workload), "")
    lines += (*(summary or _summary)(results), "")
    for one in results.competitors:
        lines.append(f"{one.name}: {one.versions()}{f'; {one.note}' if one.note else ''}")
    lines += (f"{name} took no part: {reason}" for name, reason in results.absent.items())
    return "\n".join(lines)


def _block(results: Results, workload: Workload) -> Iterator[str]:
    """Figures of everybody, and ratios of ours to the others."""
    runs = results.runs[workload]
    ours = [name for name in results.named(OURS) if name in runs]
    first, *more = workload.metrics
    rounds = results.effort.rounds_of(workload)
    title = results.title(workload)
    yield f"{title}: median [quartiles], rounds: {rounds}; how many times better ours are"
    heads = f"{f'{first.name}, {first.unit}':>30}"
    heads += "".join(f"{f'{it.name}, {it.unit}':>{_width(it)}}" for it in more)
    yield f"{'':26}{heads} |" + "".join(f"{it.removeprefix('muxado_py, '):>21}" for it in ours)
    for name in runs:
        cells = f"{_figure(runs, name, first):>30}"
        cells += "".join(f"{_median(runs, name, it):>{_width(it)}}" for it in more)
        ratios = [] if name in ours else [shown_ratio(runs, our, name, first) for our in ours]
        yield f"{name:26}{cells} |" + "".join(f"{it:>21}" for it in ratios)
    for name, outcomes in runs.items():
        for number, outcome in enumerate(outcomes, 1):
            if isinstance(outcome, FailedRunError):
                yield f"{name} failed in round {number}: {outcome}"


def _width(metric: Metric) -> int:
    return len(metric.name) + len(metric.unit) + 4


def _figure(runs: Runs, name: str, metric: Metric) -> str:
    try:
        return show(values(name, runs[name], metric))
    except RefusedError:
        return "failed"


def _median(runs: Runs, name: str, metric: Metric) -> str:
    return _figure(runs, name, metric).partition(" ")[0]


def shown_ratio(runs: Runs, ours: str, theirs: str, metric: Metric) -> str:
    """How many times better ours is, or the word."""
    try:
        return show(ratio(runs, ours, theirs, metric))
    except RefusedError:
        return "refused"


def show(spread: Spread) -> str:
    """Its median, and its quartiles if they differ."""
    middle = _number(spread.median)
    if spread.low == spread.high:
        return middle
    return f"{middle} [{_number(spread.low)}, {_number(spread.high)}]"


def _number(figure: float) -> str:
    """Two or three digits that count."""
    for least, digits in ((100, 0), (10, 1), (0.1, 2), (0.01, 3)):
        if figure >= least:
            return f"{figure:,.{digits}f}"
    return f"{figure:.4f}"


def _summary(results: Results) -> Iterator[str]:
    """A Markdown table: ours on the better of asyncio and uvloop against everyone."""
    others = results.named(OTHER)
    heads = ("times better, median [quartiles]", "ours on", "fastest Go peer", *others)
    yield row(heads)
    yield row("---" for _ in heads)
    for workload in results.runs:
        yield row((results.title(workload), *_cells(results, workload, others)))


def _cells(results: Results, workload: Workload, others: Iterable[str]) -> Iterator[str]:
    runs, metric = results.runs[workload], workload.metrics[0]
    try:
        ours = fastest(runs, ON_ASYNCIO, metric)
    except RefusedError:
        yield "refused"
        return
    yield ours.removeprefix("muxado_py, ")
    try:
        go = fastest(runs, results.named(GO), metric)
        yield f"{shown_ratio(runs, ours, go, metric)} {go.removeprefix('Go ')}"
    except RefusedError:
        yield "refused" if results.named(GO) else "-"
    for name in others:
        yield shown_ratio(runs, ours, name, metric) if name in runs else "-"


def row(cells: Iterable[str]) -> str:
    """Of a Markdown table."""
    return f"| {' | '.join(cells)} |"


# For a program


def facts(results: Results) -> dict[str, Any]:
    """For JSON: every run, and every ratio or why it is refused."""
    return {
        "effort": asdict(results.effort),
        "versions": {one.name: one.versions() for one in results.competitors},
        "notes": {one.name: one.note for one in results.competitors if one.note},
        "absent": results.absent,
        "workloads": {
            workload.name: {
                "title": results.title(workload),
                "runs": {name: [_run(it) for it in outcomes] for name, outcomes in runs.items()},
                "ratios": list(
                    _ratios(runs, [it for it in results.named(OURS) if it in runs], workload)
                ),
            }
            for workload, runs in results.runs.items()
        },
    }


def _run(outcome: Any) -> dict[str, Any]:
    return {"failed": str(outcome)} if isinstance(outcome, FailedRunError) else asdict(outcome)


def _ratios(runs: Runs, all_ours: list[str], workload: Workload) -> Iterator[dict[str, Any]]:
    for ours in all_ours:
        for theirs in (name for name in runs if name not in all_ours):
            for metric in workload.metrics:
                row = {"metric": metric.name, "ours": ours, "theirs": theirs}
                try:
                    found = ratio(runs, ours, theirs, metric)
                except RefusedError as refused:
                    yield {**row, "refused": str(refused)}
                else:
                    yield {**row, **found._asdict()}

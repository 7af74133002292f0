"""Figures: medians, spreads and ratios, and when there is none.

Where data comes from and goes to.  Outcomes of rounds come in, :class:`Spread` goes out, for the report
and the plot alike.

The rule.  A ratio is taken inside each round, then its median and quartiles over the rounds: what the
machine did in one round is in both halves of its ratio.  If any run of either side failed there
is no ratio but a :class:`RefusedError`; leaving the failed rounds out would reward failing under load.

The trap.  Above 1 is in our favour, for rates and for costs.
"""

from __future__ import annotations

from statistics import median, quantiles
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from .pair import FailedRunError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .workloads import Metric, Sample

    Outcome = Sample | FailedRunError

OneRun = TypeVar("OneRun")

__all__ = ("RefusedError", "Spread", "fastest", "ratio", "samples", "spread", "values")


class RefusedError(Exception):
    """There is no such figure; the message says whose run failed, and how."""


class Spread(NamedTuple):
    """What several rounds gave."""

    median: float
    low: float
    """The first quartile."""
    high: float
    """The third quartile."""


def spread(figures: Sequence[float]) -> Spread:
    """Median and quartiles; of one figure, that figure."""
    if len(figures) == 1:
        return Spread(figures[0], figures[0], figures[0])
    low, _, high = quantiles(figures, n=4, method="inclusive")
    return Spread(median(figures), low, high)


def samples(name: str, runs: Sequence[OneRun | FailedRunError]) -> list[OneRun]:
    """The outcomes, if none of them is a failure.

    :raises RefusedError: if one is, or there are none.
    """
    good: list[OneRun] = []
    for run in runs:
        if isinstance(run, FailedRunError):
            raise RefusedError(f"{name}: {run}")
        good.append(run)
    if not good:
        raise RefusedError(f"{name}: it did not run")
    return good


def values(name: str, runs: Sequence[Outcome], metric: Metric) -> Spread:
    """What a metric gave over all rounds.

    :raises RefusedError: if a run failed.
    """
    return spread([metric.of(sample) for sample in samples(name, runs)])


def ratio(runs: Mapping[str, Sequence[Outcome]], ours: str, theirs: str, metric: Metric) -> Spread:
    """Ours against theirs, round by round; above 1 is in our favour.

    :raises RefusedError: if a run of either failed, or the divisor is nothing.
    """
    pairs = zip(
        samples(ours, runs.get(ours, ())), samples(theirs, runs.get(theirs, ())), strict=True
    )
    both = [(metric.of(our), metric.of(their)) for our, their in pairs]
    try:
        if metric.more_is_better:
            return spread([our / their for our, their in both])
        return spread([their / our for our, their in both])
    except ZeroDivisionError:
        raise RefusedError(f"{metric.name} of {ours} or {theirs} is too small to measure") from None


def fastest(runs: Mapping[str, Sequence[Outcome]], names: Iterable[str], metric: Metric) -> str:
    """Who of ``names`` has the best median, among those that took part.

    :raises RefusedError: if a run of one of them failed, for it might have been that one; or if
        none took part.
    """
    best: dict[str, float] = {}
    for name in names:
        if name in runs:
            middle = values(name, runs[name], metric).median
            best[name] = middle if metric.more_is_better else -middle
    if not best:
        raise RefusedError("nobody took part")
    return max(best, key=lambda name: best[name])

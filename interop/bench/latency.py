"""What a narrow part found, in words and in JSON.

Where data comes from and goes to.  A :class:`Run` is what arrived in one run; :class:`Results` has those of
all lines.  Text and facts come out.

The rule.  A quotient is taken inside each round, of percentiles as of rates, then the median over the
rounds; it is printed as it is, below 1 too.  Where a run failed there is no figure, but the word.

The trap.  Percentiles of one run are taken of its own messages: a run of ten seconds has a thousand, of
which the last ten are above p99.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import quantiles
from typing import TYPE_CHECKING, Any, TypeAlias

from .figures import RefusedError, Spread, samples, spread
from .pair import FailedRunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .path import Line

__all__ = (
    "RAW",
    "Outcome",
    "Results",
    "Run",
    "Runs",
    "facts",
    "failures",
    "jain",
    "percentile",
    "text",
)

Outcome: TypeAlias = "Run | FailedRunError"
Runs: TypeAlias = "dict[str, list[Outcome]]"
Figure: TypeAlias = "Callable[[Run], float]"

KIND = (
    "two network namespaces with the kernel's TCP in each, and between their TUN devices a path of "
    "ours (interop/go/path)"
)
RAW = "a raw socket"


@dataclass(frozen=True, slots=True)
class Run:
    """One run without an error."""

    latencies: tuple[float, ...]
    """Seconds, one way, in the order of arrival."""
    received: tuple[int, ...]
    """Bytes of each bulk stream."""
    seconds: float
    """In which both were counted."""
    sent_again: float = 0.0
    """Part of the sender's segments, from the first to the last."""

    @property
    def rate(self) -> float:
        """Bits per second of all bulk streams."""
        return sum(self.received) * 8 / self.seconds


def percentile(rank: int) -> Figure:
    """The figure that so many in a hundred messages do not exceed, in seconds."""

    def of(run: Run) -> float:
        if len(run.latencies) < 2:
            raise RefusedError("too few messages arrived")
        return quantiles(run.latencies, n=100, method="inclusive")[rank - 1]

    return of


def rate(run: Run) -> float:
    """Of bulk, in bits per second."""
    return run.rate


def sent_again(run: Run) -> float:
    """Part of all that the sender's TCP sent."""
    return run.sent_again


def jain(received: Sequence[int], weights: Sequence[int]) -> float:
    """Jain's index of the shares over the weights: 1 if they agree, 1/n if one has all."""
    shares = [nbytes / weight for nbytes, weight in zip(received, weights, strict=True)]
    squares = sum(share * share for share in shares)
    if not squares:
        raise RefusedError("nothing arrived")
    return sum(shares) ** 2 / (len(shares) * squares)


@dataclass(frozen=True, slots=True)
class Results:
    """All runs."""

    felt: dict[Line, Runs]
    """Messages beside bulk."""
    fifo: str
    """Whose bulk the others' is compared with."""
    separate: str
    """Whose latency the others' is compared with."""
    weights: tuple[int, ...]
    shared: list[Outcome]
    """Runs of one bulk stream of each weight."""
    long: Line
    alone: Runs
    """One bulk stream and nothing else, on the long line."""
    hogs: int = 0
    """Processes that took all the processor they could get."""
    compared: tuple[str, str] | None = None
    """Whose latency is compared with whose, besides."""


def failures(results: Results) -> int:
    """Runs that failed."""
    all_runs = [*results.felt.values(), results.alone, {"": results.shared}]
    outcomes = [it for runs in all_runs for of_one in runs.values() for it in of_one]
    return sum(isinstance(it, FailedRunError) for it in outcomes)


def quantity(runs: Runs, name: str, of: Figure) -> Spread:
    """A figure over all rounds.

    :raises RefusedError: if a run failed.
    """
    return spread([of(run) for run in samples(name, runs[name])])


def no_worse(runs: Runs, name: str, base: str, of: Figure) -> int:
    """In how many rounds a figure was at or below that of ``base``.

    :raises RefusedError: if a run of either failed.
    """
    both = zip(samples(name, runs[name]), samples(base, runs[base]), strict=True)
    return sum(of(one) <= of(other) for one, other in both)


def quotient(runs: Runs, name: str, base: str, of: Figure) -> Spread:
    """A figure over that of ``base`` in the same round, over all rounds.

    :raises RefusedError: if a run of either failed.
    """
    both = zip(samples(name, runs[name]), samples(base, runs[base]), strict=True)
    try:
        return spread([of(one) / of(other) for one, other in both])
    except ZeroDivisionError:
        raise RefusedError(f"{base} gave nothing") from None


# For a terminal


def text(results: Results) -> str:
    """A Markdown table for each line, and what stands in the way of one."""
    lines = [f"Narrow links: {KIND}{_beside(results)}."]
    lines.append("64-byte messages every 10 ms beside one bulk stream, one way; medians of rounds")
    for line, runs in results.felt.items():
        lines += ("", *_felt(results, line, runs))
    lines += ("", f"{results.long}: one bulk stream alone", *_alone(results))
    lines += ("", f"{len(results.weights)} bulk streams of weights 1 to {results.weights[-1]}:")
    lines[-1] += f" {_fairness(results)}"
    return "\n".join(lines)


def _beside(results: Results) -> str:
    return f"; beside {results.hogs} processor hogs of the same priority" if results.hogs else ""


def _felt(results: Results, line: Line, runs: Runs) -> Iterator[str]:
    rounds = len(next(iter(runs.values())))
    yield f"{line}; rounds: {rounds}"
    yield ""
    yield _row(
        "one-way latency of messages, ms",
        "p50",
        "p90",
        "p99",
        "p50, of own connection's",
        "p99, of own connection's",
        "bulk, Mbit/s",
        "bulk, of FIFO's",
        "rounds at or below it, p50 and p99",
        "sent again, %",
    )
    yield _row("---", *["---:"] * 9)
    for name in runs:
        yield _row(
            name,
            *(_show(quantity, runs, name, percentile(it), scale=1e3) for it in (50, 90, 99)),
            *(_show(quotient, runs, name, results.separate, percentile(it)) for it in (50, 99)),
            _show(quantity, runs, name, rate, scale=1e-6),
            _show(quotient, runs, name, results.fifo, rate),
            _rounds(results, runs, name),
            _show(quantity, runs, name, sent_again, scale=100),
        )
    if results.compared is not None:
        name, base = results.compared
        yield ""
        yield f"p50 of {name!r} in that of {base!r}: {_show(quotient, runs, name, base, percentile(50))}"
    yield from _failed(runs)


def _alone(results: Results) -> Iterator[str]:
    for name in results.alone:
        mbit = _show(quantity, results.alone, name, rate, scale=1e-6)
        line = f"{name}: {mbit} Mbit/s"
        if name != RAW:
            line += f", {_show(quotient, results.alone, name, RAW, rate)} of {RAW}'s"
        yield line
    yield from _failed(results.alone)


def _fairness(results: Results) -> str:
    def of(run: Run) -> float:
        return jain(run.received, results.weights)

    index = _show(quantity, {"weights": results.shared}, "weights", of, digits=4)
    return "; ".join((f"Jain's index of share over weight {index}", *_failed({"": results.shared})))


def _failed(runs: Runs) -> Iterator[str]:
    for name, outcomes in runs.items():
        for number, outcome in enumerate(outcomes, 1):
            if isinstance(outcome, FailedRunError):
                yield f"{name} failed in round {number}: {outcome}"


def _show(
    figure: Callable[..., Spread], *arguments: Any, scale: float = 1.0, digits: int = 0
) -> str:
    """Median and quartiles, or the word."""
    try:
        found = figure(*arguments)
    except RefusedError:
        return "refused"
    middle, low, high = (it * scale for it in found)
    if not middle:
        return "-"
    digits = digits or (2 if middle < 10 else 1)
    if low == high:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _rounds(results: Results, runs: Runs, name: str) -> str:
    """In how many a message was no later than on a connection of its own."""
    if name == results.separate:
        return "-"
    try:
        counts = [no_worse(runs, name, results.separate, percentile(it)) for it in (50, 99)]
    except RefusedError:
        return "refused"
    return " and ".join(map(str, counts))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


# For a program


def facts(results: Results) -> dict[str, Any]:
    """For JSON: percentiles, rates and shares of every run, in seconds and bits per second."""
    return {
        "link": KIND,
        "hogs": results.hogs,
        "lines": {
            line.name: {"is": str(line), "runs": _each(runs)} for line, runs in results.felt.items()
        },
        "long": {"is": str(results.long), "runs": _each(results.alone)},
        "weights": {"of": results.weights, "runs": _each({"": results.shared})[""]},
    }


def _each(runs: Runs) -> dict[str, list[dict[str, Any]]]:
    return {name: [_facts(it) for it in outcomes] for name, outcomes in runs.items()}


def _facts(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, FailedRunError):
        return {"failed": str(outcome)}
    found: dict[str, Any] = {"bulk": outcome.received, "rate": outcome.rate}
    found["sent_again"] = outcome.sent_again
    if outcome.latencies:
        found |= {f"p{it}": percentile(it)(outcome) for it in (50, 90, 99)}
        found |= {"messages": len(outcome.latencies), "longest": max(outcome.latencies)}
    return found

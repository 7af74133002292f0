"""The plot of the narrow part: how long messages were on their way, as strips on a logarithmic axis.

Where data comes from and goes to.  All messages of all rounds of a variant make one strip: a bar from p10
to p90, a mark at p50, and a line out to p99, whose figure stands behind it.  One panel a line.

The rule.  All strips of a panel share its axis.  A variant with a failed run has the word instead.
"""

from __future__ import annotations

from math import floor, log10
from statistics import quantiles
from typing import TYPE_CHECKING

from .figures import RefusedError, samples
from .plot import INK, OUR_COLOUR, THEIR_COLOUR, Drawing

if TYPE_CHECKING:
    from .latency import Results, Runs

__all__ = ("strips",)

WIDTH = 900  # in pixels, of which
NAMES = 260  # are for names, and
FIGURES = 140  # for figures at the end
ROW = 20
HEAD, FOOT = 34, 30
TICKS = (1, 2, 5)


def strips(results: Results, caption: str) -> str:
    """An SVG document; ``caption`` says when and where."""
    heights = [HEAD + len(runs) * ROW + FOOT for runs in results.felt.values()]
    drawing = Drawing(WIDTH, sum(heights) + 24)
    top = 0
    for (line, runs), height in zip(results.felt.items(), heights, strict=True):
        drawing.text(10, top + 22, f"one-way latency of a message, ms: {line}", bold=True)
        _panel(drawing, runs, (results.fifo, results.separate), top + HEAD)
        top += height
    drawing.text(10, top + 14, caption)
    return drawing.document()


def _panel(drawing: Drawing, runs: Runs, theirs: tuple[str, ...], top: float) -> None:
    found: dict[str, list[float] | None] = {}
    for name in runs:
        try:
            pooled = [it * 1e3 for run in samples(name, runs[name]) for it in run.latencies]
            found[name] = quantiles(pooled, n=100, method="inclusive") if len(pooled) > 1 else None
        except RefusedError:
            found[name] = None
    known = [it for it in found.values() if it]
    low = min((it[0] for it in known), default=1.0) * 0.9
    high = max((it[98] for it in known), default=10.0) * 1.1

    def place(milliseconds: float) -> float:
        part = (log10(milliseconds) - log10(low)) / (log10(high) - log10(low))
        return NAMES + part * (WIDTH - NAMES - FIGURES)

    bottom = top + len(runs) * ROW
    for tick in _ticks(low, high):
        drawing.line((place(tick), top), (place(tick), bottom), colour="#d8dee4")
        drawing.text(place(tick), bottom + 14, f"{tick:g}", anchor="middle")
    for row, (name, percentiles) in enumerate(found.items()):
        y = top + row * ROW
        ours = name not in theirs
        drawing.text(NAMES - 8, y + 12, name, anchor="end", bold=ours)
        if percentiles is None:
            drawing.text(NAMES, y + 12, "failed")
            continue
        p10, p50, p90, p99 = (percentiles[rank - 1] for rank in (10, 50, 90, 99))
        left, middle = place(p10), y + (ROW - 4) / 2
        colour = OUR_COLOUR if ours else THEIR_COLOUR
        drawing.box(left, y + 2, max(1.0, place(p90) - left), ROW - 8, colour)
        drawing.line((place(p90), middle), (place(p99), middle), colour=colour)
        drawing.line((place(p50), y), (place(p50), y + ROW - 4), colour=INK)
        drawing.text(place(p99) + 5, y + 12, f"p50 {p50:.1f}, p99 {p99:.1f}")


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10 and so on, as far as they fit."""
    decades = range(floor(log10(low)), floor(log10(high)) + 1)
    return [it * 10.0**ten for ten in decades for it in TICKS if low <= it * 10.0**ten <= high]

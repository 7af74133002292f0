"""The plot: throughput of everybody as bars, in an SVG document for the README.

Where data comes from and goes to.  One panel a workload, a bar for each competitor as long as its median,
a whisker over its quartiles.  :class:`Drawing` is what other plots of the benchmark are drawn with too.

The rule.  A bar begins at zero, each panel has a scale of its own, and who failed has the word instead
of a bar.  The background is painted, since README is read on dark pages as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from .competitors import OURS
from .figures import RefusedError, Spread, values

if TYPE_CHECKING:
    from .report import Results
    from .workloads import Workload

__all__ = ("Drawing", "bars")

OUR_COLOUR, THEIR_COLOUR, INK = "#1f6feb", "#9aa4b2", "#1f2328"
FONT = "system-ui, sans-serif"

PANEL = 470  # width in pixels, of which
NAMES = 160  # are for names, and
FIGURES = 90  # for the figure behind a bar
ROW = 18
HEAD = 34
COLUMNS = 2


class Drawing:
    """An SVG document in the making; lengths in pixels."""

    def __init__(self, width: float, height: float) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" font-family="{FONT}" font-size="11">',
        ]
        self.box(0, 0, width, height, "#ffffff")

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """A filled rectangle."""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="{colour}"/>'
        )

    def line(self, *points: tuple[float, float], colour: str = INK) -> None:
        """A line through points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')

    def text(
        self, x: float, y: float, words: str, *, anchor: str = "start", bold: bool = False
    ) -> None:
        """Words on a base line; ``anchor`` is start, middle or end."""
        weight = ' font-weight="bold"' if bold else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}"{weight}>'
            f"{escape(words)}</text>"
        )

    def document(self) -> str:
        """The finished document."""
        return "\n".join((*self._parts, "</svg>", ""))


def bars(results: Results, caption: str) -> str:
    """The rates of all workloads that have one; ``caption`` says when and where."""
    workloads = [it for it in results.runs if it.metrics[0].more_is_better]
    rows = max((len(results.runs[it]) for it in workloads), default=0)
    height = HEAD + rows * ROW + 10
    lines = -(-len(workloads) // COLUMNS)
    drawing = Drawing(COLUMNS * PANEL, lines * height + 24)
    for index, workload in enumerate(workloads):
        x, y = index % COLUMNS * PANEL, index // COLUMNS * height
        _panel(drawing, results, workload, x, y)
    drawing.text(10, lines * height + 14, caption)
    return drawing.document()


def _panel(drawing: Drawing, results: Results, workload: Workload, x: float, y: float) -> None:
    metric, runs = workload.metrics[0], results.runs[workload]
    found: dict[str, Spread | None] = {}
    for name in runs:
        try:
            found[name] = values(name, runs[name], metric)
        except RefusedError:
            found[name] = None
    longest = max((it.high for it in found.values() if it), default=1.0)
    scale = (PANEL - NAMES - FIGURES) / longest
    ours = results.named(OURS)
    drawing.text(x + 10, y + 22, f"{workload.title}, {metric.unit}", bold=True)
    for row, (name, spread) in enumerate(found.items()):
        top = y + HEAD + row * ROW
        drawing.text(x + NAMES - 6, top + 11, name, anchor="end", bold=name in ours)
        if spread is None:
            drawing.text(x + NAMES, top + 11, "failed")
            continue
        colour = OUR_COLOUR if name in ours else THEIR_COLOUR
        drawing.box(x + NAMES, top, spread.median * scale, ROW - 5, colour)
        middle = top + (ROW - 5) / 2
        drawing.line(
            (x + NAMES + spread.low * scale, middle), (x + NAMES + spread.high * scale, middle)
        )
        end = x + NAMES + max(spread.high, spread.median) * scale
        drawing.text(end + 5, top + 11, f"{spread.median:,.0f}")

"""The websockets part: sessions inside websockets beside what people have there, and beside our own over TLS.

langsmith's SDK has a multiplexer of its own, yamux on threads over a blocking websocket, to reach ports inside sandboxes: ours is
yamux in the clear as well, and the server of both is the same, ours. What TLS costs is in both halves of the other comparison:
``wss://`` against ``tls://``. All that is asynchronous is on uvloop.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..workshop import Workshop
from . import plot, report
from .competitors import OTHER, OURS, Competitor
from .loopback import tell
from .rounds import Stadium
from .workloads import BULK_DOWN, WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from .rounds import Effort

__all__ = ("COMPETITORS", "NAMES", "measure")

WITH_DOWN = (*WORKLOADS, BULK_DOWN)
NAMES = tuple(one.name for one in WITH_DOWN)
ALL = frozenset(NAMES)
PACKAGES = ("muxado-py", "anyio", "uvloop", "websockets")

YAMUX, LANGSMITH = "muxado_py, yamux in ws", "langsmith, yamux in ws"
WSS, TLS = "muxado_py, wss", "muxado_py, tls"

COMPETITORS = (
    Competitor(YAMUX, OURS, "ours_ws_yamux", "uvloop", PACKAGES, can=ALL),
    Competitor(WSS, OURS, "ours_wss", "uvloop", PACKAGES, can=ALL),
    Competitor(
        LANGSMITH,
        OTHER,
        "langsmith_yamux",
        "uvloop",
        ("langsmith", "websockets"),
        can=ALL - {"idle"},
        note="a thread for each stream, and the server of the first; it opens no idle ten thousand",
    ),
    Competitor(TLS, OTHER, "ours_tls", "uvloop", PACKAGES, can=ALL),
)
PAIRS = ((YAMUX, LANGSMITH), (WSS, TLS))


def measure(effort: Effort, only: Collection[str], caption: str) -> report.Section:
    """Play the workloads and report; who is not installed takes no part.

    :param only: names of workloads; all, if there are none.
    :param caption: when and where, for the plot.
    """
    workloads = [it for it in WITH_DOWN if not only or it.name in only]
    with tempfile.TemporaryDirectory() as directory:
        workshop = Workshop(Path(directory))
        absent = {one.name: why for one in COMPETITORS if (why := one.absence(workshop))}
        present = tuple(one for one in COMPETITORS if one.name not in absent)
        with Stadium(workshop, effort, tell) as stadium:
            runs = {workload: stadium.play(workload, present) for workload in workloads}
    results = report.Results(present, absent, effort, runs)
    return report.Section(
        report.text(results, "websockets", _summary),
        report.facts(results),
        plot.bars(results, caption),
        report.failures(results),
    )


def _summary(results: report.Results) -> Iterator[str]:
    """A Markdown table: each of ours against the one that it is compared with."""
    yield report.row(("times better, median [quartiles]", *(f"{it} / {to}" for it, to in PAIRS)))
    yield report.row("---" for _ in range(1 + len(PAIRS)))
    for workload, runs in results.runs.items():
        ratios = (
            report.shown_ratio(runs, ours, theirs, workload.metrics[0]) if theirs in runs else "-"
            for ours, theirs in PAIRS
        )
        yield report.row((results.title(workload), *ratios))

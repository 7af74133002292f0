"""The narrow part: what a small message waits for beside a bulk stream on the same connection.

Where data comes from and goes to.  A :class:`~.path.Path` is laid for each line, both ends of
``actors/narrow`` are started on it, and they play the variants in turn, round after round; what came
of it is a :class:`.latency.Results`, and goes out as a :class:`.report.Section`.

The rule.  The variants of a line are the same work over the same path in the same round.  A run with
an error of either side, bulk or message, is no run (:mod:`.figures`).

The trap.  No variant may be held back by its receive window, or it would be compared with one that
fills the path: all have large ones here.  What windows do by themselves is the long line's subject.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path as Directory
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..workshop import Workshop
from . import distribution, latency
from .latency import Run
from .pair import FailedRunError, Process
from .path import NICE, Line, PathError, lay
from .report import Section

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .latency import Outcome
    from .path import Path

__all__ = ("FULL", "LINES", "LONG", "PACED", "QUICK", "Effort", "Variant", "measure")

MIB = 2**20

LINES = (
    Line("narrow", 50e6, 0.040, 250_000),
    Line("fast", 500e6, 0.010, 625_000),
)
"""Each with a queue of one bandwidth-delay product."""

PACED = tuple(replace(line, name=f"{line.name}, bbr", congestion_control="bbr") for line in LINES)
"""The same, under the other congestion control that servers have as their default."""

CONGESTION_CONTROLS = Directory("/proc/sys/net/ipv4/tcp_available_congestion_control")

LONG = Line("long", 1e9, 0.040, 5_000_000, mtu=9000)

WINDOWS = {"stream_window": 4 * MIB}
"""Of both sides; six times the product of the fast line."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to send."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    """Of ``Config``, besides the windows."""
    loop: str = "asyncio"
    """The sender's."""
    weights: tuple[int, ...] = (16,)
    """Of the bulk streams."""
    messages: bool = True
    apart: tuple[str, ...] = ()
    """What has a TCP connection instead of a stream."""
    scheme: str = "tcp"
    """What the session is over."""


UNCAPPED = {"cap_in_flight": False}
KERNELS = UNCAPPED | {"notsent_lowat": None}

FIFO = "one queue (FIFO), kernel's buffers"
SEPARATE = "a TCP connection of its own"

VARIANTS = (
    Variant("idle: no bulk", weights=()),
    Variant(FIFO, KERNELS | {"scheduler": "fifo"}),
    Variant("priority, kernel's buffers", KERNELS),
    Variant("priority, TCP_NOTSENT_LOWAT", UNCAPPED),
    Variant("priority, cap in flight"),
    Variant(SEPARATE, UNCAPPED, apart=("messages",)),
)
ON_UVLOOP = (
    Variant("the same, uvloop, TCP_NOTSENT_LOWAT", UNCAPPED, loop="uvloop"),
    Variant("the same, uvloop, cap in flight", loop="uvloop"),
)

OVER_TLS, OVER_WSS = (Variant(f"the same, over {it}://", scheme=it) for it in ("tls", "wss"))

WEIGHTS = Variant("weights", weights=tuple(2**n for n in range(8)), messages=False)
RAW = Variant(latency.RAW, messages=False, apart=("bulk",))
OURS = tuple(Variant(f"muxado_py, {it}", loop=it, messages=False) for it in ("asyncio", "uvloop"))


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is run."""

    rounds: int
    lead: float
    """Seconds for TCP to find its rate, which do not count."""
    seconds: float
    """Seconds of each run that count."""
    uvloop: bool
    """Whether what is ours is run on uvloop too."""
    transports: bool = False
    """Whether over TLS and websockets, too."""


FULL = Effort(rounds=7, lead=2.0, seconds=8.0, uvloop=True)
QUICK = Effort(rounds=1, lead=0.8, seconds=1.2, uvloop=False)


def measure(effort: Effort, caption: str, hogs: int = 0) -> Section:
    """Lay the paths, play the variants and report; who cannot have a path is told why.

    :param caption: when and where, for the plot.
    :param hogs: how many processes take all the processor they get meanwhile.
    """
    more = (
        *(ON_UVLOOP if effort.uvloop else ()),
        *((OVER_TLS, OVER_WSS) if effort.transports else ()),
    )
    ours = OURS if effort.uvloop else OURS[:1]
    felt: dict[Line, latency.Runs] = {}
    with tempfile.TemporaryDirectory() as directory, _hogs(hogs):
        workshop = Workshop(Directory(directory))
        try:
            for line in (*LINES, *_paced_lines()):
                felt[line] = play(workshop, line, (*VARIANTS, *more), effort, WINDOWS)
            weights = play(workshop, LINES[0], (WEIGHTS,), effort, WINDOWS)[WEIGHTS.name]
            long = play(workshop, LONG, (RAW, *ours), effort, {})
        except PathError as error:
            return Section(f"narrow links took no part: {error}", {"absent": str(error)}, "", 0)
    results = latency.Results(felt, FIFO, SEPARATE, WEIGHTS.weights, weights, LONG, long, hogs)
    if effort.transports:
        results = replace(results, compared=(OVER_WSS.name, OVER_TLS.name))
    return Section(
        latency.text(results),
        latency.facts(results),
        distribution.strips(results, caption),
        latency.failures(results),
    )


def _paced_lines() -> tuple[Line, ...]:
    """Those under BBR, or none, with a word, where this kernel has no BBR."""
    if "bbr" in CONGESTION_CONTROLS.read_text().split():
        return PACED
    print("... this kernel has no BBR (try `modprobe tcp_bbr`): cubic only", file=sys.stderr)
    return ()


@contextmanager
def _hogs(count: int) -> Iterator[None]:
    """Processes that never wait, with the priority of those that are measured."""
    command = ["nice", "-n", str(NICE), sys.executable, "-c", "while True: pass"]
    with ExitStack() as stack:
        for _ in range(count):
            hog = stack.enter_context(subprocess.Popen(command))
            stack.callback(hog.kill)
        yield


def play(
    workshop: Workshop,
    line: Line,
    variants: Sequence[Variant],
    effort: Effort,
    windows: dict[str, Any],
) -> latency.Runs:
    """All rounds of some variants on one path, an outcome each, by name.

    :raises PathError: if there can be no path.
    """
    print(f"... {line}: {effort.rounds} x {len(variants)} runs", file=sys.stderr, flush=True)
    runs: latency.Runs = {one.name: [] for one in variants}
    with lay(line, workshop) as path, closing(_Ends(path, windows)) as ends:
        for turn in range(effort.rounds):
            first = turn % len(variants)
            for one in (*variants[first:], *variants[:first]):
                runs[one.name].append(ends.run(one, effort))
    return runs


class _Ends:
    """A sender for each event loop and one receiver, on asyncio, which live until one of them fails."""

    def __init__(self, path: Path, windows: dict[str, Any]) -> None:
        self._path = path
        self._windows = windows
        self._living: dict[tuple[str, str], Process] = {}

    def run(self, variant: Variant, effort: Effort) -> Outcome:
        """One run, or why there is none."""
        try:
            return self._run(variant, effort)
        except FailedRunError as error:
            self.close()
            return error

    def close(self) -> None:
        """End the processes."""
        for process in self._living.values():
            process.end()
        self._living.clear()

    def _process(self, loop: str, side: str) -> Process:
        if (loop, side) not in self._living:
            command = [sys.executable, "-m", f"{__package__}.actors.narrow", "--loop", loop]
            if side == self._path.far:
                command += ["--serve", json.dumps(self._windows)]
            self._living[loop, side] = Process(self._path.command(side, command))
        return self._living[loop, side]

    def _run(self, variant: Variant, effort: Effort) -> Run:
        far = self._process("asyncio", self._path.far)
        near = self._process(variant.loop, self._path.near)
        before = self._path.segments()
        begin = monotonic() + effort.lead
        end = begin + effort.seconds
        far.do("expect", begin=begin, end=end)
        sent = near.do(
            "run",
            within=effort.lead + effort.seconds,
            end=end,
            config=self._windows | variant.settings,
            weights=variant.weights,
            messages=variant.messages,
            apart=variant.apart,
            scheme=variant.scheme,
        )
        found = far.do("found")
        for side, facts in (("sender", sent), ("receiver", found)):
            if facts["errors"]:
                raise FailedRunError(
                    f"{facts['errors']} errors of the {side}, the first: {facts['first_error']}"
                )
        if sent["done"] < len(variant.weights) + variant.messages:
            raise FailedRunError("a stream was not finished")
        received = tuple(found["received"][str(label)] for label in range(len(variant.weights)))
        after = self._path.segments()
        sent_again = (after.sent_again - before.sent_again) / max(1, after.sent - before.sent)
        return Run(tuple(found["latencies"]), received, effort.seconds, sent_again)

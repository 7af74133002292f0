"""What the demo found: the figures, whether each claim held, and how people and programs read it.

What it is.  :class:`Findings` collects what the processes reported; from it come the JSON object,
the table, and the claims that decide the exit code.

The rule.  A claim is printed with the figure that decides it, and what was not measured is not
claimed: on bare loopback there is no queue to jump, so the ratios are not judged there.

The trap.  "FIFO" means more than an order: also the kernel's buffers as they are by default, because
that is what a program without priorities has.  The table says so, or the gain would be credited to
the scheduler alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .proxy import EmulatedLink

__all__ = ("FIFO_MEANS", "Call", "Claim", "Findings", "Phase", "percentile", "table")

FIFO_MEANS = (
    "bytes leave in the order they were written, and the kernel's send buffer is as the system "
    "sets it (no TCP_NOTSENT_LOWAT)"
)


class Phase(NamedTuple):
    """One measurement."""

    latencies: list[float]
    """Seconds of each answered request."""
    failures: list[str]
    bulk_rate: float
    """Bytes per second of the download beside it; 0 without one."""


class Call(NamedTuple):
    """One call that was open when the connection was cut."""

    id: str
    situation: str
    verdict: str
    """The name of a :class:`muxado_py.Retry`."""
    executed: bool
    """By the app's own record."""

    @property
    def safe(self) -> bool:
        return self.verdict in ("NEVER_SENT", "REFUSED")


class Claim(NamedTuple):
    """Something that must hold for the demo to end with 0."""

    text: str
    held: bool


class Findings(NamedTuple):
    """Everything one run of the demo found."""

    seconds: float
    link: EmulatedLink | None
    idle: Phase
    fifo: Phase
    priority: Phase
    calls: list[Call]

    @property
    def phases(self) -> dict[str, Phase]:
        return {"idle": self.idle, "fifo": self.fifo, "priority": self.priority}

    def claims(self) -> list[Claim]:
        """What must hold, with the figure that decides it."""
        failed = sum(len(phase.failures) for phase in self.phases.values())
        safe = [call for call in self.calls if call.safe]
        wrong = sum(call.executed for call in safe)
        claims = [
            Claim(f"no request failed ({failed} did)", not failed),
            Claim(
                f"no call that was declared safe to retry had been executed ({wrong} of "
                f"{len(safe)} had)",
                bool(safe) and not wrong,
            ),
        ]
        if self.link is None:
            return claims
        for share, most in ((50, 0.35), (99, 0.5)):
            ratio = _ratio(
                percentile(self.priority.latencies, share), percentile(self.fifo.latencies, share)
            )
            claims.append(
                Claim(
                    f"p{share} with priorities is at most {most} of FIFO's ({ratio:.2f})",
                    ratio <= most,
                )
            )
        ratio = _ratio(self.priority.bulk_rate, self.fifo.bulk_rate)
        claims.append(
            Claim(f"the download kept at least 0.9 of its rate ({ratio:.2f})", ratio >= 0.9)
        )
        return claims

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        claims = self.claims()
        safe = [call for call in self.calls if call.safe]
        return {
            "ok": all(claim.held for claim in claims),
            "requests": sum(len(p.latencies) + len(p.failures) for p in self.phases.values()),
            "failed": sum(len(phase.failures) for phase in self.phases.values()),
            "failures": sorted({f for phase in self.phases.values() for f in phase.failures}),
            "latency_ms": {
                name: {
                    f"p{share}": _milliseconds(percentile(phase.latencies, share))
                    for share in (50, 99)
                }
                for name, phase in self.phases.items()
            },
            "bulk_mb_s": {
                "fifo": round(self.fifo.bulk_rate / 1e6, 3),
                "priority": round(self.priority.bulk_rate / 1e6, 3),
            },
            "retry": {
                "safe": len(safe),
                "unknown": sum(call.verdict == "UNKNOWN" for call in self.calls),
                "safe_but_executed": sum(call.executed for call in safe),
                "calls": [call._asdict() for call in self.calls],
            },
            "seconds": self.seconds,
            "link": self.link._asdict() if self.link else None,
            "fifo_means": FIFO_MEANS,
            "claims": [claim._asdict() for claim in claims],
        }


def percentile(values: list[float], share: int) -> float:
    """The smallest value that at least ``share`` percent do not exceed; NaN without values."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * share / 100) - 1)]


def table(findings: Findings) -> str:
    """The findings for people."""
    link = findings.link
    through = "bare loopback"
    if link is not None and link.rate is not None:
        through = (
            f"a link of {link.rate * 8 / 1e6:g} Mbit/s and {link.delay * 2000:g} ms, with a "
            f"queue of {link.queue // 1024} KiB"
        )
    lines = [
        "",
        f"HTTP requests through the tunnel, over {through}",
        "",
        f"{'':38}{'p50':>10}{'p99':>10}{'download':>14}",
    ]
    rows = (
        ("alone", findings.idle),
        ("beside a download, FIFO", findings.fifo),
        ("beside a download, with priorities", findings.priority),
    )
    for name, phase in rows:
        p50, p99 = (f"{percentile(phase.latencies, share) * 1000:.1f} ms" for share in (50, 99))
        rate = f"{phase.bulk_rate / 1e6:.2f} MB/s" if phase.bulk_rate else ""
        lines.append(f"  {name:36}{p50:>10}{p99:>10}{rate:>14}")
    lines += [
        "",
        f"FIFO: {FIFO_MEANS}.",
        "",
        "Calls that were open when the connection was cut",
        "",
        f"  {'':38}{'safe to retry?':16}{'the app had it':14}",
    ]
    for call in findings.calls:
        safe = f"{'yes' if call.safe else 'no'} ({call.verdict.lower().replace('_', ' ')})"
        name = f"{call.id}: {call.situation}"
        lines.append(f"  {name:38}{safe:22}{'yes' if call.executed else 'no'}")
    lines.append("")
    lines += [
        f"  {'held' if claim.held else 'FAILED':8}{claim.text}" for claim in findings.claims()
    ]
    return "\n".join(lines)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _milliseconds(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds * 1000, 3)

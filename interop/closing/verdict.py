"""The verdict: was a byte lost in silence?"""

from __future__ import annotations

from collections import Counter
from typing import Any

from .plan import Plan

__all__ = ("Verdict",)


class Verdict:
    """What the sessions of a run came to.

    :ivar counts: how many sessions and bytes, by what became of them.
    :ivar findings: what must not be, in words that name the session.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.findings: list[str] = []

    def add(
        self, where: str, seed: int, told: dict[str, Any], got: dict[str, tuple[int, bool, str]]
    ) -> None:
        """What one pair of processes has noted."""
        for number, session in told.items():
            self._session(f"{where} {number}", Plan.of(seed, int(number)), number, session, got)

    def _session(
        self,
        where: str,
        plan: Plan,
        number: str,
        told: dict[str, Any],
        got: dict[str, tuple[int, bool, str]],
    ) -> None:
        missing = unread = 0
        for index, sent in told["sent"].items():
            arrived, right, end = got.get(f"{number}/{index}", (0, True, ""))
            wanted = plan.streams[int(index)].nbytes
            if not right:
                self.findings.append(f"{where}/{index}: other bytes came than were sent")
            # On smux a reset is a FIN: whose send was given up may look like an end there, and its sender knows.
            looks_ended = plan.wire == "smux2" and index in told["streams"]
            if end == "EOF" and arrived < wanted and not looks_ended:
                self.findings.append(
                    f"{where}/{index}: a clean end after {arrived} of {wanted} bytes"
                )
            unread += sent - arrived
            if index not in told["streams"]:
                missing += self._lost(plan, int(index), sent, arrived)
            self.counts["bytes sent"] += sent
            self.counts["bytes arrived"] += arrived
        self._judge(where, missing, plan, told["session"])
        if told["session"] is not None and not unread:
            self.counts["sessions told though all arrived"] += 1
            print(f"{where}: told {told['session']}, and all arrived")

    def _lost(self, plan: Plan, index: int, sent: int, arrived: int) -> int:
        """How many of the bytes of a stream did not come, and its calls said nothing."""
        stream = plan.streams[index]
        # Where the end of a session resets what it cuts off, a reset takes what nobody has accepted along.
        reset = plan.wire == "yamux" and not stream.closes
        return 0 if reset or stream.read_late == float("inf") else sent - arrived

    def _judge(self, where: str, missing: int, plan: Plan, session: dict[str, Any] | None) -> None:
        self.counts["sessions"] += 1
        if session is not None:
            kind = "told of undelivered bytes" if "nbytes" in session else "ended by another error"
            self.counts[f"sessions {kind}"] += 1
        elif missing:
            self.findings.append(
                f"{where}: {missing:,} bytes did not arrive, and nobody was told ({plan.wire}, {plan.how})"
            )
        else:
            self.counts["sessions of which all arrived"] += 1

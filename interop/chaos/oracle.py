"""The oracle: what clients were told against what servers executed.

The rule.  A call without an outcome, because its client was killed, may have been executed or not, and once at most unless
it was idempotent; nothing else is known of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Mapping

__all__ = ("Told", "attempts", "faults", "read", "useful")

SAFE = ("never sent", "refused")
"""The verdicts that promise that nobody executed it."""


class Told(NamedTuple):
    """What a client was told of one call."""

    id: str
    idempotent: bool
    size: int
    """Bytes of the request, about."""
    told: str
    """``answered``, ``wrong`` for the answer to another, or a verdict."""
    seconds: float
    patience: float
    """Seconds that it had."""
    why: str = ""


def read(lines: Iterable[str]) -> tuple[list[Told], int, int]:
    """Of one client: its calls, and of those that it has counted at its end, how many and how many streams.

    A last line that is not whole is that of a client that was killed.
    """
    told, calls, streams = [], 0, 0
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict):
            calls, streams = said["calls"], said["streams"]
        else:
            told.append(Told(*said))
    return told, calls, streams


def faults(told: Iterable[Told], executed: Counter[str]) -> list[str]:
    """What must not have happened, and did."""
    found = []
    for one in told:
        times = executed[one.id]
        if one.told == "wrong":
            found.append(f"{one.id} was given the answer of another")
        if one.told in ("answered", "wrong") and not times:
            found.append(f"{one.id} was answered and not executed")
        if one.told in SAFE and times:
            found.append(f"{one.id} was told {one.told!r} and executed {times} times: {one.why}")
        if times > 1 and not one.idempotent:
            found.append(f"{one.id} was executed {times} times, told {one.told!r}")
    return found


def useful(told: Iterable[Told], patience: float, replay_limit: int) -> tuple[int, int]:
    """Of the idempotent calls that had so much time and could be sent again: how many there were, and how many were answered."""
    asked = [
        one
        for one in told
        if one.idempotent and one.patience >= patience and one.size <= replay_limit
    ]
    return len(asked), sum(one.told == "answered" for one in asked)


def attempts(counts: Mapping[str, tuple[int, int]], seconds: float) -> list[str]:
    """Clients that opened more streams than the budget of retries allows, of 20 % and ten a second.

    :param counts: calls and streams of each client.
    :param seconds: that each has run at most.
    """
    return [
        f"{name} opened {streams} streams for {calls} calls in {seconds:.0f} s"
        for name, (calls, streams) in counts.items()
        if streams > 1.2 * calls + 10 * seconds
    ]

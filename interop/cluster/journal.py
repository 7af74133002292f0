"""The journal: which requests were executed, and what that says of what their callers were told.

The rule.  An id is in one request.  It is appended before the answer, by one write, so a process that dies loses no line.
"""

from __future__ import annotations

import os
from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("Asked", "Journal", "Told", "verdicts")


class Told(Enum):
    """What a caller knows of its request."""

    ANSWERED = "answered"
    NOT_EXECUTED = "not executed"
    """It was never sent, or refused with these words."""
    UNKNOWN = "unknown"


class Asked(NamedTuple):
    """One request that has come to its end."""

    id: str
    at: float
    """When it was asked, in seconds from the fault."""
    told: Told
    why: str = ""


class Journal:
    """That of all agents of a run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, request_id: str) -> None:
        """It is executed."""
        os.write(self._file, f"{request_id}\n".encode())

    def executed(self) -> Counter[str]:
        """How often each was."""
        return Counter(self._path.read_text().split())

    def close(self) -> None:
        """No more is written."""
        os.close(self._file)


def verdicts(asked: list[Asked], executed: Counter[str]) -> list[str]:
    """What must not have happened, and did."""
    found = [f"{one} was executed {times} times" for one, times in executed.items() if times > 1]
    for one in asked:
        if one.told is Told.ANSWERED and one.id not in executed:
            found.append(f"{one.id} was answered and not executed")
        if one.told is Told.NOT_EXECUTED and one.id in executed:
            found.append(f"{one.id} was executed, and its caller told that it was not: {one.why}")
    return found

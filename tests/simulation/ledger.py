"""Ledger: what each application did and was told, to be judged when the run is over.

The rule.  An application writes down what it was told at the moment it was told, and nothing that it could
not know.  Only the oracle looks at both sides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from muxado_py import Session, Stream
    from muxado_py.errors import Failure

    from .clock import Clock

__all__ = ("Call", "Half", "Ledger", "Side", "content")

Result = TypeVar("Result")

_PATTERN = Random(1).randbytes(1 << 20)


def content(base: int, offset: int, size: int) -> bytes:
    """What an application sends: no two places of a stream and no two streams look alike."""
    start = base * 7919 % (1 << 19) + offset
    return _PATTERN[start : start + size]


@dataclass
class Call:
    """One awaited call."""

    what: str
    began: float
    ended: float | None = None
    outcome: str = ""


@dataclass
class Half:
    """One application's view of one stream."""

    number: int
    side: int
    opened_here: bool
    stream: Stream | None = None
    error: BaseException | None = None
    """Why there is none, or what the first call that sends and failed said."""
    sent: int = 0
    """Bytes that ``send`` returned for."""
    sent_most: int = 0
    """The same with those of a call that did not return."""
    finish: str = ""
    """How this side ended what it sends: ``close``, ``eof``, ``reset``."""
    finished_at: float = 0.0
    got: bytearray = field(default_factory=bytearray)
    read_end: str = ""
    """How what it read ended: ``eof``, the name of an error, or ``here`` if it ended that itself."""
    read_error: BaseException | None = None
    done: bool = False
    rogue: bool = False
    meddled: bool = False
    calls: list[Call] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{'ab'[self.side]}{self.number}"


@dataclass
class Side:
    """What one side's application knows of its session."""

    session: Session | None = None
    halves: list[Half] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    verdict: Failure | None = None
    """Why the session says that it is over."""
    verdict_at: float | None = None
    unread_then: int = 0
    unread_since_then: float = 0.0
    """Bytes in the kernel at that moment, since when, when the last came, and when it last took some."""
    last_arrival_then: float = 0.0
    last_taken_then: float = 0.0
    left_by: str = ""
    ending_at: float | None = None
    """When its ending began, when its block was left, and when that was done."""
    leaving_at: float | None = None
    left_at: float | None = None
    heard_end: bool = False
    """Whether the transport had ended when the block was left."""
    refused: OSError | None = None
    """Why there was no connection."""
    leave_error: BaseException | None = None
    gone_away_at: float | None = None
    accept_error: BaseException | None = None
    pings: list[tuple[float, float, float, bool]] = field(default_factory=list)
    """When asked, when answered, the round trip that it gave, and whether it left at once."""
    statistics: list[tuple[int, int]] = field(default_factory=list)
    """Of moments in which no stream was open any more."""
    paused: bool = False
    """Whether this side had stopped reading at the end."""
    knows_peer: bool = False
    rogue_ids: set[int] = field(default_factory=set)
    """The streams behind whose end this side sent a byte."""
    mistakes: list[str] = field(default_factory=list)


class Ledger:
    """Of one run."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sides = Side(), Side()
        self.trace: list[tuple[float, str, str]] = []
        self.all_done_since: float | None = None
        self.reset_at_proxy = False
        """Whether a connection of a proxy was reset, so that what the proxy held of it was lost."""

    def note(self, who: str, what: str) -> None:
        self.trace.append((self.clock.now, who, what))

    async def call(
        self, owner: Half | Side, what: str, awaited: Awaitable[Result], who: str = ""
    ) -> Result:
        """Await it, and write down how it went."""
        call = Call(what, self.clock.now)
        owner.calls.append(call)
        try:
            result = await awaited
        except BaseException as exc:
            call.outcome = _said(exc)
            raise
        else:
            call.outcome = _shown(result)
            return result
        finally:
            call.ended = self.clock.now
            self.note(who or getattr(owner, "name", ""), f"{what}: {call.outcome}")

    def new_half(self, side: int, opened_here: bool) -> Half:
        halves = self.sides[side].halves
        half = Half(len(halves), side, opened_here)
        halves.append(half)
        return half

    def look_whether_done(self) -> None:
        """Whether no application has a stream any more."""
        done = all(half.done for side in self.sides for half in side.halves)
        if not done:
            self.all_done_since = None
        elif self.all_done_since is None:
            self.all_done_since = self.clock.now

    @property
    def calls_waiting(self) -> list[str]:
        """Who still waits."""
        waiting = []
        for name, side in zip("ab", self.sides, strict=True):
            owners: list[tuple[str, list[Call]]] = [(name, side.calls)]
            owners += [(half.name, half.calls) for half in side.halves]
            for who, calls in owners:
                waiting += [
                    f"{who}: {one.what} since {one.began:.3f}" for one in calls if one.ended is None
                ]
        return waiting


def _said(exc: BaseException) -> str:
    retry: Any = getattr(exc, "retry", None)
    return f"{type(exc).__name__} {exc}" + (f" [{retry.value}]" if retry is not None else "")


def _shown(result: object) -> str:
    return (
        f"{len(result)} B" if isinstance(result, bytes) else "" if result is None else f"{result!r}"
    )

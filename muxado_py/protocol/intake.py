"""Intake: how much of what a peer sends is taken in, and when to stop.

What it is.  Two bounds on a peer that asks for much.  *Budgets* are for frames that cost next to nothing each and
mean nothing, or provoke something: too many of them are the end.  A *pause* is for an honest peer that is
faster than we or it can follow: nothing more is decoded, so nothing more is read, until its reason is gone.

The reasons of a pause: the peer does not take our replies (CVE-2024-32984), or a session without windows is
full.  The flag itself is :attr:`.Inbound.paused`, where the decoder looks before each frame.

The rule.  Whoever queues a reply that a peer can provoke calls ``check_replies``.

The trap.  A pause ends in nothing by itself: whatever takes replies away or frees room has to let the inbound
side go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ErrorCode
from .budgets import Budget

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Config
    from .control_queue import ControlQueue

__all__ = ("Intake", "Violation")


class Violation(Exception):
    """The peer broke the protocol, or an abuse has no smaller remedy; caught in :meth:`.Inbound.receive`.

    :param code: what the GOAWAY says.
    :param message: what the peer did.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Intake:
    """The bounds of one connection on what comes in."""

    __slots__ = (
        "_control",
        "_max_replies",
        "early_resets",
        "faults",
        "noises",
        "pause",
        "pings",
    )

    def __init__(self, control: ControlQueue, config: Config, clock: Callable[[], float]) -> None:
        self._control = control
        self._max_replies = config.max_control_frames
        self.pings, self.noises, self.early_resets, self.faults = (
            Budget(config.control_budget, config.control_rate, clock) for _ in range(4)
        )
        """What the peer has left of pings, of frames that mean nothing, of streams that it resets before
        they were accepted, and of streams on which it breaks a rule."""
        self.pause: Callable[[], None] = _nobody_reads
        """Has nothing more decoded; the inbound side sets it."""

    # Pauses.

    @property
    def replies_pile_up(self) -> bool:
        """Whether the peer leaves our replies lying."""
        return self._control.queued >= self._max_replies

    def check_replies(self) -> None:
        """Pause while the peer does not take our replies."""
        if self.replies_pile_up:
            self.pause()

    # Budgets.

    def noise(self) -> None:
        """A frame that means nothing arrived."""
        self.spend(self.noises, "too many empty or unknown frames")

    def spend(self, budget: Budget, message: str) -> None:
        """The peer did what ``budget`` is for.

        :raises Violation: with ``message``, if it was once too often.
        """
        if not budget.spend():
            raise Violation(ErrorCode.ENHANCE_YOUR_CALM, message)


def _nobody_reads() -> None:
    pass

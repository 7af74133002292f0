"""Throttle: who is asked less, because most of what was asked of it was refused.

What it is.  To refuse costs a server less than to answer, but not nothing: of one that is asked for three times what it can do,
a tenth goes into refusals alone.  And a server that refuses all has never a stream in flight: whoever looks for the one that
has fewest goes there with most of its calls.  So who calls does not ask for what it is not going to get: a pool takes another session, and a
:class:`~muxado_py.Caller` whose calls are refused in spite of that does not send all of them.

The rule.  About twice as many are sent as are not refused, and some a second; who is held back is drawn by lot.  While fewer than
half are refused nobody is, and a server that refuses everything is still asked, so that it is noticed when it does not any
more.  Source: the client-side throttling of "Site Reliability Engineering", chapter 21 (there K is 2, over two minutes);
Finagle's ``NackAdmissionFilter`` and Envoy's admission control are the same in other forms.

It looks back a second or so, and not for minutes: what is sent can double about once in that time, so a server that refused
everything has all of its calls again within seconds.

The trap.  A call that was not sent, and has failed, counts as one that was refused; else half of them would look like enough, and
all be sent again.
"""

from __future__ import annotations

import math
import random

__all__ = ("PER_ACCEPTED", "Throttle")

PER_ACCEPTED = 2.0
"""What is sent for each that is not refused; K in the book."""

MEMORY = 1.0
"""Seconds in which what was counted comes to count for 1/e."""

FORGOTTEN = 1e-4
"""Refusals that count for so little count for nothing: one is forgotten after nine seconds."""


class Throttle:
    """How much of what one side asks of another is refused, and what is to be held back of it.

    :param per_accepted: what is sent for each that is not refused; infinite for all.
    :param per_second: what is sent in any case.
    """

    __slots__ = ("_asked", "_at", "_per_accepted", "_per_second", "refused")

    def __init__(self, per_accepted: float, per_second: float) -> None:
        self._per_accepted = per_accepted
        self._per_second = per_second
        self._asked = 0.0
        self._at = 0.0
        self.refused = 0.0
        """How much was refused, what is longer ago for less; 0 if that is forgotten, and nothing is held back."""

    def count(self, now: float, asked: int, refused: int) -> None:
        """So much was asked since the last time, and so much of it, or of what was asked before, refused."""
        kept = math.exp((self._at - now) / MEMORY)
        self._at = now
        self._asked = self._asked * kept + asked
        before = self.refused * kept
        self.refused = refused + (before if before > FORGOTTEN else 0.0)

    def excess(self, now: float) -> float:
        """The part of what is asked that is too much: 0, if nothing is, up to 1."""
        if not self.refused or math.isinf(self._per_accepted):
            return 0.0
        kept = math.exp((self._at - now) / MEMORY)
        asked, refused = self._asked * kept, self.refused * kept
        accepted = max(asked - refused, 0.0)  # it may be known late that one was refused
        most = self._per_accepted * accepted + self._per_second * MEMORY
        return max(asked - most, 0.0) / (asked + 1.0)

    def holds_back(self, now: float) -> bool:
        """Whether the next one is not to be sent."""
        excess = self.excess(now)
        return excess > 0 and random.random() < excess

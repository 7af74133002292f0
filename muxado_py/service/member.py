"""Member: one session of a pool, and what there is to know of it when a stream is to be opened.

The rule.  A server that refuses at once has never a stream in flight, so it has fewest of all, and of two sessions that are
drawn it is the one that is taken: one such server of three would get two thirds of all calls, and more of them would fail than
may be sent again.  (Site Reliability Engineering, chapter 20, calls it a sinkhole.)  So one that refuses most is passed over as
often as it is too much (:mod:`.throttle`).  That it was passed over does not count as a refusal: who is not passed over is not
taken yet, if another has fewer streams, and a server that takes streams again would never come to get many.

The trap.  What was opened and refused is known as numbers from the first on.  How long it took to come to them says only whoever
looked before; so what is older than a look of a moment ago is left out, or an hour without a refusal would hide the first
thousands of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from .throttle import PER_ACCEPTED, Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..scheduler import Priority
    from ..session.session import Session
    from ..session.stream import Stream

__all__ = ("Member", "Wish")

PROBES = 1.0
"""Streams a second that are opened on a session however many it refuses."""

RECENT = 1.0
"""Seconds between two looks, of which the second still says something of now."""


class Wish(NamedTuple):
    """What kind of session a stream is wanted on."""

    avoid: tuple[Stream, ...] = ()
    """Not on those of these streams, while there is another."""
    metadata: bool = False
    """Only where it is known what the peer is."""


class Member:
    """One session.

    :param url: where it leads, or comes from.
    :param leave: called when no stream can be opened on it any more though it is not over.
    """

    __slots__ = (
        "_heard",
        "_leave",
        "_looked_at",
        "_opened",
        "_refused",
        "_throttle",
        "is_leaving",
        "session",
        "url",
    )

    def __init__(self, session: Session, url: str, leave: Callable[[], object]) -> None:
        self.session = session
        self.url = url
        self.is_leaving = False
        self._heard = False
        self._leave = leave
        self._throttle = Throttle(PER_ACCEPTED, PROBES)
        self._looked_at = (
            -math.inf
        )  # at what it refuses; since then so many were opened, and by then so many refused
        self._opened = self._refused = 0

    def is_open(self) -> bool:
        """Whether streams can be opened on it, now or later."""
        if not self.is_leaving and self.session.going_away:
            self.is_leaving = True
            self._leave()
        return not self.is_leaving

    def is_free(self) -> bool:
        """Whether one can be opened now."""
        if self.session.slots.is_free:  # one that goes away has no free slot
            return not self.is_leaving
        self.is_open()  # if that is why, it is told
        return False

    def open_stream(
        self,
        priority: Priority | None,
        stream_type: int | None,
        metadata: Mapping[str, bytes] | None,
    ) -> Stream:
        """See :meth:`.Session.open_stream_nowait`."""
        stream = self.session.open_stream_nowait(
            priority=priority, stream_type=stream_type, metadata=metadata
        )
        self._opened += 1
        return stream

    def refuses(self, now: Callable[[], float]) -> bool:
        """Whether another is to be taken this time, because this one refuses most.

        :param now: the time, in seconds; asked only where it ever refused one.
        """
        refused = self.session.refused_streams
        if not refused:
            return False
        at = now()
        if at - self._looked_at < RECENT:
            self._throttle.count(at, self._opened, refused - self._refused)
        self._looked_at, self._opened, self._refused = at, 0, refused
        return self._throttle.holds_back(at)

    def is_heard(self) -> bool:
        """Whether its peer has said a word."""
        if not self._heard:
            self._heard = self.session.heard
        return self._heard

    def suits(self, wish: Wish) -> bool:
        """Whether it may be taken at all."""
        return not wish.metadata or self.is_heard()

    def rank(self, wish: Wish) -> int:
        """Lower ones are taken first, and others only if there are none."""
        avoided = wish.avoid and any(self.session.has_stream(one) for one in wish.avoid)
        return (2 if avoided else 0) + (not self.is_heard())

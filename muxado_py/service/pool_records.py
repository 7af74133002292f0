"""Pool records: what is known of each target of a pool.

What it is.  A pool outlives its sessions; what happens to those that are dialed is written down here, for
:attr:`.Pool.state`, and for whoever waits in vain.  The keepers write (:mod:`.keeper`), and the pool reads.

The rule.  A failure stands until a peer at that target has spoken: that one was dialed says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import current_time

from .causes import distrust
from .keeper import Manner
from .pool_state import TargetState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .dialed import Dialed

__all__ = ("Records",)


class Record:
    """What is known of one target."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.attempts: list[Dialed] = []  # of which it is not known yet what comes
        self.failure: str | None = None
        self.is_untrusted = False
        self.dials_at: float | None = None

    def is_dialing(self) -> bool:
        """Whether there is an attempt that is not over; forgets those that are."""
        self.attempts = [one for one in self.attempts if not (one.is_settled or one.over.is_set())]
        return bool(self.attempts)


class Records(Manner):
    """The records of all targets.

    :param lost_trust: called when there may be no target left that it is of use to wait for.
    :param changed: called when there is something new to see.
    :param words: what is said of attempts that fail, and for how long it is tried; default without end.
    """

    def __init__(
        self,
        urls: Sequence[str],
        lost_trust: Callable[[], object],
        changed: Callable[[], object],
        words: Manner | None = None,
    ) -> None:
        self._records = {url: Record(url) for url in urls}
        self._lost_trust = lost_trust
        self._changed = changed
        self._words = words or Manner()

    # What the keepers tell.

    def event(self, dialed: Dialed) -> str:
        return self._words.event(dialed)

    def cause(self, dialed: Dialed) -> str:
        return self._words.cause(dialed)

    def dials(self, dialed: Dialed) -> None:
        record = self._records[dialed.url]
        record.is_dialing()  # forgets those that are over
        record.attempts.append(dialed)
        record.dials_at = None
        self._changed()

    def failed(self, dialed: Dialed, failures: int | None) -> None:
        record = self._records[dialed.url]
        record.failure = self.cause(dialed)
        record.is_untrusted = distrust(dialed.failure) is not None
        if record.is_untrusted:
            self._lost_trust()
        self._words.failed(dialed, failures)

    def waits(self, url: str, seconds: float) -> None:
        self._records[url].dials_at = current_time() + seconds
        self._changed()

    # What the pool tells.

    def set_failure(self, url: str, text: str) -> None:
        """What is wrong with sessions of that target that were accepted."""
        self._records[url].failure = text

    def clear_failure(self, url: str) -> None:
        """A peer at that target has spoken."""
        record = self._records[url]
        record.failure, record.is_untrusted = None, False

    # What the pool asks.

    @property
    def urls(self) -> tuple[str, ...]:
        """All targets."""
        return tuple(self._records)

    @property
    def all_untrusted(self) -> bool:
        """Whether there is no target whose certificate is trusted, or that trusts this side's."""
        return all(one.is_untrusted for one in self._records.values())

    def state(
        self, url: str, now: float, *, is_connected: bool, sessions: int, open_streams: int
    ) -> TargetState:
        """How that target stands.

        :param is_connected: whether streams can be opened on a session whose peer has spoken.
        """
        record = self._records[url]
        return TargetState(
            url,
            "connected"
            if is_connected
            else "connecting"
            if sessions or record.is_dialing()
            else "waiting",
            sessions,
            open_streams,
            record.failure,
            record.is_untrusted,
            None if record.dials_at is None else max(0.0, record.dials_at - now),
        )

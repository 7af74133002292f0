"""The fast path: no order is needed while everything that is ready fits.

What it is.  :class:`Lane` is a scheduler in front of another.  Most of the time a flush takes all that is ready:
then the order of arrival is as good as any, and no key has to wait for another.  Only otherwise do keys need the
places and accounts of the :class:`~muxado_py.scheduler.UrgencyScheduler` behind; the calls that this spares are
felt in every message (``docs/measurements.md``).

How keys go.  A key that nobody knows joins the lane if nothing is ready behind it.  When the lane is served,
either all of it goes, a frame for each key, or all of it is handed to the scheduler behind: if the budget
is too small, if urgencies differ, or if something became ready behind.  A key that has more than its frame
goes there as well, and whoever was there once stays.

The rule.  Nothing but its speed may show that there is a lane: what it serves itself is what the scheduler behind
would have served in the same call, in the same order.

The traps.  A key leaves no account behind, so the lane may only serve what does without: frames that kept
nobody waiting.  And it is handed over in one go, so it is never long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .contract import LEAST_COST

if TYPE_CHECKING:
    from .contract import Key, Scheduler, Send

__all__ = ("Lane",)

MAX_LANE_KEYS = 256
"""Keys in the lane; 16 KiB of the smallest frames, which is the smallest flush."""

_HERE, _SERVED, _REMOVED = "in the lane", "in service", "removed"
"""Places of keys that are none of the scheduler's behind."""


class Lane:
    """Serves what fits, and leaves the rest to ``behind``."""

    __slots__ = ("_behind", "_behind_ready", "_bytes", "_keys", "_left", "_mixed", "_urgency")

    def __init__(self, behind: Scheduler) -> None:
        self._behind = behind
        self._behind_ready = False  # whether a key may be ready there
        self._keys: list[Key] = []
        self._left = 0  # how many of those that are being served are still to come
        self._bytes = 0  # what they have, each at least what a frame costs
        self._urgency = 0  # of the first
        self._mixed = False  # whether one has another

    def mark_ready(self, key: Key, nbytes: int) -> None:
        """See :meth:`.Scheduler.mark_ready`."""
        place = key.place
        if place is _HERE:
            self._bytes += nbytes
        elif place is None and not self._behind_ready:
            key.place = _HERE
            keys = self._keys
            if not keys:
                self._urgency = key.priority.urgency
            elif key.priority.urgency != self._urgency:
                self._mixed = True
            keys.append(key)
            self._bytes += nbytes if nbytes > LEAST_COST else LEAST_COST  # noqa: FURB136
            if len(keys) > MAX_LANE_KEYS:
                self._hand_over()
        elif place is not _SERVED and place is not _REMOVED:
            self._behind_ready = True
            self._behind.mark_ready(key, nbytes)

    def moved(self, key: Key) -> None:
        """See :meth:`.Scheduler.moved`."""
        if key.place is _HERE:
            self._mixed = True
        elif not isinstance(key.place, str):
            self._behind.moved(key)

    def remove(self, key: Key) -> None:
        """See :meth:`.Scheduler.remove`."""
        if key.place is _HERE:
            if key in self._keys:
                self._keys.remove(key)
                if not self._keys:  # nor have those that come any part in what it had
                    self._bytes = 0
                    self._mixed = False
            else:
                self._left -= 1
        elif key.place is not None and not isinstance(key.place, str):
            self._behind.remove(key)
            return
        key.place = _REMOVED

    def serve(self, send: Send, budget: int) -> None:
        """See :meth:`.Scheduler.serve`."""
        if self._keys and budget > 0:
            if self._bytes > budget or self._mixed or self._behind_ready:
                self._hand_over()
            else:
                budget = self._serve_all(send, budget)
        if self._behind_ready:
            self._behind.serve(send, budget)
            self._behind_ready = len(self._behind) > 0

    def _serve_all(self, send: Send, budget: int) -> int:
        """A frame for each; what is left of the budget."""
        keys, self._keys = self._keys, []
        self._bytes = 0
        self._left = len(keys)
        for key in keys:
            if key.place is not _HERE:
                continue  # it was removed
            key.place = _SERVED
            self._left -= 1
            nbytes, ready = send(key, budget)
            budget -= nbytes if nbytes > LEAST_COST else LEAST_COST  # noqa: FURB136
            if key.place is _SERVED:
                key.place = None
                if ready:
                    self._behind_ready = True
                    self._behind.mark_ready(key, 0)
        return budget

    def _hand_over(self) -> None:
        """Order is needed: everybody to the scheduler behind."""
        keys, self._keys = self._keys, []
        self._bytes = 0
        self._mixed = False
        self._behind_ready = True
        for key in keys:
            key.place = None
            self._behind.mark_ready(key, 0)

    def __len__(self) -> int:
        """See :meth:`.Scheduler.__len__`."""
        here = len(self._keys) + self._left
        return here + len(self._behind) if self._behind_ready else here

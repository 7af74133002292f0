"""Urgency first, then bytes by weight: the default scheduler.

What it is.  Eight levels, one for each urgency, and a map of eight bits that says which of them
hold ready keys.  The lowest set bit goes first.  Inside a level runs deficit round robin, counted
in bytes: in each *round* of its level a key may send ``weight`` KiB.

Where a ready key stands.  Each level has three places::

    fresh    came back from idling with allowance left: goes ahead of the others, for one frame
    now      has allowance left in this round: one frame each, in turn
    later    has none left: a deque for each coming round, under the number of that round

When ``now`` runs empty, the next round that holds a key begins and its deque becomes ``now``.  So
a pick never walks over keys that may not send yet, however many there are and however deep in debt.

The account.  ``spent`` is a key's position in bytes on the axis ``round * quantum``: it may send in
round ``spent // quantum`` and no earlier.  It grows by what the key sends and is raised to the start
of the current round when the key is picked, so that allowance is never saved up.  It does *not*
change while the key idles: to run dry and come back wins nothing, and a debt is paid by the rounds
that pass, present or not.

The guards.  While a level sends and others below it (of higher urgency numbers) wait, its bytes are
counted; for every 15 frames' worth the waiting levels get one, and take turns: together one byte in
sixteen.  Fresh keys go ahead at most 15 times in a row while others of their level wait.

The rule.  An entry stands in at most one deque, once.  One that must leave before its turn (removed,
or moved by a new priority) is marked dead and lets go of its key; a moved key gets a new entry.

The traps.  A key in service is in no deque but still counted, or each pick would pay for counting it
out and in again.  Dead entries stand in their deques and are not counted.  A level is swept when
more have died since the last sweep than live: a peer that opens and resets streams while the
transport is stuck must not grow a deque that nobody pops.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .priority import Priority

__all__ = ("UrgencyScheduler",)

_FRAME = 16 * 1024
_GUARD_FRAMES = 15
_GUARD_BYTES = _GUARD_FRAMES * _FRAME
_FRESH_IN_A_ROW = 15
_SWEEP_SLACK = 64

# What a frame costs at least: frames without bytes must use up an allowance too.
_LEAST_COST = 64

# Bytes per round, by weight.  A table, because the entries of idle keys then share its ints.
_QUANTA = tuple(weight * 1024 for weight in range(257))

_IDLE, _FRESH, _BUSY, _DEAD = range(4)


class _Entry:
    """What is known of one key: 72 bytes, and 32 for ``spent`` once it has sent."""

    __slots__ = ("key", "level", "quantum", "spent", "state")

    def __init__(self, key: Hashable, level: _Level, quantum: int, spent: int) -> None:
        self.key: Hashable | None = key
        self.level = level
        self.quantum = quantum
        self.spent = spent
        self.state = _IDLE  # of a key in service: where it was popped from


class _Level:
    """The ready keys of one urgency."""

    __slots__ = (
        "bit",
        "fresh",
        "fresh_in_a_row",
        "gone",
        "later",
        "now",
        "ready",
        "round",
        "spare",
    )

    def __init__(self, bit: int) -> None:
        self.bit = bit
        self.round = 0
        self.fresh: deque[_Entry] = deque()
        self.fresh_in_a_row = 0
        self.now: deque[_Entry] = deque()
        self.later: dict[int, deque[_Entry]] = {}
        self.spare: deque[_Entry] | None = deque()
        self.ready = 0
        self.gone = 0  # entries that died in their queues since the last sweep

    def take(self) -> _Entry:
        """Pop the next living entry; there must be one."""
        while True:
            if self.fresh and (
                self.fresh_in_a_row < _FRESH_IN_A_ROW or not (self.now or self.later)
            ):
                entry = self.fresh.popleft()
            else:
                if not self.now:
                    self._next_round()
                entry = self.now.popleft()
            if entry.state == _BUSY:
                self.fresh_in_a_row = 0
                return entry
            if entry.state == _FRESH:
                self.fresh_in_a_row += 1
                entry.spent = max(entry.spent, self.round * entry.quantum)
                return entry

    def _next_round(self) -> None:
        number = self.round + 1
        if number not in self.later:
            number = min(self.later)  # no more of them than the rounds that one frame can cost
        self.round = number
        self.spare, self.now = self.now, self.later.pop(number)

    def park(self, entry: _Entry, number: int) -> None:
        """Let ``entry`` wait for round ``number``, which is still to come."""
        queue = self.later.get(number)
        if queue is None:
            queue = self.later[number] = deque() if self.spare is None else self.spare
            self.spare = None
        queue.append(entry)

    def sweep(self) -> None:
        """Drop the dead."""
        for queue in (self.fresh, self.now, *self.later.values()):
            living = [entry for entry in queue if entry.state != _DEAD]
            queue.clear()
            queue.extend(living)
        self.later = {number: queue for number, queue in self.later.items() if queue}
        self.gone = 0


class UrgencyScheduler:
    """Strict between urgencies but for one byte in sixteen; fair by weight inside one.

    A pick takes constant time, whatever the number of ready or idle keys.
    """

    __slots__ = ("_entries", "_levels", "_map", "_owed", "_rate", "_ready", "_serving", "_turn")

    def __init__(self) -> None:
        self._entries: dict[Hashable, _Entry] = {}
        self._levels: dict[int, _Level] = {}  # by bit; made when first used
        self._map = 0
        self._ready = 0
        self._serving: _Entry | None = None
        # The guard: bytes sent while lower levels waited, how the frame in service changes that
        # number, and the bit of the level that the guard chose last.
        self._owed = 0
        self._rate = 0
        self._turn = 0

    def add(self, key: Hashable, priority: Priority) -> None:
        """See :meth:`.Scheduler.add`."""
        if key in self._entries:
            raise ValueError(f"key {key!r} is in the scheduler already; remove it first")
        self._entries[key] = _Entry(key, self._level(priority), _QUANTA[priority.weight], 0)

    def remove(self, key: Hashable) -> None:
        """See :meth:`.Scheduler.remove`."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        if entry is self._serving:
            self._serving = None
            self._owed += self._rate * _LEAST_COST
            self._uncount(entry.level)
        elif entry.state != _IDLE:
            self._unqueue(entry)

    def set_priority(self, key: Hashable, priority: Priority) -> None:
        """See :meth:`.Scheduler.set_priority`.

        What the key sent beyond the start of its level's round goes with it.  Its place in a queue
        is kept where the new priority leaves it in the same round of the same level.
        """
        entry = self._entries.get(key)
        if entry is None:
            return
        level, quantum = self._level(priority), _QUANTA[priority.weight]
        beyond = max(0, entry.spent - entry.level.round * entry.quantum)
        spent = level.round * quantum + beyond
        stays = level is entry.level and beyond // quantum == beyond // entry.quantum
        if not (stays or entry.state == _IDLE or entry is self._serving):
            self._unqueue(entry)
            self._entries[key] = _Entry(key, level, quantum, spent)
            self.mark_ready(key, 0)
            return
        if entry is self._serving:
            self._uncount(entry.level)
            self._count(level)
        entry.level, entry.quantum, entry.spent = level, quantum, spent

    def mark_ready(self, key: Hashable, nbytes: int) -> None:
        """See :meth:`.Scheduler.mark_ready`; the order does not depend on ``nbytes``."""
        entry = self._entries.get(key)
        if entry is None or entry.state:  # queued already, or in service
            return
        level = entry.level
        number = entry.spent // entry.quantum
        if number <= level.round:
            entry.state = _FRESH
            level.fresh.append(entry)
        else:
            entry.state = _BUSY
            level.park(entry, number)
        self._count(level)

    def pop(self) -> Hashable | None:
        """See :meth:`.Scheduler.pop`."""
        if self._serving is not None:
            raise RuntimeError(f"key {self._serving.key!r} was popped and not served yet")
        levels = self._map
        if not levels:
            return None
        bit = levels & -levels
        lower = levels ^ bit
        if not lower:
            self._rate = 0
        elif self._owed < _GUARD_BYTES:
            self._rate = 1
        else:
            self._rate = -_GUARD_FRAMES
            after_last = lower & -(self._turn << 1) or lower
            bit = self._turn = after_last & -after_last
        entry = self._serving = self._levels[bit].take()
        return entry.key

    def served(self, key: Hashable, nbytes: int, ready: bool) -> None:
        """See :meth:`.Scheduler.served`."""
        entry = self._serving
        if entry is None or (entry.key is not key and entry.key != key):
            return
        self._serving = None
        # Not max(): a call here is a tenth of the whole pick.
        cost = nbytes if nbytes > _LEAST_COST else _LEAST_COST  # noqa: FURB136
        if self._rate:
            self._owed += self._rate * cost
        spent = entry.spent = entry.spent + cost
        if not ready:
            entry.state = _IDLE
            self._uncount(entry.level)
            return
        level = entry.level
        number = spent // entry.quantum
        if number > level.round:
            level.park(entry, number)
        else:
            level.now.append(entry)
        entry.state = _BUSY

    def __len__(self) -> int:
        """See :meth:`.Scheduler.__len__`."""
        return self._ready - (self._serving is not None)

    def _level(self, priority: Priority) -> _Level:
        bit = 1 << priority.urgency
        level = self._levels.get(bit)
        if level is None:
            level = self._levels[bit] = _Level(bit)
        return level

    def _unqueue(self, entry: _Entry) -> None:
        entry.state = _DEAD
        entry.key = None
        level = entry.level
        level.gone += 1
        self._uncount(level)
        if level.gone > level.ready + _SWEEP_SLACK:
            level.sweep()

    def _count(self, level: _Level) -> None:
        self._ready += 1
        level.ready += 1
        self._map |= level.bit

    def _uncount(self, level: _Level) -> None:
        self._ready -= 1
        level.ready -= 1
        if not level.ready:
            self._map ^= level.bit

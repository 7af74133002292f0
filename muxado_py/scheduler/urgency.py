"""Urgency first, then bytes by weight: the default scheduler.

What it is.  Eight levels, one for each urgency, and a map of eight bits that says which of them
hold ready keys.  The lowest set bit goes first.  Inside a level runs deficit round robin, counted
in bytes: in each *round* of its level a key may send ``weight`` KiB.

Where a ready key stands.  Each level has three places::

    new      came back from idling with allowance left: goes ahead of the others, for one frame
    old      has allowance left in this round: one frame each, in turn
    parked   has none left: a deque for each coming round, under the number of that round

When ``old`` runs empty, the next round that holds a key begins and its deque becomes ``old``.  So
a pick never walks over keys that may not send yet, however many there are and however deep in debt.

The account.  ``spent`` is a key's position in bytes on the axis ``round * quantum``: it may send in
round ``spent // quantum`` and no earlier.  It grows by what the key sends and is raised to the start
of the current round when the key is picked, so that allowance is never saved up.  It does *not*
change while the key idles: to run dry and come back wins nothing, and a debt is paid by the rounds
that pass, present or not.

The guards.  While a level sends and others below it (of higher urgency numbers) wait, its bytes are
counted; for every 15 frames' worth the waiting levels get one, and take turns: together one byte in
sixteen.  New keys go ahead at most 15 times in a row while others of their level wait.

The rule.  An entry stands in at most one deque, once.  One that must leave before its turn (removed,
or moved by a new priority) is marked dead and lets go of its key; a moved key gets a new entry.

The traps.  A key in service is in no deque but still counted, or each frame would pay for counting it
out and in again; its entry is what ``serve`` holds, so that a key that is removed meanwhile is
noticed.  Dead entries stand in their deques and are not counted.  A level is swept when more have died
since the last sweep than live: a peer that opens and resets streams while the transport is stuck must
not grow a deque that nobody pops.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .contract import LEAST_COST

if TYPE_CHECKING:
    from .contract import Key, Send
    from .priority import Priority

__all__ = ("UrgencyScheduler",)

_FRAME = 16 * 1024
_GUARD_FRAMES = 15
_GUARD_BYTES = _GUARD_FRAMES * _FRAME
_NEW_IN_A_ROW = 15
_SWEEP_SLACK = 64

# Bytes per round, by weight.  A table, because the entries of idle keys then share its ints.
_QUANTA = tuple(weight * 1024 for weight in range(257))

_IDLE, _NEW, _OLD, _DEAD = range(4)


class _Entry:
    """What is known of one key."""

    __slots__ = ("key", "level", "quantum", "spent", "state")

    def __init__(self, key: Key | None, level: _Level, quantum: int, spent: int) -> None:
        self.key = key
        self.level = level
        self.quantum = quantum
        self.spent = spent
        self.state = _IDLE


class _Level:
    """The ready keys of one urgency."""

    __slots__ = (
        "bit",
        "gone",
        "new",
        "new_in_a_row",
        "old",
        "parked",
        "ready",
        "round",
        "spare",
    )

    def __init__(self, bit: int) -> None:
        self.bit = bit
        self.round = 0
        self.new: deque[_Entry] = deque()
        self.new_in_a_row = 0
        self.old: deque[_Entry] = deque()
        self.parked: dict[int, deque[_Entry]] = {}
        self.spare: deque[_Entry] | None = deque()
        self.ready = 0
        self.gone = 0  # entries that died in their queues since the last sweep

    def next_round(self) -> None:
        """``old`` is empty: begin the next round that holds a key; there must be one."""
        number = self.round + 1
        if number not in self.parked:
            number = min(self.parked)  # no more of them than the rounds that one frame can cost
        self.round = number
        self.spare, self.old = self.old, self.parked.pop(number)

    def park(self, entry: _Entry, number: int) -> None:
        """Let ``entry`` wait for round ``number``, which is still to come."""
        queue = self.parked.get(number)
        if queue is None:
            queue = self.parked[number] = deque() if self.spare is None else self.spare
            self.spare = None
        queue.append(entry)

    def sweep(self) -> None:
        """Drop the dead."""
        for queue in (self.new, self.old, *self.parked.values()):
            living = [entry for entry in queue if entry.state != _DEAD]
            queue.clear()
            queue.extend(living)
        self.parked = {number: queue for number, queue in self.parked.items() if queue}
        self.gone = 0


class UrgencyScheduler:
    """Strict between urgencies but for one byte in sixteen; fair by weight inside one.

    A frame takes constant time, whatever the number of ready or idle keys.
    """

    __slots__ = ("_guarded_bit", "_guarded_bytes", "_levels", "_map", "_ready", "_serving")

    def __init__(self) -> None:
        self._levels: dict[int, _Level] = {}  # by bit; made when first used
        self._map = 0
        self._ready = 0
        self._serving: _Entry | None = None
        # The guard: bytes sent while lower levels waited, and the bit of the level it chose last.
        self._guarded_bytes = 0
        self._guarded_bit = 0

    def mark_ready(self, key: Key, nbytes: int) -> None:
        """See :meth:`.Scheduler.mark_ready`; the order does not depend on ``nbytes``."""
        entry = key.place
        if entry is None:
            priority = key.priority
            level = self._levels.get(1 << priority.urgency) or self._level(priority)
            entry = key.place = _Entry(key, level, _QUANTA[priority.weight], 0)
        elif entry.state:  # queued already, in service, or removed
            return
        level = entry.level
        number = entry.spent // entry.quantum
        if number <= level.round:
            entry.state = _NEW
            level.new.append(entry)
        else:
            entry.state = _OLD
            level.park(entry, number)
        # As _count does, without the call.
        self._ready += 1
        level.ready += 1
        self._map |= level.bit

    def moved(self, key: Key) -> None:
        """See :meth:`.Scheduler.moved`.

        What the key sent beyond the start of its level's round goes with it.  Its place in a queue
        is kept where the new priority leaves it in the same round of the same level.
        """
        entry: _Entry | None = key.place
        if entry is None or entry.state == _DEAD:
            return
        level, quantum = self._level(key.priority), _QUANTA[key.priority.weight]
        beyond = max(0, entry.spent - entry.level.round * entry.quantum)
        spent = level.round * quantum + beyond
        stays = level is entry.level and beyond // quantum == beyond // entry.quantum
        if not (stays or entry.state == _IDLE or self._serving is entry):
            self._unqueue(entry)
            key.place = _Entry(key, level, quantum, spent)
            self.mark_ready(key, 0)
            return
        if self._serving is entry:
            self._uncount(entry.level)
            self._count(level)
        entry.level, entry.quantum, entry.spent = level, quantum, spent

    def remove(self, key: Key) -> None:
        """See :meth:`.Scheduler.remove`."""
        entry: _Entry | None = key.place
        key.place = _REMOVED
        if entry is None or entry.state == _DEAD:
            return
        if self._serving is entry:
            self._serving = None
            self._uncount(entry.level)
        elif entry.state != _IDLE:
            self._unqueue(entry)
        entry.key = None  # the two refer to each other

    def serve(self, send: Send, budget: int) -> None:
        """See :meth:`.Scheduler.serve`."""
        while budget > 0 and (levels := self._map):
            bit = levels & -levels
            lower = levels ^ bit
            rate = 0  # how a byte changes what is owed to the levels that wait
            if lower:
                rate = 1
                if self._guarded_bytes >= _GUARD_BYTES:
                    rate = -_GUARD_FRAMES
                    after_last = lower & -(self._guarded_bit << 1) or lower
                    bit = self._guarded_bit = after_last & -after_last
            level = self._levels[bit]
            new = level.new
            while True:  # until one is alive; there must be one
                if new and (level.new_in_a_row < _NEW_IN_A_ROW or not (level.old or level.parked)):
                    entry = new.popleft()
                    if entry.state == _NEW:
                        level.new_in_a_row += 1
                        start = level.round * entry.quantum
                        if entry.spent < start:
                            entry.spent = start
                        break
                else:
                    if not level.old:
                        level.next_round()
                    entry = level.old.popleft()
                    if entry.state == _OLD:
                        level.new_in_a_row = 0
                        break
            self._serving = entry
            nbytes, ready = send(entry.key, budget)
            # Not max(), for the reason that _count has.
            cost = nbytes if nbytes > LEAST_COST else LEAST_COST  # noqa: FURB136
            budget -= cost
            if rate:
                self._guarded_bytes += rate * cost
            if self._serving is not entry:
                continue  # it was removed meanwhile
            self._serving = None
            entry.spent += cost
            level = entry.level  # it may have been moved
            if ready:
                entry.state = _OLD
                number = entry.spent // entry.quantum
                if number > level.round:
                    level.park(entry, number)
                else:
                    level.old.append(entry)
                continue
            entry.state = _IDLE
            self._ready -= 1  # as _uncount does
            level.ready -= 1
            if not level.ready:
                self._map ^= level.bit

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


_REMOVED = _Entry(None, _Level(0), 1, 0)
"""The place of every key that was removed."""
_REMOVED.state = _DEAD

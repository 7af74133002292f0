"""Two schedulers without priorities: what the default one is measured against.

What they are.  :class:`RoundRobinScheduler` gives each ready key one frame in turn.
:class:`FifoScheduler` lets bytes leave in the order in which they became ready to: what a
connection without a scheduler does, where a small message stands behind all that was written
before it.

How the FIFO keeps bytes in order without holding any.  Each ``mark_ready`` appends a *ticket*,
(line, number of bytes), where a line is what is known of one key.  The key of the first ticket is
popped until that many bytes went; consecutive tickets of one key are one.  A frame may carry more
than its ticket says (the core knows nothing of tickets); what went ahead of its turn is taken off
the tickets of that key that come next.

The rule.  There are never more tickets than writes outstanding, plus the void ones: a key that is
removed or runs dry leaves its tickets behind.  Its line is then marked dead and replaced; when more
tickets became void since the last sweep than the queue has others, it is swept.

The trap.  In round robin the queue must be an ``OrderedDict``: in a plain dict, finding the first
key walks over all that were deleted before it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .priority import Priority

__all__ = ("FifoScheduler", "RoundRobinScheduler")

_SWEEP_SLACK = 64


class RoundRobinScheduler:
    """One frame each, in turn; priorities are ignored."""

    __slots__ = ("_keys", "_queue", "_serving")

    def __init__(self) -> None:
        self._keys: dict[Hashable, None] = {}
        self._queue: OrderedDict[Hashable, None] = OrderedDict()
        self._serving: Hashable | None = None

    def add(self, key: Hashable, priority: Priority) -> None:
        """See :meth:`.Scheduler.add`."""
        if key in self._keys:
            raise ValueError(f"key {key!r} is in the scheduler already; remove it first")
        self._keys[key] = None

    def remove(self, key: Hashable) -> None:
        """See :meth:`.Scheduler.remove`."""
        self._keys.pop(key, None)
        self._queue.pop(key, None)
        if key == self._serving:
            self._serving = None

    def set_priority(self, key: Hashable, priority: Priority) -> None:
        """Do nothing."""

    def mark_ready(self, key: Hashable, nbytes: int) -> None:
        """See :meth:`.Scheduler.mark_ready`."""
        if key in self._keys and key != self._serving:
            self._queue[key] = None  # keeps its place if it has one

    def pop(self) -> Hashable | None:
        """See :meth:`.Scheduler.pop`."""
        if self._serving is not None:
            raise RuntimeError(f"key {self._serving!r} was popped and not served yet")
        if self._queue:
            self._serving = self._queue.popitem(last=False)[0]
        return self._serving

    def served(self, key: Hashable, nbytes: int, ready: bool) -> None:
        """See :meth:`.Scheduler.served`."""
        if self._serving is None or key != self._serving:
            return
        self._serving = None
        if ready:
            self._queue[key] = None

    def __len__(self) -> int:
        """See :meth:`.Scheduler.__len__`."""
        return len(self._queue)


class _Line:
    """What is known of one key, until its tickets are void."""

    __slots__ = ("ahead", "dead", "key", "tickets")

    def __init__(self, key: Hashable) -> None:
        self.key: Hashable | None = key
        self.tickets = 0
        self.ahead = 0  # bytes that went before their ticket's turn
        self.dead = False


class _Ticket:
    __slots__ = ("line", "nbytes")

    def __init__(self, line: _Line, nbytes: int) -> None:
        self.line = line
        self.nbytes = nbytes


class FifoScheduler:
    """Bytes leave in the order in which they became ready to; priorities are ignored."""

    __slots__ = ("_gone", "_lines", "_queue", "_ready", "_serving")

    def __init__(self) -> None:
        self._lines: dict[Hashable, _Line] = {}
        self._queue: deque[_Ticket] = deque()
        self._ready = 0
        self._gone = 0  # tickets that became void since the last sweep
        self._serving: _Line | None = None  # whose ticket stays first in the queue

    def add(self, key: Hashable, priority: Priority) -> None:
        """See :meth:`.Scheduler.add`."""
        if key in self._lines:
            raise ValueError(f"key {key!r} is in the scheduler already; remove it first")
        self._lines[key] = _Line(key)

    def remove(self, key: Hashable) -> None:
        """See :meth:`.Scheduler.remove`."""
        line = self._lines.pop(key, None)
        if line is not None:
            self._void(line)

    def set_priority(self, key: Hashable, priority: Priority) -> None:
        """Do nothing."""

    def mark_ready(self, key: Hashable, nbytes: int) -> None:
        """See :meth:`.Scheduler.mark_ready`."""
        line = self._lines.get(key)
        if line is None:
            return
        if self._queue and self._queue[-1].line is line:
            self._queue[-1].nbytes += nbytes
        else:
            self._queue.append(_Ticket(line, nbytes))
            if not line.tickets:
                self._ready += 1
            line.tickets += 1

    def pop(self) -> Hashable | None:
        """See :meth:`.Scheduler.pop`."""
        if self._serving is not None:
            raise RuntimeError(f"key {self._serving.key!r} was popped and not served yet")
        queue = self._queue
        while queue:
            ticket = queue[0]
            line = ticket.line
            if line.dead:
                queue.popleft()
            elif line.ahead and line.ahead >= ticket.nbytes and line.tickets > 1:
                line.ahead -= ticket.nbytes
                line.tickets -= 1
                queue.popleft()
            else:
                ticket.nbytes -= line.ahead
                line.ahead = 0
                self._serving = line
                return line.key
        return None

    def served(self, key: Hashable, nbytes: int, ready: bool) -> None:
        """See :meth:`.Scheduler.served`."""
        line = self._serving
        if line is None or line.key != key:
            return
        if not ready:
            self._void(line)
            self._lines[key] = _Line(key)
            return
        self._serving = None
        queue = self._queue
        ticket = queue[0]
        ticket.nbytes -= nbytes or 1  # or a key that sends empty frames stays first for ever
        if ticket.nbytes > 0:
            return
        queue.popleft()
        if line.tickets > 1:
            line.tickets -= 1
            line.ahead = -ticket.nbytes
        else:  # it can send more than it announced
            ticket.nbytes = 0
            queue.append(ticket)

    def __len__(self) -> int:
        """See :meth:`.Scheduler.__len__`."""
        return self._ready - (self._serving is not None)

    def _void(self, line: _Line) -> None:
        line.dead = True
        line.key = None
        if line is self._serving:
            self._serving = None
        if line.tickets:
            self._ready -= 1
        self._gone += line.tickets
        if self._gone > len(self._queue) - self._gone + _SWEEP_SLACK:
            self._queue = deque(ticket for ticket in self._queue if not ticket.line.dead)
            self._gone = 0

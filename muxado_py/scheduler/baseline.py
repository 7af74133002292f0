"""Two schedulers without priorities: what the default one is measured against.

What they are.  :class:`RoundRobinScheduler` gives each ready key one frame in turn.
:class:`FifoScheduler` lets bytes leave in the order in which they became ready to: what a
connection without a scheduler does, where a small message stands behind all that was written
before it.

How the FIFO keeps bytes in order without holding any.  Each ``mark_ready`` appends a *ticket*,
(line, number of bytes), where a line is what is known of one key.  The key of the first ticket is
served until that many bytes went; consecutive tickets of one key are one.  A frame may carry more
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

from .contract import LEAST_COST

if TYPE_CHECKING:
    from .contract import Key, Send

__all__ = ("FifoScheduler", "RoundRobinScheduler")

_SWEEP_SLACK = 64

_REMOVED = object()
"""The place of a key that was removed."""


class RoundRobinScheduler:
    """One frame each, in turn; priorities are ignored."""

    __slots__ = ("_queue", "_serving")

    def __init__(self) -> None:
        self._queue: OrderedDict[Key, None] = OrderedDict()
        self._serving: Key | None = None

    def mark_ready(self, key: Key, nbytes: int) -> None:
        """See :meth:`.Scheduler.mark_ready`."""
        if key.place is not _REMOVED and key is not self._serving:
            self._queue[key] = None  # keeps its place if it has one

    def moved(self, key: Key) -> None:
        """Do nothing."""

    def remove(self, key: Key) -> None:
        """See :meth:`.Scheduler.remove`."""
        key.place = _REMOVED
        self._queue.pop(key, None)
        if key is self._serving:
            self._serving = None

    def serve(self, send: Send, budget: int) -> None:
        """See :meth:`.Scheduler.serve`."""
        while budget > 0 and self._queue:
            key = self._serving = self._queue.popitem(last=False)[0]
            nbytes, ready = send(key, budget)
            budget -= max(nbytes, LEAST_COST)
            if ready and key is self._serving:
                self._queue[key] = None
            self._serving = None

    def __len__(self) -> int:
        """See :meth:`.Scheduler.__len__`."""
        return len(self._queue)


class _Line:
    """What is known of one key, until its tickets are void."""

    __slots__ = ("ahead", "dead", "key", "tickets")

    def __init__(self, key: Key | None) -> None:
        self.key = key
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

    __slots__ = ("_gone", "_queue", "_ready", "_serving")

    def __init__(self) -> None:
        self._queue: deque[_Ticket] = deque()
        self._ready = 0
        self._gone = 0  # tickets that became void since the last sweep
        self._serving: _Line | None = None  # whose ticket stays first in the queue

    def mark_ready(self, key: Key, nbytes: int) -> None:
        """See :meth:`.Scheduler.mark_ready`."""
        line = key.place
        if line is None:
            line = key.place = _Line(key)
        elif line is _REMOVED:
            return
        if self._queue and self._queue[-1].line is line:
            self._queue[-1].nbytes += nbytes
        else:
            self._queue.append(_Ticket(line, nbytes))
            if not line.tickets:
                self._ready += 1
            line.tickets += 1

    def moved(self, key: Key) -> None:
        """Do nothing."""

    def remove(self, key: Key) -> None:
        """See :meth:`.Scheduler.remove`."""
        line, key.place = key.place, _REMOVED
        if isinstance(line, _Line):
            self._void(line)

    def serve(self, send: Send, budget: int) -> None:
        """See :meth:`.Scheduler.serve`."""
        while budget > 0 and (line := self._next()) is not None:
            self._serving = line
            key = line.key
            nbytes, ready = send(key, budget)
            budget -= max(nbytes, LEAST_COST)
            if self._serving is not line:
                continue  # it was removed meanwhile
            if ready:
                self._serving = None
                self._count(line, nbytes)
            else:
                self._void(line)
                assert key is not None
                key.place = _Line(key)

    def _next(self) -> _Line | None:
        """Whose turn it is; its ticket is the first."""
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
                return line
        return None

    def _count(self, line: _Line, nbytes: int) -> None:
        """``nbytes`` of the first ticket's line went, and it can send more."""
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

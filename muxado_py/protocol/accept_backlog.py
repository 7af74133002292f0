"""Accept backlog: the peer's streams that wait for ``accept``, and the order in which they are handed off.

Where data comes from and goes to.  :mod:`~muxado_py.protocol.admission` puts a stream here when it is taken; the
application takes the next one by ``Connection.accept``; a stream that ends before that is withdrawn.

The rule.  First come, first served: the order of the SYNs, which is what every other multiplexer does.  A stream's
priority comes behind its SYN and may change while it waits; an order by it would have to be told so, by
:mod:`~muxado_py.protocol.inbound_control`.

The trap.  What is handed off can be refused no more, and the highest id of it is what a GOAWAY says: so nothing
is handed off before a task is there that takes it, and what ended is skipped only when its turn comes.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .stream_state import Owner
from .timers import Deadlines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .stream_state import StreamState
    from .timers import Timers

__all__ = ("AcceptBacklog",)

MAX_WITHDRAWN = 16
"""Withdrawn streams that may still lie here, besides as many as there are others."""

_OFFERED, _APPLICATION = Owner.OFFERED, Owner.APPLICATION


class AcceptBacklog:
    """The backlog of one session.

    :param accept_timeout: seconds that a stream may wait, where the wire bounds its time; see ``unaccepted``.
    """

    __slots__ = ("_queue", "handed_off_id", "size", "unaccepted")

    def __init__(self, timers: Timers, accept_timeout: float) -> None:
        self._queue: deque[StreamState] = deque()
        self.size = 0
        """Streams that wait, without those that were withdrawn."""
        self.handed_off_id = 0
        """The highest id that the application was given."""
        self.unaccepted: Deadlines[StreamState] = Deadlines(timers, accept_timeout)
        """Streams of the peer that no application took, on wires that bound their time."""

    def __iter__(self) -> Iterator[StreamState]:
        """The streams that wait, in the order in which they will be handed off."""
        return (stream for stream in self._queue if stream.owner is _OFFERED)

    def held(self) -> tuple[StreamState, ...]:
        """Every stream that lies here, withdrawn ones too."""
        return (*self._queue,)

    def add(self, stream: StreamState) -> None:
        """``stream`` waits for the application to accept it."""
        stream.owner = _OFFERED
        self._queue.append(stream)
        self.size += 1

    def hand_off(self) -> StreamState | None:
        """The next stream that waits, None if none does; from here on the application has it."""
        while self._queue:
            stream = self._queue.popleft()
            if stream.owner is _OFFERED:
                self.size -= 1
                stream.owner = _APPLICATION
                if self.unaccepted:
                    self.unaccepted.discard(stream)
                if stream.id is not None and stream.id > self.handed_off_id:
                    self.handed_off_id = stream.id
                return stream
        return None

    def withdraw(self, stream: StreamState) -> None:
        """``stream``, whose owner nobody is any more, ended while it waited."""
        if self.unaccepted:
            self.unaccepted.discard(stream)
        self.size -= 1
        if len(self._queue) > 2 * self.size + MAX_WITHDRAWN:
            # Withdrawn streams are skipped when their turn comes; they must not pile up.
            self._queue = deque(self)

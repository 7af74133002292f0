"""The scheduler's contract: which of the streams that can send is next?

What it is.  A small interface, in the manner of Go's ``http2.WriteScheduler``.  A scheduler orders
*keys*; it holds no bytes, knows no frame and no window, and reads no clock.  The core calls it from
one place, late: each frame is cut only when its stream's turn has come, so a priority still means
something for bytes that were written long ago.

How it is driven.  ``mark_ready`` says that a key can send, and that ``nbytes`` more were written to it, or
are free to go after it had no credit; with the first such call the scheduler begins to know it, and with ``remove``
it ends.  ``serve`` lets ready keys send, a frame each, until enough went: it calls ``send(key, left)``,
which cuts a frame and returns how many bytes that was and whether the key can send more.  One key is in
service at a time; during ``send``, all other methods may be called for any key, the one in service too.
What ``send`` returns about it is the last word.

Why a loop of its own.  Two calls for each frame, to ask who is next and to say what it sent, cost as
much as the answer.

The rule.  Order is deterministic: deques and dicts, never a set.  A ready key is served within a
bounded number of frames whatever the others do (no starvation).

The traps.  A key can be removed or run dry while it stands in a queue: skip it when its turn comes,
do not search for it when it leaves.  And a frame counts for what it carried also if its key was removed
in service: where most streams are one frame long, those are nearly all bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable

    from .priority import Priority

__all__ = ("LEAST_COST", "Key", "Scheduler", "Send")

LEAST_COST = 64
"""Bytes that a frame counts for at least: frames without bytes must use up a budget, too."""


class Key(Protocol):
    """What is ordered: a stream.  It is hashable, and of one scheduler only."""

    priority: Priority
    """Where it stands; after a change ``Scheduler.moved`` is called."""

    place: Any
    """The scheduler's own; None until then."""


Send: TypeAlias = "Callable[[Any, int], tuple[int, bool]]"
"""Cut one frame of a key, where so many bytes are left: how many it has, and whether more can follow."""


@runtime_checkable
class Scheduler(Protocol):
    """What the core asks of a scheduler; see the module essay for the order of calls."""

    def mark_ready(self, key: Key, nbytes: int) -> None:
        """``key`` can send, and was written ``nbytes`` more, or is free to send them (0: a bare SYN or FIN).

        Called for each write, also while the key is ready already; not for credit that comes to a key
        with credit left, of which a peer may give any number.  A key that was removed is ignored.
        """

    def moved(self, key: Key) -> None:
        """The priority of ``key`` has changed; it holds from the next frame on."""

    def remove(self, key: Key) -> None:
        """Forget ``key`` for good, ready or not, and in service too."""

    def serve(self, send: Send, budget: int) -> None:
        """Let ready keys send until ``budget`` bytes went, or no key is ready.

        :param budget: each frame counts for :data:`LEAST_COST` at least; the last may go beyond.
        """

    def __len__(self) -> int:
        """How many keys are ready now; one in service is not counted."""

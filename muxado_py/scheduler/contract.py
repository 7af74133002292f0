"""The scheduler's contract: which of the streams that can send is next?

What it is.  A small interface, in the manner of Go's ``http2.WriteScheduler``.  A scheduler orders
*keys*; it holds no bytes, knows no frame and no window, and reads no clock.  The core calls it from
one place, late: each frame is cut only when its stream is picked, so a priority still means
something for bytes that were written long ago.

How it is driven.  ``add`` and ``remove`` bracket a stream's life.  ``mark_ready`` says that a
stream can send ``nbytes`` more than it could before (new bytes, or new credit).  ``pop`` takes the
next key out of service order; the core cuts a frame for it and hands the key back with ``served``,
saying how many bytes went and whether it can send more.  One key is in service at a time; in
between, ``remove``, ``set_priority`` and ``mark_ready`` may be called for any key, the one in
service too.  What ``served`` says about it is the last word.

The rule.  Order is deterministic: deques and dicts, never a set.  A ready key is popped within a
bounded number of picks whatever the others do (no starvation).

The traps.  A key can be removed or run dry while it stands in a queue: skip it when it is popped,
do not search for it when it leaves.  And call ``served`` for the last frame of a stream too, before
``remove``: bytes that the scheduler never hears of cannot be shared fairly, and where most streams
are one frame long those are nearly all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .priority import Priority

__all__ = ("Scheduler",)


@runtime_checkable
class Scheduler(Protocol):
    """What the core asks of a scheduler; see the module essay for the order of calls.

    A key is any hashable but None.
    """

    def add(self, key: Hashable, priority: Priority) -> None:
        """Begin to know ``key``, which is not ready yet.

        :raises ValueError: if the key is known already.
        """

    def remove(self, key: Hashable) -> None:
        """Forget ``key``, ready or not, and in service too; an unknown key is ignored."""

    def set_priority(self, key: Hashable, priority: Priority) -> None:
        """Change the priority of a known key, from the next pick on; unknown keys are ignored."""

    def mark_ready(self, key: Hashable, nbytes: int) -> None:
        """``key`` can send ``nbytes`` more bytes than before (0: a bare SYN or FIN).

        Called for each write and each credit, also while the key is ready already.  Unknown keys
        are ignored.
        """

    def pop(self) -> Hashable | None:
        """The key that sends the next frame, or None if no key is ready.

        :raises RuntimeError: if the key popped before is still in service.
        """

    def served(self, key: Hashable, nbytes: int, ready: bool) -> None:
        """The popped ``key`` sent ``nbytes`` bytes; ``ready`` says whether it can send more.

        Ignored for a key that was removed since its ``pop``.
        """

    def __len__(self) -> int:
        """How many keys are ready now; one in service is not counted."""

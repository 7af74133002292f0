"""Slots: the tasks that wait until a session has room for one more stream of this side, and which of them is next.

Where data comes from and goes to.  What makes a slot free (a stream is over, the peer has told its limit, it has
acknowledged one) the core notes as a change of the session, while anybody waits; then the driver calls
:meth:`~Slots.distribute`.

The rules.  One slot wakes one task, the one that waits longest, and is *reserved* for it in the core until it runs: so
nobody who comes later takes it, whether he waits or not, and opening a stream costs no look at those who wait.  A task
that is cancelled with its slot passes it on.  So a free slot and a task that waits for one are never both at rest.

Who has a queue of its own for several sessions, as a pool has, is told of each slot that nobody here waits for.

A :class:`Claim` may stand in the queues of several sessions at once, as a pool's does: the first that has a slot for it
takes it out of all.

The trap.  From :meth:`~Claim.take` to the opening of the stream there must be no ``await``: the slot is free to all again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from anyio import move_on_after

from ..errors import Retry
from ..runtime.checkpoints import wake

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..protocol.connection import Connection
    from ..protocol.stream_state import StreamState
    from ..runtime.checkpoints import Awaited
    from ..scheduler import Priority

__all__ = ("Claim", "Slots")


class Claim:
    """One who waits for a slot of one of some sessions.

    :param new_waiter: makes what its task awaits.

    ``join`` the queues, and ``wait`` until there is a slot or something has changed, again and again; ``leave`` in
    any case.  A place in a queue is kept until then.
    """

    __slots__ = ("_new_waiter", "_queues", "_slots", "_waiter")

    def __init__(self, new_waiter: Callable[[], Awaited]) -> None:
        self._new_waiter = new_waiter
        self._queues: list[Slots] = []
        self._slots: Slots | None = None
        self._waiter: Awaited | None = None

    @property
    def has_slot(self) -> bool:
        """Whether one is kept for it."""
        return self._slots is not None

    def join(self, slots: Slots) -> None:
        """Wait in the queue of one more session; behind those that are there, and once only."""
        if slots not in self._queues:
            self._queues.append(slots)
            slots.add(self)

    async def wait(self) -> None:
        """Wait until there is a slot, or :meth:`wake` is called.

        Cancellation: the place in all queues stays until :meth:`leave`.
        """
        if self._slots is None:
            self._waiter = waiter = self._new_waiter()
            await waiter

    def wake(self) -> None:
        """Let who waits look again: sessions have come or gone."""
        if self._waiter is not None:
            wake(self._waiter)

    def grant(self, slots: Slots) -> None:
        """A slot of that session is kept for it."""
        self._slots = slots
        self._leave_queues()
        self.wake()

    def take(self) -> Slots:
        """Whose slot it is; the stream is to be opened now, before anything is awaited."""
        slots, self._slots = self._slots, None
        assert slots is not None
        slots.release()
        return slots

    def leave(self) -> None:
        """Wait no more; a slot that was kept and not taken goes to the next."""
        self._leave_queues()
        if self._slots is not None:
            self.take().distribute()

    def _leave_queues(self) -> None:
        for slots in self._queues:
            slots.discard(self)
        self._queues.clear()


class Slots:
    """Who waits for a slot of one session."""

    def __init__(self, connection: Connection, new_waiter: Callable[[], Awaited]) -> None:
        self._connection = connection
        self._opening = connection.opening
        self._new_waiter = new_waiter
        self._waiting: OrderedDict[Claim, None] = OrderedDict()
        self._watcher: Callable[[], object] | None = None

    def __len__(self) -> int:
        """How many wait, and have none kept for them."""
        return len(self._waiting)

    @property
    def is_awaited(self) -> bool:
        """Whether anybody wants to hear of a slot."""
        return bool(self._waiting) or self._watcher is not None

    @property
    def is_free(self) -> bool:
        """Whether a stream that is opened now takes nobody's slot."""
        return not self._waiting and self._opening.has_slot()

    async def open(
        self,
        timeout: float | None,
        priority: Priority | None,
        stream_type: int | None,
        metadata: Mapping[str, bytes] | None,
    ) -> StreamState:
        """Open a stream in the first slot that is free, or kept for this task.

        :param timeout: seconds to wait at most; None without end.
        :raises: what :meth:`.Connection.open` raises, and :exc:`StreamLimitError` where no slot was free in time.

        Cancellation: no stream is opened; the slot goes to the next.
        """
        opening = self._opening
        opening.check(priority, metadata, waits=True)
        if metadata:
            opening.check_metadata()
        claim = Claim(self._new_waiter)
        claim.join(self)
        try:
            with move_on_after(timeout):
                while not claim.has_slot and opening.why_never() is None:
                    await claim.wait()
            if claim.has_slot:
                claim.take()
                return self._connection.open(priority, stream_type, metadata)
            failure = opening.why_never() or opening.why_not_yet(timeout or 0.0)
            raise failure.error(Retry.NEVER_SENT)
        except BaseException:
            claim.leave()
            self.distribute()  # the slot may have been taken, and not used
            raise

    def distribute(self) -> None:
        """Keep the slots that are free for those who have waited longest; where there can be none any more, wake all."""
        if self._opening.why_never() is not None:
            for claim in tuple(self._waiting):
                claim.wake()
            if self._watcher is not None:
                self._watcher()
            return
        while self._waiting and self._opening.has_slot():
            claim, _ = self._waiting.popitem(last=False)
            self._opening.reserve()
            claim.grant(self)
        if self._waiting:
            return
        if self._watcher is None:
            self._opening.await_slots(waits=False)
        elif self._opening.has_slot():
            self._watcher()

    # For who waits in a queue of its own, for slots of many sessions.

    def watch(self, callback: Callable[[], object] | None) -> None:
        """Call ``callback`` whenever there is a slot that nobody here waits for, or can be none any more.

        :param callback: must raise nothing, and wait for nothing; None for no more calls.
        """
        self._watcher = callback
        self._opening.await_slots(waits=self.is_awaited)

    def reserve(self) -> None:
        """Keep a slot that :attr:`is_free`; :meth:`release` it just before the stream is opened, with no ``await`` between."""
        self._opening.reserve()

    # For claims.

    def add(self, claim: Claim) -> None:
        """It waits from now on."""
        self._waiting[claim] = None
        self._opening.await_slots(waits=True)
        self.distribute()

    def discard(self, claim: Claim) -> None:
        """It waits no longer."""
        if self._waiting.pop(claim, claim) is None:
            self._opening.await_slots(waits=self.is_awaited)

    def release(self) -> None:
        """A slot is no longer kept."""
        self._opening.release()

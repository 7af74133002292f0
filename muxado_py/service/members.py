"""Members: the sessions of a pool, on which of them a stream is opened, and who waits until one can be.

Where data comes from and goes to.  A pool adds a session when its peer has shown that it is there, and removes it when it
is over.  What each has room for is asked of its slots (:mod:`~muxado_py.session.slots`) at each opening.

The rules.  Of two sessions that are drawn, the one with fewer streams of ours is taken ("power of two choices",
Mitzenmacher 1996; so does Finagle): that is nearly as good as to compare them all, and many who choose at once do not all go the
same way.  A session that goes away is none any more.  One that shall be avoided, because it has just refused the same call,
is taken only if there is no other; and so is one whose peer has never said a word.  One that refuses most of its streams
(:mod:`.member`) is passed over while another has room; but nobody waits for another because of that.

Who waits, waits in one queue for all sessions.  A slot that is free is kept for the one who has waited longest, of
those whom its session suits, and for nobody else; if he gives up, for the next.  So a slot and a task that waits for one are
never both at rest, and one slot wakes one task.

The trap.  To look at all sessions for each of many who come and find none free would cost the product of both.  So who
comes while others like him wait does not look: there is nothing for him.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

from ..errors import SessionError
from ..runtime.checkpoints import current_backend, wake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..errors import MuxadoError
    from ..runtime.checkpoints import Awaited
    from ..scheduler import Priority
    from ..session.stream import Stream
    from .member import Member, Wish

__all__ = ("Members",)

DRAWS = 4
"""Times that a session is drawn, at most, to find two that can be taken; then all are looked at."""


class _Waiting:
    """One who waits."""

    __slots__ = ("member", "waiter", "wish")

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.member: Member | None = None  # which keeps a slot for it
        self.waiter: Awaited | None = None

    def wake(self) -> None:
        if self.waiter is not None:
            wake(self.waiter)


class Members:
    """The sessions of one pool; made in the event loop that it is used in.

    :param why_never: why it is no use to wait; None while it may be.
    :param draw: a whole number below the one that it is given.
    """

    def __init__(
        self,
        why_never: Callable[[], MuxadoError | None],
        draw: Callable[[int], int] = random.randrange,
    ) -> None:
        self._why_never = why_never
        self._draw = draw
        self._backend = current_backend()
        self._now = self._backend.time
        self._members: list[Member] = []
        self._queue: OrderedDict[_Waiting, None] = OrderedDict()
        self._waiting_for: Counter[bool] = Counter()  # plain wishes that wait, by ``metadata``

    def __iter__(self) -> Iterator[Member]:
        return iter(tuple(self._members))

    def __len__(self) -> int:
        return len(self._members)

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._queue)

    @property
    def is_heard(self) -> bool:
        """Whether there is one for streams with metadata."""
        return any(one.is_heard() and one.is_open() for one in self._members)

    def add(self, member: Member) -> None:
        """Streams may be opened on it."""
        self._members.append(member)
        if self._queue:
            self._watch(member)
            self._deal(member)

    def remove(self, member: Member) -> None:
        """It is over."""
        member.session.slots.watch(None)
        self._members.remove(member)
        self.look()

    def look(self) -> None:
        """A session is not what it was: who waits may take another now."""
        if self._queue:
            for member in tuple(self._members):
                self._deal(member)

    def wake_all(self) -> None:
        """Waiting may be of no use any more: whoever waits asks why."""
        for one in self._queue:
            one.wake()

    # Choosing.

    def choose(self, wish: Wish) -> Member | None:
        """The session to open a stream on now; None if none is free that may be taken."""
        members = self._members
        size = len(members)
        if size == 1:
            only = members[0]
            if only.is_free() and only.suits(wish):
                return only
        elif size:
            drawn: Member | None = None
            for _ in range(DRAWS):
                one = members[self._draw(size)]
                if one is drawn or not one.is_free() or one.rank(wish) or one.refuses(self._now):
                    continue
                if drawn is not None:
                    return one if _load(one) < _load(drawn) else drawn
                drawn = one
        opened = [one for one in tuple(members) if one.suits(wish) and one.is_open()]
        if not opened:
            return None
        if wish.avoid or not all(one.is_heard() for one in opened):
            least = min(one.rank(wish) for one in opened)
            opened = [one for one in opened if one.rank(wish) == least]
        free = [one for one in opened if one.is_free()]
        free = [one for one in free if not one.refuses(self._now)] or free
        if len(free) < 2:
            return free[0] if free else None
        first = free.pop(self._draw(len(free)))
        return min(first, free[self._draw(len(free))], key=_load)

    async def open_stream(
        self,
        wish: Wish,
        priority: Priority | None,
        stream_type: int | None,
        metadata: Mapping[str, bytes] | None,
    ) -> Stream:
        """Open a stream; waits for a session, and for a slot.

        :raises MuxadoError: what ``why_never`` says.
        :raises: what :meth:`.Session.open_stream_nowait` raises of its arguments.

        Cancellation: no stream is opened.
        """
        first = False
        while True:
            member = await self._wait(wish, first=first)
            member.session.slots.release()
            try:
                return member.open_stream(priority, stream_type, metadata)
            except SessionError:
                # It has ended in this very moment, or its peer has just told a limit below what was kept.
                if member.is_free():
                    raise  # or it would be tried again at once, for ever
                first = True
            finally:
                member.session.slots.distribute()  # the slot may not have been used

    def open_stream_at_once(
        self,
        wish: Wish,
        priority: Priority | None,
        stream_type: int | None,
        metadata: Mapping[str, bytes] | None,
    ) -> Stream | None:
        """Open a stream without waiting; None if that cannot be.

        :raises: what :meth:`.Session.open_stream_nowait` raises.
        """
        if (self._queue and self._is_vain(wish)) or (member := self.choose(wish)) is None:
            return None
        return member.open_stream(priority, stream_type, metadata)

    # Waiting.

    def _is_vain(self, wish: Wish) -> bool:
        """Whether others wait who would have what there is for it."""
        waiting = self._waiting_for
        return bool(waiting[False] or (wish.metadata and waiting[True]))

    async def _wait(self, wish: Wish, *, first: bool) -> Member:
        """The session that keeps a slot for this task.

        :param first: whether it goes before those that wait already: it has waited before.
        """
        one = _Waiting(wish)
        vain = self._is_vain(wish)
        if not self._queue:
            for member in self._members:
                self._watch(member)
        self._queue[one] = None
        if first:
            self._queue.move_to_end(one, last=False)
        if not wish.avoid:
            self._waiting_for[wish.metadata] += 1
        try:
            if not vain:
                self.look()
            while one.member is None:
                failure = self._why_never()
                if failure is not None:
                    raise failure
                one.waiter = waiter = self._backend.new_waiter()
                await waiter
        except BaseException:
            if one.member is None:
                self._forget(one)
            else:
                one.member.session.slots.release()
                one.member.session.slots.distribute()
                self._deal(one.member)
            raise
        return one.member

    def _forget(self, one: _Waiting) -> None:
        """It waits no longer."""
        del self._queue[one]
        if not one.wish.avoid:
            self._waiting_for[one.wish.metadata] -= 1
        if not self._queue:
            for member in self._members:
                member.session.slots.watch(None)

    def _watch(self, member: Member) -> None:
        member.session.slots.watch(lambda: self._deal(member))

    def _deal(self, member: Member) -> None:
        """Keep the slots of ``member`` that are free for those who have waited longest."""
        granted = []
        for one in self._queue:
            if not member.is_free():
                break
            if self._may_take(member, one.wish):
                member.session.slots.reserve()
                one.member = member
                granted.append(one)
        for one in granted:
            self._forget(one)
            one.wake()

    def _may_take(self, member: Member, wish: Wish) -> bool:
        """Whether there is no other that it had to wait for rather."""
        if not member.suits(wish):
            return False
        rank = member.rank(wish)
        return rank == 0 or not any(
            one.suits(wish) and one.is_open() and one.rank(wish) < rank for one in self._members
        )


def _load(member: Member) -> int:
    return member.session.open_streams

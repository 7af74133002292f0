"""Acceptors: the tasks and handlers that wait for the peer's streams, and which of them is given one.

Where data comes from and goes to.  Streams wait in the core's backlog until somebody takes them: a task in
:meth:`~Acceptors.accept`, or a *taker*, the function by which ``serve`` is given every stream as soon as it comes.
The driver calls :meth:`~Acceptors.distribute` when the core says that one came.

The rules.  One stream wakes one task, the one that waits longest.  Whoever is woken has a claim to a stream, and who
comes later does not take it; the stream itself stays in the backlog until the task runs, since what the core has handed
off can be refused no more.  A task that is cancelled with its claim passes it on.  So a stream and a task that waits
for one are never both at rest.

Streams go to takers, past all tasks, and to the latest taker if there are several.

The trap.  A claim may come to nothing: the peer resets the stream before the task runs, or a taker comes.  The task
waits on, and goes first when the next stream comes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from ..errors import ErrorCode, StreamClosedError
from ..runtime.checkpoints import wake

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protocol.connection import Connection
    from ..protocol.stream_state import StreamState
    from ..runtime.checkpoints import Backend, Waiter

__all__ = ("WAKES_PER_FLUSH", "Acceptors")

WAKES_PER_FLUSH = 36
"""Tasks that are woken until what they send is flushed: the peer works while the others have their turn."""


class Acceptors:
    """Who waits for the peer's streams in one session.

    :param check: raises if the session is over.
    :param changed: called after anything that left output in the connection.
    :param expect_output: called between tasks that were woken, for what they will send.
    """

    def __init__(
        self,
        connection: Connection,
        backend: Backend,
        check: Callable[[], None],
        changed: Callable[[], None],
        expect_output: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._backend = backend
        self._due = backend.checkpoint_due
        self._check = check
        self._changed = changed
        self._expect_output = expect_output
        # Tasks in accept; who goes first is first.
        self._waiting: OrderedDict[Waiter, None] = OrderedDict()
        self._claims: set[Waiter] = set()  # of tasks that were woken and have not run yet
        self._takers: list[_Taker] = []
        self._closed = False

    def __len__(self) -> int:
        """How many tasks wait in :meth:`accept`, and have no claim to a stream."""
        return len(self._waiting)

    async def accept(self) -> StreamState:
        """See :meth:`.Session.accept_stream`."""
        connection, claims = self._connection, self._claims
        free = connection.backlog > len(claims)
        if (free or self._closed or connection.events.failure is not None) and self._due():
            await self._backend.checkpoint()
            free = connection.backlog > len(claims)
        state = connection.accept() if free else None
        first = False
        while state is None:
            await self._claim(first=first)
            state = connection.accept()
            first = True  # the claim came to nothing
        if connection.events.pending:  # some peers wait to be told
            self._changed()
        return state

    async def _claim(self, *, first: bool) -> None:
        """Wait until a stream is there for this task.

        :param first: whether it goes before those that wait already.
        :raises SessionError: if the session is over.
        :raises ~anyio.ClosedResourceError: if the listener was closed.
        """
        self._check_open()
        waiter = self._backend.new_waiter()
        self._waiting[waiter] = None
        if first:
            self._waiting.move_to_end(waiter, last=False)
        try:
            await waiter
        except BaseException:
            self._waiting.pop(waiter, None)
            self._claims.discard(waiter)
            self._wake_for_streams()
            raise
        self._claims.discard(waiter)

    async def hand_off_to(self, take: Callable[[StreamState], None]) -> None:
        """Call ``take`` with each stream that comes, as soon as it comes, until it raises.

        :raises: what :meth:`accept` raises, once no stream can come; and what ``take`` raises, which never
            reaches the tasks that drive the session.
        """
        if self._due():
            await self._backend.checkpoint()
        taker = _Taker(take)
        self._takers.append(taker)
        try:
            self.distribute()
            self._changed()
            while taker.failure is None:
                self._check_open()
                taker.waiter = waiter = self._backend.new_waiter()
                await waiter
            raise taker.failure
        finally:
            if taker in self._takers:
                self._takers.remove(taker)

    def distribute(self) -> None:
        """Hand the streams that wait off to the latest taker; without one, wake a task for each."""
        connection, dealt = self._connection, 0
        while self._takers and (state := connection.accept()) is not None:
            taker = self._takers[-1]
            try:
                taker.take(state)
            except Exception as exc:  # noqa: BLE001 - raised where hand_off_to was called
                self._takers.remove(taker)
                taker.failure = exc
                taker.wake()
                connection.reset(state, ErrorCode.INTERNAL_ERROR)
            else:
                dealt += 1
                if dealt % WAKES_PER_FLUSH == 0:
                    self._expect_output()
        if self._waiting:
            self._wake_for_streams()

    def _wake_for_streams(self) -> None:
        """Wake as many tasks as there are streams to which nobody has a claim."""
        waiting, claims, streams = self._waiting, self._claims, self._connection.backlog
        while waiting and len(claims) < streams and not self._takers:
            waiter, _ = waiting.popitem(last=False)
            if waiter.done():
                continue  # it was cancelled, and has not run yet
            claims.add(waiter)
            wake(waiter)
            if len(claims) % WAKES_PER_FLUSH == 0:
                self._expect_output()

    def _check_open(self) -> None:
        self._backend.check_here()
        self._check()
        if self._closed:
            raise StreamClosedError(
                "you closed the listener of this session", code=ErrorCode.SESSION_CLOSED
            )

    def close(self) -> None:
        """Refuse the streams that wait and those that come."""
        self._closed = True
        self._connection.stop_accepting()
        self.wake_all()

    def wake_all(self) -> None:
        """No stream comes any more: everybody takes one of those that are left, or learns why there is none."""
        while self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                self._claims.add(waiter)
                wake(waiter)
        for taker in self._takers:
            taker.wake()


class _Taker:
    """Who is given every stream."""

    __slots__ = ("failure", "take", "waiter")

    def __init__(self, take: Callable[[StreamState], None]) -> None:
        self.take = take
        self.failure: Exception | None = None
        """Why it takes no more."""
        self.waiter: Waiter | None = None

    def wake(self) -> None:
        if self.waiter is not None:
            wake(self.waiter)

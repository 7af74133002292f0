"""Callers: the connections to the published addresses, all of them, and how many there may be.

What it is.  The door of the gateway.  Each connection is one visit, in a task of its own or, as long as it goes as
usual, by callbacks (:mod:`.newcomers`); whatever comes of it is that caller's alone.

The rules.  A caller that waits (see :mod:`.caller`) does so for a bounded time; when there is no
room, the one that has waited longest makes some.  No address has all of it (:mod:`.crowd`).  Those that find none are told so, and of these there are few:
an eighth of the limit.  Connections that are in their handshake of TLS (:mod:`..handshakes`) and those of the HTTP door
(:mod:`..http_door.guests`) are counted apart, with the same limit each.

The trap.  Callers that came a moment ago have waited for nobody's sake: their first bytes are on the way.
Those make no room.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import anyio

from ...runtime.checkpoints import callback_context, event_loop
from ...runtime.plain_sockets import PlainSocket, plain_socket
from ...service.retry_budget import RetryBudget
from ...session.bridge import abort, close
from .answers import answer
from .caller import Caller
from .crowd import Crowd
from .heads import Head
from .kept import Kept
from .ledger import UNWRITTEN, End, Entry, Ledger
from .newcomers import Newcomer
from .visits import QUIET, Copied, refuse, visit

if TYPE_CHECKING:
    import socket

    from anyio.abc import ByteStream, TaskGroup

    from ..agents.destinations import Destination
    from .latest import Latest

__all__ = ("Callers",)

logger = logging.getLogger("muxado.cli")


class Callers:
    """The connections to the published addresses.

    :param limit: how many may be served or wait at once; an eighth of it more may be being turned away.
    :param patience: seconds in which one must be settled.
    :param tasks: where those run that need a task and have none.
    :param writes: whether each has a line in the log, when it has left.
    :param latest: where they are seen; those are counted for :attr:`ledger`, too.
    :ivar now: the time, in seconds, also where no task runs.
    """

    def __init__(
        self,
        limit: int,
        patience: float,
        tasks: TaskGroup,
        *,
        writes: bool = False,
        latest: Latest | None = None,
    ) -> None:
        self.limit = limit
        self._patience = patience
        self._tasks = tasks
        self._context = callback_context()
        self._loop = event_loop()
        self.now = anyio.current_time if self._loop is None else self._loop.time
        is_kept = writes or latest is not None
        self.ledger = Ledger(self.now, writes=writes, latest=latest) if is_kept else None
        self._most_refused = max(8, limit // 8)
        self._refused = 0
        self._kept = Kept()
        self.budget = RetryBudget(self.now)
        self._served = 0
        self._crowd = Crowd()
        self._waiting: dict[Caller, _Waiting] = {}  # the longest first
        self._newcomers: dict[Caller, Newcomer] = {}
        self._idle: anyio.Event | None = None

    def came(self, destination: Destination, accepted: socket.socket) -> None:
        """Serve one caller of a door without a task for as long as that is possible, or turn it away; for callbacks."""
        try:
            connection = plain_socket(accepted)
        except OSError as exc:  # it is gone already
            logger.debug("a caller is gone: %r", exc)
            accepted.close()
            return
        host = _host(connection)
        if not self._has_room(host):
            if self._may_refuse():
                self._start(self._turn_away, destination, connection)
            else:
                self._leave_out(destination, connection)
                connection.abort()
            return
        caller = self._admit(destination, connection, host)
        assert self._loop is not None
        newcomer = self._newcomers[caller] = Newcomer(self, self._loop, caller, connection)
        newcomer.begin(self._patience)

    async def handle(self, destination: Destination, connection: ByteStream) -> None:
        """Serve one caller, of a door or by a stream, or turn it away.

        Cancellation: its connection is aborted.
        """
        host = _host(connection)
        if self._has_room(host):
            caller = self._admit(destination, connection, host)
            await self._attend(caller, self._waiting[caller], None)
        elif self._may_refuse():
            await self._turn_away(destination, connection)
        else:
            self._leave_out(destination, connection)
            await abort(connection)

    def hand_over(self, newcomer: Newcomer, copied: Copied | None) -> None:
        """Go on with it in a task."""
        del self._newcomers[newcomer.caller]
        caller = newcomer.caller
        self._start(self._attend, caller, self._waiting.get(caller), copied)

    def left(self, caller: Caller) -> None:
        """It is served no longer, and its connection is closed."""
        caller.forget()
        caller.entry.close()
        self._newcomers.pop(caller, None)
        self._waiting.pop(caller, None)
        self._crowd.remove(caller)
        self._served -= 1
        if not self._served and self._idle is not None:
            self._idle.set()

    def _start(self, function: Any, *args: Any) -> None:
        self._context.run(self._tasks.start_soon, function, *args)

    def _has_room(self, host: str | None) -> bool:
        if not self._crowd.has_room(host, self.limit - self._served):
            return False
        return self._served < self.limit or self._make_room()

    def _admit(self, destination: Destination, connection: ByteStream, host: str | None) -> Caller:
        entry = self._entry(destination, connection, is_served=True)
        caller = Caller(connection, destination, self._settled, self._kept, entry)
        self._waiting[caller] = _Waiting(self.now(), self._patience)
        self._crowd.add(caller, host)
        self._served += 1
        return caller

    def _entry(self, destination: Destination, connection: ByteStream, *, is_served: bool) -> Entry:
        if self.ledger is None:
            return UNWRITTEN
        return self.ledger.open(connection, destination.name, is_served=is_served)

    def _leave_out(self, destination: Destination, connection: ByteStream) -> None:
        """There is not even room to say that there is none."""
        entry = self._entry(destination, connection, is_served=False)
        entry.ended(End.REFUSED)
        entry.close()

    async def _attend(
        self, caller: Caller, waiting: _Waiting | None, copied: Copied | None
    ) -> None:
        """Serve ``caller`` until it has left.

        :param waiting: its time, if it is not settled.
        """
        try:
            if waiting is None:
                await visit(caller, self.budget, copied)
            else:
                with waiting.scope() as scope:
                    await visit(caller, self.budget, copied)
                if scope.cancelled_caught:
                    await self._dismiss(caller, waiting)
        except Exception as exc:
            # Whatever it is, it is this caller's trouble and must not end the gateway.
            if isinstance(exc, (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)):
                caller.entry.ended(End.GONE)
            else:
                logger.exception("serving a caller failed")
            await abort(caller.connection)
        except BaseException:
            await abort(caller.connection)
            raise
        finally:
            self.left(caller)

    def _settled(self, caller: Caller) -> None:
        if caller.is_answered:
            caller.destination.speak_http = caller.is_answered_in_http
        waiting = self._waiting.pop(caller, None)
        if waiting is not None:
            waiting.settle()
            if (newcomer := self._newcomers.get(caller)) is not None:
                newcomer.settle()

    async def _dismiss(self, caller: Caller, waiting: _Waiting) -> None:
        """End a caller that never got as far as a request."""
        logger.debug("what a caller wants %s", waiting.why)
        if caller.head is Head.PART and not caller.is_answered:
            caller.entry.ended(End.REFUSED, 408)
            text = f"The head of the request {waiting.why}."
            await answer(caller.connection, bytes(caller.said), 408, text)
        else:
            caller.entry.ended(End.REFUSED)
            await close(caller.connection)

    def _may_refuse(self) -> bool:
        """Whether one more may be told that there is no room; it is counted now, for many may come in one turn."""
        if self._refused >= self._most_refused:
            return False
        self._refused += 1
        return True

    async def _turn_away(self, destination: Destination, connection: ByteStream) -> None:
        entry = self._entry(destination, connection, is_served=False)
        try:
            caller = Caller(connection, destination, lambda _: None, self._kept, entry)
            await refuse(caller, "This gateway has no room for more connections.")
        except Exception as exc:  # noqa: BLE001 - it is gone, in whatever way
            logger.debug("a caller is gone: %r", exc)
            entry.ended(End.GONE)
            await abort(connection)
        except BaseException:
            await abort(connection)
            raise
        finally:
            entry.close()
            self._refused -= 1

    def _make_room(self) -> bool:
        """Let the caller go that has waited longest, unless that is a moment only."""
        for caller, waiting in self._waiting.items():
            if self.now() - waiting.since > 2 * QUIET:
                self._let_go(caller, "had not come when its place was needed")
                return True
            break
        return False

    def _let_go(self, caller: Caller, why: str) -> None:
        self._waiting[caller].end(why)
        newcomer = self._newcomers.get(caller)
        if newcomer is not None:
            newcomer.hand_over()
        self._waiting.pop(caller, None)

    def stop(self) -> None:
        """Let go of those that wait, who have asked for nothing; for a door that is closed."""
        for caller in list(self._waiting):
            self._let_go(caller, "had not come when the gateway stopped")

    def abort(self) -> None:
        """Cut off those that have no task."""
        for newcomer in list(self._newcomers.values()):
            newcomer.abort()

    async def finished(self) -> None:
        """Wait until no caller is served.

        Cancellation: safe.
        """
        while self._served:
            self._idle = anyio.Event()
            await self._idle.wait()


def _host(connection: ByteStream) -> str | None:
    """The address of a caller of a door, if it has one."""
    if not isinstance(connection, PlainSocket):
        return None
    try:
        address = connection.raw_socket.getpeername()
    except OSError:  # it is gone
        return None
    return address[0] if isinstance(address, tuple) else None


class _Waiting:
    """The time of one caller that is not settled."""

    __slots__ = ("_deadline", "_is_over", "_scope", "since", "why")

    def __init__(self, since: float, patience: float) -> None:
        self.since = since
        self.why = f"did not come in {patience:g} s"
        self._deadline = since + patience
        self._is_over = False
        self._scope: anyio.CancelScope | None = None

    def scope(self) -> anyio.CancelScope:
        """For the task that serves it."""
        self._scope = anyio.CancelScope(deadline=self._deadline)
        if self._is_over:
            self._scope.cancel()
        return self._scope

    def settle(self) -> None:
        """It is in time."""
        if self._scope is not None:
            self._scope.deadline = math.inf

    def end(self, why: str) -> None:
        """Its time is up before."""
        self.why = why
        self._is_over = True
        if self._scope is not None:
            self._scope.cancel()

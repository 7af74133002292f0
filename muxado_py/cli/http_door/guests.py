"""Guests: the callers of the HTTP door, all of them, and how many there may be.

What it is.  Each connection is one conversation, in a task of its own or, as long as it goes as usual, by callbacks
(:mod:`.regulars`).

The rules.  A caller that has no request only waits; when there is no room, the one that has waited longest makes some.
No address has all of it (:mod:`~muxado_py.cli.callers.crowd`).
Those that find none are told so, and of these there are few.

The trap.  Callers that came a moment ago, or have just had an answer, have waited for nobody's sake: their next request
is on the way.  Those make no room.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio

from ...runtime.checkpoints import callback_context, event_loop
from ...runtime.plain_sockets import plain_socket
from ...session.bridge import abort
from ...session.copy_budget import count_both_ways
from ..callers.crowd import Crowd
from ..callers.kept import Kept
from ..callers.visits import QUIET
from .accounts import NO_ACCOUNT
from .conversation import Conversation
from .fields import BadMessage
from .host import Host
from .regulars import Regular

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from ...runtime.plain_sockets import PlainSocket
    from .accounts import Account, Accounts
    from .fronts import Fronts, Source
    from .host import Guest, TakenOver
    from .limits import Limits
    from .routes import Routes

__all__ = ("Guests",)

logger = logging.getLogger("muxado.cli")


class Guests(Host):
    """The connections to one HTTP door.

    :param limit: how many may be served or wait at once; an eighth of it more may be being turned away.
    :param tasks: where they are served.
    :param now: the time, in seconds, also where no task runs.
    :param accounts: where is written down what they ask.
    :param scheme: what they speak, ``http`` or ``https``.
    :param fronts: the proxies that are trusted.
    """

    def __init__(
        self,
        routes: Routes,
        limit: int,
        tasks: TaskGroup,
        limits: Limits,
        now: Callable[[], float],
        accounts: Accounts | None = None,
        scheme: str = "http",
        fronts: Fronts | None = None,
    ) -> None:
        super().__init__(routes, Kept(), limits, now, scheme, fronts)
        self._accounts = accounts
        self._limit = limit
        self._tasks = tasks
        self._context = callback_context()
        self._loop = event_loop()
        self._most_refused = max(8, limit // 8)
        self._refused = 0
        self._served: dict[Conversation | Regular, Account] = {}
        self._crowd = Crowd()
        self._taken_over: dict[Regular, Conversation] = {}
        self._waiting: dict[Guest, float] = {}  # the longest first
        self._idle: anyio.Event | None = None

    def came(self, accepted: socket.socket) -> None:
        """Serve one caller without a task for as long as that is possible; for callbacks."""
        try:
            connection = plain_socket(accepted)
        except OSError as exc:  # it is gone already
            logger.debug("a caller is gone: %r", exc)
            accepted.close()
            return
        source = self.fronts.source(connection, self.scheme)
        if self._has_room(source):
            assert self._loop is not None
            account = self._account(connection, is_served=True)
            regular = Regular(self, self, self._loop, connection, source, account)
            self._admit(regular, account)
            self._crowd.add(regular, _counted(source))
            regular.begin()
        elif (conversation := self._turn_away(connection, source)) is not None:
            self._start(self._serve, conversation)
        else:
            connection.abort()

    async def handle(self, connection: PlainSocket) -> None:
        """Serve one caller.

        Cancellation: its connection is broken off.
        """
        conversation: Conversation | None
        source = self.fronts.source(connection, self.scheme)
        if self._has_room(source):
            account = self._account(connection, is_served=True)
            conversation = Conversation(connection, self, source, account)
            self._admit(conversation, account)
            self._crowd.add(conversation, _counted(source))
        else:
            conversation = self._turn_away(connection, source)
        if conversation is None:
            await abort(connection)
        else:
            await self._serve(conversation)

    def hand_over(self, regular: Regular, over: TakenOver) -> None:
        """Go on with it in a task."""
        conversation = self._taken_over[regular] = regular.conversation(over)
        conversation.stops = regular.stops
        self._start(self._go_on, regular, conversation)

    def waits(self, guest: Guest) -> None:
        if not guest.stops:
            self._waiting[guest] = self.now()

    def asks(self, guest: Guest) -> None:
        self._waiting.pop(guest, None)

    def drain(self) -> None:
        """Each answer is the last of its connection, and says so; for a gateway that is about to stop.

        Who is told goes elsewhere with its next request; who is not, and is let go, may have sent that already.
        """
        self.is_draining = True

    def stop(self) -> None:
        """Let go of those that have no request, and of the others after it; for a door that is closed."""
        why = "had not come when the gateway stopped"
        for guest in [*self._served, *self._taken_over.values()]:
            guest.let_go(why)

    def abort(self) -> None:
        """Cut off those that have no task."""
        for guest in list(self._served):
            if isinstance(guest, Regular) and guest not in self._taken_over:
                guest.abort()

    async def finished(self) -> None:
        """Wait until no caller is served.

        Cancellation: safe.
        """
        while self._served:
            self._idle = anyio.Event()
            await self._idle.wait()

    def _admit(self, guest: Conversation | Regular, account: Account) -> None:
        self._served[guest] = account
        count_both_ways(1)

    def left(self, guest: Conversation | Regular) -> None:
        """It is served no longer, and its connection is closed."""
        self._waiting.pop(guest, None)
        self._crowd.remove(guest)
        self._served.pop(guest).close()
        count_both_ways(-1)
        if not self._served and self._idle is not None:
            self._idle.set()

    def _start(self, function: Any, *args: Any) -> None:
        self._context.run(self._tasks.start_soon, function, *args)

    def _account(self, connection: PlainSocket, *, is_served: bool) -> Account:
        if self._accounts is None:
            return NO_ACCOUNT
        return self._accounts.open(connection, is_served=is_served)

    def _has_room(self, source: Source) -> bool:
        free = self._limit - (len(self._served) - self._refused)
        if not self._crowd.has_room(_counted(source), free):
            return False
        return free > 0 or self._make_room()

    def _make_room(self) -> bool:
        """Let the caller go that has waited longest, unless that is a moment only."""
        for guest, since in self._waiting.items():
            if self.now() - since > 2 * QUIET:
                del self._waiting[guest]
                guest.let_go("had not come when its place was needed")
                return True
            break
        return False

    def _turn_away(self, connection: PlainSocket, source: Source) -> Conversation | None:
        """A caller that is told that there is no room; None: there are too many of these, too."""
        if self._refused >= self._most_refused:
            return None
        self._refused += 1
        refusal = BadMessage(503, "This gateway has no room for more connections.")
        account = self._account(connection, is_served=False)
        conversation = Conversation(connection, self, source, account, refusal)
        self._admit(conversation, account)
        return conversation

    async def _serve(self, conversation: Conversation) -> None:
        try:
            await self._run(conversation)
        finally:
            self._refused -= conversation.is_turned_away
            self.left(conversation)

    async def _go_on(self, regular: Regular, conversation: Conversation) -> None:
        """Serve one that had no task, until it needs none any more or has left."""
        try:
            await self._run(conversation)
        finally:
            self._waiting.pop(conversation, None)
            del self._taken_over[regular]
            if not conversation.goes_on:
                self.left(regular)
        if conversation.goes_on:
            regular.resume(stops=conversation.stops)

    async def _run(self, conversation: Conversation) -> None:
        try:
            await conversation.run()
        except Exception:
            # Whatever it is, it is this caller's trouble and must not end the gateway.
            logger.exception("serving a caller failed")


def _counted(source: Source) -> str | None:
    """The address that counts for how many come from there; none of a proxy, which stands for many."""
    return None if source.is_front else source.client

"""Callers: the connections to the published addresses, all of them, and how many there may be.

What it is.  The door of the gateway.  Each connection is one visit in a task of its own; whatever comes of it
is that caller's alone.

The rules.  A caller that waits (see :mod:`.caller`) does so for a bounded time; when there is no
room, the one that has waited longest makes some.  Those that find none are told so, and of these there are few:
all descriptors of the doors together are hardly more than the limit.

The trap.  Callers that came a moment ago have waited for nobody's sake: their first bytes are on the way.
Those make no room.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from ..session.bridge import abort, close
from .answers import answer
from .caller import Caller
from .heads import Head
from .kept import Kept
from .visits import QUIET, refuse, visit

if TYPE_CHECKING:
    from anyio.abc import ByteStream

    from .agents import Agents

__all__ = ("Callers",)

logger = logging.getLogger("muxado.cli")


class Callers:
    """The connections to the published addresses.

    :param limit: how many may be served or wait at once; an eighth of it more may be being turned away.
    :param patience: seconds in which one must be settled.
    """

    def __init__(self, agents: Agents, limit: int, patience: float) -> None:
        self._agents = agents
        self._limit = limit
        self._patience = patience
        self._most_refused = max(8, limit // 8)
        self._refused = 0
        self._kept = Kept()
        self._served = 0
        self._waiting: dict[ByteStream, _Waiting] = {}  # the longest first
        self._idle = anyio.Event()

    async def handle(self, connection: ByteStream) -> None:
        """Serve one caller, or turn it away.

        Cancellation: its connection is aborted.
        """
        try:
            if self._served < self._limit or self._make_room():
                await self._serve(connection)
            elif self._refused < self._most_refused:
                await self._refuse(connection)
            else:
                await abort(connection)
        except Exception as exc:
            # Whatever it is, it is this caller's trouble and must not end the gateway.
            if not isinstance(exc, (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)):
                logger.exception("serving a caller failed")
            await abort(connection)
        except BaseException:
            await abort(connection)
            raise

    async def _serve(self, connection: ByteStream) -> None:
        waiting = self._waiting[connection] = _Waiting(self._patience)
        caller = Caller(connection, lambda: self._settled(caller), self._kept)
        self._served += 1
        try:
            with waiting.scope:
                await visit(caller, self._agents)
            if waiting.scope.cancelled_caught:
                await self._dismiss(caller, waiting)
        finally:
            caller.forget()
            self._waiting.pop(connection, None)
            self._served -= 1
            if not self._served:
                self._idle.set()
                self._idle = anyio.Event()

    def _settled(self, caller: Caller) -> None:
        if caller.is_answered:
            self._agents.speak_http = caller.is_answered_in_http
        waiting = self._waiting.pop(caller.connection, None)
        if waiting is not None:
            waiting.scope.deadline = float("inf")

    async def _dismiss(self, caller: Caller, waiting: _Waiting) -> None:
        """End a caller that never got as far as a request."""
        logger.debug("a caller said too little, %s", waiting.why)
        if caller.head is Head.PART and not caller.is_answered:
            text = f"The head of the request {waiting.why}."
            await answer(caller.connection, bytes(caller.said), 408, text)
        else:
            await close(caller.connection)

    async def _refuse(self, connection: ByteStream) -> None:
        self._refused += 1
        try:
            caller = Caller(connection, lambda: None, self._kept)
            await refuse(caller, "This gateway has no room for more connections.")
        finally:
            self._refused -= 1

    def _make_room(self) -> bool:
        """Let the caller go that has waited longest, unless that is a moment only."""
        for connection, waiting in self._waiting.items():
            if anyio.current_time() - waiting.since > 2 * QUIET:
                del self._waiting[connection]
                waiting.end("and its place was needed")
                return True
            break
        return False

    def stop(self) -> None:
        """Let go of those that wait, who have asked for nothing; for a door that is closed."""
        for waiting in self._waiting.values():
            waiting.end("and the gateway stops")
        self._waiting.clear()

    async def finished(self) -> None:
        """Wait until no caller is served.

        Cancellation: safe.
        """
        while self._served:
            await self._idle.wait()


class _Waiting:
    """The time of one caller that is not settled."""

    def __init__(self, patience: float) -> None:
        self.since = anyio.current_time()
        self.scope = anyio.CancelScope(deadline=self.since + patience)
        self.why = f"did not come in {patience:g} s"

    def end(self, why: str) -> None:
        self.why = why
        self.scope.cancel()

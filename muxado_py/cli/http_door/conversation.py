"""Conversations: all that one caller of the HTTP door asks, and what it is answered.

What it is.  Requests come one after another; each is answered before the next is looked at, so that callers which send
ahead are answered in order.  What an agent does not answer is answered here.

The rules.  Whatever is not read to its end is followed by nothing: the connection is closed behind the answer.  A part of
an answer is never closed in order, but broken off.

The trap.  Time is one scope's, whose deadline moves with what is waited for.  So whoever waits for something new says so,
or is held to the time of what was before.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from ...session.bridge import IO_ERRORS, abort, bridge, close
from ...session.copying import linger
from ..introductions import introduce
from ..latest import MAX_LINE
from ..ledger import End
from ..visits import PATIENCE
from .answers import own_answer
from .exchange import Exchange, Late, Switched
from .fields import BadMessage
from .inbox import open_inbox
from .requests import head_end, read_request

if TYPE_CHECKING:
    from ...runtime.plain_sockets import PlainSocket
    from ...service.retry_budget import RetryBudget
    from ..agent import Passage
    from ..kept import Kept
    from ..latest import Latest
    from .limits import Limits
    from .requests import Request
    from .routes import Routes

__all__ = ("Conversation", "Host")


class Host:
    """What all conversations of a door have in common.

    :param budget: of their requests that are offered to another agent.
    :param latest: where their requests are seen.
    :param scheme: what callers speak, ``http`` or ``https``.
    """

    def __init__(
        self,
        routes: Routes,
        kept: Kept,
        limits: Limits,
        budget: RetryBudget,
        latest: Latest | None = None,
        scheme: str = "http",
    ) -> None:
        self.routes = routes
        self.kept = kept
        self.limits = limits
        self.budget = budget
        self.latest = latest
        self.scheme = scheme

    def waits(self, conversation: Conversation) -> None:
        """It has no request, from now on."""

    def asks(self, conversation: Conversation) -> None:
        """It has one."""


class Conversation:
    """One caller.

    :param client: its address, if it has one.
    :param refusal: what it is told instead of an answer.
    """

    def __init__(
        self,
        connection: PlainSocket,
        host: Host,
        client: str | None,
        refusal: BadMessage | None = None,
    ) -> None:
        self.stops = refusal is not None
        self.client = client
        self.name: str | None = None
        """What its request wants."""
        self.line = b""
        """The first of its request."""
        self.status: int | None = None
        """What that was answered."""
        self._passage: Passage | None = None
        self._asked_at: float | None = None  # the request that has not ended
        self._connection = connection
        self._host = host
        self._refusal = refusal
        self._scope = anyio.CancelScope()
        self._late: Late | None = None
        self._why_late = ""
        self._is_answered = False
        self._is_head = False
        self._exchange: Exchange | None = None
        self._switched: Switched | None = None

    @property
    def agent(self) -> str | None:
        """Who had its request last."""
        return None if self._passage is None else self._passage.agent.peer

    @property
    def is_turned_away(self) -> bool:
        """Whether it is told something instead of an answer."""
        return self._refusal is not None

    async def run(self) -> None:
        """Serve it, until its connection is closed.

        Cancellation: it is broken off.
        """
        is_whole = False
        try:
            async with anyio.create_task_group() as tasks:
                self.inbox = open_inbox(self._connection, tasks)
                self.inbox.ended = self._ended
                try:
                    is_whole = await self._converse()
                finally:
                    with anyio.CancelScope(shield=True):
                        await self.inbox.stop()
        except BaseException:
            await abort(self._connection)
            raise
        finally:
            self._end_request(End.CUT_OFF if self.inbox.failure is None else End.GONE)
        if self._switched is not None:
            await self._copy(self._switched)
        elif is_whole:
            await self._close()
        else:
            await abort(self._connection)

    def let_go(self, why: str) -> None:
        """End it if it has no request, and after the one that it has."""
        self.stops = True
        waits = self._exchange is None and self._late in (Late.REQUEST, Late.HEAD)
        if waits and not self._has_head():
            self._why_late = why
            self._scope.cancel()

    def _has_head(self) -> bool:
        """Whether a request came a moment ago, and its turn is yet to come."""
        try:
            return head_end(self.inbox.said) > 0
        except BadMessage:
            return True  # which is about to be refused

    # For the exchange.

    def led(self, passage: Passage) -> None:
        """See :class:`.exchange.Asker`."""
        self._passage = passage

    def give(self, seconds: float, late: Late | None) -> None:
        """See :class:`.exchange.Asker`."""
        self._late = late
        self._scope.deadline = math.inf if late is None else anyio.current_time() + seconds
        self._why_late = f"did not come in {seconds:g} s"

    async def say(self, data: bytes, *, is_final: bool = True) -> None:
        """See :class:`.exchange.Asker`."""
        if is_final and not self._is_answered:
            self._is_answered = True
            self.status = int(data[9:12])
        if not self.inbox.send(data):
            self.give(self._host.limits.write, Late.TAKING)
            await self.inbox.flush()
            self.give(math.inf, None)

    # From one request to the next.

    async def _converse(self) -> bool:
        """Whether its connection may be closed in order."""
        try:
            with self._scope:
                while (head := await self._head()) and await self._answer(head):
                    pass
        except IO_ERRORS:  # of the caller, or in the middle of an answer
            return False
        except EOFError:
            return False
        if self._scope.cancelled_caught:
            return await self._tell_late()
        return True

    async def _head(self) -> bytes:
        """The head of the next request; nothing if there is none.

        :raises BadMessage: 431.
        """
        inbox, limits = self.inbox, self._host.limits
        if self.stops and self._refusal is None:
            return b""
        self._is_answered = self._is_head = False
        # Also with a word of it there: that may be an empty line, behind which nothing comes.
        self._host.waits(self)
        self.give(PATIENCE if self.is_turned_away else limits.idle, Late.REQUEST)
        searched = 0
        may_begin_empty = True  # behind a body (RFC 9112 2.2)
        while True:
            if may_begin_empty and inbox.said.startswith(b"\r\n"):
                inbox.take(2)
                may_begin_empty = False
            if inbox.said and self._late is not Late.HEAD:
                self.give(limits.head, Late.HEAD)
            try:
                end = head_end(inbox.said, searched)
            except BadMessage as exc:
                await self._refuse(exc)
                return b""
            if end:
                self._host.asks(self)
                self.give(math.inf, None)
                return inbox.take(end)
            if inbox.has_ended:
                return b""
            searched = max(0, len(inbox.said) - 3)
            await inbox.more()

    async def _answer(self, head: bytes) -> bool:
        """Answer one request; whether another may follow."""
        self._is_head = head.startswith(b"HEAD ")
        host = self._host
        request: Request | None = None
        self._begin_request(head)
        try:
            request = read_request(head)
            if self._refusal is not None:
                raise self._refusal
            self._exchange = exchange = Exchange(
                request,
                request.for_agent(self.client, host.scheme),
                self,
                host.kept,
                host.limits,
                host.budget,
            )
            destination = host.routes.find(request.host)
            self.name = destination.name
            await exchange.run(destination, introduce(self._connection))
            self._switched = exchange.switched
            self._end_request(End.ANSWERED)
            return exchange.keeps_alive
        except BadMessage as exc:
            if self._is_answered:
                raise EOFError from exc
            goes_on = (
                request is not None
                and request.keeps_alive
                and self._exchange is not None
                and self._exchange.is_whole
                and exc.status >= 404
                and not self.stops
            )
            await self._refuse(exc, closes=not goes_on)
            self._end_request(End.CUT_OFF if exc.status in (502, 504) else End.REFUSED)
            return goes_on
        finally:
            self._exchange = None

    def _begin_request(self, head: bytes) -> None:
        self._asked_at = time.monotonic()
        self.line = head[: min(head.find(b"\n"), MAX_LINE)]
        self.name = self.status = self._passage = None

    def _end_request(self, end: End) -> None:
        """It has ended like that, if none said so before."""
        if self._asked_at is not None and self._host.latest is not None:
            self._host.latest.asked(self, end, time.monotonic() - self._asked_at)
        self._asked_at = None

    async def _refuse(self, refusal: BadMessage, *, closes: bool = True) -> None:
        await self.say(
            own_answer(refusal.status, refusal.text, is_head=self._is_head, closes=closes)
        )

    def _ended(self) -> None:
        if self.inbox.failure is not None:
            self._scope.cancel()
        elif self._exchange is not None:
            self._exchange.asker_ended()

    async def _copy(self, switched: Switched) -> None:
        """Copy bytes both ways, from what each side has said of the new protocol already."""
        passage = switched.passage
        try:
            self._connection.put_back(bytes(self.inbox.said))
            with suppress(Exception):  # the copying finds out
                await self._connection.send(switched.first)
            await bridge(self._connection, passage.stream)
        except BaseException:
            passage.reset()
            raise
        passage.close()  # the bridge has ended the stream; what the agent has no room for yet is on its way

    # The end.

    async def _tell_late(self) -> bool:
        """What was waited for did not come; whether the connection may be closed in order."""
        if self._is_answered or self.inbox.failure is not None:
            return False
        if self._late is Late.HEAD:
            refusal = BadMessage(408, f"The head of the request {self._why_late}.")
        elif self._late is Late.ANSWER:
            refusal = BadMessage(
                504, f"The answer {self._why_late}. The agent may have executed the request."
            )
        else:
            return self._late is Late.REQUEST
        with suppress(Exception), anyio.move_on_after(self._host.limits.write):
            await self._refuse(refusal)
            return True
        return False

    async def _close(self) -> None:
        """Close the connection, behind an answer that the caller is to read."""
        with suppress(Exception), anyio.move_on_after(self._host.limits.write):
            await self._connection.send_eof()
        if not self.inbox.has_ended or self.inbox.said:
            await linger(self._connection)
        await close(self._connection)

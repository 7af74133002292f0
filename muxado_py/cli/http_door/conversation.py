"""Conversations: all that one caller of the HTTP door asks, and what it is answered.

What it is.  Requests come one after another; each is answered before the next is looked at, so that callers which send
ahead are answered in order.  What an agent does not answer is answered here.

The rules.  Whatever is not read to its end is followed by nothing: the connection is closed behind the answer.  A part of
an answer is never closed in order, but broken off.

What is usual is served without a task, where the loop has callbacks (:mod:`.regulars`): then this takes over where that is
left, and gives the caller back when it has had its answer.

The trap.  Time is one scope's, whose deadline moves with what is waited for.  So whoever waits for something new says so,
or is held to the time of what was before.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from ...session.bridge import IO_ERRORS, abort, bridge, close
from ...session.copying import linger
from ..callers.answers import own_answer
from ..callers.ledger import End
from ..callers.visits import PATIENCE
from .exchange import Exchange, Late, Switched
from .fields import BadMessage
from .host import TakenOver
from .inbox import Inbox, open_inbox
from .requests import head_end, read_request
from .uploads import Upload

if TYPE_CHECKING:
    from ...runtime.plain_sockets import PlainSocket
    from ..agents.agent import Passage
    from ..agents.destinations import Destination
    from .accounts import Account
    from .asked import Asked
    from .exchange import Begun
    from .fronts import Source
    from .host import Host
    from .requests import Request

__all__ = ("Conversation",)


class Conversation:
    """One caller.

    :param source: where its requests come from.
    :param account: where is written down what it asks.
    :param refusal: what it is told instead of an answer.
    :param taken_over: where it begins, if not at the beginning.
    """

    def __init__(
        self,
        connection: PlainSocket,
        host: Host,
        source: Source,
        account: Account,
        refusal: BadMessage | None = None,
        taken_over: TakenOver | None = None,
    ) -> None:
        self.stops = refusal is not None
        self._source = source
        self.goes_on = False
        """Whether :meth:`run` has returned because what comes next is nothing unusual."""
        self.account = account
        self.inbox = Inbox()
        """What it says; nothing, until it is heard."""
        self._taken_over = taken_over
        self._has_passage = False  # whether an agent had its request
        self._client: str | None = None  # who asks
        self._name: str | None = None  # for what
        self._connection = connection
        self._host = host
        self._refusal = refusal
        self._scope = anyio.CancelScope()
        self._late: Late | None = None
        self._why_late = ""
        self._is_answered = False
        self._has_answered = False  # a request, whatever that was
        self._is_head = False
        self._exchange: Exchange | None = None
        self._switched: Switched | None = None

    @property
    def is_turned_away(self) -> bool:
        """Whether it is told something instead of an answer."""
        return self._refusal is not None

    async def run(self) -> None:
        """Serve it, until its connection is closed.

        Cancellation: it is broken off.
        """
        try:
            await self._serve()
        finally:
            self.account.ended(End.CUT_OFF if self.inbox.failure is None else End.GONE)

    async def _serve(self) -> None:
        is_whole = False
        try:
            async with anyio.create_task_group() as tasks:
                over = self._taken_over or TakenOver(b"", has_ended=False)
                self.inbox = open_inbox(
                    self._connection, tasks, over.said, has_ended=over.has_ended
                )
                self.inbox.ended = self._ended
                try:
                    is_whole = await self._converse()
                finally:
                    with anyio.CancelScope(shield=True):
                        await self.inbox.stop()
        except BaseException:
            await abort(self._connection)
            raise
        if self.goes_on:
            return
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
        if not self._has_passage:
            self._host.rates.count(self._client, self._name)
        self._has_passage = True
        self.account.led(passage)

    def give(self, seconds: float, late: Late | None, since: float | None = None) -> None:
        """See :class:`.exchange.Asker`."""
        self._late = late
        since = anyio.current_time() if since is None else since
        self._scope.deadline = math.inf if late is None else since + seconds
        self._why_late = f"did not come in {seconds:g} s"

    async def say(self, data: bytes, *, is_final: bool = True) -> None:
        """See :class:`.exchange.Asker`."""
        if is_final and not self._is_answered:
            self._is_answered = True
            self.account.answering(int(data[9:12]))
        if not self.inbox.send(data):
            self.give(self._host.limits.write, Late.TAKING)
            await self.inbox.flush()
            self.give(math.inf, None)

    # From one request to the next.

    async def _converse(self) -> bool:
        """Whether its connection may be closed in order."""
        try:
            with self._scope:
                asked = None if self._taken_over is None else self._taken_over.asked
                if asked is not None and not await self._go_on(asked):
                    return True
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
        is_over = self._has_answered or not self._has_head()
        if self.stops and self._refusal is None and is_over:
            return b""
        self._is_answered = self._is_head = False
        if self._may_give_back():
            self.goes_on = True
            return b""
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
                self.account.begin(inbox.said)
                await self._refuse(exc)
                self.account.ended(End.REFUSED)
                return b""
            if end:
                self._host.asks(self)
                self.give(math.inf, None)
                return inbox.take(end)
            if inbox.has_ended:
                return b""
            searched = max(0, len(inbox.said) - 3)
            await inbox.more()

    def _may_give_back(self) -> bool:
        """Whether the next request may be served without this task."""
        inbox = self.inbox
        is_quiet = not (inbox.said or inbox.has_ended or inbox.failure)
        return self._taken_over is not None and self._has_answered and is_quiet

    async def _answer(self, head: bytes) -> bool:
        """Answer one request; whether another may follow."""
        self._is_head = head.startswith(b"HEAD ")
        host = self._host
        self.stops |= host.is_draining
        request: Request | None = None
        self.account.begin(head)
        self._has_passage = False
        try:
            request = read_request(head)
            name = host.routes.name(request.host)
            if name is not None:
                self.account.wants(name)  # also of what is turned down
            if self._refusal is not None:
                raise self._refusal
            source = host.fronts.asker(self._source, request)
            if self._source.is_front:
                self.account.asked_by(source.client)
            said = request.for_agent(source.client, source.scheme)
            upload = Upload(request, said, self.inbox, host.kept, host.limits)
            exchange = Exchange(request, upload, self, host.limits, host.budget)
            self._exchange = exchange
            destination = host.routes.find(name)
            self._client, self._name = source.client, destination.name
            seconds = host.rates.wait(self._client, self._name)
            if seconds:
                raise BadMessage(429, "There were too many requests in a while.", seconds)
        except BadMessage as exc:
            return await self._turn_down(exc, request)
        finally:
            self._exchange = None
        return await self._have_answered(exchange, request, source, destination, None)

    async def _go_on(self, asked: Asked) -> bool:
        """The same, where an agent has it."""
        request = asked.request
        self._is_head = request.method == b"HEAD"
        self._has_passage = True
        host = self._host
        self.stops |= host.is_draining
        upload = Upload(request, asked.said, self.inbox, host.kept, host.limits, is_sent=True)
        exchange = Exchange(request, upload, self, host.limits, host.budget)
        return await self._have_answered(
            exchange, request, asked.source, asked.destination, asked.begun
        )

    async def _have_answered(
        self,
        exchange: Exchange,
        request: Request,
        source: Source,
        destination: Destination,
        begun: Begun | None,
    ) -> bool:
        self._exchange = exchange
        try:
            await exchange.run(destination, source.introduction, begun)
        except BadMessage as exc:
            return await self._turn_down(exc, request)
        finally:
            self._exchange = None
        self._switched = exchange.switched
        if self._switched is None:
            self.account.ended(End.ANSWERED)
            self._has_answered = True
        return exchange.keeps_alive

    async def _turn_down(self, refusal: BadMessage, request: Request | None) -> bool:
        """Answer a request ourselves; whether another may follow.

        :param request: None if it cannot be read.
        """
        if self._is_answered:
            raise EOFError from refusal
        exchange = self._exchange
        goes_on = (
            request is not None
            and request.keeps_alive
            and exchange is not None
            and exchange.is_whole
            and refusal.status >= 404
            and not self.stops
        )
        await self._refuse(refusal, closes=not goes_on)
        self.account.ended(self._end_of(refusal))
        self._has_answered = True
        return goes_on

    def _end_of(self, refusal: BadMessage) -> End:
        """How a request ends that is answered so."""
        if not self._has_passage or refusal.status == 503:
            return End.REFUSED  # no application has seen it
        return End.GONE if refusal.status in (400, 408) else End.CUT_OFF

    async def _refuse(self, refusal: BadMessage, *, closes: bool = True) -> None:
        await self.say(
            own_answer(
                refusal.status,
                refusal.text,
                is_head=self._is_head,
                closes=closes,
                retry_after=refusal.retry_after,
            )
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
        self.account.ended(End.ANSWERED)
        passage.close()  # the bridge has ended the stream; what the agent has no room for yet is on its way

    # The end.

    async def _tell_late(self) -> bool:
        """What was waited for did not come; whether the connection may be closed in order."""
        if self._late is Late.TAKING:
            self.account.ended(End.GONE)
        if self._is_answered or self.inbox.failure is not None:
            return False
        if self._late is Late.HEAD:
            refusal = BadMessage(408, f"The head of the request {self._why_late}.")
            end = End.REFUSED
            self.account.begin(self.inbox.said)
        elif self._late is Late.ANSWER:
            refusal = BadMessage(
                504, f"The answer {self._why_late}. The agent may have executed the request."
            )
            end = End.CUT_OFF
        else:
            return self._late is Late.REQUEST
        with suppress(Exception), anyio.move_on_after(self._host.limits.write):
            await self._refuse(refusal)
            self.account.ended(end)
            return True
        return False

    async def _close(self) -> None:
        """Close the connection, behind an answer that the caller is to read."""
        with suppress(Exception), anyio.move_on_after(self._host.limits.write):
            await self._connection.send_eof()
        if not self.inbox.has_ended or self.inbox.said:
            await linger(self._connection)
        await close(self._connection)

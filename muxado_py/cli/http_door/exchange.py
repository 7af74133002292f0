"""Exchanges: one request, the agents it is offered to, and the answer.

What it is.  The head goes to an agent in a stream of its own, with what has come of the body; what comes later is
carried after it, while the answer is awaited already.  What is heard of the answer goes to the caller as it comes.

The rules.  Until the first byte of an answer has come, what the agent was sent is kept, as far as it is little: if the
stream then ends with the verdict that no application has seen it, the next agent gets the same bytes, whatever the method,
as long as few have refused it and the budget of all requests allows (:mod:`muxado_py.service.retry_budget`).
Any other end is told to the caller, and nothing is sent twice.

The trap.  An answer may come before the body has: who then went on with the connection would take the rest of the body
for a request.  Such a connection is closed behind the answer.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

import anyio

import muxado_py as muxado

from ..answers import MAY_BE_EXECUTED, NO_BUDGET, NOT_EXECUTED
from ..caller import UnansweredError
from ..running import reason
from .answers import read_answer
from .bodies import Chunked, UntilEnd, chunk, last_chunk
from .fields import BadMessage
from .requests import head_end
from .uploads import Upload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...service.retry_budget import RetryBudget
    from ..agent import Agent, Passage
    from ..destinations import Destination
    from ..kept import Kept
    from .answers import Answer
    from .bodies import Body
    from .inbox import Inbox
    from .limits import Limits
    from .requests import Request

__all__ = ("Asker", "Exchange", "Late", "Switched")

logger = logging.getLogger("muxado.cli")

MAX_INTERIM = 16
"""Answers that are not the last one, of one request."""

MAX_REFUSALS = 3
"""Agents that may say of one request that they do not take it; those that were never sent it do not count."""


class Late(Enum):
    """What did not come in time."""

    REQUEST = "a request"
    HEAD = "the rest of a head"
    ANSWER = "an answer"
    TAKING = "somebody who takes the answer"


class Asker(Protocol):
    """Whose request it is."""

    inbox: Inbox
    stops: bool
    """Whether it has no further requests."""

    def led(self, passage: Passage) -> None:
        """It has ``passage``, and no other any more."""

    def give(self, seconds: float, late: Late | None) -> None:
        """From here on there are so many ``seconds``, until something else is said."""

    async def say(self, data: bytes, *, is_final: bool = True) -> None:
        """Answer it.

        :param is_final: whether this is a part of the answer, and not one before it.
        """


class Switched(NamedTuple):
    """What becomes of a request that was answered with another protocol."""

    passage: Passage
    first: bytes
    """What the agent said in it."""


class Exchange:
    """One request.

    :param head: what agents get of its head.
    :param kept: where it is counted, with others, while it is kept.
    :param budget: from which it is offered to another agent.
    """

    def __init__(
        self,
        request: Request,
        head: bytes,
        asker: Asker,
        kept: Kept,
        limits: Limits,
        budget: RetryBudget,
    ) -> None:
        self._request = request
        self._asker = asker
        self._limits = limits
        self._budget = budget
        self._refusals = 0
        self._upload = Upload(request, head, asker.inbox, kept, limits)
        self._fault: Exception | None = None  # of the caller
        self._is_heard = False  # whether a byte of an answer came
        self._is_passed_on = False  # whether the head of the answer went to the caller
        self._stream: muxado.Stream | None = None
        self.keeps_alive = False
        """Whether another request may follow."""
        self.switched: Switched | None = None
        """How the websocket goes on, if it became one; its passage is whoever's who takes this."""

    @property
    def is_whole(self) -> bool:
        """Whether all of the request has come."""
        return self._upload.is_whole

    async def run(self, destination: Destination, caller: Mapping[str, bytes]) -> None:
        """Have it answered.

        :param caller: what agents are told of it.
        :raises BadMessage: what the caller is to be told, if it was not answered.
        :raises Exception: if the caller is gone, or an answer broke off.

        Cancellation: the agent's stream is cut off.
        """
        tried: list[Agent] = []
        self._budget.count_call()
        try:
            while True:
                passage = await self._dial(destination, tried, caller)
                tried.append(passage.agent)
                self._asker.led(passage)
                failure = await self._offer(passage)
                if failure is None:
                    return
                if not self._is_heard:
                    destination.doubt(passage.agent)
                if not self._may_try_again(passage, failure):
                    raise self._verdict(passage, failure)
                logger.info("an agent took no request, asking another: %r", failure)
        finally:
            self._upload.forget()

    def asker_ended(self) -> None:
        """The caller says no more: the agent is told as much, if it has the whole request."""
        if self._stream is not None and self.is_whole and not self._asker.inbox.said:
            with suppress(Exception):  # it cannot be told, or has ended too
                self._stream.send_eof_nowait()

    async def _dial(
        self, destination: Destination, tried: list[Agent], caller: Mapping[str, bytes]
    ) -> Passage:
        try:
            passage = await destination.reach(tried, caller)
        except ConnectionRefusedError as exc:
            raise BadMessage(503, NOT_EXECUTED if tried else str(exc)) from exc
        if tried and not self._budget.take():
            passage.reset()
            logger.warning("a caller got 503: too many requests are offered again")
            raise BadMessage(503, NO_BUDGET)
        return passage

    def _may_try_again(self, passage: Passage, failure: Exception) -> bool:
        if passage.verdict(failure) is muxado.Retry.REFUSED:
            self._refusals += 1
        return (
            passage.verdict(failure).safe
            and self._upload.is_kept
            and not self._is_heard
            and self._refusals < MAX_REFUSALS
        )

    def _verdict(self, passage: Passage, failure: Exception) -> BadMessage:
        is_safe = passage.verdict(failure).safe and not self._is_heard
        status, text = (503, NOT_EXECUTED) if is_safe else (502, MAY_BE_EXECUTED)
        logger.warning("a caller got %d: %s", status, reason(failure))
        return BadMessage(status, text)

    async def _offer(self, passage: Passage) -> Exception | None:
        """Offer it to one agent; what went wrong with that, if it may be another's."""
        self._stream = passage.stream
        try:
            failure = await self._carry(passage)
        except BaseException:
            passage.reset()
            raise
        finally:
            self._stream = None
        if self.switched is not None:
            return None
        if failure is None and self.is_whole:
            passage.close()
        else:
            passage.reset()
        return failure

    async def _carry(self, passage: Passage) -> Exception | None:
        try:
            passage.stream.send_whole_nowait(bytes(self._upload.said))
        except Exception as exc:  # noqa: BLE001 - of whatever type
            return exc
        self._upload.keep()
        if self._asker.inbox.has_ended:
            self.asker_ended()
        if self.is_whole:
            self._asker.give(self._limits.answer, Late.ANSWER)
            return await self._hear(passage)
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._carry_body, passage.stream, tasks.cancel_scope)
            try:
                failure = await self._hear(passage)
            except Exception as exc:  # noqa: BLE001 - it goes on, not as a group
                self._fault = exc
            tasks.cancel_scope.cancel()
        if self._fault is not None:
            raise self._fault
        return failure

    async def _carry_body(self, stream: muxado.Stream, exchange: anyio.CancelScope) -> None:
        """Carry what comes of the body; ends ``exchange`` if that cannot be."""
        try:
            await self._upload.carry(stream)
        except Exception as exc:  # noqa: BLE001 - raised where it is no group
            if self._is_passed_on and isinstance(exc, BadMessage) and exc.status == 504:
                return  # it answers, and takes of the request what it likes
            self._fault = exc
            exchange.cancel()
        else:
            if not self._is_passed_on:
                self._asker.give(self._limits.answer, Late.ANSWER)
            if self._asker.inbox.has_ended:
                self.asker_ended()  # which could not be said before the last of the body

    # The answer.

    async def _hear(self, passage: Passage) -> Exception | None:
        """Hear the answer and pass it on; what went wrong with the stream, if the caller was told nothing."""
        stream = passage.stream
        heard = b""
        for _ in range(MAX_INTERIM):
            while not (end := _answer_end(heard)):
                try:
                    heard += await stream.receive()
                except anyio.EndOfStream:
                    return UnansweredError("the agent ended without an answer")
                except Exception as exc:  # noqa: BLE001 - of whatever type
                    return exc
                if not self._is_heard:
                    self._is_heard = True
                    self._upload.forget()
            answer = read_answer(heard[:end])
            heard = heard[end:]
            if not answer.is_interim:
                await self._pass_on(answer, heard, stream)
                return None
            if answer.status == 101:
                await self._switch(answer, Switched(passage, heard))
                return None
            await self._pass_interim(answer)
        raise BadMessage(502, "The agent gave one interim answer after another.")

    async def _switch(self, answer: Answer, switched: Switched) -> None:
        if not (answer.is_websocket and self._request.wants_websocket):
            raise BadMessage(502, "The agent switched to a protocol that it was not asked for.")
        self._asker.give(math.inf, None)
        await self._asker.say(answer.for_caller(in_chunks=False, connection=b"Upgrade"))
        self.switched = switched

    async def _pass_interim(self, answer: Answer) -> None:
        self._upload.is_continued = True
        if self._request.minor:
            head = answer.for_caller(in_chunks=False, connection=b"")
            await self._asker.say(head, is_final=False)
            if self.is_whole:
                self._asker.give(self._limits.answer, Late.ANSWER)

    async def _pass_on(self, answer: Answer, heard: bytes, stream: muxado.Stream) -> None:
        """Pass on the answer, of whose body ``heard`` has come."""
        request, asker = self._request, self._asker
        body = answer.body(request.method)
        is_framed_anew = isinstance(body, (Chunked, UntilEnd))
        in_chunks = is_framed_anew and request.minor == 1
        self.keeps_alive = (
            request.keeps_alive
            and self.is_whole
            and not asker.stops
            and in_chunks == is_framed_anew
        )
        connection = b"close"
        if self.keeps_alive:
            connection = b"" if request.minor else b"keep-alive"
        said = answer.for_caller(in_chunks=in_chunks, connection=connection)
        self._is_passed_on = True
        asker.give(math.inf, None)
        while True:
            if heard and (content := _content(body, heard)):
                said += chunk(content) if in_chunks else content
            if body.done and in_chunks:
                said += last_chunk(body.trailers if isinstance(body, Chunked) else [])
            if said:
                await asker.say(said)
            if body.done:
                return
            said = heard = b""
            try:
                heard = await stream.receive()
            except anyio.EndOfStream:
                body.end()


def _content(body: Body, heard: bytes) -> bytes:
    try:
        return body.feed(heard)
    except BadMessage as exc:
        raise BadMessage(502, f"The agent's answer cannot be read: {exc.text}") from None


def _answer_end(heard: bytes) -> int:
    try:
        return head_end(heard)
    except BadMessage:
        raise BadMessage(502, "The head of the agent's answer is too long.") from None

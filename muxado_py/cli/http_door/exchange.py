"""Exchanges: one request, the agents it is offered to, and the answer.

What it is.  The head goes to an agent in a stream of its own, with what has come of the body; what comes later is
carried after it, while the answer is awaited already.  What is heard of the answer goes to the caller as it comes.

The rules.  Until the first byte of an answer has come, what the agent was sent is kept, as far as it is little: if the
stream then ends with the verdict that no application has seen it, the next agent gets the same bytes, whatever the method,
as far as :mod:`..callers.offers` allows.
Any other end is told to the caller, and nothing is sent twice.

The trap.  What a caller is held to is the time of its request, and not that of one agent: who is offered to the next has what
is left of it.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

import anyio

from ...service.causes import reason
from ..callers.answers import MAY_BE_EXECUTED, NOT_EXECUTED
from ..callers.caller import UnansweredError
from ..callers.offers import Offers
from .answers import read_answer
from .fields import BadMessage
from .passing import Passing
from .requests import head_end

if TYPE_CHECKING:
    from collections.abc import Mapping

    import muxado_py as muxado

    from ...service.retry_budget import RetryBudget
    from ..agents.agent import Passage
    from ..agents.destinations import Destination
    from .answers import Answer
    from .inbox import Inbox
    from .limits import Limits
    from .requests import Request
    from .uploads import Upload

__all__ = ("Asker", "Begun", "Exchange", "Late", "Switched", "answer_end")

logger = logging.getLogger("muxado.cli")

MAX_INTERIM = 16
"""Answers that are not the last one, of one request."""


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

    def give(self, seconds: float, late: Late | None, since: float | None = None) -> None:
        """There are so many ``seconds``, until something else is said.

        :param since: from this moment; default from here on.
        """

    async def say(self, data: bytes, *, is_final: bool = True) -> None:
        """Answer it.

        :param is_final: whether this is a part of the answer, and not one before it.
        """


class Switched(NamedTuple):
    """What becomes of a request that was answered with another protocol."""

    passage: Passage
    first: bytes
    """What the agent said in it."""


class Begun(NamedTuple):
    """An exchange that others have begun: an agent has the whole request, and the caller has heard nothing."""

    passage: Passage
    heard: bytes
    """What it said of its answer."""
    since: float
    """When it got the request."""


class Exchange:
    """One request.

    :param upload: what agents get of it.
    :param budget: from which it is offered to another agent.
    """

    def __init__(
        self,
        request: Request,
        upload: Upload,
        asker: Asker,
        limits: Limits,
        budget: RetryBudget,
    ) -> None:
        self._request = request
        self._asker = asker
        self._limits = limits
        self._offers = Offers(budget)
        self._upload = upload
        self._whole_since: float | None = None  # when an agent had all of it, for the first time
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

    async def run(
        self, destination: Destination, caller: Mapping[str, bytes], begun: Begun | None = None
    ) -> None:
        """Have it answered.

        :param caller: what agents are told of it.
        :param begun: how far that is already.
        :raises BadMessage: what the caller is to be told, if it was not answered.
        :raises Exception: if the caller is gone, or an answer broke off.

        Cancellation: the agent's stream is cut off.
        """
        try:
            while True:
                if begun is None:
                    passage = await self._dial(destination, caller)
                    self._asker.led(passage)
                else:
                    passage, self._whole_since = begun.passage, begun.since
                failure = await self._offer(passage, begun)
                begun = None
                if failure is None:
                    return
                if not self._is_heard:
                    destination.doubt(passage, failure)
                if not self._may_try_again(passage, failure):
                    raise self._verdict(passage, failure)
                self._upload.hold()
                logger.info("an agent took no request, asking another: %r", failure)
        finally:
            self._upload.forget()

    def asker_ended(self) -> None:
        """The caller says no more: the agent is told as much, if it has the whole request."""
        if self._stream is not None and self.is_whole and not self._asker.inbox.said:
            with suppress(Exception):  # it cannot be told, or has ended too
                self._stream.send_eof_nowait()

    async def _dial(self, destination: Destination, caller: Mapping[str, bytes]) -> Passage:
        try:
            return await self._offers.reach(destination, caller)
        except ConnectionRefusedError as exc:
            raise BadMessage(503, str(exc)) from exc

    def _may_try_again(self, passage: Passage, failure: Exception) -> bool:
        may_go_on = self._offers.may_go_on(passage, failure)
        return may_go_on and self._upload.is_kept and not self._is_heard

    def _verdict(self, passage: Passage, failure: Exception) -> BadMessage:
        is_safe = passage.verdict(failure).safe and not self._is_heard
        status, text = (503, NOT_EXECUTED) if is_safe else (502, MAY_BE_EXECUTED)
        logger.warning("a caller got %d: %s", status, reason(failure))
        return BadMessage(status, text)

    async def _offer(self, passage: Passage, begun: Begun | None) -> Exception | None:
        """Offer it to one agent; what went wrong with that, if it may be another's."""
        self._stream = passage.stream
        try:
            failure = await self._carry(passage, begun)
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

    async def _carry(self, passage: Passage, begun: Begun | None) -> Exception | None:
        if begun is None:
            try:
                passage.stream.send_whole_nowait(bytes(self._upload.said))
            except Exception as exc:  # noqa: BLE001 - of whatever type
                return exc
        self._upload.keep()
        if self._asker.inbox.has_ended:
            self.asker_ended()
        if self.is_whole:
            self._await_answer()
            return await self._hear(passage, b"" if begun is None else begun.heard)
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

    def _await_answer(self) -> None:
        """There is so much time for one, or what is left of it."""
        if self._whole_since is None:
            self._whole_since = anyio.current_time()
        self._asker.give(self._limits.answer, Late.ANSWER, self._whole_since)

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
                self._await_answer()
            if self._asker.inbox.has_ended:
                self.asker_ended()  # which could not be said before the last of the body

    # The answer.

    async def _hear(self, passage: Passage, heard: bytes = b"") -> Exception | None:
        """Hear the answer and pass it on; what went wrong with the stream, if the caller was told nothing.

        :param heard: what was heard of it already.
        """
        stream = passage.stream
        for _ in range(MAX_INTERIM):
            while True:
                if heard and not self._is_heard:
                    self._is_heard = True
                    self._upload.forget()
                if end := answer_end(heard):
                    break
                try:
                    heard += await stream.receive()
                except anyio.EndOfStream:
                    return UnansweredError("the agent ended without an answer")
                except Exception as exc:  # noqa: BLE001 - of whatever type
                    return exc
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
        await self._asker.say(answer.for_caller(in_chunks=False, connection=b""))
        self.switched = switched

    async def _pass_interim(self, answer: Answer) -> None:
        self._upload.is_continued = True
        if self._request.minor:
            head = answer.for_caller(in_chunks=False, connection=b"")
            await self._asker.say(head, is_final=False)
        if self.is_whole:
            self._whole_since = None  # it lives, and has as much time again
            self._await_answer()

    async def _pass_on(self, answer: Answer, heard: bytes, stream: muxado.Stream) -> None:
        """Pass on the answer, of whose body ``heard`` has come."""
        asker = self._asker
        passing = Passing(answer, self._request, may_go_on=self.is_whole and not asker.stops)
        self.keeps_alive = passing.keeps_alive
        self._is_passed_on = True
        asker.give(math.inf, None)
        while True:
            if said := passing.take(heard):
                await asker.say(said)
            if passing.is_whole:
                return
            try:
                heard = await stream.receive()
            except anyio.EndOfStream:
                if said := passing.end():
                    await asker.say(said)
                return


def answer_end(heard: bytes) -> int:
    """Where the head of an answer ends; 0 if it goes on.

    :raises BadMessage: 502.
    """
    try:
        return head_end(heard)
    except BadMessage:
        raise BadMessage(502, "The head of the agent's answer is too long.") from None

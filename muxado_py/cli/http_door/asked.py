"""Asked: a request that an agent has, and what was heard of its answer, without a task.

What it is.  The agent's side of what :class:`~.regulars.Regular` does: the stream, what that was sent, and the answer, from the first
byte of its head.  The caller's side is that one's: nothing here is told to a caller, waits, or knows the time.

The rule.  As long as :attr:`Asked.passing` is None the caller has heard nothing, and a task may go on from :attr:`Asked.begun`; from then
on nobody else can, and what was sent is not kept any more.

The trap.  The stream calls back as long as it is not let go of: each end here does that first.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from .answers import read_answer
from .exchange import Begun, answer_end
from .fields import BadMessage
from .passing import Passing

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..agents.agent import Passage
    from ..agents.destinations import Destination
    from ..callers.kept import Kept
    from .fronts import Source
    from .requests import Request

__all__ = ("Asked",)


class Asked:
    """One request.

    :param source: who asks.
    :param passage: whose stream it goes on; it is ended here.
    :param said: all of the request, as agents get it.
    :param kept: where that is counted, with others, until the answer begins.
    """

    __slots__ = (
        "_heard",
        "_kept",
        "destination",
        "passage",
        "passing",
        "request",
        "said",
        "since",
        "source",
        "status",
    )

    def __init__(
        self,
        request: Request,
        source: Source,
        destination: Destination,
        passage: Passage,
        said: bytes,
        kept: Kept,
    ) -> None:
        self.request = request
        self.source = source
        self.destination = destination
        self.passage = passage
        self.said = said
        """What the agent was sent; nothing if that is not kept any more."""
        self._kept = kept
        self.since = 0.0
        """When the agent got it."""
        self._heard = b""  # of the head of its answer
        self.status = 0
        """Of its answer, once the head of that is whole."""
        self.passing: Passing | None = None
        """Its answer, from the same moment."""

    @property
    def begun(self) -> Begun:
        """How far it is, for a task that goes on."""
        return Begun(self.passage, self._heard, self.since)

    def send(self, heard: Callable[[], None]) -> None:
        """Give it to the agent.

        :param heard: called when the stream may have something; from inside the session.
        :raises Exception: if the stream takes nothing.
        """
        stream = self.passage.stream
        stream.send_whole_nowait(self.said)
        stream.set_callbacks(heard, None)
        self._kept.keep(self)  # which may forget it at once: now that the stream has it

    def tell_end(self) -> None:
        """The caller says no more: the agent, which has the whole request, is told as much."""
        with suppress(Exception):  # it cannot be told, or has ended too
            self.passage.stream.send_eof_nowait()

    def begin_answer(self, heard: bytes, *, may_go_on: bool) -> bytes | None:
        """What the caller is told, now that this was heard of the answer; nothing as long as its head goes on.

        :param may_go_on: whether another request may follow, as far as the caller's connection is concerned.
        :return: None, if the answer is unusual or cannot be read: there is one place where that is dealt with.
        """
        self._heard = heard = self._heard + heard
        try:
            end = answer_end(heard)
            if not end:
                return b""
            answer = read_answer(heard[:end])
            if answer.is_interim:
                return None
            passing = Passing(answer, self.request, may_go_on=may_go_on)
            said = passing.take(heard[end:])
        except BadMessage:
            return None
        self.passing, self.status = passing, answer.status
        self._heard = b""
        self.forget()
        return said

    def forget(self) -> None:
        """There is no room to keep what the agent was sent, or no need."""
        self.said = b""
        self._kept.drop(self)

    # The end, one of these.

    def close(self) -> None:
        """It was answered."""
        self.passage.stream.set_callbacks(None, None)
        self.passage.close()

    def cut_off(self) -> None:
        """It will not be, or its answer is not to be heard to its end."""
        self.passage.stream.set_callbacks(None, None)
        self.forget()
        self.passage.reset()

    def release(self) -> None:
        """A task goes on with it, and with what is kept of it."""
        self.passage.stream.set_callbacks(None, None)
        self._kept.drop(self)

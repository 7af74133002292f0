"""Offers: the agents that one caller is offered to, one after the other, and when that ends.

What it is.  What all doors have in common when an agent did not take a caller: who is asked next, and whether anybody is.  The
doors say what that costs their caller; here is nothing of bytes.

The rules.  By the verdict of what ended the stream:

* never sent: free, for it has cost no agent anything (gRPC A6 calls it a transparent retry); what bounds it is the number of
  agents, and the time that the door gives a caller;
* refused: at most :data:`MAX_REFUSALS` times, and each further offer comes from the budget of the door
  (:mod:`muxado_py.service.retry_budget`), which all of its callers share;
* anything else: nobody.

Another gateway that has nobody for the name is no agent that refused.  That costs the same, but agents may come back to it: it is
asked again when it is found again.

The traps.  What no agent gets is no call: a caller that is turned away, or asks for a name that nobody serves, would add to what others
may be offered again.  And a suspected agent (:mod:`..agents.suspicion`) loses those that it was never sent.  Where nobody else serves the name, it is
asked once more, and keeps them: it is only slow, perhaps, and a caller that waits hears more than one that is sent away.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import muxado_py as muxado

from .answers import NO_BUDGET, NOT_EXECUTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...service.retry_budget import RetryBudget
    from ..agents.agent import Agent, Passage
    from ..agents.destinations import Destination

__all__ = ("MAX_REFUSALS", "Offers")

logger = logging.getLogger("muxado.cli")

MAX_REFUSALS = 3
"""Agents that may say of one caller that they do not take it; those that were never sent it do not count."""


class Offers:
    """Those of one caller, or of one request.

    :param budget: from which it is offered to another agent, and where it counts as a call once an agent has it.
    """

    __slots__ = (
        "_asked_twice",
        "_budget",
        "_is_counted",
        "_never_sent",
        "_refusals",
        "_tried",
        "_was_refused",
    )

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget
        self._tried: list[Agent] = []
        self._never_sent: list[Agent] = []
        self._asked_twice: list[Agent] = []
        self._refusals = 0
        self._is_counted = False
        self._was_refused = False  # by the last

    async def reach(self, destination: Destination, caller: Mapping[str, bytes]) -> Passage:
        """A passage to an agent that has not had it.

        :param caller: what that is told, see :meth:`.Destination.dial`.
        :raises ConnectionRefusedError: with what the caller is to be told, if there is none.

        Cancellation: safe.
        """
        while True:
            try:
                passage = await destination.reach(self._tried, caller)
            except ConnectionRefusedError as exc:
                self._ask_again(exc)
            else:
                return self._paid(passage)

    def dial(self, destination: Destination, caller: Mapping[str, bytes]) -> Passage:
        """The same, of the agents of this gateway only."""
        while True:
            try:
                passage = destination.dial(self._tried, caller, here=True)
            except ConnectionRefusedError as exc:
                self._ask_again(exc)
            else:
                return self._paid(passage)

    def may_go_on(self, passage: Passage, failure: BaseException | None) -> bool:
        """Whether it may be offered to another, after ``passage``, which ended so and did not answer.

        Who dialed the first without this has counted it.
        """
        self._is_counted = True
        agent, verdict = passage.agent, passage.verdict(failure)
        if not passage.found_nobody(failure):
            self._tried.append(agent)
        self._was_refused = verdict is muxado.Retry.REFUSED
        self._refusals += self._was_refused
        if verdict is muxado.Retry.NEVER_SENT and agent not in self._asked_twice:
            self._never_sent.append(agent)
        return verdict.safe and self._refusals < MAX_REFUSALS

    def _ask_again(self, refusal: ConnectionRefusedError) -> None:
        """There is nobody who has not had it."""
        if not self._never_sent:
            if not self._tried:
                raise refusal
            raise ConnectionRefusedError(NOT_EXECUTED) from refusal
        self._tried = [agent for agent in self._tried if agent not in self._never_sent]
        self._asked_twice += self._never_sent
        self._never_sent.clear()

    def _paid(self, passage: Passage) -> Passage:
        if not self._is_counted:
            self._is_counted = True
            self._budget.count_call()
        if self._was_refused and not self._budget.take():
            passage.reset()
            logger.warning("a caller got 503: too many are offered again")
            raise ConnectionRefusedError(NO_BUDGET)
        return passage

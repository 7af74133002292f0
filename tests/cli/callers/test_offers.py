"""Who is asked next when an agent did not take a caller, and when nobody is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import muxado_py as muxado
from muxado_py.cli.callers.offers import MAX_REFUSALS, Offers
from muxado_py.service.retry_budget import RetryBudget

from ..agents.test_destinations import Clock, an_agent, named

if TYPE_CHECKING:
    from muxado_py.cli.agents.agent import Agent
    from muxado_py.cli.agents.destinations import Destination

pytestmark = pytest.mark.anyio


def ended(verdict: muxado.Retry) -> muxado.MuxadoError:
    failure = muxado.StreamError("it ended")
    failure.retry = verdict
    return failure


NEVER_SENT, REFUSED, UNKNOWN = (
    ended(verdict)
    for verdict in (muxado.Retry.NEVER_SENT, muxado.Retry.REFUSED, muxado.Retry.UNKNOWN)
)


def budget(**options: float) -> RetryBudget:
    return RetryBudget(Clock(), **options)


def asked(offers: Offers, blog: Destination, failure: Exception) -> list[Agent]:
    """Those that one caller is offered to, if each ends so."""
    found: list[Agent] = []
    may_go_on = True
    while may_go_on:
        try:
            passage = offers.dial(blog, {})
        except ConnectionRefusedError:
            break
        found.append(passage.agent)
        may_go_on = offers.may_go_on(passage, failure)
        passage.reset()
    return found


def test_what_was_never_sent_goes_to_each_and_costs_nothing() -> None:
    agents = [an_agent() for _ in range(7)]
    its = budget(share=0, per_second=1)
    before = its.balance
    found = asked(Offers(its), named(*agents), NEVER_SENT)
    assert set(found[:7]) == set(agents)
    assert its.balance == before


def test_who_could_not_be_sent_it_is_asked_once_more_if_there_is_nobody_else() -> None:
    """It may be slow only; but an agent that never takes anything ends the search."""
    (only,) = agents = [an_agent()]
    assert asked(Offers(budget()), named(*agents), NEVER_SENT) == [only, only]


def test_no_more_than_three_refuse_a_caller() -> None:
    agents = [an_agent() for _ in range(7)]
    found = asked(Offers(budget()), named(*agents), REFUSED)
    assert len(set(found)) == len(found) == MAX_REFUSALS


def test_what_may_have_been_seen_goes_to_nobody_else() -> None:
    assert len(asked(Offers(budget()), named(an_agent(), an_agent()), UNKNOWN)) == 1


def test_what_was_refused_goes_on_as_far_as_the_budget_of_all_allows() -> None:
    its = budget(share=0, per_second=0.1)  # one in the whole window
    assert len(asked(Offers(its), named(an_agent(), an_agent()), REFUSED)) == 2
    offers = Offers(its)
    blog = named(an_agent(), an_agent())
    passage = offers.dial(blog, {})
    assert offers.may_go_on(passage, REFUSED)
    passage.reset()
    with pytest.raises(ConnectionRefusedError, match="too many are offered again"):
        offers.dial(blog, {})
    assert not any(agent.passages for agent in blog.agents)


async def test_who_is_asked_first_says_why_there_is_nobody_and_later_that_nothing_was_executed() -> (
    None
):
    offers, blog = Offers(budget()), named()
    with pytest.raises(ConnectionRefusedError, match="No agent serves blog now"):
        await offers.reach(blog, {})
    blog.agents.append(an_agent())
    offers.may_go_on(await offers.reach(blog, {}), REFUSED)
    with pytest.raises(ConnectionRefusedError, match="It was not executed"):
        await offers.reach(blog, {})


@given(st.lists(st.sampled_from([NEVER_SENT, REFUSED]), max_size=40), st.integers(1, 6))
def test_nobody_is_asked_without_end(failures: list[Exception], number: int) -> None:
    its = budget()
    offers, blog = Offers(its), named(*[an_agent() for _ in range(number)])
    had: list[tuple[Agent, Exception]] = []
    for failure in failures:
        try:
            passage = offers.dial(blog, {})
        except ConnectionRefusedError:
            break
        had.append((passage.agent, failure))
        if not offers.may_go_on(passage, failure):
            break
    assert len(had) <= 2 * number
    refused = [agent for agent, failure in had if failure is REFUSED]
    assert len(refused) == len(set(refused)) <= MAX_REFUSALS


async def test_a_caller_counts_once_and_when_an_agent_has_it() -> None:
    """Or who asks for what nobody serves would add to what others may be offered again."""
    its = budget(share=1, per_second=0)
    offers = Offers(its)
    with pytest.raises(ConnectionRefusedError):
        await offers.reach(named(), {})
    assert its.balance == 0
    blog = named(an_agent(), an_agent())
    for _ in range(2):
        assert offers.may_go_on(await offers.reach(blog, {}), NEVER_SENT)
    assert its.balance == 1
    begun = Offers(its)  # with one that has been dialed and counted by another
    begun.may_go_on(blog.dial(), NEVER_SENT)
    await begun.reach(blog, {})
    assert its.balance == 1

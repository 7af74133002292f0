"""Which agent a caller is led to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.cli.agents.agent import Agent, Passage
from muxado_py.cli.agents.beyond import Alone
from muxado_py.cli.agents.destinations import DOUBT, Destination, Destinations


class Opened:
    """A stream that does nothing."""

    id = None

    def reset(self) -> None:
        pass

    close = reset


class Opening:
    """A session that opens streams, or does not."""

    is_muxado_py = False
    extra_attributes: dict[Any, Any] = {}  # noqa: RUF012

    def __init__(self, *, heard: bool = True, full: bool = False) -> None:
        self.heard = heard
        self.full = full

    def open_stream_nowait(self, metadata: object) -> Opened:
        if self.full:
            raise ConnectionRefusedError
        return Opened()


def an_agent(**session: bool) -> Agent:
    opening: Any = Opening(**session)
    return Agent(opening)


def led(destination: Destination, *agents: Agent) -> list[Agent]:
    """``destination`` with these agents, the newest last; they are given back."""
    destination.agents += agents
    return list(agents)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def named(*agents: Agent, clock: Clock | None = None) -> Destination:
    destination = Destination("blog", clock or Clock())
    destination.agents += agents
    return destination


@given(st.integers(1, 30))
def test_callers_that_come_at_once_are_shared_evenly_by_two(callers: int) -> None:
    one, other = an_agent(), an_agent()
    blog = named(one, other)
    for _ in range(callers):
        blog.dial()
    assert abs(len(one.passages) - len(other.passages)) == callers % 2


@given(st.lists(st.booleans(), max_size=60))
def test_of_two_the_one_with_fewer_callers_gets_the_next(comes: list[bool]) -> None:
    one, other = an_agent(), an_agent()
    blog = named(one, other)
    there: list[Passage] = []
    for caller_comes in comes:
        if caller_comes or not there:
            fewest = min(len(one.passages), len(other.passages))
            there.append(blog.dial())
            assert len(there[-1].agent.passages) == fewest + 1
        else:
            there.pop(len(there) // 2).close()
    assert len(one.passages) + len(other.passages) == len(there)


def test_of_many_none_is_left_out_and_none_gets_twice_what_another_gets() -> None:
    agents = [an_agent() for _ in range(10)]
    blog = named(*agents)
    for _ in range(1_000):
        blog.dial()
    loads = [len(agent.passages) for agent in agents]
    assert max(loads) < 2 * min(loads)


def test_one_that_stands_still_has_one_caller_more_and_then_no_more() -> None:
    frozen, working = an_agent(), an_agent()
    blog = named(frozen, working)
    for _ in range(20):
        passage = blog.dial()
        if passage.agent is working:
            passage.close()
    assert len(frozen.passages) == 1


def test_without_a_name_the_newest_has_all() -> None:
    older, newest = an_agent(), an_agent()
    destinations = Destinations(Clock())
    for agent in (older, newest):
        destinations.join(agent, None)
    for _ in range(5):
        assert destinations.nameless.dial().agent is newest


@pytest.mark.parametrize("name", [None, "blog"])
def test_who_is_in_doubt_comes_after_those_who_are_not(name: str | None) -> None:
    clock = Clock()
    suspect, doubted, unheard, full = an_agent(), an_agent(), an_agent(heard=False), None
    full = an_agent(full=True)
    destination = Destination(name, clock)
    destination.agents += [unheard, full, doubted, suspect]
    suspect.is_suspect = True
    destination.doubt(doubted.open({}), None)
    tried: list[Agent] = []
    for agent in (unheard, doubted, suspect):
        passage = destination.dial(tried)
        assert passage.agent is agent
        tried.append(agent)
    with pytest.raises(ConnectionRefusedError, match="takes more connections"):
        destination.dial(tried)
    clock.now = DOUBT + 0.1
    assert destination.dial().agent is doubted
    suspect.is_suspect = False
    assert destination.dial([doubted]).agent is suspect


def test_a_name_says_that_nobody_serves_it() -> None:
    with pytest.raises(ConnectionRefusedError, match="No agent serves blog now"):
        named().dial()


def test_what_nobody_publishes_or_serves_is_forgotten() -> None:
    destinations = Destinations(Clock())
    agent = an_agent()
    door = destinations.publish("blog")
    for name in ("blog", "shop"):
        destinations.join(agent, name)
    assert door.dial().agent is agent
    assert destinations.names() == ["blog", "shop"]
    destinations.leave(agent)
    destinations.leave(agent)
    assert destinations.names() == ["blog"]
    destinations.join(agent, "blog")
    assert door.dial().agent is agent


class Several(Alone):
    """There are other gateways, which serve nothing."""

    is_there = True


def test_who_waits_for_a_name_sees_the_agents_that_come() -> None:
    """Also if nobody served it when the caller came, and when all who did have left."""
    destinations = Destinations(Clock(), Several())
    waiting = destinations.served("blog")
    assert waiting is not None
    assert destinations.names() == []
    for _ in range(2):
        agent = an_agent()
        destinations.join(agent, "blog")
        assert waiting.dial().agent is agent
        destinations.leave(agent)
        with pytest.raises(ConnectionRefusedError):
            waiting.dial()

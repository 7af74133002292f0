"""What is known of who serves a name, how long, and at what price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from muxado_py.cli.cluster.breaker import Breaker
from muxado_py.cli.cluster.cluster import Cluster
from muxado_py.cli.cluster.directory import GONE_AFTER, Directory
from muxado_py.cli.cluster.leases import Lease
from muxado_py.cli.cluster.nodes import Node
from muxado_py.cli.cluster.routes import (
    AGAIN,
    FRESH,
    MAX_ROUTES,
    MOVING,
    NOBODY,
    UNKNOWN_RATE,
    Routes,
)
from muxado_py.cli.cluster.tokens import ClusterTokens

from ...virtual_time import BACKENDS, backend
from .several import Gone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

ME, ONE, TWO = (Node(one, f"unix:///{one}") for one in ("me", "one", "two"))
LONG = 10_000.0


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return backend(request.param)


class Counting(Gone):
    """One that counts what it is asked for."""

    asked = 0

    async def serving(self, name: str) -> dict[str, int]:
        self.asked += 1
        await anyio.sleep(0.01)
        return await super().serving(name)


class Known:
    """The routes of a gateway that knows two others."""

    def __init__(self) -> None:
        self.registry = Counting()
        now = anyio.current_time
        breaker = Breaker()
        self.directory = Directory("me", now)
        lease = Lease(ME, self.registry, breaker, self.directory, lambda: None)
        self.routes = Routes(self.registry, breaker, self.directory, lease, now)

    async def begin(self) -> None:
        for node in (ME, ONE, TWO):
            await self.registry.beat(node, LONG)
        self.directory.read(await self.registry.nodes())


@pytest.fixture
async def known() -> Known:
    known = Known()
    await known.begin()
    return known


async def test_what_is_known_is_not_asked_again_for_a_while(known: Known) -> None:
    routes, registry = known.routes, known.registry
    await registry.serve(ONE, {"blog": 1})
    for _ in range(5):
        assert await routes.find("blog") == ("one",)
    assert registry.asked == 1
    assert routes.known("blog") == ("one",)
    await registry.serve(TWO, {"blog": 1})
    await registry.serve(ME, {"blog": 1})
    await anyio.sleep(FRESH)
    assert not routes.is_fresh("blog")
    assert routes.known("blog") == ("one",)
    assert sorted(await routes.find("blog") or ()) == ["one", "two"]
    assert registry.asked == 2


async def test_that_nobody_serves_it_is_known_for_a_moment(known: Known) -> None:
    routes, registry = known.routes, known.registry
    for _ in range(5):
        assert await routes.find("blog") == ()
    assert registry.asked == 1
    await registry.serve(ONE, {"blog": 1})
    await anyio.sleep(NOBODY)
    assert await routes.find("blog") == ("one",)


async def test_for_many_at_once_one_question_is_asked(known: Known) -> None:
    await known.registry.serve(ONE, {"blog": 1})
    found = []

    async def find() -> None:
        found.append(await known.routes.find("blog"))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(find)
    assert found == [("one",)] * 50
    assert known.registry.asked == 1


async def test_who_asks_for_others_may_be_cancelled(known: Known) -> None:
    await known.registry.serve(ONE, {"blog": 1})
    with anyio.move_on_after(0.005):
        await known.routes.find("blog")
    assert await known.routes.find("blog") == ("one",)


async def test_who_waits_for_an_answer_has_it_also_if_who_asked_leaves(known: Known) -> None:
    """Else it would be led to every gateway, as if there were no registry."""
    await known.registry.serve(ONE, {"blog": 1})
    found = []

    async def find() -> None:
        found.append(await known.routes.find("blog"))

    async with anyio.create_task_group() as tasks:
        with anyio.move_on_after(0.005):
            async with anyio.create_task_group() as leaving:
                leaving.start_soon(find)
                await anyio.sleep(0.001)
                for _ in range(5):
                    tasks.start_soon(find)
    assert found == [("one",)] * 5
    assert known.registry.asked == 2


async def test_who_refused_is_off_the_route(known: Known) -> None:
    routes, registry = known.routes, known.registry
    routes.refused("blog", "one")
    await registry.serve(ONE, {"blog": 1})
    await registry.serve(TWO, {"blog": 1})
    await routes.find("blog")
    routes.refused("blog", "one")
    assert routes.known("blog") == ("two",)
    routes.refused("blog", "two")
    assert routes.known("blog") == ()
    await registry.serve(ONE, {"blog": 0})
    assert await routes.find("blog") == ()
    assert await routes.find("blog", anew=True) == ()
    assert registry.asked == 3
    await anyio.sleep(AGAIN)
    assert await routes.find("blog") == ("two",)
    assert await routes.find("blog", anew=True) == ("two",)
    assert registry.asked == 5


async def test_who_had_nobody_is_on_the_route_as_soon_as_agents_have_come_back_to_it(
    known: Known,
) -> None:
    routes, registry = known.routes, known.registry
    await registry.serve(ONE, {"blog": 1})
    await routes.find("blog")
    routes.refused("blog", "one")
    await registry.serve(ONE, {"blog": 0})
    assert await routes.find("blog") == ()
    await registry.serve(ONE, {"blog": 1})
    assert await routes.find("blog", anew=True) == ("one",)


async def test_without_an_answer_what_is_known_stays_and_of_others_nothing_is(known: Known) -> None:
    routes, registry = known.routes, known.registry
    await registry.serve(ONE, {"blog": 1})
    await routes.find("blog")
    registry.is_down = True
    await anyio.sleep(10 * FRESH)
    assert await routes.find("blog") == ("one",)
    assert await routes.find("news") is None
    routes.guess("news", ["one", "two"])
    routes.refused("news", "one")
    assert await routes.find("news") == ("two",)


async def test_that_nobody_serves_it_is_not_believed_of_a_registry_that_may_have_forgotten(
    known: Known,
) -> None:
    known.directory.distrust()
    assert await known.routes.find("blog") is None
    await known.registry.serve(ONE, {"blog": 1})
    assert await known.routes.find("blog") == ("one",)


async def test_a_node_that_came_a_moment_ago_is_found_by_its_name(known: Known) -> None:
    new = Node("new", "unix:///new")
    await known.registry.beat(new, LONG)
    await known.registry.serve(new, {"blog": 1})
    assert await known.routes.find("blog") == ("new",)


async def test_a_node_that_came_a_moment_ago_is_found_beside_one_that_was_missed_before(
    known: Known,
) -> None:
    """It serves what an agent has just moved there with; nobody else does, and callers come."""
    gone, new = Node("gone", "unix:///gone"), Node("new", "unix:///new")
    for name in ("blog", "news"):
        await known.registry.serve(gone, {name: 1})
    assert await known.routes.find("blog") == ()
    await known.registry.beat(new, LONG)
    await known.registry.serve(new, {"news": 1})
    assert await known.routes.find("news") == ("new",)


async def test_what_is_left_of_a_node_that_is_gone_is_taken_away(known: Known) -> None:
    routes, registry = known.routes, known.registry
    await registry.serve(Node("gone", "unix:///gone"), {"blog": 1})
    await registry.serve(ONE, {"blog": 1})
    assert await routes.find("blog") == ("one",)
    assert "gone" in await registry.serving("blog")
    await anyio.sleep(GONE_AFTER)
    assert await routes.find("blog") == ("one",)
    assert "gone" not in await registry.serving("blog")


async def test_names_that_callers_make_up_are_asked_for_seldom_and_forgotten(known: Known) -> None:
    await known.registry.serve(ONE, {"blog": 1})
    await known.routes.find("blog")

    async def find(name: str) -> None:
        assert await known.routes.find(name) == ()

    async with anyio.create_task_group() as tasks:
        for number in range(1_000):
            tasks.start_soon(find, f"made-up-{number}")
    assert known.registry.asked <= 1 + UNKNOWN_RATE
    assert await known.routes.find("blog") == ("one",)
    for number in range(2 * MAX_ROUTES):
        known.routes.guess(f"guessed-{number}", ["one"])
    guessed = [known.routes.known(f"guessed-{number}") for number in range(2 * MAX_ROUTES)]
    assert guessed == [()] * MAX_ROUTES + [("one",)] * MAX_ROUTES


class Taking:
    """A gateway that takes part, and does not know anybody yet."""

    def __init__(self) -> None:
        self.registry = Counting()
        self.cluster = Cluster(
            "unix:///me", self.registry, ClusterTokens(lambda: ["token"]), now=anyio.current_time
        )

    async def nobody_is_reached(self, name: str = "blog") -> None:
        assert not await self.cluster.seek(name, ())

    async def waits(self, name: str = "blog") -> float:
        """How long callers of ``name`` wait in vain, five at once."""
        began = anyio.current_time()
        async with anyio.create_task_group() as callers:
            for _ in range(5):
                callers.start_soon(self.nobody_is_reached, name)
        return anyio.current_time() - began


@pytest.fixture
async def taking() -> AsyncIterator[Taking]:
    taking = Taking()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(taking.cluster.run)
        yield taking
        tasks.cancel_scope.cancel()


async def test_where_nobody_on_the_route_can_be_reached_callers_wait_for_it_once(
    taking: Taking,
) -> None:
    """Agents of a gateway that hangs come back at another one; if they have not for a while, nobody waits for that."""
    registry = taking.registry
    gone = Node("gone", "nowhere")  # no address, so nothing is dialed
    await registry.beat(gone, LONG)
    await registry.serve(gone, {"blog": 1})
    await anyio.sleep(0.1)
    assert MOVING <= await taking.waits() < MOVING + FRESH
    assert MOVING / FRESH < registry.asked < MOVING / NOBODY + 2  # for all of them at once
    assert await taking.waits() < NOBODY
    assert registry.asked < MOVING / NOBODY + 4


async def test_callers_wait_for_agents_that_were_here_a_moment_ago(taking: Taking) -> None:
    taking.cluster.serve("blog", 1)
    await anyio.sleep(LONG)
    taking.cluster.serve("blog", 0)
    assert MOVING <= await taking.waits() < MOVING + FRESH
    assert await taking.waits() < NOBODY
    taking.cluster.serve("blog", 1)
    taking.cluster.serve("blog", 0)
    async with anyio.create_task_group() as callers:
        callers.start_soon(seek, taking.cluster)
        await anyio.sleep(MOVING / 2)
        taking.cluster.serve("blog", 1)


async def seek(cluster: Cluster) -> None:
    assert await cluster.seek("blog", ())


async def test_callers_wait_for_what_was_on_a_route_a_moment_ago(taking: Taking) -> None:
    registry = taking.registry
    gone = Node("gone", "nowhere")
    await registry.beat(gone, LONG)
    await registry.serve(gone, {"blog": 1})
    with anyio.move_on_after(NOBODY / 2):
        await taking.cluster.seek("blog", ())
    await registry.serve(gone, {"blog": 0})
    assert MOVING / 2 < await taking.waits() < MOVING + FRESH
    assert await taking.waits() < NOBODY


async def test_nobody_waits_for_a_name_that_nobody_ever_served(taking: Taking) -> None:
    await anyio.sleep(0.1)
    assert await taking.waits() < NOBODY
    assert await taking.waits() < NOBODY
    taking.registry.is_down = True
    await anyio.sleep(FRESH)
    assert await taking.waits() < NOBODY
    assert await taking.waits("news") < NOBODY


async def test_as_long_as_a_registry_has_never_answered_callers_wait_a_while_for_that() -> None:
    """A gateway that was started a moment ago knows nobody yet whom it could ask instead."""
    taking = Taking()
    taking.registry.is_down = True
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(taking.cluster.run)
        assert MOVING <= await taking.waits() < MOVING + FRESH
        assert await taking.waits() < NOBODY
        tasks.cancel_scope.cancel()

"""What is known of who serves a name, how long, and at what price."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from muxado_py.cli.cluster.breaker import Breaker
from muxado_py.cli.cluster.cluster import Cluster
from muxado_py.cli.cluster.directory import GONE_AFTER, Directory
from muxado_py.cli.cluster.leases import Lease
from muxado_py.cli.cluster.nodes import Node
from muxado_py.cli.cluster.routes import FRESH, MAX_ROUTES, NOBODY, UNKNOWN_RATE, Routes

from ...virtual_time import BACKENDS, backend
from .several import Gone

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
        breaker = Breaker(now)
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
    assert await routes.find("blog") == ("two",)
    assert await routes.find("blog", anew=True) == ("two",)
    assert registry.asked == 3


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


async def test_where_nobody_on_the_route_can_be_reached_it_is_asked_for_again_soon() -> None:
    """Agents of a gateway that hangs come back at another one, and callers need not wait until the route is old."""
    registry = Counting()
    gone = Node("gone", "nowhere")  # no address, so nothing is dialed
    await registry.beat(gone, LONG)
    await registry.serve(gone, {"blog": 1})
    cluster = Cluster("unix:///me", registry, "token", now=anyio.current_time)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cluster.run)
        await anyio.sleep(0.1)
        for asked in (1, 2, 3):
            for _ in range(5):
                assert not await cluster.seek("blog", ())
            assert registry.asked == asked
            await anyio.sleep(NOBODY)
        tasks.cancel_scope.cancel()

"""Names that one agent serves alone, at all gateways: who has them, who is told, and what is when the registry is away."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import pytest

from muxado_py.cli.agents.registration import Registration
from muxado_py.cli.cluster.breaker import Breaker
from muxado_py.cli.cluster.directory import Directory
from muxado_py.cli.cluster.leases import BEAT, LEASE, Lease
from muxado_py.cli.cluster.nodes import Node
from muxado_py.cli.cluster.owners import LOOK, Owners

from ...redis_server import RedisServer, redis_program
from ...virtual_time import BACKENDS, backend
from ..agents.test_reception import say
from ..processes import running
from ..test_gateway import greeting, saying
from .several import Gone, several

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from anyio.abc import TaskGroup

pytestmark = pytest.mark.anyio

SOON = 1.2 * LOOK
LATER = 1.2 * BEAT + SOON
"""Seconds until each gateway knows of the others, and of what they claim."""


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return backend(request.param)


class One(NamedTuple):
    """What one gateway knows."""

    owners: Owners
    lost: set[str]
    running: anyio.CancelScope


async def joined(tasks: TaskGroup, name: str, registry: Gone) -> One:
    breaker, directory = Breaker(), Directory(name, anyio.current_time)
    lease = Lease(Node(name, f"unix:///{name}"), registry, breaker, directory, lambda: None)
    owners = Owners(registry, breaker, directory, lease, anyio.current_time)
    breaker.when_mended(directory.distrust)
    one = One(owners, set(), anyio.CancelScope())
    owners.when_taken(one.lost.add)

    async def run() -> None:
        with one.running:
            async with anyio.create_task_group() as parts:
                parts.start_soon(lease.run)
                parts.start_soon(owners.run)

    tasks.start_soon(run)
    return one


@asynccontextmanager
async def gateways(number: int, registry: Gone) -> AsyncIterator[list[One]]:
    """Some that know each other."""
    async with anyio.create_task_group() as tasks:
        them = [await joined(tasks, name, registry) for name in ("one", "two", "three")[:number]]
        await anyio.sleep(LATER)
        yield them
        tasks.cancel_scope.cancel()


async def test_the_newest_has_it_and_whoever_had_it_before_is_told() -> None:
    registry = Gone()
    async with gateways(3, registry) as (one, two, three):
        one.owners.claim("blog")
        await anyio.sleep(SOON)
        assert [one.lost, two.lost, three.lost] == [set(), {"blog"}, {"blog"}]
        assert [it.owners.is_elsewhere("blog") for it in (one, two, three)] == [False, True, True]
        two.lost.clear()
        two.owners.claim("blog")
        await anyio.sleep(SOON)
        assert (one.lost, two.lost) == ({"blog"}, set())
        assert [it.owners.is_elsewhere("blog") for it in (one, two, three)] == [True, False, True]
        assert await registry.owners() == {"blog": "two"}
        await anyio.sleep(100)
        assert await registry.owners() == {"blog": "two"}


async def test_who_comes_back_to_another_gateway_is_no_newer_for_it() -> None:
    registry = Gone()
    async with gateways(2, registry) as (one, two):
        one.owners.claim("blog")
        await anyio.sleep(SOON)
        two.lost.clear()
        two.owners.claim("blog", age=100.0)
        await anyio.sleep(SOON)
        assert (one.lost, two.lost) == (set(), {"blog"})
        two.owners.claim("blog", age=SOON / 2)
        await anyio.sleep(SOON)
        assert one.lost == {"blog"}


async def test_what_two_claim_at_once_one_has() -> None:
    registry = Gone()
    async with gateways(2, registry) as (one, two):
        for _ in range(5):
            one.owners.claim("blog")
            two.owners.claim("blog")
            await anyio.sleep(SOON)
            ours = [it.owners.is_elsewhere("blog") for it in (one, two)]
            assert sorted(ours) == [False, True]


async def test_who_does_so_no_more_leaves_it_to_the_others() -> None:
    registry = Gone()
    async with gateways(2, registry) as (one, two):
        one.owners.claim("blog")
        await anyio.sleep(SOON)
        one.owners.release("blog")
        await anyio.sleep(SOON)
        assert not two.owners.is_elsewhere("blog")
        assert await registry.owners() == {}
        two.owners.claim("blog")
        one.owners.release("blog")  # which it does not have
        await anyio.sleep(SOON)
        assert await registry.owners() == {"blog": "two"}


async def test_what_a_gateway_had_that_is_gone_nobody_has() -> None:
    registry = Gone()
    async with gateways(2, registry) as (one, two):
        one.owners.claim("blog")
        await anyio.sleep(SOON)
        one.running.cancel()  # as one that is killed
        await anyio.sleep(LEASE + LATER)
        assert not two.owners.is_elsewhere("blog")
        await anyio.sleep(2 * LEASE)
        assert await registry.owners() == {}  # nor is it kept


@pytest.mark.parametrize("back", ["as it was", "empty"])
async def test_without_a_registry_both_keep_it_and_then_the_newer_does(back: str) -> None:
    """In whatever order they say it."""
    registry = Gone()
    async with gateways(2, registry) as (one, two):
        registry.is_down = True
        await anyio.sleep(SOON)
        two.owners.claim("blog")
        await anyio.sleep(5)
        one.owners.claim("blog")
        two.owners.claim("news")
        await anyio.sleep(60)
        assert one.lost == two.lost == set()
        if back == "empty":
            registry.clear()
        registry.is_down = False
        await anyio.sleep(LATER)
        assert (one.lost, two.lost) == ({"news"}, {"blog"})
        assert await registry.owners() == {"blog": "one", "news": "two"}


async def test_a_registry_that_forgot_is_told_again_and_nobody_loses_anything() -> None:
    registry = Gone()
    async with gateways(2, registry) as (one, two):
        two.owners.claim("blog")
        await anyio.sleep(SOON)
        one.owners.claim("blog")
        await anyio.sleep(SOON)
        one.lost.clear()
        registry.clear()
        await anyio.sleep(LATER)
        assert await registry.owners() == {"blog": "one"}
        assert one.lost == set()
        assert two.owners.is_elsewhere("blog")


async def test_a_gateway_that_ends_gives_up_what_it_has_and_nothing_else() -> None:
    registry = Gone()
    async with gateways(2, registry) as (one, two):
        one.owners.claim("blog")
        one.owners.claim("news")
        await anyio.sleep(SOON)
        two.owners.claim("news")
        one.running.cancel()
        await anyio.sleep(0.1)
        await one.owners.leave()
        assert await registry.owners() == {"news": "two"}


async def answering(port: int, text: bytes) -> None:
    """Until callers of a door come to whoever says ``text``."""
    while await greeting(port) != text:  # noqa: ASYNC110 - nobody tells of it
        await anyio.sleep(0.05)


ALONE = Registration(("blog",), exclusive=True)


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_callers_of_each_gateway_come_to_the_one_that_is_alone() -> None:
    import muxado_py as muxado

    registry = Gone()
    async with (
        several(2, registry) as (one, other),
        muxado.connect(one.url) as older,
        muxado.connect(other.url) as newer,
        anyio.create_task_group() as tasks,
    ):
        for session, text in ((older, b"old"), (newer, b"new")):
            tasks.start_soon(session.net_listener().serve, saying(text))
        control, answer = await say(older, ALONE.line())
        assert "registered" in answer
        with anyio.fail_after(60):
            await answering(other.blog, b"old")
            _, answer = await say(newer, ALONE.line())
            told = await control.receive()
            assert b'"taken":["blog"]' in told
            assert b"another gateway" in told
            await answering(one.blog, b"new")
            for gate in (one, other, one, other):
                assert await greeting(gate.blog) == b"new"
        async with muxado.connect(one.url) as third:
            _, answer = await say(third, Registration(("blog",)).line())
            assert answer["refused"] == "another agent serves blog, alone"
        tasks.cancel_scope.cancel()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    program = redis_program()
    if program is None:
        pytest.skip("no redis-server in PATH, and no $REDIS_SERVER")
    pytest.importorskip("coredis")
    with RedisServer(program, tmp_path) as server:
        yield server


@pytest.mark.slow
def test_the_older_agent_ends_when_a_newer_one_is_alone_at_another_gateway(
    redis: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("muxado_of-all-gateways-of-one-cluster-alone")
    (tmp_path / "token").chmod(0o600)
    gateway = (
        *("gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "blog=127.0.0.1:0"),
        *("--registry", redis.url, "--cluster-token-file", str(tmp_path / "token")),
    )
    serve = ("serve", "tests.cli.apps:starlette_app", "--name", "blog", "--exclusive", "--connect")
    with running(*gateway) as one, running(*gateway) as other:
        urls = [gate.wait_for(r"agents connect to (\S+)") for gate in (one, other)]
        with running(*serve, urls[0]) as older:
            one.wait_for("agent .* serves blog")
            with running(*serve, urls[1]) as newer:
                older.wait_for("the newer agent of another gateway serves blog now, alone")
                assert older.wait() == 4
                one.wait_for("loses blog to agent of another gateway")
                assert newer.end() == 0

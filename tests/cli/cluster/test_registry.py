"""What every registry does: that in memory, and that on a Redis server, where there is one."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from muxado_py.cli.cluster.memory import MemoryRegistry
from muxado_py.cli.cluster.nodes import Node
from muxado_py.cli.cluster.registry import RegistryError

from ...redis_server import RedisServer, redis_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from muxado_py.cli.cluster.registry import Registry

pytestmark = [
    pytest.mark.anyio,
    # coredis leaves those of a connection that failed to the garbage collector
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ONE = Node("one", "tcp://127.0.0.1:7000")
TWO = Node("two", "unix:///run/gateway")
LONG = 60.0


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    program = redis_program()
    if program is None:
        pytest.skip("no redis-server in PATH, and no $REDIS_SERVER")
    with RedisServer(program, tmp_path) as server:
        yield server


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has much to do may take its time."""
    pytest.importorskip("coredis")
    monkeypatch.setattr("muxado_py.cli.cluster.redis.TIMEOUT", 3.0)


@pytest.fixture(params=["memory", "redis"])
def opening(request: pytest.FixtureRequest) -> AbstractAsyncContextManager[Registry]:
    """A registry, for the length of a block."""
    if request.param == "redis":
        url = request.getfixturevalue("redis").url
        from muxado_py.cli.cluster.redis import open_redis

        return open_redis(url)
    return in_memory()


@asynccontextmanager
async def in_memory() -> AsyncIterator[Registry]:
    yield MemoryRegistry()


async def test_who_beats_is_there(opening: AbstractAsyncContextManager[Registry]) -> None:
    async with opening as registry:
        assert await registry.nodes() == {}
        assert not await registry.beat(ONE, LONG)
        assert await registry.beat(ONE, LONG)
        assert not await registry.beat(TWO, LONG)
        assert await registry.nodes() == {"one": ONE, "two": TWO}


async def test_what_a_node_says_last_holds(opening: AbstractAsyncContextManager[Registry]) -> None:
    async with opening as registry:
        await registry.beat(ONE, LONG)
        ending = ONE._replace(is_draining=True)
        assert await registry.beat(ending, LONG)
        assert await registry.nodes() == {"one": ending}


async def test_who_leaves_or_beats_no_more_is_gone(
    opening: AbstractAsyncContextManager[Registry],
) -> None:
    async with opening as registry:
        await registry.beat(ONE, LONG)
        await registry.leave(ONE)
        await registry.leave(TWO)
        assert await registry.nodes() == {}
        await registry.beat(TWO, 0.05)
        with anyio.fail_after(20):
            while await registry.nodes():  # noqa: ASYNC110 - nobody tells when a lease ends
                await anyio.sleep(0.05)
        assert not await registry.beat(TWO, LONG)
        assert await registry.nodes() == {"two": TWO}


async def test_each_node_says_how_many_agents_it_has(
    opening: AbstractAsyncContextManager[Registry],
) -> None:
    async with opening as registry:
        await registry.serve(ONE, {"blog": 2, "news": 1})
        await registry.serve(TWO, {"blog": 1})
        assert await registry.serving("blog") == {"one": 2, "two": 1}
        await registry.serve(ONE, {"blog": 3, "news": 0})
        assert await registry.serving("blog") == {"one": 3, "two": 1}
        assert await registry.serving("news") == {}
        assert await registry.serving("nobody") == {}


async def test_what_is_left_of_a_node_can_be_taken_away(
    opening: AbstractAsyncContextManager[Registry],
) -> None:
    async with opening as registry:
        await registry.serve(ONE, {"blog": 2})
        await registry.serve(TWO, {"blog": 1})
        await registry.forget("blog", ["one", "nobody"])
        assert await registry.serving("blog") == {"two": 1}


async def test_more_names_than_are_said_in_one_go(
    opening: AbstractAsyncContextManager[Registry],
) -> None:
    async with opening as registry:
        await registry.serve(ONE, {f"name-{number}": 1 for number in range(1_201)})
        assert await registry.serving("name-0") == {"one": 1}
        assert await registry.serving("name-1200") == {"one": 1}


@pytest.mark.slow
async def test_a_server_that_hangs_or_is_gone_is_no_answer_and_soon(redis: RedisServer) -> None:
    from muxado_py.cli.cluster.redis import open_redis

    with anyio.fail_after(60):
        async with open_redis(redis.url) as registry:
            await registry.beat(ONE, LONG)
            redis.pause()
            with pytest.raises(RegistryError, match="does not answer"):
                await registry.serving("blog")
            redis.go_on()
            assert await registry.beat(ONE, LONG)
            redis.kill()
            for _ in range(2):
                with pytest.raises(RegistryError):
                    await registry.beat(ONE, LONG)
                with pytest.raises(RegistryError):
                    await registry.serve(ONE, {"blog": 1})
                with pytest.raises(RegistryError):
                    await registry.nodes()
            redis.start()
            assert not await registry.beat(ONE, LONG)
            assert await registry.nodes() == {"one": ONE}


@pytest.mark.slow
async def test_what_somebody_else_wrote_there_is_passed_over(redis: RedisServer) -> None:
    from coredis import Redis

    from muxado_py.cli.cluster.nodes import NODES, name_key, node_key
    from muxado_py.cli.cluster.redis import open_redis

    async with Redis.from_url(redis.url, decode_responses=True) as writer:
        await writer.sadd(NODES, ["odd", "gone"])
        await writer.set(node_key("odd"), "no record")
        await writer.hset(name_key("blog"), {"odd": "many", "one": "1"})
        async with open_redis(redis.url) as registry:
            await registry.beat(ONE, LONG)
            assert await registry.nodes() == {"one": ONE}
            assert await registry.serving("blog") == {"one": 1}
            assert await writer.smembers(NODES) == {"odd", "one"}
            await writer.set(name_key("news"), "of another type")
            with pytest.raises(RegistryError):
                await registry.serving("news")


@pytest.mark.slow
async def test_nothing_stays_there_for_ever(redis: RedisServer) -> None:
    from coredis import Redis

    from muxado_py.cli.cluster.nodes import name_key, node_key
    from muxado_py.cli.cluster.redis import NAME_LIFE, open_redis

    async with (
        Redis.from_url(redis.url, decode_responses=True) as reader,
        open_redis(redis.url) as registry,
    ):
        await registry.beat(ONE, LONG)
        await registry.serve(ONE, {"blog": 1})
        assert 0 < await reader.pttl(node_key("one")) <= LONG * 1000
        assert 0 < await reader.pttl(name_key("blog")) <= NAME_LIFE * 1000

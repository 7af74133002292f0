"""What every registry does: that in memory, and that on a Redis server, where there is one."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from muxado_py.cli.cluster.memory import MemoryRegistry
from muxado_py.cli.cluster.nodes import Node
from muxado_py.cli.cluster.registry import RefusedError, RegistryError

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


async def test_a_name_is_alone_the_newest_agents(
    opening: AbstractAsyncContextManager[Registry],
) -> None:
    async with opening as registry:
        assert await registry.owners() == {}
        assert await registry.claim("one", "blog", 100.0) == "one"
        assert await registry.claim("two", "blog", 200.0) == "one"  # said late
        assert await registry.claim("one", "blog", 100.0) == "one"  # said twice
        assert await registry.claim("two", "blog", 50.0) == "two"
        assert await registry.claim("one", "blog", 100.0) == "two"
        assert await registry.claim("one", "news", 0.0) == "one"
        assert await registry.owners() == {"blog": "two", "news": "one"}
        await registry.release("one", "blog")
        await registry.release("one", "nobody")
        assert await registry.owners() == {"blog": "two", "news": "one"}
        await registry.release("two", "blog")
        assert await registry.owners() == {"news": "one"}


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
@pytest.mark.parametrize("op", ["beat", "nodes", "serve", "serving"])
async def test_a_server_that_hung_for_long_is_asked_again(
    redis: RedisServer, op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question that has no answer costs coredis a place for a connection; there are few."""
    from muxado_py.cli.cluster.redis import MAX_CONNECTIONS, open_redis

    monkeypatch.setattr("muxado_py.cli.cluster.redis.TIMEOUT", 0.05)
    async with open_redis(redis.url) as registry:
        redis.pause()
        for _ in range(3 * MAX_CONNECTIONS):
            with pytest.raises(RegistryError):
                await asked(registry, op)
        redis.go_on()
        await answers(registry)


@pytest.mark.slow
async def test_whoever_does_not_wait_for_an_answer_costs_nobody_else_one(
    redis: RedisServer,
) -> None:
    from muxado_py.cli.cluster.redis import MAX_CONNECTIONS, open_redis

    async with open_redis(redis.url) as registry:
        for number in range(10 * MAX_CONNECTIONS):
            with anyio.move_on_after(0.0002 * (number % 10)):
                await registry.serve(ONE, {"blog": 1, f"name-{number}": 1})
            with anyio.move_on_after(0.0002 * (number % 10)):
                await registry.nodes()
        assert not await registry.beat(ONE, LONG)
        assert await registry.serving("blog") == {"one": 1}


async def asked(registry: Registry, op: str) -> None:
    match op:
        case "beat":
            await registry.beat(ONE, LONG)
        case "nodes":
            await registry.nodes()
        case "serve":
            await registry.serve(ONE, {"blog": 1})
        case _:
            await registry.serving("blog")


async def answers(registry: Registry) -> None:
    """Until it answers, which it does when a machine has time for it."""
    with anyio.fail_after(30):
        while True:
            with suppress(RegistryError):
                await registry.beat(ONE, LONG)
                return
            await anyio.sleep(0.05)


@pytest.mark.slow
async def test_what_somebody_else_wrote_there_is_passed_over(redis: RedisServer) -> None:
    from coredis import Redis

    from muxado_py.cli.cluster.nodes import NODES, OWNERS, name_key, node_key
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
            await writer.hset(OWNERS, {"blog": "nonsense", "shop": "12 two", "odd": "1 2 3"})
            assert await registry.owners() == {"shop": "two"}
            assert await registry.claim("one", "blog", 0.0) == "one"
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


@pytest.mark.slow
async def test_what_is_no_answer_is_none_and_what_is_no_text_nobody(redis: RedisServer) -> None:
    """A task of the gateway's asks, and ends with whatever else comes out of that; and the gateway with it."""
    from coredis import Redis

    from muxado_py.cli.cluster.nodes import NODES, name_key, node_key
    from muxado_py.cli.cluster.redis import open_redis

    async with Redis.from_url(redis.url) as writer, open_redis(redis.url) as registry:
        await registry.beat(ONE, LONG)
        await registry.serve(ONE, {"blog": 1})
        await writer.sadd(NODES, [b"\xff", b"odd"])
        await writer.set(node_key("odd"), b"\xff")
        assert await registry.nodes() == {"one": ONE}
        await writer.hset(name_key("blog"), {b"\xff": b"1", b"odd": b"\xff", b"long": b"9" * 5000})
        await writer.hset(name_key("blog"), {b"two": "\u00b2".encode(), b"line": b"1\n"})
        assert await registry.serving("blog") == {"one": 1}
        await writer.set(name_key("blog"), "of another type")
        for asking in (registry.serving("blog"), registry.serve(ONE, {"blog": 1})):
            with pytest.raises(RefusedError):
                await asking


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        *(b"+OK", b":1", b"$1\r\na", b"*1\r\n:1", b"%1\r\n*1\r\n:1\r\n:2", b"~1\r\n:7", b",1.5"),
        *(b"_", b"*1\r\n*1\r\n*1\r\n:1", b"$x", b":x", b"HTTP/1.1 400 no\r\n", b"-READONLY no"),
    ],
)
async def test_whatever_a_server_says_is_an_answer_or_none(
    answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from muxado_py.cli.cluster.redis import open_redis

    monkeypatch.setattr("muxado_py.cli.cluster.redis.TIMEOUT", 0.03)

    async def answering(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while said := await stream.receive():
                    is_begin = b"HELLO" in said or b"CLIENT" in said
                    reply = b"%1\r\n$5\r\nproto\r\n:3" if b"HELLO" in said else b"+OK"
                    each = (reply if is_begin else answer) + b"\r\n"
                    await stream.send(each * said.count(b"\r\n*") + each)

    listener = await anyio.create_unix_listener(tmp_path / "odd")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answering)
        async with open_redis(f"unix://{tmp_path / 'odd'}") as registry:
            for ask in (
                partial(registry.beat, ONE, LONG),
                registry.nodes,
                partial(registry.serve, ONE, {"blog": 1, "news": 0}),
                partial(registry.serving, "blog"),
                partial(registry.forget, "blog", ["two"]),
                partial(registry.leave, ONE),
            ):
                with suppress(RegistryError):
                    await ask()
        tasks.cancel_scope.cancel()


@pytest.mark.slow
async def test_who_beats_while_it_is_taken_off_the_list_is_on_it(redis: RedisServer) -> None:
    from coredis import Redis

    from muxado_py.cli.cluster.redis import RedisRegistry, open_redis

    class Slow(Redis[bytes]):
        """Between its look and what it does then others do something."""

        meanwhile: Any = None

        def srem(self, *args: Any) -> Any:
            removing = super().srem

            async def later() -> Any:
                await self.meanwhile()
                return await removing(*args)

            return later()

    slow = Slow.from_url(redis.url)
    assert isinstance(slow, Slow)
    async with open_redis(redis.url) as paused, slow:
        await paused.beat(ONE, 0.01)
        await paused.beat(TWO, LONG)
        await anyio.sleep(0.1)
        slow.meanwhile = partial(paused.beat, ONE, LONG)
        assert await RedisRegistry(slow, anyio.Event()).nodes() == {"one": ONE, "two": TWO}
        assert await paused.nodes() == {"one": ONE, "two": TWO}

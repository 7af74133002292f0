"""A registry on Redis, or on whatever speaks its protocol: Valkey, and Redis from 6.2.

What it is.  The commands, by coredis, which runs on asyncio and on trio.  Nothing that is written here is needed by anybody
after a lease, or the sweep of who serves, has passed: it need not be saved.

The rules.  One command is sent once: whoever asks knows better than the client whether to ask again.  Every wait has an
end of half a second.  A name's key ends by itself when nobody says it again (:mod:`.names`), and so holds no memory for ever.

The traps.  Without a policy coredis sends a command three times, and redis-py eleven: then a command that came late is
executed as often.  The clocks of two gateways differ, so leases end by the server's clock alone, and there is no index of
nodes by time: one whose record is gone is taken off the list by whoever sees that, who looks once more, since it may just
have said that it is there.  And others write to a server too: what is no text there is nobody, so it is read as bytes.

Of coredis' connections one is lost for good, of the few that there may be, with each pipeline that was cancelled or had no answer
in time, and with each connection that did not come about in time (6.9.0; findings/coredis_lost_connections.sh).  So no
question is cancelled, and a client that had no answer is exchanged for a new one.
"""

from __future__ import annotations

import logging
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from anyio import TASK_STATUS_IGNORED, CancelScope, Event, create_task_group, sleep
from anyio.lowlevel import checkpoint
from coredis import Redis
from coredis.exceptions import RedisError, ResponseError
from coredis.retry import NoRetryPolicy

from ...errors import escaped
from ...service.causes import reason
from .nodes import NODES, OWNERS, Node, name_key, node_key
from .registry import RefusedError, Registry, RegistryError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping

    from anyio.abc import TaskStatus

__all__ = ("NAME_LIFE", "RedisRegistry", "open_redis")

logger = logging.getLogger("muxado.cli")

MAX_SHOWN = 200
"""Characters of what is wrong that go into a line of the log."""

TIMEOUT = 0.5
"""Seconds for a connection, and for an answer."""

MAX_CONNECTIONS = 8
"""Of one gateway to the server; who finds none free waits, and not longer than for an answer."""

NAME_LIFE = 120.0
"""Seconds that a name is kept of which nobody says anything."""

CLAIM = """
local time = redis.call('TIME')
local since = time[1] * 1000000 + time[2] - ARGV[3]
local found = redis.call('HGET', KEYS[1], ARGV[1])
local its, node = string.match(found or '', '^(%d+) (%w+)$')
if its and (tonumber(its) > since or (tonumber(its) == since and node > ARGV[2])) then
    return node
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', since) .. ' ' .. ARGV[2])
return ARGV[2]
"""
"""A claim of ARGV[2] for the name ARGV[1], of an agent that came ARGV[3] microseconds ago; who has it."""

RELEASE = """
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found and string.match(found, '^%d+ (%w+)$') == ARGV[2] then
    redis.call('HDEL', KEYS[1], ARGV[1])
end
"""

OWNER = re.compile(rb"[0-9]+ ([0-9A-Za-z]+)\Z")
"""Since when, and the id of whose agent it is."""

COUNT = re.compile(rb"[0-9]{1,9}\Z")
"""How many agents a node has; what else stands there is nobody's."""

MAX_PIPELINE = 100
"""Names that are said in one go, and so in the time for one answer, also on a machine that has much to do."""


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[RedisRegistry]:
    """A registry on the server at ``url``, which need not answer yet.

    :param url: ``redis://``, ``rediss://`` or ``unix://``, as coredis has them.
    :raises ValueError: if it is none.
    """

    def make() -> Redis[bytes]:
        return Redis.from_url(
            url,
            verify_version=False,
            retry_policy=NoRetryPolicy(),
            connect_timeout=TIMEOUT,
            stream_timeout=TIMEOUT,
            pool_timeout=TIMEOUT,
            max_connections=MAX_CONNECTIONS,
        )

    async with create_task_group() as tasks:
        first = make()
        await tasks.start(_hold, first, failed := Event())
        registry = RedisRegistry(first, failed)
        tasks.start_soon(registry.keep, make)
        yield registry
        tasks.cancel_scope.cancel()


class RedisRegistry(Registry):
    """What gateways on many machines have in common; see :func:`open_redis`.

    :param client: which somebody keeps until ``failed`` is set.
    """

    def __init__(self, client: Redis[bytes], failed: Event) -> None:
        self._client = client
        self._failed = failed
        self._renewed = Event()

    async def keep(self, make: Callable[[], Redis[bytes]]) -> None:
        """Have a new client in the place of one that had no answer, until this is cancelled."""
        async with create_task_group() as tasks:
            while True:
                await self._failed.wait()
                client = make()
                await tasks.start(_hold, client, failed := Event())
                self._client, self._failed = client, failed
                self._renewed.set()
                self._renewed = Event()

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[Redis[bytes]]:
        """For one question; all that goes wrong with a server is one of two things: it has no answer, or it refuses.

        It refuses with an answer that is none, too, whatever coredis raises of it: a key of another type, bytes that are no
        text, a number that is none.  A task of the gateway's asks, and must outlive whatever stands in there.
        """
        while self._failed.is_set():
            await self._renewed.wait()
        client, failed = self._client, self._failed
        try:
            with CancelScope(shield=True):  # for no longer than the time-outs: see the traps
                yield client
        except Exception as exc:
            cause = exc
            while isinstance(cause, ExceptionGroup):
                cause = cause.exceptions[0]
            why = escaped(reason(cause))[:MAX_SHOWN]
            if isinstance(cause, ResponseError):
                raise RefusedError(f"the registry refuses: {why}") from exc
            failed.set()
            if isinstance(cause, (RedisError, OSError, EOFError)):
                raise RegistryError(f"the registry does not answer: {why}") from exc
            raise RefusedError(f"the registry has an answer that cannot be read: {why}") from exc

    async def beat(self, node: Node, seconds: float) -> bool:
        async with self._asking() as client:
            milliseconds = max(1, round(seconds * 1000))
            async with client.pipeline(transaction=False) as commands:
                before: Any = commands.set(
                    node_key(node.id), node.record(), px=milliseconds, get=True
                )
                commands.sadd(NODES, [node.id])
            return await before is not None

    async def nodes(self) -> dict[str, Node]:
        async with self._asking() as client:
            members = await client.smembers(NODES)
            records = await _records(client, members)
            gone = members - records.keys()
            if gone:
                await client.srem(NODES, gone)
                # It said that it is there just before that.
                if back := await _records(client, gone):
                    await client.sadd(NODES, list(back))
                    records |= back
        found = {}
        for member, record in records.items():
            try:
                node_id = member.decode("ascii")
                found[node_id] = Node.parse(node_id, record.decode())
            except ValueError as exc:
                logger.debug("%s", exc)
        return found

    async def leave(self, node: Node) -> None:
        async with self._asking() as client, client.pipeline(transaction=False) as commands:
            commands.delete([node_key(node.id)])
            commands.srem(NODES, [node.id])

    async def serve(self, node: Node, counts: Mapping[str, int]) -> None:
        names = list(counts)
        for first in range(0, len(names), MAX_PIPELINE):
            await checkpoint()
            async with self._asking() as client, client.pipeline(transaction=False) as commands:
                for name in names[first : first + MAX_PIPELINE]:
                    key = name_key(name)
                    if counts[name]:
                        commands.hset(key, {node.id: str(counts[name])})
                        commands.pexpire(key, round(NAME_LIFE * 1000))
                    else:
                        commands.hdel(key, [node.id])

    async def serving(self, name: str) -> dict[str, int]:
        async with self._asking() as client:
            counts = await client.hgetall(name_key(name))
        return {
            node_id.decode(): int(count)
            for node_id, count in counts.items()
            if node_id.isascii() and COUNT.match(count)
        }

    async def claim(self, node_id: str, name: str, age: float) -> str:
        async with self._asking() as client:
            since = str(round(age * 1e6))
            owner: Any = await client.eval(CLAIM, [OWNERS], [name, node_id, since])
        return str(owner.decode())

    async def owners(self) -> dict[str, str]:
        async with self._asking() as client:
            found = await client.hgetall(OWNERS)
        return {
            name.decode(): owner[1].decode()
            for name, said in found.items()
            if name.isascii() and (owner := OWNER.match(said)) is not None
        }

    async def release(self, node_id: str, name: str) -> None:
        async with self._asking() as client:
            await client.eval(RELEASE, [OWNERS], [name, node_id])

    async def forget(self, name: str, node_ids: Collection[str]) -> None:
        async with self._asking() as client:
            await client.hdel(name_key(name), list(node_ids))


async def _records(client: Redis[bytes], members: Collection[bytes]) -> dict[bytes, bytes]:
    """Those of nodes that have a lease; what is no id has none."""
    node_ids = [member for member in members if member.isascii()]
    async with client.pipeline(transaction=False) as commands:
        answers: list[Any] = [commands.get(node_key(one.decode())) for one in node_ids]
    records = [await answer for answer in answers]
    return {one: it for one, it in zip(node_ids, records, strict=True) if it is not None}


async def _hold(
    client: Redis[bytes], failed: Event, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED
) -> None:
    """Keep a client until it has ``failed``, and what others asked it had its time.

    Nor is a Unix socket to be closed in the moment in which an answer comes (findings/anyio_unix_receive_cancelled.sh).
    """
    try:
        async with client:
            task_status.started()
            await failed.wait()
            await sleep(2 * TIMEOUT)
    except Exception as exc:  # noqa: BLE001 - of whatever was on its way in it
        logger.debug("a client of the registry ended: %r", exc)

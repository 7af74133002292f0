"""A registry on Redis, or on whatever speaks its protocol: Valkey, and Redis from 6.2.

What it is.  The commands, by coredis, which runs on asyncio and on trio.  Nothing that is written here is needed by anybody
after a lease, or the sweep of who serves, has passed: it need not be saved.

The rules.  One command is sent once: whoever asks knows better than the client whether to ask again.  Every wait has an
end of half a second.  A name's key ends by itself when nobody says it again (:mod:`.names`), and so holds no memory for ever.

The traps.  Without a policy coredis sends a command three times, and redis-py eleven: then a command that came late is
executed as often.  The clocks of two gateways differ, so leases end by the server's clock alone, and there is no index of
nodes by time: one whose record is gone is taken off the list by whoever sees that, and comes back with its next beat.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from coredis import Redis
from coredis.exceptions import RedisError
from coredis.retry import NoRetryPolicy

from ..running import reason
from .nodes import NODES, Node, name_key, node_key
from .registry import Registry, RegistryError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

__all__ = ("NAME_LIFE", "RedisRegistry", "open_redis")

logger = logging.getLogger("muxado.cli")

TIMEOUT = 0.5
"""Seconds for a connection, and for an answer."""

MAX_CONNECTIONS = 8
"""Of one gateway to the server; who finds none free waits, and not longer than for an answer."""

NAME_LIFE = 120.0
"""Seconds that a name is kept of which nobody says anything."""

MAX_PIPELINE = 100
"""Names that are said in one go, and so in the time for one answer, also on a machine that has much to do."""


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[RedisRegistry]:
    """A registry on the server at ``url``, which need not answer yet.

    :param url: ``redis://``, ``rediss://`` or ``unix://``, as coredis has them.
    :raises ValueError: if it is none.
    """
    client = Redis.from_url(
        url,
        decode_responses=True,
        verify_version=False,
        retry_policy=NoRetryPolicy(),
        connect_timeout=TIMEOUT,
        stream_timeout=TIMEOUT,
        pool_timeout=TIMEOUT,
        max_connections=MAX_CONNECTIONS,
    )
    async with client:
        yield RedisRegistry(client)


class RedisRegistry(Registry):
    """What gateways on many machines have in common; see :func:`open_redis`."""

    def __init__(self, client: Redis[str]) -> None:
        self._client = client

    async def beat(self, node: Node, seconds: float) -> bool:
        with _one_error():
            milliseconds = max(1, round(seconds * 1000))
            async with self._client.pipeline(transaction=False) as commands:
                before: Any = commands.set(
                    node_key(node.id), node.record(), px=milliseconds, get=True
                )
                commands.sadd(NODES, [node.id])
            return await before is not None

    async def nodes(self) -> dict[str, Node]:
        with _one_error():
            ids = sorted(await self._client.smembers(NODES))
            records = await self._records(ids)
            gone = [one for one in ids if one not in records]
            if gone:
                await self._client.srem(NODES, gone)
        found = {}
        for node_id, record in records.items():
            try:
                found[node_id] = Node.parse(node_id, record)
            except ValueError as exc:
                logger.debug("%s", exc)
        return found

    async def _records(self, ids: list[str]) -> dict[str, str]:
        async with self._client.pipeline(transaction=False) as commands:
            answers: list[Any] = [commands.get(node_key(node_id)) for node_id in ids]
        records = [await answer for answer in answers]
        return {one: record for one, record in zip(ids, records, strict=True) if record is not None}

    async def leave(self, node: Node) -> None:
        with _one_error():
            async with self._client.pipeline(transaction=False) as commands:
                commands.delete([node_key(node.id)])
                commands.srem(NODES, [node.id])

    async def serve(self, node: Node, counts: Mapping[str, int]) -> None:
        names = list(counts)
        for first in range(0, len(names), MAX_PIPELINE):
            with _one_error():
                async with self._client.pipeline(transaction=False) as commands:
                    for name in names[first : first + MAX_PIPELINE]:
                        key = name_key(name)
                        if counts[name]:
                            commands.hset(key, {node.id: str(counts[name])})
                            commands.pexpire(key, round(NAME_LIFE * 1000))
                        else:
                            commands.hdel(key, [node.id])

    async def serving(self, name: str) -> dict[str, int]:
        with _one_error():
            counts = await self._client.hgetall(name_key(name))
        return {node_id: int(count) for node_id, count in counts.items() if count.isdecimal()}

    async def forget(self, name: str, node_ids: Collection[str]) -> None:
        with _one_error():
            await self._client.hdel(name_key(name), list(node_ids))


class _one_error:
    """All that goes wrong with a server is one thing to a gateway: it has no answer."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        if isinstance(exc, BaseExceptionGroup):
            exc = exc.exceptions[0]
        if isinstance(exc, (RedisError, OSError, EOFError)):
            raise RegistryError(f"the registry does not answer: {reason(exc)}") from exc

"""Several gateways in one process, with a registry in memory."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import anyio

from muxado_py.cli.cluster.cluster import Membership
from muxado_py.cli.cluster.memory import MemoryRegistry
from muxado_py.cli.cluster.registry import RegistryError
from muxado_py.cli.cluster.tokens import ClusterTokens
from muxado_py.cli.gateway import gateway
from muxado_py.cli.http_door.limits import Limits
from muxado_py.cli.options import Address, HttpDoor, Published, UnixAddress
from muxado_py.cli.reloading import Reloading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from muxado_py.cli.cluster.nodes import Node

__all__ = ("TOKEN", "Gate", "Gone", "registered", "several")

HERE = Address("127.0.0.1", 0)
TOKEN = "muxado_of-all-gateways-of-one-cluster-alone"


class Gate(NamedTuple):
    """One of them."""

    url: str
    blog: int
    """The port of a door of bytes, for ``blog``."""
    http: int
    """The port of the HTTP door, for ``*.test``."""
    stop: anyio.Event
    tokens: list[str]
    """What it shows, and takes, when it has read them."""
    hangup: Reloading


class Gone(MemoryRegistry):
    """One that may stop to answer."""

    is_down = False

    def _check(self) -> None:
        if self.is_down:
            raise RegistryError("down")

    async def beat(self, node: Node, seconds: float) -> bool:
        self._check()
        return await super().beat(node, seconds)

    async def nodes(self) -> dict[str, Node]:
        self._check()
        return await super().nodes()

    async def serve(self, node: Node, counts: Mapping[str, int]) -> None:
        self._check()
        await super().serve(node, counts)

    async def serving(self, name: str) -> dict[str, int]:
        self._check()
        return await super().serving(name)

    async def leave(self, node: Node) -> None:
        self._check()
        await super().leave(node)

    async def claim(self, node_id: str, name: str, age: float) -> str:
        self._check()
        return await super().claim(node_id, name, age)

    async def owners(self) -> dict[str, str]:
        self._check()
        return await super().owners()

    async def release(self, node_id: str, name: str) -> None:
        self._check()
        await super().release(node_id, name)

    async def forget(self, name: str, node_ids: Collection[str]) -> None:
        self._check()
        await super().forget(name, node_ids)


@asynccontextmanager
async def several(
    number: int,
    registry: MemoryRegistry,
    tokens: tuple[str, ...] = (TOKEN, TOKEN, TOKEN),
    handover: float = 0.0,
    admins: Sequence[UnixAddress | None] = (None, None, None),
) -> AsyncIterator[list[Gate]]:
    """So many gateways, that know each other; leaving the block stops them.

    :param handover: seconds in which one that ends still lets callers in, unless the block is left first.
    :param admins: where each of them says how it is.
    """
    async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
        gates: list[Gate] = []
        for token, admin in list(zip(tokens, admins, strict=False))[:number]:
            stop = anyio.Event()
            stack.callback(stop.set)
            its_tokens, hangup = [token], Reloading()
            url, ports = await tasks.start(
                partial(
                    gateway,
                    "tcp://127.0.0.1:0",
                    [Published(HERE, "blog")],
                    stop,
                    ssl_context=None,
                    limit=100,
                    graceful_timeout=5.0,
                    handover_timeout=handover,
                    http=HttpDoor(HERE, "test", Limits()),
                    reloading=hangup,
                    admin=admin,
                    membership=Membership(
                        nullcontext(registry), ClusterTokens(partial(tuple, its_tokens))
                    ),
                )
            )
            gates.append(Gate(url, ports[0], ports[1], stop, its_tokens, hangup))
        with anyio.fail_after(60):
            while len(await registry.nodes()) < number:  # noqa: ASYNC110 - nobody tells of it
                await anyio.sleep(0.01)
            yield gates
        if handover:
            tasks.cancel_scope.cancel()


async def registered(registry: MemoryRegistry, name: str, nodes: int = 1) -> None:
    """Until so many gateways have said that they serve ``name``."""
    with anyio.fail_after(30):
        while len(await registry.serving(name)) != nodes:  # noqa: ASYNC110 - nobody tells of it
            await anyio.sleep(0.01)

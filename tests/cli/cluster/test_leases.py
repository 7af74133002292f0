"""A gateway is there while it says so, and knows it when it was forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from muxado_py.cli.cluster.breaker import Breaker
from muxado_py.cli.cluster.directory import Directory
from muxado_py.cli.cluster.leases import BEAT, LEASE, Lease
from muxado_py.cli.cluster.memory import MemoryRegistry
from muxado_py.cli.cluster.nodes import Node
from muxado_py.cli.cluster.registry import RegistryError

from ...virtual_time import BACKENDS, backend

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return backend(request.param)


class Failing(MemoryRegistry):
    """One that can be down."""

    is_down = False

    async def beat(self, node: Node, seconds: float) -> bool:
        if self.is_down:
            raise RegistryError("down")
        return await super().beat(node, seconds)


def a_lease(
    name: str, registry: MemoryRegistry, forgotten: Callable[[], None] = lambda: None
) -> tuple[Lease, Directory]:
    directory = Directory(name, anyio.current_time)
    breaker = Breaker()
    node = Node(name, f"unix:///{name}")
    return Lease(node, registry, breaker, directory, forgotten), directory


async def test_two_gateways_know_each_other_for_as_long_as_both_are_there() -> None:
    registry = MemoryRegistry()
    one, known_to_one = a_lease("one", registry)
    two, known_to_two = a_lease("two", registry)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        async with anyio.create_task_group() as second:
            second.start_soon(two.run)
            await anyio.sleep(60)
            assert known_to_one.nodes == {"two": two.node}
            assert known_to_two.nodes == {"one": one.node}
            second.cancel_scope.cancel()
        await anyio.sleep(LEASE + 2 * BEAT)
        assert known_to_one.nodes == {}
        tasks.cancel_scope.cancel()


async def test_who_is_about_to_end_says_so_at_once_and_leaves_last() -> None:
    registry = MemoryRegistry()
    one, _ = a_lease("one", registry)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        await anyio.sleep(0.1)
        one.drain()
        await anyio.sleep(0.1)
        assert (await registry.nodes())["one"].is_draining
        tasks.cancel_scope.cancel()
    await one.leave()
    assert await registry.nodes() == {}


async def test_a_registry_that_forgot_is_told_again_and_not_believed_at_first() -> None:
    registry, told = MemoryRegistry(), []
    one, known = a_lease("one", registry, lambda: told.append(True))
    two, _ = a_lease("two", registry)
    await two.beat()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        await anyio.sleep(BEAT / 2)
        assert not told
        registry.clear()
        await anyio.sleep(BEAT)
        assert told
        assert known.is_distrusted
        assert known.nodes == {"two": two.node}
        tasks.cancel_scope.cancel()


async def test_a_gateway_that_beats_as_late_as_it_may_is_there_all_the_time() -> None:
    """The registry was started anew behind its beat, and before that of another one."""
    registry = MemoryRegistry()
    one, known = a_lease("one", registry)
    two, _ = a_lease("two", registry)
    for lease in (two, one):
        await lease.beat()
    registry.clear()
    await one.beat()
    await anyio.sleep(1.09 * BEAT)
    await one.look()
    assert known.nodes == {"two": two.node}
    await anyio.sleep(0.01 * BEAT)
    await two.beat()
    assert known.is_distrusted  # it says what it serves a moment later
    await anyio.sleep(BEAT)
    await one.look()
    assert known.nodes == {"two": two.node}
    assert not known.is_distrusted


async def test_while_the_registry_is_down_all_stays_and_it_is_asked_again_soon() -> None:
    registry = Failing()
    one, known = a_lease("one", registry)
    two, _ = a_lease("two", registry)
    await two.beat()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        await anyio.sleep(0.1)
        registry.is_down = True
        await anyio.sleep(10 * LEASE)
        assert known.nodes == {"two": two.node}
        registry.is_down = False
        await anyio.sleep(1)
        assert "one" in await registry.nodes()
        tasks.cancel_scope.cancel()
    registry.is_down = True

    async def leave(node: Node) -> None:
        raise RegistryError("down")

    registry.leave = leave  # type: ignore[method-assign]
    await one.leave()


async def test_who_found_that_it_does_not_answer_has_it_asked_again_at_once() -> None:
    registry = Failing()
    breaker = Breaker()
    directory = Directory("one", anyio.current_time)
    lease = Lease(Node("one", "unix:///one"), registry, breaker, directory, lambda: None)

    async def unanswered() -> None:
        raise RegistryError("down")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lease.run)
        await anyio.sleep(BEAT / 2)
        with pytest.raises(RegistryError):
            await breaker.ask(unanswered)
        await anyio.sleep(0.01)
        assert not breaker.is_broken
        tasks.cancel_scope.cancel()

"""What a gateway serves is said until it is heard, in few words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from muxado_py.cli.cluster.names import MAX_BATCH, SWEEP, Names
from muxado_py.cli.cluster.registry import RegistryError

from ...virtual_time import BACKENDS, backend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

pytestmark = pytest.mark.anyio


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return backend(request.param)


class Heard:
    """Who hears it."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.sizes: list[int] = []
        self.is_deaf = False
        self.while_hearing: Callable[[], None] = lambda: None

    async def __call__(self, counts: Mapping[str, int]) -> None:
        await anyio.sleep(0.01)
        if self.is_deaf:
            raise RegistryError("down")
        self.sizes.append(len(counts))
        self.known |= counts
        self.while_hearing()


async def test_a_thousand_agents_at_once_are_a_few_batches() -> None:
    heard = Heard()
    names = Names(heard)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(names.run)
        for number in range(1_200):
            names.changed(f"name-{number}", 1)
            names.changed("blog", number)
        await anyio.sleep(1)
        assert len(heard.known) == 1_201
        assert heard.known["blog"] == 1_199
        assert heard.sizes == [MAX_BATCH, MAX_BATCH, 201]
        tasks.cancel_scope.cancel()


async def test_what_nobody_heard_is_said_again_as_it_is_by_then() -> None:
    heard = Heard()
    names = Names(heard)
    heard.is_deaf = True
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(names.run)
        names.changed("blog", 1)
        names.changed("news", 1)
        await anyio.sleep(3)
        names.changed("news", 0)
        heard.is_deaf = False
        await anyio.sleep(1)
        assert heard.known == {"blog": 1, "news": 0}
        tasks.cancel_scope.cancel()


async def test_what_changes_while_it_is_said_is_said_after_it() -> None:
    heard = Heard()
    names = Names(heard)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(names.run)
        names.changed("blog", 1)
        heard.while_hearing = lambda: names.changed("blog", 2)
        await anyio.sleep(1)
        assert heard.known == {"blog": 2}
        tasks.cancel_scope.cancel()


async def test_all_is_said_again_every_half_a_minute_and_when_it_is_asked_for() -> None:
    heard = Heard()
    names = Names(heard)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(names.run)
        names.changed("blog", 2)
        await anyio.sleep(1)
        heard.known.clear()
        names.repeat()
        await anyio.sleep(1)
        assert heard.known == {"blog": 2}
        heard.known.clear()
        await anyio.sleep(SWEEP * 1.3)
        assert heard.known == {"blog": 2}
        tasks.cancel_scope.cancel()


async def test_what_a_late_command_brought_back_is_taken_away_with_the_next_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A sweep in the last two seconds would say the last change before it is forged.
    monkeypatch.setattr("muxado_py.cli.cluster.names.random.uniform", lambda low, high: 1.0)
    heard = Heard()
    names = Names(heard)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(names.run)
        names.changed("blog", 1)
        names.changed("news", 1)
        names.changed("news", 0)
        await anyio.sleep(1)
        heard.known["news"] = 1
        await anyio.sleep(SWEEP * 1.3)
        assert heard.known == {"blog": 1, "news": 0}
        heard.known.clear()
        await anyio.sleep(SWEEP * 1.3)
        assert heard.known == {"blog": 1}  # and then it is forgotten
        names.changed("news", 0)
        await anyio.sleep(1)
        heard.known["news"] = 1
        names.repeat()
        await anyio.sleep(1)
        assert heard.known == {"blog": 1, "news": 0}
        tasks.cancel_scope.cancel()


async def test_who_ends_serves_nothing() -> None:
    heard = Heard()
    names = Names(heard)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(names.run)
        names.changed("blog", 2)
        await anyio.sleep(1)
        names.changed("news", 1)
        tasks.cancel_scope.cancel()
    await names.leave()
    assert heard.known == {"blog": 0, "news": 0}
    heard.is_deaf = True
    await names.leave()

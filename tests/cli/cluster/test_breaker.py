"""A registry that does not answer is left alone for a moment."""

from __future__ import annotations

import pytest

from muxado_py.cli.cluster.breaker import PAUSE, Breaker
from muxado_py.cli.cluster.registry import RegistryError

pytestmark = pytest.mark.anyio


class Asked:
    """Somebody who is asked, and does not always answer."""

    def __init__(self) -> None:
        self.times = 0
        self.is_down = False
        self.now = 100.0

    async def __call__(self, number: int) -> int:
        self.times += 1
        if self.is_down:
            raise RegistryError("down")
        return number * 2


async def test_answers_pass() -> None:
    asked = Asked()
    assert await Breaker(lambda: asked.now).ask(asked, 21) == 42


async def test_after_a_failure_nobody_is_asked_for_a_moment() -> None:
    asked, told = Asked(), []
    breaker = Breaker(lambda: asked.now)
    breaker.when_mended(lambda: told.append(asked.now))
    asked.is_down = True
    for _ in range(1000):
        with pytest.raises(RegistryError):
            await breaker.ask(asked, 1)
    assert asked.times == 1
    assert breaker.is_broken
    asked.now += PAUSE
    with pytest.raises(RegistryError, match="down"):
        await breaker.ask(asked, 1)
    assert asked.times == 2
    asked.is_down = False
    with pytest.raises(RegistryError, match="a moment ago"):
        await breaker.ask(asked, 1)
    asked.now += PAUSE
    assert await breaker.ask(asked, 1) == 2
    assert not breaker.is_broken
    assert told == [asked.now]
    await breaker.ask(asked, 1)
    assert len(told) == 1


async def test_other_errors_are_no_failures_of_the_registry() -> None:
    async def wrong() -> None:
        raise KeyError

    breaker = Breaker(lambda: 0.0)
    with pytest.raises(KeyError):
        await breaker.ask(wrong)
    assert not breaker.is_broken

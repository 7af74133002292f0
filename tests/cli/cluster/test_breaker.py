"""A registry that does not answer is asked by one task alone."""

from __future__ import annotations

import pytest

from muxado_py.cli.cluster.breaker import Breaker
from muxado_py.cli.cluster.registry import RefusedError, RegistryError

pytestmark = pytest.mark.anyio


class Asked:
    """Somebody who is asked, and does not always answer."""

    def __init__(self) -> None:
        self.times = 0
        self.raises: RegistryError | None = None

    async def __call__(self, number: int) -> int:
        self.times += 1
        if self.raises is not None:
            raise self.raises
        return number * 2


async def test_answers_pass() -> None:
    asked = Asked()
    assert await Breaker().ask(asked, 21) == 42


async def test_after_a_failure_nobody_is_asked_until_one_who_may_has_an_answer() -> None:
    asked, told = Asked(), []
    breaker = Breaker()
    breaker.when_broken(lambda: told.append("broken"))
    breaker.when_mended(lambda: told.append("mended"))
    asked.raises = RegistryError("down")
    for _ in range(1000):
        with pytest.raises(RegistryError):
            await breaker.ask(asked, 1)
    assert asked.times == 1
    assert breaker.is_broken
    with pytest.raises(RegistryError, match="down"):
        await breaker.try_again(asked, 1)
    assert asked.times == 2
    asked.raises = None
    with pytest.raises(RegistryError, match="a moment ago"):
        await breaker.ask(asked, 1)
    assert told == ["broken"]
    assert await breaker.try_again(asked, 1) == 2
    assert not breaker.is_broken
    assert told == ["broken", "mended"]
    await breaker.ask(asked, 1)
    assert len(told) == 2


async def test_who_refuses_has_answered(caplog: pytest.LogCaptureFixture) -> None:
    """A key that somebody else wrote, and that callers ask for, must not part a gateway from the others."""
    asked = Asked()
    breaker = Breaker()
    asked.raises = RefusedError("the registry refuses: WRONGTYPE")
    for _ in range(10):
        with pytest.raises(RefusedError):
            await breaker.ask(asked, 1)
    assert asked.times == 10
    assert not breaker.is_broken
    assert caplog.text.count("WRONGTYPE") == 1
    asked.raises = RegistryError("down")
    with pytest.raises(RegistryError):
        await breaker.ask(asked, 1)
    asked.raises = RefusedError("the registry refuses: LOADING")
    with pytest.raises(RefusedError):
        await breaker.try_again(asked, 1)
    assert not breaker.is_broken


async def test_other_errors_are_no_failures_of_the_registry() -> None:
    async def wrong() -> None:
        raise KeyError

    breaker = Breaker()
    with pytest.raises(KeyError):
        await breaker.ask(wrong)
    assert not breaker.is_broken

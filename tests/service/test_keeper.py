"""A peer that says when it wants to be asked again is asked then, and the others as before; what counts as an attempt."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado
from muxado_py.service.backoff import Backoff
from muxado_py.service.keeper import MAX_HEEDED_RETRY_AFTER, MIN_HEEDED_RETRY_AFTER, Manner, keep

from .. import virtual_time
from ..transports import memory_transports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from muxado_py.service.dialed import Dialed

pytestmark = pytest.mark.anyio

OWN = 7.0
"""Seconds that the back-off says."""


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


class Refused(ConnectionError):
    def __init__(self, retry_after: float | None) -> None:
        super().__init__("no room")
        self.retry_after = retry_after


async def dialed_at(asked: dict[str, float | None], attempts: int) -> list[tuple[str, float]]:
    """Who was dialed when, where each says when it is to be asked again."""
    dialed: list[tuple[str, float]] = []
    stop = anyio.Event()

    @asynccontextmanager
    async def dial(url: str) -> AsyncIterator[muxado.Session]:
        dialed.append((url, anyio.current_time() - began))
        if len(dialed) == attempts:
            stop.set()
        raise Refused(asked[url])
        yield

    async def attach(session: muxado.Session, dialed: Dialed) -> None:
        raise AssertionError("there is none")

    backoff = Backoff(OWN, OWN, draw=lambda: 1.0)
    began = anyio.current_time()
    with anyio.fail_after(1e6):
        await keep({url: partial(dial, url) for url in asked}, attach, stop=stop, backoff=backoff)
    return dialed


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        (None, OWN, OWN),
        (20.0, 20.0, 25.0),
        (2.0, 2.0, 2.5),
        (0.0, MIN_HEEDED_RETRY_AFTER, 1.25 * MIN_HEEDED_RETRY_AFTER),
        (1e9, MAX_HEEDED_RETRY_AFTER, 1.25 * MAX_HEEDED_RETRY_AFTER),
    ],
)
async def test_who_says_when_is_asked_then_within_bounds(
    asked: float | None, least: float, most: float
) -> None:
    times = [when for _, when in await dialed_at({"one": asked}, 4)]
    for before, after in pairwise(times):
        assert least <= after - before <= most + 1e-6


async def test_others_are_asked_meanwhile_as_they_were() -> None:
    dialed = await dialed_at({"one": 30.0, "two": None}, 12)
    ones = [when for url, when in dialed if url == "one"]
    twos = [when for url, when in dialed if url == "two"]
    assert len(ones) >= 2
    assert all(after - before >= 30.0 for before, after in pairwise(ones))
    assert all(after - before < OWN + 1e-6 for before, after in pairwise(twos))


async def test_of_two_who_say_when_the_one_is_asked_first_whose_time_comes_first() -> None:
    dialed = await dialed_at({"one": 100.0, "two": 10.0}, 8)
    assert [url for url, _ in dialed[2:]] == ["two"] * 6


async def test_a_session_that_ends_while_it_is_to_be_left_counts_once() -> None:
    """Who gives up after so many attempts has made as many."""
    counted: list[int | None] = []
    stop = anyio.Event()

    class Counting(Manner):
        def failed(self, dialed: Dialed, failures: int | None) -> None:
            counted.append(failures)
            if len(counted) == 3:
                stop.set()

    @asynccontextmanager
    async def dial() -> AsyncIterator[muxado.Session]:
        near, far = memory_transports()
        async with muxado.server(far), muxado.client(near) as session:
            yield session

    async def attach(session: muxado.Session, dialed: Dialed) -> None:
        dialed.leave()
        await anyio.sleep(OWN / 7)  # nobody was dialed in its place yet

    backoff = Backoff(OWN, OWN, draw=lambda: 1.0)
    with anyio.fail_after(1e6):
        await keep({"one": dial}, attach, stop=stop, manner=Counting(), backoff=backoff)
    assert counted == [1, 2, 3]

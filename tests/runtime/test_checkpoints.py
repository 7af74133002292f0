"""Giving way: a cancelled task always does, and everybody does once in a while."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import ExitStack
from math import inf
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import CancelScope, create_task_group
from hypothesis import given
from hypothesis import strategies as st

import muxado_py.runtime.checkpoints
import muxado_py.runtime.trio_checkpoints
from muxado_py.runtime.checkpoints import CALLS_PER_CHECKPOINT, Callback, current_backend, wake

from ..check_byte_stream import receive_all

if TYPE_CHECKING:
    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

SCOPES = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=5)
"""From the outermost in: whether it is cancelled, and whether it is a shield."""


async def is_due(scopes: list[tuple[bool, bool]]) -> tuple[bool, bool]:
    """What ``checkpoint_due`` says inside of ``scopes``, and what anyio says."""
    due = current_backend().checkpoint_due
    with ExitStack() as stack:
        for cancelled, shield in scopes:
            scope = stack.enter_context(CancelScope(shield=shield))
            if cancelled:
                scope.cancel()
        return due(), anyio.current_effective_deadline() == -inf


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(scopes=SCOPES)
def test_a_look_at_the_scopes_says_what_anyio_says(
    backend: str, scopes: list[tuple[bool, bool]]
) -> None:
    due, cancelled = anyio.run(is_due, scopes, backend=backend)
    assert due == cancelled


async def test_no_task_is_taken_for_another() -> None:
    due = current_backend().checkpoint_due
    said: list[tuple[bool, bool]] = []

    async def look(cancelled: bool) -> None:
        with CancelScope() as scope:  # noqa: ASYNC100 - a look is all
            if cancelled:
                scope.cancel()
            said.append((cancelled, due()))

    async with create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(look, bool(number % 2))
    assert len(said) == 8
    assert all(cancelled == is_due for cancelled, is_due in said)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_is_over_is_not_kept(anyio_backend: str) -> None:
    due = current_backend().checkpoint_due

    async def look() -> weakref.ref[object]:
        with CancelScope():  # noqa: ASYNC100 - a look is all
            due()
        task = asyncio.current_task()
        assert task is not None
        return weakref.ref(task)

    over = await asyncio.create_task(look())
    await asyncio.sleep(0)  # the loop is done with what woke us
    gc.collect()
    assert over() is None


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_of_asyncios_own_is_cancelled_by_no_scope(anyio_backend: str) -> None:
    async def look() -> bool:
        return current_backend().checkpoint_due()

    assert not await asyncio.create_task(look())


@pytest.mark.parametrize("changed", ["scopes", "states"])
def test_what_anyio_keeps_otherwise_is_not_looked_at(
    changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Scope:
        _cancel_called = _shield = False

    async def look() -> object:
        if changed == "scopes":
            monkeypatch.setattr(muxado_py.runtime.checkpoints, "CancelScope", Scope)
        else:
            monkeypatch.setattr(muxado_py.runtime.checkpoints, "WeakKeyDictionary", Scope)
        return current_backend().checkpoint_due()

    assert anyio.run(look) is True, "each call asks anyio"


@pytest.fixture(params=["looking", "asking"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as anyio is what it was, and after."""
    if request.param == "asking":
        # Of which nothing is known.
        monkeypatch.setattr(muxado_py.runtime.checkpoints, "CancelScope", object)
        monkeypatch.setattr(
            muxado_py.runtime.trio_checkpoints, "checkpoint_due", lambda every, check_here: None
        )


@pytest.mark.usefixtures("_either_way")
async def test_a_cancelled_task_sends_nothing(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        for deadline in (inf, anyio.current_time() - 1):
            with CancelScope(deadline=deadline) as scope:
                if deadline == inf:
                    scope.cancel()
                await stream.send(b"too late")
            assert scope.cancelled_caught
        await stream.send(b"in time")
        await stream.send_eof()
        assert await receive_all(await accepted.accept_stream()) == b"in time"


@pytest.mark.usefixtures("_either_way")
async def test_every_call_gives_way_once_in_a_while(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, _), create_task_group() as tasks:
        stream = await dialed.open_stream()
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await anyio.lowlevel.checkpoint()

        tasks.start_soon(count)
        await anyio.lowlevel.checkpoint()
        before = turns
        for _ in range(10 * CALLS_PER_CHECKPOINT):
            await stream.send(b"x")
        assert turns - before >= 9
        tasks.cancel_scope.cancel()


def test_a_callback_is_called_each_time() -> None:
    called: list[str] = []
    waiter = Callback(lambda: called.append("called"))
    wake(waiter)
    wake(waiter)
    assert called == ["called", "called"]


async def test_a_waiter_that_was_cancelled_is_woken_in_vain() -> None:
    waiter = current_backend().new_waiter()
    went_on = False

    async def wait() -> None:
        nonlocal went_on
        await waiter
        went_on = True

    async with create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert not waiter.done()
        tasks.cancel_scope.cancel()
    assert waiter.done()
    wake(waiter)
    await anyio.lowlevel.checkpoint()
    assert not went_on


async def test_a_waiter_that_is_woken_and_cancelled_at_once_is_one_of_them() -> None:
    waiter = current_backend().new_waiter()

    async def wait() -> None:
        with CancelScope() as scope:
            scopes.append(scope)
            await waiter
        await anyio.lowlevel.checkpoint()  # whatever it was, the task can go on

    scopes: list[CancelScope] = []
    async with create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        wake(waiter)
        scopes[0].cancel()
    assert waiter.done()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_waiter_is_woken_once(backend: str) -> None:
    async def wait() -> bool:
        waiter = current_backend().new_waiter()
        wake(waiter)
        wake(waiter)
        await waiter
        return waiter.done()

    assert anyio.run(wait, backend=backend)

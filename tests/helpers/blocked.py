"""Waiting until every other task waits, or until what no event tells: for tests on a real clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import sniffio
from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("all_tasks_blocked", "until")


async def until(condition: Callable[[], object]) -> None:
    """Until what was sent has had its effect: a socket brings it in as many turns of the loop as the kernel likes."""
    with anyio.fail_after(30):
        while not condition():
            await checkpoint()


async def all_tasks_blocked() -> None:
    """``anyio.wait_all_tasks_blocked``, which on asyncio looks only ten times a second; here it looks every turn."""
    if sniffio.current_async_library() != "asyncio":
        await anyio.wait_all_tasks_blocked()
        return
    this = asyncio.current_task()
    await checkpoint()
    while any(_runs(task) for task in asyncio.all_tasks() if task is not this):
        await checkpoint()


def _runs(task: asyncio.Task[object]) -> bool:
    waiter = task._fut_waiter  # type: ignore[attr-defined]
    return waiter is None or waiter.done()

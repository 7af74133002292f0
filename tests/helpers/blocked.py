"""Waiting until every other task waits, for tests on a real clock."""

from __future__ import annotations

import asyncio

import anyio
import sniffio
from anyio.lowlevel import checkpoint

__all__ = ("all_tasks_blocked",)


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

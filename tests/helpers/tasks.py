"""Which task runs: the object itself, for an address is given to the next one when a task is gone."""

from __future__ import annotations

import asyncio

import sniffio
import trio

__all__ = ("this_task",)


def this_task() -> object:
    """The running task of asyncio or trio; who keeps it can tell it from all others."""
    if sniffio.current_async_library() == "trio":
        return trio.lowlevel.current_task()
    return asyncio.current_task()

"""muxado_py's calls from code that blocks: ``muxado_py.blocking``, to the server of ``ours_calls``.

The trap.  A call blocks this process' event loop, which has nothing else to do while it runs; so there is one at a time.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from muxado_py import blocking

from .ours_calls import CallsOnly, serve
from .stage import play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[CallsOnly]:
    """A pool of one session, in a thread of its own."""

    async def call(question: bytes) -> bytes:
        return pool.call(question)

    with blocking.connect_pool(f"tcp://{address}") as pool:
        yield CallsOnly(call)


if __name__ == "__main__":
    play(dial, serve)

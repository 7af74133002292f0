"""muxado_py's calls: ``connect_pool`` and ``serve_calls`` as a user writes them, at all their defaults."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import TASK_STATUS_IGNORED

import muxado_py as muxado

from .stage import play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from anyio.abc import TaskStatus

    from .server import Answer, ByteStream


class CallsOnly:
    """The :class:`.client.Peer` of what has no streams that both sides write."""

    def __init__(self, call: Callable[[bytes], Awaitable[bytes]]) -> None:
        self.call = call

    async def open(self) -> ByteStream:
        """There is no such thing."""
        raise NotImplementedError("there are calls only")


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[CallsOnly]:
    """A pool, whose session is there when the first call asks for it."""
    async with muxado.connect_pool(f"tcp://{address}") as pool:
        yield CallsOnly(pool.call)


async def serve(answer: Answer, *, task_status: TaskStatus[str] = TASK_STATUS_IGNORED) -> None:
    """The payload, whatever it is; there is no use for ``answer``."""

    async def echo(request: muxado.CallRequest) -> bytes:
        return request.payload

    async with muxado.listen("tcp://127.0.0.1:0") as listener:
        task_status.started(listener.url.removeprefix("tcp://"))
        await muxado.serve_calls(listener.net_listener(), echo)


if __name__ == "__main__":
    play(dial, serve)

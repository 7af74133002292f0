"""A server of calls that computes, or waits: ``python -m interop.overload.server``."""

from __future__ import annotations

import argparse
from time import thread_time
from typing import Any

import anyio

import muxado_py as muxado

from ..bench.actors.stage import BACKENDS, obey, say

__all__ = ("KINDS",)

KINDS = ("computes", "waits")

ROOM = 10
"""How many calls may have at once what a handler waits for."""


class Work:
    """The handler, and how often it has begun.

    :param seconds: of processor time, or of waiting divided by :data:`ROOM`: what a call takes of what there is.
    """

    def __init__(self, kind: str, seconds: float) -> None:
        self._seconds = seconds
        self._room = anyio.CapacityLimiter(ROOM)
        self._begun = 0
        self.handler = self._compute if kind == "computes" else self._wait

    async def _compute(self, request: muxado.CallRequest) -> bytes:
        self._begun += 1
        until = thread_time() + self._seconds
        while thread_time() < until:
            pass
        return request.payload

    async def _wait(self, request: muxado.CallRequest) -> bytes:
        self._begun += 1
        async with self._room:
            await anyio.sleep(ROOM * self._seconds)
        return request.payload

    async def begun(self) -> dict[str, Any]:
        """How many calls it has begun with since it was asked last."""
        begun, self._begun = self._begun, 0
        return {"begun": begun}


async def serve(work: Work) -> None:
    """Until standard input ends."""
    async with muxado.listen("tcp://127.0.0.1:0") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(muxado.serve_calls, listener.net_listener(), work.handler)
        say({"address": listener.url})
        await obey({"begun": work.begun})
        tasks.cancel_scope.cancel()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", choices=BACKENDS, default="asyncio")
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--work", type=float, required=True)
    asked = parser.parse_args()
    backend, options = BACKENDS[asked.loop]
    anyio.run(lambda: serve(Work(asked.kind, asked.work)), backend=backend, backend_options=options)


if __name__ == "__main__":
    main()

"""Sessions in programs that begin with ``asyncio.run``, not with ``anyio.run``.

anyio knows there which library it runs in by the current task, and the callbacks of a loop are in none.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

import muxado_py as muxado

if TYPE_CHECKING:
    from collections.abc import Callable

LOOPS = (asyncio.new_event_loop, uvloop.new_event_loop)


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["muxado", "yamux", "smux2"])
@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_listener_serves_streams(
    new_loop: Callable[[], asyncio.AbstractEventLoop], wire: str
) -> None:
    config = muxado.Config(wire=wire)

    async def echo(stream: muxado.Stream) -> None:
        await stream.send(await stream.receive())

    async def serve(session: muxado.Session) -> None:
        await session.net_listener().serve(echo)

    async def main() -> None:
        async with muxado.listen("tcp://127.0.0.1:0", config=config) as listener:
            serving = asyncio.create_task(listener.serve(serve))
            async with muxado.connect(listener.url, config=config) as session:
                for _ in range(3):
                    async with await session.open_stream() as stream:
                        await stream.send(b"hello")
                        assert await stream.receive() == b"hello"
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())

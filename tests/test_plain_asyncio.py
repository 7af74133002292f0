"""Sessions in programs that begin with ``asyncio.run``, not with ``anyio.run``.

anyio knows there which library it runs in by the current task, and the callbacks of a loop are in none.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import uvloop

import muxado_py as muxado
from muxado_py.cli.gateway import gateway
from muxado_py.cli.options import Address, Published

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

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


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_gateway_serves_its_callers(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def answer(stream: muxado.Stream) -> None:
        assert await stream.receive()
        await stream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        await stream.aclose()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            url, ports = await tasks.start(
                partial(gateway, ssl_context=None, limit=8, graceful_timeout=1),
                "tcp://127.0.0.1:0",
                [Published(Address("127.0.0.1", 0))],
                anyio.Event(),
            )
            async with muxado.connect(url) as session:
                tasks.start_soon(session.net_listener().serve, answer)
                reader, writer = await asyncio.open_connection("127.0.0.1", ports[0])
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                assert await reader.read() == b"HTTP/1.1 204 No Content\r\n\r\n"
                writer.close()
                tasks.cancel_scope.cancel()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(main(), 30))


# What asyncio cancels by its name, which no scope of anyio's holds back.


@pytest.mark.parametrize("kind", ["session", "pool"])
@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_time_out_while_a_block_is_being_left_is_a_time_out_and_nothing_else(
    new_loop: Callable[[], asyncio.AbstractEventLoop], kind: str
) -> None:
    """The scope outside fails else, because the session's is still the innermost."""
    over: Callable[[str], Any] = muxado.connect if kind == "session" else muxado.connect_pool

    async def read_nothing(session: muxado.Session) -> None:
        await anyio.sleep_forever()

    async def leave(url: str) -> None:
        async with over(url) as opener:
            stream = await opener.open_stream()
            await stream.send(bytes(300_000))
            await stream.aclose()
            left.set()  # now all is flushed that the peer has not read, for seconds

    async def main() -> None:
        async with muxado.listen("tcp://127.0.0.1:0") as listener:
            serving = asyncio.create_task(listener.serve(read_nothing))
            leaving = asyncio.create_task(within_a_scope(listener.url))
            await left.wait()
            for _ in range(10):
                await asyncio.sleep(0)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    async def within_a_scope(url: str) -> None:
        with anyio.CancelScope():
            await leave(url)

    left = asyncio.Event()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("new_loop", LOOPS)
def test_the_server_of_an_endpoint_that_cancels_its_task_has_it_cancelled(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """As hypercorn does when its grace is over: the task is the server's, not one of ours."""

    async def handler(session: muxado.Session) -> None:
        begun.set()
        await anyio.sleep_forever()

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"} if not begun.is_set() else await silence.get()

    async def send(message: MutableMapping[str, Any]) -> None:
        """Nobody reads it."""

    async def main() -> None:
        scope = {"type": "websocket", "path": "/", "headers": [], "extensions": {}}
        task = asyncio.create_task(muxado.asgi_endpoint(handler)(scope, receive, send))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    begun: asyncio.Event = asyncio.Event()
    silence: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(main(), 60))

"""A session that is used from another thread, or under another event loop, says so, and is none the worse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import fail_after, to_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import muxado_py as muxado

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

WAITING: dict[str, Callable[[muxado.Session, muxado.Stream], Awaitable[object]]] = {
    "open_stream": lambda session, stream: session.open_stream(),
    "accept_stream": lambda session, stream: session.accept_stream(),
    "send": lambda session, stream: stream.send(b"x"),
    "receive": lambda session, stream: stream.receive(),
    "send_eof": lambda session, stream: stream.send_eof(),
    "aclose of a stream": lambda session, stream: stream.aclose(),
    "ping": lambda session, stream: session.ping(),
    "wait_for_peer": lambda session, stream: session.wait_for_peer(1),
    "wait": lambda session, stream: session.wait(),
    "drain": lambda session, stream: session.drain(1),
    "aclose": lambda session, stream: session.aclose(),
}
AT_ONCE: dict[str, Callable[[muxado.Session], object]] = {
    "go_away": lambda session: session.go_away(),
    "abort": lambda session: session.abort(),
    "stop_accepting": lambda session: session.stop_accepting(),
}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", WAITING)
async def test_another_loop_in_another_thread_is_told(
    name: str, backend: str, session_pair: SessionPair
) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"first")
        far = await accepted.accept_stream()

        async def use() -> None:
            with fail_after(20):
                await WAITING[name](dialed, stream)

        def work() -> None:
            anyio.run(use, backend=backend)

        # A wait that is asyncio's own is refused in the words of the loop that it is given to.
        said = r"belongs to the event loop|different loop|some other framework"
        with pytest.raises((RuntimeError, TypeError), match=said):
            await to_thread.run_sync(work)
        with fail_after(10):
            assert not dialed.closed
            await far.send(b"answer")
            assert await stream.receive() == b"answer"
            await stream.send(b"more")
            await dialed.ping()


@pytest.mark.parametrize("name", AT_ONCE)
async def test_a_thread_without_a_loop_is_told(name: str, session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, _):
        with pytest.raises(RuntimeError, match="belongs to the event loop"):
            await to_thread.run_sync(AT_ONCE[name], dialed)
        assert not dialed.closed
        await dialed.ping()

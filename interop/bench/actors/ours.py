"""muxado_py, on asyncio, uvloop or trio: ``connect`` and ``listen`` as a user writes them.

Everything is at ``Config``'s defaults, except that ten thousand streams may be open.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from anyio import TASK_STATUS_IGNORED

import muxado_py as muxado

from .client import Muxer
from .stage import play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskStatus

    from .server import Answer

CONFIG = muxado.Config(max_streams=20_000)


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[Muxer]:
    """A session; a call is a stream."""
    async with muxado.connect(f"tcp://{address}", config=CONFIG) as session:
        yield Muxer(session.open_stream)


async def serve(answer: Answer, *, task_status: TaskStatus[str] = TASK_STATUS_IGNORED) -> None:
    """Each session that is dialed."""

    async def on_session(session: muxado.Session) -> None:
        await answer_all(session, answer)

    async with muxado.listen("tcp://127.0.0.1:0", config=CONFIG) as listener:
        task_status.started(listener.url.removeprefix("tcp://"))
        await listener.serve(on_session)


async def answer_all(session: muxado.Session, answer: Answer) -> None:
    """Each stream in its handler; where streams outlive that, they are accepted by hand."""
    if not answer.keeps:
        await session.net_listener().serve(answer)
        return
    with suppress(muxado.SessionClosedError):
        while True:
            await answer(await session.accept_stream())


if __name__ == "__main__":
    play(dial, serve)

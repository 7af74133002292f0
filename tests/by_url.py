"""Two sessions by URL: on asyncio and uvloop over the asyncio link, on trio over the generic one."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

import muxado_py as muxado

from .transports import tls_contexts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCHEMES = ("tcp", "tls", "unix")


@asynccontextmanager
async def sessions_by_url(
    config: muxado.Config | None = None,
    server_config: muxado.Config | None = None,
    *,
    scheme: str = "tcp",
    folder: Path = Path(),
) -> AsyncIterator[tuple[muxado.Session, muxado.Session]]:
    """The dialed session and the accepted one.

    :param folder: where a Unix socket may lie.
    """
    near_ssl, far_ssl = tls_contexts() if scheme == "tls" else (None, None)
    url = f"unix://{folder}/socket" if scheme == "unix" else f"{scheme}://127.0.0.1:0"
    accepted: list[muxado.Session] = []
    arrived, done = anyio.Event(), anyio.Event()

    async def handle(session: muxado.Session) -> None:
        accepted.append(session)
        arrived.set()
        await done.wait()

    async with (
        muxado.listen(url, config=server_config or config, ssl_context=far_ssl) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, handle)
        async with muxado.connect(listener.url, config=config, ssl_context=near_ssl) as dialed:
            await arrived.wait()
            try:
                yield dialed, accepted[0]
            finally:
                done.set()
        tasks.cancel_scope.cancel()

"""What tests of calls share: a session whose other side answers them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado

from .calling import upper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ..conftest import SessionPair


@pytest.fixture
def serving(session_pair: SessionPair) -> Any:
    """Sessions, of which the second answers calls: ``async with serving(handler) as (dialed, accepted)``."""

    @asynccontextmanager
    async def serve(
        handler: Callable[[muxado.CallRequest], Awaitable[bytes]] = upper,
        config: muxado.Config | None = None,
        **options: Any,
    ) -> AsyncIterator[tuple[muxado.Session, muxado.Session]]:
        async def run() -> None:
            await muxado.serve_calls(accepted.net_listener(), handler, **options)

        async with session_pair(config) as (dialed, accepted), anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            with anyio.fail_after(300):
                yield dialed, accepted
            tasks.cancel_scope.cancel()

    return serve

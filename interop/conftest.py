"""What the interop tests share: both event loops, the built peers, a session with one of them.

``MUXADO_INTEROP=require`` turns "no Go here" from a skip into a failure, for the runs that count.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal

import anyio
import pytest

import muxado_py as muxado

from .go_peer import GO_VERSIONS, GoPeer, GoToolchainError, build_go_peers, run_go_peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyio.abc import TaskStatus

PATIENCE = 30.0
"""Seconds for all a test does with one session; a hang fails it, nothing else comes near."""

LOOPBACK = "127.0.0.1:0"


@dataclass(frozen=True)
class Go:
    """One version of Go muxado, and which end of the session Python is."""

    program: Path
    python: Literal["client", "server"]

    @asynccontextmanager
    async def session(
        self, *flags: str, config: muxado.Config | None = None
    ) -> AsyncIterator[tuple[muxado.Session, GoPeer]]:
        """A session between us and a fresh Go peer, over TCP on loopback."""
        with anyio.fail_after(PATIENCE):
            if self.python == "client":
                async with (
                    run_go_peer(self.program, "-listen", LOOPBACK, *flags) as peer,
                    muxado.connect(f"tcp://{peer.address}", config=config) as session,
                ):
                    yield session, peer
            else:
                async with (
                    muxado.listen(f"tcp://{LOOPBACK}", config=config) as listener,
                    run_go_peer(
                        self.program, "-connect", listener.url.removeprefix("tcp://"), *flags
                    ) as peer,
                    one_session(listener) as session,
                ):
                    yield session, peer


@asynccontextmanager
async def one_session(listener: muxado.SessionListener) -> AsyncIterator[muxado.Session]:
    """The first session that arrives; ``serve`` closes it when this exits."""
    over = anyio.Event()

    async def serve(*, task_status: TaskStatus[muxado.Session]) -> None:
        async def hand_out(session: muxado.Session) -> None:
            task_status.started(session)
            await over.wait()
            await session.aclose()
            tasks.cancel_scope.cancel()

        await listener.serve(hand_out)

    async with anyio.create_task_group() as tasks:
        session = await tasks.start(serve)
        try:
            yield session
        finally:
            over.set()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def go_programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The built peers by version."""
    try:
        return build_go_peers(tmp_path_factory.mktemp("go"))
    except GoToolchainError as error:
        if os.environ.get("MUXADO_INTEROP") == "require":
            pytest.fail(f"MUXADO_INTEROP=require, but: {error}", pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(
    params=list(product(GO_VERSIONS, ("client", "server"))),
    ids=lambda param: f"{param[0]}-python_is_{param[1]}",
)
def go(request: pytest.FixtureRequest, go_programs: dict[str, Path]) -> Go:
    version, python = request.param
    return Go(go_programs[version], python)

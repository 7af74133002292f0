"""What the interop tests share: both event loops, the built puppets, a session with one of them.

A test that takes ``far`` runs for every peer of the table that can what the test ``needs``, with
Python as client and as server, on asyncio and on trio.

``MUXADO_INTEROP=require`` turns "no toolchain here" from a skip into a failure, for the runs that
count.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import anyio
import pytest

import muxado_py as muxado

from .peers import PEERS, Peer
from .puppet import Puppet, run_puppet
from .workshop import BUILD_TIMEOUT, ToolchainError, Workshop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyio.abc import TaskStatus

PATIENCE = 30.0
"""Seconds for all a test does with one session; a hang fails it, nothing else comes near."""

SHORT_PATIENCE = 3.0
"""The same where a documented fault of the peer is a hang."""

LOOPBACK = "127.0.0.1:0"

Role = Literal["client", "server"]
ROLES: tuple[Role, ...] = ("client", "server")


@dataclass(frozen=True)
class Far:
    """The far end: one peer, and which end of the session Python is."""

    peer: Peer
    program: Path
    python: Role
    patience: float
    """Seconds for all that happens in one session."""

    @asynccontextmanager
    async def session(
        self, *flags: str, **settings: Any
    ) -> AsyncIterator[tuple[muxado.Session, Puppet]]:
        """A session between us and a fresh puppet, over TCP on loopback.

        :param flags: more flags for its program.
        :param settings: more fields of our ``Config``.
        """
        config = muxado.Config(**self.peer.settings(**settings))
        with anyio.fail_after(self.patience):
            if self.python == "client":
                async with (
                    self.run("-listen", LOOPBACK, *flags) as peer,
                    muxado.connect(f"tcp://{peer.address}", config=config) as session,
                ):
                    yield session, peer
            else:
                async with (
                    muxado.listen(f"tcp://{LOOPBACK}", config=config) as listener,
                    self.run("-connect", listener.url.removeprefix("tcp://"), *flags) as peer,
                    one_session(listener) as session,
                ):
                    yield session, peer

    def run(self, *flags: str) -> Any:
        """The puppet alone, as an async context manager."""
        return run_puppet(self.program, *self.peer.flags, *flags)


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


# The matrix


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for long is the first, so that another worker's tests run meanwhile; and any test may build, or wait for it."""
    for one in items:
        if one.get_closest_marker("timeout") is None:
            one.add_marker(pytest.mark.timeout(2 * BUILD_TIMEOUT))
    items.sort(key=lambda one: one.get_closest_marker("waits") is None)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*abilities): the peers that a case makes sense for")
    config.addinivalue_line(
        "markers", "peers(*peers): the peers themselves, where it is about some"
    )
    config.addinivalue_line("markers", "roles(*roles): the ends that Python is; default both")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes ``far`` for each peer and role; faults of a peer are strict."""
    if "far" not in metafunc.fixturenames:
        return
    about = [peer for mark in metafunc.definition.iter_markers("peers") for peer in mark.args]
    needs = {ability for mark in metafunc.definition.iter_markers("needs") for ability in mark.args}
    roles = [role for mark in metafunc.definition.iter_markers("roles") for role in mark.args]
    case = metafunc.function.__name__
    params = []
    for peer, role in product(about or PEERS, roles or ROLES):
        if not needs <= peer.can:
            continue
        fault = peer.faults.get(case)
        marks = [pytest.mark.xfail(reason=fault, strict=True)] if fault else []
        params.append(pytest.param((peer, role), id=f"{peer.name}-python_is_{role}", marks=marks))
    metafunc.parametrize("far", params, indirect=True)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Builds the puppets, each once, whichever worker of pytest-xdist needs it first."""
    directory = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent  # which the workers share
    return Workshop(directory / "puppets")


@pytest.fixture
def far(request: pytest.FixtureRequest, workshop: Workshop) -> Far:
    peer, role = request.param
    request.node.user_properties.append(("peer", peer.name))
    try:
        program = workshop.program(peer.source)
    except ToolchainError as error:
        reason = f"{peer.name} cannot be built: {error}"
        if os.environ.get("MUXADO_INTEROP") == "require":
            pytest.fail(f"MUXADO_INTEROP=require, but {reason}", pytrace=False)
        pytest.skip(reason)
    expects_to_fail = request.node.get_closest_marker("xfail")
    return Far(peer, program, role, SHORT_PATIENCE if expects_to_fail else PATIENCE)


# The report


OUTCOMES = {
    "passed": "passed",
    "failed": "FAILED",
    "error": "ERRORS",
    "xfailed": "failed as its documented faults make them",
    "skipped": "skipped",
}


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each peer."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in OUTCOMES:
        for report in terminalreporter.stats.get(outcome, ()):
            for name, value in getattr(report, "user_properties", ()):
                if name == "peer":
                    counts[value][outcome] += 1
    if not counts:
        return
    terminalreporter.section("peers")
    for peer in PEERS:
        if peer.name in counts:
            outcomes = (f"{n} {OUTCOMES[it]}" for it, n in counts[peer.name].items())
            terminalreporter.write_line(f"{peer.name:36} {', '.join(outcomes)}")

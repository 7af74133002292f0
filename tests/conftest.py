"""Fixtures for every test: the backends, and two sessions over a transport in memory."""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import ssl
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import trustme
from hypothesis import settings

import muxado_py as muxado

from .by_url import TRANSPORTS, sessions_by_url
from .transports import memory_transports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


# An example may take as long as a machine with much to do takes for it.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of ``way`` trio has but one: it does not call back for sockets.  And what is dear runs on two loops."""
    items[:] = [one for one in items if not (_calls_back_on_trio(one) or _is_one_loop_more(one))]


def _params(item: pytest.Item) -> dict[str, Any]:
    callspec = getattr(item, "callspec", None)
    return {} if callspec is None else callspec.params


def _calls_back_on_trio(item: pytest.Item) -> bool:
    params = _params(item)
    return params.get("way") == "callbacks" and params["anyio_backend"][0] == "trio"


def _is_one_loop_more(item: pytest.Item) -> bool:
    """On uvloop, by a transport of which asyncio and trio have the two ways: what differs there is below."""
    params = _params(item)
    is_further = params.get("carried_by") in TRANSPORTS
    return is_further and params["anyio_backend"][1].get("use_uvloop", False)


def pytest_collection_finish() -> None:
    """What is here now stays until the end: the tests' own collections need not walk over it, over 7,000 tests above all."""
    gc.collect()
    gc.freeze()


_finished = itertools.count(1)


def pytest_runtest_logfinish() -> None:
    """What pytest keeps of each test, some fifty objects, would be walked over too: after thousands of them that took longer than the tests."""
    if next(_finished) % 100 == 0:
        gc.collect()
        gc.freeze()


def pytest_sessionfinish() -> None:
    """Hypothesis asks the collector who refers to what, when it is imported for the summary."""
    gc.unfreeze()


class SessionPair(Protocol):
    """Makes two connected sessions: ``async with session_pair() as (dialed, accepted)``."""

    def __call__(
        self,
        config: muxado.Config | None = None,
        server_config: muxado.Config | None = None,
    ) -> AbstractAsyncContextManager[tuple[muxado.Session, muxado.Session]]: ...


def unhurried() -> asyncio.AbstractEventLoop:
    """A loop whose debugging does not log what took long: a machine with much to do is no fault of ours.

    Nor does it note where each future and callback comes from, which it does if ``get_debug`` says so: a stack
    with its lines for each was most of what a test on this loop took.  What it checks, it checks.
    """
    loop = asyncio.new_event_loop()
    loop.slow_callback_duration = math.inf
    loop.get_debug = lambda: False  # type: ignore[method-assign]
    return loop


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"debug": True, "loop_factory": unhurried}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Each asynchronous test runs on each of these."""
    backend: tuple[str, dict[str, Any]] = request.param
    return backend


@pytest.fixture(params=["callbacks", "tasks"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How bytes get from a socket to a stream and back, for tests that hold for both ways."""
    way: str = request.param
    if way == "tasks":
        monkeypatch.setattr("muxado_py.runtime.checkpoints.READERS", _NoReaders())
    return way


class _NoReaders(dict[type, bool]):
    """No loop calls back for sockets, as asyncio's on Windows."""

    def get(self, kind: type, default: Any = None) -> bool:
        return False


LINKS = ("memory", "sockets")
"""What ``carried_by`` may be: the generic link, and that which ``connect`` and ``listen`` choose over TCP."""

CARRIERS = (*LINKS, *(transport for transport in TRANSPORTS if transport != "tcp"))
"""Or whatever else carries a session."""


@pytest.fixture
def carried_by() -> str:
    """What carries a session pair; modules whose tests are for every link override it."""
    return "memory"


@pytest.fixture
def session_pair(carried_by: str, tmp_path: Path) -> SessionPair:
    """Two sessions over one connection, closed with the context."""
    if carried_by != "memory":
        scheme = "tcp" if carried_by == "sockets" else carried_by
        return partial(sessions_by_url, scheme=scheme, folder=tmp_path)

    @asynccontextmanager
    async def make(
        config: muxado.Config | None = None, server_config: muxado.Config | None = None
    ) -> AsyncIterator[tuple[muxado.Session, muxado.Session]]:
        near, far = memory_transports()
        async with (
            muxado.client(near, config) as dialed,
            muxado.server(far, server_config or config) as accepted,
        ):
            yield dialed, accepted

    return make


@pytest.fixture(scope="session")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for a server called ``app``, and for a client that trusts it."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("app").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client

"""Sessions inside websockets with what people have: Go's two libraries with yamux in them, and nginx or haproxy before the server."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest
from anyio import create_task_group, fail_after

import muxado_py as muxado
from tests.check_byte_stream import receive_all

from .browser import may_fetch
from .networks import FRONTS
from .test_networks import anyio_backend, program
from .workshop import GoSource, ToolchainError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from .workshop import Workshop

    Front = Callable[..., AbstractContextManager[int]]

__all__ = ("anyio_backend",)

pytestmark = pytest.mark.anyio

SOURCE = GoSource("websocket", "github.com/coder/websocket@v1.8.15")
LIBRARIES = ("coder", "gorilla")
WIRES = ("muxado", "yamux", "smux2")
YAMUX = muxado.Config(wire="yamux")
SHOWN = {"Authorization": "Bearer secret"}
QUESTION = bytes(range(256)) * 1000


@pytest.fixture
def go(workshop: Workshop) -> str:
    """The program; see its source."""
    try:
        return str(workshop.program(SOURCE))
    except ToolchainError as error:
        if may_fetch():
            pytest.fail(f"MUXADO_INTEROP=require, but {error}", pytrace=False)
        pytest.skip(str(error))


@contextmanager
def running_go(*command: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return (await anyio.to_thread.run_sync(process.stdout.readline)).strip()


async def echo(session: muxado.Session) -> None:
    async def answer(stream: muxado.Stream) -> None:
        async with stream:
            await stream.send(await receive_all(stream))

    await session.net_listener().serve(answer)


async def ask(session: muxado.Session) -> None:
    async with await session.open_stream() as stream:
        await stream.send(QUESTION)
        await stream.send_eof()
        assert await receive_all(stream) == QUESTION


async def talk(session: muxado.Session, peer_is_done: Any) -> None:
    """Both sides ask and answer, many at once, until both have their answers."""
    async with create_task_group() as tasks:
        tasks.start_soon(echo, session)
        async with create_task_group() as asking:
            for _ in range(20):
                asking.start_soon(ask, session)
        await peer_is_done()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def listening(
    handler: Any, config: muxado.Config = YAMUX, patience: float = 60
) -> AsyncIterator[str]:
    """The URL of a listener that asks for a token, for so many seconds."""

    def check(request: muxado.WebSocketRequest) -> int | None:
        return None if request.bearer_token == "secret" else 401

    url = "ws://127.0.0.1:0/tunnel"
    with fail_after(patience):
        async with (
            muxado.listen(url, config=config, check_request=check) as listener,
            create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, handler)
            yield listener.url
            tasks.cancel_scope.cancel()


def port_of(url: str) -> int:
    return int(url.split(":")[2].partition("/")[0])


@pytest.mark.parametrize("library", LIBRARIES)
async def test_go_dials(go: str, library: str) -> None:
    done = anyio.Event()

    async def handle(session: muxado.Session) -> None:
        await talk(session, done.wait)

    async with listening(handle) as url:
        with running_go(go, "-library", library, "-dial", url, "-token", "secret") as process:
            assert await line_of(process) == "done"
            done.set()


@pytest.mark.parametrize("library", LIBRARIES)
async def test_go_listens(go: str, library: str) -> None:
    flags = ("-library", library, "-listen", "127.0.0.1:0", "-token", "secret")
    with fail_after(60), running_go(go, *flags) as process:
        url = f"ws://{(await line_of(process)).removeprefix('listening ')}/"
        with pytest.raises(muxado.UpgradeRefusedError, match="answered 401 Unauthorized"):
            async with muxado.connect(url, config=YAMUX):
                pytest.fail("was let in")
        async with muxado.connect(url, config=YAMUX, headers=SHOWN) as session:

            async def peer_is_done() -> None:
                assert await line_of(process) == "done"

            await talk(session, peer_is_done)


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest, workshop: Workshop, tmp_path: Path) -> Front:
    """Of each kind; see :func:`.networks.running_nginx`."""
    return partial(FRONTS[request.param], program(request.param, workshop), tmp_path)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_go_dials_through_a_proxy(go: str, library: str, front: Front) -> None:
    done = anyio.Event()

    async def handle(session: muxado.Session) -> None:
        await talk(session, done.wait)

    async with listening(handle) as url:
        with front(port_of(url)) as port:
            there = f"ws://127.0.0.1:{port}/tunnel"
            with running_go(go, "-library", library, "-dial", there, "-token", "secret") as process:
                assert await line_of(process) == "done"
                done.set()


@pytest.mark.parametrize("wire", WIRES)
async def test_a_session_outlives_what_a_proxy_allows_to_be_silent(wire: str, front: Front) -> None:
    """Two seconds, here; a heartbeat each half a second keeps it."""
    config = muxado.Config(wire=wire, heartbeat_interval=0.5, heartbeat_timeout=2)
    async with listening(muxado.Session.wait, config) as url:
        with front(port_of(url), 2) as port:
            there = f"ws://127.0.0.1:{port}/tunnel"
            async with muxado.connect(there, config=config, headers=SHOWN) as session:
                with anyio.move_on_after(5):
                    await session.wait()
                    pytest.fail("it ended")
            with pytest.raises(muxado.UpgradeRefusedError, match="answered 401 "):
                async with muxado.connect(there, config=config):
                    pytest.fail("was let in")


@pytest.mark.waits
@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
async def test_an_idle_session_outlives_a_minute_of_silence_at_each_proxy(
    workshop: Workshop, tmp_path: Path
) -> None:
    """With our defaults and theirs: when what has no heartbeats was ended, what has them goes on."""
    commands = {name: program(name, workshop) for name in FRONTS}
    defaults, silent = (
        muxado.Config(wire="auto"),
        muxado.Config(wire="auto", heartbeat_interval=None),
    )
    async with listening(echo, defaults, 150) as url, listening(echo, silent, 150) as silent_url:
        with ExitStack() as stack:

            def before(name: str, url: str) -> str:
                folder = tmp_path / f"{name}{port_of(url)}"
                folder.mkdir()
                running = FRONTS[name](commands[name], folder, port_of(url))
                return f"ws://127.0.0.1:{stack.enter_context(running)}/tunnel"

            async with create_task_group() as tasks:
                for name in FRONTS:
                    urls = before(name, url), before(name, silent_url)
                    for wire in WIRES:
                        tasks.start_soon(outlive_the_silent, *urls, wire)


async def outlive_the_silent(url: str, silent_url: str, wire: str) -> None:
    def dial(url: str, **settings: Any) -> Any:
        config = muxado.Config(wire=wire, half_close=True, **settings)
        return muxado.connect(url, config=config, headers=SHOWN)

    async with dial(url) as session:
        await ask(session)
        async with dial(silent_url, heartbeat_interval=None) as silent:
            await ask(silent)
            with suppress(muxado.TransportError):  # an end without a goodbye is none of smux's
                await silent.wait()
        await ask(session)


async def test_what_a_proxy_says_of_a_server_that_is_gone(front: Front) -> None:
    with (
        front(1) as port,
        pytest.raises(muxado.UpgradeRefusedError, match=r"answered 50[23] ") as caught,
    ):
        async with muxado.connect(f"ws://127.0.0.1:{port}/tunnel"):
            pytest.fail("connected")
    assert caught.value.status in (502, 503)

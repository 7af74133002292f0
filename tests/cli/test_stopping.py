"""How ``muxado serve`` ends when the application has its own idea of that."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import pytest

import muxado_py as muxado

from .apps import LARGE
from .processes import Running, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The caller's; the loop under test is the process's."""
    return "asyncio"


@asynccontextmanager
async def asked(app: str, *options: str) -> AsyncIterator[tuple[Running, muxado.Stream]]:
    """A process that serves ``app`` and has begun to answer the stream."""
    arguments = ("--listen", "tcp://127.0.0.1:0", *options)
    with (
        running("serve", f"tests.cli.stubborn:{app}", *arguments) as process,
        # A process that is gone takes no goodbye of its caller, who hears of that.
        suppress(muxado.SessionError),
    ):
        async with muxado.connect(process.wait_for(r"listening on (\S+)")) as session:
            stream = await session.open_stream()
            await stream.send(b"GET / HTTP/1.1\r\nhost: app\r\n\r\n")
            seen = b""
            while b"e" not in seen.partition(b"\r\n\r\n")[2]:
                seen += await stream.receive()
            yield process, stream


@pytest.mark.slow
@pytest.mark.parametrize(
    ("app", "loop"),
    [
        ("swallowing", "asyncio"),
        ("swallowing", "uvloop"),
        ("swallowing", "trio"),
        ("stuck", "asyncio"),
        ("stuck", "trio"),
    ],
)
async def test_a_second_signal_ends_it_though_the_application_does_not_notice(
    app: str, loop: str
) -> None:
    async with asked(app, "--loop", loop, "--timeout-graceful-shutdown", "1h") as (process, _):
        process.send(signal.SIGTERM)
        process.wait_for("SIGTERM: (stopping)")
        assert process.end(signal.SIGTERM) == 128 + signal.SIGTERM


@pytest.mark.slow
async def test_who_replaced_uvicorns_signal_handler_hears_of_the_shutdown() -> None:
    answer, code = b"", None
    async with asked("events", "--timeout-graceful-shutdown", "1h") as (process, stream):
        process.send(signal.SIGTERM)
        answer = b"".join([piece async for piece in stream])
        code = process.wait()
    assert answer.endswith(b"bye\n\r\n0\r\n\r\n")  # a whole answer, chunked
    assert code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("app", "loop"),
    [
        ("starlette_app", "asyncio"),
        ("starlette_app", "uvloop"),
        ("starlette_app", "trio"),
        ("flask_app", "asyncio"),
        ("flask_app", "trio"),
    ],
)
async def test_an_answer_that_is_read_slowly_is_whole_though_the_server_is_done_with_it(
    app: str, loop: str
) -> None:
    arguments = ("--listen", "tcp://127.0.0.1:0", "--loop", loop)
    with running("serve", f"tests.cli.apps:{app}", *arguments) as process:
        config = muxado.Config(max_stream_window=0)
        url = process.wait_for(r"listening on (\S+)")
        async with muxado.connect(url, config=config) as session:
            stream = await session.open_stream()
            await stream.send(b"GET /large HTTP/1.1\r\nhost: app\r\n\r\n")
            answer = await stream.receive(1)
            process.send(signal.SIGTERM)
            with anyio.move_on_after(2):  # in which the server ends, and nothing else
                await session.wait()
            answer += b"".join([piece async for piece in stream])
        code = process.wait()
    assert len(answer.partition(b"\r\n\r\n")[2]) == LARGE
    assert code == 0

"""A client that has left holds no stream, however long the server would have kept its connection, and is no error in a log."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import anycorn
import anyio
import pytest
import uvicorn
from anyio.abc import Listener

from muxado_py.integrations import serve_asgi, serve_wsgi

from ..helpers.broken_off import broken_off
from .apps import AsgiApp, WsgiApp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from anyio.abc import ByteStream, TaskGroup

    import muxado_py as muxado

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

FOREVER = 3600
REQUEST = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n"


def _uvicorn() -> partial[Coroutine[Any, Any, None]]:
    app = AsgiApp().asgi
    config = uvicorn.Config(app, log_config=None, timeout_keep_alive=FOREVER)
    return partial(serve_asgi, app, config=config)


def _anycorn() -> partial[Coroutine[Any, Any, None]]:
    config = anycorn.Config()
    config.keep_alive_timeout = FOREVER
    return partial(serve_asgi, AsgiApp().asgi, server="anycorn", config=config)


def _waitress() -> partial[Coroutine[Any, Any, None]]:
    return partial(serve_wsgi, WsgiApp(), channel_timeout=FOREVER)


@pytest.fixture(params=["uvicorn", "anycorn", "waitress"])
def serve(
    request: pytest.FixtureRequest, anyio_backend: tuple[str, object]
) -> Callable[..., Coroutine[Any, Any, None]]:
    """Each server, told to keep its connections for an hour."""
    if request.param == "uvicorn" and anyio_backend[0] == "trio":
        pytest.skip("uvicorn is asyncio's")
    return {"uvicorn": _uvicorn, "anycorn": _anycorn, "waitress": _waitress}[request.param]()


async def _answer(stream: muxado.Stream) -> None:
    await stream.send(REQUEST)
    answer = b""
    while not answer.endswith(b"hello"):
        answer += await stream.receive()


async def _say_nothing_and_end(stream: muxado.Stream) -> None:
    await stream.send_eof()
    await _end(stream)


async def _ask_and_close(stream: muxado.Stream) -> None:
    await _answer(stream)
    await stream.aclose()


async def _ask_and_reset(stream: muxado.Stream) -> None:
    await _answer(stream)
    stream.reset()


async def _ask_and_end(stream: muxado.Stream) -> None:
    await _answer(stream)
    await stream.send_eof()
    await _end(stream)


async def _end(stream: muxado.Stream) -> None:
    with pytest.raises(anyio.EndOfStream):
        await stream.receive()
    await stream.aclose()


@pytest.mark.parametrize(
    "leave", [_say_nothing_and_end, _ask_and_close, _ask_and_reset, _ask_and_end]
)
async def test_its_stream_is_free(
    session_pair: SessionPair,
    serve: Callable[..., Coroutine[Any, Any, None]],
    leave: Callable[[muxado.Stream], Awaitable[None]],
) -> None:
    with anyio.fail_after(20):
        async with session_pair() as (serving, calling), anyio.create_task_group() as tasks:
            await tasks.start(serve, serving.net_listener())
            for _ in range(3):
                await leave(await calling.open_stream())
            while serving.statistics().peer_streams:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()


class _Listener(Listener["ByteStream"]):
    """Gives one stream after the other, when the one before is done with, and then ends."""

    def __init__(self, *streams: ByteStream) -> None:
        self._streams = streams

    async def serve(
        self, handler: Callable[[ByteStream], Any], task_group: TaskGroup | None = None
    ) -> None:
        for stream in self._streams:
            await handler(stream)

    async def aclose(self) -> None:
        """There is nothing to close."""


async def test_one_that_broke_off_before_it_is_served_is_no_error(
    serve: Callable[..., Coroutine[Any, Any, None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of a connection of anyio's own, as TLS has it behind a handshake."""
    async with broken_off() as one, broken_off() as other:
        with anyio.fail_after(20), caplog.at_level(logging.WARNING):
            await serve(_Listener(one, other))
    assert not caplog.records

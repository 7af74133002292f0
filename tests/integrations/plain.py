"""The servers without us: what uvicorn, anycorn and waitress answer on a TCP socket of their own.

A test that serves the same application both ways asserts that the answers are the same, which no version of
a server makes untrue.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anycorn
import anyio
import uvicorn
import waitress  # type: ignore[import-untyped]
from anyio import to_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("ask", "plain_anycorn", "plain_uvicorn", "plain_waitress")

PATIENCE = 30


@contextmanager
def plain_uvicorn(app: Any, **options: Any) -> Iterator[int]:
    """The port where uvicorn serves ``app``, on asyncio, in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, **options))

    def stop() -> None:
        server.should_exit = True

    with _listening() as listener, _running(partial(server.run, sockets=[listener]), stop):
        yield listener.getsockname()[1]


@contextmanager
def plain_anycorn(app: Any, **options: Any) -> Iterator[int]:
    """The port where anycorn serves ``app``, on trio, in a thread."""
    with _listening() as listener:
        config = anycorn.Config.from_mapping(
            bind=f"fd://{os.dup(listener.fileno())}",
            errorlog=logging.getLogger("anycorn.error"),
            **options,
        )
        stopped = threading.Event()

        async def until_stopped() -> None:
            await to_thread.run_sync(stopped.wait)

        serve = partial(anycorn.serve, app, config, shutdown_trigger=until_stopped)
        with _running(partial(anyio.run, serve, backend="trio"), stopped.set):
            yield listener.getsockname()[1]


@contextmanager
def plain_waitress(app: Any, **settings: Any) -> Iterator[int]:
    """The port where waitress serves ``app``, in a thread."""
    with _listening() as listener:
        server = waitress.create_server(app, sockets=[listener], **settings)

        def stop() -> None:
            server.task_dispatcher.shutdown()
            server.trigger.pull_trigger(close)

        def close() -> None:
            for dispatcher in list(server._map.values()):
                dispatcher.close()

        with _running(server.run, stop):
            yield listener.getsockname()[1]


def ask(port: int, request: bytes, *, half_close: bool = False) -> bytes:
    """All that is answered to ``request`` on a connection of its own, until the server closes it."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(request)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


@contextmanager
def _listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@contextmanager
def _running(run: Callable[[], object], stop: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()

"""An ASGI application on a listener: ``serve_asgi``, whichever event loop runs.

What it is.  The choice of a server.  uvicorn is the fast one and knows only asyncio (and uvloop);
anycorn speaks anyio, so trio too, and HTTP/2.  Both are optional libraries, found when needed.

The rule.  A server's own ``Config`` is taken as it is, so that no option of it is hidden here; what
this package must decide itself (who accepts, how it ends) are the parameters.

The trap.  "Which event loop" must be asked of the running task.  ``trio`` being installed says
nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import anyio

from ..arguments import check_able
from ..runtime.extras import require
from .loading import load_app
from .serving import check_timeouts

if TYPE_CHECKING:
    from anyio.abc import ByteStream, Listener, TaskStatus

__all__ = ("serve_asgi",)


async def serve_asgi(
    app: Any,
    listener: Listener[ByteStream],
    *,
    server: Literal["auto", "uvicorn", "anycorn"] = "auto",
    config: Any = None,
    graceful_timeout: float = 10.0,
    first_byte_timeout: float | None = 10.0,
    ends_process: bool = False,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application to whoever opens streams; returns when ``listener`` has ended.

    HTTP/1.1 and websockets, each stream a connection.  The listener is closed at the end.  The scope's
    ``client`` and ``server`` are the addresses of the session; over a Unix socket there is no client.  Where a gateway
    that was dialed says who calls, the client is that caller (``Config.trust_caller``).

    A caller that closes its sending half after the request is answered as on a kernel's socket: by
    anycorn always, by uvicorn only if the application never waits before it answers (uvicorn takes the
    end of file for a client that went away, and drops what is sent to it).

    Where whoever opened a stream says how long it waits, as ``httpx_client`` does for a request with a deadline, the application is
    cancelled when that is over, until its answer is complete; if it has not begun, the answer is 504.  The moment stands in
    ``scope["extensions"]["muxado"]["deadline"]``, by ``anyio.current_time()``.  It is said of the first request of a stream, and no
    field of a request can say it.

    :param app: the application, or its name as ``"module:attribute"``.
    :param listener: usually ``session.net_listener()``; any anyio listener of byte streams works.
    :param server: ``"auto"`` takes uvicorn under asyncio and anycorn under trio.
    :param config: a ``uvicorn.Config`` or ``anycorn.Config``.  Its application, addresses, TLS and
        graceful time-out are ignored.  Without one, the server's defaults hold, except that
        logging is left alone and that uvicorn runs each request in an empty context
        (``reset_contextvars``).
    :param graceful_timeout: seconds that requests in flight have at the end before their streams
        are reset; the lifespan's shutdown has as long after that.
    :param first_byte_timeout: seconds in which an accepted stream must send its first byte; None
        for no limit.
    :param ends_process: the process ends with the server: libraries that replace uvicorn's signal
        handler to hear of that (sse-starlette, to end its streams) are told when serving ends.  What
        they were told holds for every later server of the process.
    :param task_status: started when the application's lifespan has.
    :raises TypeError: if ``listener`` is none, ``config`` is of the other server, or a time-out no number.
    :raises ValueError: for another ``server``, or a time-out below 0; the listener stays open then.
    :raises StartupError: if the application cannot be found or its lifespan start-up failed.
    :raises MissingExtraError: if the server is not installed.
    :raises SessionError: if the session ended without a goodbye.

    Cancellation: stops accepting, lets requests in flight finish within ``graceful_timeout``, and
    runs the lifespan's shutdown, before it is raised.
    """
    check_able(
        "listener", listener, "a listener of streams, as session.net_listener()", "serve", "aclose"
    )
    check_timeouts(graceful_timeout, first_byte_timeout)
    if server not in ("auto", "uvicorn", "anycorn"):
        raise ValueError(f"server must be 'auto', 'uvicorn' or 'anycorn', got {server!r}")
    if server == "auto":
        server = "uvicorn" if _on_asyncio() else "anycorn"
    elif server == "uvicorn" and not _on_asyncio():
        raise RuntimeError("uvicorn runs on asyncio only; under trio use server='anycorn'")
    require(server, server)
    if server == "uvicorn":
        from ._uvicorn import serve
    else:
        from ._anycorn import serve
    try:
        await serve(
            load_app(app),
            listener,
            config=config,
            graceful_timeout=graceful_timeout,
            first_byte_timeout=first_byte_timeout,
            ends_process=ends_process,
            task_status=task_status,
        )
    finally:
        with anyio.CancelScope(shield=True):
            await listener.aclose()


def _on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

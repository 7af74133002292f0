"""A WSGI application on a listener: ``serve_wsgi``, with waitress behind a pair of sockets.

What it is.  waitress is the WSGI server that gets the hard parts right (streaming, large uploads,
a client that goes away) and that runs beside any event loop, because it brings its own threads.  It
wants sockets; each stream is bridged to one end of a pair, and waitress gets the other.

Where data comes from and goes to.  stream -> :func:`.bridge` -> socket pair -> waitress's loop, in
a worker thread -> the application, in one of waitress's own.

The rule.  Who calls, and what was called, the environ says from the addresses of the stream, as
PEP 3333 wants it; what nobody knows is not in it.

The traps.  waitress buffers 16 MiB of a response before it notices that nobody reads.  Here that is
``outbuf_high_watermark``, which is also how late a generator learns that its client is gone.  And a pair is two
file descriptors: a stream for which none are left is refused, since nobody has looked at it.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio

from ..arguments import check_able, check_whole
from ..links.attributes import attributes_of
from ..runtime.extras import require
from ..session.bridge import bridge, socket_pair
from .addresses import client_address, server_address
from .forwarded import ForwardedHeaders, TrustedPeers
from .loading import load_app
from .serving import Connections, check_timeouts, turn_away
from .time_left import time_left

if TYPE_CHECKING:
    from anyio.abc import ByteStream, Listener, TaskStatus

    from ._waitress import Waitress

__all__ = ("serve_wsgi",)

_POLL = 0.05  # seconds between looks for connections that have become idle, while draining
_PROXY_SETTINGS = {"trusted_proxy", "clear_untrusted_proxy_headers"}


async def serve_wsgi(
    app: Any,
    listener: Listener[ByteStream],
    *,
    threads: int = 8,
    outbuf_high_watermark: int = 256 * 1024,
    forwarded_allow_ips: str | None = None,
    access_log: bool = True,
    limit_concurrency: int | None = None,
    graceful_timeout: float = 10.0,
    first_byte_timeout: float | None = 10.0,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    **adjustments: Any,
) -> None:
    """Serve a WSGI application to whoever opens streams; returns when ``listener`` has ended.

    HTTP/1.1, each stream a connection.  Works under asyncio and trio.  The listener is closed at the
    end.  ``REMOTE_ADDR``, ``REMOTE_PORT``, ``SERVER_NAME`` and ``SERVER_PORT`` are the addresses of the
    session; where it has none (a Unix socket) the first two are absent and the others ``localhost``
    and ``80``.  Where a gateway that was dialed says who calls, the first two are that caller's
    (``Config.trust_caller``).  Where whoever opened a stream says how long it waits, ``muxado.deadline`` is the moment at which
    that is over, by ``time.monotonic()``; a request for which no thread was free until then is answered with 504, and the
    application not called.  It is said of the first request of a stream.

    :param app: the application, or its name as ``"module:attribute"``.
    :param listener: usually ``session.net_listener()``; any anyio listener of byte streams works.
    :param threads: how many requests run at once.
    :param outbuf_high_watermark: bytes of a response that may wait for a slow reader before the
        application's thread does.
    :param forwarded_allow_ips: the peers of the session whose X-Forwarded-For and -Proto to believe, as
        uvicorn has it: addresses and networks with commas between, or ``*`` for all.  From others all
        X-Forwarded headers, and Forwarded, are taken out.  Default: nobody.  Where a gateway says who calls, the peer is
        that caller: ``Config(trust_caller=False)`` for the session makes it the gateway.
    :param access_log: whether each answer is a record of level INFO of the logger ``muxado.access``.
    :param limit_concurrency: connections, or requests, from which on requests are answered with 503;
        uvicorn's meaning, so the connection that asks is counted.  None for no limit.
    :param graceful_timeout: seconds that requests in flight have at the end before their streams
        are reset.  A thread that is stuck in the application is left behind.
    :param first_byte_timeout: seconds in which an accepted stream must send its first byte; None
        for no limit.
    :param task_status: started when streams are accepted.
    :param adjustments: further settings of waitress, under its own names; with ``trusted_proxy`` or
        ``clear_untrusted_proxy_headers`` the forwarded headers are waitress's business.
    :raises TypeError: if ``listener`` is none, or a time-out, ``threads`` or ``limit_concurrency`` no number.
    :raises ValueError: if one of them is out of its range; the listener stays open then.
    :raises StartupError: if the application cannot be found.
    :raises ValueError: if waitress has no such setting, or both it and ``forwarded_allow_ips`` are to say
        who is trusted.
    :raises MissingExtraError: if waitress is not installed.
    :raises SessionError: if the session ended without a goodbye.

    Cancellation: stops accepting, lets requests in flight finish within ``graceful_timeout``, and
    is raised after that.
    """
    check_able(
        "listener", listener, "a listener of streams, as session.net_listener()", "serve", "aclose"
    )
    check_timeouts(graceful_timeout, first_byte_timeout)
    check_whole("threads", threads, 1, 2**16)
    if limit_concurrency is not None:
        check_whole("limit_concurrency", limit_concurrency, 1, 2**31)
    require("waitress", "wsgi")
    from ._waitress import Waitress

    try:
        settings = {
            "threads": threads,
            "outbuf_high_watermark": outbuf_high_watermark,
            "asyncore_use_poll": True,  # select() ends at 1024 sockets
            **adjustments,
        }
        app = _with_forwarded(load_app(app), forwarded_allow_ips, settings)
        await _serve(
            Waitress(app, settings, access_log=access_log, limit_concurrency=limit_concurrency),
            listener,
            graceful_timeout=graceful_timeout,
            first_byte_timeout=first_byte_timeout,
            task_status=task_status,
        )
    finally:
        with anyio.CancelScope(shield=True):
            await listener.aclose()


def _with_forwarded(app: Any, trusted: str | None, settings: dict[str, Any]) -> Any:
    """``app``, with the forwarded headers either our business or that of waitress."""
    waitress_does = sorted(_PROXY_SETTINGS & settings.keys())
    if not waitress_does:
        settings["clear_untrusted_proxy_headers"] = False
        return ForwardedHeaders(app, TrustedPeers(trusted or ""))
    if trusted is not None:
        raise ValueError(
            f"forwarded_allow_ips and waitress's own {' and '.join(waitress_does)} both say whose "
            "forwarded headers to believe; give one of them"
        )
    return app


async def _serve(
    server: Waitress,
    listener: Listener[ByteStream],
    *,
    graceful_timeout: float,
    first_byte_timeout: float | None,
    task_status: TaskStatus[None],
) -> None:
    from ._waitress import Origin

    failure: Exception | None = None

    async def serve_stream(stream: ByteStream) -> None:
        try:
            ours, theirs = socket_pair()
        except OSError as exc:  # no file descriptor is left
            await turn_away(stream, exc)
            return
        attributes, left = attributes_of(stream), time_left(stream)
        origin = Origin(
            client_address(attributes),
            server_address(attributes),
            None if left is None else monotonic() + left,
        )
        server.connect(theirs, origin)
        await bridge(ours, stream, ends_with_a=True)

    async def finish() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_close_idle, server)
            await connections.drained()
            tasks.cancel_scope.cancel()

    connections = Connections(
        serve_stream, graceful_timeout=graceful_timeout, first_byte_timeout=first_byte_timeout
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run)
        task_status.started()
        try:
            await connections.serve(listener, anyio.sleep_forever, finish)
        except Exception as exc:  # noqa: BLE001 - raised below, out of the group
            failure = exc
        finally:
            with anyio.CancelScope(shield=True):
                await server.stop()
    if failure is not None:
        raise failure


async def _close_idle(server: Waitress) -> None:
    """Close connections between requests, for as long as others still work on theirs."""
    while True:
        await anyio.sleep(_POLL)
        server.close_idle()

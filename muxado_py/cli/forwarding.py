"""``muxado forward``: a local address whose callers are led through a gateway, to the agents of a name.

What it is.  The side of a caller that cannot reach a door of the gateway's, but the gateway itself: it dials a session,
says which name it calls (:mod:`.agents.registration`), and each connection to the local address becomes a stream.

The rules.  Nobody is kept waiting for longer than :data:`SESSION_TIMEOUT` for a session; then the connection is broken
off, as it is where no agent serves the name.  A lost session is dialed again, as with agents.  A gateway that ends asks to
move: who comes then goes by the new session, who is there stays.

The trap.  What comes of a caller is the gateway's to say, and it says it to those who speak HTTP; others see the end of
their connection.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
from anyio.abc import SocketAttribute, SocketListener

import muxado_py as muxado

from ..dialing.unix_paths import UnixPath
from ..service.causes import reason
from ..session.bridge import forward as forward_connections
from .options import UnixAddress
from .running import NotStarted
from .serving.dialing import Uplink
from .serving.registering import introduced

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from anyio.abc import Listener, SocketStream, TaskStatus

    from ..dialing.proxies import Proxy
    from .agents.registration import Call
    from .options import Address
    from .trust.shown_token import ShownToken

__all__ = ("ForwardOptions", "forward")

logger = logging.getLogger("muxado.cli")

SESSION_TIMEOUT = 5.0
"""Seconds that a connection waits for a session: those of a gateway that starts anew."""


class ForwardOptions(NamedTuple):
    """What ``muxado forward`` was asked for."""

    local: Address | UnixAddress
    connect: tuple[str, ...]
    """Gateways, one of which is dialed."""
    call: Call
    ssl_context: ssl.SSLContext | None
    graceful_timeout: float
    max_retries: int | None
    wire: str
    """``Config.wire``."""
    token: ShownToken | None = None
    """What is shown with the call."""
    proxy: Proxy | str | None = None
    """What the gateway is dialed through, see :func:`muxado_py.connect`."""


async def forward(
    options: ForwardOptions,
    stop: anyio.Event,
    *,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Lead the callers of the local address to the gateway until ``stop`` is set.

    :param task_status: started with the local port; 0 for a Unix socket.
    :raises NotStarted: if the address cannot be listened on, or the gateway never answered.
    :raises ConnectionLost: if there is no more session and no more attempt.

    Cancellation: everything is cut off.
    """
    uplink = Uplink(
        options.connect,
        stop,
        config=muxado.Config(wire=options.wire),
        ssl_context=options.ssl_context,
        proxy=options.proxy,
        max_retries=options.max_retries,
        greet=partial(_call, options),
    )
    address, path = options.local, None
    listener: Listener[SocketStream]
    try:
        if isinstance(address, UnixAddress):
            path = UnixPath(address.path)
            listener = await SocketListener.from_socket(path.socket)
        else:
            listener = await anyio.create_tcp_listener(
                local_host=address.host or None, local_port=address.port
            )
            address = address._replace(port=listener.extra(SocketAttribute.local_port))
    except OSError as exc:
        raise NotStarted(f"cannot listen on {address}: {reason(exc)}") from exc
    finished = anyio.Event()

    async def serve() -> None:
        # Until it is closed, and the last one is over.
        await forward_connections(uplink.pool, listener, timeout=SESSION_TIMEOUT)
        finished.set()

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        tasks.start_soon(uplink.keep)
        logger.info("callers of %s connect to %s", options.call.name, address)
        task_status.started(getattr(address, "port", 0))
        try:
            await stop.wait()
        finally:
            if path is not None:
                path.remove()
        await listener.aclose()
        with anyio.move_on_after(options.graceful_timeout):
            await finished.wait()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def _call(
    options: ForwardOptions, session: muxado.Session, dialed: muxado.Dialed
) -> AsyncIterator[None]:
    """Say who is called, before connections are led into ``session``.

    :raises RegistrationError: if the gateway takes no calls of that name.
    """
    session.stop_accepting()
    call = options.call._replace(moves=True)
    if options.token is not None:
        call = call._replace(token=options.token.now())
    async with introduced(session, dialed, call.line(), "calling", _lose_nothing):
        logger.info("calling %s", call.name)
        yield


def _lose_nothing(taken: list[Any], said: dict[str, Any]) -> None:
    """Who calls has no names."""

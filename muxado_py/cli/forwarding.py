"""``muxado forward``: a local address whose callers are led through a gateway, to the agents of a name.

What it is.  The side of a caller that cannot reach a door of the gateway's, but the gateway itself: it dials a session,
says which name it calls (:mod:`.registration`), and each connection to the local address becomes a stream.

The rules.  Nobody is kept waiting for longer than :data:`SESSION_TIMEOUT` for a session; then the connection is broken
off, as it is where no agent serves the name.  A lost session is dialed again, as with agents.  A gateway that ends asks to
move: who comes then goes by the new session, who is there stays.

The trap.  What comes of a caller is the gateway's to say, and it says it to those who speak HTTP; others see the end of
their connection.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
from anyio.abc import SocketAttribute, SocketListener

import muxado_py as muxado

from ..dialing.unix_paths import UnixPath
from ..session.bridge import forward as forward_connections
from .backoff import Backoff
from .dialing import keep_connected
from .options import UnixAddress
from .registering import obey, say
from .running import NotStarted, reason

if TYPE_CHECKING:
    import ssl

    from anyio.abc import Listener, SocketStream, TaskStatus

    from .attempt import Attempt
    from .options import Address
    from .registration import Call
    from .shown_token import ShownToken

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
    uplink = _Uplink(options.call, options.token)
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
        await forward_connections(uplink, listener)  # until it is closed, and the last one is over
        finished.set()

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        tasks.start_soon(_dial, uplink, options, stop)
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


async def _dial(uplink: _Uplink, options: ForwardOptions, stop: anyio.Event) -> None:
    await keep_connected(
        options.connect,
        uplink.attach,
        stop=stop,
        config=muxado.Config(wire=options.wire),
        ssl_context=options.ssl_context,
        backoff=Backoff(),
        max_retries=options.max_retries,
    )


class _Uplink:
    """The newest session that there is, if any; it is dialed as a session is."""

    def __init__(self, call: Call, token: ShownToken | None) -> None:
        self._call = call
        self._token = token
        self._session: muxado.Session | None = None
        self._came = anyio.Event()

    async def attach(self, session: muxado.Session, attempt: Attempt) -> None:
        """Lead connections into ``session`` until it is over.

        :raises RegistrationError: if the gateway takes no calls of that name.
        """
        session.stop_accepting()
        call = self._call._replace(moves=True)
        if self._token is not None:
            call = call._replace(token=self._token.now())
        stream, lines = await say(session, call.line(), "calling")
        logger.info("calling %s", call.name)
        attempt.settle()
        self._session = session
        self._came.set()
        ended: muxado.SessionError | None = None  # a task group would wrap it
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(obey, stream, lines, attempt, _lose_nothing)
            try:
                await session.wait()
            except muxado.SessionError as exc:
                ended = exc
            finally:
                if self._session is session:
                    self._session = None
                    self._came = anyio.Event()
                stream.reset()
                tasks.cancel_scope.cancel()
        if ended is not None:
            raise ended

    async def net_dial(
        self,
        *address: object,
        priority: muxado.Priority | None = None,
        stream_type: int | None = None,
    ) -> muxado.Stream:
        """A stream of the session; see :meth:`.Session.net_dial`."""
        with anyio.move_on_after(SESSION_TIMEOUT):
            while self._session is None:
                await self._came.wait()
        if self._session is None:
            raise ConnectionRefusedError("there is no session with the gateway")
        return await self._session.net_dial(priority=priority, stream_type=stream_type)


def _lose_nothing(taken: list[Any], said: dict[str, Any]) -> None:
    """Who calls has no names."""

"""SessionListener: what ``listen`` gives.

The rule.  One connection of a listener that fails, in its TLS handshake or after, must not end the others: everything
that a connection can raise ends in a line of the log.
"""

from __future__ import annotations

import logging
import ssl
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from anyio import ClosedResourceError, create_task_group, fail_after, move_on_after

from ..arguments import check_function
from ..config import AUTO
from ..errors import SessionError, UndeliveredError, escaped
from ..session.handlers import contain
from .accepted_listener import AcceptedListener
from .detect import detect_wire
from .mute import Mute
from .schemes import check_options
from .session_scope import SessionScope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from ..config import Config
    from ..session.listener import StreamListener
    from ..session.session import Session
    from .mute import Visitor
    from .pending import PendingConnection
    from .scheme import Bound, Options, Scheme

__all__ = ("SessionListener",)

logger = logging.getLogger("muxado.endpoints")


class SessionListener:
    """Accepts connections and runs a session over each; made by :func:`~muxado_py.listen`."""

    def __init__(self, scheme: Scheme, bound: Bound, config: Config, options: Options) -> None:
        self._scheme = scheme
        self._bound = bound
        self._config = config
        self._options = options
        self._mute = Mute(config.max_mute_connections)
        self.url = scheme.write(bound.address)
        """The URL that reaches it, with the real port if 0 was asked for."""

    def replace_ssl_context(self, ssl_context: ssl.SSLContext) -> None:
        """Show the certificate of another context, and judge by it, from the next connection on.

        The sessions that are there go on, and so do the handshakes; nobody resumes a TLS session of the context that
        was replaced.  A context in use is not to be changed instead: authorities can only be added to it, and a key
        that does not fit leaves it without a certificate.

        :raises TypeError: if it is no ``ssl.SSLContext``.
        :raises ValueError: if the listener's URL is not ``tls://``.
        """
        if not isinstance(ssl_context, ssl.SSLContext):
            raise TypeError(f"ssl_context must be an ssl.SSLContext, got {ssl_context!r}")
        options = replace(self._options, ssl_context=ssl_context)
        check_options(self.url, options, listens=True)
        self._options = options

    async def serve(
        self,
        handler: Callable[[Session], Awaitable[object]],
        task_group: TaskGroup | None = None,
    ) -> None:
        """Call ``handler(session)`` in a task for each connection, until the listener is closed.

        The oldest connection that never said a byte is let go, its handler cancelled, when there are more of
        these than ``Config.max_mute_connections``.
        The session is closed when its handler returns or raises.  What a handler raises, and what
        a connection raises before it, is logged (``muxado.handler``, ``muxado.endpoints``); the
        others go on.

        :param task_group: where the handlers run; default one of its own.
        :raises TypeError: if ``handler`` is no function.
        :raises RuntimeError: what a ``task_group`` raises that has ended, when the next connection comes.

        Cancellation: the handlers are cancelled and their sessions closed.
        """
        check_function("handler", handler)

        async def run(accepted: object) -> None:
            with self._mute.visit() as visitor:
                await self._run(accepted, handler, visitor)

        async with AsyncExitStack() as stack:
            # Not the listener's own task group: sessions outlive the listener.
            if task_group is None:
                task_group = await stack.enter_async_context(create_task_group())
            try:
                await self._bound.listener.serve(run, task_group)
            except* ClosedResourceError:
                pass

    def net_listener(self) -> StreamListener:
        """The streams of all sessions that are accepted, as one ``anyio.abc.Listener``.

        A server that is given it starts once, and not for each who dials in.  It takes the connections while it is
        served, so :meth:`serve` is not called beside it; closing it closes this listener.  Sessions go on until
        their last stream is over.
        """
        return AcceptedListener(self.serve, self.aclose)

    async def _run(
        self,
        accepted: object,
        handler: Callable[[Session], Awaitable[object]],
        visitor: Visitor,
    ) -> None:
        try:
            pending = await self._bound.pending(accepted, self._config)
            visitor.peer = pending.peer
            scope = await self._session(pending)
        except Exception as exc:  # noqa: BLE001 - this connection's trouble, and nobody else's
            logger.warning(
                "a connection from %s to %s failed: %s", visitor.peer, self.url, _reason(exc)
            )
            return
        try:
            async with scope as session:
                visitor.session = session
                await contain(handler, session)
        except UndeliveredError as exc:
            logger.warning("a session of %s ended: %s", self.url, exc)
        except Exception:
            # A mistake of ours: how a session ends is told to its handler, and was caught there.
            logger.exception("a session of %s failed", self.url)

    async def _session(self, pending: PendingConnection) -> SessionScope:
        config = self._config
        pending = await self._greet(pending)
        if config.wire == AUTO:
            config = await detect_wire(pending, config)
        return SessionScope(pending, config, is_client=False)

    async def _greet(self, pending: PendingConnection) -> PendingConnection:
        try:
            options = self._options
            if options.ssl_context is not None:
                await self._handshake(pending, options.ssl_context)
            with move_on_after(self._config.connect_timeout):
                return await self._scheme.greet(pending, self._bound.address, options)
            raise TimeoutError(f"no handshake of {self._scheme.name}:// in time")
        except BaseException:
            await pending.abort()
            raise

    async def _handshake(self, pending: PendingConnection, context: ssl.SSLContext) -> None:
        try:
            with fail_after(self._config.connect_timeout):
                await pending.secure(context, server_side=True)
        except TimeoutError:
            raise TimeoutError("no TLS handshake in time") from None
        except ConnectionError as exc:
            raise ConnectionResetError("it ended during the TLS handshake") from exc

    async def aclose(self) -> None:
        """Take no more connections; sessions that run go on, and ``serve`` waits for its own.

        The path of a Unix socket is removed.

        Cancellation: the listener is closed all the same.
        """
        await self._bound.aclose()


def _reason(exc: Exception) -> str:
    """Why a connection never became a session, in words for a log."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"it shows a certificate that is not trusted here: {exc.verify_message}"
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or "TLS error").replace("_", " ").lower()
    if isinstance(exc, SessionError):
        return str(exc)
    return escaped(str(exc)) or type(exc).__name__

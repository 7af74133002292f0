"""An aiohttp client whose connections are streams: of a session, or of a pool.

What it is.  A connector for ``aiohttp.ClientSession``.  aiohttp documents one method that a connector of another transport
overrides, and the rest is its own: keep-alive, limits, time-outs, redirects, websockets.

Where data comes from and goes to.  ``ClientSession`` -> the connector -> :class:`.MuxTransport` -> the stream.

The rules.  A failure becomes the aiohttp exception that the user expects, raised *from* ours, so that
:func:`~muxado_py.retry_verdict` finds it.  ``https`` is refused rather than sent in the clear: the session is what encrypts.
Proxies, also those of the environment (``trust_env``), are not asked: what is written for one, its password too, would go to the peer.

The trap.  A stream that carries one request after another has answered before: ``PROCESSED`` is not said of a request that has no
answer yet.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Protocol

from ..arguments import check_able
from ..errors import Retry
from ..runtime.extras import require
from ..scheduler import check_priority
from .asyncio_transport import MuxTransport
from .nowait import STREAM_ERRORS, as_os_error
from .verdicts import error_behind, mark, waited_in_vain

if TYPE_CHECKING:
    import aiohttp

    from ..scheduler import Priority
    from ..session.stream import Stream

__all__ = ("aiohttp_connector",)


class Opener(Protocol):
    """What opens the streams: a :class:`~muxado_py.Session`, or a pool."""

    async def open_stream(
        self, *, priority: Priority | None = None, timeout: float | None = 0.0
    ) -> Stream: ...


def aiohttp_connector(
    session: Opener, *, priority: Priority | None = None, **options: Any
) -> aiohttp.BaseConnector:
    """A connector for ``aiohttp.ClientSession(connector=...)`` that sends requests through ``session``, whatever host they name.

    URLs are ``http://`` and ``ws://``; the session encrypts, or does not.  What is raised is aiohttp's, and
    :func:`~muxado_py.retry_verdict` says of it whether the request may be sent again; where an answer has begun and broke off
    (``ClientPayloadError``) it says ``UNKNOWN``.  ``ClientTimeout.sock_connect`` is for a session, and a slot, to be there; if none
    was in time, ``ConnectionTimeoutError`` is raised.  Proxies are not asked.  aiohttp itself sends what is idempotent a second
    time, if the first has failed without an answer.  An answer that says neither its length nor chunks is whole for
    aiohttp wherever it ends.

    :param session: a :class:`~muxado_py.Session`, or a pool of them.
    :param priority: of the streams it opens.
    :param options: whatever ``aiohttp.BaseConnector`` takes.
    :raises TypeError: if ``priority`` is no :class:`~muxado_py.Priority`, or ``session`` neither of both.
    :raises RuntimeError: where no event loop of asyncio's runs, as under trio.
    :raises MissingExtraError: if aiohttp is not installed.
    """
    if priority is not None:
        check_priority(priority)
    check_able("session", session, "a Session, or a pool of them", "open_stream")
    library = require("aiohttp", "aiohttp")
    connector: aiohttp.BaseConnector = _connector_class(library)(session, priority, **options)
    return connector


@functools.cache
def _connector_class(library: Any) -> Any:
    from aiohttp.client_proto import ResponseHandler

    class MuxConnector(library.BaseConnector):  # type: ignore[misc]
        def __init__(self, opener: Opener, priority: Priority | None, **options: Any) -> None:
            super().__init__(**options)
            self._opener = opener
            self._priority = priority

        async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
            req.proxy = None
            return await super().connect(req, traces, timeout)

        async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:
            if req.is_ssl():
                raise library.InvalidUrlClientError(
                    req.url,
                    "requests through a session are http://, the session itself may have TLS",
                )
            patience = timeout.sock_connect
            if patience is not None and patience <= 0:
                patience = None  # to aiohttp both are without bound
            try:
                stream = await self._opener.open_stream(priority=self._priority, timeout=patience)
            except STREAM_ERRORS as exc:
                if waited_in_vain(exc):
                    raise TimeoutError(str(exc)) from exc  # aiohttp's own follows from it
                raise library.ClientConnectorError(req.connection_key, as_os_error(exc)) from exc
            protocol = Handler(asyncio.get_running_loop())
            transport = MuxTransport(stream, protocol)
            try:
                await asyncio.sleep(0)  # for connection_made
            except BaseException:
                transport.abort()
                raise
            return protocol

    class Handler(ResponseHandler):
        def set_exception(self, exc: Any, *cause: Any) -> None:
            transport = self.transport
            if isinstance(exc, BaseException) and transport and not transport.is_closing():
                mark(exc, Retry.UNKNOWN)  # the source of a body has failed, not the stream
            super().set_exception(exc, *cause)

        def connection_lost(self, exc: BaseException | None) -> None:
            error = None if exc is None else error_behind(exc)
            if error is not None and error.retry is Retry.PROCESSED:
                error.retry = Retry.UNKNOWN  # aiohttp tells of it where no answer has begun
            super().connection_lost(exc)

    return MuxConnector

"""httpcore's network backend: connections that are streams, and whose request each of them carries.

Where data comes from and goes to.  httpcore's pool asks :class:`MuxBackend` for a connection and reads and writes it;
which request that is for, and what is wanted of its stream, says :data:`~muxado_py.integrations.httpx_exchange.CURRENT`, because httpcore does not: it calls the
backend in the task of the request.  One source serves ``httpcore2`` and ``httpcore``, as classes made for each.

The rules.  Every failure becomes the httpcore exception that the pool and the user expect, raised *from* ours, so that
:func:`~muxado_py.retry_verdict` finds it: ``ConnectError`` if the verdict is safe (nobody has seen the request), else
``ReadError`` or ``WriteError``.  A request that is given up before anything of it has left is withdrawn, and its time-out
is a ``ConnectTimeout``.  How long a request may take is told to the other side in the metadata of its stream, so a request with
a deadline begins a stream: where httpcore would reuse a connection, that goes on to another stream.

The traps.  httpcore's pool raises "from None", which erases the cause; so it is the exception's argument as well, as
httpcore itself does it.  httpcore's own ``AnyIOStream`` takes a stream without a socket for a dead one and opens a new one
for each request; ``is_readable`` must be answered from the stream's state.  And a connection may have
answered before (another request, a proxy's CONNECT, the handshake of TLS): that is no answer to the present request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

from ..errors import ErrorCode, MuxadoError, Retry
from ..scheduler import DEFAULT_PRIORITY
from ..service.call_errors import CallTimeoutError
from ..session.bridge import IO_ERRORS
from .httpx_exchange import CURRENT, open_stream
from .verdicts import error_behind, retry_verdict, waited_in_vain

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from anyio.abc import ByteStream

    from ..scheduler import Priority
    from ..service.calls import Opener
    from ..session.stream import Stream
    from .httpx_exchange import Exchange

__all__ = ("backend_class",)


def backend_class(httpcore: Any) -> Any:
    """The backend for ``httpcore2`` or ``httpcore``."""
    connection_class = _connection_class(httpcore)

    class MuxBackend(httpcore.AsyncNetworkBackend):  # type: ignore[misc]
        """What opens connections, and streams for them.

        :param shares: whether requests share a stream at the same time (HTTP/2): then it has no request's priority, and no
            deadline.
        :param moves: whether a connection may go on to another stream between two requests.
        """

        def __init__(
            self, opener: Opener, priority: Priority | None, *, shares: bool, moves: bool
        ) -> None:
            self._opener = opener
            self._priority = priority
            self.shares = shares
            """Whether requests share a stream; then nobody knows whose answer comes."""
            self.moves = moves and not shares
            self.default = None if shares else priority or DEFAULT_PRIORITY
            """The priority of requests that say none; None if they have no priority of their own."""

        async def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Iterable[object] | None = None,
        ) -> Any:
            return connection_class(self, await self.open_stream(timeout))

        async def connect_unix_socket(
            self,
            path: str,
            timeout: float | None = None,
            socket_options: Iterable[object] | None = None,
        ) -> Any:
            return connection_class(self, await self.open_stream(timeout))

        async def open_stream(self, timeout: float | None) -> Stream:
            """For the request of the task that runs."""
            exchange = None if self.shares else CURRENT.get()
            try:
                return await open_stream(self._opener, self._priority, timeout, exchange)
            except IO_ERRORS as exc:
                kind = httpcore.ConnectTimeout if waited_in_vain(exc) else httpcore.ConnectError
                raise kind(exc) from exc  # retry_verdict finds the argument

        async def sleep(self, seconds: float) -> None:
            await anyio.sleep(seconds)

    return MuxBackend


def _connection_class(httpcore: Any) -> Any:
    class MuxConnection(httpcore.AsyncNetworkStream):  # type: ignore[misc]
        """:param tls: what is spoken to, over the stream; None for the stream itself."""

        def __init__(self, backend: Any, stream: Stream, tls: TLSStream | None = None) -> None:
            self._backend = backend
            self._stream = stream
            self._through: ByteStream = tls or stream
            self._moves = backend.moves and tls is None
            self._exchange: Exchange | None = None
            self._note_request(CURRENT.get())

        def _note_request(self, exchange: Exchange | None) -> None:
            """It is sent on this stream: another one than before, perhaps."""
            if exchange is None or exchange is self._exchange:
                return
            self._exchange = exchange
            exchange.stream = self._stream
            default = self._backend.default
            if default is not None:
                wanted = exchange.priority or default
                if self._stream.priority != wanted:
                    self._stream.priority = wanted

        async def _next_request(self, timeout: float | None) -> None:
            """The task that runs has something to send."""
            exchange = CURRENT.get()
            if exchange is None or exchange is self._exchange:
                return
            if exchange.deadline is not None and self._exchange is not None and self._moves:
                # A stream tells the other side of a deadline when it is opened.
                self._stream.close()
                self._through = self._stream = await self._backend.open_stream(timeout)
            self._note_request(exchange)

        async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            try:
                with anyio.fail_after(timeout):
                    data = await self._through.receive(max_bytes)
            except anyio.EndOfStream:
                return b""
            except IO_ERRORS as exc:
                raise self._failure(exc, httpcore.ReadError, httpcore.ReadTimeout) from exc
            if self._exchange is not None and not self._backend.shares:
                self._exchange.is_answered = True
            return data

        async def write(self, buffer: bytes, timeout: float | None = None) -> None:
            if not buffer:
                return
            await self._next_request(timeout)
            try:
                with anyio.fail_after(timeout):
                    await self._through.send(buffer)
            except IO_ERRORS as exc:
                raise self._failure(exc, httpcore.WriteError, httpcore.WriteTimeout) from exc

        def _failure(self, exc: Exception, failed: Any, timed_out: Any) -> Exception:
            """What to raise for ``exc``, raised from it."""
            exchange = self._exchange
            error = error_behind(exc)  # TLS wraps those of the stream that are an OSError, too
            if error is not None:
                unanswered = exchange is not None and not exchange.is_answered
                if error.retry is Retry.PROCESSED and unanswered:
                    error.retry = Retry.UNKNOWN  # what was answered was something else
            elif isinstance(exc, TimeoutError) and self._stream.id is None:
                self._stream.reset()
                timed_out = httpcore.ConnectTimeout
                exc.__cause__ = CallTimeoutError(
                    "nothing of the request was sent in time",
                    code=ErrorCode.STREAM_CANCELLED,
                    retry=self._stream.retry,
                )
            # In the order that says most.
            if isinstance(exc, TimeoutError) and not isinstance(exc, MuxadoError):
                kind = timed_out
            elif retry_verdict(exc).safe:
                kind = httpcore.ConnectError
            else:
                kind = failed
            failure: Exception = kind(exc)  # retry_verdict finds the argument
            return failure

        async def aclose(self) -> None:
            given_up = self._exchange is not None and not self._exchange.is_answered
            if self._stream.id is None or (given_up and self._stream.statistics().unsent):
                self._stream.reset()  # nothing more of the request is to go out
            # What was sent since the answer goes out: the close of a websocket.
            await self._through.aclose()

        async def start_tls(
            self,
            ssl_context: ssl.SSLContext,
            server_hostname: str | None = None,
            timeout: float | None = None,
        ) -> Any:
            if self._exchange is not None:
                self._exchange.is_answered = False  # only its CONNECT, by a proxy
            try:
                with anyio.fail_after(timeout):
                    tls = await TLSStream.wrap(
                        self._through,
                        ssl_context=ssl_context,
                        hostname=server_hostname,
                        standard_compatible=False,
                        server_side=False,
                    )
            except (*IO_ERRORS, anyio.EndOfStream) as exc:
                failure = self._failure(exc, httpcore.ConnectError, httpcore.ConnectTimeout)
                await self.aclose()
                raise failure from exc
            return MuxConnection(self._backend, self._stream, tls)

        def get_extra_info(self, info: str) -> Any:
            if info == "is_readable":
                return self._stream.is_readable
            if info == "ssl_object":
                return self._through.extra(TLSAttribute.ssl_object, None)
            if info == "client_addr":
                return self._stream.extra(SocketAttribute.local_address, None)
            if info == "server_addr":
                return self._stream.extra(SocketAttribute.remote_address, None)
            return None

    return MuxConnection

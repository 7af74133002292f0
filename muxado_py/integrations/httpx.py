"""An httpx client whose connections are streams, and the verdict behind whatever it raises.

What it is.  ``httpx2`` and ``httpx`` 0.27 to 0.28 share one documented seam, httpcore's "network
backend": who opens a connection, reads, writes and closes it.  Ours opens streams; all the rest
(pool, limits, retries, timeouts, redirects, mounts, websockets, instrumentation) is theirs.  One
source serves both libraries, as classes made for each on first use.

Where data comes from and goes to.  ``AsyncClient`` -> its transport -> httpcore's pool ->
:class:`_Backend` -> ``session.net_dial()`` -> :class:`_Connection` -> the stream.

The rule.  Every failure becomes the httpcore exception that the pool and the user expect, raised
*from* ours, so that :func:`retry_verdict` finds it: ``ConnectError`` if the verdict is safe (the
request was never seen), else ``ReadError`` or ``WriteError``.

The library is never chosen by what is installed: a program whose time-outs and ``except`` clauses are of
one would break, and only on its error path, when something unrelated brings the other.

The traps.  httpcore's pool raises "from None", which erases the cause; so it is the exception's
argument as well, as httpcore itself does it.  httpcore's own ``AnyIOStream`` takes a stream without a
socket for a dead one and opens a new one for each request; ``is_readable`` must be answered from the
stream's state.  The transport must be a subclass of ``AsyncHTTPTransport``, because that is what
tracing libraries patch.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Literal, overload

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

from ..errors import MuxadoError, Retry
from ..scheduler import check_priority
from ..session.bridge import IO_ERRORS
from .extras import require

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable
    from types import ModuleType

    import httpx
    import httpx2
    from anyio.abc import ByteStream

    from ..scheduler import Priority
    from ..session.session import Session
    from ..session.stream import Stream

__all__ = ("httpx_client", "retry_verdict")


@overload
def httpx_client(
    session: Session,
    *,
    priority: Priority | None = ...,
    retries: int = ...,
    module: Literal["httpx2"] = ...,
    **client_options: Any,
) -> httpx2.AsyncClient: ...
@overload
def httpx_client(
    session: Session,
    *,
    priority: Priority | None = ...,
    retries: int = ...,
    module: Literal["httpx"],
    **client_options: Any,
) -> httpx.AsyncClient: ...
@overload
def httpx_client(
    session: Session,
    *,
    priority: Priority | None = ...,
    retries: int = ...,
    module: ModuleType,
    **client_options: Any,
) -> Any: ...
def httpx_client(
    session: Session,
    *,
    priority: Priority | None = None,
    retries: int = 0,
    module: str | ModuleType = "httpx2",
    **client_options: Any,
) -> Any:
    """An ``AsyncClient`` that sends its requests through ``session``, whatever host they name.

    :param priority: of the streams it opens.
    :param retries: how often to try again to *open* a stream, with httpcore's back-off.
    :param module: whose client: ``"httpx2"``, ``"httpx"``, or the imported module.  Time-outs must be
        that library's, and what is raised is: ``httpx2.ReadTimeout`` is no ``httpx.HTTPError``.
    :param client_options: whatever ``AsyncClient`` takes, except ``transport``.  A ``proxy`` is
        spoken to through the session too; ``mounts`` go their own way.
    :raises TypeError: if ``priority`` is no :class:`~muxado_py.Priority`.
    :raises MissingExtraError: if the library is not installed.
    """
    if priority is not None:
        check_priority(priority)
    if isinstance(module, str):
        if module not in ("httpx2", "httpx"):
            raise ValueError(f"module must be 'httpx2', 'httpx' or one of them, got {module!r}")
        other = "httpx" if module == "httpx2" else "httpx2"
        module = require(module, module, f"or use httpx_client(session, module={other!r})")
    transport_class = _transport_class(module)
    accepted = inspect.signature(module.AsyncHTTPTransport).parameters
    transport_options = {
        name: client_options.pop(name) for name in tuple(client_options) if name in accepted
    }
    for name in ("trust_env", "http2"):  # the client uses the one and checks the other
        if name in transport_options:
            client_options[name] = transport_options[name]
    transport = transport_class(session, priority, retries=retries, **transport_options)
    return module.AsyncClient(transport=transport, **client_options)


def retry_verdict(error: BaseException) -> Retry:
    """May the call that raised ``error`` be made again?

    Follows ``__cause__``, or an exception that is the error's first argument, to the first
    :class:`MuxadoError`.  Not ``__context__``: an error raised while an earlier one was being
    handled has that as its context, and the earlier one's "never sent" says nothing about the
    second attempt.

    :returns: that error's verdict; ``Retry.UNKNOWN`` if there is none.
    """
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, MuxadoError):
            return link.retry
        link = link.__cause__ or _wrapped(link)
    return Retry.UNKNOWN


def _wrapped(error: BaseException) -> BaseException | None:
    first = error.args[0] if error.args else None
    return first if isinstance(first, BaseException) else None


@functools.cache
def _transport_class(httpx_module: Any) -> Any:
    """``AsyncHTTPTransport`` of ``httpx_module``, with a pool that opens streams."""
    httpcore = require(httpx_module.__name__.replace("httpx", "httpcore"), httpx_module.__name__)
    backend_class = _backend_class(httpcore)

    class MuxTransport(httpx_module.AsyncHTTPTransport):  # type: ignore[misc]
        def __init__(self, session: Session, priority: Priority | None, **options: Any) -> None:
            super().__init__(**options)
            # The parent builds the pool from all its options but has none for this one.
            self._pool._network_backend = backend_class(session, priority)

    return MuxTransport


def _backend_class(httpcore: Any) -> Any:
    connection_class = _connection_class(httpcore)

    class MuxBackend(httpcore.AsyncNetworkBackend):  # type: ignore[misc]
        def __init__(self, session: Session, priority: Priority | None) -> None:
            self._session = session
            self._priority = priority

        async def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Iterable[object] | None = None,
        ) -> Any:
            return await self._dial(f"{host}:{port}", timeout)

        async def connect_unix_socket(
            self,
            path: str,
            timeout: float | None = None,
            socket_options: Iterable[object] | None = None,
        ) -> Any:
            return await self._dial(path, timeout)

        async def _dial(self, address: str, timeout: float | None) -> Any:
            try:
                with anyio.fail_after(timeout):
                    stream = await self._session.net_dial(address, priority=self._priority)
            except IO_ERRORS as exc:
                raise _mapped(
                    exc, httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.ConnectError
                ) from exc
            return connection_class(stream, stream)

        async def sleep(self, seconds: float) -> None:
            await anyio.sleep(seconds)

    return MuxBackend


def _connection_class(httpcore: Any) -> Any:
    class MuxConnection(httpcore.AsyncNetworkStream):  # type: ignore[misc]
        """``through`` is what is spoken to: the stream, or TLS over it."""

        def __init__(self, stream: Stream, through: ByteStream) -> None:
            self._stream = stream
            self._through = through

        async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            try:
                with anyio.fail_after(timeout):
                    return await self._through.receive(max_bytes)
            except anyio.EndOfStream:
                return b""
            except IO_ERRORS as exc:
                raise _mapped(
                    exc, httpcore.ReadError, httpcore.ReadTimeout, httpcore.ConnectError
                ) from exc

        async def write(self, buffer: bytes, timeout: float | None = None) -> None:
            if not buffer:
                return
            try:
                with anyio.fail_after(timeout):
                    await self._through.send(buffer)
            except IO_ERRORS as exc:
                raise _mapped(
                    exc, httpcore.WriteError, httpcore.WriteTimeout, httpcore.ConnectError
                ) from exc

        async def aclose(self) -> None:
            await self._through.aclose()

        async def start_tls(
            self,
            ssl_context: ssl.SSLContext,
            server_hostname: str | None = None,
            timeout: float | None = None,
        ) -> Any:
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
                await self.aclose()
                raise _mapped(
                    exc, httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.ConnectError
                ) from exc
            return MuxConnection(self._stream, tls)

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


def _mapped(error: Exception, failed: Any, timed_out: Any, never_seen: Any) -> Exception:
    """The httpcore exception for ``error``, in the order that says most."""
    if retry_verdict(error).safe:
        kind = never_seen
    elif isinstance(error, TimeoutError) and not isinstance(error, MuxadoError):
        kind = timed_out
    else:
        kind = failed
    mapped: Exception = kind(error)  # retry_verdict finds the argument
    return mapped

"""An httpx client whose connections are streams: of a session, or of a pool; and that sends again what may be sent again.

What it is.  ``httpx2`` and ``httpx`` 0.27 to 0.28 share one documented seam, httpcore's "network
backend": who opens a connection, reads, writes and closes it.  Ours opens streams; all the rest
(connection pool, limits, timeouts, redirects, mounts, websockets, instrumentation) is theirs.  One
source serves both libraries, as classes made for each on first use.

Where data comes from and goes to.  ``AsyncClient`` -> :class:`MuxTransport` -> with a policy, once or again and again
(:mod:`.httpx_retry`) -> the library's transport -> httpcore's pool -> :mod:`.httpx_backend` -> the stream.

The rule.  The library is never chosen by what is installed: a program whose time-outs and ``except`` clauses are of
one would break, and only on its error path, when something unrelated brings the other.

The trap.  The transport must be a subclass of ``AsyncHTTPTransport``, because that is what tracing libraries patch.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Literal, overload

from anyio import CancelScope, current_time

from ..arguments import check_able, check_seconds
from ..errors import ErrorCode, Retry
from ..runtime.extras import require
from ..scheduler import check_priority
from ..service.call_errors import CallTimeoutError
from ..service.pool_calls import PoolCalls
from ..service.retry_means import RetryMeans
from ..service.retry_policy import RetryPolicy
from .httpx_backend import backend_class
from .httpx_exchange import CURRENT, Exchange
from .httpx_retry import IDEMPOTENT, Resending
from .verdicts import mark

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import ModuleType
    from typing import Self

    import httpx
    import httpx2

    from ..scheduler import Priority
    from ..service.calls import Opener

__all__ = ("httpx_client",)


@overload
def httpx_client(
    session: Opener,
    *,
    priority: Priority | None = ...,
    retries: int = ...,
    retry: RetryPolicy | None = ...,
    module: Literal["httpx2"] = ...,
    **client_options: Any,
) -> httpx2.AsyncClient: ...
@overload
def httpx_client(
    session: Opener,
    *,
    priority: Priority | None = ...,
    retries: int = ...,
    retry: RetryPolicy | None = ...,
    module: Literal["httpx"],
    **client_options: Any,
) -> httpx.AsyncClient: ...
@overload
def httpx_client(
    session: Opener,
    *,
    priority: Priority | None = ...,
    retries: int = ...,
    retry: RetryPolicy | None = ...,
    module: ModuleType,
    **client_options: Any,
) -> Any: ...
def httpx_client(
    session: Opener,
    *,
    priority: Priority | None = None,
    retries: int = 0,
    retry: RetryPolicy | None = None,
    module: str | ModuleType = "httpx2",
    **client_options: Any,
) -> Any:
    """An ``AsyncClient`` that sends its requests through ``session``, whatever host they name.

    A request may say more in its ``extensions``:

    - ``"priority"``, a :class:`~muxado_py.Priority`: the place of its stream, in place of the client's; not over
      HTTP/2, where requests share a stream.
    - ``"deadline"``, seconds for all of it, further attempts and the body of the answer included: then the library's
      ``ReadTimeout`` is raised, and :func:`~muxado_py.retry_verdict` says whether anything had left.  A muxado_py on the
      muxado wire is told what is left of it, and :func:`~muxado_py.serve_asgi` cancels the application then.  Such a
      request begins a stream; on one that it must share (HTTP/2), or that leads through TLS or a proxy and has carried
      others, nothing is told.  Nor is a peer that has not said yet what it is, for which it waits a second at most.
    - ``"idempotent"``, a bool: whether to execute it twice is as good as once; by default GET, HEAD, OPTIONS, TRACE,
      PUT and DELETE are (RFC 9110 9.2.2), unless they ask for another protocol.

    Its time-outs: ``connect`` is for a slot, and a session, to be there; a request that is given up before anything of
    it has left is withdrawn, and raises ``ConnectTimeout``.

    :param session: a :class:`~muxado_py.Session`, or a pool of them.
    :param priority: of the streams it opens.
    :param retries: how often to try again to *open* a stream, with httpcore's back-off.
    :param retry: send requests again, by the rules of docs/calls.md: those that nobody has seen always, POST too, on
        another session where there is one; those that may have been executed if they are idempotent.  The body is
        kept for that up to ``RetryPolicy.replay_limit``.  Over a pool the budget, and the room for all bodies, are the
        pool's, for its calls and all of its clients together.  Each request has a stream of its own then, so
        ``Limits.max_keepalive_connections`` is of no effect.  None: each is sent once.
    :param module: whose client: ``"httpx2"``, ``"httpx"``, or the imported module.  Time-outs must be
        that library's, and what is raised is: ``httpx2.ReadTimeout`` is no ``httpx.HTTPError``.
    :param client_options: whatever ``AsyncClient`` takes, except ``transport``.  A ``proxy`` is
        spoken to through the session too; ``mounts`` go their own way.
    :raises TypeError: if ``priority`` is no :class:`~muxado_py.Priority`, ``session`` neither of both, or ``retry`` no
        :class:`~muxado_py.RetryPolicy`.
    :raises ValueError: if ``module`` is neither, or there are both ``retry`` and ``http2``: there a failure is that of
        all requests that share a connection.  And if ``retry`` has another ``budget_share``, ``budget_per_second`` or
        ``replay_total`` than the policy of the pool.
    :raises MissingExtraError: if the library is not installed.
    """
    if priority is not None:
        check_priority(priority)
    check_able("session", session, "a Session, or a pool of them", "open_stream")
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise TypeError(f"retry must be a RetryPolicy, got {retry!r}")
    if retry is not None and client_options.get("http2"):
        raise ValueError("retry needs a stream for each request, and over HTTP/2 they share one")
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
    if retry is not None:
        limits = transport_options.get("limits") or module.Limits(max_connections=100)
        transport_options["limits"] = module.Limits(
            max_connections=limits.max_connections, max_keepalive_connections=0
        )
    transport = transport_class(session, priority, retry, retries=retries, **transport_options)
    return module.AsyncClient(transport=transport, **client_options)


@functools.cache
def _transport_class(httpx_module: Any) -> Any:
    """``AsyncHTTPTransport`` of ``httpx_module``, with a pool that opens streams."""
    httpcore = require(httpx_module.__name__.replace("httpx", "httpcore"), httpx_module.__name__)
    backend = backend_class(httpcore)
    failures = httpx_module.NetworkError, httpx_module.RemoteProtocolError

    class MuxTransport(httpx_module.AsyncHTTPTransport):  # type: ignore[misc]
        def __init__(
            self,
            opener: Opener,
            priority: Priority | None,
            retry: RetryPolicy | None,
            **options: Any,
        ) -> None:
            super().__init__(**options)
            self._shares = shares = bool(options.get("http2"))
            # The parent builds the pool from all its options but has none for this one.
            self._pool._network_backend = backend(
                opener, priority, shares=shares, moves=options.get("proxy") is None
            )
            self._resending = (
                None
                if retry is None
                else Resending(retry, _means_of(opener, retry), failures, httpx_module.ConnectError)
            )

        async def handle_async_request(self, request: Any) -> Any:
            wanted = request.extensions
            priority, deadline = wanted.get("priority"), wanted.get("deadline")
            if priority is not None:
                check_priority(priority)
            if deadline is not None:
                check_seconds("deadline", deadline)
            until = None if deadline is None else current_time() + deadline
            exchange = Exchange(priority, until, shares=self._shares)
            token = CURRENT.set(exchange)
            try:
                if until is None:
                    return await self._send(request, exchange)
                return await self._send_within(request, exchange, deadline, until)
            except BaseException as exc:
                if exc is exchange.source_failure:
                    mark(exc, exchange.in_all if self._resending else exchange.verdict())
                raise
            finally:
                CURRENT.reset(token)

        async def _send(self, request: Any, exchange: Exchange) -> Any:
            send = functools.partial(super().handle_async_request, request)
            stream, resending = request.stream, self._resending
            if resending is None and isinstance(stream, httpx_module.ByteStream):
                return await send()  # its source cannot fail
            source = _Noted(stream, exchange)
            try:
                if resending is None:
                    request.stream = _Iterable(lambda: source)
                    return await send()
                body = resending.body(source)
                request.stream = _Iterable(body.again)
                return await resending.send(
                    send, exchange, body, idempotent=_is_idempotent(request)
                )
            finally:
                request.stream = stream
                await source.aclose()

        async def _send_within(
            self, request: Any, exchange: Exchange, seconds: float, until: float
        ) -> Any:
            with CancelScope(deadline=until):
                response = await self._send(request, exchange)
                late = functools.partial(too_late, seconds, Retry.PROCESSED)
                answer = functools.partial(_Bounded, response.stream, until, late)
                response.stream = _Iterable(answer, response.stream.aclose)
                return response
            resends = self._resending is not None
            raise too_late(seconds, exchange.in_all if resends else exchange.verdict())

    def too_late(seconds: float, verdict: Retry) -> Exception:
        text = f"no answer in {seconds:g} s"
        error: Exception = httpx_module.ReadTimeout(text)
        error.__cause__ = CallTimeoutError(text, code=ErrorCode.STREAM_CANCELLED, retry=verdict)
        return error

    class _Iterable(httpx_module.AsyncByteStream):  # type: ignore[misc]
        """What ``iterate`` gives, each time that it is asked."""

        def __init__(
            self,
            iterate: Callable[[], AsyncIterator[bytes]],
            close: Callable[[], Awaitable[None]] | None = None,
        ) -> None:
            self._iterate = iterate
            self._close = close

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self._iterate()

        async def aclose(self) -> None:
            if self._close is not None:
                await self._close()

    return MuxTransport


class _Noted:
    """The body of a request, of which it is noted if it fails.

    No generator, as :class:`_Bounded`.
    """

    def __init__(self, stream: Any, exchange: Exchange) -> None:
        self._chunks = stream.__aiter__()
        self._exchange = exchange

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk: bytes = await self._chunks.__anext__()
        except StopAsyncIteration:
            raise
        except Exception as exc:
            self._exchange.source_failure = exc
            raise
        return chunk

    async def aclose(self) -> None:
        if hasattr(self._chunks, "aclose"):
            await self._chunks.aclose()


class _Bounded:
    """The body of an answer, until its time is over.

    No generator: a caller may leave it in the middle, and of generators Trio says so.

    :param late: makes what is raised then.
    """

    def __init__(self, source: Any, until: float, late: Callable[[], Exception]) -> None:
        self._chunks = source.__aiter__()
        self._until = until
        self._late = late

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        with CancelScope(deadline=self._until):
            chunk: bytes = await self._chunks.__anext__()
            return chunk
        raise self._late()


def _means_of(opener: Opener, retry: RetryPolicy) -> RetryMeans:
    """What there is for sending again: of a pool that of all who send over its sessions."""
    if not isinstance(opener, PoolCalls):
        return RetryMeans(retry, current_time)
    opener.retry_means.check(retry)
    return opener.retry_means


def _is_idempotent(request: Any) -> bool:
    """Whether to execute it twice is as good as once."""
    said = request.extensions.get("idempotent")
    if said is None:
        return request.method in IDEMPOTENT and "upgrade" not in request.headers
    if not isinstance(said, bool):
        raise TypeError(f"the extension 'idempotent' must be a bool, got {said!r}")
    return said

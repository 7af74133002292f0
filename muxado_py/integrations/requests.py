"""requests over streams: an adapter for a session of requests, over a pool for code that blocks.

What it is.  ``requests`` mounts an adapter for URLs that begin in some way; the one of its own makes connections with urllib3, and
says which methods subclasses may override.  Ours makes connections whose sockets lead to streams.

Where data comes from and goes to.  ``requests.Session`` -> the adapter -> urllib3's pool -> the connection -> a socket of
``blocking.Pool.open_socket`` -> the background's copy -> the stream.

The rules.  A failure is the exception that its user expects, raised *from* ours, so that :func:`~muxado_py.retry_verdict` finds
it.  Proxies, also those of the environment, are not asked, and ``https`` is refused: either would go around the session.  What is
written for a proxy, its password too, would go to the peer.

The traps.  The socket does not say what became of a request: its stream is asked that, which is broken off for it.  And a
stream that carries one request after another has answered before: that is no answer to the present one.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ErrorCode, Retry, StreamError
from ..runtime.extras import require
from ..scheduler import check_priority
from .nowait import STREAM_ERRORS
from .verdicts import mark

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter

    from ..scheduler import Priority

__all__ = ("requests_adapter",)


class Opener(Protocol):
    """What opens the sockets, which can be given up: a :class:`muxado_py.blocking.Pool`."""

    def open_socket(
        self, *, priority: Priority | None = None, timeout: float | None = None
    ) -> Any: ...


def requests_adapter(
    pool: Opener, *, priority: Priority | None = None, **options: Any
) -> HTTPAdapter:
    """An adapter for ``requests.Session.mount("http://...", ...)`` that sends requests through ``pool``, whatever host they name.

    The session encrypts, or does not: URLs are ``http://``.  What is raised is requests', and :func:`~muxado_py.retry_verdict`
    says of it whether the request may be sent again; where an answer has begun and broke off (``ChunkedEncodingError``) it
    says ``UNKNOWN``.  A time-out of requests' is for a session, and a slot, to be there, and then for each piece of the
    answer; without one it is waited as long as it takes.  Proxies are not asked, and a ``Proxy-Authorization`` is not
    sent.  An answer that says neither its length nor chunks is whole where its stream ends, and broke off
    (``ChunkedEncodingError``) where that did.

    :param pool: a :class:`muxado_py.blocking.Pool`.
    :param priority: of the streams it opens.
    :param options: whatever ``requests.adapters.HTTPAdapter`` takes.
    :raises TypeError: if ``priority`` is no :class:`~muxado_py.Priority`, or ``pool`` has no ``open_socket``.
    :raises MissingExtraError: if requests is not installed.
    """
    if priority is not None:
        check_priority(priority)
    if not hasattr(pool, "open_socket"):
        raise TypeError(
            f"requests blocks, and takes a pool of muxado_py.blocking.connect_pool, got {pool!r:.80}"
        )
    library = require("requests", "requests")
    adapter: HTTPAdapter = _adapter_class(library)(_pool_class(pool, priority), **options)
    return adapter


@functools.cache
def _adapter_class(library: Any) -> Any:
    class MuxAdapter(library.adapters.HTTPAdapter):  # type: ignore[misc]
        def __init__(self, pool_class: type, **options: Any) -> None:
            self._pool_class = pool_class
            super().__init__(**options)

        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, **options)
            self.poolmanager.pool_classes_by_scheme = {"http": self._pool_class}

        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            if not request.url.lower().startswith("http://"):
                raise library.exceptions.InvalidSchema(
                    f"requests through a pool are http://, its sessions may have TLS: got {request.url!r}",
                    request=request,
                )
            # Behind a redirect requests has put that of the environment's proxy there.
            request.headers.pop("Proxy-Authorization", None)
            names = "stream", "timeout", "verify", "cert"
            given = {**dict(zip(names, args, strict=False)), **options, "proxies": None}
            return super().send(request, **given)

    return MuxAdapter


def _pool_class(opener: Opener, priority: Priority | None) -> type:
    """urllib3's pool of connections, of which each has a stream."""
    import urllib3
    from urllib3.connection import HTTPConnection

    class MuxConnection(HTTPConnection):
        def connect(self) -> None:
            patience = self.timeout if isinstance(self.timeout, int | float) else None
            try:
                self.sock = opener.open_socket(priority=priority, timeout=patience)
            except TimeoutError as exc:
                raise urllib3.exceptions.ConnectTimeoutError(self, str(exc)) from exc
            except STREAM_ERRORS as exc:
                raise urllib3.exceptions.NewConnectionError(self, str(exc)) from exc
            self.sock.settimeout(patience)

        send_failure: OSError | None = None

        def request(self, *args: Any, **options: Any) -> None:
            try:
                super().request(*args, **options)
            except BaseException as exc:
                # What gave the body, else; or there is no stream.
                if exc is not self.send_failure and (why := _why(self.sock)) is not None:
                    mark(exc, why.retry)
                raise

        def send(self, data: Any) -> None:
            try:
                super().send(data)
            except OSError as exc:
                exc.__cause__ = exc.__cause__ or _why(self.sock)
                self.send_failure = exc
                raise

        def getresponse(self) -> Any:
            sock = self.sock
            try:
                return super().getresponse()
            except Exception as exc:
                exc.__cause__ = exc.__cause__ or _why(sock)
                raise

    class MuxConnectionPool(urllib3.HTTPConnectionPool):
        ConnectionCls = MuxConnection

    return MuxConnectionPool


def _why(sock: Any) -> StreamError | None:
    """What became of a request that has no answer yet; its stream is broken off."""
    if sock is None:
        return None
    verdict: Retry = sock.give_up()
    if verdict is Retry.PROCESSED:
        verdict = Retry.UNKNOWN  # what was answered was another request
    text = f"the stream of this request has ended without an answer to it: {verdict.value}"
    return StreamError(text, code=ErrorCode.STREAM_CANCELLED, retry=verdict)

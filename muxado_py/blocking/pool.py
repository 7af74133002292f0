"""Pool: sessions that are kept up in the background, for threads that wait.

What it is.  The blocking face of :class:`muxado_py.Pool`.  Its errors are those of the methods that it has its names from, and
so are its verdicts.

The rule.  A socket holds its pool, as an answer of an HTTP library holds its connection: whoever has the one and let go of the
other reads on, and what a dropped pool cuts off is nobody's.

The trap.  A socket of :meth:`Pool.open_socket` is a real one, of which the other end is copied to a stream by the
background: what was written to it in the last moment before the pool is closed is still in between, and is lost as
with a process that ends.  To see that all arrived, read the answer, or :meth:`Pool.drain`.
"""

from __future__ import annotations

import threading
import warnings
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from anyio import create_task_group, create_tcp_listener
from anyio.abc import SocketAttribute

from ..arguments import check_seconds
from ..errors import Retry, SessionClosedError
from ..integrations import serve_asgi, serve_wsgi
from ..scheduler import check_priority
from ..service import pools
from ..service.calls import MAX_ANSWER
from ..session.bridge import abort, bridge, forward, socket_pair
from .background import Background, closed_pool
from .services import Forward, Service
from .stream_socket import StreamSocket

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
    from types import TracebackType
    from typing import Self, TypeVar

    from anyio.abc import ByteStreamConnectable, TaskGroup, TaskStatus

    from ..config import Config
    from ..dialing.proxies import Proxy
    from ..scheduler import Priority
    from ..service.call_statistics import CallStatistics
    from ..service.pool import Pool as AsyncPool
    from ..service.pool_state import PoolState
    from ..service.retry_policy import RetryPolicy
    from ..session.stream import Stream

    T = TypeVar("T")

__all__ = ("Pool", "connect_pool")


def connect_pool(
    *targets: str | ByteStreamConnectable,
    config: Config | None = None,
    ssl_context: ssl.SSLContext | None = None,
    proxy: str | Proxy | None = None,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
    subprotocol: str | None = None,
    sessions: int = 1,
    each: bool = True,
    on_change: Callable[[PoolState], object] | None = None,
    retry: RetryPolicy | None = None,
) -> Pool:
    """Keep sessions to ``targets`` in a thread in the background, until the pool is closed.

    Waits for no session; the methods of the pool do.  Use it as a context manager, or close it.  A pool that is
    dropped open, and all sockets of it, is cut off, with a ``ResourceWarning``; one that is open when the interpreter ends, ends with it.

    :param targets: as for :func:`muxado_py.connect_pool`, as all that follows.
    :param config: likewise.
    :param ssl_context: likewise.
    :param proxy: likewise.
    :param headers: likewise.
    :param subprotocol: likewise.
    :param sessions: likewise.
    :param each: likewise.
    :param on_change: likewise; it is called in the background's thread, where no method of the pool can be called.
    :param retry: how often :meth:`.Pool.call` sends again what may be; default ``RetryPolicy()``.
    :raises TypeError: if an argument is of a wrong type, or there is no target.
    :raises ValueError: as :func:`muxado_py.connect_pool`.
    """
    # What is wrong is raised here, before there is a thread.
    scope = pools.connect_pool(
        *targets,
        config=config,
        ssl_context=ssl_context,
        proxy=proxy,
        headers=headers,
        subprotocol=subprotocol,
        sessions=sessions,
        each=each,
        on_change=on_change,
        retry=retry,
    )
    return Pool(scope)


class _Kept(NamedTuple):
    pool: AsyncPool
    tasks: TaskGroup


class Pool:
    """Sessions that are kept up by a thread in the background; made by :func:`connect_pool`, never directly.

    Every method may be called from any thread but the pool's own, and from several at once.  In a process that was forked
    from the pool's each raises :class:`~muxado_py.blocking.ForkedError`.
    """

    def __init__(self, scope: Any) -> None:
        self._lock = threading.Lock()
        self._services: list[Service] = []
        self._closed = True  # for __del__, until there is something to close
        self._background = Background("muxado_py.blocking")
        try:
            self._pool, self._tasks = self._background.enter(_kept(scope))
        except BaseException:
            self._background.abandon()
            raise
        self._closed = False

    def __repr__(self) -> str:
        return f"<muxado_py.blocking.Pool of {self._pool!r}>"

    @property
    def state(self) -> PoolState:
        """How it stands now; see :attr:`muxado_py.Pool.state`."""
        return self._run(self._state)

    async def _state(self) -> PoolState:
        return self._pool.state

    # Streams.

    def open_socket(
        self,
        *,
        priority: Priority | None = None,
        stream_type: int | None = None,
        metadata: Mapping[str, bytes] | None = None,
        timeout: float | None = None,
    ) -> StreamSocket:
        """A real, connected, blocking socket that leads to a new stream; whoever calls owns it and closes it.

        For what wants a file descriptor: ``http.client``, ``requests``, ``select``, ``ssl``, a subprocess.  It has
        time-outs of its own (``settimeout``), and ends with the session of its stream.  Where a stream breaks off, ``recv``,
        ``recv_into`` and a file of ``makefile`` raise :exc:`ConnectionResetError`; whoever reads past them, as a subprocess or
        ``ssl``, sees an end.  Whether what was written may be sent again says :meth:`.StreamSocket.give_up`.  It keeps the pool, which
        need not be kept beside it; but a descriptor that is taken out of it (``detach``, and so ``ssl``) does not.

        :param priority: as for :meth:`muxado_py.Pool.open_stream`, as all that follows.
        :param stream_type: likewise.
        :param metadata: likewise.
        :param timeout: seconds to wait for a session and a slot at most; None for as long as it takes.
        :raises OSError: as :meth:`muxado_py.Pool.open_stream`.
        """
        end, stream = self._run(
            partial(
                self._open_socket,
                priority=priority,
                stream_type=stream_type,
                metadata=metadata,
                timeout=timeout,
            )
        )
        return StreamSocket.over(
            end, partial(self._reset, stream), partial(self._has_ended, stream)
        )

    async def _open_socket(self, **options: Any) -> tuple[socket.socket, Stream]:
        inner, outer = socket_pair()
        try:
            stream = await self._pool.open_stream(**options)
        except BaseException:
            outer.close()
            await abort(inner)
            raise
        self._tasks.start_soon(bridge, inner, stream)
        return outer, stream

    def _reset(self, stream: Stream) -> Retry:
        """Break ``stream`` off; its verdict, as far as that is known."""

        async def reset() -> Retry:
            stream.reset()
            return stream.retry

        try:
            return self._run(reset)
        except SessionClosedError:
            return Retry.UNKNOWN

    def _has_ended(self, stream: Stream) -> bool:
        """Whether the peer has ended ``stream``, all of which was taken; if nobody can be asked: yes, for so its socket says."""

        async def look() -> bool:
            return stream.statistics().end_received

        try:
            self._background.check()
        except RuntimeError:  # in the background itself, or in a process that was forked
            return True
        try:
            return self._run(look)
        except SessionClosedError:
            return False

    # Calls.

    def call(
        self,
        payload: bytes | bytearray | memoryview,
        *,
        timeout: float | None = None,
        idempotent: bool = False,
        priority: Priority | None = None,
        metadata: Mapping[str, bytes] | None = None,
        max_answer: int = MAX_ANSWER,
    ) -> bytes:
        """Ask a peer's ``serve_calls``, and wait for the answer; what is safe to send again is sent again.

        :param payload: as for :meth:`muxado_py.Pool.call`, as all that follows.
        :param timeout: likewise.
        :param idempotent: likewise.
        :param priority: likewise.
        :param metadata: likewise.
        :param max_answer: likewise.
        :returns: the answer.
        :raises MuxadoError: as :meth:`muxado_py.Pool.call`, with the verdict of all attempts together.
        """
        return self._run(
            partial(
                self._pool.call,
                payload,
                timeout=timeout,
                idempotent=idempotent,
                priority=priority,
                metadata=metadata,
                max_answer=max_answer,
            )
        )

    def call_statistics(self) -> CallStatistics:
        """A snapshot of what became of its calls; see :meth:`muxado_py.Pool.call_statistics`."""
        return self._run(self._call_statistics)

    async def _call_statistics(self) -> CallStatistics:
        return self._pool.call_statistics()

    # Services.

    def forward(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        priority: Priority | None = None,
        stream_type: int | None = None,
    ) -> Forward:
        """Listen at a local port, and make a stream of each connection to it.

        :param port: 0 for a free one; see :attr:`.Forward.port`.
        :param host: the address to listen at.
        :param priority: of the streams.
        :param stream_type: likewise.
        :raises OSError: if the port cannot be had, or there is no such host.
        :raises OverflowError: if no port can be ``port``.
        :raises SessionClosedError: if you closed the pool.
        :raises TypeError: if ``priority`` is no :class:`~muxado_py.Priority`.
        """
        if priority is not None:
            # Here: in the background it would be found out once this has returned.
            check_priority(priority)
        service = Forward(self._background, f"the forwarding of {host}:{port}")

        async def run(*, task_status: TaskStatus[Any]) -> None:
            async with await create_tcp_listener(local_host=host, local_port=port) as listener:
                task_status.started(listener.extra(SocketAttribute.local_address))
                await forward(self._pool, listener, priority=priority, stream_type=stream_type)

        service.listens_at(self._start(service, run))
        return service

    def serve_asgi(self, app: Any, **options: Any) -> Service:
        """Serve an ASGI application to the peers, on whichever session; returns when it has started.

        :param options: of :func:`muxado_py.serve_asgi`.
        :raises StartupError: if the application cannot be found, or its lifespan start-up failed.
        :raises Exception: what :func:`muxado_py.serve_asgi` raises of its arguments.
        """
        return self._serve(serve_asgi, app, options)

    def serve_wsgi(self, app: Any, **options: Any) -> Service:
        """Serve a WSGI application to the peers, on whichever session; returns when it has started.

        :param options: of :func:`muxado_py.serve_wsgi`.
        :raises StartupError: if the application cannot be found.
        :raises Exception: what :func:`muxado_py.serve_wsgi` raises of its arguments.
        """
        return self._serve(serve_wsgi, app, options)

    def _serve(self, serve: Any, app: Any, options: Mapping[str, Any]) -> Service:
        service = Service(self._background, f"the server of {app!r}")

        async def run(*, task_status: TaskStatus[Any]) -> None:
            await serve(app, self._pool.net_listener(), task_status=task_status, **options)

        self._start(service, run)
        return service

    def _start(self, service: Service, run: Callable[..., Awaitable[object]]) -> Any:
        self._background.check()  # before the lock: who had it may not be in this process
        with self._lock:
            if self._closed:
                raise closed_pool()
            self._services = [one for one in self._services if not one.is_over]
            # Before it starts: whoever closes the pool meanwhile ends it, too.
            self._services.append(service)
        return service.start(run)

    # Its end.

    def drain(self, timeout: float = 30.0) -> None:
        """End gracefully: take no new streams, finish those that are open, close; see :meth:`muxado_py.Pool.drain`.

        :param timeout: seconds for all of it.
        :raises UndeliveredError: as :meth:`muxado_py.Pool.drain`; it is closed all the same.
        :raises TypeError: if ``timeout`` is no number; nothing is closed then.
        :raises ValueError: if it is below 0; likewise.
        """
        check_seconds("timeout", timeout)
        try:
            self._run(lambda: self._pool.drain(timeout))
        finally:
            self.close()

    def close(self) -> None:
        """End what it serves, close its sessions, end its thread; again, nothing.

        :raises UndeliveredError: as :meth:`muxado_py.Pool.aclose`.
        """
        if self._closed:
            return
        self._background.check()  # before the lock: who had it may not be in this process
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for service in self._services:
            service.close()
        self._background.stop()

    def _run(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self._background.run(function)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            self._background.abandon()  # first, for a warning may be an error
            warnings.warn(
                f"{self!r} was dropped unclosed", ResourceWarning, stacklevel=2, source=self
            )


@asynccontextmanager
async def _kept(scope: Any) -> AsyncIterator[_Kept]:
    """The pool, and a task group that is there as long, for what copies."""
    failure: Exception | None = None
    async with create_task_group() as tasks:
        try:
            async with scope as pool:
                yield _Kept(pool, tasks)
        except Exception as exc:  # noqa: BLE001 - raised below: a task group would wrap it
            failure = exc
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure

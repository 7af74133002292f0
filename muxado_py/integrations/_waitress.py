"""waitress over sockets that it did not accept: its channels, told whose requests they carry.

What it is.  waitress's server without its listening socket.  :meth:`Waitress.connect` gives it one end of a
socket pair for each stream, and with it what a socket pair does not know: the addresses.

The rule.  Everything that touches waitress's channels runs in waitress's thread, handed over by its
trigger.  Its loop ends when its map of sockets is empty; that is how it is stopped.

The traps.  waitress writes ``REMOTE_PORT`` even if it has none, and reads ``REMOTE_ADDR`` unasked; both
are taken out, where nobody knows them, only when the application is called.  And a request that is over
the limit must be answered by the loop: it is for want of threads that there is a limit.
"""

from __future__ import annotations

import logging
import socket
import string
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import anyio
from anyio import to_thread
from waitress.adjustments import Adjustments  # type: ignore[import-untyped]
from waitress.channel import HTTPChannel  # type: ignore[import-untyped]
from waitress.server import BaseWSGIServer  # type: ignore[import-untyped]
from waitress.task import ThreadedTaskDispatcher, WSGITask  # type: ignore[import-untyped]

from .serving import NOTICE_TIME
from .time_left import LATE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Origin", "Waitress")

_access = logging.getLogger("muxado.access")
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation


class Origin(NamedTuple):
    """What a stream says of itself: its addresses (:mod:`.addresses`), and how long its opener waits."""

    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    deadline: float | None
    """Of its first request, by ``time.monotonic()``."""


class Waitress:
    """A waitress server, and its loop in a worker thread.

    :param settings: of waitress, under its own names.
    :param limit_concurrency: connections, or requests, from which on requests are answered with 503.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        settings: dict[str, Any],
        *,
        access_log: bool,
        limit_concurrency: int | None,
    ) -> None:
        self._server = _Server(_known_only(app), settings)
        self._server.access_log = access_log
        self._server.limit_concurrency = limit_concurrency

    async def run(self) -> None:
        """Run waitress's loop until :meth:`stop`.

        Cancellation: none; only ``stop`` ends it.
        """
        await to_thread.run_sync(self._server.run, limiter=anyio.CapacityLimiter(1))

    async def stop(self) -> None:
        """Send the application's threads home, then close what is open; the loop ends with that.

        Cancellation: call it shielded.
        """
        await to_thread.run_sync(
            lambda: self._server.task_dispatcher.shutdown(timeout=NOTICE_TIME),
            limiter=anyio.CapacityLimiter(1),
        )
        self._call_soon(self._server.close_all)

    def connect(self, connection: socket.socket, origin: Origin) -> None:
        """Serve ``connection``, which is waitress's from here on."""
        self._call_soon(lambda: self._server.take(connection, origin))

    def close_idle(self) -> None:
        """Close the connections that are between two requests."""
        self._call_soon(self._server.close_idle)

    def _call_soon(self, thunk: Callable[[], None]) -> None:
        self._server.trigger.pull_trigger(thunk)


class _Server(BaseWSGIServer):  # type: ignore[misc]
    access_log = False
    limit_concurrency: int | None = None

    def __init__(self, app: Callable[..., Any], settings: dict[str, Any]) -> None:
        adjustments = Adjustments(**settings)
        self.has_name = "server_name" in settings
        self.busy: set[_Channel] = set()
        """Connections with a request that is not answered yet."""
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(adjustments.threads)
        unused = socket.socket()  # what waitress would listen on
        info = (unused.family, unused.type, unused.proto, None)
        super().__init__(app, {}, False, unused, dispatcher, adjustments, info, bind_socket=False)

    def getsockname(self) -> tuple[str, int]:
        return "localhost", 80  # of a stream without addresses; PEP 3333 wants some

    def take(self, connection: socket.socket, origin: Origin) -> None:
        _Channel(self, connection, origin)

    def add_task(self, channel: _Channel) -> None:
        """The next request of ``channel`` is complete."""
        overloaded = self._is_overloaded()
        self.busy.add(channel)
        if overloaded:
            self.trigger.pull_trigger(channel.turn_away)
        else:
            super().add_task(channel)

    def _is_overloaded(self) -> bool:
        """As uvicorn counts, which counts the connection of the request too."""
        limit = self.limit_concurrency
        return limit is not None and max(len(self.active_channels), len(self.busy)) >= limit

    def close_idle(self) -> None:
        for channel in self.active_channels.values():
            if not (channel.requests or channel.request or channel.total_outbufs_len):
                channel.will_close = True

    def close_all(self) -> None:
        # A thread that is stuck in the application may wake up when the trigger's descriptor
        # belongs to somebody else.
        self.pull_trigger = lambda: None
        for channel in list(self.active_channels.values()):
            channel.handle_close()  # wakes a thread that waits to write
        for dispatcher in list(self._map.values()):
            dispatcher.close()
        self._map.clear()


class _Task(WSGITask):  # type: ignore[misc]
    logged = False

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        if (deadline := getattr(self.request, "deadline", None)) is not None:
            environ["muxado.deadline"] = deadline
        server = self.channel.origin.server
        if server is not None and server[1] is not None:
            environ["SERVER_PORT"] = str(server[1])
        if not self.channel.server.has_name:
            known = server is not None and server[1] is not None
            environ["SERVER_NAME"] = server[0] if known else "localhost"
        return environ

    def execute(self) -> None:
        try:
            super().execute()
        except Exception:
            self.log("500")
            raise

    def build_response_header(self) -> bytes:
        head: bytes = super().build_response_header()
        self.log(self.status[:3])
        return head

    def log(self, status: str) -> None:
        """Once for each request, in uvicorn's form."""
        if self.logged or not self.channel.server.access_log:
            return
        self.logged = True
        environ = self.get_environment()
        path = quote((environ["SCRIPT_NAME"] + environ["PATH_INFO"]).encode("latin-1"))
        query = quote(environ["QUERY_STRING"], safe=_PRINTABLE)
        _access.info(
            '%s - "%s %s %s" %s',
            _client(environ),
            quote(environ["REQUEST_METHOD"]),
            f"{path}?{query}" if query else path,
            environ["SERVER_PROTOCOL"],
            status,
        )


class _Channel(HTTPChannel):  # type: ignore[misc]
    task_class = _Task

    def __init__(self, server: _Server, connection: socket.socket, origin: Origin) -> None:
        self.origin = origin
        self._deadline = origin.deadline
        client = origin.client or ("", "")
        super().__init__(server, connection, client, server.adj, map=server._map)

    def service(self) -> None:
        """Serve a request, in one of the application's threads."""
        deadline, self._deadline = self._deadline, None  # it is said of the first alone
        if deadline is not None and monotonic() >= deadline:
            self._answer(_Unserved(504, "Gateway Timeout", LATE))
        else:
            self.requests[0].deadline = deadline
            self._serve()

    def _serve(self) -> None:
        try:
            super().service()
        finally:
            with self.requests_lock:
                if not self.requests:
                    self.server.busy.discard(self)

    def cancel(self) -> None:
        super().cancel()
        self.server.busy.discard(self)

    def turn_away(self) -> None:
        """Answer the request with 503, here and now."""
        if self.requests:
            self._answer(_Unserved(503, "Service Unavailable", b"Service Unavailable"))

    def _answer(self, error: _Unserved) -> None:
        """In the application's place."""
        task = self.task_class(self, self.requests[0])
        self.requests[0].error = error
        self._serve()
        task.log(str(error.status))


class _Unserved(NamedTuple):
    """An answer without the application, as waitress has its errors."""

    status: int
    reason: str
    text: bytes

    def to_response(self, ident: str | None) -> tuple[str, list[tuple[str, str]], bytes]:
        text = ("Content-Type", "text/plain; charset=utf-8")
        return f"{self.status} {self.reason}", [text], self.text


def _known_only(app: Callable[..., Any]) -> Callable[..., Any]:
    def called(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        for name in ("REMOTE_ADDR", "REMOTE_HOST", "REMOTE_PORT"):
            if not environ[name]:
                del environ[name]
        return app(environ, start_response)

    return called


def _client(environ: dict[str, Any]) -> str:
    host = environ.get("REMOTE_ADDR")
    return f"{host}:{environ.get('REMOTE_PORT', 0)}" if host else ""

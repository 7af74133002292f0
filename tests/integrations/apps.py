"""An ASGI and a WSGI application that write down what happens to them, ways to serve one, and a peer that breaks off."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from muxado_py.session.listener import StreamListener

from ..helpers.blocked import all_tasks_blocked
from ..helpers.tasks import this_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from anyio.abc import TaskGroup, TaskStatus

    from muxado_py import Session, Stream

    from ..conftest import SessionPair

CHUNK = bytes(64 * 1024)


class CountingListener(StreamListener):
    """A session's listener that counts what it accepts, and remembers which task served it."""

    def __init__(self, session: Session) -> None:
        self._listener = session.net_listener()
        self.accepted: list[Stream] = []
        self.served_by: list[object] = []
        self.has_accepted = anyio.Event()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._listener.extra_attributes

    async def serve(
        self,
        handler: Callable[[Stream], Any],
        task_group: TaskGroup | None = None,
        *,
        reuse_tasks: bool | None = None,
    ) -> None:
        async def counted(stream: Stream) -> None:
            self.accepted.append(stream)
            self.served_by.append(this_task())
            self.has_accepted.set()
            await handler(stream)

        await self._listener.serve(counted, task_group, reuse_tasks=reuse_tasks)

    async def aclose(self) -> None:
        await self._listener.aclose()


class AsgiApp:
    """A Starlette application; ``log`` has its events, ``release`` lets ``/slow`` answer."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.sent_chunks = 0
        self.entered = anyio.Event()
        self.release = anyio.Event()
        self.disconnected = anyio.Event()
        self.asgi = Starlette(
            lifespan=self._lifespan,
            routes=[
                Route("/", self._hello),
                Route("/scope", self._scope),
                Route("/slow", self._slow),
                Route("/stream", self._stream),
                Route("/broken", self._broken),
                Route("/upload", self._upload, methods=["POST"]),
                Route("/wait", self._wait),
                WebSocketRoute("/echo", self._echo),
            ],
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[dict[str, str]]:
        self.log.append("startup")
        yield {"from_lifespan": "state"}
        self.log.append("shutdown")

    async def _hello(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def _scope(self, request: Request) -> JSONResponse:
        return JSONResponse(
            {
                "client": request.scope["client"],
                "server": request.scope["server"],
                "scheme": request.scope["scheme"],
                "state": request.state.from_lifespan,
                "host": request.headers["host"],
            }
        )

    async def _slow(self, request: Request) -> PlainTextResponse:
        self.entered.set()
        await self.release.wait()
        self.log.append("answered")
        return PlainTextResponse("slow")

    async def _stream(self, request: Request) -> StreamingResponse:
        chunks = int(request.query_params["chunks"])

        async def body() -> AsyncIterator[bytes]:
            try:
                for _ in range(chunks):
                    yield CHUNK
                    self.sent_chunks += 1
                    # uvicorn's send to a client that is gone does not wait.
                    await anyio.lowlevel.checkpoint()
            finally:
                self.disconnected.set()

        self.entered.set()
        return StreamingResponse(body())

    async def _broken(self, request: Request) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"some"
            self.entered.set()
            await self.release.wait()
            yield b"more"

        return StreamingResponse(body(), headers={"content-length": "1000"})

    async def _upload(self, request: Request) -> PlainTextResponse:
        size = 0
        try:
            async for chunk in request.stream():
                size += len(chunk)
                self.entered.set()
        except ClientDisconnect:
            self.disconnected.set()
            raise
        return PlainTextResponse(str(size))

    async def _wait(self, request: Request) -> PlainTextResponse:
        self.entered.set()
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.disconnected.set()
        return PlainTextResponse("too late")

    async def _echo(self, websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text("echo " + await websocket.receive_text())
        except WebSocketDisconnect as exc:
            self.log.append(f"websocket closed with {exc.code}")
            self.disconnected.set()


class WsgiApp:
    """A WSGI application; ``closed`` is set when a streamed response's iterable was closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.entered = threading.Event()
        self.release = threading.Event()
        self.sent_chunks = 0

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        path, text = environ["PATH_INFO"], [("Content-Type", "text/plain")]
        if path == "/upload":
            size = 0
            while data := environ["wsgi.input"].read(65536):
                size += len(data)
            start_response("200 OK", text)
            return [str(size).encode()]
        if path == "/stream":
            start_response("200 OK", text)
            return self._stream(int(environ["QUERY_STRING"]))
        if path == "/empty":
            start_response("204 No Content", [])
            return []
        if path == "/slow":
            self.entered.set()
            self.release.wait(10)
        start_response("200 OK", [*text, ("Content-Length", "5")])
        return [b"hello"] if environ["REQUEST_METHOD"] != "HEAD" else []

    def _stream(self, chunks: int) -> Iterable[bytes]:
        try:
            for _ in range(chunks):
                yield CHUNK
                self.sent_chunks += 1
                self.entered.set()
        finally:
            self.closed.set()


@asynccontextmanager
async def serving(
    session_pair: SessionPair, serve: Callable[..., Any], app: Any, **options: Any
) -> AsyncIterator[tuple[Session, CountingListener]]:
    """Serve ``app`` on the dialing side; yields the session that calls it, and the listener."""
    async with session_pair() as (dialed, accepted):
        listener = CountingListener(dialed)
        async with anyio.create_task_group() as tasks:
            await tasks.start(partial(serve, app, listener, **options))
            yield accepted, listener
            tasks.cancel_scope.cancel()


async def respond(session: Session, *parts: bytes, task_status: TaskStatus[None]) -> None:
    """A peer that reads something of each stream, sends ``parts`` and resets the stream."""

    async def handle(stream: Stream) -> None:
        await stream.receive()
        for part in parts:
            await stream.send(part)
        await all_tasks_blocked()
        stream.reset()

    task_status.started()
    await session.net_listener().serve(handle)

"""The applications that the processes under test serve."""

from __future__ import annotations

import gc
import hashlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.requests import Request
    from starlette.websockets import WebSocket

starts = 0
LINES = 2000
LARGE = 360 * 1024
"""More than the window of a stream, and less than that and what ``send`` takes on top."""


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    global starts
    starts += 1
    yield


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"hello {request.query_params.get('name', '')}, start {starts}")


async def client(request: Request) -> PlainTextResponse:
    assert request.client is not None
    return PlainTextResponse(f"{request.url.scheme} {request.client.host}")


async def stream(request: Request) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(LINES):
            yield f"line {number}\n"

    return StreamingResponse(lines(), media_type="text/plain")


async def large(request: Request) -> PlainTextResponse:
    return PlainTextResponse("x" * LARGE)


async def upload(request: Request) -> PlainTextResponse:
    digest = hashlib.sha256()
    async for chunk in request.stream():
        digest.update(chunk)
    return PlainTextResponse(digest.hexdigest())


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for message in websocket.iter_text():
        await websocket.send_text(message.upper())


starlette_app = Starlette(
    routes=[
        Route("/", hello),
        Route("/client", client),
        Route("/stream", stream),
        Route("/large", large),
        Route("/upload", upload, methods=["POST"]),
        WebSocketRoute("/echo", echo),
    ],
    lifespan=lifespan,
)


def make_app() -> Starlette:
    return starlette_app


async def failing_lifespan(scope: object, receive: object, send: object) -> None:
    raise RuntimeError("no database")


flask_app = flask.Flask(__name__)


@flask_app.get("/")
def flask_hello() -> str:
    return f"hello {flask.request.args.get('name', '')}, start 1"


@flask_app.get("/client")
def flask_client() -> str:
    return f"{flask.request.scheme} {flask.request.remote_addr}"


@flask_app.get("/stream")
def flask_stream() -> flask.Response:
    def lines() -> Iterator[str]:
        for number in range(LINES):
            yield f"line {number}\n"

    return flask.Response(lines(), mimetype="text/plain")


@flask_app.get("/large")
def flask_large() -> str:
    return "x" * LARGE


@flask_app.post("/upload")
def flask_upload() -> str:
    return hashlib.sha256(flask.request.get_data()).hexdigest()


async def collected(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """How many objects the garbage collector of the agent walks over, and how many it leaves alone."""
    if scope["type"] == "http":
        text = f"{len(gc.get_objects())} {gc.get_freeze_count()}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text})

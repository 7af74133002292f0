"""What the applications of real servers see behind the door."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anycorn
import anyio
import pytest
import sniffio

import muxado_py as muxado
from muxado_py.cli.agents.registration import Lines, Registration
from muxado_py.cli.http_door.requests import MAX_HEAD

from .door import door, everything
from .heads import REQUESTS, read_by_h11
from .test_requests import asked, rewritten

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

pytestmark = pytest.mark.anyio


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """Says what it sees."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    await _say(send, [scope["method"], fields, body.decode("latin-1")])


async def _say(send: Any, seen: list[Any]) -> None:
    text = json.dumps(seen).encode()
    headers = [(b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The same."""
    fields = [(name[5:], value) for name, value in environ.items() if name.startswith("HTTP_")]
    fields += [(name, environ[name]) for name in ("CONTENT_TYPE",) if environ.get(name)]
    body = environ["wsgi.input"].read().decode("latin-1")
    text = json.dumps([environ["REQUEST_METHOD"], fields, body]).encode()
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text]


@asynccontextmanager
async def serving(url: str, server: str) -> AsyncIterator[None]:
    """An agent that serves ``app``."""
    async with muxado.connect(url) as session, anyio.create_task_group() as tasks:
        control = await session.open_stream()
        await control.send(Registration(("app",)).line())
        assert "registered" in await Lines(control).next()
        if server == "wsgi":
            tasks.start_soon(muxado.serve_wsgi, wsgi, session.net_listener())
        else:
            config = None
            if sniffio.current_async_library() == "trio":
                # Its own bound is lower, and counts only for a head that comes in pieces.
                config = anycorn.Config()
                config.h11_max_incomplete_size = MAX_HEAD
            tasks.start_soon(
                partial(muxado.serve_asgi, asgi, session.net_listener(), config=config)
            )
        yield
        tasks.cancel_scope.cancel()
        control.reset()


def environ(fields: list[list[str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in fields:
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_LENGTH", "TRANSFER_ENCODING", "CONNECTION"):
            found[key] = f"{found[key]}, {value}" if key in found else value
    return found


@pytest.mark.slow
@pytest.mark.parametrize("server", ["asgi", "wsgi"])
async def test_an_application_sees_what_the_door_has_read(server: str) -> None:
    """ASGI is served by uvicorn, and on trio by anycorn; WSGI by waitress."""
    async with door() as gate, serving(gate.url, server):
        for what, sent in REQUESTS.items():
            async with await gate.connect() as caller:
                await caller.send(sent.raw)
                if asks_again(sent.raw, sent.refused):
                    await caller.send(
                        b"GET / HTTP/1.1\r\nHost: nobody\r\nConnection: close\r\n\r\n"
                    )
                answer = await everything(caller)
            assert int(answer[9:12]) == (sent.refused or 200), (what, answer)
            if sent.refused:
                continue
            text = answer.partition(b"\r\n\r\n")[2].partition(b"HTTP/1.1 404")[0]
            method, fields, body = json.loads(text)
            reading = read_by_h11(rewritten(sent.raw))
            expected = dict(reading.environ, X_FORWARDED_FOR="127.0.0.1")
            del expected["CONNECTION"]
            seen = environ(fields)
            if server == "wsgi":  # what a proxy says is not believed of one that is not trusted
                expected = {key: value for key, value in expected.items() if "FORWARDED" not in key}
                seen = {key: value for key, value in seen.items() if "FORWARDED" not in key}
            assert (method, seen, body.encode("latin-1")) == (
                reading.method,
                expected,
                reading.body,
            ), what


def asks_again(raw: bytes, refused: int | None) -> bool:
    """Whether the door waits for another request."""
    return refused not in (400, 408, 417, 431) and asked(raw)[0].keeps_alive

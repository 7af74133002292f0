"""What a WSGI application is told of its caller, and what the log is told of both."""

from __future__ import annotations

import json
import logging
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from wsgiref.util import request_uri
from wsgiref.validate import validator

import anyio
import pytest
from anyio import to_thread
from anyio.abc import SocketAttribute
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

import muxado_py as muxado
from muxado_py.integrations import serve_wsgi
from muxado_py.integrations.forwarded import ForwardedHeaders, TrustedPeers

from ..helpers.access_log import access_log
from .apps import WsgiApp, serving
from .plain import ask, plain_uvicorn, plain_waitress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from ..conftest import SessionPair

FORWARDED = b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"
REQUEST = b"GET /a%20b?c=d HTTP/1.0\r\n" + FORWARDED + b"\r\n"  # and no Host
CALLER = ("REMOTE_ADDR", "REMOTE_HOST", "REMOTE_PORT")
SERVER = ("SERVER_NAME", "SERVER_PORT")


def environ_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    seen = {name: value for name, value in environ.items() if isinstance(value, str)}
    text = json.dumps({**seen, "uri": request_uri(environ)}).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]


def body(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


async def answer_to(session: muxado.Session, request: bytes) -> bytes:
    stream = await session.open_stream()
    await stream.send(request)
    return b"".join([piece async for piece in stream])


@asynccontextmanager
async def over(url: str, app: Any, **options: Any) -> AsyncIterator[muxado.Session]:
    """The session of a dialing caller, whose accepting side serves ``app``."""

    async def serve_back(session: muxado.Session) -> None:
        await serve_wsgi(app, session.net_listener(), **options)

    async with muxado.listen(url) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve_back)
        async with muxado.connect(listener.url) as session:
            yield session
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_it_has_the_addresses_of_the_session() -> None:
    async with over("tcp://127.0.0.1:0", environ_app) as session:
        local = session.extra_attributes[SocketAttribute.local_address]()
        remote = session.extra_attributes[SocketAttribute.remote_address]()
        seen = body(await answer_to(session, REQUEST))
    assert [seen[name] for name in CALLER] == [local[0], local[0], str(local[1])]
    assert [seen[name] for name in SERVER] == [remote[0], str(remote[1])]
    assert seen["uri"] == f"http://127.0.0.1:{remote[1]}/a%20b?c=d"


@pytest.mark.anyio
async def test_what_nobody_knows_is_absent_and_what_must_be_there_makes_a_url(
    session_pair: SessionPair, tmp_path: Any
) -> None:
    async with serving(session_pair, serve_wsgi, environ_app) as (session, _):
        in_memory = body(await answer_to(session, REQUEST))
    async with over(f"unix://{tmp_path / 'socket'}", environ_app) as session:
        on_a_path = body(await answer_to(session, REQUEST))
    for seen in (in_memory, on_a_path):
        assert not set(CALLER) & seen.keys()
        assert seen["uri"] == "http://localhost/a%20b?c=d"


@pytest.mark.anyio
async def test_it_is_as_pep_3333_says() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        int(environ["SERVER_PORT"]), int(environ["REMOTE_PORT"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"valid"]

    async with over("tcp://127.0.0.1:0", validator(app)) as session:
        assert (await answer_to(session, REQUEST)).endswith(b"valid")


@pytest.mark.anyio
async def test_everything_else_is_as_under_waitress_on_a_socket(session_pair: SessionPair) -> None:
    with plain_waitress(environ_app) as port:
        wanted = body(await to_thread.run_sync(ask, port, REQUEST))
    async with serving(session_pair, serve_wsgi, environ_app) as (session, _):
        seen = body(await answer_to(session, REQUEST))
    for name in (*CALLER, *SERVER, "uri"):
        wanted.pop(name)
        seen.pop(name, None)
    assert seen == wanted


@pytest.mark.anyio
async def test_a_name_that_was_given_stays() -> None:
    async with over("tcp://127.0.0.1:0", environ_app, server_name="shop.example") as session:
        assert body(await answer_to(session, REQUEST))["SERVER_NAME"] == "shop.example"


# -- who is believed --------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("trusted", "believed"),
    [(None, False), ("192.0.2.1", False), ("127.0.0.1", True), ("127.0.0.0/8", True), ("*", True)],
)
async def test_a_proxy_is_believed_as_told(trusted: str | None, believed: bool) -> None:
    options = {} if trusted is None else {"forwarded_allow_ips": trusted}
    async with over("tcp://127.0.0.1:0", environ_app, **options) as session:
        seen = body(await answer_to(session, REQUEST))
    assert seen["REMOTE_ADDR"] == ("192.0.2.7" if believed else "127.0.0.1")
    assert seen["wsgi.url_scheme"] == ("https" if believed else "http")
    # Frameworks that look for themselves see what they may believe.
    assert ("HTTP_X_FORWARDED_PROTO" in seen) is believed


@pytest.mark.anyio
async def test_waitress_may_be_told_instead_and_not_as_well(session_pair: SessionPair) -> None:
    theirs = {"trusted_proxy": "*", "trusted_proxy_headers": {"x-forwarded-proto"}}
    async with serving(session_pair, serve_wsgi, environ_app, **theirs) as (session, _):
        assert body(await answer_to(session, REQUEST))["wsgi.url_scheme"] == "https"
    async with session_pair() as (dialed, _):
        with pytest.raises(ValueError, match="trusted_proxy both say"):
            await serve_wsgi(
                environ_app, dialed.net_listener(), forwarded_allow_ips="*", trusted_proxy="*"
            )


def forwarded(trusted: str, peer: str | None, hops: str, proto: str) -> tuple[str, str]:
    """What a WSGI application is told: the client and the scheme."""
    environ = {"wsgi.url_scheme": "http", "HTTP_X_FORWARDED_FOR": hops}
    environ["HTTP_X_FORWARDED_PROTO"] = proto
    if peer is not None:
        environ["REMOTE_ADDR"] = peer
    ForwardedHeaders(lambda environ, _: None, TrustedPeers(trusted))(environ, print)
    return environ.get("REMOTE_ADDR", ""), environ["wsgi.url_scheme"]


@pytest.mark.parametrize(
    ("trusted", "peer", "hops", "client"),
    [
        ("10.0.0.1", "10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "10.0.0.2", "192.0.2.7", "10.0.0.2"),
        ("10.0.0.1, 10.0.0.2", "10.0.0.1", "192.0.2.9, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("*", "10.0.0.1", "192.0.2.9, 192.0.2.7", "192.0.2.9"),
        ("::1", "::1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "10.0.0.1", "", "10.0.0.1"),
        ("*", None, "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", None, "192.0.2.7", ""),
    ],
)
@pytest.mark.parametrize("proto", ["https", "http"])
def test_forwarded_headers_mean_to_wsgi_what_uvicorn_makes_of_them_for_asgi(
    trusted: str, peer: str | None, hops: str, client: str, proto: str
) -> None:
    scope: dict[str, Any] = {
        "type": "http",
        "scheme": "http",
        "client": (peer, 1) if peer else None,
        "headers": [(b"x-forwarded-for", hops.encode()), (b"x-forwarded-proto", proto.encode())],
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    middleware: Any = ProxyHeadersMiddleware(app, trusted)
    anyio.run(partial(middleware, scope, None, None))
    assert forwarded(trusted, peer, hops, proto) == (client, scope["scheme"])
    assert (scope["client"] or ("",))[0] == client


@pytest.mark.parametrize(
    ("hops", "host", "port"),
    [
        ("192.0.2.7:4711", "192.0.2.7", "4711"),
        ("[2001:db8::7]:4711", "2001:db8::7", "4711"),
        ("[2001:db8::7]", "2001:db8::7", None),
        ("192.0.2.7:ssh", "192.0.2.7:ssh", None),
    ],
)
def test_a_forwarded_address_may_have_a_port(hops: str, host: str, port: str | None) -> None:
    environ = {"REMOTE_ADDR": "10.1.2.3", "REMOTE_PORT": "1", "HTTP_X_FORWARDED_FOR": hops}
    ForwardedHeaders(lambda environ, _: None, TrustedPeers("10.0.0.0/8"))(environ, print)
    assert (environ["REMOTE_ADDR"], environ.get("REMOTE_PORT")) == (host, port)


def test_a_scheme_that_is_none_is_not_believed() -> None:
    assert forwarded("*", "10.0.0.1", "", "gopher")[1] == "http"


# -- the access log ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.anyio
async def test_each_answer_is_a_line_like_uvicorns(
    session_pair: SessionPair, caplog: pytest.LogCaptureFixture
) -> None:
    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        assert scope["path"] != "/fail"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        assert environ["PATH_INFO"] != "/fail"
        return environ_app(environ, start_response)

    caplog.set_level(logging.INFO)
    requests = [REQUEST, REQUEST.replace(b"GET /a%20b", b"POST /fail")]
    with plain_uvicorn(asgi, lifespan="off") as port:
        for request in requests:
            await to_thread.run_sync(ask, port, request)
    async with serving(session_pair, serve_wsgi, wsgi) as (session, _):
        for request in requests:
            await answer_to(session, request)
    assert access_log(caplog) == access_log(caplog, "uvicorn.access")
    assert access_log(caplog)[1].endswith('/fail?c=d HTTP/1.0" 500')


@pytest.mark.anyio
async def test_the_line_names_the_client_that_is_believed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "muxado.access")
    async with over("tcp://127.0.0.1:0", environ_app, forwarded_allow_ips="127.0.0.1") as session:
        await answer_to(session, REQUEST)
    assert caplog.messages[-1] == '192.0.2.7:0 - "GET /a%20b?c=d HTTP/1.0" 200'


@pytest.mark.anyio
async def test_the_log_can_be_off_and_escapes_what_callers_say(
    session_pair: SessionPair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "muxado.access")
    async with serving(session_pair, serve_wsgi, environ_app, access_log=False) as (session, _):
        await answer_to(session, REQUEST)
    assert access_log(caplog) == []
    async with serving(session_pair, serve_wsgi, environ_app) as (session, _):
        await answer_to(session, b"GET /%1b%0a?\x1b[31m HTTP/1.0\r\n\r\n")
    assert access_log(caplog) == ['"GET /%1B%0A?%1B[31m HTTP/1.0" 200']


# -- the limit --------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_one_too_many_is_told_so_as_by_uvicorn(session_pair: SessionPair) -> None:
    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("it is never asked")

    with plain_uvicorn(asgi, lifespan="off", limit_concurrency=1) as port:
        wanted = await to_thread.run_sync(ask, port, REQUEST)
    async with serving(session_pair, serve_wsgi, environ_app, limit_concurrency=1) as (session, _):
        seen = await answer_to(session, REQUEST)
    assert b" 503 Service Unavailable\r\n" in wanted
    assert b" 503 Service Unavailable\r\n" in seen
    assert seen.partition(b"\r\n\r\n")[2] == wanted.partition(b"\r\n\r\n")[2]


@pytest.mark.anyio
async def test_who_is_over_the_limit_needs_no_thread_to_be_told(
    session_pair: SessionPair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "muxado.access")
    app = WsgiApp()
    slow = b"GET /slow HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n"
    async with (
        serving(session_pair, serve_wsgi, app, threads=1, limit_concurrency=2) as (session, _),
        anyio.create_task_group() as tasks,
    ):
        answers: list[bytes] = []

        async def call() -> None:
            answers.append(await answer_to(session, slow))

        tasks.start_soon(call)
        await to_thread.run_sync(app.entered.wait, 10)
        await call()
        assert b" 503 " in answers[0]
        app.release.set()
        with anyio.fail_after(30):  # until it has seen that the two are gone
            while b" 200 OK" not in await answer_to(session, slow):
                pass
    assert b" 200 OK" in answers[1]
    assert [line[-3:] for line in access_log(caplog)][:1] == ["503"]

"""``ws://`` and ``wss://``: who may come, what is said, and what an application is told when it fails."""

from __future__ import annotations

import ssl
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import create_task_group, fail_after
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute

import muxado_py as muxado
from muxado_py.dialing.schemes import parse_url, url_of

from ..transports import tls_contexts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def listening(url: str = "ws://127.0.0.1:0/tunnel", **options: Any) -> AsyncIterator[str]:
    """The URL of a listener whose sessions answer one stream; see :func:`ask`."""

    async def handle(session: muxado.Session) -> None:
        stream = await session.accept_stream()
        await stream.send(repr(tuple(session.extra(muxado.WebSocketAttribute.request))).encode())
        await stream.aclose()
        await session.wait()

    async with muxado.listen(url, **options) as listener, create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        with fail_after(20):
            yield listener.url
        tasks.cancel_scope.cancel()


async def ask(url: str, **options: Any) -> str:
    """What a listener of :func:`listening` saw of a request."""
    async with muxado.connect(url, **options) as session:
        stream = await session.open_stream()
        await stream.send_eof()
        return b"".join([piece async for piece in stream]).decode()


@pytest.mark.parametrize(
    ("url", "port", "path", "written"),
    [
        ("ws://relay.example", 80, "", "ws://relay.example:80"),
        ("wss://relay.example/", 443, "", "wss://relay.example:443"),
        ("WSS://relay.example:8443/a/b?c=%20d", 8443, "/a/b?c=%20d", None),
        ("ws://[::1]:7000/x", 7000, "/x", None),
        ("ws://relay.example?token=1", 80, "?token=1", "ws://relay.example:80?token=1"),
    ],
)
async def test_what_a_url_says(url: str, port: int, path: str, written: str | None) -> None:
    address = parse_url(url)
    assert (address.port, address.path) == (port, path)
    assert url_of(address).lower() == (written or url).lower()
    assert parse_url(url_of(address)) == address


@pytest.mark.parametrize(
    "url",
    [
        "ws://",
        "ws:///path",
        "ws://h:99999/",
        "ws://user@h/",
        "ws://h/#part",
        "ws://h/a b",
        "ws://h/a\r\nX: y",
        "ws://h/ü",
    ],
)
async def test_what_is_no_url_of_a_websocket(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected .*ws://host:port/path"):
        parse_url(url)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_a_request_has_its_path_and_headers(scheme: str) -> None:
    near_ssl, far_ssl = tls_contexts() if scheme == "wss" else (None, None)
    async with listening(f"{scheme}://localhost:0/tunnel", ssl_context=far_ssl) as url:
        seen = await ask(
            f"{url}?x=1",
            ssl_context=near_ssl,
            headers={"Authorization": "Bearer secret", "user-agent": "mine"},
        )
    assert "'/tunnel?x=1'" in seen
    assert "('Authorization', 'Bearer secret')" in seen
    assert "('user-agent', 'mine')" in seen
    assert "muxado_py" not in seen


@pytest.mark.parametrize(
    ("path", "status"), [("/", 404), ("/tunnel/", 404), ("/tunnelx", 404), ("/Tunnel?/tunnel", 404)]
)
async def test_another_path_is_not_found(
    path: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening() as url:
        with pytest.raises(muxado.UpgradeRefusedError, match=f"answered {status} ") as caught:
            await ask(url.replace("/tunnel", path))
        assert caught.value.status == status
        while f"was refused ({status})" not in caplog.text:  # noqa: ASYNC110 - a log wakes nobody
            await anyio.sleep(0.01)
        assert await ask(url)


async def test_a_page_in_a_browser_is_refused() -> None:
    async with listening() as url:
        with pytest.raises(muxado.UpgradeRefusedError, match="answered 403 "):
            await ask(url, headers=[("Origin", "https://example.org")])


async def test_who_judges_decides() -> None:
    def check(request: muxado.WebSocketRequest) -> int | None:
        return None if request.bearer_token == "secret" else 401

    async with listening(check_request=check) as url:
        with pytest.raises(muxado.UpgradeRefusedError, match="answered 401 Unauthorized"):
            await ask(url)
        headers = [("Origin", "https://ours"), ("Authorization", "Bearer secret")]
        assert "https://ours" in await ask(url, headers=headers)


async def test_a_subprotocol_is_agreed_on() -> None:
    async with listening(subprotocol="muxado.v2") as url:
        async with muxado.connect(url, subprotocol="muxado.v2") as session:
            assert session.extra(muxado.WebSocketAttribute.subprotocol) == "muxado.v2"
        with pytest.raises(muxado.UpgradeRefusedError, match="answered 400 "):
            await ask(url)
    async with listening() as url, muxado.connect(url, subprotocol="muxado.v2") as session:
        assert session.extra(muxado.WebSocketAttribute.subprotocol) is None


async def test_a_session_tells_of_all_its_layers() -> None:
    near_ssl, far_ssl = tls_contexts()
    async with (
        listening("wss://localhost:0/", ssl_context=far_ssl) as url,
        muxado.connect(url, ssl_context=near_ssl) as session,
    ):
        assert session.extra(SocketAttribute.remote_port) == int(url.rpartition(":")[2])
        assert session.extra(TLSAttribute.tls_version)
        assert session.extra(muxado.WebSocketAttribute.subprotocol) is None


async def test_the_host_of_the_url_is_verified() -> None:
    near_ssl, far_ssl = tls_contexts()
    async with listening("wss://127.0.0.2:0/", ssl_context=far_ssl) as url:
        with pytest.raises(ssl.SSLCertVerificationError):
            await ask(url, ssl_context=near_ssl)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"headers": {"A:": "x"}}, "no name"),
        ({"headers": {"": "x"}}, "no name"),
        ({"headers": {"A": "x\r\nB: y"}}, "the value of 'A' must be printable"),
        ({"headers": {"A": ""}}, "the value of 'A' must be printable"),
        ({"headers": {"sec-websocket-key": "x"}}, "said by the handshake itself"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "said by the handshake itself"),
        ({"subprotocol": "a b"}, "subprotocol must be a token"),
    ],
)
async def test_what_a_head_cannot_have_is_refused_before_it_is_dialed(
    options: dict[str, Any], error: str
) -> None:
    with pytest.raises(ValueError, match=error):
        await ask("ws://127.0.0.1:1/", **options)


@pytest.mark.parametrize(
    "options", [{"headers": 5}, {"headers": "ab"}, {"headers": [("a", b"b")]}, {"subprotocol": 5}]
)
async def test_options_of_another_type_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="must be"):
        await ask("ws://127.0.0.1:1/", **options)


async def test_an_error_does_not_repeat_a_secret() -> None:
    for value in ("secret\n", b"secret"):
        with pytest.raises((ValueError, TypeError)) as caught:
            await ask("ws://127.0.0.1:1/", headers={"Authorization": value})
        assert "secret" not in str(caught.value)


async def test_a_listener_has_no_query() -> None:
    with pytest.raises(ValueError, match="has a query"):
        async with muxado.listen("ws://127.0.0.1:0/tunnel?x=1"):
            pytest.fail("listens")


async def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets", None)
    with pytest.raises(muxado.MissingExtraError, match=r"pip install 'muxado-py\[ws\]'"):
        await ask("ws://127.0.0.1:1/")


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that says this, and closes; or nothing, and does not."""

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            if not answer:
                await anyio.sleep_forever()
            await stream.send(answer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        with fail_after(20):
            yield f"ws://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/x"
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "error", "match"),
    [
        (b"", TimeoutError, r"no websocket handshake with ws://127\.0\.0\.1:\d+/x in 0\.2 s"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\nno", muxado.UpgradeRefusedError, "answered 502 Bad"),
        (b"HTTP/1.1 10", ConnectionResetError, "ended the connection during the websocket"),
        (b"\x16\x03\x01\r\n\r\n", OSError, "no websocket: "),
    ],
)
async def test_what_dialing_says(answer: bytes, error: type[Exception], match: str) -> None:
    config = muxado.Config(connect_timeout=20 if answer else 0.2)
    async with answering(answer) as url:
        with pytest.raises(error, match=match):
            await ask(url, config=config)


async def test_a_dialer_that_says_nothing_is_not_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listening(config=muxado.Config(connect_timeout=0.1)) as url:
        port = int(url.split(":")[2].partition("/")[0])
        async with await anyio.connect_tcp("127.0.0.1", port) as raw:
            await raw.send(b"GET /tunnel HTTP/1.1\r\n")
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                while True:
                    await raw.receive()
        while "no handshake of ws:// in time" not in caplog.text:  # noqa: ASYNC110 - as above
            await anyio.sleep(0.01)


async def test_a_refused_dialer_reads_why_although_it_has_sent_much() -> None:
    async with listening() as url:
        port = int(url.split(":")[2].partition("/")[0])
        async with await anyio.connect_tcp("127.0.0.1", port) as raw:
            await raw.send(b"GET /nope HTTP/1.1\r\nX: " + b"y" * 300_000)
            answer = b""
            try:
                while True:
                    answer += await raw.receive()
            except anyio.EndOfStream:
                pass
            assert answer.startswith(b"HTTP/1.1 431 ")
